"""Remove noise from images with an autoencoder, beside the usual filters; or from one file."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.denoise import main

if __name__ == "__main__":
    run(main)
