"""A run: its model, its training and its data, to and from JSON; the original ones as presets.

Two presets are those of the notebooks that the post derives from (`rasbt/deeplearning-models`, `ae-basic` and
`ae-cnn-cvae`); the third is the VAE of Burda, Grosse and Salakhutdinov 2016 (arXiv:1509.00519), trained in fewer and
larger steps; the last takes pictures of any size.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxae.bounds import Checked, check, kinds_of, require, told
from jaxae.config.models import (
    AutoencoderConfig,
    ConditionalVAEConfig,
    ConvVAEConfig,
    DenseVAEConfig,
    ModelConfig,
    VAEConfig,
)
from jaxae.config.reading import AS_FOUND, Reading
from jaxae.config.training import TrainConfig
from jaxae.errors import InputError, brief
from jaxae.storage import documents

_KINDS = {kind.__name__: kind for kind in (AutoencoderConfig, ConditionalVAEConfig, DenseVAEConfig, ConvVAEConfig)}


@dataclass(frozen=True)
class RunConfig(Checked):
    """What `config.json` of a run holds.

    Attributes:
        model: The network's settings.
        train: The training's settings.
        data: Name or path of the data set.
        class_names: Names of the data's classes by their labels; none where they are numbers.
        data_dir: Folder that a data set by its name is read from; None is the package's, or TFDS's own.
        reading: How the data are read.
    """

    model: ModelConfig
    train: TrainConfig
    data: str = "digits"
    class_names: tuple[str, ...] = ()
    data_dir: Path | None = None
    reading: Reading = AS_FOUND

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.model, AutoencoderConfig):
            for name in ("beta_warmup_epochs", "free_bits"):
                value = getattr(self.train, name)
                require(not value, f"no {name} for the plain autoencoder, which has no KL term", value)
        if isinstance(self.model, VAEConfig) and self.train.binarize:
            likelihood = self.model.likelihood
            require(likelihood == "bernoulli", "a bernoulli likelihood where pixels are binarized", likelihood)

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
        """As plain JSON values, the kind of model named; of the data, what is not as usual."""
        own = {name: getattr(self.reading, name) for name in kinds_of(Reading)}
        reading = {name: value for name, value in own.items() if value != getattr(Reading, name)}
        return {
            "model": {"kind": type(self.model).__name__, **dataclasses.asdict(self.model)},
            "train": dataclasses.asdict(self.train),
            "data": self.data,
            **({"class_names": list(self.class_names)} if self.class_names else {}),
            **({"data_dir": str(self.data_dir)} if self.data_dir is not None else {}),
            **({"reading": reading} if reading else {}),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "RunConfig":
        """The configuration that `to_json` wrote.

        Raises:
            InputError: If a part is missing, unknown or out of range.
        """
        match document:
            case {"model": {"kind": str(kind), **model}, "train": dict(train), "data": data, **others}:
                reading = others.pop("reading", {})
            case _:
                raise InputError("expected a jaxae configuration of model, train and data, got another document")
        if kind not in _KINDS:
            raise InputError(f"expected a model of kind {' or '.join(_KINDS)}, got {told(kind)}")
        try:
            return cls(_KINDS[kind](**model), TrainConfig(**train), data, reading=Reading(**reading), **others)
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
