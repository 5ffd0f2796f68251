"""Classify and cluster on an autoencoder's codes, beside PCA's and the pixels."""

from jaxae.cli import Flags
from jaxae.usecases import features
from jaxae.usecases.method_table import publish

DEFAULTS = features.FeatureSettings()


def main(settings: Flags[features.FeatureSettings] = DEFAULTS) -> None:
    """Compare codes as features for logistic regression, random forest, k-NN and k-means.

    Args:
        settings: Settings of the comparison.
    """
    publish(features.run(settings), settings.json, settings.figure)
