"""The source of a port: whatever people have their weights in, read once into one value."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, Unpack

from jaxae.bounds import check
from jaxae.config import read_config
from jaxae.errors import InputError, brief
from jaxae.port import torch_file
from jaxae.port.arrays import dtype_name
from jaxae.port.directory import index_of, kind_of
from jaxae.port.linen.variables import is_linen, read_collections
from jaxae.port.names import below_prefix
from jaxae.port.options import SourceOptions
from jaxae.port.pickled.inert import Inert
from jaxae.port.torch_checkpoint import weights_of
from jaxae.storage import msgpack, orbax_folder, safetensors
from jaxae.storage.safetensors import Layout

if TYPE_CHECKING:
    import torch

TORCH_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl", ".pickle")
_FLAX_LEAVES = {"kernel", "embedding", "scale", "mean", "var", "negative_slope"}
_TORCH_LEAVES = {"weight", "running_mean", "running_var", "num_batches_tracked", "in_proj_weight"}


@dataclass(frozen=True)
class WeightSource:
    """Weights in either layout, with what was beside them.

    Attributes:
        tensors: Tensors by name: NumPy arrays from a safetensors file, else mostly torch's.
        layout: Framework whose names and axes the tensors have.
        origin: What to call the source in a message.
        module: The torch module, which tells settings and types of layers too; None otherwise.
        metadata: Metadata of the file, with a run directory's config.json under "config".
        content: All that a torch checkpoint holds: optimizer, epoch and what else was saved.
        notes: What was left aside.
        held: The state_dict in the content, where the tensors are a part of it or have other names.
    """

    tensors: Mapping[str, Any]
    layout: Layout
    origin: str
    module: "torch.nn.Module | None" = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[Any, Any] | None = None
    notes: tuple[str, ...] = ()
    held: Mapping[str, Any] | None = None

    @property
    def dtypes(self) -> list[str]:
        """Names of the tensors' dtypes, in the order of their first tensors."""
        return list(dict.fromkeys(dtype_name(one.dtype) for one in self.tensors.values() if hasattr(one, "dtype")))

    @property
    def beside(self) -> list[str]:
        """Names of what a checkpoint holds beside its weights."""
        held = self.tensors if self.held is None else self.held
        content = {} if self.content is None or self.content is held else self.content
        return [brief(name) for name, value in content.items() if value is not held]

    def renamed(self, tensors: Mapping[str, Any], *notes: str) -> "WeightSource":
        """The same source with some of its tensors, or with other names of them."""
        return replace(
            self, tensors=tensors, notes=(*self.notes, *notes), held=self.tensors if self.held is None else self.held
        )


# What people have their weights in.
Weights = Union["torch.nn.Module", Mapping[str, Any], str, Path, WeightSource]


def read_source(
    source: Weights, *, weights: str | None = None, prefix: str = "", allow: Iterable[str] = ()
) -> WeightSource:
    """Read a torch module, a state_dict, a training checkpoint, a file, a run directory or one of transformers.

    Args:
        source: The source.
        weights: Name of the state_dict that is meant, where a checkpoint holds several.
        prefix: What the names of the tensors that are meant begin with.
        allow: Names of objects in a torch file that may be left aside.

    Raises:
        InputError: If it is none of them, it is damaged, or it holds objects that are not known.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        check("a file of weights", path, Path)
        read = (
            _from_checkpoint(read_checkpoint(path, allow), str(path), weights) if _is_torch(path) else _read_path(path)
        )
    elif isinstance(source, WeightSource):
        read = source
        if weights is not None and source.content is not None and source.layout == "torch":
            read = _from_checkpoint(source.content, source.origin, weights)
    elif isinstance(source, Mapping):
        linen = weights is None and is_linen(source)
        read = _from_linen(source, "the mapping") if linen else _from_checkpoint(source, "the mapping", weights)
    elif hasattr(source, "state_dict") and hasattr(source, "named_modules"):
        module = _part(source, prefix) if prefix else source
        return WeightSource(module.state_dict(), "torch", "the torch module", module)
    else:
        kinds = "a torch module, a state_dict, Linen variables or a file's path"
        raise InputError(f"expected {kinds}, got {type(source).__name__}")
    if weights is not None and (read.content is None or read.layout == "flax"):
        raise InputError(f"expected no weights= beside a source of one state_dict, got {weights!r} for {read.origin}")
    if not prefix:
        return read
    below, aside = below_prefix(read.tensors, prefix)
    return read.renamed(below, *aside)


def read_torch_layout(source: Weights, **options: Unpack[SourceOptions]) -> WeightSource:
    """Read weights that must be in torch's layout."""
    read = read_source(source, **options)
    if read.layout != "torch":
        found = f"Flax's layout in {read.origin}: jaxae.port.load reads it"
        raise InputError(f"expected weights in torch's layout, got {found}")
    return read


