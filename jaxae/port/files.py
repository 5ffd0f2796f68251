"""Files of weights: .pt and .pth, .safetensors in either layout, a jaxae run directory."""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.port import torch_file as torchfile
from jaxae.port.arrays import from_tensor
from jaxae.port.names import nearest
from jaxae.port.report import PortReport, PortRow
from jaxae.port.structure import is_weight
from jaxae.port.torch_checkpoint import weights_of
from jaxae.port.weights import assign, cast, from_torch, nan_notes, to_arrays, to_torch
from jaxae.storage import safetensors

Layout = Literal["flax", "torch"]

_TORCH_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_FLAX_LEAVES = {"kernel", "embedding", "scale", "mean", "var", "negative_slope"}
_TORCH_LEAVES = {"weight", "running_mean", "running_var", "num_batches_tracked", "in_proj_weight"}


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        layout: Whose names and axes its tensors have.
        tensors: By name; torch tensors from a torch file, NumPy arrays from any other.
        metadata: As written in it, or beside it in a run directory.
        content: All that a torch file holds: optimizer, epoch and what else was saved.
    """

    layout: Layout
    tensors: Mapping[str, Any]
    metadata: Mapping[str, str]
    content: Mapping[str, Any] | None = None


def read_file(path: str | Path) -> WeightFile:
    """Read a file of weights, or a run directory's.

    Raises:
        InputError: If it is none, or damaged, or would run code.
    """
    path = Path(path)
    if path.is_dir():
        weights, config = path / "weights.safetensors", path / "config.json"
        if not weights.exists():
            raise InputError(f"expected a run directory with weights.safetensors, got {path}")
        held = safetensors.read(weights)
        metadata = dict(held.metadata)
        if config.exists() and "config" not in metadata:
            metadata["config"] = config.read_text()
        return WeightFile("flax", held.arrays, metadata)
    if path.suffix == ".safetensors":
        held = safetensors.read(path)
        return WeightFile(_layout(path, held), held.arrays, held.metadata)
    if path.suffix in _TORCH_ENDINGS:
        content = torchfile.read(path)
        if not isinstance(content, Mapping):
            raise InputError(f"expected {path} to hold a state_dict, got {type(content).__name__}")
        tensors = weights_of(content)
        notes = getattr(tensors, "_metadata", {}).get("", {}).get("jaxae", {})
        return WeightFile("torch", tensors, notes, content)
    endings = ", ".join((*_TORCH_ENDINGS, ".safetensors"))
    raise InputError(f"expected a run directory or a file that ends in {endings}, got {path}")


def read_torch_tensors(path: Path) -> Mapping[str, Any]:
    """Tensors in torch's layout.

    Raises:
        InputError: If the file is in Flax's.
    """
    held = read_file(path)
    if held.layout != "torch":
        raise InputError(f"{path} has Flax's layout, not torch's: jaxae.port.load reads it")
    return held.tensors


def load(
    module: nnx.Module, path: str | Path, *, dtype: DTypeLike | None = None, **options: Any
) -> PortReport:
    """Fill an NNX module from a file in either layout; all of it, or none where it fails.

    Args:
        module: The module.
        path: The file or run directory.
        dtype: Cast floats to it; None keeps the file's.
        **options: Those of `from_torch`, for a file in torch's layout.

    Raises:
        InputError: If the file and the module differ.
    """
    held = read_file(path)
    if held.layout == "torch":
        return from_torch(module, held.tensors, dtype=dtype, **options)
    if options:
        raise InputError(f"{path} has Flax's layout, for which {', '.join(options)} means nothing")
    return from_flax(module, held.tensors, dtype=dtype)


def from_flax(
    module: nnx.Module, tensors: Mapping[str, Any], *, dtype: DTypeLike | None = None
) -> PortReport:
    """Fill an NNX module from arrays under its own dotted paths, as strictly as `from_torch`."""
    targets = variables(module)
    problems = []
    filled = []
    report = PortReport()
    for name, target in targets.items():
        if name not in tensors:
            problems.append(f"missing {name!r} {tuple(target.shape)}{nearest(name, tensors)}")
            continue
        try:
            array = cast(name, from_tensor(name, tensors[name]), dtype)
        except InputError as error:
            problems.append(str(error))
            continue
        if array.shape != tuple(target.shape):
            problems.append(
                f"mis-shaped {name!r}: expected {tuple(target.shape)}, got {array.shape}"
            )
        filled.append((target, array))
        row = PortRow(name, array.shape, "as it is", name, array.shape, str(array.dtype))
        report.rows.append(row)
    problems += [f"unexpected {name!r} {tuple(tensors[name].shape)}{nearest(name, targets)}"
                 for name in tensors if name not in targets]  # fmt: skip
    if problems:
        raise InputError("cannot load: " + "; ".join(problems))
    report.notes += nan_notes({row.flax: array for row, (_, array) in zip(report.rows, filled)})  # noqa: B905
    assign(filled)
    return report


def to_flax_arrays(module: nnx.Module) -> dict[str, np.ndarray]:
    """Copies of a module's weights under their dotted paths, `enc_conv_1.kernel`."""
    return {name: np.array(one.get_value()) for name, one in variables(module).items()}


