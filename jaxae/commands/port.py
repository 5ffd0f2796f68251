"""Port weights between PyTorch and Flax, files to files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro
from flax import nnx

from jaxae.cli import Switch, default
from jaxae.errors import InputError
from jaxae.network.models import build
from jaxae.port import describe, guide
from jaxae.port.file_to_file import check_verifiable, make_module, make_network, port_file, prove_file
from jaxae.port.options import PortOptions
from jaxae.port.project_models import recognise
from jaxae.port.source import WeightSource, read_source, read_torch_layout
from jaxae.port.spelled import spelled_options

Words = Annotated[tuple[str, ...], default("none")]


def main(
    src: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")],
    dst: Annotated[tyro.conf.Positional[Path | None], default("no file, with --inspect", "[DST]")] = None,
    to: Annotated[
        Literal["flax", "torch"] | None, default("torch for .pt and .pth, else the one that SRC does not have")
    ] = None,
    verify: Switch = False,
    inspect: Switch = False,
    model: Annotated[str | None, default("one of the project's models", "STR")] = None,
    weights: Annotated[str | None, default("the only one", "STR")] = None,
    prefix: str = "",
    allow: Words = (),
    flatten: Words = (),
    unflatten: Words = (),
    names: Words = (),
    ignore: Words = (),
    missing: Words = (),
    untie: Switch = False,
    dtype: Annotated[
        Literal["float16", "bfloat16", "float32", "float64"] | None, default("that of each tensor in SRC")
    ] = None,
    like: Annotated[Path | None, default("none", "PATH")] = None,
    inputs: Words = (),
    torch_model: Annotated[str | None, default("none", "STR")] = None,
) -> None:
    """Port weights between PyTorch and Flax: from the file SRC into the file DST.

    The project's own models are known by their tensors; a network of your own needs --model.

    Args:
        src: File to read: of torch, of pickle or .safetensors in either layout, known by its content; a run directory;
            or a directory of transformers.
        dst: File to write: .safetensors, .pt or .pth.
        to: Framework whose names and axes DST gets.
        verify: Whether to run both files' networks on the same random input, print the largest
            difference, and write nothing if they differ.
        inspect: Whether to print the table of tensors and variables, and write nothing.
        model: Factory of your own NNX module, package.module:factory or FILE.py:factory; called without arguments.
        weights: Key of the state_dict that is meant, where SRC has several: model_ema, or models.generator.
        prefix: Text that the names of SRC's tensors begin with, where it has several networks: student
        allow: Names of classes or modules whose objects in SRC are left aside; nothing of them is run.
        flatten: Layers that take a flattened image, each with torch's channels, height and width of
            it: fc1=16,5,5 fc2=CHW; or CHW alone for a module that flattens as torch does; or a .npy file with torch's
            feature for each of Flax's: fc1=order.npy
        unflatten: Layers whose outputs are reshaped to an image, said in the same way.
        names: Layers of other names in torch, Flax's name first: encoder.conv=features.0
        ignore: Patterns of torch's tensors to leave aside: head.*
        missing: Patterns of Flax's variables that SRC lacks, which keep their first values: head.*
        untie: Whether weights that are one tensor in torch may become several variables.
        dtype: Dtype that floats are cast to.
        like: File of torch's whose names, order and shapes DST gets.
        inputs: Shapes of the torch network's arguments, 2x3x32x32: both networks are run, which finds names and
            orders, and proves the port.
        torch_model: Factory of the torch network to run, said in the same way.
    """
    if inspect == (dst is not None) or (inspect and verify):
        raise InputError("expected DST to write to, or --inspect alone, got both or neither")
    if bool(inputs) != (torch_model is not None):
        raise InputError("expected both --inputs and --torch-model, or neither, got one")
    source = read_source(src, weights=weights, prefix=prefix, allow=allow)
    if "float64" in (*source.dtypes, dtype):
        jax.config.update("jax_enable_x64", True)
    config = None if model else recognise(source)
    module = nnx.eval_shape(lambda: build(config, rngs=nnx.Rngs(0))) if config else (make_module(str(model)))
    options, beside, proof = spelled_options(flatten, unflatten, names), source.beside, ""
    if verify:
        check_verifiable(config)
    if torch_model is not None:
        shapes = tuple(map(_shape, inputs))
        proven, source = prove_file(source, module, lambda: make_network(torch_model), shapes, **options)
        proof, options = str(proven), proven.options
        ignore = (*ignore, *proven.constants) if source.layout == "torch" else ignore
    if dst is None:
        print(*filter(None, (_table(module, source, ignore, missing, untie, options), proof)), sep="\n")
        return
    report, verification = port_file(
        source,
        dst,
        module,
        layout=to,
        model=config,
        verified=verify,
        ignore=ignore,
        missing=missing,
        untie=untie,
        dtype=dtype,
        like=None if like is None else read_torch_layout(like),
        **options,
    )
    for line in [*(f"forward-only: {one}" for one in report.forward_only), *report.notes]:
        print(line, file=sys.stderr)
    if beside:
        print(f"only weights are written, not {', '.join(beside)}", file=sys.stderr)
    for told in (proof, verification):
        if told:
            print(told)


def _table(
    module: nnx.Module,
    source: WeightSource,
    ignore: Sequence[str],
    missing: Sequence[str],
    untie: bool,
    options: PortOptions,
) -> object:
    """The report of a port; where there is none, a table of what stands against it is printed first."""
    if source.layout != "torch":
        return describe(module, **options)
    try:
        return describe(module, source, ignore=ignore, missing=missing, untie=untie, **options)
    except InputError:
        print(guide(module, source, ignore=ignore, missing=missing, **options))
        raise


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split("x"))
    except ValueError:
        raise InputError(f"expected --inputs of shapes like 2x3x32x32, got {text!r}") from None
