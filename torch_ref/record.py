"""`python -m torch_ref.record package.module:factory --inputs 2x3x32x32 --out a.npz`: what a torch network does.

Needs torch and NumPy alone, no JAX. `python scripts/compare.py a.npz ...` compares it with a Flax network or with
another recording, on this machine or another.
"""

from .ending import carry_out, note_saved, watch

if __name__ == "__main__":
    watch()  # before torch is imported, which takes a while

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from .checkpoint import check_writable, write_whole
from .data import read_npz
from .errors import InputError
from .recorder import record
from .recording import Conditions, Recording, draw, shape_of


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """What is to be recorded. Raises InputError."""
    parser = _Parser(
        prog="python -m torch_ref.record", description="Record what a torch network does.", allow_abbrev=False
    )
    parser.add_argument(
        "factory", metavar="package.module:factory", help="function that makes the network, without arguments"
    )
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        metavar="SHAPE",
        help="shapes such as 2x3x32x32, of which normal numbers are drawn, the same everywhere; or one .npz file of "
        "arrays in their order, or a recording",
    )
    parser.add_argument("--out", required=True, metavar="FILE.npz", help="file to write")
    parser.add_argument(
        "--dtype", choices=("float64", "float32", "bfloat16"), default="float64", help="default: float64"
    )
    parser.add_argument("--train", action="store_true", help="run in training mode, without dropout")
    parser.add_argument("--steps", type=int, default=0, help="number of steps of the optimizer; default: 0")
    parser.add_argument("--optimizer", choices=("adam", "sgd"), default="adam", help="default: adam")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default: 0.001")
    parser.add_argument(
        "--loss",
        default="",
        metavar="package.module:function",
        help="function of the result; default: a fixed random sum of it",
    )
    parser.add_argument("--device", default="cpu", help="as torch names it; default: cpu")
    return parser.parse_args(argv)


def run(settings: argparse.Namespace) -> None:
    """Run the network, and write what it did. Raises InputError."""
    if not 0 <= settings.steps <= 10_000:
        raise InputError(f"argument --steps: expected 0 to 10000, got {settings.steps}")
    if not 0 <= settings.learning_rate < 1e30:
        raise InputError(
            f"argument --learning-rate: expected a finite number of at least 0, got {settings.learning_rate}"
        )
    if settings.steps and settings.dtype == "bfloat16":
        raise InputError("argument --steps: expected no steps in bfloat16, which are below a weight's last place")
    if Path(settings.out).suffix != ".npz":
        raise InputError(f"argument --out: expected a file that ends in .npz, got {settings.out[:80]}")
    files = [one for one in settings.inputs if shape_of(one) is None]
    check_writable(settings.out, inputs=files)
    inputs = _inputs(settings.inputs, files)
    loss = settings.loss.rpartition(":")[2]  # the other framework's may stand in another file
    asked = Conditions(settings.train, settings.steps, settings.optimizer, settings.learning_rate, loss)
    network = _named(settings.factory)()
    if not isinstance(network, torch.nn.Module):
        raise InputError(f"expected {settings.factory} to make a torch.nn.Module, got {type(network).__name__}")
    found = record(
        network,
        inputs,
        asked,
        loss=_named(settings.loss) if settings.loss else None,
        dtype=settings.dtype,
        device=_device(settings.device),
        name=settings.factory,
    )
    write(settings.out, found)
    note_saved(settings.out)
    print("\n".join([str(found), *found.notes]))


def write(path: str | Path, recording: Recording) -> None:
    """Write a recording, whole or not at all. Raises InputError."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **recording.to_arrays())  # type: ignore[arg-type]
    write_whole(path, content)


def _inputs(given: Sequence[str], files: Sequence[str]) -> list[np.ndarray]:
    if not files:
        return draw(shape for one in given if (shape := shape_of(one)) is not None)
    if len(given) > 1 or Path(given[0]).suffix != ".npz":
        raise InputError(f"argument --inputs: expected shapes such as 2x3x32x32, or one .npz file, got {given[0][:80]}")
    arrays = read_npz(given[0])
    if "about" in arrays:
        arrays = {name: array for name, array in arrays.items() if name.startswith("inputs/")}
    if not arrays or any(array.dtype.kind not in "fiub" for array in arrays.values()):
        raise InputError(f"argument --inputs: expected arrays of numbers, got {given[0][:80]}")
    return list(arrays.values())


def _named(name: str) -> Any:
    """What a module of the user's has under a name, package.module:name."""
    package, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(package), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"expected package.module:name, got {name[:80]}: {error}") from error


def _device(name: str) -> str:
    try:
        torch.empty(1, device=torch.device(name)).cpu()
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"argument --device: there is no {name[:40]!r} here") from error
    return name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives its exit status."""
    return carry_out(lambda: run(parse(argv)))


if __name__ == "__main__":
    sys.exit(main())
