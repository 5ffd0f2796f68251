"""Compress images with an autoencoder, and measure rate against distortion."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.compress import main

if __name__ == "__main__":
    run(main)
