"""Model cards, and the way from a model's name to the model."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

from jaxae.config import RunConfig, read_config
from jaxae.errors import InputError, brief
from jaxae.network.models import Model
from jaxae.storage import documents
from jaxae.training.run_folder import RunFolder, load_run

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ModelCard:
    """What a trained model is, how it came about, and what it is not good for.

    Attributes:
        name: Name of the model.
        summary: One sentence on the network.
        data: Data set that it was trained and tested on.
        command: Command that trains it.
        commit: Commit of the code that trained it.
        test_cost: Mean cost of a test image, in nats per image.
        test_reconstruction: Mean cross-entropy of a test image, in nats per image.
        test_kl: Mean KL divergence of a test image's posterior, in nats per image.
        limits: What the model is not good for.
        licence: Licences of the weights and of the data.
    """

    name: str
    summary: str
    data: str
    command: str
    commit: str
    test_cost: float
    test_reconstruction: float
    test_kl: float
    limits: str
    licence: str

    @property
    def folder(self) -> Path:
        """The model's run folder."""
        return _FOLDER / self.name

    @property
    def config(self) -> RunConfig:
        """The settings of model and training."""
        return read_config(RunFolder(self.folder).config_file)


def pretrained_names() -> list[str]:
    """Names of the trained models that come with the package."""
    return sorted(path.parent.name for path in _FOLDER.glob("*/card.json"))


def model_card(name: str) -> ModelCard:
    """The card of a trained model.

    Raises:
        InputError: If there is no model of that name.
    """
    names = pretrained_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"expected a pretrained model of {', '.join(names)}, got {name!r}{hint}")
    return read_card(_FOLDER / name)


def read_card(folder: Path) -> ModelCard:
    """The card in a model's folder.

    Raises:
        InputError: If there is none, or it is damaged.
    """
    path = folder / "card.json"
    try:
        card = ModelCard(folder.name, **documents.read(path))
        kinds = get_type_hints(ModelCard)
        wrong = [name for name, kind in kinds.items() if type(getattr(card, name)) is not kind]
    except (TypeError, ValueError) as error:
        raise InputError(f"expected a model's card in {path}, got {brief(error, 200)}") from error
    if wrong:
        raise InputError(f"expected a model's card in {path}, got one of another {', '.join(wrong)}")
    return card


def load_pretrained(name: str) -> Model:
    """A trained model that comes with the package.

    Raises:
        InputError: If there is no model of that name.
    """
    return load_run(model_card(name).folder)[1]
