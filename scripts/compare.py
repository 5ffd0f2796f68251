"""Compare two networks of torch or Flax, running now or recorded before, and find where they part first."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.compare import main

if __name__ == "__main__":
    run(main)
