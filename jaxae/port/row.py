"""What a row of the table is: a torch tensor, a Flax variable, and the axis pattern between them.

Both directions come from one row: the pattern `torch axes -> flax axes` is run as it stands on the way in and
reversed on the way out. Axes named `inputs`, `outputs` and `features` are a layer's own; a flatten or an unflatten
beside the layer refines them (see `jaxae.port.flatten`).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from einops import parse_shape, rearrange

from jaxae.errors import InputError

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Row:
    """One torch tensor and the Flax variable that it becomes.

    Attributes:
        torch: Name of the tensor below its layer, `weight`. Several names are tensors of which only the sum matters:
            they are added on the way in and cannot be told apart again, so such a row keeps a network's outputs, but
            not its training.
        flax: Path of the variable below its layer, `kernel` or `query.kernel`. Several paths are the parts of one
            packed tensor: the pattern's right side then begins with `parts`.
        pattern: Axes in einops' notation, torch's on the left.
        flip: Whether the spatial axes (all but the last two of the Flax side) are also reversed.
        orders: By axis of the torch side, the torch feature that each Flax feature is, where their order differs.
    """

    torch: str | tuple[str, ...]
    flax: str | tuple[str, ...]
    pattern: str
    flip: bool = False
    orders: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        _, arrow, right = self.pattern.partition("->")
        if not arrow or "->" in right:
            raise InputError(f"expected a pattern 'torch axes -> flax axes', got {self.pattern!r}")
        left, right = (re.findall(r"[a-z]\w*|\.\.\.", side, re.IGNORECASE) for side in self.pattern.split("->"))
        if sorted(left) != sorted(set(right)) or len(left) != len(right):
            raise InputError(f"expected each axis once on both sides of a row's pattern, got {self.pattern!r}")
        if len(self.flax_names) > 1 and right[:1] != ["parts"]:
            raise InputError(f"expected 'parts' first on the right of a packed row's pattern, got {self.pattern!r}")

    @property
    def torch_names(self) -> tuple[str, ...]:
        """The torch tensors, one or those that are summed."""
        return (self.torch,) if isinstance(self.torch, str) else self.torch

    @property
    def flax_names(self) -> tuple[str, ...]:
        """The Flax variables, one or the parts of a packed tensor."""
        return (self.flax,) if isinstance(self.flax, str) else self.flax

    @property
    def forward_only(self) -> bool:
        """Whether torch's tensors are summed, so that only outputs survive the port."""
        return len(self.torch_names) > 1

    def rank(self, layer: object) -> int | None:
        """Axes of each of a layer's Flax variables; None where neither the pattern nor the layer's kernel tells."""
        words = re.findall(r"\([^)]*\)|\S+", self.pattern.partition("->")[2])
        count = len(words) - (len(self.flax_names) > 1)
        if "..." not in words:
            return count
        kernel = getattr(layer, "kernel_size", None)
        return None if kernel is None else count - 1 + (1 if isinstance(kernel, int) else len(kernel))

    def joined(self, tensors: Sequence[np.ndarray]) -> np.ndarray:
        """The one tensor of which a port to Flax is made: the sum of several."""
        return reduce(np.add, tensors)

    def parted(self, whole: np.ndarray) -> tuple[np.ndarray, ...]:
        """Tensors that give this one when joined: the first has the sum of several, the others are zero."""
        return (whole, *(np.zeros_like(whole) for _ in self.torch_names[1:]))

    def torch_shape(self, flax_shape: tuple[int, ...], sizes: Sizes) -> tuple[int, ...]:
        """The shape that torch's tensor must have for variables of this shape.

        Raises:
            EinopsError: If such variables have other axes than the pattern.
        """
        return self._in_torch(self._stand_in(flax_shape), sizes).shape

    def to_flax(self, tensor: np.ndarray, flax_shape: tuple[int, ...], sizes: Sizes) -> tuple[np.ndarray, ...]:
        """New arrays, one a Flax variable, of torch's tensor."""
        split = re.sub(r"\(.*?\)", "_", self.pattern.partition("->")[2])  # axes of which `sizes` tells the parts
        for axis, order in self._axis_orders():
            tensor = np.take(tensor, order, axis)
        whole = rearrange(tensor, self.pattern, **sizes, **parse_shape(self._stand_in(flax_shape), split))
        parts = self._flipped(whole) if len(self.flax_names) > 1 else [self._flipped(whole)]
        return tuple(np.array(part, order="C") for part in parts)

    def to_torch(self, variables: tuple[np.ndarray, ...], sizes: Sizes) -> np.ndarray:
        """A new array in torch's layout of the Flax variables: the inverse of `to_flax`."""
        whole = np.stack(variables) if len(self.flax_names) > 1 else variables[0]
        tensor = self._in_torch(self._flipped(whole), sizes)
        for axis, order in self._axis_orders():
            tensor = np.take(tensor, np.argsort(order), axis)
        return np.array(tensor, order="C")

    def _axis_orders(self) -> list[tuple[int, tuple[int, ...]]]:
        axes = re.findall(r"\([^)]*\)|\S+", self.pattern.partition("->")[0])
        return [(axes.index(name), order) for name, order in self.orders]

    def _stand_in(self, flax_shape: tuple[int, ...]) -> np.ndarray:
        """An array of the variables' shape that has no memory, packed ones stacked."""
        count = len(self.flax_names)
        return np.broadcast_to(0, (count, *flax_shape) if count > 1 else flax_shape)

    def _in_torch(self, whole: np.ndarray, sizes: Sizes) -> np.ndarray:
        left, arrow, right = self.pattern.partition("->")
        return rearrange(whole, right + arrow + left, **sizes)

    def _flipped(self, kernel: np.ndarray) -> np.ndarray:
        return np.flip(kernel, axis=tuple(range(kernel.ndim - 2))) if self.flip else kernel


