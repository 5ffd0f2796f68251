"""The flags of data, and of the devices that compute with them."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from jaxae.bounds import Share, Workers, kinds_of
from jaxae.cli.flag import Switch, default
from jaxae.config import ComputeDtype, Fit, Reading, Side

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxae.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class ReadingFlags(Reading):
    """Flags of how data are read.

    Attributes:
        size: Number of pixels of a side that images are resampled to.
        fit: Way to make a picture square before that: crop its middle, or pad it with black.
        grey: Whether colours become luminance.
        upright: Whether EMNIST's images, which lie on their side, are turned upright.
        test_share: Share of each class that becomes the test set, where the data have none.
        skip_broken: Whether pictures that cannot be read are left out and counted.
    """

    size: Annotated[Side | None, default("the images' own", "INT")] = None
    fit: Fit = "crop"
    grey: Switch = False
    upright: Switch = False
    test_share: Annotated[Share | None, default("1/6", "FLOAT")] = None
    skip_broken: Switch = False

    def read(
        self, data: str, data_dir: Path | None, *, original_order: bool = False, quietly: bool = False
    ) -> "Dataset":
        """The data set of a name or path; what was decided in reading it is told on standard error.

        Raises:
            InputError: If it is unknown, or cannot be had or read.
        """
        from jaxae.data.dataset import load_as

        dataset = load_as(self, data, data_dir, original_order=original_order)
        for note in () if quietly else dataset.notes:
            print(f"note: {note}", file=sys.stderr)
        return dataset

    def asked(self) -> list[str]:
        """The words that ask for this reading on a command line."""
        usual, words = ReadingFlags(), []
        for name in kinds_of(ReadingFlags):
            if (value := getattr(self, name)) != getattr(usual, name):
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return words


@dataclass(frozen=True, kw_only=True)
class DataFlags(ReadingFlags):
    """Flags of the data, and of the devices that share a batch of it.

    Attributes:
        data: Data set: mnist and digits come with the package; a path of pictures in class folders, .npz, CSV, IDX
            and other files (docs/data.md); fashion_mnist, kmnist, emnist/... with --data-dir; or a TFDS set.
        data_dir: Folder of IDX files or of prepared TFDS data.
        device: Kind of device; auto takes what JAX finds.
        devices: Number of devices that share a batch, in each process; on a CPU, parts of its cores.
    """

    data: str = "mnist"
    data_dir: Annotated[Path | None, default("the package's, or TFDS's own", "PATH")] = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[Workers | None, default("min(cores, batch size // 32)", "INT")] = None

    def load(self, *, original_order: bool = False, quietly: bool = False) -> "Dataset":
        """The data set.

        Raises:
            InputError: If it is unknown, or cannot be had or read.
        """
        return self.read(self.data, self.data_dir, original_order=original_order, quietly=quietly)

    def inputs(self) -> list[Path]:
        """What is read, so that no output may replace it: the data set's files."""
        from jaxae.data.dataset import files_of

        return files_of(self.data, self.data_dir)

    def configure(self, *, batch_size: int, dtype: ComputeDtype = "float32", models: int = 1) -> "Mesh":
        """Set up JAX for a script, and make the mesh to train on.

        Raises:
            InputError: If the device or so many of them are not there.
        """
        from jaxae.training.runtime import configure

        return configure(device=self.device, devices=self.devices, batch_size=batch_size, models=models, dtype=dtype)
