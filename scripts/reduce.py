"""Reduce images to codes of a few dimensions, beside PCA of the same size."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.reduce import main

if __name__ == "__main__":
    run(main)
