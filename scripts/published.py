"""Put what ours obtain beside what was published, figure by figure."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.published import main

if __name__ == "__main__":
    run(main)
