"""The table whole, layers that users add to it, and the entry for a layer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxae.errors import InputError
from jaxae.port.row import Layer, Row
from jaxae.port.table.attention import ATTENTION
from jaxae.port.table.contractions import CONTRACTIONS
from jaxae.port.table.convolutions import CONVOLUTIONS
from jaxae.port.table.norms import NORMS
from jaxae.port.table.sequences import SEQUENCES
from jaxae.port.table.wrappers import WRAPPERS


def _refuse_slopes(_: Any, tensors: Mapping[str, np.ndarray]) -> str | None:
    shape = tensors["weight"].shape if "weight" in tensors else ()
    return f"nnx.PReLU has one slope, not one per channel (weight {shape})" if math.prod(shape) != 1 else None


_PRELU = Layer(nnx.PReLU, ("PReLU",), (Row("weight", "negative_slope", "1 -> "),), refuse_tensors=_refuse_slopes)

LAYERS = (*CONVOLUTIONS, *CONTRACTIONS, *NORMS, *ATTENTION, *SEQUENCES, *WRAPPERS, _PRELU)

_registered: dict[type, Layer] = {}


def register(flax: type, *rows: Row, torch: str | tuple[str, ...] = (), **more: Any) -> None:
    """Add a layer to the table: a user's own, or one that jaxae does not know.

    Args:
        flax: The NNX module's type. Sub-layers that no row names are ported by rows of their own.
        *rows: Rows, one for each torch tensor.
        torch: Class name of the torch layer, or several; checked where a torch module is given.
        **more: Other fields of `Layer`.

    Raises:
        InputError: If this is no type of module, or the table has rows for it already.
    """
    if not (isinstance(flax, type) and issubclass(flax, nnx.Module)):
        raise InputError(f"expected a type of nnx.Module to register, got {flax!r}")
    if flax in _registered or any(layer.flax is flax for layer in LAYERS):
        raise InputError(f"expected a layer that the table does not have, got {flax.__name__}")
    _registered[flax] = Layer(flax, (torch,) if isinstance(torch, str) else tuple(torch), rows, **more)


def rules_for(layer: nnx.Module) -> list[Layer]:
    """The entries for this very layer: several where torch has several names for its tensors, maybe none.

    A type that extends one of the table's counts as that one while it runs the same forward pass. A type that no file
    of jaxae knows may carry its rows itself, as `torch_rows`: arguments of `Row`, or several such where torch has
    several names.
    """
    if own := getattr(layer, "torch_rows", ()) if hasattr(type(layer), "torch_rows") else ():
        styles = own if isinstance(own[0][-1], tuple) else (own,)
        return [Layer(type(layer), (), tuple(Row(*row) for row in style)) for style in styles]
    for base in type(layer).__mro__:
        entries = [entry for entry in (*_registered.values(), *LAYERS) if entry.flax is base]
        if entries:
            same = _forward_pass(type(layer)) is _forward_pass(base)
            return [entry for entry in entries if same and entry.when(layer)]
    return []


def _forward_pass(kind: type) -> Callable[..., Any] | None:
    # Not kind.__call__: of a class without one that is its metaclass's, bound anew at each look.
    return next((vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base)), None)
