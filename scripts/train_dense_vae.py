"""Train the literature's fully connected VAE, 784-200-200-50, on binarized pixels."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.train_dense_vae import main

if __name__ == "__main__":
    run(main)
