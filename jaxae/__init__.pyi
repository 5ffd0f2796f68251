"""jaxae: two PyTorch autoencoders in JAX/Flax, with proof that they are the same models."""

from . import bench as bench
from . import parity as parity
from . import port as port
from .config import AUTOENCODER as AUTOENCODER
from .config import CONDITIONAL_VAE as CONDITIONAL_VAE
from .config import AutoencoderConfig as AutoencoderConfig
from .config import ConditionalVAEConfig as ConditionalVAEConfig
from .config import RunConfig as RunConfig
from .config import TrainConfig as TrainConfig
from .data.dataset import Dataset as Dataset
from .data.dataset import Split as Split
from .data.dataset import load as load
from .data.dataset import save_arrays as save_arrays
from .data.pixels import as_unit_float as as_unit_float
from .errors import DivergenceError as DivergenceError
from .errors import InputError as InputError
from .errors import StoppedError as StoppedError
from .network.likelihood import (
    importance_weighted_log_likelihood as importance_weighted_log_likelihood,
)
from .network.models import Autoencoder as Autoencoder
from .network.models import AutoencoderOutput as AutoencoderOutput
from .network.models import ConditionalVAE as ConditionalVAE
from .network.models import VAEOutput as VAEOutput
from .network.models import with_parameters as with_parameters
from .network.parameters import parameters_of as parameters_of
from .pretrained.card import ModelCard as ModelCard
from .pretrained.card import load_pretrained as load_pretrained
from .pretrained.card import model_card as model_card
from .pretrained.card import pretrained_names as pretrained_names
from .training.evaluation import evaluate_model as evaluate_model
from .training.fit import FitResult as FitResult
from .training.fit import fit as fit
from .training.many import ManyResult as ManyResult
from .training.many import fit_many as fit_many
from .training.run_folder import load_run as load_run
from .training.run_folder import load_weights as load_weights
from .training.run_folder import save_weights as save_weights
