"""Recordings of torch and of Flax, held against each other: what is equal, and where planted mistakes are found."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
import recorded_flax
import recorded_torch
import torch
from conftest import REPOSITORY
from flax import nnx
from scripted import End, ended

from jaxae.errors import InputError
from jaxae.parity import compare, flax_recorder, request
from jaxae.parity.comparison import Comparison
from jaxae.parity.judge import judge
from jaxae.parity.recording_file import read_recording
from jaxae.port import from_torch
from jaxae.port.options import PortOptions
from jaxae.port.trial import read_inputs
from torch_ref.errors import InputError as TheirError
from torch_ref.record import main as record_by_command
from torch_ref.recorder import record as record_torch
from torch_ref.recording import Conditions, Dtype, Recording, draw, weighting

HERE = Path(__file__).parent
INPUTS = draw([(5, 2, 5, 5)])
TRAIN = Conditions(train=True, steps=3)
NET = recorded_torch.make()


def twin(**settings: Any) -> nnx.Module:
    """The Flax network with the weights of torch's."""
    made = recorded_flax.Net(**settings)
    from_torch(made, NET.state_dict(), flatten="CHW")
    return made


def flax(module: nnx.Module, asked: Conditions | None = None, dtype: Dtype = "float64") -> Recording:
    return flax_recorder.record(module, tuple(INPUTS), asked, dtype=dtype)


@pytest.fixture(scope="module")
def evaluated() -> Recording:
    return record_torch(NET, INPUTS)


@pytest.fixture(scope="module")
def trained() -> Recording:
    return record_torch(NET, INPUTS, TRAIN)


def first(comparison: Comparison) -> tuple[str, str]:
    row = comparison.first_difference or comparison.first_gradient_difference
    assert row is not None
    assert comparison.verdict == "differs"
    return row.layer, row.what


def largest(comparison: Comparison, *what: str) -> float:
    return max(row.gap.max_rel for row in comparison.rows if row.what in what)


def command(monkeypatch: pytest.MonkeyPatch, *argv: object) -> End:
    monkeypatch.chdir(HERE)
    return ended("compare", *map(str, argv))


def test_the_same_networks_are_equal_by_command(monkeypatch, tmp_path):
    networks = ["recorded_torch:make", "recorded_flax:make", "--inputs", "5x2x5x5"]
    end = command(monkeypatch, *networks, "--port", "--train", "--json", tmp_path / "found.json")
    assert end.status == 0, end
    assert end.out.endswith("\nequal\n")
    for said in (
        "torch.get_float32_matmul_precision()",
        "jax_default_matmul_precision highest",
        "tolerance in float64",
    ):
        assert said in end.out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["verdict"] == "equal"
    assert {row["what"] for row in found["rows"]} >= {
        "output",
        "result",
        "cost",
        "gradient",
        "input gradient",
        "statistics",
    }


def test_training_agrees_in_float64(trained):
    comparison = judge(trained, flax(twin(), TRAIN))
    assert comparison.passed, str(comparison)
    # Measured: 6e-16, 1e-15, and 3e-8 of the bias before the norm, whose gradient is rounding alone.
    assert largest(comparison, "input", "output", "result") < 1e-13
    assert largest(comparison, "gradient", "input gradient") < 1e-12
    assert {row.layer for row in comparison.rows if row.what == "steps"} == {"conv", "norm", "fc1", "ln", "fc2"}
    assert comparison.notes == (
        "norm.running_var was not compared: torch keeps the unbiased variance, Flax the biased one",
    )


def test_sgd_agrees_too():
    comparison = compare(NET, twin(), INPUTS[0], steps=4, optimizer="sgd", learning_rate=0.1)
    assert comparison.passed, str(comparison)
    assert largest(comparison, "steps") < 1e-10  # 1e-15 measured


@pytest.mark.parametrize(
    ("settings", "asked", "place", "said"),
    [
        ({"approximate": True}, Conditions(), ("drop", "input"), "an activation or another operation"),
        ({"epsilon": 1e-6}, Conditions(), ("ln", "output"), "given the same input and weights: its settings"),
        ({"last": True}, Conditions(), ("fc1", "input"), "the same numbers in another order"),
        ({"rate": 0.1}, TRAIN, ("drop", "setting"), "rate 0.5 in the first, 0.1 in the second"),
        ({"momentum": 0.99}, TRAIN, ("norm", "statistics"), "its momentum"),
    ],
)
def test_a_mistake_is_found_in_its_place(settings, asked, place, said, evaluated, trained):
    comparison = judge(trained if asked.train else evaluated, flax(twin(**settings), asked))
    assert first(comparison) == place
    assert said in str(comparison)


def test_a_transposed_kernel_is_told_from_a_setting(evaluated):
    other: Any = twin()
    other.conv.kernel.set_value(other.conv.kernel[...][::-1])
    comparison = judge(evaluated, flax(other))
    assert first(comparison) == ("conv", "output")
    assert "given the same input: its weights, which are " in str(comparison)


def test_a_forgotten_evaluation_mode_is_found(evaluated):
    forgotten = replace(flax(twin(), Conditions(train=True)), asked=Conditions(), dropout={})
    assert first(judge(evaluated, forgotten)) == ("norm", "output")


