"""Settings of models and trainings: frozen, validated, to and from JSON; the post's as presets.

Two presets are those of the notebooks that the post derives from (`rasbt/deeplearning-models`,
`ae-basic` and `ae-cnn-cvae`); the third is the VAE of Burda, Grosse and Salakhutdinov 2016
(arXiv:1509.00519), trained in fewer and larger steps; the last takes pictures of any size.
"""

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxae.bounds import Amount, Checked, Count, CountOrZero, Seed, Widths, check, kinds_of, told
from jaxae.errors import InputError, brief
from jaxae.storage import documents

Activation = Literal["leaky_relu", "relu", "tanh"]
Initialization = Literal["post", "intended", "torch"]
ComputeDtype = Literal["float32", "bfloat16", "float64"]
Lowering = Literal["auto", "plain", "matmul"]
Replay = Literal["no", "torch-1", "torch"]
Reduction = Literal["post", "sum", "batch_mean"]


def _require(condition: bool, what: str, came: object) -> None:
    if not condition:
        raise InputError(f"expected {what}, got {told(came)}")


@dataclass(frozen=True)
class AutoencoderConfig(Checked):
    """A fully connected autoencoder, mirrored about its last hidden layer.

    Attributes:
        num_features: Number of features of one example, 784 for the post's images.
        hidden: Widths of the layers from the input to the code: (32,) is the post's 784-32-784, (128, 32) is
            784-128-32-128-784.
        activation: Function after every layer but the last, which the sigmoid follows.
        initialization: Layers whose fresh weights are of N(0, 0.1), with biases of zero, where the others have torch's
            defaults: "post" is linear_1 alone, as the post's code has it; "intended" is linear_1 and linear_2, which
            it means; "torch" is none.
        lowering: Form of the layers as XLA operations; the function computed is the same. "auto" is "plain", as there
            are no convolutions.
    """

    num_features: Count = 784
    hidden: Widths = (32,)
    activation: Activation = "leaky_relu"
    initialization: Initialization = "post"
    lowering: Lowering = "auto"

    @property
    def code_size(self) -> int:
        """Number of dimensions of the code."""
        return self.hidden[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Features before, between and after the linear layers, input to reconstruction."""
        return (self.num_features, *self.hidden, *reversed(self.hidden[:-1]), self.num_features)


@dataclass(frozen=True)
class VAEConfig(Checked, ABC):
    """What the settings of every VAE of images hold; a network's own come beside them.

    Attributes:
        num_latent: Number of dimensions of the latent code.
        num_classes: Number of classes of the condition; 0 makes the plain VAE.
        lowering: Form of the layers as XLA operations; the function computed is the same. "auto" takes what was
            measured to be the fastest on the backend.
    """

    num_latent: Count = 50
    num_classes: CountOrZero = 10
    lowering: Lowering = "auto"

    @property
    def code_size(self) -> int:
        """Number of dimensions of the code."""
        return self.num_latent

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return 28, 28, 1

    @property
    @abstractmethod
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image's, and the planes of a reconstructed condition."""


@dataclass(frozen=True)
class ConditionalVAEConfig(VAEConfig):
    """The post's convolutional VAE, conditioned on a class.

    Attributes:
        reconstruct_condition: Whether the one-hot planes of the class are reconstructed beside the
            image (1 + num_classes output channels), which the post has commented out.
        output_leaky_relu: Whether leaky_relu is applied to the last deconvolution before the
            sigmoid, as the post's code does.
    """

    reconstruct_condition: bool = False
    output_leaky_relu: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            self.num_classes > 0 or not self.reconstruct_condition,
            "num_classes above 0 where the condition is reconstructed",
            self.num_classes,
        )

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image, and the planes of a reconstructed condition."""
        return 1 + (self.num_classes if self.reconstruct_condition else 0)


@dataclass(frozen=True)
class DenseVAEConfig(VAEConfig):
    """The literature's fully connected VAE: 784-200-200-50 and back, by default without a condition.

    Attributes:
        hidden: Widths of the encoder's layers from the image to the code; the decoder has them in reverse.
        activation: Function after each of these layers.
    """

    num_classes: CountOrZero = 0
    hidden: Widths = (200, 200)
    activation: Activation = "tanh"

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image alone."""
        return 1


