"""Rungs of single layers: every lowering against torch's layer, over a grid of settings."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx

from jaxae.network import layers
from jaxae.parity.cases import Precision
from jaxae.parity.rung_result import RungResult, judge
from jaxae.parity.tolerance import FORWARD, GRADIENT
from jaxae.port import from_torch

LayerSettings = dict[str, Any]

# Nothing here is square, and no two sizes are equal where the setting allows.
BATCH, HEIGHT, WIDTH = 3, 11, 8
CHANNELS = (4, 6)

LINEAR: tuple[LayerSettings, ...] = (
    {"features": (5, 7)},
    {"features": (7, 3), "use_bias": False},
    {"features": (1, 4)},
)

CONV: tuple[LayerSettings, ...] = (
    {"kernel_size": (3, 2)},
    {"kernel_size": (3, 2), "use_bias": False},
    {"kernel_size": 1},
    {"kernel_size": (6, 5), "stride": 2},
    {"kernel_size": (4, 3), "stride": (2, 3), "padding": (1, 2)},
    {"kernel_size": (2, 3), "stride": (3, 1)},
    {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (2, 1)},
    {"kernel_size": (3, 2), "groups": 2},
    {"kernel_size": (2, 3), "stride": 2, "padding": 1, "dilation": 2, "groups": 2},
    {"kernel_size": (5, 2), "padding": (4, 3), "use_bias": False},
)

CONV_TRANSPOSE: tuple[LayerSettings, ...] = (
    {"kernel_size": (3, 2)},
    {"kernel_size": (3, 2), "use_bias": False},
    {"kernel_size": 1, "stride": (2, 3)},
    {"kernel_size": (2, 2), "stride": 2},
    {"kernel_size": (4, 5), "stride": 3, "padding": 1},
    {"kernel_size": (6, 4), "stride": 3, "padding": (4, 2)},
    {"kernel_size": (3, 4), "stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2)},
    {"kernel_size": (2, 3), "stride": (4, 1), "output_padding": (3, 0)},
    {"kernel_size": (3, 2), "dilation": (2, 3), "padding": (1, 2)},
    {"kernel_size": (3, 2), "groups": 2},
    {"kernel_size": (2, 3), "stride": 2, "output_padding": 1, "dilation": 2, "groups": 2},
    {"kernel_size": (3, 5), "stride": 1, "padding": (2, 4)},
)


def layer_rows(dtype: Precision) -> Iterator[RungResult]:
    """Each kind of layer and lowering: outputs, and gradients of input and parameters."""
    yield from _rows("Linear", dtype, [_linear(settings) for settings in LINEAR])
    for lowering in ("plain", "matmul"):
        for kind, grid in (("Conv", CONV), ("ConvTranspose", CONV_TRANSPOSE)):
            cases = [_convolution(kind, lowering, settings) for settings in grid]
            yield from _rows(f"{kind}, {lowering} lowering", dtype, cases)


def condition_rows(dtype: Precision) -> Iterator[RungResult]:
    """A convolution that takes a class as a bias against one of an image with one-hot planes."""
    for lowering in ("plain", "matmul"):
        flax, reference, _ = _convolution("Conv", lowering, {"kernel_size": (4, 3), "stride": 2})
        reference.to(getattr(torch, dtype))
        from_torch(flax, reference)
        rng = np.random.default_rng(0)
        image = rng.standard_normal((BATCH, HEIGHT, WIDTH, 1)).astype(dtype)
        label = np.array([2, 0, 1])
        planes = np.zeros((BATCH, HEIGHT, WIDTH, 3), dtype) + np.eye(3)[label][:, None, None]
        whole = torch.from_numpy(np.concatenate([image, planes], -1)).permute(0, 3, 1, 2)
        found = {"output": flax(jnp.asarray(image), jnp.asarray(label))}
        theirs, exact = (
            {"output": reference.to(kind)(whole.to(kind)).permute(0, 2, 3, 1)}
            for kind in (getattr(torch, dtype), torch.float64)
        )
        yield judge("layers", f"Conv of a class, {lowering} lowering", dtype, FORWARD, found, theirs, exact)


ACTIVATION_PAIRS = {
    "leaky_relu": (layers.leaky_relu, F.leaky_relu),
    "sigmoid": (jax.nn.sigmoid, torch.sigmoid),
    "tanh": (jnp.tanh, torch.tanh),
    "relu": (jax.nn.relu, torch.relu),
}


def activation_rows(dtype: Precision) -> Iterator[RungResult]:
    """The activations and their slopes, from -30 to 30."""
    points = np.linspace(-30, 30, 2001).astype(dtype)
    for name, (function, reference) in ACTIVATION_PAIRS.items():
        sides: list[dict[str, Any]] = []
        for kind in (dtype, "float64"):
            x = torch.from_numpy(points.astype(kind)).requires_grad_()
            expected = reference(x)
            expected.sum().backward()
            sides.append({"value": expected, "slope": x.grad})
        value, pull = jax.vjp(function, jnp.asarray(points))
        found = {"value": value, "slope": pull(jnp.ones_like(value))[0]}
        yield judge("layers", name, dtype, FORWARD, found, sides[0], sides[1])


def _linear(settings: LayerSettings) -> tuple[Any, Any, tuple[int, ...]]:
    features, bias = settings["features"], settings.get("use_bias", True)
    flax = _abstract(partial(layers.Linear, *features, use_bias=bias))
    return flax, torch.nn.Linear(*features, bias=bias), (BATCH, 2, features[0])


def _convolution(kind: str, lowering: str, settings: LayerSettings) -> tuple[Any, Any, tuple[int, ...]]:
    flax = _abstract(partial(getattr(layers, kind), *CHANNELS, lowering=lowering, **settings))
    rest = {key: value for key, value in settings.items() if key != "use_bias"}
    make = torch.nn.Conv2d if kind == "Conv" else torch.nn.ConvTranspose2d
    reference = make(*CHANNELS, bias=settings.get("use_bias", True), **rest)
    return flax, reference, (BATCH, HEIGHT, WIDTH, CHANNELS[0])


def _abstract(make: Callable[..., nnx.Module]) -> Any:
    """A layer without values: they are about to be ported, and drawing costs compilations."""
    return nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))


def _rows(name: str, dtype: Precision, cases: list) -> Iterator[RungResult]:
    torch.manual_seed(0)
    wanted, exact, arrays, functions = [], [], [], []
    for flax, reference, shape in cases:
        reference.reset_parameters()
        reference.to(getattr(torch, dtype))
        from_torch(flax, reference)
        x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
        cotangent, *wide = _torch_side(reference, x, torch.float64)
        exact.append(wide)
        wanted.append(_torch_side(reference, x, getattr(torch, dtype))[1:])
        graph, state = nnx.split(flax)
        arrays.append((nnx.to_pure_dict(state), jnp.asarray(x), jnp.asarray(cotangent, dtype)))
        functions.append(partial(_flax_side, graph))

    @jax.jit
    def run(arrays: list) -> list:
        return [function(*each) for function, each in zip(functions, arrays, strict=True)]

    values, slopes = zip(*(_by_case(side) for side in (run(arrays), wanted, exact)), strict=True)
    yield judge("layers", name, dtype, FORWARD, *values)
    yield judge("layers", f"{name}: gradients", dtype, GRADIENT, *slopes)


def _by_case(found: list) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs, and gradients, of all cases by name."""
    values = {f"case {index}": value for index, (value, _) in enumerate(found)}
    return values, {f"case {index} {key}": leaf for index, (_, own) in enumerate(found) for key, leaf in own.items()}


