"""Train the post's plain autoencoder, 784-32-784."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.train_ae import main

if __name__ == "__main__":
    run(main)
