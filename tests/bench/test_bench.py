import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxae import bench
from jaxae.bench import BenchmarkResult, BenchmarkSettings, ContenderResult, case, environment, problem
from jaxae.bench import settings as settings_of_a_benchmark
from jaxae.bench.case import Case
from jaxae.bench.contenders import CONTENDERS, EAGER, find, select
from jaxae.bench.flops import step_flops
from jaxae.bench.jax_worker import JaxRunner
from jaxae.bench.result import Gate
from jaxae.bench.rounds import take_rounds
from jaxae.bench.runner import FrameworkInfo, Task, TimedRunner
from jaxae.bench.settings import Compared
from jaxae.bench.statistics import largest_gap, spread, times_faster
from jaxae.bench.worker import Worker, WorkerError
from jaxae.config import AutoencoderConfig, ConditionalVAEConfig
from jaxae.data.dataset import load
from jaxae.errors import InputError

TINY: dict[str, Any] = {
    "data": "digits",
    "rounds": 2,
    "turn_seconds": 0.01,
    "threads": 1,
    "batch_size": 64,
    "examples": 256,
}


def by_name(rows):
    return {row.contender: row for row in rows}


class Meddling(Worker):
    """A worker whose contenders of these names are given other tasks than the benchmark's."""

    changes: ClassVar[dict[str, dict[str, float]]] = {}

    def ask(self, do, **fields):
        if do == "prepare":
            fields |= self.changes.get(fields["contender"], {})
        return super().ask(do, **fields)


def meddle(monkeypatch, **changes):
    kind = type("Meddling", (Meddling,), {"changes": changes})
    monkeypatch.setattr(case, "Worker", kind)


@pytest.fixture
def run_case(torch, tmp_path):
    """One case on one core, without asking first which frameworks there are."""

    def run(*names, model: Literal["ae", "cvae"] = "ae", models=1, **fields):
        settings = BenchmarkSettings(models=(model,), contenders=names, **TINY | fields)
        (compared,) = settings.compared()
        cores = sorted(os.sched_getaffinity(0))[:1]
        one = Case(settings, compared._replace(models=models), cores, tmp_path, lambda line: None)
        return one.run(settings.chosen, find(EAGER))[0]

    return run


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="the comparison needs torch")


@pytest.fixture(scope="module")
def broken(torch):
    """A run in which one contender of each framework trains with something else."""
    names = ("torch_eager", "torch_rewrite", "jax_step", "jax_epoch")
    with pytest.MonkeyPatch.context() as patch:
        meddle(patch, jax_step={"learning_rate": 0.00501}, torch_rewrite={"learning_rate": 0})
        return bench.run(BenchmarkSettings(models=("ae",), contenders=names, **TINY))


def test_gate_closes_on_a_contender_that_trains_otherwise(broken):
    rows = by_name(broken.rows)
    for name in ("jax_step", "torch_rewrite"):
        assert rows[name].status == "differs"
        assert rows[name].gap > 1e-5
        assert rows[name].step_ms is None
        assert rows[name].samples_ms == ()


def test_gate_lets_equal_contenders_through(broken):
    rows = by_name(broken.rows)
    for name in ("torch_eager", "jax_epoch"):
        row = rows[name]
        assert row.status == "ok"
        # Measured: 2e-6 between the frameworks after 20 steps.
        assert row.gap <= 1e-5
        assert len(row.samples_ms) == TINY["rounds"]
        assert row.step_ms == pytest.approx(np.median(row.samples_ms))
        assert row.images_per_s == pytest.approx(64 / row.step_ms * 1e3)
        assert row.compile_s >= 0
        assert row.matmul_share > 0
        assert row.peak_memory_bytes > 50e6
        assert row.final_cost == pytest.approx(rows["torch_eager"].final_cost, rel=1e-5)
    assert rows["torch_eager"].bce == "probabilities"
    assert rows["jax_epoch"].bce == "logits"
    assert rows["jax_epoch"].times_best_torch == rows["jax_epoch"].times_eager


