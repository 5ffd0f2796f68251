"""Reduce images to codes of a few dimensions, beside PCA of the same size."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import Flags, run
from jaxae.usecases import reduce
from jaxae.usecases.method_table import publish

DEFAULTS = reduce.ReduceSettings()


def main(settings: Flags[reduce.ReduceSettings] = DEFAULTS) -> None:
    """Reduce images to codes: error, k-NN accuracy and trustworthiness, beside PCA's.

    Args:
        settings: Settings of the comparison.
    """
    publish(reduce.run(settings), settings.json, settings.figure)


if __name__ == "__main__":
    run(main)
