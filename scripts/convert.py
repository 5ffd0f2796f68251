"""Write a data set as records, to train on more than memory holds."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.convert import main

if __name__ == "__main__":
    run(main)
