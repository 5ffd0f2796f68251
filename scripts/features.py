"""Classify and cluster on an autoencoder's codes, beside PCA's and the pixels."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import Flags, run
from jaxae.usecases import features
from jaxae.usecases.method_table import publish

DEFAULTS = features.FeatureSettings()


def main(settings: Flags[features.FeatureSettings] = DEFAULTS) -> None:
    """Compare codes as features for logistic regression, random forest, k-NN and k-means.

    Args:
        settings: Settings of the comparison.
    """
    publish(features.run(settings), settings.json, settings.figure)


if __name__ == "__main__":
    run(main)
