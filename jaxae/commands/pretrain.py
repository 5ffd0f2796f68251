"""Fine-tune a pretrained encoder on few labels, beside the same network from scratch."""

from jaxae.cli import Flags
from jaxae.usecases import pretrain
from jaxae.usecases.method_table import publish

DEFAULTS = pretrain.PretrainSettings()


def main(settings: Flags[pretrain.PretrainSettings] = DEFAULTS) -> None:
    """Compare test accuracies of a pretrained and a fresh encoder, fine-tuned on few labels.

    Args:
        settings: Settings of the comparison.
    """
    publish(pretrain.run(settings), settings.json, settings.figure)
