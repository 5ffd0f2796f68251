"""What a row of the table is: a torch tensor, a Flax variable, and the axis pattern between them.

Both directions come from one row: the pattern `torch axes -> flax axes` is run as it stands on the way in and
reversed on the way out. Axes named `inputs`, `outputs` and `features` are a layer's own; a flatten or an unflatten
beside the layer refines them (see `jaxae.port.flatten`).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from einops import rearrange

from jaxae.errors import InputError

Sizes = Mapping[str, int]

_REST = ("...",)


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
    """

    torch: str | tuple[str, ...]
    flax: str | tuple[str, ...]
    pattern: str
    flip: bool = False

    def __post_init__(self) -> None:
        _, arrow, right = self.pattern.partition("->")
        if not arrow or "->" in right:
            raise InputError(f"expected a pattern 'torch axes -> flax axes', got {self.pattern!r}")
        if len(self.flax_names) > 1 and right.split()[:1] != ["parts"]:
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

    def fits(self, flax_shape: tuple[int, ...]) -> bool:
        """Whether variables of this shape have the axes of the pattern."""
        axes = _axes(self.pattern.partition("->")[2])
        count = len(flax_shape) + (len(self.flax_names) > 1)
        return count >= len(axes) - 1 if _REST in axes else count == len(axes)

    def _sizes(self, flax_shape: tuple[int, ...], sizes: Sizes) -> tuple[dict[str, int], list[int]]:
        """Sizes of the axes that the Flax side names one by one, and of its `...`."""
        axes = _axes(self.pattern.partition("->")[2])
        parts = [len(self.flax_names)] if len(self.flax_names) > 1 else []
        shape = [*parts, *flax_shape]
        begin = axes.index(_REST) if _REST in axes else len(axes)
        end = begin + len(shape) - len(axes) + (_REST in axes)
        named = zip([one for one in axes if one != _REST], shape[:begin] + shape[end:], strict=True)
        known = {axis[0]: size for axis, size in named if len(axis) == 1}
        return {**sizes, **known, "1": 1}, shape[begin:end]

    def torch_shape(self, flax_shape: tuple[int, ...], sizes: Sizes) -> tuple[int, ...]:
        """The shape that torch's tensor must have for variables of this shape."""
        known, rest = self._sizes(flax_shape, sizes)
        shape: list[int] = []
        for axis in _axes(self.pattern.partition("->")[0]):
            shape += rest if axis == _REST else [math.prod(known[name] for name in axis)]
        return tuple(shape)

    def to_flax(self, tensor: np.ndarray, flax_shape: tuple[int, ...], sizes: Sizes) -> tuple[np.ndarray, ...]:
        """New arrays, one a Flax variable, of torch's tensor."""
        known, _ = self._sizes(flax_shape, sizes)
        del known["1"]
        whole = rearrange(tensor, self.pattern, **known)
        if self.flip:
            whole = _flip_space(whole)
        parts = whole if len(self.flax_names) > 1 else (whole,)
        return tuple(np.array(part, order="C") for part in parts)

    def to_torch(self, variables: tuple[np.ndarray, ...], sizes: Sizes) -> np.ndarray:
        """A new array in torch's layout of the Flax variables: the inverse of `to_flax`."""
        whole = np.stack(variables) if len(self.flax_names) > 1 else variables[0]
        if self.flip:
            whole = _flip_space(whole)
        left, arrow, right = self.pattern.partition("->")
        return np.array(rearrange(whole, right + arrow + left, **sizes), order="C")


def _axes(side: str) -> list[tuple[str, ...]]:
    """One side of a pattern, an axis a tuple of the names that it joins."""
    found = re.findall(r"\(([^)]*)\)|(\S+)", side)
    return [tuple(joined.split()) if joined else (single,) for joined, single in found]


def _flip_space(kernel: np.ndarray) -> np.ndarray:
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2)))


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
    default: Any = None

    def agree(self, flax_value: Any, torch_value: Any) -> bool:
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
        rows: Its tensors.
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
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...] = ()
    when: Callable[[Any], bool] = lambda _: True
    refuse: Callable[[Any], str | None] = _nothing
    refuse_torch: Callable[[Any], str | None] = _nothing
    note_torch: Callable[[Any], str | None] = _nothing
    refuse_tensors: Callable[[Any, Mapping[str, np.ndarray]], str | None] = _nothing
    counters: tuple[str, ...] = ()
    width: Callable[[Any], tuple[int, int]] | None = None
    spatial: bool = False
