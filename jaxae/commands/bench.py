"""Measure how fast PyTorch and JAX train the post's models, or a network of your own, on this machine."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from jaxae import bench
from jaxae.bounds import PositiveAmount
from jaxae.cli import default
from jaxae.data.dataset import files_of
from jaxae.errors import InputError
from jaxae.storage.figures import figure_format
from jaxae.storage.files import check_writable

Result = TypeVar("Result", bench.BenchmarkResult, bench.PairResult)
# Where each is to be written, if anywhere, and by what.
Files = Sequence[tuple[Path | None, Callable[[Result, Path], None]]]
DEFAULTS = bench.BenchmarkSettings()
NOTHING = default("no file", "PATH")
# Settings that a pair has too; the others are of the post's models.
OF_BOTH = ("device", "rounds", "turn_seconds", "threads", "tf32", "deterministic", "trace")


def main(
    settings: Annotated[bench.BenchmarkSettings, tyro.conf.arg(name="")] = DEFAULTS,
    json: Annotated[Path | None, NOTHING] = None,
    plot: Annotated[Path | None, NOTHING] = None,
    compare: Annotated[Path | None, NOTHING] = None,
    pair: Annotated[str | None, default("the post's models", "FILE.py:make")] = None,
    pair_contenders: Annotated[tuple[str, ...] | None, default("all", "[STR [STR ...]]")] = None,
    tolerance: Annotated[PositiveAmount | None, default("1e-4", "FLOAT")] = None,
    bfloat16_tolerance: Annotated[PositiveAmount | None, default("5e-2", "FLOAT")] = None,
    page: Annotated[Path | None, NOTHING] = None,
) -> None:
    """Measure how fast PyTorch and JAX train the post's models, or a network of your own, on this machine.

    Each contender trains from the same weights on the same batches and noise, in a process of its
    own, and is timed only if its first 20 costs agree with the others'. They take turns in rounds. Tables
    come first, then the same as JSON on the last line; progress goes to standard error. Exit status
    1 tells that a program was compiled after warm-up, or that a pair could not be timed in both frameworks.

    Args:
        settings: Settings of the benchmark.
        json: JSON file to write the result to.
        plot: PNG file to draw the figure to.
        compare: JSON file of an earlier result, to print beside this one.
        pair: Function that makes a network of your own, FILE.py:make or package.module:make: it returns a torch module,
            an NNX or Linen module or (function, parameters), inputs, a torch loss, a JAX loss, and perhaps a torch and
            an optax optimizer.
        pair_contenders: Names of the contenders on a pair, out of torch_eager, torch_compile, torch_fullgraph,
            torch_reduce_overhead, torch_max_autotune, jax_jit, jax_donated, jax_scan, torch_bfloat16,
            torch_compile_bfloat16, jax_bfloat16 and jax_scan_bfloat16.
        tolerance: Largest relative difference of a pair's first costs from eager torch's.
        bfloat16_tolerance: The same of contenders in bfloat16.
        page: HTML file to write a pair's tables and figures to.
    """
    read = [compare, *files_of(settings.data, settings.data_dir)]
    if pair is not None:
        read.append(Path(pair.rpartition(":")[0]))
    check_writable(json, plot, page, inputs=read)
    if plot is not None:
        figure_format(plot)
    if pair is not None:
        given: dict[str, Any] = {
            "contenders": pair_contenders,
            "tolerance": tolerance,
            "bfloat16_tolerance": bfloat16_tolerance,
        }
        taken = {name: value for name, value in given.items() if value is not None}
        earlier_pair = None if compare is None else bench.PairResult.read(compare)
        _measure_pair(pair, pair_settings(settings, taken), earlier_pair, json, plot, page)
        return
    of_pair = {"pair-contenders": pair_contenders, "tolerance": tolerance, "bfloat16-tolerance": bfloat16_tolerance}
    for flag, value in (of_pair | {"page": page}).items():
        if value is not None:
            raise InputError(f"expected --pair beside --{flag}, got none")
    earlier = None if compare is None else bench.read(compare)
    result = bench.run(settings, log=_log)
    _tell(result, [(json, bench.save), (plot, bench.plot)], partial(bench.print_report, result, earlier))
    _end(result.retraced)


def pair_settings(settings: bench.BenchmarkSettings, more: dict[str, Any]) -> bench.PairSettings:
    """Settings of a pair, from the flags that it shares with the post's models and its own.

    Raises:
        InputError: If a flag is of the post's models alone.
    """
    for one in fields(settings):
        if one.name not in OF_BOTH and getattr(settings, one.name) != getattr(DEFAULTS, one.name):
            instead = " (--pair-contenders)" if one.name == "contenders" else ""
            raise InputError(f"expected no --{one.name.replace('_', '-')} beside --pair{instead}, got one")
    shared: dict[str, Any] = {name: getattr(settings, name) for name in OF_BOTH}
    return bench.PairSettings(**shared, **more)


def _measure_pair(
    pair: str,
    settings: bench.PairSettings,
    earlier: bench.PairResult | None,
    json: Path | None,
    plot: Path | None,
    page: Path | None,
) -> None:
    result = bench.compare_file(pair, settings, log=_log)
    files = [(json, bench.PairResult.save), (plot, bench.plot_pair), (page, bench.write_page)]
    _tell(result, files, partial(bench.print_pair, result, earlier))
    if not result.compared:
        reasons = [f"{row.label}: {row.reason}" for row in result.rows if row.reason]
        print(f"error: expected times of both frameworks, got {'; '.join(reasons[:1])}", file=sys.stderr)
        sys.exit(1)
    _end(result.retraced)


def _tell(result: Result, files: Files[Result], print_tables: Callable[[], None]) -> None:
    """Write a result's files, and print its tables and its JSON; then end, if it was interrupted."""
    # A reader who leaves early loses no file, a disk that is full no table.
    try:
        for path, write in files:
            if path is not None:
                write(result, path)
    finally:
        print_tables()
        print(result.to_json(), flush=True)
    if result.interrupted:
        raise KeyboardInterrupt


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _end(retraced: list[str]) -> None:
    if retraced:
        print(f"error: compiled after warm-up: {', '.join(retraced)}", file=sys.stderr)
        sys.exit(1)
