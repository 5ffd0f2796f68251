"""Classify and cluster on an autoencoder's codes, beside PCA's and the pixels."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.features import main

if __name__ == "__main__":
    run(main)
