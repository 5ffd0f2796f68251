"""What all contenders are given: weights, examples, batches and noise, in one file.

Weights are drawn as torch draws them, the VAE's latent ones then scaled, and ported: the file holds them in Flax's
and in torch's layout. Runs as a worker process, so that the benchmark's own process holds no JAX.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, ConditionalVAEConfig, RunConfig

PRESETS: dict[str, RunConfig] = {"ae": AUTOENCODER, "cvae": CONDITIONAL_VAE}
_SEED = 0
# A fresh VAE has a KL of nearly nothing: the gate would not miss the term. Weights of its latent
# layers this much larger make it count.
_LATENT_SCALE = 16.0


class Problem(NamedTuple):
    """What all contenders are given.

    Attributes:
        flax: Weights by their dotted names in Flax's layout.
        torch: Weights by their dotted names in torch's layout.
        order: Indices of the examples of each step of an epoch.
        noise: Standard normal noise of each step's examples.
    """

    flax: dict[str, np.ndarray]
    torch: dict[str, np.ndarray]
    images: UInt8[np.ndarray, "n 28 28 1"]
    labels: Int32[np.ndarray, " n"]
    order: Int32[np.ndarray, "steps batch"]
    noise: Float32[np.ndarray, "steps batch latent"]


def read(path: str | Path) -> Problem:
    """The problem in a file that a worker of this module wrote."""
    with np.load(path) as archive:
        arrays = dict(archive)
    weights: dict[str, dict[str, np.ndarray]] = {"flax": {}, "torch": {}}
    for side, own in weights.items():
        own |= {name[len(side) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{side}/")}
    return Problem(**weights, **{name: arrays[name] for name in ("images", "labels", "order", "noise")})


def write(path: str, *, model: str, data: str, data_dir: str | None, examples: int, batch_size: int) -> None:
    """Write a model's problem; a data set with fewer examples than asked for is repeated.

    The last, smaller batch of an epoch is left out.

    Raises:
        InputError: If the data cannot be had, a batch is larger than an epoch, or the file cannot be written.
    """
    from flax import nnx

    from jaxae.data.dataset import load
    from jaxae.errors import InputError
    from jaxae.network.models import ConditionalVAE, build
    from jaxae.network.parameters import named_leaves, parameters_of
    from jaxae.port import to_arrays
    from jaxae.storage import npz
    from jaxae.torch_rng.generator import Generator

    if batch_size > examples:
        raise InputError(f"expected a batch of at most {examples} examples, got {batch_size}")
    config = PRESETS[model].model
    dataset = load(data, data_dir)
    if isinstance(config, ConditionalVAEConfig) and dataset.num_classes != config.num_classes:
        raise InputError(f"expected data of {config.num_classes} classes, got {dataset.num_classes} in {data}")
    network = build(config, rngs=nnx.Rngs(0))
    network.reset_parameters(Generator(_SEED))
    if isinstance(network, ConditionalVAE):
        for kernel in (network.z_mean.kernel, network.z_log_var.kernel):
            kernel.set_value(_LATENT_SCALE * kernel[...])
    torch, _ = to_arrays(network, flatten="CHW", unflatten="CHW")
    weights = {f"flax/{name}": np.asarray(leaf) for name, leaf in named_leaves(parameters_of(network)).items()}
    weights |= {f"torch/{name}": array for name, array in torch.items()}
    images, labels = (array[np.arange(examples) % len(array)] for array in dataset.train)
    steps = examples // batch_size
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(examples)[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)
    noise = rng.standard_normal((steps, batch_size, getattr(config, "num_latent", 0)), np.float32)
    npz.write(Path(path), {"images": images, "labels": labels, "order": order, "noise": noise, **weights})


# What this module answers as a worker process.
HANDLERS = {"write": write}
