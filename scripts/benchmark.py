"""Measure how fast PyTorch and JAX train the post's models on this machine."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.bench import main

if __name__ == "__main__":
    run(main)
