"""The benchmark: every case of its settings, and the result of them all."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jaxae.bench import environment
from jaxae.bench.case import GATE_STEPS, Case
from jaxae.bench.contenders import EAGER, find
from jaxae.bench.flops import step_flops
from jaxae.bench.problem import PRESETS
from jaxae.bench.result import BenchmarkResult, ContenderResult, Environment, Gate, LeftOut
from jaxae.bench.settings import BenchmarkSettings
from jaxae.bounds import check_fits
from jaxae.errors import InputError
from jaxae.storage.files import check_new_folder

# Pixels, label, index and 50 floats of noise; parameters and two moments of the smaller network, in float32.
_EXAMPLE_BYTES, _MODEL_BYTES = 28 * 28 + 4 * 52, 3 * 4 * 50_000


def run(settings: BenchmarkSettings, *, log: Callable[[str], None] = lambda line: None) -> BenchmarkResult:
    """Measure; of a run that is interrupted the result holds the comparisons that had ended.

    `log` takes lines on progress.

    Raises:
        InputError: If a device, a package for every contender, or data are not there.
        KeyboardInterrupt: If interrupted before the first comparison had ended.
    """
    if settings.trace is not None:
        check_new_folder(settings.trace)
    check_fits("examples", settings.examples * _EXAMPLE_BYTES)
    comparisons = list(settings.compared())
    cores = [environment.usable_cores(one.threads) for one in comparisons]
    models = max(one.models for one in comparisons)
    check_fits(f"{models} models", models * _MODEL_BYTES)
    before = environment.load()
    # torch serves as the reference even where it does not compete.
    variables = environment.variables(settings.device, deterministic=settings.deterministic)
    there, missing = environment.probe(settings.device, ["torch", "jax"], variables)
    wanted = settings.chosen
    left_out = [LeftOut(c.name, missing[c.framework]) for c in wanted if c.framework in missing]
    competing = [contender for contender in wanted if contender.framework in there]
    if not competing:
        reasons = "; ".join(f"{framework}: {reason}" for framework, reason in missing.items())
        raise InputError(f"expected a framework that can train here, got none: {reasons}")
    reference = find(EAGER) if "torch" in there else competing[0]
    rows: list[ContenderResult] = []
    peaks: dict[str, float] = {}
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="jaxae-bench-") as folder:
        try:
            for compared, own_cores in zip(comparisons, cores, strict=True):
                case = Case(settings, compared, own_cores, Path(folder), log)
                found, rates = case.run(competing, reference)
                rows += found
                peaks |= {framework: max(rate, peaks.get(framework, 0.0)) for framework, rate in rates.items()}
        except KeyboardInterrupt:
            if not rows:
                raise
            interrupted = True
    where = Environment(
        **vars(environment.machine(there, settings.device, threads=max(map(len, cores)), load_before=before)),
        devices=max((row.devices or 1 for row in rows), default=1),
        matmul_gflops={framework: peak / 1e9 for framework, peak in peaks.items()},
        gate=Gate(GATE_STEPS, settings.tolerance, reference.name),
        settings=settings,
    )
    shares = tuple(_with_share(row, max(peaks.values(), default=0.0)) for row in rows)
    return BenchmarkResult(where, tuple(left_out), interrupted, shares)


def _with_share(row: ContenderResult, peak: float) -> ContenderResult:
    """The row with the share that its matrix products have of the fastest products in FLOP/s, where it is timed."""
    if row.step_ms is None:
        return row
    flops = step_flops(PRESETS[row.model].model, row.batch_size) * row.models
    return replace(row, matmul_share=flops / (row.step_ms / 1e3 * peak))