@dataclass(frozen=True)
class Setting:
    """A setting that no state_dict holds, read from both frameworks' layers in the same terms.

    Attributes:
        name: What a user calls it.
        flax: Its value in the Flax layer.
        torch: Its value in the torch layer.
        default: torch's default, None where it has none; shown beside an assumed value.
    """

    name: str
    flax: Callable[[Any], Any]
    torch: Callable[[Any], Any]
    default: object = None

    def agree(self, flax_value: object, torch_value: object) -> bool:
        """Whether two values mean the same: numbers to rounding, for 1 - 0.9 is not 0.1."""
        if isinstance(flax_value, float) and isinstance(torch_value, float):
            return math.isclose(flax_value, torch_value, rel_tol=1e-9)
        return flax_value == torch_value


def _nothing(*_: Any) -> str | None:
    return None


@dataclass(frozen=True)
class Layer:
    """What ports between one type of Flax layer and its torch counterparts.

    Attributes:
        flax: The layer's type.
        torch: Names in `torch.nn` (or of a user's own classes) of the layers it stands for.
        rows: Its tensors, or a function that gives those of a layer where they depend on its settings.
        settings: What must agree beside them.
        when: Which layers of the type these rows are for, where they depend on its settings.
        refuse: Says why this Flax layer has no torch counterpart, or None.
        refuse_torch: Says why Flax cannot hold this torch layer, or None.
        note_torch: Says what a user should know of this torch layer in Flax, or None.
        refuse_tensors: Says why Flax cannot hold these tensors, by their names, or None.
        counters: torch's buffers that Flax does not keep and that no output depends on.
        width: Features (or channels) that come in and go out, where the layer has such.
        spatial: Whether it sees positions beside channels, so that a flatten may follow it.
    """

    flax: type
    torch: tuple[str, ...]
    rows: tuple[Row, ...] | Callable[[Any], tuple[Row, ...]]
    settings: tuple[Setting, ...] = ()
    when: Callable[[Any], bool] = lambda _: True
    refuse: Callable[[Any], str | None] = _nothing
    refuse_torch: Callable[[Any], str | None] = _nothing
    note_torch: Callable[[Any], str | None] = _nothing
    refuse_tensors: Callable[[Any, Mapping[str, np.ndarray]], str | None] = _nothing
    counters: tuple[str, ...] = ()
    width: Callable[[Any], tuple[int, int]] | None = None
    spatial: bool = False

    def rows_of(self, layer: object) -> tuple[Row, ...]:
        """The rows of one layer of the type."""
        return self.rows(layer) if callable(self.rows) else self.rows