def test_gate_closes_on_another_beta(run_case, monkeypatch):
    meddle(monkeypatch, torch_rewrite={"beta": 1.01})
    rows = by_name(run_case("torch_eager", "torch_rewrite", model="cvae"))
    assert rows["torch_rewrite"].status == "differs"
    assert rows["torch_eager"].status == "ok"


def test_report_and_files(broken, tmp_path, capsys):
    path = tmp_path / "now.json"
    bench.save(broken, path)
    assert json.loads(path.read_text()) == json.loads(broken.to_json())
    assert bench.read(path) == broken
    bench.print_report(broken, bench.read(path))
    printed = capsys.readouterr().out
    assert "differs" in printed
    assert "ae, batch 64, JAX step by step: differs: costs differ by" in printed
    assert "1.00" in printed.split("beside the earlier run")[1]
    bench.plot(broken, tmp_path / "now.png")
    assert (tmp_path / "now.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["now.json", "now.png"]


def test_environment(broken):
    where = broken.environment
    assert {"jax", "torch", "numpy"} <= where.versions.keys()
    assert where.threads == 1
    assert "PyTorch version: " in where.reports["torch"]
    assert "jaxlib: " in where.reports["jax"]
    for pools in where.thread_pools.values():
        assert "blas" in {pool.user_api for pool in pools}
    assert where.gate == Gate(20, 1e-5, "torch_eager")


@pytest.mark.parametrize("name", ["batch", "cpu", "models"])
def test_results_written_before_are_read_and_compared(name, capsys):
    path = REPOSITORY / "docs" / f"benchmark-{name}.json"
    document = json.loads(path.read_text())
    result = bench.read(path)
    written = json.loads(result.to_json())
    since = {"repeated_rounds": 0, "disturbed_rounds": 0, "threads": None, "sharing": None}
    assert written["rows"] == [since | row for row in document["rows"]]
    # What the file itself does not say is the default.
    settings = document["environment"]["settings"] | {"data_dir": None, "trace": None}
    since = {"reports": {}, "thread_pools": {}}
    assert written["environment"] == since | document["environment"] | {"settings": settings}
    bench.print_report(result, result)
    compared = capsys.readouterr().out.split("beside the earlier run")[1]
    timed = sum(row.step_ms is not None for row in result.rows)
    assert len(re.findall(r" 1\.00 \(0\.\d+ to 1\.\d+\) ", compared)) == timed
    assert compared.count("no difference shown") == timed


def test_without_torch_and_with_a_program_compiled_late(tmp_path, monkeypatch, capsys):
    class Retracing(Worker):
        def ask(self, do, **fields):
            if do == "prepare":
                self._contender = fields["contender"]
            if do == "turn" and self._contender == "jax_step":
                super().ask("multiply", size=32, repeats=1)
            return super().ask(do, **fields)

    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(case, "Worker", Retracing)
    names = ("torch_eager", "jax_step", "jax_epoch")
    document = bench.run(BenchmarkSettings(models=("ae",), contenders=names, **TINY))
    rows = by_name(document.rows)
    assert list(rows) == ["jax_step", "jax_epoch"]
    assert rows["jax_epoch"].status == "ok"
    assert rows["jax_epoch"].times_eager is None
    assert rows["jax_step"].status == "retraced"
    assert rows["jax_step"].step_ms is None
    assert document.retraced == ["JAX step by step"]
    bench.print_report(document)
    assert "left out: torch_eager (No module named 'torch')" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits a running process's memory")
def test_out_of_memory_and_no_compiler_mark_their_cells(run_case, monkeypatch):
    class Starving(Worker):
        def ask(self, do, **fields):
            if do == "prepare":
                self._contender = fields["contender"]
            if do == "gate" and self._contender == "torch_rewrite":
                pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[0])
                limit = pages * os.sysconf("SC_PAGE_SIZE") + 2**20
                resource.prlimit(self.process.pid, resource.RLIMIT_AS, (limit, limit))
            return super().ask(do, **fields)

    monkeypatch.setattr(case, "Worker", Starving)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    names = ("torch_eager", "torch_compile", "torch_rewrite")
    rows = by_name(run_case(*names, batch_size=1024, examples=2048))
    assert rows["torch_rewrite"].status == "out of memory"
    assert rows["torch_rewrite"].step_ms is None
    assert rows["torch_compile"].status == "failed"
    assert "no C++ compiler" in rows["torch_compile"].reason
    assert rows["torch_eager"].status == "ok"


