"""Compare the two frameworks, from one layer to whole trainings, and print the table."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.parity import main

if __name__ == "__main__":
    run(main)
