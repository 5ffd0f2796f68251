"""Linen's variables: nested dicts of arrays, by collection, as people have them in memory and in files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flax.core import FrozenDict, meta
from jaxtyping import PyTree

from jaxae.errors import InputError, brief
from jaxae.port.arrays import is_torch

Path = tuple[str, ...]

PARAMS = "params"
# What stands beside the collections of weights: a TrainState's other fields, and what a forward pass notes down.
_ASIDE = ("opt_state", "step", "cache", "intermediates", "metrics")
_LEAVES = {"kernel", "embedding", "scale", "negative_slope"}
_MOST_LEVELS = 64


def is_linen(mapping: Mapping[Any, Any]) -> bool:
    """Whether a mapping is Linen's: nested and with Flax's names, or with paths written with slashes."""
    leaves = []
    for path, leaf in leaves_of(mapping):
        if is_torch(leaf):
            return False
        leaves.append(path)
    slashed = any("/" in path[0] or path[0].startswith(f"{PARAMS}.") for path in leaves if len(path) == 1)
    nested = any(len(path) > 1 for path in leaves)
    names = {re.split("[/.]", path[-1])[-1] for path in leaves}
    dotted = any("." in path[-1] for path in leaves)
    said = isinstance(mapping, FrozenDict) or (isinstance(mapping.get(PARAMS), Mapping) and not dotted)
    return bool(leaves) and (nested or slashed) and (said or bool(names & _LEAVES))


@dataclass(frozen=True)
class Collections:
    """Linen variables, whatever form they came in.

    Attributes:
        tree: The nested dict of each collection, boxes and all.
        leaves: The leaves of each collection by path.
        bare: Whether they came without the "params" level.
        aside: Names of what stood beside them: an optimizer's state, a step.
    """

    tree: Mapping[str, Any]
    leaves: Mapping[str, Mapping[Path, Any]]
    bare: bool
    aside: list[str]

    @property
    def flat(self) -> dict[str, Any]:
        """All arrays by dotted path, out of their boxes."""
        return {".".join(path): unboxed(leaf) for held in self.leaves.values() for path, leaf in held.items()}


def read_collections(tree: Mapping[Any, Any], origin: str) -> Collections:
    """Read variables: a dict with collections or one of parameters alone, nested or flat, or a training state.

    Of a training state, whose params may be whole variables themselves, the optimizer's state and the step are left
    aside.

    Raises:
        InputError: If it holds no parameters, something else than arrays, or two variables at one path.
    """
    tree = _unslashed(tree)
    aside: list[str] = []
    bare = not isinstance(tree.get(PARAMS), Mapping)
    if bare:
        tree = {PARAMS: tree}
    elif isinstance(tree[PARAMS].get(PARAMS), Mapping):
        outer, tree = tree, tree[PARAMS]
        others = [name for name in outer if name != PARAMS]
        aside += map(str, others)
        stray = [str(name) for name in others if name not in _ASIDE and isinstance(outer[name], Mapping)]
        if stray:
            raise InputError(f"expected the collections of {origin} beside each other, got {brief(stray)} above")
    kept: dict[str, Any] = {}
    for name, collection in tree.items():
        if name in _ASIDE or not isinstance(collection, Mapping):
            aside.append(str(name))
        else:
            kept[str(name)] = collection
    leaves = {name: dict(leaves_of(collection)) for name, collection in kept.items()}
    owners: dict[Path, str] = {}
    for name, held in leaves.items():
        for path, leaf in held.items():
            where = brief("/".join((name, *path)))
            if not hasattr(unboxed(leaf), "shape"):
                raise InputError(f"expected arrays in {origin}, got {type(leaf).__name__} at {where!r}")
            if owners.setdefault(path, name) != name:
                raise InputError(
                    f"expected one variable at a path in {origin}, got {where!r} and one in {owners[path]}"
                )
    if not leaves[PARAMS]:
        raise InputError(f"expected parameters in {origin}, got none")
    return Collections(kept, leaves, bare, aside)


def unboxed(leaf: PyTree) -> PyTree:
    """The array of a leaf, out of `linen.Partitioned` and the like."""
    while isinstance(leaf, meta.AxisMetadata):
        leaf = leaf.unbox()
    return leaf


def replaced(tree: Mapping[Any, Any], values: Mapping[Path, Any]) -> dict[str, Any]:
    """A new tree like another, with the arrays at these paths, in their boxes."""

    def renew(node: Any, path: Path) -> Any:
        if isinstance(node, Mapping):
            return {name: renew(child, (*path, str(name))) for name, child in node.items()}
        if path not in values:
            return node
        return node.replace_boxed(values[path]) if isinstance(node, meta.AxisMetadata) else values[path]

    return renew(tree, ())


def leaves_of(tree: Mapping[Any, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The leaves of nested mappings by path."""
    if len(above) > _MOST_LEVELS:
        raise InputError(f"expected Linen variables of at most {_MOST_LEVELS} levels, got more")
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves_of(value, (*above, str(name)))
        else:
            yield (*above, str(name)), value


def _unslashed(tree: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A flat mapping of paths written with slashes, or with dots below "params", as the nested one."""
    flat = all(not isinstance(value, Mapping) for value in tree.values())
    sign = next((sign for sign in "/." if any(sign in str(name) for name in tree)), "")
    if not (flat and sign):
        return tree
    nested: dict[str, Any] = {}
    for name, value in tree.items():
        *above, last = str(name).split(sign)
        level = nested
        for part in above:
            level = level.setdefault(part, {})
            if not isinstance(level, dict):
                raise InputError(f"expected one thing at a path, got an array and others below it at {brief(name)!r}")
        if last in level:
            raise InputError(f"expected one thing at a path, got two at {brief(name)!r}")
        level[last] = value
    return nested
