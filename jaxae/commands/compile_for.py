"""Compile the package's programs for a GPU that is not there."""

import logging
import sys

import jax

from jaxae.bench.gpu import table
from jaxae.cli import Flags

DEFAULTS = table.CompileSettings()


def main(settings: Flags[table.CompileSettings] = DEFAULTS) -> None:
    """Compile the package's programs for an H100, which need not be there, and print what XLA makes of them.

    Nothing is run, and no time measured: the last column is a model's. Counts are those of one pass of a program's
    loop (one step of a training), where it has one.

    Args:
        settings: What is compiled, and what a launch is assumed to take.
    """
    jax.config.update("jax_platforms", "cpu")
    logging.getLogger("jax_plugins.xla_cuda13").setLevel(logging.ERROR)  # which misses what only running takes
    print(table.run(settings, log=lambda line: print(line, file=sys.stderr, flush=True)))
