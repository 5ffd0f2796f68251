"""Reduce images to codes of a few dimensions, beside PCA of the same size."""

from jaxae.cli import Flags
from jaxae.usecases import reduce
from jaxae.usecases.method_table import publish

DEFAULTS = reduce.ReduceSettings()


def main(settings: Flags[reduce.ReduceSettings] = DEFAULTS) -> None:
    """Reduce images to codes: error, k-NN accuracy and trustworthiness, beside PCA's.

    Args:
        settings: Settings of the comparison.
    """
    publish(reduce.run(settings), settings.json, settings.figure)
