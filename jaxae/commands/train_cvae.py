"""Train the post's convolutional VAE, conditioned on the class."""

from typing import Annotated

import tyro

from jaxae.bounds import Count, CountOrZero
from jaxae.cli import KL_DEFAULTS, KLFlags, Switch, TrainFlags, default
from jaxae.commands.training import train
from jaxae.config import CONDITIONAL_VAE

DEFAULTS = TrainFlags.of(CONDITIONAL_VAE)


def main(
    flags: Annotated[TrainFlags, tyro.conf.arg(name="")] = DEFAULTS,
    kl: Annotated[KLFlags, tyro.conf.arg(name="")] = KL_DEFAULTS,
    num_latent: Count = 50,
    num_classes: Annotated[CountOrZero | None, default("the data's", "INT")] = None,
    reconstruct_condition: Switch = False,
    output_leaky_relu: bool = True,
) -> None:
    """Train the post's conditional VAE; by default as the original notebook does.

    Args:
        flags: Flags of any training.
        kl: Flags of the KL term.
        num_latent: Number of dimensions of the latent code.
        num_classes: Number of classes of the condition; 0 is the plain VAE.
        reconstruct_condition: Whether to reconstruct the class's planes too, as the post's other variant does.
        output_leaky_relu: Whether to apply leaky_relu before the sigmoid, as the post's code does.
    """
    train(
        "cvae" if num_classes != 0 else "vae",
        CONDITIONAL_VAE,
        flags,
        **vars(kl),
        num_latent=num_latent,
        num_classes=num_classes,
        reconstruct_condition=reconstruct_condition,
        output_leaky_relu=output_leaky_relu,
    )
