"""A pair of one's own: what is timed trains alike, and what cannot be measured is told in one line."""

import gc
import gzip
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from small_pair import (
    IMAGES,
    LABELS,
    PAIR,
    SETTINGS,
    Layer,
    function_net,
    jax_loss,
    layers,
    linen_net,
    sgd,
    square,
    torch_loss,
)

from jaxae import bench
from jaxae.bench import PairResult, PairRow
from jaxae.bench.pair import compare, inside
from jaxae.bench.pair.case import PairCase, steps_to_pay_back
from jaxae.bench.pair.contenders import MEASURES, PAIR_CONTENDERS, REFERENCE, find_one
from jaxae.bench.pair.jax_worker import JaxPairRunner
from jaxae.bench.pair.networks import NetworkPair
from jaxae.bench.pair.prepare import prepare
from jaxae.bench.pair.result import PairedRatio, PairEnvironment
from jaxae.bench.pair.task import PairTask
from jaxae.bench.report import notes
from jaxae.bench.result import Gate
from jaxae.bench.runner import FrameworkInfo
from jaxae.bench.statistics import interval
from jaxae.bench.worker import WorkerError
from jaxae.errors import InputError


def measured(pair: NetworkPair, *names: str, **settings: Any) -> dict[tuple[str, str], PairRow]:
    chosen = replace(SETTINGS, contenders=names, **settings)
    arguments = {name: getattr(pair, name) for name in ("targets", "optimizers", "nnx_call", "torch_call")}
    found = bench.compare(
        *(pair.torch_module, pair.nnx_module, pair.inputs, pair.torch_loss, pair.jax_loss),
        **arguments,
        **pair.options,
        settings=chosen,
    )
    return {(row.measure, row.contender): row for row in found.rows}


EAGER_AND_JAX = ("torch_eager", "jax_jit", "jax_donated", "jax_scan", "torch_bfloat16", "jax_bfloat16")


def test_every_contender_trains_alike_and_is_timed():
    """A network with statistics of batches, in whatever way it is run; batch norms in bfloat16 part by the most."""
    rows = measured(PAIR, *EAGER_AND_JAX, "torch_fullgraph")
    wanted = [(m, one.name) for m in MEASURES for one in PAIR_CONTENDERS if m in one.measures]
    assert list(rows) == [key for key in wanted if key[1] in (*EAGER_AND_JAX, "torch_fullgraph")]
    for (measure, name), row in rows.items():
        if name == "torch_fullgraph" and measure != "gradients":
            continue
        if name == "torch_fullgraph":
            assert row.status == "failed"
            assert "Unsupported: " in str(row.reason)
            continue
        assert (row.status, row.reason) == ("ok", None), (measure, name)
        assert len(row.checked) == (20 if measure == "step" else 1)
        # Measured: 2e-5 in float32.
        assert (row.gap or 0) <= row.tolerance
        assert row.tolerance == (5e-2 if row.dtype == "bfloat16" else 1e-4)
        # What inference costs may come out the same by chance, twenty steps do not.
        assert (row.gap or 0) > 1e-4 or row.dtype == "float32" or measure == "inference"
        assert len(row.samples_ms) == 2
        assert row.step_ms == pytest.approx(np.median(row.samples_ms))
        assert row.times_eager is not None
        assert row.times_eager.interval[0] <= row.times_eager.median <= row.times_eager.interval[1]
        if row.dtype == "float32":  # XLA counts for all of them; a matrix product and its two gradients are the least
            assert (row.flops or 0) > 2 * 8 * (9 * 3 * 12 + 27 * 3) * (1 if measure == "inference" else 2)
            assert (row.bytes or 0) > 4 * 8 * 40
            assert (row.least_ms or 0) > 0
        # What others of this process do is no one's own.
        assert (row.peak_memory_bytes, row.memory_of, row.idle_cpu) == (None, None, None)
    costs = rows["step", REFERENCE].checked
    assert costs[-1] is not None
    assert costs[0] is not None
    assert costs[-1] < 0.9 * costs[0]
    assert (rows["step", "jax_scan"].steps_a_turn or 1) % 20 == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        # The first cost is that of the weights alone.
        ({"optimizers": (sgd(0.1)[0], optax.sgd(0.11, momentum=0.9))}, "cost of step 2 is .*, torch eager's .* apart"),
        (
            {"jax_loss": lambda *given: 1.001 * jax_loss(*given)},
            "cost of step 1 is .*: 1.0e-03 apart, allowed are 1e-04",
        ),
    ],
)
def test_the_gate_tells_the_step_and_how_far(change, told):
    rows = measured(replace(PAIR, **change), "jax_jit")
    for measure in MEASURES:
        row = rows[measure, "jax_jit"]
        assert (row.status, row.step_ms, row.samples_ms) == ("differs", None, ())
        assert re.search(told, str(row.reason))
        assert rows[measure, REFERENCE].status == "ok"
    result = PairResult(ENVIRONMENT, rows=tuple(rows.values()))
    assert not result.compared
    # Once, not for each kind of step.
    assert sum("differs: cost of step" in line for line in notes(result)) == 1


