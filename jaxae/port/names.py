"""Names: which torch path a Flax path stands for.

The same path is the default. `torch.nn.Sequential` numbers its children, functions among them; `nnx.Sequential` keeps
them in `.layers`, and where its own numbers leave other gaps than torch's, the layers are paired in order.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from jaxae.errors import InputError, brief

Names = Mapping[str, str] | Callable[[str], str] | None

MOST_STACKS = 3  # leading axes that are taken for numbers of layers: more are those of a wrong rank
# What DataParallel and torch.compile put into the paths of the modules that they wrap.
_WRAPPERS = ("module", "_orig_mod")
AVERAGED = "n_averaged"  # the counter that torch's AveragedModel has beside the network, which it wraps


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
            got = f"{brief(clean[short])!r} and {brief(name)!r}"
            raise InputError(f"expected one tensor named {brief(short)!r}, got {got}")
        clean[short] = name
    return clean


def without_prefix(names: Mapping[str, str], targets: Iterable[str]) -> tuple[dict[str, str], str]:
    """Names without the parts that all of them begin with and the target network has not; and those parts.

    A trainer's checkpoint has the network under an attribute of its own, `model.fc1.weight`.
    """
    own = {part for target in targets for part in target.split(".")}
    clean, prefix = dict(names), ""
    while clean and len(heads := {name.partition(".")[0] for name in clean}) == 1:
        (head,) = heads
        if head in own or head.isdigit() or not all("." in name for name in clean):
            break
        clean = {name.partition(".")[2]: full for name, full in clean.items()}
        prefix = join(prefix, head)
    if prefix and any(name.partition(".")[0] in own for name in clean):
        return clean, prefix
    return dict(names), ""


def with_numbers(name: str, count: int) -> Iterator[str]:
    """A torch name with `{}` for the numbers of lists before any of its parts, as a template, the outermost first."""
    parts = name.split(".")
    for before in combinations_with_replacement(range(len(parts)), count):
        yield ".".join(word for number, part in enumerate(parts) for word in [*["{}"] * before.count(number), part])


def all_there(template: str, sizes: tuple[int, ...], available: Container[str]) -> bool:
    """Whether torch has the names of all layers of lists of these sizes."""
    return all(template.format(*index) in available for index in np.ndindex(sizes))


def own_names(names: Iterable[str], targets: Iterable[str]) -> dict[str, str]:
    """Tensor names as a network whose names are known has them, each with the name that it came under.

    Wrappers' parts, a prefix that all have, and the counter of an AveragedModel are left out.
    """
    targets = list(targets)
    found = unwrap(names, targets)
    if AVERAGED not in targets:
        found.pop(AVERAGED, None)
    return found if set(targets) <= set(found) else without_prefix(found, targets)[0]


def below_prefix(tensors: Mapping[str, Any], prefix: str) -> tuple[dict[str, Any], list[str]]:
    """The tensors whose names begin with a prefix, without it; and a sentence on those that are left aside.

    Raises:
        InputError: If there are none.
    """
    start = f"{prefix.rstrip('.')}."
    names = {name: name for name in tensors}
    if not any(name.startswith(start) for name in names):
        names = {full: short for short, full in unwrap(tensors, [prefix]).items()}
    found = {short.removeprefix(start): tensors[full] for full, short in names.items() if short.startswith(start)}
    depth = start.count(".")
    others = Counter(".".join(short.split(".")[:depth]) for short in names.values() if not short.startswith(start))
    told = brief(", ".join(f"{head!r} ({count})" for head, count in others.items()), 200)
    if not found:
        raise InputError(f"expected tensors whose names begin with {start!r}, got {told or 'none'}")
    return found, [f"left aside, for their names do not begin with {start!r}: {told}"] if others else []


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
        shapes: Shapes of those tensors, where they are known.
        kinds: Names of the classes of torch's layers by path, where they are known.
    """

    def __init__(
        self,
        names: Names,
        available: Iterable[str] = (),
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        kinds: Mapping[str, Collection[str]] | None = None,
    ):
        self._function = names if callable(names) else None
        self._mapping: Mapping[str, str] = {} if callable(names) or names is None else names
        self._numbers: dict[str, set[int]] = defaultdict(set)
        available = list(available)
        for name in available:
            parts = name.split(".")
            for depth, part in enumerate(parts[:-1]):
                if part.isdigit():
                    self._numbers[".".join(parts[:depth])].add(int(part))
        self.available = frozenset(available)
        self.shapes, self.kinds = shapes or {}, kinds or {}
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

    def tensors(self, path: str, template: str, flax: tuple[str, ...], torch: tuple[str, ...]) -> tuple[str, ...]:
        """Full names of a row's torch tensors: as given for its variable or the variable's module, or the template's.

        Args:
            path: The layer's Flax path.
            template: The template of its torch names.
            flax: Variables of the row, below the layer.
            torch: Tensors of the row, below the layer.
        """
        if len(flax) > 1 and len(torch) == 1 and "." in torch[0]:  # parts of one tensor of a layer below
            below, _, leaf = torch[0].rpartition(".")
            if (own := self.given(join(path, below))) is not None:
                return (join(own, leaf),)
        if len(flax) == 1 and len(torch) == 1:
            variable = join(path, flax[0])
            if (own := self.given(variable)) is not None:
                return (own,)
            above = variable.rpartition(".")[0]
            if above != path and (own := self.given(above)) is not None:
                return (self.template(own).replace("*", torch[0].rpartition(".")[2]),)
        return tuple(template.replace("*", name) for name in torch)

    def _paired(self, above: str, number: int, siblings: list[int]) -> int:
        theirs = sorted(self._numbers.get(above, ()))
        if self._function is not None or theirs == siblings or len(theirs) != len(siblings) or number not in siblings:
            return number
        self.notes.append(f"{above or 'the network'}: layers {siblings} paired in order with torch's {theirs}")
        return theirs[siblings.index(number)]
