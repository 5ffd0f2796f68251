"""jaxae: two PyTorch autoencoders in JAX/Flax, with proof that they are the same models."""

from jaxae.config import (
    AUTOENCODER,
    CONDITIONAL_VAE,
    AutoencoderConfig,
    ConditionalVAEConfig,
    RunConfig,
    TrainConfig,
)
from jaxae.data.dataset import Dataset, Split, load, save_arrays
from jaxae.data.pixels import as_unit_float
from jaxae.errors import DivergenceError, InputError, StoppedError
from jaxae.network.likelihood import importance_weighted_log_likelihood
from jaxae.network.models import (
    Autoencoder,
    AutoencoderOutput,
    ConditionalVAE,
    VAEOutput,
    parameters_of,
    with_parameters,
)
from jaxae.training.checkpoint import load_run, load_weights, save_weights
from jaxae.training.fit import FitResult, fit
from jaxae.training.many import ManyResult, fit_many

__all__ = [
    "AUTOENCODER",
    "CONDITIONAL_VAE",
    "Autoencoder",
    "AutoencoderConfig",
    "AutoencoderOutput",
    "ConditionalVAE",
    "ConditionalVAEConfig",
    "Dataset",
    "DivergenceError",
    "FitResult",
    "InputError",
    "ManyResult",
    "RunConfig",
    "Split",
    "StoppedError",
    "TrainConfig",
    "VAEOutput",
    "as_unit_float",
    "fit",
    "fit_many",
    "importance_weighted_log_likelihood",
    "load",
    "load_run",
    "load_weights",
    "parameters_of",
    "save_arrays",
    "save_weights",
    "with_parameters",
]
