"""Compare the two frameworks, from one layer to whole trainings, and print the table."""

import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxae.bounds import Workers, check, usable_cores
from jaxae.cli import Switch, default
from jaxae.data.dataset import files_of, load
from jaxae.errors import InputError
from jaxae.parity.printed_log import PrintedLog
from jaxae.parity.settings import LadderSettings, check_name
from jaxae.storage.figures import figure_format
from jaxae.storage.files import check_writable, write_text

DEFAULTS = LadderSettings()
NO_LOG = PrintedLog()
NOTHING = default("no file", "PATH")


def main(
    settings: Annotated[LadderSettings, tyro.conf.arg(name="")] = DEFAULTS,
    printed: Annotated[PrintedLog, tyro.conf.arg(name="")] = NO_LOG,
    published: Annotated[tuple[str, ...] | None, default("the ladder instead; no name: all", "[STR ...]")] = None,
    workers: Annotated[Workers | None, default("the number of cores, at most 4", "INT")] = None,
    json: Annotated[Path | None, NOTHING] = None,
    plot: Annotated[Path | None, NOTHING] = None,
    markdown: Switch = False,
) -> None:
    """Compare torch and JAX rung by rung; exit status 1 if any rung fails.

    With --published or --log instead: replay trainings in float64, and hold their costs against the lines that
    notebooks printed. An autoencoder's must be the same digits; of a VAE the first line within 1e-6, and the
    epochs' means within 0.5 % on average and 1 % each, for training amplifies rounding.

    Args:
        settings: How much of the ladder to run.
        printed: A printed log of your own, and its settings.
        published: Names of published logs to replay: ae-basic-with-rf, ae-cnn-cvae_no-out-concat (10 minutes).
        workers: Number of processes that share the work.
        json: JSON file to write rows and curves, or comparisons with logs, to.
        plot: PNG file to draw the trajectories' errors to.
        markdown: Whether to print the table as Markdown.
    """
    check("workers", workers, Workers | None)
    check_writable(json, plot, inputs=[printed.log, *files_of("mnist", settings.data_dir)])
    if plot is not None:
        figure_format(plot)
        if published is not None or printed.log is not None:
            raise InputError("expected no --plot, which draws trajectories, beside --published and --log, got one")
        if "trajectory" not in settings.rungs:
            raise InputError(f"expected the rung trajectory with --plot, got only {', '.join(settings.rungs)}")
    style = "markdown" if markdown else "plain"
    if published is not None or printed.log is not None:
        _replay(published, printed, settings.data_dir, json, style)
        return
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError("expected torch to compare with, got none: pip install 'jaxae[torch]'") from None
    from jaxae import parity

    whole = parity.LadderResult()
    for part in parity.run_in_workers(settings, workers or min(usable_cores(), 4)):
        whole.rows += part.rows
        whole.curves += part.curves
        print(f"{len(whole.rows)} comparisons done", file=sys.stderr)
    # Layers and losses first, then the networks in their order.
    order = {name: position for position, name in enumerate(settings.models)}
    whole.rows.sort(key=lambda row: order.get(row.model, -1))
    # A reader who leaves early loses no file, a disk that is full no table.
    try:
        if json is not None:
            parity.write_json(whole, json)
        if plot is not None and whole.curves:
            parity.write_plot(whole.curves, plot)
    finally:
        print(parity.table(whole.rows, style=style))
        print(parity.verdict(whole.rows))
    if not whole.passed:
        sys.exit(1)


def _replay(
    names: Sequence[str] | None,
    printed: PrintedLog,
    data_dir: Path | None,
    json: Path | None,
    style: Literal["plain", "markdown"],
) -> None:
    """Replay logs, print the table, and exit with status 1 if one is beyond its tolerance."""
    from jaxae.parity.published import check_replay, published_logs, published_table, replay_published
    from jaxae.training.runtime import configure

    known = {log.name: log for log in published_logs()}
    for name in names or ():
        check_name("published logs", name, known)
    logs = [known[name] for name in names or known] if names is not None else []
    if printed.log is not None:
        logs.append(printed.read())
    configure(device="cpu", batch_size=max(log.config.train.batch_size for log in logs), dtype="float64")
    dataset = load("mnist", data_dir, original_order=True)
    for log in logs:  # before the minutes that the first of them takes
        check_replay(log, dataset)
    found = [replay_published(log, dataset, report=lambda line: print(line, file=sys.stderr)) for log in logs]
    try:
        if json is not None:
            write_text(json, json_format.dumps({"logs": [one.to_json() for one in found]}, indent=1))
    finally:
        print(published_table(found, style=style))
    if not all(one.passed for one in found):
        sys.exit(1)