def test_sums_that_stall_in_bfloat16_are_told():
    """Measured: the gradient of the bias over 1,568 places is off by 62 % in JAX on a CPU, by 0.2 % in torch."""
    inputs = tuple(draw([(8, 2, 16, 16)]))
    theirs, ours = torch.nn.Conv2d(2, 3, 3), nnx.Conv(2, 3, (3, 3), padding="VALID", rngs=nnx.Rngs(0))
    from_torch(ours, theirs.state_dict())
    whole, narrow = record_torch(theirs, inputs), record_torch(theirs, inputs, dtype="bfloat16")
    assert judge(whole, narrow).passed
    comparison = judge(whole, flax_recorder.record(ours, inputs, dtype="bfloat16"))
    assert comparison.first_difference is None
    assert "a sum of many narrow floats may stall" in str(comparison), str(comparison)


def test_float32_inside_of_jaxs_attention_is_told():
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    ours = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))
    call: Any = {"torch_call": lambda module, x: module(x, x, x, need_weights=False)[0]}
    comparison = compare(theirs, ours, draw([(3, 6, 8)])[0], **call)
    assert first(comparison) == ("", "result")
    assert "so small a gap is also that of float32 in it" in str(comparison)
    assert compare(theirs, ours, draw([(3, 6, 8)])[0], tolerance=1e-5, **call).passed


def test_another_eps_of_adam_is_found(trained, monkeypatch):
    rules = {"adam": lambda rate: optax.adam(rate, eps=1e-3), "sgd": optax.sgd}
    monkeypatch.setattr(flax_recorder, "_OPTIMIZERS", rules)
    comparison = judge(trained, flax(twin(), TRAIN))
    assert first(comparison)[1] == "cost"
    assert {row.layer for row in comparison.rows if row.what == "steps" and not row.passed} >= {"fc1", "fc2"}
    assert comparison.first_difference is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_narrow_floats_are_held_to_their_own_tolerance(dtype):
    asked = Conditions(train=True, steps=3 if dtype == "float32" else 0)
    comparison = judge(record_torch(NET, INPUTS, asked, dtype=dtype), flax(twin(), asked, dtype))
    assert comparison.passed, str(comparison)
    assert f"tolerance in {dtype}" in str(comparison)
    # Measured: 3e-7 in float32, 1e-2 in bfloat16: a narrow float's rounding, and no more.
    assert (2**-25 if dtype == "float32" else 2**-11) < largest(comparison, "output", "result")


def test_float32_beside_float64_is_held_to_float32(evaluated):
    assert judge(evaluated, flax(twin(), dtype="float32")).passed


def test_a_narrow_layer_is_held_to_its_own_tolerance_and_all_that_follows_it():
    class Narrow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(self.one(x).bfloat16().to(x.dtype))

    inputs = draw([(3, 4)])
    torch.manual_seed(0)
    wide, narrow = record_torch(Narrow(), inputs), record_torch(Narrow(), inputs)
    assert judge(wide, narrow).verdict == "differs"  # of other weights
    assert judge(wide, wide).passed


def test_trees_of_results_and_whole_numbers_compare():
    labels = np.array([1, 4, 2])
    net = recorded_torch.make_several()
    comparison = compare(net, recorded_flax.Several(), (draw([(3, 4)])[0], labels))
    assert comparison.passed, str(comparison)
    assert [row.kind for row in comparison.rows if row.what == "result"] == [
        "result classes",
        "result mean",
        "result rest.0",
    ]
    assert [row.kind for row in comparison.rows if row.what == "input gradient"] == ["input 0"]


def test_a_loss_of_ones_own_by_command(monkeypatch):
    networks = ["recorded_torch:make", "recorded_flax:make", "--inputs", "5x2x5x5", "--port", "--steps", "2"]
    end = command(
        monkeypatch, *networks, "--loss", "recorded_torch:loss", "recorded_flax:loss", "--learning-rate", "0.01"
    )
    assert end.status == 0, end


def test_gradients_are_of_a_scalar_of_floats():
    losses: list[Any] = [lambda result: result, lambda result: result.sum().detach(), lambda result: 1.0]
    for call in losses:
        with pytest.raises(TheirError, match="expected a loss that gives a scalar with a gradient, got another"):
            record_torch(NET, INPUTS, loss=call)
    with pytest.raises(TheirError, match="expected a result with a gradient, got none"):
        record_torch(NET, INPUTS, call=lambda module, x: module(x).detach())


def test_noise_is_told():
    inputs = draw([(8, 4)])
    noisy = record_torch(recorded_torch.make_noisy(), inputs)
    assert any("other numbers when it is called again" in one for one in noisy.notes)
    ours = flax_recorder.record(recorded_flax.Noisy(), tuple(inputs))
    comparison = judge(noisy, ours)
    assert comparison.verdict == "differs"
    assert "when its noise is another: dropout" in str(comparison)


