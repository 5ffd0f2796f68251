"""Write a trained model as a page in the browser."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.explore import main

if __name__ == "__main__":
    run(main)
