"""Measure how fast PyTorch and JAX train the post's models on this machine."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxae import bench
from jaxae.cli import run
from jaxae.errors import InputError


def main(
    models: str = "ae,cvae",
    device: Literal["cpu", "gpu"] = "cpu",
    batch_size: int | None = None,
    rounds: int = 11,
    contenders: str | None = None,
    sweep: Literal["batch", "models"] | None = None,
    sizes: str | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    data: str = "digits",
    data_dir: Path | None = None,
    examples: int = 60_000,
    threads: int | None = None,
    devices: int | None = None,
    turn_seconds: float = 0.5,
    noise: Literal["given", "drawn"] = "given",
    tf32: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    deterministic: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Path | None = None,
    plot: Path | None = None,
    compare: Path | None = None,
) -> None:
    """Measure how fast PyTorch and JAX train the post's models on this machine.

    Each contender trains from the same weights on the same batches and noise, in a process of its
    own; one whose first 20 costs differ has no time. They take turns in rounds. Tables come first,
    then the same as JSON on the last line; progress goes to standard error. Status 1 tells that a
    JAX program was compiled after warm-up.

    Args:
        models: ae, cvae, or both.
        device: Where to train.
        batch_size: Examples a step. [default: 256 for ae, 128 for cvae, the original settings]
        rounds: Turns of each contender.
        contenders: Names, with commas between. [default: all; for a sweep the four that matter]
        sweep: Throughput against the batch size, or against the number of models trained at once.
        sizes: Of the sweep, with commas between. [default: 32 to 4096, or 1 to 16]
        dtype: In which the networks compute.
        data: digits, mnist, or another set's name.
        data_dir: Folder of IDX files or of prepared TFDS data.
        examples: In an epoch; a smaller set is repeated.
        threads: Processor cores for each contender. [default: all]
        devices: That share a batch where all do. [default: as in training]
        turn_seconds: About how long a turn is; a whole epoch may be longer.
        noise: Given to all alike, or drawn in the step by each framework's own generator.
        tf32: Let a GPU round float32 factors to TensorFloat-32, in both frameworks.
        deterministic: Use only GPU kernels that repeat to the bit, in both frameworks.
        json: Write the results here.
        plot: Draw a figure here, a PNG.
        compare: An earlier run's JSON, to put beside this one.
    """
    settings = bench.Settings(
        models=_names(models) or (),
        device=device,
        batch_size=batch_size,
        rounds=rounds,
        turn_seconds=turn_seconds,
        contenders=_names(contenders),
        sweep=sweep,
        sizes=_numbers(sizes),
        dtype=dtype,
        data=data,
        data_dir=None if data_dir is None else str(data_dir),
        examples=examples,
        threads=threads,
        devices=devices,
        drawn_noise=noise == "drawn",
        tf32=tf32,
        deterministic=deterministic,
    )
    for path in (json, plot):
        if path is not None:
            bench.check_writable(path)
    earlier = None if compare is None else bench.read(compare)
    document = bench.run(settings, log=lambda line: print(line, file=sys.stderr, flush=True))
    # Written before it is shown: a reader who leaves early loses no file.
    if json is not None:
        bench.save(document, json)
    if plot is not None:
        bench.plot(document, plot)
    bench.print_report(document, earlier)
    print(bench.to_json(document), flush=True)
    if document["interrupted"]:
        raise KeyboardInterrupt
    if late := bench.retraced(document):
        print(f"error: compiled after warm-up: {', '.join(late)}", file=sys.stderr)
        sys.exit(1)


def _names(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(map(int, _names(text) or ()))
    except ValueError:
        raise InputError(f"expected whole numbers with commas between, got {text!r}") from None


if __name__ == "__main__":
    run(main)
