"""Find anomalies: train on one class alone, score all of them, beside the usual detectors."""

import sys
from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    hidden: tuple[int, ...] = (128, 8),
    epochs: int = 60,
    vae_epochs: int | None = 40,
    contamination: float = 0.05,
    label: int = 8,
    seed: int = 0,
) -> None:
    """Train on one class alone and score all: AUROC of each against the rest, for each method.

    Args:
        flags: Those of any use case. --run-dir is a folder of runs class-0, class-1, ...
        hidden: Widths of the autoencoder, from the input to the code.
        epochs: Of the autoencoders; an epoch is the images of one class.
        vae_epochs: Of the plain VAE; None leaves it out.
        contamination: Share of normal images that may be called anomalous; it sets the threshold.
        label: The class whose least and most anomalous images the figure shows.
        seed: Of weights, order and the baselines.
    """
    dataset, mesh = flags.open(batch_size=128)
    from jaxae.usecases.anomaly import AnomalySettings, detect, plot_extremes

    settings = AnomalySettings(hidden, epochs, vae_epochs, contamination=contamination, seed=seed)
    detection = detect(
        dataset,
        settings,
        mesh=mesh,
        run_dir=flags.run_dir,
        log=lambda line: print(line, file=sys.stderr, flush=True),
    )
    detection.comparison.publish(flags.json)
    if flags.figure is not None:
        plot_extremes(flags.figure, dataset, detection, label)


if __name__ == "__main__":
    run(main)