def read_checkpoint(path: str | Path, allow: Iterable[str] = ()) -> Mapping[Any, Any]:
    """Read all that a torch file holds."""
    path = Path(path)
    if not _is_torch(path):
        raise InputError(f"expected a torch file that ends in {', '.join(TORCH_ENDINGS)}, got {path}")
    content = torch_file.read(path, allow)
    if not isinstance(content, Mapping):
        raise InputError(f"expected {path} to hold a state_dict, got {_kind(content)}")
    return content


def _read_path(path: Path) -> WeightSource:
    if path.is_dir() and orbax_folder.is_orbax(path):
        return _from_linen(orbax_folder.read(path), str(path))
    if path.is_dir():
        weights, config = path / "weights.safetensors", path / "config.json"
        if not weights.exists():
            if (whole := index_of(path)) is not None:
                return _of_transformers(path, whole)
            raise InputError(f"expected a run directory with weights.safetensors, or a folder of Orbax, got {path}")
        held, metadata = safetensors.open_tensors(weights)
        beside = {"config": json.dumps(read_config(config).to_json())} if config.exists() else {}
        return WeightSource(held, "flax", str(path), metadata=beside | metadata)
    if path.suffix == ".safetensors" or kind_of(path) == "safetensors":
        held, metadata = safetensors.open_tensors(path)
        if is_linen(held) and "layout" not in metadata:
            return replace(_from_linen(held, str(path)), metadata=metadata)
        return WeightSource(held, _layout(path, held, metadata), str(path), metadata=metadata)
    if path.suffix == ".msgpack":
        return _from_linen(msgpack.read(path), str(path))
    endings = ", ".join((*TORCH_ENDINGS, ".safetensors", ".msgpack"))
    raise InputError(f"expected a run directory, a folder of Orbax or a file that ends in {endings}, got {path}")


def _from_linen(content: Mapping[Any, Any], origin: str) -> WeightSource:
    read = read_collections(content, origin)
    return WeightSource(read.flat, "flax", origin, content=dict.fromkeys(read.aside))


def _of_transformers(path: Path, files: Mapping[str, Collection[str] | None]) -> WeightSource:
    """The tensors of a directory's files together, of each those that the index names."""
    tensors: dict[str, Any] = {}
    for name, wanted in files.items():
        held = read_source(path / name).tensors
        if missing := [one for one in wanted or () if one not in held]:
            raise InputError(f"expected {brief(missing[0])!r} in {path / name}, as its index says, got none")
        tensors |= {one: held[one] for one in (held if wanted is None else wanted)}
    return WeightSource(tensors, "torch", str(path))


def _is_torch(path: Path) -> bool:
    """Whether a file is torch's, by what it begins with; where that does not tell, by its name."""
    kind = kind_of(path)
    return kind == "torch" or (kind is None and path.suffix in TORCH_ENDINGS)


def _part(module: Any, prefix: str) -> Any:
    try:
        return module.get_submodule(prefix.rstrip("."))
    except AttributeError as error:
        raise InputError(f"expected the prefix of a part of the torch module, got {prefix!r}: {error}") from None


def _kind(value: object) -> str:
    return value.name if isinstance(value, Inert) else type(value).__name__


def _from_checkpoint(content: Mapping[Any, Any], origin: str, weights: str | None) -> WeightSource:
    tensors = weights_of(content, weights)
    return WeightSource(tensors, "torch", origin, metadata=_metadata(tensors), content=content)


def _metadata(tensors: Mapping[Any, Any]) -> dict[str, str]:
    """What `jaxae.port.save` said beside weights, where torch keeps its modules' versions."""
    said = getattr(tensors, "_metadata", None)
    for name in ("", "jaxae"):
        said = said.get(name) if isinstance(said, Mapping) else None
    pairs = said.items() if isinstance(said, Mapping) else ()
    return {name: text for name, text in pairs if isinstance(name, str) and isinstance(text, str)}


def _layout(path: Path, held: Iterable[str], metadata: Mapping[str, str]) -> Layout:
    said = metadata.get("layout") or metadata.get("format")
    if said == "mlx":
        raise InputError(f"expected weights of torch or Flax, got {path} of mlx, whose convolutions have other axes")
    if said in ("flax", "torch", "pt"):
        return "flax" if said == "flax" else "torch"
    leaves = {name.rpartition(".")[2] for name in held}
    flax, torch = leaves & _FLAX_LEAVES, leaves & _TORCH_LEAVES
    if bool(flax) != bool(torch):
        return "flax" if flax else "torch"
    names = brief(", ".join(sorted(leaves)[:8]), 200)
    raise InputError(f"expected metadata or names in {path} that tell torch's layout from Flax's, got {names}")
