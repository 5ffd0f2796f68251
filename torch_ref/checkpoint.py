"""Training checkpoints as people save them in torch: weights, optimizer, epoch."""

import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .conv_vae import ConvVariationalAutoencoder
from .declared import check_declared
from .dense_vae import DenseVariationalAutoencoder
from .errors import InputError
from .models import Autoencoder, ConditionalVariationalAutoencoder, VariationalAutoencoder

MODELS: dict[str, Callable[..., Autoencoder | VariationalAutoencoder]] = {
    kind.__name__: kind
    for kind in (
        Autoencoder,
        ConditionalVariationalAutoencoder,
        ConvVariationalAutoencoder,
        DenseVariationalAutoencoder,
    )
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

    The file is whole or absent. Raises InputError when it cannot be written.
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
    write_whole(path, content)


def write_whole(path: str | Path, content: io.BytesIO) -> None:
    """Write a file, whole or not at all: beside, then renamed. Raises InputError when it cannot be."""
    target = _writable(path)
    there = target.stat() if target.exists() else None
    if (
        there is not None and not target.is_file()
    ):  # a pipe or a device, which a rename would put a file in the place of
        with _refusing(path), target.open("wb") as file, content.getbuffer() as whole:
            file.write(whole)
        return
    partial = _partial(target)
    try:
        with _refusing(path):
            with partial.open("wb") as file, content.getbuffer() as whole:
                file.write(whole)
                file.flush()
                os.fsync(file.fileno())
            if there is not None:
                partial.chmod(there.st_mode & 0o7777)
            partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def check_writable(path: str | Path, *, inputs: Iterable[str | Path | None] = ()) -> None:
    """Raise InputError unless a checkpoint could be written to `path` now; leaves nothing.

    No input may be replaced: they are files, or folders whose files are read.
    """
    target = _writable(path)
    for one in (Path(one) for one in inputs if one is not None):
        read = one.iterdir() if one.is_dir() else [one]
        if target.exists() and any(file.exists() and target.samefile(file) for file in read):
            raise InputError(f"cannot write {path}: {one} is read")
    if target.exists() and not target.is_file():
        return
    partial = _partial(target)
    with _refusing(path):
        partial.touch()
        partial.unlink()


def load_checkpoint(path: str | Path) -> Restored:
    """Rebuild model and Adam from a file of `save_checkpoint`, as data: no pickle is run.

    Raises InputError for a file that is damaged, of another kind, or asks to run code.
    """
    try:
        check_declared(Path(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file makes the unpickler and the zip reader raise nearly anything.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise InputError(f"cannot read {path} as a torch checkpoint: {reason[:200]}") from error
    names = ("epoch", "model_state_dict", "optimizer_state_dict", "loss", "model", "settings")
    if not isinstance(content, dict) or not content.keys() >= set(names):
        raise InputError(f"{path}: expected a checkpoint of torch_ref with {', '.join(names)}")
    if not isinstance(content["model"], str) or content["model"] not in MODELS:
        raise InputError(f"{path}: expected a model out of {', '.join(MODELS)}")
    try:
        return _rebuilt(content)
    # Weights, settings and an optimizer's state of another kind make torch raise nearly anything too.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: weights and settings disagree: {reason[:300]}") from error


def _rebuilt(content: dict[str, Any]) -> Restored:
    weights: dict[str, Tensor] = content["model_state_dict"]
    moments = [one for state in content["optimizer_state_dict"]["state"].values() for one in state.values()]
    for tensor in (*weights.values(), *(one for one in moments if isinstance(one, Tensor))):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError("a tensor claims more than the file holds")
    (dtype,) = {tensor.dtype for tensor in weights.values()}
    if not dtype.is_floating_point:
        raise ValueError(f"weights of {dtype}")
    # Without memory: settings may claim any size, and the weights' own is known to be there.
    with torch.device("meta"):
        model = MODELS[content["model"]](**content["settings"])
    model.load_state_dict(weights, assign=True)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    (group,) = content["optimizer_state_dict"]["param_groups"]
    hyperparameters = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay", "amsgrad")}
    optimizer = torch.optim.Adam(parameters, **hyperparameters)  # which checks them
    if list(group["params"]) != list(range(len(parameters))):  # by which torch says whose moments are whose
        raise ValueError(f"an optimizer of other parameters than 0 to {len(parameters) - 1}")
    for number, state in content["optimizer_state_dict"]["state"].items():
        for name in ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if hyperparameters["amsgrad"] else [])):
            if state[name].shape != parameters[number].shape or not state[name].is_floating_point():
                raise ValueError(f"moments of another shape or kind than the parameter {number}")
        step = float(state["step"])  # a number or a tensor of one, of which Adam takes powers and roots
        if not (step >= 0 and step.is_integer()):
            raise ValueError(f"a number of steps of {step}")
    optimizer.load_state_dict(content["optimizer_state_dict"])
    epoch, loss = content["epoch"], content["loss"]
    if type(epoch) is not int or not isinstance(loss, int | float | None):
        raise ValueError(f"epoch of {type(epoch).__name__}, loss of {type(loss).__name__}")
    return Restored(model, optimizer, epoch, loss)


def _writable(path: str | Path) -> Path:
    # Through a link, the file that it names is replaced, not the link.
    path = Path(path)
    target = Path(os.path.realpath(path)) if path.is_symlink() and (path.is_file() or not path.exists()) else path
    if target.is_dir() or target.is_block_device():
        raise InputError(f"cannot write {path}: it is a folder or a disk")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"cannot write {path}: it is protected")
    if not target.parent.is_dir():
        raise InputError(f"cannot write {path}: no such folder: {target.parent}")
    return target


@contextlib.contextmanager
def _refusing(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name[:40]}.{os.getpid()}.partial")
