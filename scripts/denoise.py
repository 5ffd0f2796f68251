"""Remove noise from images with an autoencoder, beside the usual filters; or from one file."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxae.cli import run
from jaxae.errors import InputError
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    corruption: Literal["all", "gaussian", "salt-and-pepper", "masked-blocks"] = "all",
    deviation: float = 0.3,
    share: float = 0.3,
    side: int = 7,
    blocks: int = 3,
    hidden: tuple[int, ...] = (512, 128),
    epochs: int | None = None,
    seed: int = 0,
    keep: Path | None = None,
    image: Path | None = None,
    out: Path | None = None,
    tiles: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Train on corrupted images, and compare PSNR and SSIM with PCA, median and non-local means.

    With --image and --out, denoise a picture instead: one character, resized to 28x28 unless it is,
    or with --tiles a sheet of 28x28 characters.

    Args:
        flags: Those of any use case. --run-dir is a run, or a folder that --keep made.
        corruption: Which is undone; a model is trained for each.
        deviation: Of the Gaussian noise, in units of the pixels' range.
        share: Of pixels turned black or white.
        side: Of masked squares, in pixels.
        blocks: How many squares are masked.
        hidden: Widths of the autoencoder, from the input to the code.
        epochs: Passes over the training set. [default: 20, and at least 400 steps]
        seed: Of weights, order, noise and PCA.
        keep: A folder to keep the trainings in, each as a run named for its corruption.
        image: A picture to denoise.
        out: Where to write it.
        tiles: The picture is a sheet of 28x28 characters, not one character.
    """
    from jaxae.usecases.corruption import Gaussian, MaskedBlocks, SaltAndPepper
    from jaxae.usecases.denoise import (
        DenoiseSettings,
        denoise,
        denoise_file,
        denoiser,
        plot_restoration,
    )
    from jaxae.usecases.report import check_destination

    if (image is None) != (out is None):
        raise InputError("expected both --image and --out, or neither, got one")
    if image is not None and corruption == "all":
        raise InputError("expected the --corruption that --image suffers from, got all")
    if out is not None:
        check_destination(out)
    kinds = {
        "gaussian": Gaussian(deviation),
        "salt-and-pepper": SaltAndPepper(share),
        "masked-blocks": MaskedBlocks(side, blocks),
    }
    settings = DenoiseSettings(hidden, epochs, seed=seed)
    dataset, mesh = flags.open(batch_size=settings.batch_size)
    where = {"mesh": mesh, "run_dir": flags.run_dir, "keep": keep}
    if image is not None and out is not None:
        model = denoiser(dataset, settings, corruption, kinds[corruption], **where)
        denoise_file(image, out, model, tiles=tiles)
        return
    chosen = kinds if corruption == "all" else {corruption: kinds[corruption]}
    restoration = denoise(
        dataset,
        settings,
        chosen,
        **where,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    restoration.comparison.publish(flags.json)
    if flags.figure is not None:
        plot_restoration(flags.figure, restoration)


if __name__ == "__main__":
    run(main)
