"""Train a convolutional VAE on pictures of any size, grey or in colour."""

from typing import Annotated

import tyro

from jaxae.bounds import Count, CountOrZero, Widths
from jaxae.cli import KL_DEFAULTS, LIKELIHOOD_DEFAULTS, KLFlags, LikelihoodFlags, TrainFlags
from jaxae.commands.training import train
from jaxae.config import CONV_VAE, Activation

DEFAULTS = TrainFlags.of(CONV_VAE)


def main(
    flags: Annotated[TrainFlags, tyro.conf.arg(name="")] = DEFAULTS,
    kl: Annotated[KLFlags, tyro.conf.arg(name="")] = KL_DEFAULTS,
    pixels: Annotated[LikelihoodFlags, tyro.conf.arg(name="")] = LIKELIHOOD_DEFAULTS,
    num_latent: Count = 64,
    num_classes: CountOrZero = 0,
    widths: Widths = (32, 64, 128),
    activation: Activation = "relu",
) -> None:
    """Train a convolutional VAE; its height, width and channels are the data's (--size and --grey change them).

    Args:
        flags: Flags of any training.
        kl: Flags of the KL term.
        pixels: Flags of what pixels are taken for.
        num_latent: Number of dimensions of the latent code.
        num_classes: Number of classes of the condition; 0 is the plain VAE.
        widths: Numbers of channels after each of the encoder's convolutions, each of which halves the sides.
        activation: Function after each of these layers.
    """
    train(
        "conv-vae",
        CONV_VAE,
        flags,
        **vars(kl),
        **vars(pixels),
        num_latent=num_latent,
        num_classes=num_classes,
        widths=widths,
        activation=activation,
    )
