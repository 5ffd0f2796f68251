"""Generate images of a class with the conditional VAE, and judge them."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxae.cli import run
from jaxae.usecases.source import SourceFlags

DEFAULTS = SourceFlags()


def main(
    flags: Annotated[SourceFlags, tyro.conf.arg(name="")] = DEFAULTS,
    also: tuple[Path, ...] = (),
    out: Path | None = None,
    label: int | None = None,
    count: int | None = None,
    sampler: Literal["prior", "aggregated", "rejection"] = "rejection",
    recipe: Literal["post", "sharp"] = "sharp",
    epochs: int | None = None,
    seed: int = 0,
) -> None:
    """Write samples to --out, or compare samplers and models in a table.

    Args:
        flags: Those of all use cases. The table without --run-dir is of both recipes.
        also: Further runs for the table.
        out: Write samples to this .png or .npz file, and make no table.
        label: Class of the samples to write. [default: the classes take turns]
        count: How many samples. [default: 64 to write, 10,000 in the table]
        sampler: Codes from the prior, from the aggregated posterior, or by rejection sampling.
        recipe: What is trained without --run-dir: the post's own model, or one with the last
            leaky_relu removed and beta 3.
        epochs: Of that training. [default: 50]
        seed: Of the samples.
    """
    from jaxae.usecases import generate

    recipes = {
        name: config if epochs is None else config.replace(epochs=epochs)
        for name, config in generate.RECIPES.items()
    }
    if out is not None:
        plain = dataclasses.replace(flags, json=None, figure=None)
        generate.write_samples(
            out, plain, recipes[recipe], sampler=sampler, label=label,
            count=64 if count is None else count, seed=seed,
        )  # fmt: skip
    else:
        count = 10_000 if count is None else count
        generate.run(flags, recipes, also=also, count=count, seed=seed)


if __name__ == "__main__":
    run(main)
