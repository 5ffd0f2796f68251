"""Names: which torch path a Flax path stands for.

The same path is the default. `torch.nn.Sequential` numbers its children, functions among them; `nnx.Sequential` keeps
them in `.layers`, and where its own numbers leave other gaps than torch's, the layers are paired in order.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from jaxae.errors import InputError

Names = Mapping[str, str] | Callable[[str], str] | None

# What DataParallel and torch.compile put into the paths of the modules that they wrap.
_WRAPPERS = ("module", "_orig_mod")


def join(*parts: str) -> str:
    """A dotted path of parts, the empty ones left out."""
    return ".".join(part for part in parts if part)


def unwrap(names: Iterable[str], targets: Iterable[str] = ()) -> dict[str, str]:
    """Tensor names without the wrappers' parts, each with the name that it came under.

    A part is kept where the target network has one of that name itself.

    Raises:
        InputError: If two tensors get the same name.
    """
    own = {part for target in targets for part in target.split(".")}
    drop = {part for part in _WRAPPERS if part not in own}
    clean: dict[str, str] = {}
    for name in names:
        short = ".".join(part for part in name.split(".") if part not in drop)
        if short in clean:
            raise InputError(f"expected one tensor named {short!r}, got {clean[short]!r} and {name!r}")
        clean[short] = name
    return clean


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A suggestion to end an error with: the most similar candidate, or nothing."""
    found = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""


class Paths:
    """Maps a Flax layer's path to a template of torch names, `features.0.*`.

    Args:
        names: None for the same path; a mapping from Flax paths, of layers or of whole branches, to torch paths or
            templates; a function from the path as torch would write it to torch's.
        available: torch's tensor names where they are known, to pair a Sequential's numbers.
    """

    def __init__(self, names: Names, available: Iterable[str] = ()):
        self._function = names if callable(names) else None
        self._mapping: Mapping[str, str] = {} if callable(names) or names is None else names
        self._numbers: dict[str, set[int]] = defaultdict(set)
        for name in available:
            parts = name.split(".")
            for depth, part in enumerate(parts[:-1]):
                if part.isdigit():
                    self._numbers[".".join(parts[:depth])].add(int(part))
        self.unused = set(self._mapping)  # keys that no layer or variable had
        self.notes: list[str] = []

    def given(self, path: str) -> str | None:
        """The torch path that the mapping gives for a layer or a variable, or None."""
        self.unused.discard(path)
        return self._mapping.get(path)

    def child(self, above: str, flax: str, part: str, siblings: list[int] | None) -> str:
        """The torch path of a module, given its parent's.

        Args:
            above: The parent's torch path.
            flax: The module's own Flax path.
            part: What torch would call it below its parent; empty where torch has no such level.
            siblings: Numbers of the parent's children that hold tensors, where it is a sequence.
        """
        if (given := self.given(flax)) is not None:
            return given
        if part and siblings is not None:
            part = str(self._paired(above, int(part), siblings))
        return join(above, part)

    def template(self, path: str, suffix: str = "") -> str:
        """The template of a layer's tensor names, where `*` stands for the tensor's own.

        A suffix is what torch's recurrent networks append, `_l0`; a template that the mapping gives says its own.
        """
        if self._function is not None:
            path = self._function(path)
            if not isinstance(path, str):
                raise InputError(f"expected the function of names to return a path, got {path!r}")
        return path if "*" in path else join(path, "*") + suffix

    def _paired(self, above: str, number: int, siblings: list[int]) -> int:
        theirs = sorted(self._numbers.get(above, ()))
        if self._function is not None or theirs == siblings or len(theirs) != len(siblings):
            return number
        self.notes.append(f"{above or 'the network'}: layers {siblings} paired in order with torch's {theirs}")
        return theirs[siblings.index(number)]
