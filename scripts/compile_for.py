"""Compile the package's programs for a GPU that is not there."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.compile_for import main

if __name__ == "__main__":
    run(main)
