"""Translate a torch network to Flax source, with proof."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.translate import main

if __name__ == "__main__":
    run(main)
