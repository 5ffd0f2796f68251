"""Fine-tune a pretrained encoder on few labels, beside the same network from scratch."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import Flags, run
from jaxae.usecases import pretrain
from jaxae.usecases.method_table import publish

DEFAULTS = pretrain.PretrainSettings()


def main(settings: Flags[pretrain.PretrainSettings] = DEFAULTS) -> None:
    """Compare test accuracies of a pretrained and a fresh encoder, fine-tuned on few labels.

    Args:
        settings: Settings of the comparison.
    """
    publish(pretrain.run(settings), settings.json, settings.figure)


if __name__ == "__main__":
    run(main)
