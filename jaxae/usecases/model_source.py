"""Where a use case gets its data and its model: a run, a pretrained model, or a training now."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jax.sharding import Mesh

from jaxae.cli import DataFlags, default
from jaxae.config import RunConfig, VAEConfig
from jaxae.data.dataset import Dataset
from jaxae.errors import InputError
from jaxae.network.models import Model
from jaxae.pretrained.card import model_card
from jaxae.storage.figures import figure_format
from jaxae.storage.files import check_writable
from jaxae.training.fit import fit
from jaxae.training.program import Corruption
from jaxae.training.run_folder import load_run, run_files


@dataclass(frozen=True, kw_only=True)
class UseCaseSettings(DataFlags):
    """Settings, and flags, that all use cases share.

    Attributes:
        run_dir: Folder of a finished run whose model is used; without it a model is trained.
        pretrained: Name of a trained model that comes with the package, in place of a run.
        json: JSON file to write the table's figures to.
        figure: PNG file to draw the figure to.
    """

    run_dir: Annotated[Path | None, default("none", "PATH")] = None
    pretrained: Annotated[str | None, default("none", "STR")] = None
    json: Annotated[Path | None, default("no file", "PATH")] = None
    figure: Annotated[Path | None, default("no file", "PATH")] = None

    @property
    def model_dir(self) -> Path | None:
        """Folder of the run, or of the pretrained model, whose model is used.

        Raises:
            InputError: If both are named, or there is no pretrained model of that name.
        """
        if self.pretrained is None:
            return self.run_dir
        if self.run_dir is not None:
            raise InputError("expected --run-dir or --pretrained, got both")
        return model_card(self.pretrained).folder

    def refuse_table(self, flag: str) -> None:
        """Refuse files of a table beside a flag in whose place none is made.

        Raises:
            InputError: If one is named.
        """
        if self.json or self.figure:
            raise InputError(f"expected no --json and --figure beside {flag}, for which nothing is compared, got some")

    def outputs(self) -> list[Path | None]:
        """The files to write."""
        return [self.json, self.figure]

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it: files of data and model."""
        folder = self.model_dir
        if folder is not None and self.pretrained is None:
            return [*super().inputs(), *run_files(folder)]
        return [*super().inputs(), *filter(None, [folder])]

    def open(self, batch_size: int) -> tuple[Dataset, Mesh]:
        """The data set, and the mesh that batches of this size are shared on.

        Raises:
            InputError: If data or devices are not there, or a file to write could not be written.
        """
        # Before minutes of training, not after.
        check_writable(*self.outputs(), inputs=self.inputs())
        if self.figure is not None:
            figure_format(self.figure)
        mesh = self.configure(batch_size=batch_size)
        return self.load(), mesh


def load_or_train(
    model_dir: str | Path | None,
    config: RunConfig,
    dataset: Dataset,
    *,
    mesh: Mesh | None = None,
    corrupt: Corruption | None = None,
    keep: Path | None = None,
    show_progress: bool = False,
) -> tuple[RunConfig, Model]:
    """The model of a finished run with its configuration; without a run, a model trained now, as by `fit`.

    Args:
        model_dir: Folder of the run, or None to train as `config` says.
        config: Configuration of the training, and of the kind of model that a run must hold.
        dataset: Data set to train on.
        mesh: Devices that share a batch.
        corrupt: Function that makes what the network is shown in training.
        keep: New run folder for what is trained now.
        show_progress: Whether progress is shown on standard error.

    Raises:
        InputError: If the run is not finished, or holds an autoencoder for a VAE, or the reverse.
    """
    if model_dir is None:
        result = fit(config, dataset, run_dir=keep, mesh=mesh, corrupt=corrupt, show_progress=show_progress)
        return config, result.model
    found, model = load_run(model_dir)
    if isinstance(found.model, VAEConfig) is not isinstance(config.model, VAEConfig):
        wanted, got = type(config.model).__name__, type(found.model).__name__
        raise InputError(f"expected a run of {wanted}, got {model_dir}, which holds {got}")
    # Data of a path are called by its last part.
    if dataset.name not in (found.data, Path(found.data).resolve().name, Path(found.data).stem):
        trained_on = Path(found.data).stem if found.data.endswith(".npz") else found.data
        warnings.warn(f"{model_dir} was trained on {trained_on}, and is used on {dataset.name}", stacklevel=2)
    return found, model
