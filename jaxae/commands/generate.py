"""Generate images of a class with the conditional VAE, and judge them."""

from jaxae.cli import Flags
from jaxae.usecases import generate
from jaxae.usecases.method_table import publish

DEFAULTS = generate.GenerateSettings()


def main(settings: Flags[generate.GenerateSettings] = DEFAULTS) -> None:
    """Write samples to --out, or compare samplers and models in a table.

    Args:
        settings: Settings of samples and comparison.
    """
    comparison = generate.run(settings)
    if comparison is not None:
        publish(comparison, settings.json, settings.figure)