def test_models_trained_at_once(run_case):
    rows = run_case("torch_eager", "jax_epoch", models=3)
    assert [row.status for row in rows] == ["ok", "ok"]
    assert all(row.images_per_s == pytest.approx(3 * 64e3 / row.step_ms) for row in rows)


def test_an_interrupted_sweep_keeps_what_it_has(broken, monkeypatch, capsys):
    def interrupt(line: str) -> None:
        if seen in line:
            raise KeyboardInterrupt

    versions = FrameworkInfo(broken.environment.versions, "cpu")
    monkeypatch.setattr(environment, "probe", lambda *_: ({"torch": versions}, {"jax": "no need"}))
    fields: dict[str, Any] = TINY | {"batch_size": None}
    settings = BenchmarkSettings(models=("ae",), sweep="batch", sizes=(32, 64), contenders=("torch_eager",), **fields)
    seen = "batch 64: round"
    result = bench.run(settings, log=interrupt)
    assert result.interrupted
    assert [(row.batch_size, row.status) for row in result.rows] == [(32, "ok")]
    bench.print_report(result)
    assert "interrupted: further comparisons" in capsys.readouterr().out
    seen = "batch 32: setting up"
    with pytest.raises(KeyboardInterrupt):
        bench.run(settings, log=interrupt)


def test_sweep_is_drawn(broken, tmp_path, capsys):
    done = ContenderResult("ae", "torch_eager", "torch eager", "torch", "logits", 32, 1, "cpu")
    done = dataclasses.replace(done, step_ms=1.0, quartiles_ms=(0.9, 1.1), images_per_s=32e3, samples_ms=(1.0,))
    rows = [
        dataclasses.replace(done, contender=name, framework=name[: name.index("_")], batch_size=size)
        for name in ("torch_eager", "jax_epoch")
        for size in (32, 64)
    ]
    rows[-1] = dataclasses.replace(rows[-1], step_ms=None, quartiles_ms=None, images_per_s=None, status="out of memory")
    where = dataclasses.replace(broken.environment, settings=BenchmarkSettings(sweep="batch"), load_before=3.0)
    result = BenchmarkResult(where, rows=tuple(rows))
    bench.print_report(result)
    printed = capsys.readouterr().out
    assert "out of memory" in printed
    assert "provisional" in printed
    bench.plot(result, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 1000


@pytest.mark.parametrize(("sweep", "sizes"), [("threads", (1,)), ("devices", (1, 2))])
def test_a_sweep_over_cores_or_devices_has_a_row_for_each(sweep, sizes, capsys):
    fields: dict[str, Any] = TINY | {sweep: None}
    settings = BenchmarkSettings(models=("ae",), sweep=sweep, sizes=sizes, contenders=("jax_epoch_all",), **fields)
    result = bench.run(settings)
    assert [(row.status, row.size(sweep)) for row in result.rows] == [("ok", size) for size in sizes]
    if sweep == "devices":
        assert [row.devices for row in result.rows] == list(sizes)
    bench.print_report(result)
    printed = capsys.readouterr().out
    assert f"images/s by number of {'processor cores' if sweep == 'threads' else 'devices that share'}" in printed


def test_a_sweep_goes_to_the_number_of_cores(monkeypatch):
    monkeypatch.setattr(settings_of_a_benchmark, "usable_cores", lambda: 6)
    found = list(BenchmarkSettings(models=("ae",), sweep="threads").compared())
    assert [one.threads for one in found] == [1, 2, 4, 6]
    assert {one.batch_size for one in found} == {256}
    found = list(BenchmarkSettings(models=("cvae",), sweep="devices", threads=2).compared())
    assert [(one.threads, one.devices) for one in found] == [(2, 1), (2, 2), (2, 4), (2, 6)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"models": ("vae",)}, "models to be one of ae, cvae, got 'vae'"),
        ({"models": ()}, "models out of ae, cvae, got none"),
        ({"rounds": 0}, "rounds from 1 to 2147483647, got 0"),
        ({"batch_size": 0}, "batch_size from 1 to 2147483647, got 0"),
        ({"batch_size": 60_001}, "a batch of at most 60000 examples, got 60001"),
        ({"threads": -1}, "threads from 1 to 1024, got -1"),
        ({"turn_seconds": 0}, "turn_seconds above 0 and below 600, got 0"),
        ({"contenders": ("torch_quick",)}, "contenders out of torch_loader, .*, got 'torch_quick'"),
        ({"contenders": ()}, "at least one contender, got none"),
        ({"contenders": ("torch_graph",)}, "contenders for a cpu, got torch_graph, which needs a gpu"),
        ({"sizes": (32,)}, r"sizes only with a sweep, got \(32,\) without one"),
        ({"sweep": "batch", "sizes": (0,)}, "sizes from 1 to 2147483647, got 0"),
        ({"sweep": "threads", "threads": 1}, "no threads beside a sweep over them, got 1"),
        ({"sweep": "devices", "devices": 2}, "no devices beside a sweep over them, got 2"),
        ({"tf32": True}, "tf32 and deterministic only with a gpu, got cpu"),
    ],
)
def test_bad_settings(fields, message):
    with pytest.raises(InputError, match=f"expected {message}"):
        BenchmarkSettings(**fields)


