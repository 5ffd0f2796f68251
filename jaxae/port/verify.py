"""Verification of a port between files: the networks of both, run on the same random input."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxae.config import AutoencoderConfig, ModelConfig
from jaxae.errors import InputError
from jaxae.network.models import build
from jaxae.network.vae import VAE
from jaxae.port.arrays import from_tensor, to_tensor
from jaxae.port.files import load
from jaxae.port.names import own_names
from jaxae.port.reference import reference_module
from jaxae.port.source import WeightSource
from jaxae.port.torch_file import import_torch

# Rounding errors of one forward pass, in units of the coarser dtype; measured in float32: 1 to 4.
_TOLERANCE = 32
_BATCH = 8
# Images or features, labels, noise.
_Inputs = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


class Verification(NamedTuple):
    """How far the networks of two sources are apart on the same random input.

    Attributes:
        difference: Largest absolute difference of an output.
        largest: Largest absolute output.
        kinds: Layout and dtype of each source.
    """

    difference: float
    largest: float
    kinds: tuple[str, str]

    def __str__(self) -> str:
        """The result as one line."""
        apart = f"largest difference {self.difference:.2e} on random input"
        return f"{apart}, outputs up to {self.largest:.2f} ({', '.join(self.kinds)})"


def verify(config: ModelConfig, one: WeightSource, two: WeightSource) -> Verification:
    """Run one of the project's models from two sources, each in the framework of its layout.

    Args:
        config: Settings of the model.
        one: Weights of the model.
        two: The same weights from elsewhere.

    Raises:
        InputError: If the outputs differ by more than rounding, or torch is needed and missing.
    """
    first, second = _run(config, one), _run(config, two)
    worst = max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))
    largest = max(float(np.abs(output).max()) for output in first)
    result = Verification(worst, largest, (f"{one.layout} {_float(one)}", f"{two.layout} {_float(two)}"))
    coarsest = max(float(jnp.finfo(_float(source)).eps) for source in (one, two))
    if not worst <= _TOLERANCE * coarsest * largest:
        raise InputError(f"expected networks that agree, got a {result}")
    return result


def _float(source: WeightSource) -> str:
    """The name of the dtype of a source's weights; a counter may stand before them."""
    return next(name for name in source.dtypes if jnp.issubdtype(name, jnp.floating))


def _run(config: ModelConfig, source: WeightSource) -> list[np.ndarray]:
    """The network's outputs in float64, images channels last."""
    rng = np.random.default_rng(0)
    if isinstance(config, AutoencoderConfig):
        inputs = rng.random((_BATCH, config.num_features)), None, None
    else:
        x, eps = rng.random((_BATCH, *config.image_shape)), rng.normal(size=(_BATCH, config.num_latent))
        classes = config.num_classes
        inputs = x, rng.integers(classes, size=_BATCH) if classes else None, eps
    run = _run_flax if source.layout == "flax" else _run_torch
    return [np.asarray(output, np.float64) for output in run(config, source, inputs)]


def _run_flax(config: ModelConfig, source: WeightSource, inputs: _Inputs) -> list[jax.Array]:
    x, label, eps = inputs
    model = build(config, rngs=nnx.Rngs(0))
    load(model, source)
    dtype = jax.tree.leaves(nnx.state(model))[0].dtype
    with jax.default_matmul_precision("highest"):
        if not isinstance(model, VAE):
            return [model(jnp.asarray(x, dtype)).reconstruction]
        labels = None if label is None else jnp.asarray(label)
        out = model(jnp.asarray(x, dtype), labels, eps=jnp.asarray(eps, dtype))
    return [out.mean, out.log_var, out.reconstruction, *([] if out.log_scale is None else [out.log_scale.ravel()])]


def _run_torch(config: ModelConfig, source: WeightSource, inputs: _Inputs) -> list[np.ndarray]:
    x, label, eps = inputs
    torch = import_torch(Path(source.origin))
    net: Any = reference_module(config)
    names = own_names(source.tensors, net.state_dict()).items()
    state = {short: to_tensor(from_tensor(full, source.tensors[full])) for short, full in names}
    dtype = next(iter(state.values())).dtype
    net.to(dtype)
    net.load_state_dict(state)
    with torch.no_grad():
        if eps is None:
            return [net(torch.from_numpy(x).to(dtype)).double().numpy()]
        pixels = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).to(dtype)
        labels = None if label is None else torch.from_numpy(label)
        mean, log_var, code = net.encoder(pixels, labels, torch.from_numpy(eps).to(dtype))
        image, scale = net.pixels(code, labels)
    scales = [] if scale is None else [(scale.permute(0, 2, 3, 1) if scale.ndim == 4 else scale).ravel()]
    return [one.double().numpy() for one in (mean, log_var, image.permute(0, 2, 3, 1), *scales)]
