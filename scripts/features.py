"""Classify and cluster on an autoencoder's codes, beside PCA's and the pixels."""

from pathlib import Path
from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    also: tuple[Path, ...] = (),
    epochs: int | None = None,
    trees: int = 500,
) -> None:
    """Compare codes as features for logistic regression, random forest, k-NN and k-means.

    Args:
        flags: Those of all use cases. --run-dir is a run of an autoencoder or plain VAE.
        also: Further runs for the table.
        epochs: Passes over the training set, without --run-dir. [default: the post's 5; on MNIST
            20 of the deeper autoencoder and 12 of the plain VAE]
        trees: Of the random forest.
    """
    from jaxae.usecases import features

    features.run(flags, also=also, epochs=epochs, trees=trees)


if __name__ == "__main__":
    run(main)
