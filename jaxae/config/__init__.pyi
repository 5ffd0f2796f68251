"""Settings of models and trainings: frozen, validated, to and from JSON."""

from .models import Activation as Activation
from .models import AutoencoderConfig as AutoencoderConfig
from .models import ConditionalVAEConfig as ConditionalVAEConfig
from .models import ConvVAEConfig as ConvVAEConfig
from .models import DenseVAEConfig as DenseVAEConfig
from .models import Initialization as Initialization
from .models import Lowering as Lowering
from .models import ModelConfig as ModelConfig
from .models import VAEConfig as VAEConfig
from .reading import AS_FOUND as AS_FOUND
from .reading import Fit as Fit
from .reading import Reading as Reading
from .reading import Side as Side
from .run import AUTOENCODER as AUTOENCODER
from .run import CONDITIONAL_VAE as CONDITIONAL_VAE
from .run import CONV_VAE as CONV_VAE
from .run import DENSE_VAE as DENSE_VAE
from .run import RunConfig as RunConfig
from .run import read_config as read_config
from .training import ComputeDtype as ComputeDtype
from .training import LearningRateSchedule as LearningRateSchedule
from .training import Reduction as Reduction
from .training import Replay as Replay
from .training import TrainConfig as TrainConfig
