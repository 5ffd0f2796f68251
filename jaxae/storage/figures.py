"""Figures on disk: whole or absent, in the format that the file's name ends in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxae.errors import InputError
from jaxae.storage.files import whole_or_absent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What Matplotlib writes without further programs.
_FORMATS = ("png", "pdf", "svg", "svgz", "eps", "ps", "jpg", "jpeg", "tif", "tiff", "webp")


def figure_format(path: Path) -> str:
    """The format of a figure's file: that of its ending; without one, as a device has none, PNG.

    Raises:
        InputError: If the ending is of no format.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending and ending not in _FORMATS:
        raise InputError(f"expected a figure's name that ends in .{', .'.join(_FORMATS)}, got {path}")
    return ending or "png"


def save_figure(figure: "Figure", path: Path, *, dpi: float | None = None) -> None:
    """Write a figure, whole or absent.

    Args:
        figure: The figure.
        path: File to write.
        dpi: Dots per inch; by default the figure's own.

    Raises:
        InputError: If the file's ending is of no format, or it cannot be written.
    """
    ending = figure_format(path)
    # The quickest compression: the usual one takes longer than the drawing, and saves little.
    more: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if ending == "png" else {}
    with whole_or_absent(path) as temporary:
        figure.savefig(temporary, format=ending, dpi="figure" if dpi is None else dpi, **more)
