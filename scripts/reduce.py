"""Reduce images to codes of a few dimensions, beside PCA of the same size."""

import sys
from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    sizes: tuple[int, ...] = (2, 8, 32),
    epochs: int | None = None,
    neighbours: int = 10,
    seed: int = 0,
) -> None:
    """Reduce images to codes: error, k-NN accuracy and trustworthiness, beside PCA's.

    Args:
        flags: Those of any use case. --run-dir is a run of train_ae.py.
        sizes: Dimensions of the codes.
        epochs: Passes over the training set. [default: 20, and at least 1,000 steps]
        neighbours: Of the k-NN classifier, and of the trustworthiness.
        seed: Of weights, order and PCA.
    """
    dataset, mesh = flags.open(batch_size=256)
    from jaxae.usecases.reduce import ReduceSettings, plot_maps, reduce

    settings = ReduceSettings(sizes, epochs=epochs, neighbours=neighbours, seed=seed)
    reduction = reduce(
        dataset,
        settings,
        mesh=mesh,
        run_dir=flags.run_dir,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    reduction.comparison.publish(flags.json)
    if flags.figure is not None:
        plot_maps(flags.figure, dataset, reduction)


if __name__ == "__main__":
    run(main)
