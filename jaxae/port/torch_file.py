"""Files of torch.save, both containers, TorchScript's and pickles: read as data, never as code, and without torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxae.errors import InputError, brief
from jaxae.port.pickled.container import read_pickled
from jaxae.port.pickled.inert import Inert, is_allowed, state_dict_of
from jaxae.storage.files import whole_or_absent
from torch_ref.pickle_calls import RefusedPickleError


def read(path: Path, allow: Iterable[str] = ()) -> object:
    """What torch saved: tensors as NumPy arrays, objects as `Inert`, modules among them as their state_dicts.

    Args:
        path: Path of the file.
        allow: Names of classes, functions or modules whose objects may be inert, beside those that are known.

    Raises:
        InputError: If there is no such file, it is damaged, or it holds objects of others.
    """
    try:
        content = read_pickled(path, allow)
    except OSError as error:
        raise InputError(f"expected a torch file, got {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = error if isinstance(error, RefusedPickleError) else _reason(error)
        raise InputError(f"expected a sound torch file, got {path}: {reason}") from error
    if isinstance(content, Inert):
        return _whole(path, content, allow)
    if isinstance(content, dict) and any(isinstance(value, Inert) for value in content.values()):
        return {name: _as_state_dict(value) for name, value in content.items()}
    return content


def _whole(path: Path, content: Inert, allow: Iterable[str]) -> object:
    """The state_dict of a file that is one object: of TorchScript, or where its class is allowed by name."""
    if not content.name.startswith("__torch__.") and not is_allowed(content.name, allow):
        name = brief(content.name)
        raise InputError(
            f"expected a sound torch file, got {path}: it holds more than tensors (a whole {name}), which would run "
            "code; nothing was run; save model.state_dict() instead, or "
            f"allow= ('--allow {name}') reads its attributes' tensors and still runs nothing"
        )
    return _as_state_dict(content)


def _as_state_dict(value: object) -> object:
    """The state_dict of a module that was saved whole; anything else as it is."""
    return state_dict_of(value) or value if isinstance(value, Inert) else value


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Save by torch.save, whole or not at all.

    Raises:
        InputError: If the file cannot be written, or torch is not installed.
    """
    torch = import_torch(path)
    with whole_or_absent(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # of the end of the file, for which there was no room either
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def import_torch(path: Path) -> ModuleType:
    """Import torch for a file, or say that the file needs it."""
    try:
        import torch
    except ImportError as error:
        raise InputError(f"expected torch, which {path} needs, got none: pip install 'jaxae[torch]'") from error
    return torch


def _reason(error: Exception) -> str:
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"it is damaged or no torch file ({type(error).__name__}: {brief(line, 120)})"
