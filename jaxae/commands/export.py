"""Export a trained model to ONNX or StableHLO."""

from jaxae.cli import Flags
from jaxae.usecases.export import export


def main(settings: Flags[export.ExportSettings]) -> None:
    """Export a trained model; a file is kept only if its runtime computes JAX's numbers, within 1e-6.

    Args:
        settings: What is exported, and to which files.
    """
    print(export.run(settings))
