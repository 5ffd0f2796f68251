"""Classify and cluster on an autoencoder's codes, beside PCA's and the pixels."""

from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    epochs: int | None = None,
    trees: int = 500,
) -> None:
    """Compare codes as features for logistic regression, random forest, k-NN and k-means.

    Args:
        flags: Those of all use cases. --run-dir is a run of an autoencoder or plain VAE.
        epochs: Passes over the training set, without --run-dir. [default: the post's 5, and
            4,700 steps of the deeper autoencoder]
        trees: Of the random forest.
    """
    from jaxae.usecases import features

    features.run(flags, epochs=epochs, trees=trees)


if __name__ == "__main__":
    run(main)