def test_a_file_of_a_process_without_jax_is_compared_here(monkeypatch, tmp_path):
    """As on a machine that has torch alone: importing jax or jaxae raises there."""
    code = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax', 'jaxae', 'ml_dtypes', 'optax'):\n"
        "    sys.modules[name] = None\n"
        "from torch_ref.record import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    argv = ["recorded_torch:make", "--inputs", "5x2x5x5", "--out", str(tmp_path / "a.npz"), "--train", "--steps", "2"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=HERE, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "precision of float32 products in force: torch.get_float32_matmul_precision()" in done.stdout
    recording = read_recording(tmp_path / "a.npz")
    asked = Conditions(train=True, steps=2)
    assert judge(recording, flax(twin(), asked)).passed
    monkeypatch.setattr(recorded_flax, "make", twin)
    assert command(monkeypatch, tmp_path / "a.npz", "recorded_flax:make").status == 0
    end = command(monkeypatch, tmp_path / "a.npz", "recorded_flax:make", "--inputs", "5x2x6x5")
    assert end.status == 2
    assert end.err.startswith("error: expected ")
    end = command(monkeypatch, tmp_path / "a.npz", "recorded_flax:make", "--steps", "1")
    assert end == End(2, "", "error: expected steps as in the recording, 2, got 1\n")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere:make", "--inputs", "2x4"], "expected package.module:name, got nowhere:make"),
        (["recorded_torch:make", "--inputs", "2x4"], "expected inputs that the torch network takes, got: "),
        (["recorded_torch:make", "--inputs", "nowhere"], "expected shapes such as 2x3x32x32, or one .npz file"),
        (["recorded_torch:make", "--inputs", "5x2x5x5", "--steps", "-1"], "expected 0 to 10000, got -1"),
        (["recorded_torch:make", "--inputs", "5x2x5x5", "--steps", "1", "--dtype", "bfloat16"], "no steps in bfloat16"),
        (["recorded_torch:make", "--inputs", "5x2x5x5", "--loss", "recorded_torch:Net"], "expected "),
        (["recorded_torch:make_tanh", "--inputs", "5x2x5x5", "--device", "cuda:77"], "there is no 'cuda:77' here"),
        (["builtins:dict", "--inputs", "2x4"], "expected builtins:dict to make a torch.nn.Module, got dict"),
        (
            ["builtins:dict", "--inputs", "2x4", "--learning-rate", "nan"],
            "expected a finite number of at least 0, got nan",
        ),
        (["builtins:dict", "--inputs", "2x4", "--steps", "x"], "argument --steps: invalid int value: 'x'"),
        (["builtins:dict", "--inputs", "2x4", "--out", "new.txt"], "expected a file that ends in .npz, got new.txt"),
    ],
)
def test_torchs_command_refuses_in_one_line(argv, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(HERE)
    assert record_by_command(["--out", str(tmp_path / "a.npz"), *argv]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert len(err) < 500
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_inputs_are_of_numbers_and_stay_as_they_are(tmp_path, capsys):
    np.savez(tmp_path / "letters.npz", np.array(["a"]))
    before = (tmp_path / "letters.npz").read_bytes()
    for out, said in {"new": "expected arrays of numbers, got ", "letters": "letters.npz is read"}.items():
        argv = ["builtins:dict", "--inputs", str(tmp_path / "letters.npz"), "--out", str(tmp_path / f"{out}.npz")]
        assert record_by_command(argv) == 2
        assert said in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["recorded_torch:make_noisy", "--port"], "expected weights that the second network takes, got: "),
        (["recorded_torch:make", "--device", "gpu"], "expected a gpu that torch can use, got none"),
        (["recorded_torch:make_noisy"], "expected inputs that the torch network takes, got: "),
    ],
)
def test_what_torch_does_not_take_is_refused_in_one_line(argv, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    end = command(monkeypatch, "recorded_torch:make", *argv, "--inputs", "5x2x5x5")
    # torch is to have a part of a GPU's memory beside JAX.
    assert os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE") == ("false" if "gpu" in argv else None)
    assert (end.status, end.out) == (2, "")
    assert end.err.startswith(f"error: {said}")
    assert end.err.count("\n") == 1


def test_networks_that_are_not_the_same_are_paired_by_torchs_order():
    options, constants = request._proven(twin(approximate=True), NET, INPUTS, PortOptions())
    assert (options, constants) == ({"flatten": "CHW", "unflatten": "CHW"}, ())


def test_both_frameworks_draw_the_same_inputs():
    ours, theirs = read_inputs(((2, 3), (4,))), draw([(2, 3), (4,)])
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_results_are_weighted_alike_in_either_layout():
    assert np.allclose(np.moveaxis(weighting((2, 3, 4, 5)), 1, -1), weighting((2, 4, 5, 3)), rtol=1e-15)


def test_networks_are_left_alone(evaluated):
    assert NET.training
    assert all(one.grad is None for one in NET.parameters())
    assert not jax.config.values["jax_enable_x64"]
    assert re.fullmatch(r"torch: Net in float64 on cpu, .*", str(evaluated))
    with pytest.raises(InputError, match="asked the same, got train False in the first, True in the second"):
        judge(evaluated, record_torch(NET, INPUTS, TRAIN))
