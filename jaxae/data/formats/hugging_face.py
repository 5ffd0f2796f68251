"""Data sets of Hugging Face: parquet files as the hub has them, Arrow files as `save_to_disk` leaves them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxae.config import Reading
from jaxae.data.formats.arrays import TESTS, TRAININGS, VALIDATIONS, found_of, split_of
from jaxae.data.formats.picture_folder import Pictures
from jaxae.data.reading import Found, Part, number_labels
from jaxae.errors import InputError, brief
from jaxae.storage.extra import extra
from jaxae.storage.files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa

HUB = "hf:"
SUFFIXES = (".parquet", ".arrow")
_LABELS = ("label", "labels", "fine_label", "class", "target", "digit", "character")
_WORDS = {*TESTS, *VALIDATIONS, *TRAININGS, "data", "of", "default", "parquet", "arrow"}
_ROWS = 256  # that are in memory at once
# What a file may unpack to: a gigabyte, or a hundred times its size.
_SMALL, _LARGEST_RATIO = 1 << 30, 100


def downloaded(name: str) -> Path:
    """The folder of a data set of the hub, "hf:OWNER/NAME", its parquet files downloaded once by huggingface_hub.

    Raises:
        InputError: If huggingface_hub is not installed, or the data set cannot be had.
    """
    hub = extra("huggingface_hub", "huggingface_hub", "hf")
    repository = name.removeprefix(HUB)
    # Data sets of other formats have been converted by the hub, in a branch of its own.
    for revision in (None, "refs/convert/parquet"):
        try:
            folder = hub.snapshot_download(
                repository, repo_type="dataset", revision=revision, allow_patterns=["*.parquet", "**/*.parquet"]
            )
        except Exception as error:  # of the net, of names, of rights
            raise InputError(f"expected the data set {repository} of the hub, got {brief(error, 200)}") from error
        if any(Path(folder).rglob("*.parquet")):
            return Path(folder)
    raise InputError(f"expected parquet files in {repository} of the hub, got none")


def read_tables(folder: Path, files: Sequence[Path], reading: Reading, scratch: Path | None = None) -> Found:
    """A data set of parquet or Arrow files; names and folders say which split each is.

    With a scratch folder, images are kept there rather than in memory.

    Raises:
        InputError: If pyarrow is not installed, a file cannot be read or holds no images and labels, or there are
            several data sets.
    """
    splits = _splits(folder, files)
    rows: dict[str, list[Any]] = {}
    names: tuple[str, ...] = ()
    pictures: Pictures | None = None
    for split, paths in splits.items():
        for path in paths:
            try:
                for table in _tables(path):
                    columns = _columns(table.schema, path)
                    names = names or _class_names(table.schema, columns[1])
                    pictures = pictures or Pictures(reading, sum(_count(one) for one in files), scratch)
                    _add(table, columns, pictures, rows.setdefault(split, []), split, path)
            except InputError:
                raise
            except Exception as error:  # Arrow's, of many kinds
                raise InputError(
                    f"expected {path.suffix[1:]} that can be read, got {path}: {brief(error, 200)}"
                ) from error
    if pictures is None:
        raise InputError(f"expected rows of images in {folder}, got none")
    images = pictures.stacked()
    labels, own = number_labels({split: np.array(rows[split]) for split in images}, str(folder))
    parts = {split: Part(images[split], labels[split]) for split in images}
    return found_of(parts, num_classes=len(names) or None, class_names=names or own, notes=pictures.notes())


def _splits(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    sets: dict[str, None] = {}
    for path in sorted(files):
        relative = str(path.relative_to(folder)) if path != folder else path.name
        words = [word for word in re.split(r"[^a-z0-9]+", relative.lower()) if word and not word.isdigit()]
        splits.setdefault(split_of(relative) or "train", []).append(path)
        sets["/".join(word for word in words if word not in _WORDS)] = None
    if len(sets) > 1:
        told = brief(", ".join(map(repr, sets)), 120)
        raise InputError(f"expected the files of one data set in {folder}, got those of {told}: name one's folder")
    if len(splits) == 1:
        return {"train": next(iter(splits.values()))}
    if "train" not in splits:
        raise InputError(f"expected files of a train split in {folder}, got those of {', '.join(splits)} alone")
    return splits


def _tables(path: Path) -> "Iterator[pa.RecordBatch]":
    """Rows of a file, some at a time."""
    arrow = extra("pyarrow", "pyarrow", "hf")
    with open_regular(path) as file:
        if path.suffix == ".arrow":
            with extra("pyarrow.ipc", "pyarrow", "hf").open_stream(arrow.PythonFile(file)) as stream:
                for batch in stream:
                    batch.validate(full=True)
                    yield from (batch.slice(at, _ROWS) for at in range(0, batch.num_rows, _ROWS))
            return
        parquet = extra("pyarrow.parquet", "pyarrow", "hf").ParquetFile(file)
        meta = parquet.metadata
        size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
        if size > max(_SMALL, _LARGEST_RATIO * path.stat().st_size):
            raise InputError(f"expected parquet that unpacks to no more than its size allows, got {path}")
        for batch in parquet.iter_batches(batch_size=_ROWS, columns=list(_columns(parquet.schema_arrow, path))):
            batch.validate(full=True)
            yield batch


def _count(path: Path) -> int:
    if path.suffix == ".arrow":
        return 0
    return extra("pyarrow.parquet", "pyarrow", "hf").read_metadata(path).num_rows


def _columns(schema: "pa.Schema", path: Path) -> tuple[str, str]:
    """Names of the columns of images and of labels."""
    arrow = extra("pyarrow", "pyarrow", "hf")
    images = [field.name for field in schema if _holds_bytes(arrow, field.type)]
    labels = [name for name in _LABELS if name in schema.names]
    if len(images) != 1 or not labels:
        told = brief(", ".join(f"{field.name} of {field.type}" for field in schema), 150)
        raise InputError(f"expected a column of images and one called {', '.join(_LABELS)} in {path}, got {told}")
    return images[0], labels[0]


def _holds_bytes(arrow: Any, kind: "pa.DataType") -> bool:
    if arrow.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(arrow, field.type) for field in kind)
    return arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind)


def _add(
    table: "pa.RecordBatch", columns: tuple[str, str], pictures: Pictures, labels: list[Any], split: str, path: Path
) -> None:
    images, given = (table.column(name).to_pylist() for name in columns)
    for row, (image, label) in enumerate(zip(images, given, strict=True)):
        content = image.get("bytes") if isinstance(image, Mapping) else image
        if not isinstance(content, bytes) or not isinstance(label, int | str):
            raise InputError(f"expected the bytes of a picture and a label in each row of {path}, got others")
        if isinstance(label, int) and not 0 <= label < 1 << 31:
            raise InputError(f"expected labels from 0 on in {path}, got {label}")
        if pictures.add(split, content, f"picture {len(labels)} of {split} ({path.name}, row {row})"):
            labels.append(label)


def _class_names(schema: "pa.Schema", label: str) -> tuple[str, ...]:
    """Names of the classes that Hugging Face's own note in a schema has."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[label]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
