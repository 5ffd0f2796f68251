"""Remove noise from images with an autoencoder, beside the usual filters; or from one file."""

from jaxae.cli import Flags
from jaxae.usecases import denoise
from jaxae.usecases.method_table import publish

DEFAULTS = denoise.DenoiseSettings()


def main(settings: Flags[denoise.DenoiseSettings] = DEFAULTS) -> None:
    """Train on corrupted images, and compare PSNR and SSIM with PCA, median and non-local means.

    With --image and --out, denoise a picture instead: one character, resized to 28x28 unless it is,
    or with --tiles a sheet of 28x28 characters.

    Args:
        settings: Settings of the comparison.
    """
    restoration = denoise.run(settings)
    if restoration is not None:
        publish(restoration, settings.json, settings.figure)