def test_a_gpu_that_is_not_there():
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "benchmark.py", "--device", "gpu"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "jax: expected a gpu that JAX can use, got only: cpu; pip install 'jaxae[cuda]'" in done.stderr
    assert ("torch: expected a gpu that torch can use, got only: cpu" in done.stderr) == (
        find_spec("torch") is not None
    )


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", '{"rows": [{}]}', "BROKEN"])
def test_a_document_that_is_none(tmp_path, text):
    path = tmp_path / "old.json"
    if text == "BROKEN":
        document = json.loads((REPOSITORY / "docs" / "benchmark-cpu.json").read_text())
        document["rows"][0]["step_ms"] = "fast"
        text = json.dumps(document)
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=r"expected .*old\.json(, got|: )"):
        bench.read(path)


def test_batch_larger_than_an_epoch(tmp_path):
    with pytest.raises(InputError, match="at most 32 examples, got 64"):
        problem.write(str(tmp_path / "p"), model="ae", data="digits", data_dir=None, examples=32, batch_size=64)


def test_data_of_other_classes_than_the_models(tmp_path, monkeypatch):
    digits = load("digits")
    monkeypatch.setattr("jaxae.data.dataset.load", lambda *_: dataclasses.replace(digits, num_classes=12))
    with pytest.raises(InputError, match="expected data of 10 classes, got 12 in letters"):
        problem.write(str(tmp_path / "p"), model="cvae", data="letters", data_dir=None, examples=32, batch_size=8)


def test_a_worker_that_dies_or_hangs():
    def start():
        return Worker("jaxae.bench.problem", cores=None, environment={})

    with start() as worker, pytest.raises(WorkerError, match="no answer within 0 s"):
        worker.ask("write", timeout=0.0)
    with start() as worker:
        worker.process.kill()
        with pytest.raises(WorkerError, match="out of memory: killed"):
            worker.ask("write")


