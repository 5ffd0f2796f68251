"""Train the post's plain autoencoder, 784-32-784."""

from typing import Annotated

import tyro

from jaxae.cli import TrainFlags, run, train
from jaxae.config import AUTOENCODER, Activation

DEFAULTS = TrainFlags.of(AUTOENCODER)


def main(
    flags: Annotated[TrainFlags, tyro.conf.arg(name="")] = DEFAULTS,
    hidden: tuple[int, ...] = (32,),
    activation: Activation = "leaky_relu",
) -> None:
    """Train the post's plain autoencoder; by default as the original notebook does.

    Args:
        flags: Flags of any training.
        hidden: Widths of the layers from the input to the code.
        activation: Activation after every layer but the last.
    """
    train("ae", AUTOENCODER, flags, hidden=hidden, activation=activation)


if __name__ == "__main__":
    run(main)
