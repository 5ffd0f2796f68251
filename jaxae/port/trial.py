"""Trial networks: copies of both networks in float64, inputs for them, and random values in place of the weights."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from numpy.typing import ArrayLike

from jaxae.errors import InputError

if TYPE_CHECKING:
    import torch

# A network's one argument, or a tuple or list of them: arrays, or shapes of arrays of floats.
Inputs = ArrayLike | Sequence[ArrayLike | Sequence[int]]


def float64_twin(module: nnx.Module) -> nnx.Module:
    """A copy of an NNX module that computes in float64, also where it was built for another dtype, or is abstract."""
    return twin_in(module, jnp.float64)


def twin_in(module: nnx.Module, compute: DTypeLike) -> nnx.Module:
    """A copy of an NNX module that computes in a dtype, also where it was built for another one, or is abstract."""

    def widen(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            leaf = jnp.broadcast_to(jax.random.key(0), leaf.shape) if key else jnp.zeros(leaf.shape, leaf.dtype)
        floats = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, compute) if floats else leaf

    graph, state = nnx.split(module)
    twin = nnx.merge(graph, jax.tree.map(widen, state), copy=True)
    for _, layer in nnx.iter_modules(twin):
        for name in ("dtype", "param_dtype"):
            dtype = vars(layer).get(name)
            if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
                setattr(layer, name, compute)
        if isinstance(layer, nnx.BatchNorm) and jnp.dtype(compute).itemsize < 4:  # its statistics are float32's
            layer.dtype = compute if layer.dtype is None else layer.dtype
            for statistic in (layer.mean, layer.var):
                statistic.set_value(statistic.get_value().astype(jnp.float32))
    return twin


def float64_copy(module: "torch.nn.Module") -> "torch.nn.Module":
    """A copy of a torch module on the CPU in float64, unwrapped where `torch.compile` wraps it."""
    from torch_ref.copies import copied

    return copied(getattr(module, "_orig_mod", module)).cpu().double()


def read_inputs(inputs: Inputs) -> list[np.ndarray]:
    """Arguments as arrays, floats in float64; a shape becomes normal numbers.

    Raises:
        InputError: If one is neither an array of numbers nor a shape.
    """
    several: Any = inputs if isinstance(inputs, tuple | list) and not is_shape(inputs) else (inputs,)
    rng = np.random.default_rng(0)
    arrays = []
    for index, one in enumerate(several):
        array = (
            rng.standard_normal(one) if is_shape(one) else np.asarray(one.detach() if hasattr(one, "detach") else one)
        )
        if array.dtype.kind not in "fiub":
            raise InputError(f"expected arrays of numbers, got input {index} of {array.dtype}")
        arrays.append(np.array(array, np.float64 if array.dtype.kind == "f" else None, order="C"))
    return arrays


def is_shape(value: object) -> bool:
    """Whether it is a shape: a tuple or list of whole numbers."""
    return isinstance(value, tuple | list) and bool(value) and all(type(one) is int and one > 0 for one in value)


def redraw(arrays: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Other inputs like the given ones: floats of their mean and deviation, whole numbers out of theirs."""
    drawn = []
    for array in arrays:
        if array.dtype.kind == "f" and array.size:
            spread = float(array.std()) or 1.0
            drawn.append(rng.normal(float(array.mean()), spread, array.shape))
        elif array.dtype.kind in "iu" and array.size:
            drawn.append(rng.choice(array.ravel(), array.shape))
        else:  # a mask: another one may leave nothing
            drawn.append(array)
    return drawn


def layouts(arrays: Sequence[np.ndarray]) -> Iterator[tuple[bool, ...]]:
    """Which arguments have their channels moved to the end for Flax, the likeliest first: floats of 4 axes or more."""
    choices = []
    for array in arrays:
        movable = array.ndim >= 3 and array.dtype.kind == "f"
        choices.append(((True, False) if array.ndim >= 4 else (False, True)) if movable else (False,))
    yield from product(*choices)


def move_channels(arrays: Sequence[np.ndarray], moved: Sequence[bool]) -> list[np.ndarray]:
    """The arguments with axis 1 at the end where that is said."""
    return [
        np.ascontiguousarray(np.moveaxis(array, 1, -1)) if move else array
        for array, move in zip(arrays, moved, strict=True)
    ]


def taken_by(
    twin: nnx.Module, call: Callable[..., Any], given: Sequence[np.ndarray], nnx_inputs: Inputs | None
) -> list[np.ndarray]:
    """The arguments of a Flax network: torch's as they are or with channels last, whichever it runs on.

    Raises:
        InputError: If it runs on neither.
    """
    return read_inputs(nnx_inputs) if nnx_inputs is not None else move_channels(given, layout_for(twin, call, given))


def layout_for(twin: nnx.Module, call: Callable[..., Any], given: Sequence[np.ndarray]) -> tuple[bool, ...]:
    """Which of the arguments must have their channels moved to the end for a Flax network to run on them.

    Raises:
        InputError: If it does not run on them either way.
    """
    failure = ""
    for moved in layouts(given):
        try:
            jax.eval_shape(lambda *arrays: call(nnx.clone(twin), *arrays), *move_channels(given, moved))
        except (TypeError, ValueError, IndexError) as error:
            failure = failure or str(error).partition("\n")[0]
        else:
            return moved
    raise InputError(f"expected inputs that the NNX module takes, as they are or with channels last, got: {failure}")


def randomise(module: "torch.nn.Module", buffers: Collection[str], rng: np.random.Generator) -> None:
    """Put random values into every parameter of a torch module, and into the buffers named.

    An untrained network hides faults: its running means are 0, its norms' scales 1, its biases often 0.
    """
    import torch

    with torch.no_grad():
        for name, leaf in module.named_parameters():
            leaf.copy_(torch.from_numpy(_like_weight(name, tuple(leaf.shape), rng)))
        for name, leaf in module.named_buffers():
            if name in buffers and leaf.is_floating_point():
                value = leaf.double().numpy()
                positive = name.endswith("running_var")
                # Statistics of trained weights are not those of random ones: a large mean would leave nothing of what
                # comes, and no order of features to be read.
                about = np.float64(positive) if positive or name.endswith("running_mean") else value
                drawn = about * (1 + 0.2 * rng.standard_normal(value.shape)) + 0.3 * rng.standard_normal(value.shape)
                leaf.copy_(torch.from_numpy(np.abs(drawn) + 0.5 if positive else np.asarray(drawn)))


def _like_weight(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if len(shape) >= 2:
        return rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
    return np.asarray(0.3 * rng.standard_normal(shape) + (0 if "bias" in name else 1))
