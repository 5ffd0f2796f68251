"""Verification of a port between files: the networks of both, run on the same random input."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxae.config import AutoencoderConfig, ModelConfig
from jaxae.errors import InputError
from jaxae.network.models import ConditionalVAE, build
from jaxae.port.arrays import from_tensor, to_tensor
from jaxae.port.files import load
from jaxae.port.names import unwrap
from jaxae.port.reference import reference_module
from jaxae.port.source import WeightSource
from jaxae.port.torch_file import import_torch

# Rounding errors of one forward pass, in units of the coarser dtype; measured in float32: 1 to 4.
_TOLERANCE = 32

_BATCH = 8


@dataclass(frozen=True)
class Verification:
    """How far the networks of two sources are apart on the same random input.

    Attributes:
        difference: Largest absolute difference of an output.
        largest: Largest absolute output.
        sources: Layout and dtype of each source.
    """

    difference: float
    largest: float
    sources: tuple[str, str]

    def __str__(self) -> str:
        """The result as one line."""
        return (
            f"largest difference {self.difference:.2e} on random input, outputs up to "
            f"{self.largest:.2f} ({', '.join(self.sources)})"
        )


@dataclass(frozen=True)
class _Inputs:
    x: np.ndarray
    label: np.ndarray | None = None
    eps: np.ndarray | None = None


def verify(config: ModelConfig, one: WeightSource, two: WeightSource) -> Verification:
    """Run one of the project's models from two sources, each in the framework of its layout.

    Args:
        config: Settings of the model.
        one: Weights of the model.
        two: The same weights from elsewhere.

    Raises:
        InputError: If the outputs differ by more than rounding, or torch is needed and missing.
    """
    inputs = _draw(config)
    first, second = (_run(config, source, inputs) for source in (one, two))
    worst = max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))
    largest = max(float(np.abs(a).max()) for a in first)
    kinds = (f"{one.layout} {one.dtypes[0]}", f"{two.layout} {two.dtypes[0]}")
    result = Verification(worst, largest, kinds)
    coarsest = max(float(jnp.finfo(source.dtypes[0]).eps) for source in (one, two))
    if not worst <= _TOLERANCE * coarsest * largest:
        raise InputError(f"expected networks that are equal, got a {result}")
    return result


def _draw(config: ModelConfig) -> _Inputs:
    rng = np.random.default_rng(0)
    if isinstance(config, AutoencoderConfig):
        return _Inputs(rng.random((_BATCH, config.num_features)))
    x = rng.random((_BATCH, 28, 28, 1))
    eps = rng.normal(size=(_BATCH, config.num_latent))
    classes = config.num_classes
    return _Inputs(x, rng.integers(classes, size=_BATCH) if classes else None, eps)


def _run(config: ModelConfig, source: WeightSource, inputs: _Inputs) -> list[np.ndarray]:
    """The outputs of the network in float64, images channels last."""
    run = _run_flax if source.layout == "flax" else _run_torch
    return [np.asarray(output, np.float64) for output in run(config, source, inputs)]


def _run_flax(config: ModelConfig, source: WeightSource, inputs: _Inputs) -> list[jax.Array]:
    model = build(config, rngs=nnx.Rngs(0))
    load(model, source)
    dtype = jax.tree.leaves(nnx.state(model))[0].dtype
    x = jnp.asarray(inputs.x, dtype)
    with jax.default_matmul_precision("highest"):
        if not isinstance(model, ConditionalVAE):
            return [model(x).reconstruction]
        out = model(x, inputs.label, eps=jnp.asarray(inputs.eps, dtype))
    return [out.mean, out.log_var, out.reconstruction]


def _run_torch(config: ModelConfig, source: WeightSource, inputs: _Inputs) -> list[np.ndarray]:
    torch = import_torch(Path(source.origin))
    net = reference_module(config)
    state = {
        short: to_tensor(from_tensor(full, source.tensors[full]))
        for short, full in unwrap(source.tensors).items()
    }
    dtype = next(iter(state.values())).dtype
    net.to(dtype).load_state_dict(state)
    with torch.no_grad():
        if inputs.eps is None:
            return [net(torch.from_numpy(inputs.x).to(dtype)).double().numpy()]
        x = torch.from_numpy(np.moveaxis(inputs.x, -1, 1).copy()).to(dtype)
        label = None if inputs.label is None else torch.from_numpy(inputs.label)
        mean, log_var, _, image = net(x, label, torch.from_numpy(inputs.eps).to(dtype))
    return [one.double().numpy() for one in (mean, log_var, image.permute(0, 2, 3, 1))]
