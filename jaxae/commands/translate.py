"""Translate a torch network to Flax source, with proof."""

import json as json_format
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import tyro

from jaxae.bounds import Range, check
from jaxae.cli import Switch, default
from jaxae.errors import InputError
from jaxae.storage.files import check_writable, write_text

Words = Annotated[tuple[str, ...], default("none")]
Steps = Annotated[int, Range(0, 10_000)]


def main(
    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NETWORK")],
    inputs: Annotated[tuple[str, ...], default("none, which is refused")] = (),
    out: Annotated[Path | None, default("standard output", "PATH")] = None,
    weights: Annotated[Path | None, default("the factory's", "PATH")] = None,
    save_weights: Annotated[Path | None, default("no file", "PATH")] = None,
    leaf: Words = (),
    keep_nchw: Switch = False,
    steps: Annotated[Steps | None, default("20, of a large network 3", "INT")] = None,
    unproven: Switch = False,
    json: Annotated[Path | None, default("no file", "PATH")] = None,
) -> None:
    """Translate a torch network to Flax NNX source that a person would have written, and prove that both do the same.

    The source needs Flax and JAX alone. What it was proven by is in its docstring and, with --out net.py, in
    net.proof.json beside it. A translation that fails its proof is not written. Exit status 2 if parts of the network
    cannot be written; all of them are named.

    Args:
        network: Factory of the torch module, package.module:factory or FILE.py:factory; called without arguments.
        inputs: Shapes of its arguments, 2x3x32x32, for floats; 2x16:50 for whole numbers below 50; or .npy files.
        out: File to write the source to; .py.
        weights: File of torch's weights to port: a state_dict or a checkpoint, .pt or .safetensors.
        save_weights: File to write the weights of the translation to, in Flax's layout; .safetensors.
        leaf: Names of classes to be left as stubs, for a person to write.
        keep_nchw: Whether images keep channels first between layers.
        steps: Number of steps of Adam in the proof.
        unproven: Whether to write a translation that fails its proof too, with the place marked.
        json: JSON file to write the proof, names and notes to.
    """
    proof = out.with_suffix(".proof.json") if out is not None else None
    read = [*filter(None, [weights]), *(Path(one) for one in inputs if one.endswith(".npy"))]
    check_writable(out, proof, save_weights, json, inputs=read)
    check("steps", steps, Steps | None)
    if not inputs:
        raise InputError("expected --inputs, the shapes of the network's arguments, got none")
    if out is not None and out.suffix != ".py":
        raise InputError(f"expected a file that ends in .py with --out, got {out}")
    if save_weights is not None and save_weights.suffix != ".safetensors":
        raise InputError(f"expected a file that ends in .safetensors with --save-weights, got {save_weights}")
    if find_spec("torch") is None:
        raise InputError("expected torch, which runs the network to translate, got none: pip install 'jaxae[torch]'")
    from jaxae.port import save
    from jaxae.port.conversion import network_of
    from jaxae.port.file_to_file import make_network
    from jaxae.port.source import read_torch_layout
    from jaxae.translation.entry import translate
    from jaxae.translation.spelled import read_arguments

    module = make_network(network)
    if weights is not None:
        module, _ = network_of(read_torch_layout(weights), lambda: module)
    arguments = read_arguments(inputs)
    found = translate(module, arguments, keep_nchw=keep_nchw, leaf=leaf, steps=steps, unproven=unproven)
    document = json_format.dumps(found.to_json(), indent=1)
    if out is not None and proof is not None:
        write_text(out, found.source)
        write_text(proof, document)
    else:
        print(found.source, end="")
    if json is not None:
        write_text(json, document)
    if save_weights is not None:
        save(save_weights, found.module)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print(found.proof, file=sys.stderr if out is None else sys.stdout)
