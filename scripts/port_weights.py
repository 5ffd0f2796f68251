"""Port weights between PyTorch and Flax, files to files."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.port import main

if __name__ == "__main__":
    run(main)
