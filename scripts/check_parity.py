"""Compare the two frameworks, from one layer to whole trainings, and print the table."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.cli import run
from jaxae.errors import InputError
from jaxae.training.runtime import usable_cores


def main(
    models: tuple[str, ...] = (),
    rungs: tuple[str, ...] = (),
    steps: int = 1000,
    full: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    data_dir: Path | None = None,
    mutation: str | None = None,
    workers: int | None = None,
    json: Path | None = None,
    plot: Path | None = None,
    markdown: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Compare torch and JAX rung by rung; exit status 1 if any rung fails.

    Args:
        models: Autoencoder, ConditionalVAE, "ConditionalVAE, 11 channels", VAE. [default: all]
        rungs: layers, losses, initialisation, model, step, trajectory, run. [default: all]
        steps: Length of the trajectories.
        full: Also replay five epochs of MNIST: an hour or so on two cores.
        data_dir: Folder of MNIST's IDX files or of prepared TFDS data.
        mutation: A deliberate mistake by name, to see rungs turn red.
        workers: Processes that share the work. [default: as many as cores, at most 4]
        json: Write rows and curves to this file.
        plot: Draw the trajectories' errors to this file.
        markdown: Print the table as Markdown.
    """
    if steps < 1:
        raise InputError(f"expected 1 step or more, got {steps}")
    if workers is not None and workers < 1:
        raise InputError(f"expected 1 worker or more, got {workers}")
    for path in (json, plot):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"expected a folder to write {path.name} to, got no {path.parent}")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError("expected torch to compare with: pip install 'jaxae[torch]'") from None
    from jaxae import parity
    from jaxae.data.dataset import load
    from jaxae.parity.workers import climb_together

    def chosen(what: str, names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in known:
                raise InputError(f"expected {what} out of {'; '.join(known)}, got {name!r}")
        return names or known

    (mutate,) = (
        [
            parity.MUTATIONS[name]
            for name in chosen("a mutation", (mutation,), tuple(parity.MUTATIONS))
        ]
        if mutation
        else [None]
    )
    models = chosen("models", models, tuple(parity.CASES))
    rungs = chosen("rungs", rungs, parity.RUNGS)
    datasets = [(load("digits"), 5)]
    if full:
        datasets.append((load("mnist", data_dir, original_order=True), 5))
    plan = parity.Plan(models, rungs, steps, tuple(datasets), mutate)
    whole = parity.Report()
    for part in climb_together(plan, workers or min(usable_cores(), 4)):
        whole.rows += part.rows
        whole.curves += part.curves
        print(f"{len(whole.rows)} comparisons done", file=sys.stderr)
    whole.rows.sort(key=lambda row: _position(row.model, models))
    print(parity.markdown(whole.rows) if markdown else parity.table(whole.rows))
    print(parity.verdict(whole.rows))
    if json is not None:
        parity.write_json(whole, json)
    if plot is not None and whole.curves:
        parity.write_plot(whole.curves, plot)
    if not whole.passed:
        sys.exit(1)


def _position(name: str, models: tuple[str, ...]) -> int:
    """Layers and losses first, then the networks in their order."""
    return models.index(name) if name in models else -1


if __name__ == "__main__":
    run(main)
