"""Train the post's convolutional VAE, conditioned on the class."""

from typing import Annotated

import tyro

from jaxae.cli import TrainFlags, run, train
from jaxae.config import CONDITIONAL_VAE

DEFAULTS = TrainFlags.of(CONDITIONAL_VAE)


def main(
    flags: Annotated[TrainFlags, tyro.conf.arg(name="")] = DEFAULTS,
    beta: float = 1.0,
    num_latent: int = 50,
    num_classes: int | None = None,
    reconstruct_condition: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Train the post's conditional VAE; by default as the original notebook does, on digits.

    Args:
        flags: Those of any training.
        beta: Weight of the KL divergence.
        num_latent: Dimensions of the code.
        num_classes: Classes of the condition; 0 is the plain VAE. [default: those of the data]
        reconstruct_condition: Reconstruct the planes of the class too, the post's other variant.
    """
    train(
        "cvae" if num_classes != 0 else "vae",
        CONDITIONAL_VAE,
        flags,
        beta=beta,
        num_latent=num_latent,
        num_classes=num_classes,
        reconstruct_condition=reconstruct_condition,
    )


if __name__ == "__main__":
    run(main)
