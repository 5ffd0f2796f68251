"""The cache folder: what can be computed again, kept so that a second start is quick."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxae.errors import InputError
from jaxae.storage import npz

Arrays = Mapping[str, np.ndarray]

Checked = TypeVar("Checked")

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Name the cache folder: $JAXAE_CACHE, else $XDG_CACHE_HOME/jaxae, else ~/.cache/jaxae."""
    if own := os.environ.get("JAXAE_CACHE"):
        return Path(own).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "jaxae"
    return Path("~/.cache/jaxae").expanduser()


def cached(name: str, build: Callable[[], Arrays], check: Callable[[Arrays], Checked]) -> Checked:
    """Compute `check(arrays)` of the arrays cached under `name`, or built and kept there.

    A damaged entry, or one that `check` refuses with an InputError, is logged as a warning and built anew; one that
    cannot be written is logged and left out.
    """
    path = cache_folder() / "data" / f"{name}.npz"
    if path.is_file():
        try:
            return check(npz.read(path))
        except InputError as error:
            _log.warning("building cached data anew: %s", error)
    arrays = build()
    checked = check(arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        npz.write(path, arrays)
    except OSError as error:
        _log.warning("the data set is not cached and will be decoded again: %s", error)
    return checked
