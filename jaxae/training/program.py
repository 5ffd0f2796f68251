"""What a compiled training program depends on, beside the shapes of its arrays."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from jaxae.config import ComputeDtype, ModelConfig, Reduction, RunConfig, VAEConfig
from jaxae.network.fork import check_not_forked

Corruption = Callable[[Key[Array, ""], Float[Array, "..."]], Float[Array, "..."]]


@dataclass(frozen=True)
class Program:
    """The static arguments of a compiled program.

    Attributes:
        model: The network's settings.
        mesh: The devices that share a batch; for many models, also an axis that they are on.
        dtype: Dtype of the network's arithmetic. The losses are float32, or float64 for "float64".
        from_probabilities: Whether the cross-entropy is torch's rather than the one from logits.
        corrupt: Function of a key and an example in [0, 1], whose result the network is shown in the example's place;
            it is still to reconstruct the example.
        binarize: Whether an example's pixels are drawn 0 or 1, with the grey values as probabilities.
        reduction: Reduction of a batch's cost, as in `TrainConfig`.
        streams: Whether steps are fed examples that each device has its own of, rather than the whole training set.
        optimizer: Optimizer of the tree of parameters, in place of Adam.

    Raises:
        InputError: If this process was forked from one in which JAX had started.
    """

    model: ModelConfig
    mesh: Mesh
    dtype: ComputeDtype = "float32"
    from_probabilities: bool = False
    corrupt: Corruption | None = None
    binarize: bool = False
    reduction: Reduction = "post"
    streams: bool = False
    optimizer: optax.GradientTransformation | None = None

    def __post_init__(self) -> None:
        check_not_forked()

    @property
    def float_dtype(self) -> np.dtype:
        """Dtype of parameters, losses and sums."""
        return np.dtype("float64" if self.dtype == "float64" else "float32")

    @property
    def platform(self) -> str:
        """Name of the platform of its devices, for which it is traced: "cpu" or "gpu"."""
        return self.mesh.devices.flat[0].platform

    @property
    def num_latent(self) -> int:
        """Dimensions of the standard normal noise of an example: 0 for an autoencoder."""
        return self.model.num_latent if isinstance(self.model, VAEConfig) else 0


def program_of(
    config: RunConfig,
    mesh: Mesh,
    corrupt: Corruption | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Program:
    """The program that trains as a configuration says."""
    train = config.train
    return Program(
        config.model,
        mesh,
        train.dtype,
        train.from_probabilities,
        corrupt,
        train.binarize,
        train.reduction,
        optimizer=optimizer,
    )
