"""Files of weights by their content, and directories of them as transformers and diffusers save them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from jaxae.errors import InputError, brief
from jaxae.storage import documents

_STEMS = ("model", "diffusion_pytorch_model", "pytorch_model")
_LARGEST_INDEX = 1 << 26
_PROTOCOLS = [bytes([number]) for number in range(2, 6)]


def kind_of(path: Path) -> Literal["torch", "safetensors"] | None:
    """What a file is by its first bytes, whatever its name: a zip or a pickle, safetensors, or None."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return None
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if path.suffix != ".npz" and (start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in _PROTOCOLS)):
        return "torch"
    return None


def index_of(folder: Path) -> Mapping[str, Collection[str] | None] | None:
    """A directory's files of weights, each with the tensors that are read of it: of one file alone all, None.

    Returns:
        None where there are no such files.

    Raises:
        InputError: If the index of its files is damaged.
    """
    for stem in _STEMS:
        for ending in (".safetensors", ".bin"):
            if (folder / f"{stem}{ending}").exists():
                return {f"{stem}{ending}": None}
            index = folder / f"{stem}{ending}.index.json"
            if index.exists():
                return _shards(index)
    return None


def _shards(index: Path) -> Mapping[str, Collection[str]]:
    if index.stat().st_size > _LARGEST_INDEX:
        raise InputError(f"expected an index of less than {_LARGEST_INDEX} bytes, got {index}")
    try:
        said = documents.parse(index.read_text())["weight_map"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"expected an index with a weight_map, got {index}: {brief(repr(error))}") from error
    shards: dict[str, list[str]] = {}
    for tensor, name in said.items() if isinstance(said, Mapping) else ():
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"expected names of files beside {index}, got {brief(name)!r}")
        shards.setdefault(name, []).append(tensor)
    if not shards:
        raise InputError(f"expected an index with a weight_map, got {index} without one")
    return shards
