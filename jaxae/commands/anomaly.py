"""Find anomalies: train on one class alone, score all of them, beside the usual detectors."""

from jaxae.cli import Flags
from jaxae.usecases import anomaly
from jaxae.usecases.method_table import publish

DEFAULTS = anomaly.AnomalySettings()


def main(settings: Flags[anomaly.AnomalySettings] = DEFAULTS) -> None:
    """Train on one class alone and score all: AUROC of each against the rest, for each method.

    Args:
        settings: Settings of the comparison.
    """
    publish(anomaly.run(settings), settings.json, settings.figure)
