"""What XLA launches on a GPU for a program: its sequence of thunks, as a dump of the compiler lists them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LIBRARIES = re.compile("Convolution|Gemm|Cublas|CuDnn|Cholesky|TriangularSolve|Fft")
_LINE = re.compile(r"( *)\d+: k(\w+) +\[[^\]]*\] *(\w*)")


@dataclass
class Thunk:
    """One thing that the host has a GPU do.

    Attributes:
        kind: Kind as XLA names it, without the k: CustomKernel, Copy, Convolution, CommandBuffer (a CUDA graph), While.
        name: Name of the kernel, where it is one.
        inner: What a graph or a loop consists of; a loop's condition comes first.
    """

    kind: str
    name: str
    inner: list["Thunk"] = field(default_factory=list)

    def walk(self) -> Iterator["Thunk"]:
        """This and all within it."""
        yield self
        for one in self.inner:
            yield from one.walk()


@dataclass(frozen=True)
class Launches:
    """Counts of what is launched.

    Attributes:
        loose: Kernels, copies and library calls that are launched one by one.
        graphs: CUDA graphs, each launched as a whole.
        in_graphs: Kernels, copies and library calls within graphs.
        library_calls: Calls of cuDNN, cuBLAS and the like, out of both.
    """

    loose: int
    graphs: int
    in_graphs: int
    library_calls: int

    @property
    def total(self) -> int:
        """All that runs on the GPU, in graphs or not."""
        return self.loose + self.in_graphs


def read_thunks(text: str) -> list[Thunk]:
    """The thunks of a `thunk_sequence.txt` that XLA dumped, those of graphs and loops within them."""
    whole = Thunk("Sequence", "")
    path = [(-1, whole)]
    for line in text.splitlines():
        if match := _LINE.match(line):
            indent, thunk = len(match[1]), Thunk(match[2], match[3])
            while path[-1][0] >= indent:
                path.pop()
            path[-1][1].inner.append(thunk)
            path.append((indent, thunk))
    return whole.inner


def outermost_loop(thunks: list[Thunk]) -> Thunk | None:
    """The longest of the loops that stand in no other; None if there is none."""
    loops = [thunk for thunk in thunks if thunk.kind == "While"]
    return max(loops, key=lambda loop: sum(1 for _ in loop.walk()), default=None)


def count(thunks: list[Thunk]) -> Launches:
    """The launches of thunks, a loop's counted once."""
    loose = graphs = in_graphs = library_calls = 0
    for thunk in thunks:
        if thunk.kind == "CommandBuffer":
            graphs += 1
            within = count(thunk.inner)
            in_graphs += within.total
        elif thunk.inner:
            within = count(thunk.inner)
            loose, graphs, in_graphs = loose + within.loose, graphs + within.graphs, in_graphs + within.in_graphs
        else:
            loose += 1
            within = Launches(0, 0, 0, bool(_LIBRARIES.search(thunk.kind)))
        library_calls += within.library_calls
    return Launches(loose, graphs, in_graphs, library_calls)
