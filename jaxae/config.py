"""Settings of models and trainings: frozen, validated, to and from JSON; the post's as presets.

Two presets are those of the notebooks that the post derives from (`rasbt/deeplearning-models`,
`ae-basic` and `ae-cnn-cvae`); the third is the VAE of Burda, Grosse and Salakhutdinov 2016
(arXiv:1509.00519), trained in fewer and larger steps.
"""

import dataclasses
import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from jaxae.errors import InputError

Activation = Literal["leaky_relu", "relu", "tanh"]
Initialization = Literal["post", "intended", "torch"]
ComputeDtype = Literal["float32", "bfloat16", "float64"]
Lowering = Literal["auto", "plain", "matmul"]
Replay = Literal["no", "torch-1", "torch"]
Reduction = Literal["post", "sum", "batch_mean"]


def _require(condition: bool, what: str, came: object) -> None:
    if not condition:
        raise InputError(f"expected {what}, got {came!r}")


def _require_widths(hidden: tuple[int, ...]) -> None:
    _require(bool(hidden) and min(hidden) > 0, "at least one hidden size, all above 0", hidden)


class _Checked:
    """A frozen dataclass whose fields are what their annotations say, also where JSON made them."""

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), kind))


@cache
def _kinds(owner: type) -> dict[str, Any]:
    return get_type_hints(owner)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """A value as its field's type has it: a NumPy integer becomes an int, a list a tuple."""
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        _require(value in choices, f"{name} to be one of {', '.join(choices)}", value)
        return value
    if get_origin(kind) is tuple:
        whole = isinstance(value, tuple | list) and all(map(_is_integer, value))
        _require(whole, f"{name} to be whole numbers", value)
        return tuple(map(int, value))
    if kind is int:
        _require(_is_integer(value), f"{name} to be a whole number", value)
        return int(value)
    if kind is float:
        real = isinstance(value, Real) and not isinstance(value, bool)
        _require(real, f"{name} to be a number", value)
        return float(value)
    _require(isinstance(value, kind), f"{name} to be a {getattr(kind, '__name__', kind)}", value)
    return value


def _is_integer(value: object) -> bool:
    # Python counts True among the whole numbers.
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class AutoencoderConfig(_Checked):
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

    num_features: int = 784
    hidden: tuple[int, ...] = (32,)
    activation: Activation = "leaky_relu"
    initialization: Initialization = "post"
    lowering: Lowering = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.num_features > 0, "num_features above 0", self.num_features)
        _require_widths(self.hidden)

    @property
    def code_size(self) -> int:
        """Number of dimensions of the code."""
        return self.hidden[-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Features before, between and after the linear layers, input to reconstruction."""
        return (self.num_features, *self.hidden, *reversed(self.hidden[:-1]), self.num_features)


@dataclass(frozen=True)
class VAEConfig(_Checked, ABC):
    """What the settings of every VAE of 28 by 28 images hold; a network's own come beside them.

    Attributes:
        num_latent: Number of dimensions of the latent code.
        num_classes: Number of classes of the condition; 0 makes the plain VAE.
        lowering: Form of the layers as XLA operations; the function computed is the same. "auto" takes what was
            measured to be the fastest on the backend.
    """

    num_latent: int = 50
    num_classes: int = 10
    lowering: Lowering = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.num_latent > 0, "num_latent above 0", self.num_latent)
        _require(self.num_classes >= 0, "num_classes of 0 (no condition) or more", self.num_classes)

    @property
    def code_size(self) -> int:
        """Number of dimensions of the code."""
        return self.num_latent

    @property
    @abstractmethod
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image, and the planes of a reconstructed condition."""


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

    num_classes: int = 0
    hidden: tuple[int, ...] = (200, 200)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_widths(self.hidden)

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image alone."""
        return 1


ModelConfig = AutoencoderConfig | VAEConfig
_KINDS = {kind.__name__: kind for kind in (AutoencoderConfig, ConditionalVAEConfig, DenseVAEConfig)}


@dataclass(frozen=True)
class TrainConfig(_Checked):
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

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    beta: float = 1.0
    binarize: bool = False
    dtype: ComputeDtype = "float32"
    replay: Replay = "no"
    reduction: Reduction = "post"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.epochs >= 0, "epochs of 0 or more", self.epochs)
        _require(self.batch_size > 0, "a batch size above 0", self.batch_size)
        _require(
            math.isfinite(self.learning_rate) and self.learning_rate >= 0,
            "a finite learning rate of 0 or more",
            self.learning_rate,
        )
        _require(math.isfinite(self.beta) and self.beta >= 0, "a finite beta of 0 or more", self.beta)
        _require(0 <= self.seed < 2**63, "a seed from 0 to 2**63 - 1", self.seed)
        _require(not self.binarize or self.replay == "no", "no replay where pixels are binarized", self.replay)

    @property
    def from_probabilities(self) -> bool:
        """Whether the cross-entropy is torch's, from probabilities, rather than from logits.

        A replay repeats torch's numbers, clamp and saturation included; any other training is better off with the
        logits (their gradient does not vanish where the sigmoid saturates).
        """
        return self.replay != "no"


@dataclass(frozen=True)
class RunConfig(_Checked):
    """What `config.json` of a run holds.

    Attributes:
        model: The network's settings.
        train: The training's settings.
        data: Name of the data set.
    """

    model: ModelConfig
    train: TrainConfig
    data: str = "digits"

    def replace(self, **changes: object) -> "RunConfig":
        """This configuration with fields of the model, the training or itself changed by name.

        Raises:
            InputError: If no part has a field of that name, or a value is out of range.
        """
        own = {name: changes.pop(name) for name in _kinds(RunConfig) if name in changes}
        whole = dataclasses.replace(self, **own)
        parts = {"model": whole.model, "train": whole.train}
        # All of a part at once: a setting may be in range only together with another.
        for name, part in parts.items():
            given = {key: changes.pop(key) for key in _kinds(type(part)) if key in changes}
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
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "RunConfig":
        """The configuration that `to_json` wrote.

        Raises:
            InputError: If a part is missing, unknown or out of range.
        """
        try:
            model = dict(document["model"])
            kind = model.pop("kind")
            if kind not in _KINDS:
                raise InputError(f"expected a model of kind {' or '.join(_KINDS)}, got {kind!r}")
            return cls(_KINDS[kind](**model), TrainConfig(**document["train"]), document["data"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"expected a jaxae configuration, got one where {error}") from error


def read_config(path: Path) -> RunConfig:
    """The configuration in a `config.json`.

    Raises:
        InputError: If there is none, or it is not one of jaxae's.
    """
    try:
        return RunConfig.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"expected a run directory with a config.json, got no {path}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"expected JSON in {path}, got {error}") from error


AUTOENCODER = RunConfig(AutoencoderConfig(), TrainConfig(epochs=5, batch_size=256, learning_rate=0.005, seed=123))
CONDITIONAL_VAE = RunConfig(ConditionalVAEConfig(), TrainConfig(epochs=50, batch_size=128, learning_rate=0.001, seed=0))
DENSE_VAE = RunConfig(
    DenseVAEConfig(), TrainConfig(epochs=50, batch_size=128, learning_rate=0.001, seed=0, binarize=True)
)
