"""Compress images with an autoencoder, and measure rate against distortion."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.usecases.compress.rate import STEPS
from jaxae.usecases.source import SourceFlags


@dataclass(frozen=True)
class Compress:
    """Compress an image file, or uint8 images [N, 28, 28(, 1)] of a .npy or .npz file.

    Attributes:
        source: What to compress: grey, white on black as the training images.
        destination: The compressed file.
        step: Quantisation step in grey levels of 255: smaller is better and longer.
        run_dir: A finished run of an autoencoder or plain VAE. [default: runs/compress-DATA, which
            is trained if it is not there]
        data: What to train on without --run-dir: digits (needs no download), mnist, ..., or .npz.
        data_dir: Folder of IDX files or of prepared TFDS data.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    destination: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    step: float = 4.0
    run_dir: Path | None = None
    data: str = "digits"
    data_dir: Path | None = None


@dataclass(frozen=True)
class Decompress:
    """Decompress to an image file (.png, .bmp, .tif, .pgm) or an array file (.npy, .npz).

    Attributes:
        source: The compressed file.
        destination: Where its images go.
        run_dir: Of the model that made it. [default: the one of that hash in runs/]
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    destination: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    run_dir: Path | None = None


@dataclass(frozen=True)
class Rate:
    """Measure bits a pixel against PSNR on the test set, beside PCA, PNG, JPEG and WebP.

    Attributes:
        flags: Those of all use cases.
        also: Further runs for the table.
        steps: Quantisation steps in grey levels.
    """

    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = field(default_factory=SourceFlags)
    also: tuple[Path, ...] = ()
    steps: tuple[float, ...] = STEPS


def main(command: Annotated[Compress | Decompress | Rate, tyro.conf.arg(name="")]) -> None:
    """Compress images to an autoencoder's quantised, entropy-coded codes.

    Args:
        command: What to do.
    """
    from jaxae.usecases.compress import files as compress
    from jaxae.usecases.compress import rate

    if isinstance(command, Compress):
        codec = compress.open_codec(command.run_dir, command.data, command.data_dir)
        line = compress.compress_file(command.source, command.destination, codec, step=command.step)
        print(line, file=sys.stderr)
    elif isinstance(command, Decompress):
        compress.decompress_file(command.source, command.destination, command.run_dir)
    else:
        rate.run(command.flags, also=command.also, steps=command.steps)


if __name__ == "__main__":
    run(main)
