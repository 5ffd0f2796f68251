"""Files of weights: .pt and .pth in torch's layout, .safetensors in either one."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.port import torch_file
from jaxae.port.arrays import Deferred, FlaxCopies
from jaxae.port.held import Held
from jaxae.port.linen.view import LinenView
from jaxae.port.names import join, nearest
from jaxae.port.options import PortOptions, SourceOptions
from jaxae.port.plan import raise_problems
from jaxae.port.report import PortReport, PortRow
from jaxae.port.source import WeightSource, read_source
from jaxae.port.structure import is_weight
from jaxae.port.weights import (
    ToTorchKeywords,
    assign,
    fill_from_torch,
    nan_notes,
    noting_nan,
    telling_of_nan,
    to_deferred,
    to_tensors,
)
from jaxae.storage import safetensors
from jaxae.storage.safetensors import Layout, weight_metadata

WRITTEN_ENDINGS = (".safetensors", ".pt", ".pth")


class LoadKeywords(PortOptions, SourceOptions, total=False):
    """Keywords of `from_torch`, beside the dtype."""

    ignore: Iterable[str]
    missing: Iterable[str]
    untie: bool


def load(
    module: nnx.Module,
    path: str | Path | WeightSource,
    *,
    dtype: DTypeLike | None = None,
    **options: Unpack[LoadKeywords],
) -> PortReport:
    """Fill an NNX module from a file in either layout; all of it, or none where it fails.

    Args:
        module: The NNX module.
        path: Path of the file or run directory.
        dtype: Dtype that floats are cast to; None keeps the file's.
        **options: Further arguments of `from_torch`, for a file in torch's layout.

    Raises:
        InputError: If the file and the module differ.
    """
    which: Any = {name: options.pop(name) for name in SourceOptions.__annotations__ if name in options}
    source = read_source(path, **which)
    if source.layout == "torch":
        return fill_from_torch(module, source, dtype=dtype, **options)
    if options:
        raise InputError(f"expected no {', '.join(options)} for weights in Flax's layout, got them for {source.origin}")
    return _from_flax(module, source.tensors, dtype)


def save(
    path: str | Path,
    module: nnx.Module,
    *,
    layout: Layout | None = None,
    model: Mapping[str, Any] | None = None,
    **options: Unpack[ToTorchKeywords],
) -> None:
    """Write an NNX module's weights, with metadata, whole or not at all.

    Args:
        path: Path that ends in .safetensors, or in .pt or .pth (which need torch).
        module: The NNX module.
        layout: Framework whose names and axes are written: "flax" (the default for .safetensors) or "torch".
        model: Settings of the network, plain JSON values, for the metadata.
        **options: Arguments of `to_torch`, for torch's layout.

    Raises:
        InputError: If the module does not port, or the file cannot be written.
    """
    path = Path(path)
    layout = written_layout(path, layout)
    metadata = weight_metadata(layout, **({} if model is None else {"model": json.dumps(model)}))
    if path.suffix != ".safetensors":
        torch_file.import_torch(path)
        weights: Any = OrderedDict(to_tensors(module, **options))
        # Where torch keeps metadata of its own, so that `load_state_dict` takes the file as it is.
        weights._metadata = OrderedDict({"": {"version": 1, "jaxae": metadata}})
        torch_file.write(path, weights)
    elif layout == "torch":
        with telling_of_nan() as read:
            arrays = {
                name: Deferred(one.shape, one.dtype, partial(read, name, one))
                for name, one in to_deferred(module, **options)[0].items()
            }
            safetensors.write(path, arrays, metadata)
    elif options:
        raise InputError(f"expected no {', '.join(options)} for Flax's layout, got them for {path}")
    else:
        held = {name: one.get_value() for name, one in _variables(module).items()}
        arrays = {
            name: Deferred(value.shape, np.dtype(value.dtype), partial(np.asarray, value))
            for name, value in held.items()
        }
        safetensors.write(path, arrays, metadata)


def written_layout(path: Path, layout: Layout | None = None) -> Layout:
    """The layout of a file to write: the one asked for, if such a file can have it."""
    if path.suffix not in WRITTEN_ENDINGS:
        raise InputError(f"expected a file that ends in .safetensors, .pt or .pth, got {path}")
    if path.suffix == ".safetensors":
        return layout or "flax"
    if layout == "flax":
        raise InputError(f"expected torch's layout in {path}, got Flax's: it goes to .safetensors")
    return "torch"


def _from_flax(module: nnx.Module, tensors: Mapping[str, Any], dtype: DTypeLike | None) -> PortReport:
    """Fill an NNX module from arrays under its own dotted paths, as strictly as `from_torch`."""
    targets = _variables(module)
    tensors = {_nnx_name(name) if _nnx_name(name) in targets else name: value for name, value in tensors.items()}
    problems: list[str] = []
    for name, target in targets.items():
        shape = tuple(target.shape)
        if name not in tensors:
            problems.append(f"missing {name!r} {shape}{nearest(name, tensors)}")
        elif tuple(tensors[name].shape) != shape:
            problems.append(f"mis-shaped {name!r}: expected {shape}, got {tuple(tensors[name].shape)}")
    arrays = FlaxCopies(tensors, [name for name in targets if name in tensors], dtype, problems)
    for name in tensors:
        if name not in targets:
            problems.append(f"unexpected {name!r} {tuple(tensors[name].shape)}{nearest(name, targets)}")
    raise_problems("weights of this NNX module", problems)
    with_nan: list[str] = []

    def filled() -> Iterator[tuple[Held, np.ndarray]]:
        for name, target in targets.items():
            yield target, noting_nan(name, arrays[name], with_nan)

    assign(filled())
    shapes = {name: tuple(target.shape) for name, target in targets.items()}
    rows = [PortRow(name, shape, "as it is", name, shape, str(arrays.dtypes[name])) for name, shape in shapes.items()]
    return PortReport(rows, notes=nan_notes(with_nan))


def _nnx_name(name: str) -> str:
    """The name that NNX has for a variable of Linen's recurrent cells, where they differ."""
    return ".".join("if_" if part == "if" else part for part in name.split("."))


def _variables(module: nnx.Module) -> dict[str, nnx.Variable]:
    """A module's weights and statistics by dotted path; a shared one under its first."""
    if isinstance(module, LinenView):
        return {join(*path): one for (_, path), one in module.view__held.items() if is_weight(one)}
    return {join(*map(str, path)): one for path, one in nnx.iter_graph(module) if is_weight(one)}
