"""Training checkpoints as people save them in torch: weights, optimizer, epoch."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from .errors import InputError
from .models import Autoencoder, ConditionalVariationalAutoencoder, DenseVariationalAutoencoder, VariationalAutoencoder

MODELS: dict[str, Callable[..., Autoencoder | VariationalAutoencoder]] = {
    kind.__name__: kind for kind in (Autoencoder, ConditionalVariationalAutoencoder, DenseVariationalAutoencoder)
}


class Restored(NamedTuple):
    """What a checkpoint holds, on the CPU, in the dtype that it was saved in."""

    model: Autoencoder | VariationalAutoencoder
    optimizer: torch.optim.Adam
    epoch: int
    loss: float | None


def save_checkpoint(
    path: str | Path,
    model: Autoencoder | VariationalAutoencoder,
    optimizer: torch.optim.Optimizer,
    *,
    epoch: int,
    loss: float | None,
) -> None:
    """Write model_state_dict, optimizer_state_dict, epoch, loss and the model's settings.

    The file is whole or absent: written beside, then renamed. Raises InputError when it cannot be.
    """
    content = io.BytesIO()
    torch.save(
        {
            "epoch": epoch,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "loss": loss,
            "model": type(model).__name__,
            "settings": model.settings,
        },
        content,
    )
    target = _writable(path)
    partial = _partial(target)
    try:
        with partial.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def check_writable(path: str | Path) -> None:
    """Raise InputError unless a checkpoint could be written to `path` now; leaves nothing."""
    partial = _partial(_writable(path))
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def load_checkpoint(path: str | Path) -> Restored:
    """Rebuild model and Adam from a file of `save_checkpoint`, as data: no pickle is run.

    Raises InputError for a file that is damaged, of another kind, or asks to run code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file makes the unpickler and the zip reader raise nearly anything.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"cannot read {path} as a torch checkpoint: {reason}") from error
    names = ("epoch", "model_state_dict", "optimizer_state_dict", "loss", "model", "settings")
    if not isinstance(content, dict) or not content.keys() >= set(names):
        raise InputError(f"{path}: expected a checkpoint of torch_ref with {', '.join(names)}")
    if content["model"] not in MODELS:
        raise InputError(f"{path}: expected a model out of {', '.join(MODELS)}")
    try:
        model = MODELS[content["model"]](**content["settings"])
        dtypes = {tensor.dtype for tensor in content["model_state_dict"].values()}
        model.to(dtype=dtypes.pop())
        model.load_state_dict(content["model_state_dict"])
        optimizer = torch.optim.Adam(model.parameters())
        optimizer.load_state_dict(content["optimizer_state_dict"])
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: weights and settings disagree: {reason}") from error
    return Restored(model, optimizer, content["epoch"], content["loss"])


def _writable(path: str | Path) -> Path:
    # Through a link, the file that it names is replaced, not the link.
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise InputError(f"cannot write {path}: it exists and is no regular file")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {path}: no such folder: {target.parent}")
    return target


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.partial")