def _torch_side(
    reference: Any, x: np.ndarray, dtype: torch.dtype
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A cotangent, output and gradients of a layer, all in Flax's layout."""
    image = x.ndim == 4
    to_torch = (lambda a: a.permute(0, 3, 1, 2)) if image else (lambda a: a)
    to_flax = (lambda a: a.permute(0, 2, 3, 1)) if image else (lambda a: a)
    leaf = torch.from_numpy(x).to(dtype).requires_grad_()
    weights = {name: value.detach().to(dtype).requires_grad_() for name, value in reference.named_parameters()}
    y = to_flax(torch.func.functional_call(reference, weights, (to_torch(leaf),)))
    cotangent = np.random.default_rng(2).standard_normal(tuple(y.shape))
    y.backward(torch.from_numpy(cotangent).to(dtype))
    assert leaf.grad is not None
    kernel = weights["weight"].grad
    kernel = kernel.permute(2, 3, 1, 0) if image else kernel.T
    bias = {"bias": weights["bias"].grad.numpy()} if "bias" in weights else {}
    return cotangent, y.detach().numpy(), {"x": leaf.grad.numpy(), "kernel": kernel.numpy(), **bias}


def _flax_side(graph: Any, state: dict, x: jax.Array, cotangent: jax.Array) -> tuple:
    y, pull = jax.vjp(lambda state, x: nnx.merge(graph, state)(x), state, x)
    parameters, slope = pull(cotangent)
    return y, {"x": slope, **parameters}
