"""Several processes on this machine train what one trains; one that ends takes the others with it, in one line each."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from together_data import AE, DATA, REPLAY, VAE

from jaxae import InputError, fit, load_run, parameters_of, write_stream
from jaxae.cli import TrainFlags
from jaxae.network.parameters import named_leaves
from jaxae.training import joining, native_lines
from jaxae.training.agreement import differences
from jaxae.training.fit import FitResult
from jaxae.training.runtime import make_mesh

GAP = 1e-9
JOINING = {"coordinator": "node0:1234", "num_processes": 2, "process_id": 0}


@dataclass(frozen=True)
class Together:
    """What the processes left: their folder, and how each ended."""

    folder: Path
    statuses: list[int]
    out: list[str]
    err: list[str]

    def found(self, index: int) -> dict:
        return json.loads((self.folder / f"found-{index}.json").read_text())

    def weights(self, name: str, index: int = 0) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{name}-{index}.npz") as arrays:
            return dict(arrays)


class EnoughError(Exception):
    """Ends a training between two epochs."""


def train_alone(config, **settings) -> FitResult:
    with jax.enable_x64(True):
        return fit(config, DATA, mesh=make_mesh(devices=1), **settings)


def assert_same(result: FitResult, weights: dict[str, np.ndarray]) -> None:
    own = named_leaves(result.state.parameters)
    assert own.keys() == weights.keys()
    for name, leaf in own.items():
        np.testing.assert_allclose(np.asarray(leaf), weights[name], rtol=0, atol=GAP, err_msg=name)


@pytest.fixture(scope="module")
def alone() -> FitResult:
    return train_alone(AE)


@pytest.fixture(scope="module")
def count(request: pytest.FixtureRequest) -> int:
    """How many processes train together: two, or as many as pytest's `--processes` says."""
    return request.config.option.processes


