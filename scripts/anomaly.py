"""Find anomalies: train on one class alone, score all of them, beside the usual detectors."""

from jaxae.ending import watch

if __name__ == "__main__":
    watch()  # before the imports, which take a while

from jaxae.cli import run
from jaxae.commands.anomaly import main

if __name__ == "__main__":
    run(main)
