"""Train the post's plain autoencoder, 784-32-784."""

from typing import Annotated

import tyro

from jaxae.bounds import Widths
from jaxae.cli import TrainFlags
from jaxae.commands.training import train
from jaxae.config import AUTOENCODER, Activation, Initialization

DEFAULTS = TrainFlags.of(AUTOENCODER)


def main(
    flags: Annotated[TrainFlags, tyro.conf.arg(name="")] = DEFAULTS,
    hidden: Widths = (32,),
    activation: Activation = "leaky_relu",
    initialization: Initialization = "post",
) -> None:
    """Train the post's plain autoencoder; by default as the original notebook does.

    Args:
        flags: Flags of any training.
        hidden: Widths of the layers from the input to the code.
        activation: Activation after every layer but the last.
        initialization: Layers that start from N(0, 0.1): linear_1, as the post's code has it (post); linear_1 and
            linear_2, as it intends (intended); none, as torch has it (torch).
    """
    train("ae", AUTOENCODER, flags, hidden=hidden, activation=activation, initialization=initialization)
