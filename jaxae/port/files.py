"""Files of weights: .pt and .pth in torch's layout, .safetensors in either one."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.port import torch_file
from jaxae.port.arrays import copy_for_flax
from jaxae.port.names import join, nearest
from jaxae.port.options import PortOptions
from jaxae.port.plan import raise_problems
from jaxae.port.report import PortReport, PortRow
from jaxae.port.source import Weights, WeightSource, read_source
from jaxae.port.structure import is_weight
from jaxae.port.weights import assign, from_torch, nan_notes, to_arrays, to_torch
from jaxae.storage import safetensors
from jaxae.storage.safetensors import Layout, weight_metadata

WRITTEN_ENDINGS = (".safetensors", ".pt", ".pth")


class LoadKeywords(PortOptions, total=False):
    """Keywords of `from_torch`, beside the dtype."""

    ignore: Iterable[str]
    untie: bool


class SaveKeywords(PortOptions, total=False):
    """Keywords of `to_torch`."""

    dtype: DTypeLike | None
    like: Weights | None
    carried: Mapping[str, np.ndarray] | None


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
    source = read_source(path)
    if source.layout == "torch":
        return from_torch(module, source, dtype=dtype, **options)
    if options:
        raise InputError(f"expected no {', '.join(options)} for weights in Flax's layout, got them for {source.origin}")
    return _from_flax(module, source.tensors, dtype)


def save(
    path: str | Path,
    module: nnx.Module,
    *,
    layout: Layout | None = None,
    model: Mapping[str, Any] | None = None,
    **options: Unpack[SaveKeywords],
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
        weights: Any = OrderedDict(to_torch(module, **options))
        # Where torch keeps metadata of its own, so that `load_state_dict` takes the file as it is.
        weights._metadata = OrderedDict({"": {"version": 1, "jaxae": metadata}})
        torch_file.write(path, weights)
    elif layout == "torch":
        safetensors.write(path, to_arrays(module, **options)[0], metadata)
    elif options:
        raise InputError(f"expected no {', '.join(options)} for Flax's layout, got them for {path}")
    else:
        arrays = {name: np.array(one.get_value()) for name, one in _variables(module).items()}
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
    problems: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    for name, target in targets.items():
        shape = tuple(target.shape)
        if name not in tensors:
            problems.append(f"missing {name!r} {shape}{nearest(name, tensors)}")
            continue
        array = copy_for_flax(name, tensors[name], dtype, problems)
        if array is None:
            continue
        if array.shape != shape:
            problems.append(f"mis-shaped {name!r}: expected {shape}, got {array.shape}")
        arrays[name] = array
    for name in tensors:
        if name not in targets:
            problems.append(f"unexpected {name!r} {tuple(tensors[name].shape)}{nearest(name, targets)}")
    raise_problems("weights of this NNX module", problems)
    notes = nan_notes(arrays)
    assign([(targets[name], array) for name, array in arrays.items()])
    rows = [PortRow(name, one.shape, "as it is", name, one.shape, str(one.dtype)) for name, one in arrays.items()]
    return PortReport(rows, notes=notes)


def _variables(module: nnx.Module) -> dict[str, nnx.Variable]:
    """A module's weights and statistics by dotted path; a shared one under its first."""
    return {join(*map(str, path)): one for path, one in nnx.iter_graph(module) if is_weight(one)}
