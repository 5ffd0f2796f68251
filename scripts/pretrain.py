"""Fine-tune a pretrained encoder on few labels, beside the same network from scratch."""

from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    labels: tuple[int, ...] | None = None,
    seeds: int = 5,
    steps: int = 100,
    learning_rates: tuple[float, ...] = (0.001, 0.003, 0.01),
    epochs: int | None = None,
) -> None:
    """Compare test accuracies of a pretrained and a fresh encoder, fine-tuned on few labels.

    Args:
        flags: Those of all use cases. --run-dir is a run of a plain autoencoder.
        labels: Numbers of labelled images. [default: 100, 1,000 and 10,000, as far as there are]
        seeds: Trainings of each row.
        steps: Of fine-tuning on 100 labels; they grow with the square root of the labels.
        learning_rates: To choose from, on validation images.
        epochs: Of pretraining, without --run-dir. [default: 4,700 steps' worth]
    """
    from jaxae.usecases import pretrain

    settings = pretrain.FineTuneSettings(seeds=seeds, learning_rates=learning_rates, steps=steps)
    pretrain.run(flags, labels, settings, epochs=epochs)


if __name__ == "__main__":
    run(main)
