"""Train the literature's fully connected VAE, 784-200-200-50, on binarized pixels."""

from typing import Annotated

import tyro

from jaxae.bounds import Count, CountOrZero, Widths
from jaxae.cli import KL_DEFAULTS, LIKELIHOOD_DEFAULTS, KLFlags, LikelihoodFlags, TrainFlags
from jaxae.commands.training import train
from jaxae.config import DENSE_VAE, Activation

DEFAULTS = TrainFlags.of(DENSE_VAE)


def main(
    flags: Annotated[TrainFlags, tyro.conf.arg(name="")] = DEFAULTS,
    kl: Annotated[KLFlags, tyro.conf.arg(name="")] = KL_DEFAULTS,
    pixels: Annotated[LikelihoodFlags, tyro.conf.arg(name="")] = LIKELIHOOD_DEFAULTS,
    num_latent: Count = 50,
    num_classes: CountOrZero = 0,
    hidden: Widths = (200, 200),
    activation: Activation = "tanh",
) -> None:
    """Train the VAE of Burda et al. 2016 (arXiv:1509.00519), one sample a code; in 50 epochs, not the paper's 3,280.

    Args:
        flags: Flags of any training.
        kl: Flags of the KL term.
        pixels: Flags of what pixels are taken for.
        num_latent: Number of dimensions of the latent code.
        num_classes: Number of classes of the condition; 0 is the plain VAE.
        hidden: Widths of the encoder's layers; the decoder has them in reverse.
        activation: Function after each of these layers.
    """
    train(
        "dense-vae",
        DENSE_VAE,
        flags,
        **vars(kl),
        **vars(pixels),
        num_latent=num_latent,
        num_classes=num_classes,
        hidden=hidden,
        activation=activation,
    )