def test_a_worker_that_cannot_tells_so_and_goes_on(tmp_path):
    question = {"path": tmp_path / "p", "model": "ae", "data": "digits", "data_dir": None, "batch_size": 64}
    with Worker("jaxae.bench.problem", cores=None, environment={}) as worker:
        for _ in range(2):
            with pytest.raises(WorkerError, match="input: expected a batch of at most 32 examples, got 64"):
                worker.ask("write", examples=32, **question)
        worker.ask("write", examples=64, **question)


@pytest.mark.parametrize("length", [1, 100_000])  # what fits into the pipe's buffer is written again as it closes
def test_a_worker_that_died_before_it_is_asked_or_closed(length):
    worker = Worker("jaxae.bench.problem", cores=None, environment={})
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(WorkerError, match="out of memory: killed"):
        worker.ask("write", path="x" * length)
    worker.close()


class Failing:
    """A worker that can nothing."""

    def __init__(self, *_, **__):
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.closed = True

    def ask(self, do, **fields):
        raise WorkerError("out of memory", "killed by the system")


def test_a_contender_that_fails_in_a_round_leaves_it():
    row = ContenderResult("ae", "jax_step", "JAX step by step", "jax", "logits", 64, 1, "cpu")
    workers: dict[str, Any] = {"jax_step": Failing()}
    failing, rows = workers["jax_step"], {"jax_step": row}
    assert take_rounds(workers, rows, 2, lambda number: None) == {}
    assert (rows["jax_step"].status, rows["jax_step"].reason) == ("out of memory", "killed by the system")
    assert not workers
    assert failing.closed


def test_a_reference_that_fails_is_told_of_and_another_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(case, "Worker", Failing)
    told: list[str] = []
    one = Case(BenchmarkSettings(contenders=("jax_step",), **TINY), Compared("ae", 64), [0], tmp_path, told.append)
    assert one._reference_costs(find(EAGER)) is None
    assert told == [f"the reference, {find(EAGER).label}, failed: killed by the system"]


def test_outside_a_repository_there_is_no_commit(monkeypatch, tmp_path):
    assert environment.commit()
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert environment.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert environment.commit() is None


def test_more_threads_than_there_are_cores(monkeypatch):
    monkeypatch.setattr(environment, "probe", lambda *_: ({}, {}))  # no benchmark follows if none is refused
    with pytest.raises(InputError, match=r"expected at most \d+ threads, got 1000"):
        bench.run(BenchmarkSettings(threads=1000))


def test_no_framework_that_can_train(monkeypatch):
    monkeypatch.setattr(environment, "probe", lambda *_: ({}, {"jax": "no jax", "torch": "no torch"}))
    with pytest.raises(InputError, match="expected a framework that can train here, got none: jax: no jax; torch: no"):
        bench.run(BenchmarkSettings(threads=1))


@pytest.mark.parametrize(
    ("kind", "message"),
    [("input", "^expected data, got none$"), ("failed", "^expected a problem for all contenders, got expected data")],
)
def test_a_problem_that_cannot_be_written(kind, message, tmp_path, monkeypatch):
    class Refusing(Failing):
        def ask(self, do, **fields):
            raise WorkerError(kind, "expected data, got none")

    monkeypatch.setattr(case, "Worker", Refusing)
    one = Case(
        BenchmarkSettings(contenders=("jax_step",), **TINY), Compared("ae", 64), [0], tmp_path, lambda line: None
    )
    with pytest.raises(InputError, match=message):
        one._write_problem()


def test_contenders_of_a_cpu_use_no_graphs():
    assert not any(contender.graph for contender in select(None, "cpu"))
    assert select(None, "gpu") == list(CONTENDERS)


def test_flops_of_the_autoencoder():
    assert step_flops(AutoencoderConfig(), 10) == 2 * 10 * 784 * 32 * (2 + 3)