def save(
    path: str | Path,
    module: nnx.Module,
    *,
    layout: Layout | None = None,
    model: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Write an NNX module's weights, with metadata, whole or not at all.

    Args:
        path: Ends in .safetensors, or in .pt or .pth (which needs torch).
        module: The module.
        layout: "flax" (the default for safetensors) or "torch".
        model: Settings of the network, plain JSON values, for the metadata.
        **options: Those of `to_torch`, for torch's layout.

    Raises:
        InputError: If the module does not port, or the file cannot be written.
    """
    path = Path(path)
    is_torch = path.suffix in _TORCH_ENDINGS
    if not is_torch and path.suffix != ".safetensors":
        raise InputError(f"expected a file that ends in .safetensors, .pt or .pth, got {path}")
    layout = layout or ("torch" if is_torch else "flax")
    if is_torch and layout == "flax":
        raise InputError(f"expected torch's layout in {path}: Flax's goes into .safetensors")
    metadata = make_metadata(layout, model)
    if is_torch:
        write_torch(path, to_torch(module, **options), metadata)
    elif layout == "torch":
        safetensors.write(path, to_arrays(module, **options)[0], metadata)
    else:
        if options:
            raise InputError(f"Flax's layout has no use for {', '.join(options)}")
        safetensors.write(path, to_flax_arrays(module), metadata)


def write_torch(
    path: Path,
    state_dict: Mapping[str, Any],
    metadata: Mapping[str, str],
    **beside: Any,
) -> None:
    """Write a torch file: a bare state_dict, or with more beside it a training checkpoint.

    Metadata goes where torch keeps its own, so that `load_state_dict` takes the file as it is.
    """
    from collections import OrderedDict

    weights: Any = OrderedDict(state_dict)
    weights._metadata = OrderedDict({"": {"version": 1, "jaxae": dict(metadata)}})
    torchfile.write(path, {"model_state_dict": weights, **beside} if beside else weights)


def make_metadata(layout: Layout, model: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What every written file says of itself."""
    metadata = {
        "format": "pt" if layout == "torch" else "flax",
        "framework": "torch" if layout == "torch" else "jax",
        "layout": layout,
        "writer": f"jaxae {importlib.metadata.version('jaxae')}",
    }
    return metadata | ({"model": json.dumps(model)} if model is not None else {})


def variables(module: nnx.Module) -> dict[str, nnx.Variable]:
    """A module's weights and statistics by dotted path; a shared one under its first."""
    return {
        ".".join(map(str, path)): one
        for path, one in nnx.iter_graph(module)
        if isinstance(one, nnx.Variable) and is_weight(one)
    }


def _layout(path: Path, held: safetensors.TensorFile) -> Layout:
    said = held.metadata.get("layout") or {"pt": "torch", "flax": "flax"}.get(
        held.metadata.get("format", "")
    )
    if said in ("flax", "torch"):
        return said  # pyright: ignore[reportReturnType]
    leaves = {name.rpartition(".")[2] for name in held.arrays}
    flax, torch = bool(leaves & _FLAX_LEAVES), bool(leaves & _TORCH_LEAVES)
    if flax == torch:
        raise InputError(f"expected metadata or names in {path} that tell torch's layout from "
                         f"Flax's, got {', '.join(sorted(leaves)[:8])}")  # fmt: skip
    return "flax" if flax else "torch"
