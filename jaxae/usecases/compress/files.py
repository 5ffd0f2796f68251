"""Compression of files: find or train the model, compress, decompress."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.bounds import Checked
from jaxae.cli import ReadingFlags, default
from jaxae.config import Reading, read_config
from jaxae.data.dataset import Dataset, check_data_dir, files_of, load_as
from jaxae.errors import InputError
from jaxae.storage.files import check_writable, read_bytes, write_bytes
from jaxae.training.fit import fit
from jaxae.training.run_folder import RUNS, RunFolder, load_run, run_files
from jaxae.usecases.compress.code_tables import GreyLevels
from jaxae.usecases.compress.codec import CODEC_FILE, Codec, load_codec, prepare, save_codec
from jaxae.usecases.compress.container import unpack
from jaxae.usecases.image_quality import pooled_psnr
from jaxae.usecases.method_table import tell
from jaxae.usecases.picture import picture_shape, read_pixels, write_pixels
from jaxae.usecases.recipe import deep_autoencoder

# Far more than the pixels take that a compressed file may have.
_LARGEST = 1 << 30
Source = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
Destination = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]


@dataclass(frozen=True)
class CompressSettings(ReadingFlags):
    """Compress an image file, or uint8 images [N, 28, 28(, 1)] of a .npy or .npz file.

    Attributes:
        source: File to compress: grey, white on black as the training images.
        destination: Compressed file to write.
        step: Quantisation step in grey levels of 255: a smaller one means better images and longer files.
        run_dir: Folder of a finished run of an autoencoder or plain VAE.
        data: Data set to train on without --run-dir: mnist, digits, ..., or a path.
        data_dir: Folder of IDX files or of prepared TFDS data.
    """

    source: Source
    destination: Destination
    step: GreyLevels = 4.0
    run_dir: Annotated[Path | None, default("runs/compress-DATA, trained if it is not there", "PATH")] = None
    data: str = "mnist"
    data_dir: Annotated[Path | None, default("the package's, or TFDS's own", "PATH")] = None


@dataclass(frozen=True)
class DecompressSettings(Checked):
    """Decompress to an image file (.png, .bmp, .tif, .pgm) or an array file (.npy, .npz).

    Attributes:
        source: Compressed file.
        destination: File to write its images to.
        run_dir: Folder of the run whose model compressed the file.
    """

    source: Source
    destination: Destination
    run_dir: Annotated[Path | None, default("the one in runs/ that did", "PATH")] = None


def run(settings: CompressSettings | DecompressSettings) -> None:
    """Compress or decompress a file.

    Raises:
        InputError: If a file cannot be read or written, or the model is not there.
    """
    if isinstance(settings, DecompressSettings):
        decompress_file(settings.source, settings.destination, settings.run_dir)
        return
    # Before a training, not after.
    folder = settings.run_dir or _default_run(settings.data)
    data = files_of(settings.data, settings.data_dir)
    check_writable(settings.destination, inputs=[settings.source, *data, *run_files(folder)])
    read_pixels(settings.source)
    codec = open_codec(settings.run_dir, settings.data, settings.data_dir, settings)
    tell(compress_file(settings.source, settings.destination, codec, step=settings.step))


def compress_file(source: Path, destination: Path, codec: Codec, *, step: float) -> str:
    """Compress an image or array file; nothing is written unless all went well.

    Returns:
        A line that says what became of it.

    Raises:
        InputError: If the source is no grey image or array of them, or a file cannot be written.
    """
    check_writable(destination, inputs=[source])
    pixels = read_pixels(source)
    content = codec.compress(pixels, step)
    quality = pooled_psnr(pixels, codec.decompress(content))
    write_bytes(destination, content)
    rate = 8 * len(content) / pixels.size
    return f"{pixels.size} pixels in {len(content)} bytes: {rate:.3f} bits per pixel, PSNR {quality:.2f} dB"


def decompress_file(source: Path, destination: Path, run_dir: Path | None = None) -> None:
    """Decompress a file; nothing is written unless all went well.

    Without the folder of the run whose model compressed it, that run is sought among the runs.

    Raises:
        InputError: If the source is another format, truncated, altered or another model's, or the destination does
            not suit what it holds.
    """
    check_writable(destination, inputs=[source, *run_files(run_dir or RUNS)])
    try:
        content = read_bytes(source, _LARGEST)
    except OSError as error:
        raise InputError(f"expected a compressed file, got {source}: {error.strerror}") from error
    # Before the model is sought: a damaged file is to be told as such.
    container = unpack(content, str(source))
    picture_shape(destination, container.shape)
    codec = load_codec(run_dir) if run_dir is not None else _find_codec(container.model)
    write_pixels(destination, codec.decompress(content, str(source)))


def open_codec(
    run_dir: Path | None, data: str = "mnist", data_dir: Path | None = None, reading: Reading | None = None
) -> Codec:
    """The codec of a run, its tables made and kept there at the first use.

    Args:
        run_dir: Folder of a finished run; else runs/compress-DATA, where one is trained if there is none yet.
        data: Data set to train on without a run.
        data_dir: Folder of that data, or of the run's.
        reading: How they are read.

    Raises:
        InputError: If the run is not finished or conditional, or its data is not there.
    """
    folder, reading = run_dir or _default_run(data), reading or Reading()
    if run_dir is not None:  # whether there are tables already or not
        check_data_dir(read_config(RunFolder(folder).config_file).data, data_dir)
    if (folder / CODEC_FILE).exists():
        return load_codec(folder)
    if run_dir is None:
        train_codec(folder, load_as(reading, data, data_dir))
    config, model = load_run(folder)
    codec = prepare(config, model, load_as(reading, config.data if run_dir else data, data_dir))
    save_codec(codec, folder)
    return codec


def train_codec(folder: Path, dataset: Dataset) -> None:
    """Train the autoencoder for compression in a run directory, or go on where it was cut off."""
    config = deep_autoencoder(dataset)
    if not RunFolder(folder).weights_file.exists():
        tell(f"training {config.model} on {dataset.name}, once, in {folder}")
        fit(config, dataset, run_dir=folder, resume=RunFolder(folder).config_file.exists(), show_progress=True)


def _default_run(data: str) -> Path:
    return RUNS / f"compress-{Path(data).stem.replace('/', '-')}"


def _find_codec(identity: bytes) -> Codec:
    found = []
    for path in sorted(RUNS.glob(f"*/{CODEC_FILE}")):
        codec = load_codec(path.parent)
        if codec.identity == identity:
            return codec
        found.append(f"{path.parent} ({codec.identity.hex()})")
    raise InputError(
        f"expected --run-dir of the model {identity.hex()}, which made the file; in {RUNS} "
        f"there is {', '.join(found) or 'no codec'}"
    )
