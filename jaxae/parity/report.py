"""The report: the ladder as a table, as JSON, and its trajectories as a figure."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxae.parity.ladder import LadderResult
from jaxae.parity.rung_result import RungResult
from jaxae.parity.trajectory import Curve
from jaxae.storage.figures import save_figure
from jaxae.storage.files import write_text
from jaxae.storage.tables import format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = ("model", "rung", "dtype", "max abs", "max rel", "tolerance", "from", "verdict", "largest at; notes")


def table(rows: Sequence[RungResult], *, style: Literal["plain", "markdown"] = "plain") -> str:
    """Results as text, a line each, or as a Markdown table."""
    return format_table(_TITLES, [_cells(row) for row in rows], style=style)


def verdict(rows: Sequence[RungResult]) -> str:
    """One sentence: how many rungs hold, and which do not."""
    failed = [f"{row.model}, {row.rung} ({row.dtype})" for row in rows if not row.passed]
    if not failed:
        return f"{len(rows)} comparisons, all within their tolerance"
    return f"{len(failed)} of {len(rows)} comparisons beyond their tolerance, the first: {failed[0]}"


def write_json(result: LadderResult, path: Path) -> None:
    """Write rows, and the trajectories' curves, as JSON, whole or absent."""
    document = {
        "rows": [row.to_json() for row in result.rows],
        "curves": [{**vars(curve), "quantities": _rounded(curve)} for curve in result.curves],
    }
    write_text(path, json.dumps(document, indent=1, allow_nan=False))


def write_plot(curves: Sequence[Curve], path: Path) -> None:
    """Draw the trajectories' relative errors against the step, one panel a network.

    The file is whole or absent.

    Raises:
        InputError: If the file's ending is of no format, or it cannot be written.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.model for curve in curves))
    lines = -(-len(names) // 2)
    figure = Figure(figsize=(11, 3.4 * lines + 0.6), layout="constrained")
    figure.suptitle("Largest error of a training trajectory, relative to a tensor's largest magnitude")
    panels = figure.subplots(lines, 2, squeeze=False, sharey=True).ravel()
    for panel, name in zip(panels, names, strict=False):
        for curve in (curve for curve in curves if curve.model == name):
            _draw(panel, curve)
        panel.set(title=name, xlabel="training step", ylabel="relative error", yscale="log")
        panel.grid(alpha=0.3)
        panel.axhline(1e-9, color="black", linewidth=0.6)
        panel.annotate("tolerance in float64", (1, 1e-9), fontsize=7, va="bottom")
    for panel in panels[len(names) :]:
        panel.axis("off")
    entries = {curve.get_label(): curve for panel in panels for curve in panel.get_legend_handles_labels()[0]}
    figure.legend(handles=list(entries.values()), loc="outside lower center", ncols=2, fontsize=8)
    save_figure(figure, path, dpi=130)


# Line style and shade, told apart without colour, by what drifts and the dtype.
_STYLES = {
    ("jax", "float64"): ("JAX from torch, float64", "-", "black"),
    ("torch, one bit off", "float64"): ("torch from torch with one bit off, float64", "--", "black"),
    ("jax", "float32"): ("JAX float32 from torch float64", "-", "0.6"),
    ("torch", "float32"): ("torch float32 from torch float64", (0, (1, 1.5)), "0.3"),
}


def _draw(panel: "Axes", curve: Curve) -> None:
    name, style, shade = _STYLES[curve.who, curve.dtype]
    for quantity, width in (("parameters", 1.4), ("cost", 0.7)):
        values = curve.quantities[quantity]
        # An error of exactly zero has no place on a logarithmic axis.
        shown = np.where(values > 0, values, np.nan)
        steps, label = range(1, len(values) + 1), f"{quantity}: {name}"
        panel.plot(steps, shown, linestyle=style, color=shade, linewidth=width, label=label)


def _cells(row: RungResult) -> list[str]:
    gap = row.gap
    return [
        row.model,
        row.rung,
        row.dtype,
        f"{gap.max_abs:.1e}",
        f"{gap.max_rel:.1e}",
        f"{row.tolerance:.1e}",
        row.origin,
        "pass" if row.passed else "FAIL",
        "; ".join(part for part in (gap.where, row.note) if part),
    ]


def _rounded(curve: Curve) -> dict[str, list[float | None]]:
    return {
        name: [float(f"{value:.3e}") if value < float("inf") else None for value in values]
        for name, values in curve.quantities.items()
    }