@pytest.fixture(scope="module")
def together(tmp_path_factory, count) -> Together:
    folder = tmp_path_factory.mktemp("together")

    def stop(model, metrics):
        if sum("test_cost" in line for line in metrics) == 20:
            raise EnoughError

    with pytest.raises(EnoughError):
        train_alone(AE, run_dir=folder / "half", log_every=4, checkpoint_seconds=0, after_epoch=stop)
    write_stream(folder / "records", [DATA.train], [DATA.test], num_classes=10)
    with socket.socket() as probe:
        probe.bind(("", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    script = str(Path(__file__).with_name("together.py"))
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    started = [
        subprocess.Popen(
            [sys.executable, script, str(folder), address, str(count), str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for index in range(count)
    ]
    try:
        ended = [one.communicate(timeout=400) for one in started]
    finally:
        for one in started:
            one.kill()
    return Together(folder, [one.returncode for one in started], *map(list, zip(*ended, strict=True)))


@pytest.mark.parametrize(("name", "config"), [("ae", AE), ("vae", VAE), ("replay", REPLAY)])
def test_they_train_what_one_process_trains(together, count, name, config):
    assert together.found(0)["devices"] == count
    result = train_alone(config)
    assert_same(result, together.weights(name))
    costs = [line["test_cost"] for line in result.metrics if "test_cost" in line]
    assert together.found(0)[name]["costs"] == pytest.approx(costs, rel=GAP)
    for index in range(1, count):
        others = together.weights(name, index)
        assert all(np.array_equal(leaf, others[key]) for key, leaf in together.weights(name).items())


def test_each_reads_its_share_of_every_batch_from_disk(together, count):
    """Two epochs of 70 images, in batches of 15 whose last place is nobody's: all are read, none by both."""
    read = [together.found(index)["read"] for index in range(count)]
    assert sorted(number for own in read for number in own) == sorted(2 * list(range(70)))
    share, sizes = -(-15 // count), 4 * [15] + [10]
    shares = [2 * sum(min(share, max(0, size - share * index)) for size in sizes) for index in range(count)]
    assert [len(own) for own in read] == shares
    for index in range(count):
        streamed = together.weights("streamed", index)
        assert all(np.array_equal(leaf, streamed[key]) for key, leaf in together.weights("replay").items())


def test_all_stream_or_none(together, count):
    for index in range(count):
        assert together.found(index)["unlike data"] == (
            f"expected the same in all processes, got streams True in process {count - 1}, False in 0"
        )


def test_the_first_alone_writes(together, count, alone):
    assert together.found(0)["told"] > 0
    assert [together.found(index)["told"] for index in range(1, count)] == [0] * (count - 1)
    assert together.out == [""] * count
    with jax.enable_x64(True):
        models = load_run(together.folder / "ae")[1], alone.model
    kept, own = (named_leaves(parameters_of(model)) for model in models)
    for name, leaf in own.items():
        np.testing.assert_allclose(np.asarray(kept[name]), np.asarray(leaf), rtol=0, atol=GAP, err_msg=name)


def test_a_callback_of_the_first_ends_all(together, count):
    assert [len(together.found(index)["ended"]["costs"]) for index in range(count)] == [2] * count


def test_they_resume_what_one_process_began(together, alone, count):
    assert_same(alone, together.weights("resumed-from-one"))
    lines = {together.found(index)["resumed-from-one"]["lines"] for index in range(count)}
    assert lines == {together.found(0)["ae"]["lines"]}


@pytest.mark.parametrize("name", ["stopped", "lost"])
def test_one_process_resumes_what_they_began(together, alone, count, name):
    assert list((together.folder / name / "checkpoints").iterdir())
    with pytest.warns(UserWarning, match=f"resuming with (processes|devices) 1, not {count}"):
        result = train_alone(AE, run_dir=together.folder / name, log_every=4, resume=True)
    assert_same(result, {key: np.asarray(leaf) for key, leaf in named_leaves(alone.state.parameters).items()})


def test_a_signal_to_one_stops_all_at_the_same_step(together, count):
    told = [together.found(index)["stopped"] for index in range(count)]
    assert {number for number, _ in told} == {15}
    assert len({line.partition(", which")[0] for _, line in told}) == 1


def test_other_settings_in_one_are_refused_in_all(together, count):
    for index in range(count):
        assert together.found(index)["unlike"] == (
            f"expected the same in all processes, got learning_rate 0.02 in process {count - 1}, 0.01 in 0"
        )


def test_one_that_is_killed_ends_the_others_in_one_line(together):
    *others, killed = together.statuses
    assert killed == -9
    assert set(others) == {2}
    for line in together.err[:-1]:
        assert line.startswith("error: expected all processes to go on to the end, got ")
        assert line.count("\n") == 1


def test_a_difference_names_the_process_and_both_values():
    assert differences([{"a": 1}, {"a": 1}]) == []
    assert differences([{"a": 1}, {"a": 1}, {"a": 2, "b": 3}]) == [
        "a 2 in process 2, 1 in 0",
        "b 3 in process 2, None in 0",
    ]


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(InputError, match=r"expected a free port for the coordinator localhost:.*, got Address"):
            joining._check_free(f"localhost:{taken.getsockname()[1]}")


def test_a_coordinator_that_does_not_listen_is_refused_in_time():
    with socket.socket() as free:
        free.bind(("", 0))
        with pytest.raises(InputError, match=r"expected process 0 to listen at localhost:.*, got Connection refused"):
            joining._check_reachable(f"localhost:{free.getsockname()[1]}", until=0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("RPC: PollForError\n", "no word from process 0, which coordinates them"),
        ("unhealthy (stopped sending heartbeats):\n1,3\n", "no word from process 1, 3"),
        ("RPC: RegisterTask\n", "the coordinator's refusal of this one"),
    ],
)
def test_the_runtime_s_last_words_become_one_line(words, told):
    lines = [
        "[Gloo] Rank 1 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1\n",
        "E1128 03:40:51.436868    5900 coordination_service.cc:1549] [146] Use error polling to propagate\n",
        "F1128 03:40:51.437542    5911 client.h:80] Terminating process because the service detected fatal errors.\n",
        words,
        "*** Check failure stack trace: ***\n",
        "    @     0x7fd0a2440634  absl::lts_20260107::log_internal::LogMessage::SendToLog()\n",
    ]
    for some in (lines, lines[:4]):
        (line,) = native_lines.retell(some)
        assert f"got {told}" in line


def test_other_native_lines_stay():
    lines = ["W1128 03:40:51.436868    5900 gemm.cc:12] slow\n", "of two lines\n", "plain\n"]
    assert list(native_lines.retell(lines)) == lines


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"num_processes": 2}, "expected --coordinator, --num-processes and --process-id together, got '1 of them'"),
        ({**JOINING, "distributed": "auto"}, "expected --coordinator or --distributed auto, got 'both'"),
        ({**JOINING, "seeds": 2}, "expected one seed in several processes, got 2"),
        ({"distributed": "auto", "seeds": 2}, "expected one seed in several processes, got 2"),
        ({**JOINING, "coordinator": "node0"}, "expected a coordinator HOST:PORT, got 'node0'"),
        ({**JOINING, "coordinator": "node0:70000"}, "expected a coordinator HOST:PORT, got 'node0:70000'"),
        ({**JOINING, "process_id": 2}, "expected a process id below the number of processes, got 2"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags, told):
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        replace(TrainFlags.of(AE), **flags)
