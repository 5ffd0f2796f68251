"""Compare the two frameworks, from one layer to whole trainings, and print the table."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.cli import Switch, default, run
from jaxae.errors import InputError
from jaxae.parity import LadderSettings
from jaxae.storage.files import check_writable
from jaxae.training.runtime import usable_cores

DEFAULTS = LadderSettings()
NOTHING = default("no file", "PATH")


def main(
    settings: Annotated[LadderSettings, tyro.conf.arg(name="")] = DEFAULTS,
    workers: Annotated[int | None, default("the number of cores, at most 4", "INT")] = None,
    json: Annotated[Path | None, NOTHING] = None,
    plot: Annotated[Path | None, NOTHING] = None,
    markdown: Switch = False,
) -> None:
    """Compare torch and JAX rung by rung; exit status 1 if any rung fails.

    Args:
        settings: How much of the ladder to run.
        workers: Number of processes that share the work.
        json: JSON file to write rows and curves to.
        plot: PNG file to draw the trajectories' errors to.
        markdown: Whether to print the table as Markdown.
    """
    if workers is not None and workers < 1:
        raise InputError(f"expected 1 worker or more, got {workers}")
    for path in (json, plot):
        if path is not None:
            check_writable(path)
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
    print(parity.table(whole.rows, style="markdown" if markdown else "plain"))
    print(parity.verdict(whole.rows))
    if json is not None:
        parity.write_json(whole, json)
    if plot is not None and whole.curves:
        parity.write_plot(whole.curves, plot)
    if not whole.passed:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
