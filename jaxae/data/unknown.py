"""What is said of a data set that is not known: what was looked for, what is supported, and what is closest."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from jaxae.bounds import told

SUPPORTED = (
    "a folder of pictures or of class folders, .npz, .npy, .csv, IDX files, CIFAR's batches, SVHN's .mat, Hugging "
    "Face's parquet or Arrow files, what jaxae convert wrote"
)
_MOST_NEIGHBOURS = 1000  # files beside a missing one that are compared with it


def unknown(name: str | Path, names: Iterable[str]) -> str:
    """The message about a name that is neither a path nor one of these."""
    text = str(name)
    close = difflib.get_close_matches(text.lower(), sorted({*names}), n=1) or _close_path(text)
    hint = f"did you mean {told(close[0])}?" if close else "'digits' needs no download."
    return (
        f"expected a known data set, got {told(text)}: {hint} No such file or folder, nor a data set of that name, is "
        f"there; paths that load: {SUPPORTED}; hf:OWNER/NAME is of Hugging Face's hub"
    )


def is_there(path: Path) -> bool:
    """Whether there is something of this path, as far as the folders above it can be entered."""
    try:
        return path.exists()
    except OSError:
        return False


def _close_path(text: str) -> list[str]:
    """The closest name beside a path that is not there, as it would have been written."""
    path = Path(text)
    try:
        with os.scandir(path.parent) as entries:
            beside = [entry.name for entry, _ in zip(entries, range(_MOST_NEIGHBOURS), strict=False)]
    except (OSError, ValueError):
        return []
    return [str(path.with_name(one)) for one in difflib.get_close_matches(path.name, sorted(beside), n=1)]