def test_flops_of_the_vae_count_taps_inside_images(torch):
    conv = torch.nn.functional.conv2d
    transpose = torch.nn.functional.conv_transpose2d

    def ones(side):
        return torch.ones(1, 1, side, side, dtype=torch.float64)

    # The sum over a convolution of ones with ones is its number of multiplications.
    products = [
        conv(ones(28), ones(6), stride=2).sum() * 16,
        conv(ones(12), ones(4), stride=2).sum() * 16 * 32,
        conv(ones(5), ones(2), stride=2).sum() * 32 * 64,
        2 * 256 * 50 + 50 * 256,
        transpose(ones(2), ones(2), stride=2).sum() * 64 * 32,
        transpose(ones(4), ones(4), stride=3, padding=1).sum() * 32 * 16,
        transpose(ones(11), ones(6), stride=3, padding=4).sum() * 16,
    ]
    products = [int(product) for product in products]
    assert step_flops(ConditionalVAEConfig(), 7) == 2 * 7 * (3 * sum(products) - products[0])


def test_statistics():
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == (3.0, 2.0, 4.0)
    # Of the same rounds: a slow round slows both.
    assert times_faster([1.0, 10.0], [3.0, 30.0]) == (3.0, 3.0, 3.0)
    assert largest_gap([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    assert largest_gap([1.0, None], [1.0, 2.0]) == float("inf")


def a_task(folder: Path, contender: str, learning_rate: float = 5e-3) -> Task:
    """A small problem for a contender."""
    path = str(folder / "problem.npz")
    problem.write(path, model="ae", data="digits", data_dir=None, examples=64, batch_size=8)
    return Task(
        contender=contender,
        model="ae",
        problem=path,
        device="cpu",
        devices=None,
        threads=1,
        models=1,
        dtype="float32",
        tf32=False,
        deterministic=False,
        drawn_noise=False,
        learning_rate=learning_rate,
        beta=1.0,
    )


def test_costs_that_are_not_finite_are_no_result(tmp_path):
    runner = TimedRunner(JaxRunner)
    runner.prepare(**a_task(tmp_path, "jax_step", learning_rate=float("inf"))._asdict())
    with pytest.raises(ArithmeticError, match="a cost or gradient was not finite"):
        runner.gate(3)


def test_a_loop_whose_cost_is_not_finite_is_not_timed():
    class Diverging:
        devices, epoch_steps, whole_epochs = 1, 1, False

        def __init__(self, task):
            self.reset = self.run = self.wait = lambda *_, **__: None

        def costs(self, count):
            return [float("nan")] * count

    runner = TimedRunner(cast("Any", Diverging))
    runner.prepare(**dict.fromkeys(Task._fields))
    assert runner.gate(2) == [None, None]
    with pytest.raises(ArithmeticError, match="the cost ceased to be finite"):
        runner.calibrate(0.01)


def loaded_modules(code: str, *, folder: str | Path = ".") -> set[str]:
    """Packages that a fresh process holds after this code."""
    code += "\nimport json, sys\nprint(json.dumps([name for name in sys.modules if '.' not in name]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import jaxae.bench; jaxae.bench.run; jaxae.bench.plot; jaxae.bench.print_report",
        "import sys; sys.path.insert(0, 'scripts'); import benchmark",
    ],
)
def test_the_benchmarks_own_process_holds_no_framework(code):
    found = loaded_modules(code, folder=REPOSITORY)
    assert "jaxae" in found
    assert not found & {"jax", "jaxlib", "flax", "torch"}


def test_the_torch_workers_process_holds_no_jax(torch, tmp_path):
    task = a_task(tmp_path, "torch_eager")
    found = loaded_modules(
        "from jaxae.bench.torch_worker import TorchRunner\n"
        "from jaxae.bench.runner import TimedRunner\n"
        "runner = TimedRunner(TorchRunner)\n"
        f"runner.prepare(**{task._asdict()!r})\n"
        "assert runner.gate(2)[0] > 0"
    )
    assert {"torch", "torch_ref"} <= found
    assert not found & {"jax", "jaxlib", "flax"}
