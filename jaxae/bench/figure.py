"""A benchmark's figure: bars of a run, curves of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxae.bench.result import BenchmarkResult, ContenderResult
from jaxae.bench.settings import Sweep
from jaxae.storage.files import whole_or_absent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart without colour: shades and hatches for bars, markers and dashes for curves.
_FACES = {"torch": ("0.75", "///"), "jax": ("0.35", "")}
_DASHES = {"torch": "--", "jax": "-"}
_MARKERS = "osD^vP*X<>h"


def plot(result: BenchmarkResult, path: Path) -> None:
    """Draw a result as a PNG, whole or absent."""
    from matplotlib.figure import Figure

    where = result.environment
    sweep = where.settings.sweep
    groups: dict[tuple, list[ContenderResult]] = {}
    for row in result.rows:
        key = (row.model,) if sweep else (row.model, row.batch_size)
        groups.setdefault(key, []).append(row)
    most = max(len(rows) for rows in groups.values())
    height = 4.6 if sweep else 1.3 + 0.36 * most
    figure = Figure(figsize=(6.4 * len(groups), height), layout="constrained")
    machine = f"{where.gpu or where.cpu}, {where.threads} CPU threads"
    figure.suptitle(f"{machine}, {where.settings.dtype}", fontsize=10)
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    for axis, (key, rows) in zip(axes, groups.items(), strict=True):
        if sweep:
            _draw_sweep(axis, key[0], rows, sweep)
        else:
            _draw_bars(axis, f"{key[0]}, batch {key[1]}", rows)
    if sweep:
        # One for all: the same contenders run on each model.
        handles, labels = axes[0].get_legend_handles_labels()
        columns = 4 if len(groups) > 1 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    with whole_or_absent(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _draw_bars(axis: "Axes", title: str, rows: Sequence[ContenderResult]) -> None:
    longest = max((row.quartiles_ms[1] for row in rows if row.quartiles_ms), default=1.0)
    for place, row in enumerate(rows):
        if row.step_ms is None or row.quartiles_ms is None:
            axis.text(0.01 * longest, place, row.status, va="center", style="italic")
            continue
        low, high = row.quartiles_ms
        face, hatch = _FACES[row.framework]
        middle = row.step_ms
        axis.barh(place, middle, color=face, hatch=hatch, edgecolor="black", linewidth=0.6)
        axis.errorbar(middle, place, xerr=[[middle - low], [high - middle]], color="black", capsize=3)
        text = f"{middle:.2f}"
        if row.times_best_torch is not None and row.framework == "jax":
            text += f"  ({row.times_best_torch.median:.1f}x best torch)"
        axis.annotate(text, (high, place), (6, 0), textcoords="offset points", va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row.label for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(0, 1.4 * longest)
    axis.set_xlabel("ms per step (median; whiskers: quartiles)")
    axis.set_title(title)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_sweep(axis: "Axes", model: str, rows: Sequence[ContenderResult], sweep: Sweep) -> None:
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    curves: dict[str, list[ContenderResult]] = {}
    for row in rows:
        curves.setdefault(row.contender, []).append(row)
    for marker, own in zip(_MARKERS, curves.values(), strict=False):
        done = [row for row in own if row.images_per_s is not None]
        axis.plot(
            [row.size(sweep) for row in done],
            [row.images_per_s or 0.0 for row in done],
            marker=marker,
            markersize=5,
            linestyle=_DASHES[own[0].framework],
            color="0.5" if own[0].framework == "torch" else "black",
            label=own[0].label,
        )
    sizes = sorted({row.size(sweep) for row in rows})
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.minorticks_off()
    axis.set_xlabel("batch size" if sweep == "batch" else "models trained at once")
    axis.set_ylabel("images/s")
    axis.set_title(model)
    axis.grid(visible=True, color="0.9")
