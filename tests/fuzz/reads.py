"""What reading is, for each kind of file: it reads, and asserts that what was read is of the right kind and size."""

import contextlib
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .samples import BEFORE, EPOCHS

_LARGEST = 1 << 28  # bytes that small files may be read to


def _check_arrays(arrays: dict[str, Any]) -> None:
    for name, array in arrays.items():
        assert isinstance(name, str)
        assert isinstance(array, np.ndarray)
        assert not array.dtype.hasobject
        assert array.nbytes < _LARGEST
        array.tobytes()  # the memory is its own


def read_npz(path: Path) -> None:
    """Every array of an archive."""
    from jaxae.storage import npz

    _check_arrays(npz.read(path))


def read_recording(path: Path) -> None:
    """What a network did, which is the same as itself, or not to be told."""
    from jaxae.parity.judge import judge
    from jaxae.parity.recording_file import read_recording

    found = read_recording(path)
    _check_arrays(found.to_arrays())
    assert judge(found, found).verdict in ("equal", "differs", "cannot tell")


def read_npy(path: Path) -> None:
    """One array."""
    from jaxae.storage import npz

    _check_arrays({"": npz.read_npy(path)})


def read_safetensors(path: Path) -> None:
    """Arrays and metadata, then as weights."""
    from jaxae.storage import safetensors

    held = safetensors.read(path)
    _check_arrays(held.arrays)
    assert all(isinstance(text, str) for pair in held.metadata.items() for text in pair)
    _ported(path)


def read_msgpack(path: Path) -> None:
    """A tree, as weights."""
    _ported(path)


def read_torch(path: Path) -> None:
    """An optimizer's state, if there is one, then weights."""
    from jaxae.port.optimizer.convert import optimizer_from_torch

    with contextlib.suppress(_refusal()):
        optimizer_from_torch(_module(), path)
    _ported(path)


def _ported(path: Path) -> None:
    """Read weights, port them to a small network, and look for one of the project's models in them."""
    from jaxae.port import load
    from jaxae.port.arrays import from_tensor, why_refused
    from jaxae.port.project_models import recognise
    from jaxae.port.source import read_source

    source = read_source(path)
    held = {name: from_tensor(name, one) for name, one in source.tensors.items() if why_refused(name, one) is None}
    _check_arrays(held)
    assert all(isinstance(name, str) for name in source.beside)
    # What a port lacks is told in full, which may take more than a line.
    with contextlib.suppress(_refusal()):
        load(_module(), source)
    if "linear_1.bias" in held:
        recognise(source)


@cache
def _refusal() -> type[Exception]:
    from jaxae.errors import InputError

    return InputError


@cache
def _module() -> Any:
    from flax import nnx

    return nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(1)))


def read_idx(path: Path) -> None:
    """Images or labels."""
    from jaxae.data import idx

    array = idx.read(path, 3 if "images" in path.name else 1)
    _check_arrays({"": array})
    assert array.dtype == np.uint8


def _check_dataset(data: Any) -> None:
    for split in (data.train, data.test):
        assert split.images.shape == (len(split.labels), 28, 28, 1)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert 0 <= split.labels.min() <= split.labels.max() < data.num_classes


def read_dataset(path: Path) -> None:
    """A data set of arrays."""
    from jaxae import load

    _check_dataset(load(str(path)))


def read_own(path: Path) -> None:
    """A data set of one's own, of a file."""
    from jaxae.config import Reading
    from jaxae.data.formats.look import look
    from jaxae.data.own import finished

    found = finished(look(path).read(Reading(), None), Reading(), path.name)
    assert found.num_classes is not None
    for split in (found.train, found.test):
        assert split is not None
        _check_arrays({"images": split.images, "labels": split.labels})
        assert split.images.shape[0] == len(split.labels) > 0
        assert 0 <= split.labels.min() <= split.labels.max() < found.num_classes


def read_own_folder(path: Path) -> None:
    """A data set of one's own, of the folder that a file is in."""
    read_own(path.parent)


def read_picture(path: Path) -> None:
    """A grey picture."""
    from jaxae.usecases.picture import read_pixels

    pixels = read_pixels(path)
    assert pixels.dtype == np.uint8
    assert 0 < pixels.size < _LARGEST


def read_compressed(path: Path) -> None:
    """A compressed image, by a codec that is kept."""
    from jaxae.usecases.compress.codec import load_codec

    pixels = cache(load_codec)(BEFORE).decompress(path.read_bytes(), path.name)
    assert pixels.dtype == np.uint8
    assert 0 < pixels.size < _LARGEST


def read_codec(path: Path) -> None:
    """The tables of a codec, which then compresses and decompresses."""
    from jaxae.usecases.compress.codec import load_codec

    codec = load_codec(path.parent)
    images = np.load(BEFORE / "six.npy")
    again = codec.decompress(codec.compress(images, 8.0))
    assert (again.dtype, again.shape) == (images.dtype, images.shape)


def read_config(path: Path) -> None:
    """A run's settings."""
    from jaxae.config import RunConfig, read_config

    config = read_config(path)
    assert RunConfig.from_json(config.to_json()) == config


def read_metrics(path: Path) -> None:
    """The lines of metrics that a checkpoint counts."""
    from jaxae.training.run_folder import RunFolder

    lines = RunFolder(path.parent).truncate_metrics(EPOCHS)
    assert len(lines) == EPOCHS
    assert all(math.isfinite(value) for line in lines for value in line.values())


def read_many(path: Path) -> None:
    """The models of a run of several seeds."""
    from jaxae.training.many import load_models

    assert load_models(path.parent)


def read_benchmark(path: Path) -> None:
    """A benchmark's result."""
    from jaxae.bench.result import BenchmarkResult, read

    result = read(path)
    assert isinstance(result, BenchmarkResult)
    result.to_json()


def read_log(path: Path) -> None:
    """A printed log."""
    from jaxae.parity.printed_log import PrintedLog

    log = PrintedLog(log=path).read()
    assert log.costs
    assert all(math.isfinite(cost) for _, _, cost in log.costs)


def read_card(path: Path) -> None:
    """A model's card."""
    from jaxae.pretrained.card import read_card

    card = read_card(path.parent)
    assert all(math.isfinite(cost) for cost in (card.test_cost, card.test_reconstruction, card.test_kl))


def read_torch_ref_checkpoint(path: Path) -> None:
    """A checkpoint of torch_ref, whose optimizer then takes a step."""
    import torch

    import torch_ref

    model, optimizer, _, _ = torch_ref.load_checkpoint(path)
    for parameter in model.parameters():
        assert parameter.is_floating_point()
        assert parameter.numel() < _LARGEST
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def read_torch_ref_idx(path: Path) -> None:
    """A folder of IDX files."""
    import torch_ref

    _check_splits(torch_ref.load_idx(path.parent))


def read_torch_ref_arrays(path: Path) -> None:
    """Arrays that jaxae saved."""
    import torch_ref

    _check_splits(torch_ref.load_arrays(path))


def _check_splits(data: Any) -> None:
    for split in data:
        assert split.images.shape == (len(split.labels), 1, 28, 28)
        assert str(split.images.dtype) == "torch.uint8"
