"""Port weights between PyTorch and Flax, files to files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro
from flax import nnx

from jaxae.cli import Switch, default, run
from jaxae.errors import InputError
from jaxae.network.models import build
from jaxae.port import describe
from jaxae.port.file_to_file import make_module, port_file
from jaxae.port.flatten import Flatten, Order
from jaxae.port.options import PortOptions
from jaxae.port.project_models import recognise
from jaxae.port.source import read_source


def main(
    src: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")],
    dst: Annotated[tyro.conf.Positional[Path | None], default("no file, with --inspect", "[DST]")] = None,
    to: Annotated[
        Literal["flax", "torch"] | None, default("torch for .pt and .pth, else the one that SRC does not have")
    ] = None,
    verify: Switch = False,
    inspect: Switch = False,
    model: Annotated[str | None, default("one of the project's models", "STR")] = None,
    flatten: Annotated[tuple[str, ...], default("none")] = (),
    unflatten: Annotated[tuple[str, ...], default("none")] = (),
    names: Annotated[tuple[str, ...], default("none")] = (),
) -> None:
    """Port weights between PyTorch and Flax: from the file SRC into the file DST.

    The project's own models are known by their tensors; a network of your own needs --model.

    Args:
        src: File to read: .pt, .pth or .safetensors in either layout; or a run directory.
        dst: File to write: .safetensors, .pt or .pth.
        to: Framework whose names and axes DST gets.
        verify: Whether to run both files' networks on the same random input, print the largest
            difference, and write nothing if they differ.
        inspect: Whether to print the table of tensors and variables, and write nothing.
        model: Factory of your own NNX module, package.module:factory; called without arguments.
        flatten: Layers that take a flattened image, each with torch's channels, height and width of
            it: fc1=16,5,5 fc2=CHW; or CHW alone for a module that flattens as torch does.
        unflatten: Layers whose outputs are reshaped to an image, said in the same way.
        names: Layers of other names in torch, Flax's name first: encoder.conv=features.0
    """
    if inspect == (dst is not None) or (inspect and verify):
        raise InputError("expected DST to write to, or --inspect alone, got both or neither")
    source = read_source(src)
    if "float64" in source.dtypes:
        jax.config.update("jax_enable_x64", True)
    config = None if model else recognise(source)
    module = nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0))) if config else (make_module(str(model)))
    options = _options(flatten, unflatten, names)
    if dst is None:
        print(describe(module, source if source.layout == "torch" else None, **options))
        return
    report, verification = port_file(source, dst, module, layout=to, model=config, verified=verify, **options)
    for line in [*(f"forward-only: {one}" for one in report.forward_only), *report.notes]:
        print(line, file=sys.stderr)
    if source.beside:
        print(f"only weights are written, not {', '.join(source.beside)}", file=sys.stderr)
    if verification:
        print(verification)


def _options(flatten: Sequence[str], unflatten: Sequence[str], names: Sequence[str]) -> PortOptions:
    options = PortOptions()
    if flatten:
        options["flatten"] = _orders("flatten", flatten)
    if unflatten:
        options["unflatten"] = _orders("unflatten", unflatten)
    if names:
        options["names"] = dict(_pair("names", one) for one in names)
    return options


def _orders(flag: str, given: Sequence[str]) -> Flatten:
    if list(given) == ["CHW"]:
        return "CHW"
    return {path: _order(flag, order) for path, order in (_pair(flag, one) for one in given)}


def _pair(flag: str, text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals:
        raise InputError(f"expected --{flag} path=value, got {text!r}")
    return left, right


def _order(flag: str, text: str) -> Order:
    try:
        return "CHW" if text == "CHW" else tuple(int(size) for size in text.split(","))
    except ValueError:
        raise InputError(f"expected --{flag} path=channels,height,width, got {text!r}") from None


if __name__ == "__main__":
    run(main)
