"""The folder of a page: new, empty, or an earlier page that a new one replaces as a whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from jaxae.errors import InputError
from jaxae.storage.files import check_new_folder, refuse_unwritable, whole_or_absent_folder

FILES = ("index.html", "page.css", "network.js", "page.js", "drawing.js")
MODEL = "model.js"
# What model.js begins with: it tells a page from a folder of somebody else's files of the same names.
BEGINNING = "window.JAXAE = "


def check_page_folder(path: Path) -> None:
    """Refuse a folder that holds anything but an earlier page, or that could not be written.

    Raises:
        InputError: If there is a file or a link of that name, a folder with other files, or nothing can be written.
    """
    if path.is_symlink() or not path.is_dir():
        return check_new_folder(path)
    with refuse_unwritable(path, "a folder"):
        names = {entry.name for entry in path.iterdir()}
        ours = not names or (names <= {*FILES, MODEL} and _begins_as_ours(path / MODEL))
    if not ours:
        raise InputError(f"expected a new or empty folder, or an earlier page to replace, got {path} with other files")
    if path.resolve() == Path.cwd():  # a folder that is renamed away is lost to the shell that stands in it
        raise InputError(f"expected another folder than the one this is run in, got {path}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"expected a folder that can be replaced, got {path}: {path.parent} cannot be written to")


@contextmanager
def whole_or_absent_page(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; when the block succeeds it is at `path`, else what was there before still is.

    Raises:
        InputError: If `check_page_folder` refuses the path, or it cannot be written.
    """
    check_page_folder(path)
    if not path.exists():
        with whole_or_absent_folder(path) as temporary:
            yield temporary
        return
    beside = TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:40]}.")
    with refuse_unwritable(path, "a folder"), beside as outer:
        fresh, former = Path(outer) / "fresh", Path(outer) / "former"
        fresh.mkdir()
        yield fresh
        path.rename(former)
        try:
            fresh.rename(path)
        except BaseException:
            former.rename(path)
            raise


def _begins_as_ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING.encode()
