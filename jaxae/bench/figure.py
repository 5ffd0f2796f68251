"""A benchmark's figure: bars of a run, curves of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxae.bench.pair.result import PairRow
from jaxae.bench.result import BenchmarkResult, ContenderResult
from jaxae.bench.settings import SWEPT, Sweep
from jaxae.storage.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart without colour: shades and hatches for bars, markers, dashes and shades for curves.
_FACES = {"torch": ("0.75", "///"), "jax": ("0.35", "")}
_LINES = {"torch": ("--", "0.5"), "jax": ("-", "black")}
_MARKERS = "osD^vP*X<>h"


def plot(result: BenchmarkResult, path: Path) -> None:
    """Draw a result, whole or absent.

    Raises:
        InputError: If the file's ending is of no format, or it cannot be written.
    """
    from matplotlib.figure import Figure

    where = result.environment
    sweep = where.settings.sweep
    groups = result.comparisons
    height = 4.6 if sweep else 1.3 + 0.36 * max(map(len, groups.values()))
    figure = Figure(figsize=(6.4 * len(groups), height), layout="constrained")
    figure.suptitle(f"{where.gpu or where.cpu}, {where.threads} CPU threads, {where.settings.dtype}", fontsize=10)
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    for axis, (title, rows) in zip(axes, groups.items(), strict=True):
        if sweep:
            _draw_sweep(axis, rows, sweep)
        else:
            draw_bars(axis, rows)
        axis.set_title(title)
    if sweep:
        # One for all: the same contenders run on each model.
        handles, labels = axes[0].get_legend_handles_labels()
        columns = 4 if len(groups) > 1 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    save_figure(figure, path, dpi=150)


def draw_bars(axis: "Axes", rows: Sequence[ContenderResult] | Sequence[PairRow]) -> None:
    """A bar a contender, with its quartiles; the status of one that has no time."""
    longest = max((row.quartiles_ms[1] for row in rows if row.quartiles_ms), default=1.0)
    for place, row in enumerate(rows):
        if row.step_ms is None or row.quartiles_ms is None:
            axis.text(0.01 * longest, place, row.status, va="center", style="italic")
            continue
        middle, (low, high) = row.step_ms, row.quartiles_ms
        face, hatch = _FACES[row.framework]
        axis.barh(place, middle, color=face, hatch=hatch, edgecolor="black", linewidth=0.6)
        axis.errorbar(middle, place, xerr=[[middle - low], [high - middle]], color="black", capsize=3)
        text = f"{middle:.2f}"
        if row.times_best_torch is not None and row.framework == "jax":
            text += f"  ({row.times_best_torch.median:.1f}x best torch)"
        axis.annotate(text, (high, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row.label for row in rows])
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.4 * longest), xlabel="ms per step (median; whiskers: quartiles)")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_sweep(axis: "Axes", rows: Sequence[ContenderResult], sweep: Sweep) -> None:
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    for marker, name in zip(_MARKERS, dict.fromkeys(row.contender for row in rows), strict=False):
        own = [row for row in rows if row.contender == name]
        done = [row for row in own if row.images_per_s is not None]
        places, speeds = [row.size(sweep) for row in done], [row.images_per_s or 0.0 for row in done]
        style, color = _LINES[own[0].framework]
        axis.plot(places, speeds, marker=marker, markersize=5, linestyle=style, color=color, label=own[0].label)
    sizes = sorted({row.size(sweep) for row in rows})
    axis.set(xlabel=SWEPT[sweep], ylabel="images/s", yscale="log")
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.minorticks_off()
    axis.grid(visible=True, color="0.9")
