"""Compare two networks of torch or Flax, running now or recorded before, and find where they part first."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxae.bounds import Amount, Range, check
from jaxae.cli import Switch, default
from jaxae.errors import InputError
from jaxae.storage.files import check_writable, write_text

Words = Annotated[tuple[str, ...], default("none")]
Steps = Annotated[int, Range(0, 10_000)]
STATUS = {"equal": 0, "differs": 1, "cannot tell": 2}


def main(
    networks: Annotated[tyro.conf.Positional[tuple[str, ...]], default("none, which is refused", "A [B]")] = (),
    inputs: Annotated[tuple[str, ...], default("a recording's")] = (),
    record: Annotated[Path | None, default("no file", "PATH")] = None,
    json: Annotated[Path | None, default("no file", "PATH")] = None,
    port: Switch = False,
    names: Words = (),
    flatten: Words = (),
    unflatten: Words = (),
    dtype: Annotated[Literal["float64", "float32", "bfloat16"] | None, default("float64, or a recording's")] = None,
    train: Switch = False,
    steps: Steps = 0,
    optimizer: Literal["adam", "sgd"] = "adam",
    learning_rate: Amount = 1e-3,
    loss: Annotated[tuple[str, ...], default("a sum of the results with fixed random weights")] = (),
    tolerance: Annotated[Amount | None, default("that of the dtype and device, as printed", "FLOAT")] = None,
    device: Literal["cpu", "gpu"] = "cpu",
) -> None:
    """Compare two networks A and B, each a factory, package.module:factory or FILE.py:factory, or a recording's file.

    Forward, every layer, gradients and steps of an optimizer. Exit status 0 if they are equal, 1 if they differ, 2 if
    that cannot be told. With A alone and --record, what it does is recorded in a file, to be compared elsewhere; where
    there is no JAX, python -m torch_ref.record records a torch network.

    Args:
        networks: Factories, called without arguments, of a torch or an NNX module; or .npz files of recordings.
        inputs: Shapes of the arguments as torch takes them, 2x3x32x32, of which normal numbers are drawn, the same
            everywhere; or a .npz or .npy file of them, or a recording, whose names of torch's tensors are taken too.
        record: File to write the recording of A to; .npz.
        json: JSON file to write the comparison to.
        port: Whether B gets the weights of A first; otherwise each keeps what its factory gave it.
        names: Layers of other names in torch, Flax's name first: encoder.conv=features.0
        flatten: Layers that take a flattened image, each with torch's channels, height and width of it: fc1=16,5,5
        unflatten: Layers whose outputs are reshaped to an image, said in the same way.
        dtype: Dtype of weights and inputs.
        train: Whether to run in training mode: statistics of the batch, dropout switched off and its rates compared.
        steps: Number of steps of the optimizer to compare.
        optimizer: Optimizer, with torch's defaults.
        learning_rate: Learning rate of the optimizer.
        loss: Function of the results whose gradients are taken, package.module:function; or one for each network.
        tolerance: Largest relative gap that passes.
        device: Kind of device to run on.
    """
    from jaxae.parity.judge import judge
    from jaxae.parity.recording_file import write_recording
    from jaxae.parity.request import Request
    from jaxae.port.spelled import spelled_options
    from torch_ref.recording import Conditions

    request = Request(inputs, loss=loss, dtype=dtype, device=device, port=port)
    check_writable(record, json, inputs=request.files(networks))
    check("steps", steps, Steps)
    check("learning_rate", learning_rate, Amount)
    check("tolerance", tolerance, Amount | None)
    if len(networks) != (2 if record is None else 1) or (record is not None and json is not None):
        raise InputError(
            "expected two networks A and B to compare, or A alone and --record, got "
            f"{len(networks)}{' and --record' if record else ''}{' and --json' if json else ''}"
        )
    if record is not None and record.suffix != ".npz":
        raise InputError(f"expected a file that ends in .npz with --record, got {record}")
    asked = Conditions(train, steps, optimizer, learning_rate)
    options = spelled_options(flatten, unflatten, names)
    request = Request(inputs, asked, dtype, loss, device, port, options)
    recordings = request.record(networks)
    if record is not None:
        write_recording(record, recordings[0])
        print(recordings[0])
        return
    found = judge(*recordings, tolerance=tolerance)
    try:
        if json is not None:
            write_text(json, json_format.dumps(found.to_json(), indent=1))
    finally:
        print(found)
    if STATUS[found.verdict]:
        sys.exit(STATUS[found.verdict])
