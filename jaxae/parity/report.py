"""The report: the ladder as a table, as JSON, and its trajectories as a figure."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxae.errors import InputError
from jaxae.parity.row import Row

if TYPE_CHECKING:
    from jaxae.parity.ladder import Report
    from jaxae.parity.trajectory import Curve

_TITLES = ("model", "rung", "dtype", "max abs", "max rel", "tolerance", "", "largest at; notes")


def table(rows: list[Row]) -> str:
    """Rows as text, a line each, columns aligned."""
    lines = [_TITLES, *(_cells(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(_TITLES))]
    return "\n".join(_line(cells, widths) for cells in lines)


def markdown(rows: list[Row]) -> str:
    """The same as a Markdown table."""
    titles = [title or "verdict" for title in _TITLES]
    lines = [titles, ["---"] * len(titles), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def verdict(rows: list[Row]) -> str:
    """One sentence: how many rungs hold, and which do not."""
    failed = [row for row in rows if not row.passed]
    if not failed:
        return f"{len(rows)} comparisons, all within their tolerance"
    return f"{len(failed)} of {len(rows)} comparisons beyond their tolerance, the first: " + (
        f"{failed[0].model}, {failed[0].rung} ({failed[0].dtype})"
    )


def write_json(report: "Report", path: Path) -> None:
    """Write rows, and the trajectories' curves, as JSON.

    Raises:
        InputError: If the file cannot be written.
    """
    document = {
        "rows": [row.to_json() for row in report.rows],
        "curves": [_curve_to_json(curve) for curve in report.curves],
    }
    _write(path, json.dumps(document, indent=1, allow_nan=False).encode())


def write_plot(curves: list["Curve"], path: Path) -> None:
    """Draw the trajectories' relative errors against the step, one panel a network.

    Raises:
        InputError: If the file cannot be written, or its suffix is no image format.
    """
    import io

    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.model for curve in curves))
    figure = Figure(figsize=(11, 3.4 * -(-len(names) // 2) + 0.6), layout="constrained")
    figure.suptitle(
        "Largest error of a training trajectory, relative to a tensor's largest magnitude"
    )
    panels = figure.subplots(-(-len(names) // 2), 2, squeeze=False, sharey=True).ravel()
    for panel, name in zip(panels, names, strict=False):
        for curve in curves:
            if curve.model == name:
                _draw(panel, curve)
        panel.set(title=name, xlabel="training step", ylabel="relative error", yscale="log")
        panel.grid(alpha=0.3)
        panel.axhline(1e-9, color="black", linewidth=0.6)
        panel.annotate("tolerance in float64", (1, 1e-9), fontsize=7, va="bottom")
    for panel in panels[len(names) :]:
        panel.axis("off")
    entries: dict[str, Any] = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=2, fontsize=8)
    content = io.BytesIO()
    try:
        figure.savefig(content, format=path.suffix.removeprefix(".") or "png", dpi=130)
    except ValueError as error:
        raise InputError(f"expected a figure format, got {path.suffix!r}: {error}") from error
    _write(path, content.getvalue())


# Who, in which dtype: line style, shade and width, told apart without colour.
_STYLES = {
    ("jax", "float64"): ("JAX from torch, float64", "-", "black"),
    ("torch, one bit off", "float64"): (
        "torch from torch with one bit off, float64",
        "--",
        "black",
    ),
    ("jax", "float32"): ("JAX float32 from torch float64", "-", "0.6"),
    ("torch", "float32"): ("torch float32 from torch float64", (0, (1, 1.5)), "0.3"),
}


def _draw(panel: Any, curve: "Curve") -> None:
    who, style, shade = _STYLES[curve.who, curve.dtype]
    for quantity, width in (("parameters", 1.4), ("cost", 0.7)):
        values = curve.quantities[quantity]
        steps = range(1, len(values) + 1)
        # An error of exactly zero has no place on a logarithmic axis.
        shown = [value if value > 0 else float("nan") for value in values]
        label = f"{quantity}: {who}"
        panel.plot(steps, shown, linestyle=style, color=shade, linewidth=width, label=label)


def _cells(row: Row) -> list[str]:
    gap = row.gap
    note = "; ".join(part for part in (gap.where, row.note) if part)
    return [
        row.model,
        row.rung,
        row.dtype,
        f"{gap.max_abs:.1e}",
        f"{gap.max_rel:.1e}",
        f"{row.tolerance:.1e}",
        "pass" if row.passed else "FAIL",
        note,
    ]


def _line(cells: Any, widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _curve_to_json(curve: "Curve") -> dict[str, Any]:
    return {
        "model": curve.model,
        "dtype": curve.dtype,
        "who": curve.who,
        "against": curve.against,
        "quantities": {
            name: [float(f"{value:.3e}") if value < float("inf") else None for value in values]
            for name, values in curve.quantities.items()
        },
    }


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
