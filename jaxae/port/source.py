"""The source of a port: whatever people have their weights in, read once into one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from jaxae.errors import InputError
from jaxae.port import torch_file
from jaxae.port.arrays import dtype_name
from jaxae.port.torch_checkpoint import weights_of
from jaxae.storage import safetensors
from jaxae.storage.safetensors import Layout

if TYPE_CHECKING:
    import torch

TORCH_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar")
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
    """

    tensors: Mapping[str, Any]
    layout: Layout
    origin: str
    module: "torch.nn.Module | None" = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, Any] | None = None

    @property
    def dtypes(self) -> list[str]:
        """Names of the tensors' dtypes, in the order of their first tensors."""
        return list(dict.fromkeys(dtype_name(one.dtype) for one in self.tensors.values() if hasattr(one, "dtype")))

    @property
    def beside(self) -> list[str]:
        """Names of what a checkpoint holds beside its weights."""
        content = {} if self.content is None or self.content is self.tensors else self.content
        return [str(name) for name, value in content.items() if value is not self.tensors]


# What people have their weights in.
Weights = Union["torch.nn.Module", Mapping[str, Any], str, Path, WeightSource]


def read_source(weights: Weights) -> WeightSource:
    """Read a torch module, a state_dict, a training checkpoint, a file or a run directory.

    Raises:
        InputError: If it is none of them, it is damaged, or it would run code.
    """
    if isinstance(weights, WeightSource):
        return weights
    if isinstance(weights, str | Path):
        return _read_path(Path(weights))
    if isinstance(weights, Mapping):
        return _from_checkpoint(weights, "the mapping")
    if hasattr(weights, "state_dict") and hasattr(weights, "named_modules"):
        return WeightSource(weights.state_dict(), "torch", "the torch module", weights)
    raise InputError(f"expected a torch module, a state_dict or a file's path, got {type(weights).__name__}")


def read_torch_layout(weights: Weights) -> WeightSource:
    """Read weights that must be in torch's layout."""
    source = read_source(weights)
    if source.layout != "torch":
        found = f"Flax's layout in {source.origin}: jaxae.port.load reads it"
        raise InputError(f"expected weights in torch's layout, got {found}")
    return source


def read_checkpoint(path: str | Path) -> Mapping[str, Any]:
    """Read all that a torch file holds."""
    path = Path(path)
    if path.suffix not in TORCH_ENDINGS:
        raise InputError(f"expected a torch file that ends in {', '.join(TORCH_ENDINGS)}, got {path}")
    content = torch_file.read(path)
    if not isinstance(content, Mapping):
        raise InputError(f"expected {path} to hold a state_dict, got {type(content).__name__}")
    return content


def _read_path(path: Path) -> WeightSource:
    if path.is_dir():
        weights, config = path / "weights.safetensors", path / "config.json"
        if not weights.exists():
            raise InputError(f"expected a run directory with weights.safetensors, got {path}")
        held = safetensors.read(weights)
        beside = {"config": config.read_text()} if config.exists() else {}
        return WeightSource(held.arrays, "flax", str(path), metadata=beside | held.metadata)
    if path.suffix == ".safetensors":
        held = safetensors.read(path)
        return WeightSource(held.arrays, _layout(path, held), str(path), metadata=held.metadata)
    if path.suffix in TORCH_ENDINGS:
        return _from_checkpoint(read_checkpoint(path), str(path))
    endings = ", ".join((*TORCH_ENDINGS, ".safetensors"))
    raise InputError(f"expected a run directory or a file that ends in {endings}, got {path}")


def _from_checkpoint(content: Mapping[str, Any], origin: str) -> WeightSource:
    tensors = weights_of(content)
    # Where torch keeps its modules' versions, and `jaxae.port.save` its metadata.
    metadata = getattr(tensors, "_metadata", {}).get("", {}).get("jaxae", {})
    return WeightSource(tensors, "torch", origin, metadata=metadata, content=content)


def _layout(path: Path, held: safetensors.TensorFile) -> Layout:
    said = held.metadata.get("layout") or held.metadata.get("format")
    if said in ("flax", "torch", "pt"):
        return "flax" if said == "flax" else "torch"
    leaves = {name.rpartition(".")[2] for name in held.arrays}
    flax, torch = leaves & _FLAX_LEAVES, leaves & _TORCH_LEAVES
    if bool(flax) != bool(torch):
        return "flax" if flax else "torch"
    names = ", ".join(sorted(leaves)[:8])
    raise InputError(f"expected metadata or names in {path} that tell torch's layout from Flax's, got {names}")
