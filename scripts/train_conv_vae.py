"""Train a convolutional VAE on pictures of any size, grey or in colour."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.train_conv_vae import main

if __name__ == "__main__":
    run(main)
