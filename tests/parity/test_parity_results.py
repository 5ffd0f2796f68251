"""What a rung says: gaps, how float32 is judged, and files of results that are whole or absent."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

pytest.importorskip("torch")  # the curves beside the results are of both frameworks

from jaxae.errors import InputError
from jaxae.parity import report, trajectory, workers
from jaxae.parity.gap import Gap, measure
from jaxae.parity.ladder import LadderResult
from jaxae.parity.rung_result import RungResult, judge
from jaxae.parity.settings import LadderSettings
from jaxae.parity.tolerance import Bound

STEPS = {str(quantity): np.ones(2) for quantity in trajectory.QUANTITIES}
CURVES = [trajectory.Curve("VAE", "float64", "jax", "torch", STEPS)]


def test_a_figure_of_no_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected a figure's name that ends in \.png, .*, got .*a\.jaxae"):
        report.write_plot(CURVES, tmp_path / "a.jaxae")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [report.write_json, report.write_plot])
def test_a_failed_write_leaves_nothing(write, tmp_path, monkeypatch):
    """A disk that fills while a file is written leaves neither it nor a part of it."""
    content = LadderResult(curves=CURVES) if write is report.write_json else CURVES

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space"):
        write(content, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_float32_is_judged_by_torchs_own_error():
    """Ten times torch's own, or the floor; the tensor nearest to its tolerance is the one that is told."""
    exact = {"a": np.ones(2), "b": np.ones(2)}
    theirs = {"a": exact["a"] + 1e-3, "b": exact["b"] + 1e-9}
    bound = Bound(1e-12, 1e-5)

    def row(dtype: str, a: float, b: float) -> RungResult:
        return judge("VAE", "cost", dtype, bound, {"a": exact["a"] + a, "b": exact["b"] + b}, theirs, exact)

    wide = row("float32", 5e-3, 1e-7)
    assert wide.passed
    assert (wide.gap.where, wide.origin) == ("a", "10 x torch's own 1.0e-03")
    assert wide.tolerance == pytest.approx(1e-2)
    assert not row("float32", 2e-2, 0).passed
    # Torch's large error in one tensor excuses none of another.
    narrow = row("float32", 0, 5e-3)
    assert not narrow.passed
    assert (narrow.gap.where, narrow.tolerance, narrow.origin) == ("b", 1e-5, "floor; torch's own 1.0e-09")
    assert not row("float32", np.nan, 0).passed
    assert not row("float64", 1e-3, 1e-6).passed
    assert row("float64", 1e-3, 1e-9).origin == "constant"
    assert not judge("VAE", "cost", "float32", bound, {"a": exact["a"]}, theirs, exact).passed


def test_measure_compares_names_and_shapes_first():
    x = np.ones((3, 1))
    assert measure({"x": x}, {"y": x}).max_rel == np.inf
    assert "shape" in measure({"x": x.T}, {"x": x}).where
    assert measure({"x": x * np.nan}, {"x": x}).max_rel == np.inf
    assert measure({"x": x}, {"x": 0 * x}) == Gap(1.0, np.inf, "x")
    assert measure({"x": x + 1, "y": x}, {"x": x, "y": x}) == Gap(1.0, 1.0, "x")
    assert measure({"x": x + 1}, {"x": x}, {"x": 4 * x}) == Gap(1.0, 0.25, "x")


def test_a_worker_that_is_killed_is_told(monkeypatch):
    class Broken(ThreadPoolExecutor):
        def __init__(self, count: int, **_: object):
            super().__init__(count)

        def submit(self, *_: object) -> Future:  # pyright: ignore[reportIncompatibleMethodOverride]
            future: Future = Future()
            future.set_exception(BrokenProcessPool())
            return future

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Broken)
    with pytest.raises(InputError, match="expected workers that live, got one that was killed"):
        next(workers.run_in_workers(LadderSettings(rungs=("losses",)), 1))
