"""What all contenders are given: weights, examples, batches and noise, in one file.

Weights are drawn as torch draws them, the VAE's latent ones then scaled, and ported: the file holds them in Flax's
and in torch's layout. Runs as a worker process, so that the benchmark's own process holds no JAX.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from jaxae.bench.worker import serve
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
        images: Images of the examples.
        labels: Labels of the examples.
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
    weights = {
        side: {name.removeprefix(f"{side}/"): array for name, array in arrays.items() if name.startswith(f"{side}/")}
        for side in ("flax", "torch")
    }
    shared = (arrays[name] for name in ("images", "labels", "order", "noise"))
    return Problem(weights["flax"], weights["torch"], *shared)


def write(path: str, *, model: str, data: str, data_dir: str | None, examples: int, batch_size: int) -> None:
    """Write a model's problem; a data set with fewer examples than asked for is repeated.

    The last, smaller batch of an epoch is left out.

    Raises:
        InputError: If the data cannot be had, or a batch is larger than an epoch.
    """
    from flax import nnx

    from jaxae.data.dataset import load
    from jaxae.errors import InputError
    from jaxae.network.models import build
    from jaxae.network.parameters import named_leaves, parameters_of
    from jaxae.port import to_arrays
    from jaxae.torch_rng.generator import Generator

    if batch_size > examples:
        raise InputError(f"expected a batch of at most {examples} examples, got {batch_size}")
    config = PRESETS[model].model
    dataset = load(data, data_dir)
    count = len(dataset.train.labels)
    if isinstance(config, ConditionalVAEConfig) and dataset.num_classes != config.num_classes:
        raise InputError(f"expected data of {config.num_classes} classes, got {dataset.num_classes} in {data}")
    network = build(config, rngs=nnx.Rngs(0))
    network.reset_parameters(Generator(_SEED))
    for name in ("z_mean", "z_log_var"):
        if hasattr(network, name):
            kernel = getattr(network, name).kernel
            kernel.set_value(_LATENT_SCALE * kernel[...])
    flax = named_leaves(parameters_of(network))
    torch, _ = to_arrays(network, flatten="CHW", unflatten="CHW")
    chosen = np.arange(examples) % count
    steps = examples // batch_size
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(examples)[: steps * batch_size].reshape(steps, batch_size)
    latent = getattr(config, "num_latent", 0)
    noise = rng.standard_normal((steps, batch_size, latent), np.float32)
    arrays = {
        "images": dataset.train.images[chosen],
        "labels": dataset.train.labels[chosen],
        "order": order.astype(np.int32),
        "noise": noise,
        **{f"flax/{name}": np.asarray(leaf) for name, leaf in flax.items()},
        **{f"torch/{name}": array for name, array in torch.items()},
    }
    np.savez(path, allow_pickle=False, **arrays)


def main() -> None:
    """Answer the benchmark's questions."""
    serve({"write": write})
