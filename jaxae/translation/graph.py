"""What a torch module did in one call: its submodules' calls, its operations, and where each stands."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# A tree of tuples, lists, dicts, slices and constants, with a `Ref` for each tensor.
Tree = Any


@dataclass(frozen=True)
class Ref:
    """A tensor in a tree: the number of its value."""

    index: int


@dataclass(frozen=True)
class Size:
    """A whole number that follows the size of the batch: what it is for each of the batches that were tried."""

    each: tuple[int, ...]


@dataclass(frozen=True)
class Dtype:
    """A dtype by NumPy's name: one for each precision that was tried."""

    each: tuple[str, ...]

    @property
    def fixed(self) -> str | None:
        """The dtype, None where it follows the precision of the network."""
        return self.each[0] if len(set(self.each)) == 1 else None


@dataclass(frozen=True)
class Where:
    """A place in somebody's source.

    Attributes:
        file: Path of the file.
        line: Number of the line.
        text: The line.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        """File, line and what stands there."""
        return f"{self.file}:{self.line} ({self.text})"


@dataclass
class Value:
    """A tensor.

    Attributes:
        shape: Its shape.
        dtype: Its dtype.
        names: The variable that held it first, for each call of a module, by the call's number.
        path: Path of the parameter or buffer that it is, "" for others.
        constant: Its elements as nested lists, where it came from outside and is none.
        data: Whether it depends on the inputs.
    """

    shape: tuple[int | Size, ...]
    dtype: Dtype
    names: dict[int, str] = field(default_factory=dict)
    path: str = ""
    constant: Tree = None
    data: bool = False


@dataclass
class Op:
    """One operation of torch, or the call of a submodule.

    Attributes:
        target: Short name of the operation, or path of the submodule.
        arguments: Positional and keyword arguments.
        result: What came.
        where: Where it stands.
        module: Whether it is the call of a submodule.
        body: What a submodule of somebody's own did.
    """

    target: str
    arguments: tuple[tuple[Tree, ...], dict[str, Tree]]
    result: Tree
    where: Where
    module: bool = False
    body: "Body | None" = None


@dataclass
class Body:
    """One call of a module's forward.

    Attributes:
        path: Path of the module.
        number: Which call of a module it is.
        inputs: Arguments by the names of forward's parameters.
        ops: What it did, in order.
        result: What it returned.
    """

    path: str
    number: int
    inputs: dict[str, Tree]
    ops: list[Op] = field(default_factory=list)
    result: Tree = None


@dataclass
class Graph:
    """All that one call of a network did.

    Attributes:
        body: The network's own call.
        values: All tensors by their numbers.
    """

    body: Body
    values: list[Value]


def refs(tree: Tree) -> Iterator[Ref]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Ref):
        yield tree
    elif isinstance(tree, dict):
        for child in tree.values():
            yield from refs(child)
    elif isinstance(tree, tuple | list):
        for child in tree:
            yield from refs(child)
    elif isinstance(tree, slice):
        yield from refs((tree.start, tree.stop, tree.step))


def mapped(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The tree with a function of each leaf."""
    if isinstance(tree, dict):
        return {key: mapped(function, child) for key, child in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(mapped(function, child) for child in tree)
    if isinstance(tree, slice):
        return slice(*(mapped(function, part) for part in (tree.start, tree.stop, tree.step)))
    return function(tree)
