"""Measure how fast PyTorch and JAX train the post's models on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxae import bench
from jaxae.cli import default
from jaxae.data.dataset import files_of
from jaxae.storage.figures import figure_format
from jaxae.storage.files import check_writable

DEFAULTS = bench.BenchmarkSettings()
NOTHING = default("no file", "PATH")


def main(
    settings: Annotated[bench.BenchmarkSettings, tyro.conf.arg(name="")] = DEFAULTS,
    json: Annotated[Path | None, NOTHING] = None,
    plot: Annotated[Path | None, NOTHING] = None,
    compare: Annotated[Path | None, NOTHING] = None,
) -> None:
    """Measure how fast PyTorch and JAX train the post's models on this machine.

    Each contender trains from the same weights on the same batches and noise, in a process of its
    own, and is timed only if its first 20 costs agree with the others'. They take turns in rounds. Tables
    come first, then the same as JSON on the last line; progress goes to standard error. Exit status
    1 tells that a JAX program was compiled after warm-up.

    Args:
        settings: Settings of the benchmark.
        json: JSON file to write the result to.
        plot: PNG file to draw the figure to.
        compare: JSON file of an earlier result, to print beside this one.
    """
    check_writable(json, plot, inputs=[compare, *files_of(settings.data, settings.data_dir)])
    if plot is not None:
        figure_format(plot)
    earlier = None if compare is None else bench.read(compare)
    result = bench.run(settings, log=lambda line: print(line, file=sys.stderr, flush=True))
    # A reader who leaves early loses no file, a disk that is full no table.
    try:
        if json is not None:
            bench.save(result, json)
        if plot is not None:
            bench.plot(result, plot)
    finally:
        bench.print_report(result, earlier)
        print(result.to_json(), flush=True)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.retraced:
        print(f"error: compiled after warm-up: {', '.join(result.retraced)}", file=sys.stderr)
        sys.exit(1)
