"""Compress images with an autoencoder, and measure rate against distortion."""

from typing import Annotated

import tyro

from jaxae.usecases.compress import files, rate
from jaxae.usecases.method_table import publish

Command = (
    Annotated[files.CompressSettings, tyro.conf.subcommand("compress")]
    | Annotated[files.DecompressSettings, tyro.conf.subcommand("decompress")]
    | Annotated[
        rate.RateSettings,
        tyro.conf.subcommand(
            "rate", description="Measure bits per pixel against PSNR, beside PCA, PNG, JPEG and WebP."
        ),
    ]
)


def main(command: Annotated[Command, tyro.conf.arg(name="")]) -> None:
    """Compress images to an autoencoder's quantised, entropy-coded codes.

    Args:
        command: What to do.
    """
    if isinstance(command, rate.RateSettings):
        publish(rate.run(command), command.json, command.figure)
    else:
        files.run(command)
