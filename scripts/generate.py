"""Generate images of a class with the conditional VAE, and judge them."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.generate import main

if __name__ == "__main__":
    run(main)
