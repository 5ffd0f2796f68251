"""The readers: what each is, how its files are altered, and by what it refuses them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from . import archives, headers, pickles, pictures, reads, texts
from .bytewise import ANY, Alteration
from .runs import read_run, read_unsummed_run

Read = Callable[[Path], None]


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        read: Function that reads the file, and asserts that what it read is of the right kind and a finite size.
        alterations: Functions that alter a sound file.
        share: Share of the altered files, relative to the other readers': less where one takes long.
        whole: Whether the file lies in a folder of sound others, which is what is read.
        refusal: Names of the module and of the error that it refuses by.
        opening: What its refusals begin with.
        noise: Pattern of what libraries print of damaged files.
    """

    read: Read
    alterations: tuple[Alteration, ...]
    share: int = 10
    whole: bool = False
    refusal: tuple[str, str] = ("jaxae.errors", "InputError")
    opening: str = "expected "
    noise: str = ""


_ZIP = (archives.alter_record, archives.alter_record)
_ARRAYS = (*ANY, *_ZIP, *(8 * [archives.alter_members(*(20 * [headers.alter_npy]), *ANY)]))
_PICKLED = archives.alter_members(*(30 * [pickles.alter_pickle]), *ANY)
_PACKED = archives.alter_unpacked(*(10 * [headers.alter_idx]), *ANY)
_TENSORS = 8 * (headers.alter_safetensors,)
_THEIRS = ("torch_ref.errors", "InputError")


def _either(random: Random, content: bytes, other: bytes) -> bytes:
    """Alter a file of a run as what it is."""
    kinds = (
        texts.JSON if content[:1] == b"{" else (headers.alter_safetensors,) if b"__metadata__" in content[:80] else ANY
    )
    return random.choice((*kinds, *ANY))(random, content, other)


READERS = {
    "torch": Reader(reads.read_torch, (*ANY, *_ZIP, *(20 * [_PICKLED])), 15),
    "torch-old": Reader(reads.read_torch, (*ANY, *(20 * [pickles.alter_old_container])), 15),
    "pickle": Reader(reads.read_torch, (*ANY, *(20 * [pickles.alter_pickle])), 5),
    "safetensors": Reader(reads.read_safetensors, (*ANY, *_TENSORS), 15),
    "msgpack": Reader(reads.read_msgpack, (*ANY, *(8 * [headers.alter_msgpack])), 15),
    "npz": Reader(reads.read_npz, _ARRAYS, 15),
    "recording": Reader(reads.read_recording, _ARRAYS),
    "npy": Reader(reads.read_npy, (*ANY, *(6 * [headers.alter_npy])), 15),
    "dataset": Reader(reads.read_dataset, _ARRAYS),
    "idx": Reader(reads.read_idx, (*ANY, _PACKED, _PACKED, _PACKED), 15),
    "idx-folder": Reader(reads.read_own_folder, (*ANY, _PACKED, _PACKED), 5, whole=True),
    "csv": Reader(reads.read_own, (*ANY, *texts.TEXT, *texts.TEXT)),
    "pictures": Reader(reads.read_own_folder, (*ANY, *(6 * [pictures.alter_png])), whole=True),
    "cifar": Reader(reads.read_own_folder, ANY, 5, whole=True),
    "cifar-pickled": Reader(reads.read_own_folder, (*ANY, *(4 * [pickles.alter_pickle])), whole=True),
    "mat": Reader(reads.read_own, ANY),
    "parquet": Reader(reads.read_own, ANY),
    "records": Reader(reads.read_own_folder, (_either,), 5, whole=True),
    "picture": Reader(reads.read_picture, (*ANY, *(6 * [pictures.alter_png])), 15),
    "compressed": Reader(reads.read_compressed, (*ANY, *(10 * [headers.alter_compressed])), 5),
    "codec": Reader(reads.read_codec, _ARRAYS, 3, whole=True),
    "config": Reader(reads.read_config, (*ANY, *texts.JSON, *texts.JSON)),
    "metrics": Reader(reads.read_metrics, (*ANY, *texts.TEXT, *texts.TEXT)),
    "run": Reader(read_run, (_either,), 2, whole=True),
    # Orbax's threads tell of each array that they could not read.
    "run-unsummed": Reader(read_unsummed_run, (_either,), 2, whole=True, noise="(?s)Traceback.*"),
    "many": Reader(reads.read_many, (_either,), 3, whole=True),
    "benchmark": Reader(reads.read_benchmark, (*ANY, *texts.JSON, *texts.JSON)),
    "log": Reader(reads.read_log, (*ANY, *texts.TEXT, *texts.TEXT)),
    "card": Reader(reads.read_card, (*ANY, *texts.JSON, *texts.JSON)),
    "torch_ref-checkpoint": Reader(
        reads.read_torch_ref_checkpoint, (*ANY, *_ZIP, *(20 * [_PICKLED])), refusal=_THEIRS, opening=""
    ),
    "torch_ref-idx": Reader(
        reads.read_torch_ref_idx, (*ANY, _PACKED, _PACKED), whole=True, refusal=_THEIRS, opening=""
    ),
    "torch_ref-arrays": Reader(reads.read_torch_ref_arrays, _ARRAYS, refusal=_THEIRS, opening=""),
}
