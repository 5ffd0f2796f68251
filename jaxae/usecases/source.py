"""Where a use case gets its data and its model: a run directory, or a training on the spot."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jax.sharding import Mesh

from jaxae.config import RunConfig
from jaxae.data.dataset import Dataset, load
from jaxae.errors import InputError
from jaxae.network.models import Model
from jaxae.training.fit import fit
from jaxae.training.program import Corruption
from jaxae.training.run_folder import load_run
from jaxae.training.runtime import configure
from jaxae.usecases.report import check_destination


@dataclass(frozen=True)
class SourceFlags:
    """Flags that the scripts of all use cases share.

    Attributes:
        data: digits (needs no download), mnist, fashion_mnist, kmnist, emnist/..., another TFDS set
            of that shape, or the path of an .npz file.
        data_dir: Folder of IDX files or of prepared TFDS data.
        run_dir: A finished run whose model is used; else one is trained on the spot.
        json: Write the table's figures to this file.
        figure: Draw the figure to this PNG file.
        device: cpu or gpu; auto takes what JAX finds.
        devices: How many devices share a batch; on a CPU the process makes as many.
            [default: min(cores, batch size // 32)]
    """

    data: str = "digits"
    data_dir: Path | None = None
    run_dir: Path | None = None
    json: Path | None = None
    figure: Path | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | None = None

    def open(self, batch_size: int) -> tuple[Dataset, Mesh]:
        """The data set, and the mesh that batches of this size are shared on.

        Raises:
            InputError: If data or devices are not there, or a file to write could not be written.
        """
        # Before minutes of training, not after.
        for path in (self.json, self.figure):
            if path is not None:
                check_destination(path)
        mesh = configure(
            device=self.device, devices=self.devices, batch_size=batch_size, dtype="float32"
        )
        return load(self.data, self.data_dir), mesh


def obtain(
    run_dir: str | Path | None,
    config: RunConfig,
    dataset: Dataset,
    *,
    mesh: Mesh | None = None,
    corrupt: Corruption | None = None,
    keep: Path | None = None,
    show_progress: bool = False,
) -> tuple[RunConfig, Model]:
    """The model of a run directory with its configuration; without one, a model trained now.

    Args:
        run_dir: A finished run, or None to train as `config` says.
        config: The training, and the kind of model that a run must hold.
        dataset: What to train on.
        mesh: The devices that share a batch.
        corrupt: Makes what the network is shown in training.
        keep: A new run directory for what is trained now.
        show_progress: Show a bar on standard error where that is a terminal.

    Raises:
        InputError: If the run is not finished, or holds another kind of model than `config`.
    """
    if run_dir is None:
        result = fit(
            config,
            dataset,
            run_dir=keep,
            mesh=mesh,
            corrupt=corrupt,
            show_progress=show_progress,
        )
        return config, result.model
    found, model = load_run(run_dir)
    if type(found.model) is not type(config.model):
        raise InputError(
            f"expected a run of {type(config.model).__name__}, got {run_dir}, "
            f"which holds {type(found.model).__name__}"
        )
    trained_on = Path(found.data).stem if found.data.endswith(".npz") else found.data
    if trained_on != dataset.name:
        warnings.warn(
            f"{run_dir} was trained on {trained_on}, and is used on {dataset.name}", stacklevel=2
        )
    return found, model
