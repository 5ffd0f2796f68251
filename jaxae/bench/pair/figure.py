"""Figures of a pair: times per step, and time until a step with what compiling took."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxae.bench.figure import draw_bars
from jaxae.bench.pair.contenders import MEASURE_NAMES
from jaxae.bench.pair.result import PairResult, PairRow
from jaxae.storage.figures import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*X<>hd"
_MOST_STEPS = 1e6


def pair_figure(result: PairResult) -> "Figure":
    """Bars of each kind of step; last, how long so many training steps take from a cold start."""
    from matplotlib.figure import Figure

    groups = result.comparisons
    training = [row for row in groups.get(MEASURE_NAMES["step"], []) if row.step_ms is not None]
    height = 0.9 + 0.36 * max(map(len, groups.values()), default=1)
    figure = Figure(figsize=(9, height * len(groups) + (4.2 if training else 0)), layout="constrained")
    heights = [height] * len(groups) + ([4.2] if training else [])
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, rows) in zip(axes, groups.items(), strict=False):
        draw_bars(axis, rows)
        axis.set_title(title)
    if training:
        _draw_cold_start(axes[-1], training)
    return figure


def plot_pair(result: PairResult, path: Path) -> None:
    """Draw the figures into one file, whole or absent.

    Raises:
        InputError: If the file's ending is of no format, or it cannot be written.
    """
    save_figure(pair_figure(result), path, dpi=150)


def _draw_cold_start(axis: "Axes", rows: Sequence[PairRow]) -> None:
    steps = np.logspace(0, np.log10(_MOST_STEPS), 13)
    for marker, row in zip(_MARKERS, rows, strict=False):
        seconds = (row.compile_s or 0.0) + steps * (row.step_ms or 0.0) / 1e3
        line, color = ("-", "black") if row.framework == "jax" else ("--", "0.5")
        axis.plot(steps, seconds, line, marker=marker, markersize=4, color=color, label=row.label, linewidth=0.9)
    axis.set(xscale="log", yscale="log", xlabel="training steps", ylabel="seconds, compilation included")
    axis.set_title("from a cold start")
    axis.grid(visible=True, color="0.9")
    axis.legend(fontsize=7, frameon=False)
