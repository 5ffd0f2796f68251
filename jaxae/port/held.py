"""What holds a weight in an NNX module: a variable, an array in a dict, or one layer's part of stacked variables."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import jax
import numpy as np
from flax import nnx

Value = TypeVar("Value")


@dataclass(frozen=True)
class HeldArray:
    """An array in a dict of a module, in no variable (so does `nnx.WeightNorm`), with a variable's methods."""

    holder: dict
    key: tuple[str, ...]

    def get_value(self) -> jax.Array | jax.ShapeDtypeStruct:
        """The array."""
        return self.holder[self.key]

    def set_value(self, value: jax.Array) -> None:
        """Put another in its place."""
        self.holder[self.key] = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.get_value().shape

    @property
    def dtype(self) -> np.dtype:
        """Its dtype."""
        return self.get_value().dtype


Whole = nnx.Variable | HeldArray


@dataclass(frozen=True)
class Slice:
    """One layer's part of a variable that holds those of several alike, stacked by `nnx.vmap` for a scan.

    Attributes:
        whole: The variable.
        index: Number of the layer along each leading axis.
    """

    whole: Whole
    index: tuple[int, ...]

    def get_value(self) -> jax.Array | jax.ShapeDtypeStruct:
        """The part."""
        value = self.whole.get_value()
        if isinstance(value, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(self.shape, value.dtype)
        return value[self.index]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.whole.shape[len(self.index) :]

    @property
    def dtype(self) -> np.dtype:
        """Its dtype."""
        return self.whole.dtype


Held = nnx.Variable | HeldArray | Slice


def whole_of(held: Held) -> Whole:
    """The variable that a weight is, or is a part of."""
    return held.whole if isinstance(held, Slice) else held


def identity(held: Held) -> Hashable:
    """Equal for two that are the same weight."""
    return (id(held.whole), held.index) if isinstance(held, Slice) else id(held)


def stacked(filled: Iterable[tuple[Held, np.ndarray]]) -> Iterator[tuple[Whole, np.ndarray]]:
    """Values of whole variables, of values that may be of their parts; a part that has none keeps its own.

    A variable comes as soon as it has all its parts, so that one alone need be in memory.
    """
    begun: dict[int, tuple[Whole, np.ndarray, set[tuple[int, ...]]]] = {}
    for held, array in filled:
        if not isinstance(held, Slice):
            yield held, array
            del array  # before the next one is made
            continue
        whole = held.whole
        if id(whole) not in begun:
            value = whole.get_value()
            # Of torch's dtype, which a variable takes on as it is filled.
            abstract = isinstance(value, jax.ShapeDtypeStruct)
            made = np.zeros(whole.shape, array.dtype) if abstract else np.array(value).astype(array.dtype)
            begun[id(whole)] = whole, made, set()
        _, made, there = begun[id(whole)]
        made[held.index] = array
        there.add(held.index)
        if len(there) == math.prod(whole.shape[: len(held.index)]):
            del begun[id(whole)]
            yield whole, made
    yield from ((whole, made) for whole, made, _ in begun.values())


def part_path(path: str, index: tuple[int, ...]) -> str:
    """How a part of the variable at a path is called: `blocks.fc.kernel[0]`."""
    return f"{path}[{', '.join(map(str, index))}]" if index else path


def joined(parts: Mapping[str, tuple[np.ndarray, ...]]) -> dict[str, tuple[np.ndarray, ...]]:
    """Arrays by the path of whole variables, of arrays by the path of parts, of which none is left out."""
    found: dict[str, dict[tuple[int, ...], tuple[np.ndarray, ...]]] = {}
    whole: dict[str, tuple[np.ndarray, ...]] = {}
    for path, arrays in parts.items():
        above, bracket, index = path.removesuffix("]").partition("[")
        if bracket:
            found.setdefault(above, {})[tuple(map(int, index.split(", ")))] = arrays
        else:
            whole[path] = arrays
    for path, slices in found.items():
        sizes = tuple(np.max(list(slices), axis=0) + 1)
        ordered = [slices[index] for index in np.ndindex(sizes)]
        whole[path] = tuple(np.stack(of_all).reshape(*sizes, *of_all[0].shape) for of_all in zip(*ordered, strict=True))
    return whole


def above_part(path: str) -> str:
    """The path of the whole variable that a path is of, or of which it names a part."""
    return path.partition("[")[0]
