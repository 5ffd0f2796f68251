"""Train the post's convolutional VAE, conditioned on the class."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.train_cvae import main

if __name__ == "__main__":
    run(main)