def test_every_way_to_compile_sees_the_whole_network(monkeypatch):
    """By torch's own tracer, without the compiler behind it, which takes long."""
    modes, compiled = [], torch.compile

    def trace(function: Any, *, mode: str, fullgraph: bool, dynamic: bool) -> Any:
        modes.append((mode, fullgraph))
        return compiled(function, backend="eager", fullgraph=True, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", trace)
    names = ("torch_fullgraph", "torch_max_autotune", "torch_compile_bfloat16")
    rows = measured(layers(), *names, rounds=1)
    assert {row.status for row in rows.values()} == {"ok"}, [row.reason for row in rows.values()]
    assert modes == [("default", True), ("max-autotune", False), ("default", False)] * 3


def test_a_looser_tolerance_lets_it_through():
    rows = measured(replace(PAIR, jax_loss=lambda *given: 1.001 * jax_loss(*given)), "jax_jit", tolerance=1e-2)
    assert {row.status for row in rows.values()} == {"ok"}


@pytest.mark.parametrize("make", [linen_net, function_net])
def test_a_linen_module_and_a_function_of_parameters_are_timed_too(make):
    """With torch's weights, images with channels last, and in bfloat16."""
    rows = measured(make(), "jax_jit", "jax_scan", "jax_bfloat16", rounds=1)
    assert {row.status for row in rows.values()} == {"ok"}, [row.reason for row in rows.values()]


def test_a_linen_module_is_run_through_its_bridge(tmp_path):
    """And a trace of each contender's steps is written."""
    rows = measured(layers(), "jax_jit", rounds=1, trace=tmp_path / "traces")
    assert {(row.status, row.reason) for row in rows.values()} == {("ok", None)}
    for case in ("training-step", "forward-and-backward", "inference"):
        (theirs,) = (tmp_path / "traces" / case / REFERENCE).iterdir()
        (ours,) = (tmp_path / "traces" / case / "jax_jit").rglob("perfetto_trace.json.gz")
        operations = [gzip.decompress(path.read_bytes()) for path in (theirs, ours)]
        assert b"aten::addmm" in operations[0]
        assert b"dot" in operations[1]
    with pytest.raises(InputError, match="expected the name of a new folder, got "):
        measured(layers(), "jax_jit", rounds=1, trace=tmp_path / "traces")


def test_a_worker_that_was_ended_over_one_kind_of_step_is_started_anew_for_the_next(monkeypatch):
    class Ending(inside.Inside):
        def ask(self, do: str, *, timeout: float = 900.0, **fields: object) -> Any:
            assert self.alive
            if do == "gradients prepare" and fields["contender"] == "jax_jit":
                self.alive = False
                raise WorkerError("failed", "no answer within 900 s")
            return super().ask(do, timeout=timeout, **fields)

    monkeypatch.setattr(inside, "Inside", Ending)
    rows = measured(layers(), "jax_jit", rounds=1)
    assert {key: one.status for key, one in rows.items() if one.status != "ok"} == {("gradients", "jax_jit"): "failed"}


def test_a_network_that_insists_on_float32_is_not_timed_as_bfloat16():
    class Wide(nnx.Module):
        def __init__(self) -> None:
            self.layer = nnx.Linear(4, 3, rngs=nnx.Rngs(0))

        def __call__(self, x: Any) -> Any:
            return self.layer(x).astype(jnp.float32)

    _, halves = prepare(NetworkPair(Layer(), Wide(), (5, 4), square, square))
    task = PairTask("jax_bfloat16", "step", "", "", 1, "cpu", tf32=False, deterministic=False)
    with pytest.raises(InputError, match="expected results in bfloat16 of weights in bfloat16, got float32"):
        JaxPairRunner(task, lambda _: halves["jax"])


def test_measuring_leaves_the_process_as_it_was():
    """Networks, threads, arithmetic, cores, and what is compiled of one contender is not counted as another's."""

    def held() -> tuple[object, ...]:
        cudnn: Any = torch.backends.cudnn
        tiny = (torch.full((1,), 1e-310, dtype=torch.float64) * 1).item()
        at_jax = [
            jax.config.values[f"jax_{one}"] for one in ("platforms", "default_matmul_precision", "default_device")
        ]
        weights = [one.sum().item() for one in PAIR.torch_module.state_dict().values()]
        ours = [one.sum().item() for one in jax.tree.leaves(nnx.state(PAIR.nnx_module, nnx.Not(nnx.RngState)))]
        at_torch = (
            torch.get_num_threads(),
            torch._dynamo.config.recompile_limit,
            cudnn.benchmark,
            PAIR.torch_module.training,
        )
        cores = [os.sched_getaffinity(int(one.name)) for one in Path("/proc/self/task").iterdir()]
        return tiny > 0, at_jax, weights, ours, at_torch, set(map(tuple, cores)), gc.isenabled(), gc.get_freeze_count()

    torch.set_num_threads(2)
    PAIR.torch_module.eval()
    before = held()
    seen = []

    def look(line: str) -> None:
        seen.append((torch.get_num_threads(), torch._dynamo.config.recompile_limit > 100, os.sched_getaffinity(0)))

    five = (PAIR.torch_module, PAIR.nnx_module, IMAGES, torch_loss, jax_loss)
    chosen = replace(SETTINGS, contenders=("jax_jit",))
    result = bench.compare(*five, targets=LABELS, flatten="CHW", settings=chosen, log=look)
    assert held() == before
    PAIR.torch_module.train()
    assert (1, True, {min(os.sched_getaffinity(0))}) in seen
    assert {row.status for row in result.rows} == {"ok"}
    assert any(line.startswith("measured in one process: no peak memory") for line in notes(result))
    alone = replace(result, rows=tuple(replace(row, memory_of="host") for row in result.rows))
    assert not any("one process" in line for line in notes(alone))


def test_live_networks_are_deterministic_on_a_gpu_only_if_jax_began_so(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    settings = replace(SETTINGS, device="gpu", deterministic=True)
    with pytest.raises(InputError, match=r"expected --xla_gpu_deterministic_ops=true in XLA_FLAGS .*, got none"):
        bench.compare(PAIR.torch_module, PAIR.nnx_module, IMAGES, torch_loss, jax_loss, settings=settings)


def test_preparing_leaves_the_pair_as_it_is():
    theirs, ours = PAIR.torch_module.state_dict(), nnx.to_pure_dict(nnx.state(PAIR.nnx_module, nnx.Param))
    before = [one.clone() for one in theirs.values()]
    losses = [lambda *given, loss=loss: loss(*given[:-1]) for loss in (torch_loss, jax_loss)]
    _, halves = prepare(replace(PAIR, targets=(LABELS, IMAGES), torch_loss=losses[0], jax_loss=losses[1]))
    assert all(map(torch.equal, before, PAIR.torch_module.state_dict().values()))
    now = nnx.to_pure_dict(nnx.state(PAIR.nnx_module, nnx.Param))
    assert all(jax.tree.leaves(jax.tree.map(lambda one, other: bool((one == other).all()), ours, now)))
    half: Any = halves["jax"]
    np.testing.assert_array_equal(half.module.head.bias[...], theirs["head.bias"].numpy())
    assert [one.shape for one in (*half.inputs, *half.targets)] == [(8, 5, 4, 2), (8,), (8, 5, 4, 2)]
    half = halves["torch"]
    assert [one.shape for one in (*half.inputs, *half.targets)] == [(8, 2, 5, 4), (8,), (8, 2, 5, 4)]


ENVIRONMENT = PairEnvironment(
    **{"versions": {"torch": "2"}, "cpu": "a cpu", "cores": 2, "system": "Linux", "python": "3", "device": "cpu"},
    **{
        "gpu": None,
        "threads": 1,
        "commit": None,
        "load_before": 0.0,
        "pair": "net.py:<make>",
        "proof": "proven at 1e-15",
    },
    gate=Gate(20, 1e-4, REFERENCE),
    settings=SETTINGS,
)


TRACED = replace(SETTINGS, trace=Path("traces"))


def row_of(name: str, step_ms: float | None, compile_s: float = 0.0, **more: Any) -> PairRow:
    one = find_one(name)
    row = PairRow("step", name, one.label, one.framework, ("8x2x5x4",), one.dtype, "cpu", 1e-4)
    if step_ms is None:
        return replace(row, **more)
    ratio = PairedRatio(8 / step_ms, (1.0, 3.0), (1.5, 2.5))
    times: Any = {
        "step_ms": step_ms,
        "quartiles_ms": (step_ms, step_ms),
        "times_eager": ratio,
        "times_best_torch": ratio,
    }
    return replace(row, compile_s=compile_s, samples_ms=(step_ms,), **times, **more)


@pytest.mark.parametrize(
    ("step_ms", "compile_s", "steps"),
    [(4.0, 2.1, 500), (4.0, 2.1001, 501), (8.0, 2.1, None), (9.0, 0.0, None), (4.0, 0.05, 0)],
)
def test_compiling_is_paid_back_at_the_step_at_which_both_took_as_long(step_ms, compile_s, steps):
    eager = row_of(REFERENCE, 8.0, compile_s=0.1)
    assert steps_to_pay_back(row_of("jax_jit", step_ms, compile_s=compile_s), eager) == steps


def test_the_interval_is_of_ratios_within_rounds():
    assert interval([1.0, 10.0], [3.0, 30.0]) == (3.0, 3.0)
    samples = np.random.default_rng(0).lognormal(0.0, 0.2, 200).tolist()
    low, high = interval([1.0] * 200, samples)
    assert low < np.median(samples) < high
    # 1.25 standard errors of a mean, to both sides, twice.
    assert high - low == pytest.approx(2 * 1.96 * 1.25 * 0.2 / 200**0.5, rel=0.4)


def test_report_figure_and_page_tell_the_same(tmp_path, capsys):
    rows = (
        row_of(REFERENCE, 8.0),
        row_of("torch_fullgraph", None, status="failed", reason="Unsupported: <graph break>"),
        row_of("jax_jit", 4.0, compile_s=2.0, paid_back_steps=500),
        row_of("jax_scan", 9.0, compile_s=2.0),
    )
    result = PairResult(ENVIRONMENT, rows=rows)
    result.save(tmp_path / "mine.json")
    earlier = PairResult.read(tmp_path / "mine.json")
    assert earlier == result
    assert '"trace": null' in replace(result, environment=replace(ENVIRONMENT, settings=TRACED)).to_json()
    other = replace(row_of("jax_jit", 12.0, compile_s=2.0), samples_ms=(12.0, 12.1))
    bench.print_pair(result, replace(earlier, rows=(*earlier.rows[:2], other)))
    printed, _, compared = capsys.readouterr().out.partition("beside the earlier run")
    assert re.search(r"torch eager +8 +8 +1.00 \(1.00 to 1.00\) +no difference shown", compared)
    assert re.search(r"JAX, jit +12 +4 +3.00 \(3.00 to 3.02\) +faster", compared)
    assert re.search(r"JAX, scan over steps +9\n", compared)
    assert "2.00 (1.50 to 2.50)" in printed
    assert re.search("JAX, jit .* 500 steps", printed)
    assert re.search("JAX, scan over steps .* never", printed)
    assert "training step, torch.compile, fullgraph: failed: Unsupported: <graph break>" in printed
    bench.write_page(result, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("<table>") == 1
    assert text.count("<svg") == text.count("</svg>") == 1
    assert "failed: Unsupported: &lt;graph break&gt;" in text
    assert "<make>" not in text
    # Nothing is loaded from elsewhere.
    assert not re.search(r"<(script|link|img)|url\(http|@import", text)
    bench.plot_pair(result, tmp_path / "pair.png")
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")
    assert result.compared
    assert json.loads(result.to_json())["rows"][2]["times_eager"]["interval"] == [1.5, 2.5]


def test_an_interrupted_run_keeps_the_kinds_of_steps_that_ended(monkeypatch, tmp_path):
    class Interrupted(PairCase):
        def run(self) -> None:
            self.frameworks["torch"] = FrameworkInfo({"torch": "2"}, "cpu")
            self.rows += ended
            raise KeyboardInterrupt

    monkeypatch.setattr(compare, "PairCase", Interrupted)
    monkeypatch.setattr(compare, "Worker", Ready)
    ended = [row_of(REFERENCE, 1.0)]
    result = bench.compare_file("net.py:make", SETTINGS)
    assert result.interrupted
    assert list(result.rows) == ended
    ended = []
    with pytest.raises(KeyboardInterrupt):
        bench.compare_file("net.py:make", SETTINGS)


class Ready:
    """A worker of which a pair is ready."""

    def __init__(self, *_: object, **__: object) -> None:
        """Nothing is started."""

    def __enter__(self) -> "Ready":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to be ended."""

    def ask(self, do: str, **_: object) -> Any:
        return "proven", ["8x2x5x4"]
