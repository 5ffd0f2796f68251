"""Export a trained model to ONNX or StableHLO."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.export import main

if __name__ == "__main__":
    run(main)
