"""The cache folder: what can be computed again, kept so that a second start is quick."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxae.bounds import expanded
from jaxae.errors import InputError
from jaxae.storage import npz

Arrays = Mapping[str, np.ndarray]

Checked = TypeVar("Checked")

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Name the cache folder: $JAXAE_CACHE, else $XDG_CACHE_HOME/jaxae, else ~/.cache/jaxae.

    Raises:
        OSError: If no folder can be called so, or there is no home.
    """
    own, shared = os.environ.get("JAXAE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        return expanded(own) if own else expanded(shared or "~/.cache") / "jaxae"
    except InputError as error:  # to those who would keep something there, as any folder that they cannot have
        raise OSError(str(error)) from error


def cached(name: str, build: Callable[[], Arrays], check: Callable[[Arrays], Checked]) -> Checked:
    """Compute `check(arrays)` of the arrays cached under `name`, or built and kept there.

    A damaged entry, or one that `check` refuses with an InputError, is logged as a warning and built anew; one that
    cannot be written is logged and left out.
    """
    try:
        path = cache_folder() / "data" / f"{name}.npz"
        if path.is_file():
            return check(npz.read(path))
    except InputError as error:
        _log.warning("building cached data anew: %s", error)
    except OSError:  # told below
        pass
    arrays = build()
    checked = check(arrays)
    try:
        path = cache_folder() / "data" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        npz.write(path, arrays)
    except (OSError, InputError) as error:
        _log.warning("the data set is not cached and will be decoded again: %s", error)
    return checked
