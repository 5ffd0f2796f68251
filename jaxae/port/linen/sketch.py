"""Sketches: what layers a Linen module has, from an abstract run on made-up inputs, where no inputs are given.

A layer's class and settings do not depend on how many rows or pixels come in. A run counts where it makes variables of
the very paths and ranks that are held, so only its sizes are made up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from jaxae.port.linen.kinds import Shapes, kind_of
from jaxae.port.linen.run import LayerCall, keep_first, run
from jaxae.port.linen.variables import Path, leaves_of, unboxed

_LENGTH, _SIZES = 16, (64, 224, 32, 28, 16, 8, 128, 384)
_MOST = 4  # numbers of channels that are tried


def sketch(module: linen.Module, shapes: Mapping[Path, tuple[int, ...]]) -> dict[Path, LayerCall]:
    """The first call of each layer of a module with variables of these shapes; none where no run fits.

    Args:
        module: The module.
        shapes: Shapes of its variables by path.
    """
    for one in _inputs(shapes):
        seen: dict[Path, LayerCall] = {}
        initialise = partial(run, module, None, end=partial(keep_first, seen))
        try:
            _, made = jax.eval_shape(initialise, one)
        except Exception:  # of the module's own code, given what it was not written for
            continue
        if _fits(made, shapes, seen):
            return {path: replace(call, shapes=_held_shapes(call, shapes)) for path, call in seen.items()}
    return {}


def _inputs(shapes: Mapping[Path, tuple[int, ...]]) -> Iterator[jax.ShapeDtypeStruct]:
    """Inputs of one row that a network with such kernels may take, images first."""
    kernels = [shape for path, shape in shapes.items() if path[-1] == "kernel"]
    for rank in (5, 4, 3, 2):
        widths = sorted({shape[-2] for shape in kernels if len(shape) == rank})[:_MOST]
        for size in _SIZES if rank == 4 else (_LENGTH,):
            for width in widths:
                yield jax.ShapeDtypeStruct((1, *(rank - 2) * [size], width), jnp.float32)
    if any(path[-1] == "embedding" for path in shapes):
        yield jax.ShapeDtypeStruct((1, _LENGTH), jnp.int32)
    for width in sorted({shape[0] for shape in kernels if len(shape) in (2, 3)})[:_MOST]:  # of sequences
        yield jax.ShapeDtypeStruct((1, _LENGTH, width), jnp.float32)


def _fits(made: Mapping[str, Any], shapes: Mapping[Path, tuple[int, ...]], seen: Mapping[Path, LayerCall]) -> bool:
    """Whether a run made the variables that are held: in layers of all sizes but that of the inputs."""
    found = {path: tuple(unboxed(leaf).shape) for one in made.values() for path, leaf in leaves_of(one)}
    if set(found) != set(shapes):
        return False
    layers = [path for path, call in seen.items() if kind_of(call.layer) is not None]
    return all(
        len(found[path]) == len(shape)
        and (not any(path[: len(one)] == one for one in layers) or found[path][-1:] == shape[-1:])
        for path, shape in shapes.items()
    )


def _held_shapes(call: LayerCall, shapes: Mapping[Path, tuple[int, ...]]) -> Shapes:
    """Shapes of a layer's variables as it would see those that are held: the last axes of stacked ones."""
    full = {name: shapes.get((*call.path, *name.split(".")), shape) for name, shape in call.shapes.items()}
    return {name: shape[len(shape) - len(call.shapes[name]) :] for name, shape in full.items()}
