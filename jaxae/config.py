"""Settings of models and trainings: frozen, validated, to and from JSON; the post's as presets.

The presets are those of the notebooks that the post derives from (`rasbt/deeplearning-models`,
`ae-basic` and `ae-cnn-cvae`).
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from jaxae.errors import InputError

Activation = Literal["leaky_relu", "relu", "tanh"]
ComputeDtype = Literal["float32", "bfloat16", "float64"]
Lowering = Literal["auto", "plain", "matmul"]
Replay = Literal["no", "torch-1", "torch"]


def _require(condition: bool, what: str, came: object) -> None:
    if not condition:
        raise InputError(f"expected {what}, got {came!r}")


def _require_choice(name: str, value: object, choices: Any) -> None:
    _require(
        value in get_args(choices), f"{name} to be one of {', '.join(get_args(choices))}", value
    )


@dataclass(frozen=True)
class AutoencoderConfig:
    """A fully connected autoencoder, mirrored about its last hidden layer.

    Attributes:
        num_features: Features of one example, 784 for the post's images.
        hidden: Widths from the input to the code: (32,) is the post's 784-32-784, (128, 32) is
            784-128-32-128-784.
        activation: Follows every layer but the last, which the sigmoid follows.
        lowering: As in `ConditionalVAEConfig`; "auto" is "plain", as there are no convolutions.
    """

    num_features: int = 784
    hidden: tuple[int, ...] = (32,)
    activation: Activation = "leaky_relu"
    lowering: Lowering = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        _require(self.num_features > 0, "num_features above 0", self.num_features)
        _require(
            bool(self.hidden) and all(width > 0 for width in self.hidden),
            "at least one hidden size, all above 0",
            self.hidden,
        )
        _require_choice("activation", self.activation, Activation)
        _require_choice("lowering", self.lowering, Lowering)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features before, between and after the linear layers, input to reconstruction."""
        return (self.num_features, *self.hidden, *reversed(self.hidden[:-1]), self.num_features)


@dataclass(frozen=True)
class ConditionalVAEConfig:
    """The post's convolutional VAE of 28 by 28 images, conditioned on a class.

    Attributes:
        num_latent: Dimensions of the latent code.
        num_classes: Classes of the condition; 0 makes the plain VAE.
        reconstruct_condition: Reconstruct the one-hot planes of the class beside the image
            (1 + num_classes output channels), which the post has commented out.
        output_leaky_relu: Apply leaky_relu to the last deconvolution before the sigmoid, as the
            post's code does. False leaves it out.
        lowering: How convolutions become XLA operations; the function computed is the same. "auto"
            takes what was measured to be the fastest on the backend.
    """

    num_latent: int = 50
    num_classes: int = 10
    reconstruct_condition: bool = False
    output_leaky_relu: bool = True
    lowering: Lowering = "auto"

    def __post_init__(self) -> None:
        _require(self.num_latent > 0, "num_latent above 0", self.num_latent)
        _require(self.num_classes >= 0, "num_classes of 0 (no condition) or more", self.num_classes)
        _require(
            self.num_classes > 0 or not self.reconstruct_condition,
            "num_classes above 0 where the condition is reconstructed",
            self.num_classes,
        )
        _require_choice("lowering", self.lowering, Lowering)

    @property
    def num_output_channels(self) -> int:
        """Channels of the reconstruction: the image, and the condition where it is asked for."""
        return 1 + (self.num_classes if self.reconstruct_condition else 0)


ModelConfig = AutoencoderConfig | ConditionalVAEConfig


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained, by Adam at optax's and torch's common defaults.

    Attributes:
        epochs: Passes over the training set; 0 writes the initial model.
        batch_size: Examples a step; the last batch of an epoch may be smaller.
        learning_rate: Adam's.
        seed: Of initial weights, batch order and noise.
        beta: Weight of the KL term; 1 is the ELBO. The plain autoencoder has no such term.
        dtype: In which the networks compute; parameters are float32 for "bfloat16".
        replay: Draw weights, order and noise as torch would after `torch.manual_seed(seed)`, under
            the DataLoader of torch 1.x ("torch-1") or of today ("torch").
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    beta: float = 1.0
    dtype: ComputeDtype = "float32"
    replay: Replay = "no"

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "epochs of 0 or more", self.epochs)
        _require(self.batch_size > 0, "a batch size above 0", self.batch_size)
        _require(
            math.isfinite(self.learning_rate) and self.learning_rate >= 0,
            "a finite learning rate of 0 or more",
            self.learning_rate,
        )
        _require(
            math.isfinite(self.beta) and self.beta >= 0, "a finite beta of 0 or more", self.beta
        )
        _require(0 <= self.seed < 2**63, "a seed from 0 to 2**63 - 1", self.seed)
        _require_choice("dtype", self.dtype, ComputeDtype)
        _require_choice("replay", self.replay, Replay)

    @property
    def from_probabilities(self) -> bool:
        """Whether the cross-entropy is torch's, from probabilities, rather than from logits.

        A replay repeats torch's numbers, clamp and saturation included; any other training is
        better off with the logits (their gradient does not vanish where the sigmoid saturates).
        """
        return self.replay != "no"


@dataclass(frozen=True)
class RunConfig:
    """A model, its training, and the name of its data: what `config.json` of a run holds."""

    model: ModelConfig
    train: TrainConfig
    data: str = "digits"

    def replace(self, **changes: Any) -> "RunConfig":
        """This configuration with fields of the model, the training or itself changed by name.

        Raises:
            InputError: If no part has a field of that name, or a value is out of range.
        """
        parts: dict[str, Any] = {"model": self.model, "train": self.train}
        own = {}
        for name, value in changes.items():
            if name in {"model", "train", "data"}:
                own[name] = value
                continue
            owners = [key for key, part in parts.items() if hasattr(part, name)]
            if not owners:
                raise InputError(f"expected a setting of {type(self.model).__name__}, "
                                 f"TrainConfig or RunConfig, got {name!r}")  # fmt: skip
            parts[owners[0]] = dataclasses.replace(parts[owners[0]], **{name: value})
        return dataclasses.replace(self, **(parts | own))

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
        kinds = {kind.__name__: kind for kind in get_args(ModelConfig)}
        try:
            model = dict(document["model"])
            kind = model.pop("kind")
            if kind not in kinds:
                raise InputError(f"expected a model of kind {' or '.join(kinds)}, got {kind!r}")
            return cls(kinds[kind](**model), TrainConfig(**document["train"]), document["data"])
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


AUTOENCODER = RunConfig(
    AutoencoderConfig(), TrainConfig(epochs=5, batch_size=256, learning_rate=0.005, seed=123)
)
CONDITIONAL_VAE = RunConfig(
    ConditionalVAEConfig(), TrainConfig(epochs=50, batch_size=128, learning_rate=0.001, seed=0)
)