@dataclass(frozen=True)
class ConvVAEConfig(VAEConfig):
    """A convolutional VAE of images of any size, grey or in colour, by default without a condition.

    Each of the encoder's convolutions halves the sides (kernel 4, stride 2, padding 1, as in DCGAN, arXiv:1511.06434),
    each of the decoder's doubles them.

    Attributes:
        height: Height of the images.
        width: Width of the images.
        channels: Number of channels of the images, 1 for grey and 3 for colour.
        widths: Numbers of channels after each of the encoder's convolutions; the decoder has them in reverse.
        activation: Function after each of these layers.
    """

    num_classes: CountOrZero = 0
    height: Count = 64
    width: Count = 64
    channels: Count = 3
    widths: Widths = (32, 64, 128)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        most = min(self.height, self.width).bit_length() - 1
        _require(
            len(self.widths) <= most,
            f"at most {most} widths, as each halves the sides of {self.height} by {self.width}",
            len(self.widths),
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.height, self.width, self.channels

    @property
    def sides(self) -> tuple[tuple[int, int], ...]:
        """Height and width before, between and after the encoder's convolutions."""
        return tuple((self.height >> n, self.width >> n) for n in range(len(self.widths) + 1))

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image's."""
        return self.channels


ModelConfig = AutoencoderConfig | VAEConfig
_KINDS = {kind.__name__: kind for kind in (AutoencoderConfig, ConditionalVAEConfig, DenseVAEConfig, ConvVAEConfig)}


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How a model is trained, by Adam at optax's and torch's common defaults.

    Attributes:
        epochs: Number of passes over the training set; 0 writes the initial model.
        batch_size: Number of examples per step; the last batch of an epoch may be smaller.
        learning_rate: Adam's learning rate.
        seed: Seed of initial weights, batch order and noise.
        beta: Weight of the KL term; 1 is the ELBO. The plain autoencoder has no such term.
        binarize: Whether a pixel is 1 with its grey value as the probability, else 0, drawn anew at
            each step; the test set's draws stay the same. A replay has none.
        dtype: Dtype of the network's arithmetic; parameters are float32 for "bfloat16".
        replay: Random stream to repeat: "no" is JAX's own; "torch-1" and "torch" draw weights, order and noise as
            torch would after `torch.manual_seed(seed)`, under the DataLoader of torch 1.x or of today.
        reduction: Reduction of the cost: "post" is the autoencoder's mean over batch and pixels and the VAE's sum over
            both, "sum" that sum for either, "batch_mean" a sum over pixels and a mean over the batch.
    """

    epochs: CountOrZero
    batch_size: Count
    learning_rate: Amount
    seed: Seed
    beta: Amount = 1.0
    binarize: bool = False
    dtype: ComputeDtype = "float32"
    replay: Replay = "no"
    reduction: Reduction = "post"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(not self.binarize or self.replay == "no", "no replay where pixels are binarized", self.replay)

    @property
    def from_probabilities(self) -> bool:
        """Whether the cross-entropy is torch's, from probabilities, rather than from logits.

        A replay repeats torch's numbers, clamp and saturation included; any other training is better off with the
        logits (their gradient does not vanish where the sigmoid saturates).
        """
        return self.replay != "no"


@dataclass(frozen=True)
class RunConfig(Checked):
    """What `config.json` of a run holds.

    Attributes:
        model: The network's settings.
        train: The training's settings.
        data: Name of the data set.
        class_names: Names of the data's classes by their labels; none where they are numbers.
    """

    model: ModelConfig
    train: TrainConfig
    data: str = "digits"
    class_names: tuple[str, ...] = ()

    def replace(self, **changes: object) -> "RunConfig":
        """This configuration with fields of the model, the training or itself changed by name.

        Raises:
            InputError: If no part has a field of that name, or a value is out of range.
        """
        own = {name: changes.pop(name) for name in kinds_of(RunConfig) if name in changes}
        whole = dataclasses.replace(self, **own)
        parts = {"model": whole.model, "train": whole.train}
        # All of a part at once: a setting may be in range only together with another.
        for name, part in parts.items():
            given = {key: changes.pop(key) for key in kinds_of(type(part)) if key in changes}
            whole = dataclasses.replace(whole, **{name: dataclasses.replace(part, **given)})
        if changes:
            raise InputError(
                f"expected settings of {type(whole.model).__name__}, TrainConfig or RunConfig, "
                f"got {', '.join(map(repr, changes))}"
            )
        return whole

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, the kind of model named."""
        return {
            "model": {"kind": type(self.model).__name__, **dataclasses.asdict(self.model)},
            "train": dataclasses.asdict(self.train),
            "data": self.data,
            **({"class_names": list(self.class_names)} if self.class_names else {}),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "RunConfig":
        """The configuration that `to_json` wrote.

        Raises:
            InputError: If a part is missing, unknown or out of range.
        """
        match document:
            case {"model": {"kind": str(kind), **model}, "train": dict(train), "data": data, **others}:
                names = others.get("class_names", ())
            case _:
                raise InputError("expected a jaxae configuration of model, train and data, got another document")
        if kind not in _KINDS:
            raise InputError(f"expected a model of kind {' or '.join(_KINDS)}, got {told(kind)}")
        try:
            return cls(_KINDS[kind](**model), TrainConfig(**train), data, names)
        except TypeError as error:  # a name that is missing, or of no field
            raise InputError(f"expected a jaxae configuration, got one where {brief(error, 200)}") from error


def read_config(path: Path) -> RunConfig:
    """The configuration in a `config.json`.

    Raises:
        InputError: If there is none, or it is not one of jaxae's.
    """
    check("a run directory", path, Path)
    if not path.exists():
        raise InputError(f"expected a run directory with a config.json, got no {path}")
    document = documents.read(path)
    try:
        return RunConfig.from_json(document)
    except InputError as error:
        raise InputError(f"{error} in {path}") from error


AUTOENCODER = RunConfig(AutoencoderConfig(), TrainConfig(epochs=5, batch_size=256, learning_rate=0.005, seed=123))
CONDITIONAL_VAE = RunConfig(ConditionalVAEConfig(), TrainConfig(epochs=50, batch_size=128, learning_rate=0.001, seed=0))
DENSE_VAE = RunConfig(
    DenseVAEConfig(), TrainConfig(epochs=50, batch_size=128, learning_rate=0.001, seed=0, binarize=True)
)
CONV_VAE = RunConfig(ConvVAEConfig(num_latent=64), TrainConfig(epochs=50, batch_size=128, learning_rate=0.001, seed=0))
