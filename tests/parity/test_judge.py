"""The judge and its command without torch: recordings of Flax networks, from files, in every state of repair."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import recorded_flax
from scripted import End, ended

from jaxae.errors import InputError
from jaxae.parity.flax_recorder import record
from jaxae.parity.judge import judge
from jaxae.parity.recording_file import read_recording, write_recording
from jaxae.storage import npz
from torch_ref.recording import Conditions, Recording, draw, from_arrays

HERE = Path(__file__).parent
INPUTS = draw([(5, 2, 5, 5)])


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(recorded_flax.make(), tuple(INPUTS), name="net")


@pytest.fixture(scope="module")
def file(recording, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "a.npz"
    write_recording(path, recording)
    return path


def command(monkeypatch: pytest.MonkeyPatch, *argv: object) -> End:
    monkeypatch.chdir(HERE)
    return ended("compare", *map(str, argv))


def test_a_file_holds_the_whole_recording(recording, file):
    found = read_recording(file)
    assert judge(recording, found).passed
    before, after = recording.to_arrays(), found.to_arrays()
    assert before.keys() == after.keys()
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_flax_against_flax_by_command(file, monkeypatch, tmp_path):
    recorded = command(monkeypatch, "recorded_flax:make_gelu", "--inputs", "5x2x5x5", "--record", tmp_path / "b.npz")
    assert recorded.status == 0
    assert recorded.out.startswith("NNX: recorded_flax:make_gelu in float64 on cpu, ")
    assert command(monkeypatch, file, file).status == 0
    end = command(monkeypatch, file, tmp_path / "b.npz", "--json", tmp_path / "found.json")
    assert end.status == 1
    assert "first difference: input of drop (Dropout), " in end.out
    assert "jax_default_matmul_precision highest" in end.out
    assert command(monkeypatch, file, tmp_path / "b.npz", "--tolerance", "1").status == 0


def test_other_inputs_are_no_comparison(recording):
    others = {"other numbers in input 0": [INPUTS[0] + 1], r"input 0 of shape \(5,": [INPUTS[0][1:]], "1 arrays in": []}
    for said, inputs in others.items():
        with pytest.raises(InputError, match=f"^expected recordings of the same inputs, got {said}"):
            judge(recording, replace(recording, inputs=inputs))


def test_nothing_is_equal_that_was_not_compared(recording):
    nothing = replace(recording, results={}, calls=[], gradients={}, input_gradients={}, after={}, costs=[])
    assert judge(nothing, nothing).verdict == "cannot tell"
    assert not judge(nothing, nothing).passed
    renamed = replace(
        recording,
        weights={f"other.{name}": array for name, array in recording.weights.items()},
        trained=frozenset(f"other.{name}" for name in recording.trained),
    )
    comparison = judge(recording, renamed)
    assert comparison.verdict == "cannot tell"
    assert "cannot tell: weights without a counterpart, which were not compared: conv.bias, " in str(comparison)


def test_not_a_number_differs(recording):
    (name,) = recording.results
    broken = replace(recording, results={name: recording.results[name] * np.nan})
    comparison = judge(recording, broken)
    assert comparison.verdict == "differs"
    assert comparison.to_json()["rows"][-1]["what"]


def test_results_are_paired_by_their_names(recording):
    (array,) = recording.results.values()
    one = replace(recording, results={"a": array, "b": array + 1})
    other = replace(recording, results={"b": array + 1, "a": array})
    assert judge(one, other).passed
    with pytest.raises(InputError, match="2 arrays from NNX and 1 from NNX"):
        judge(one, recording)


def damage(arrays: dict[str, np.ndarray], how: str) -> None:
    match how:
        case "nothing":
            arrays.clear()
        case "about":
            arrays["about"] = np.frombuffer(b'{"format": "recording 9"}', np.uint8)
        case "no JSON":
            arrays["about"] = np.frombuffer(b"[" * 100_000, np.uint8)
        case "missing":
            del arrays["calls/0/inputs/0"]
        case "shape":
            arrays["gradients/fc1.bias"] = arrays["gradients/fc1.bias"][1:]
        case "more":
            arrays["else"] = np.zeros(1)
        case "texts":
            arrays["results/0"] = np.array(["a"])
        case "counts":
            text = arrays["about"].tobytes().replace(b'"inputs": 1', b'"inputs": 9999999999999')
            arrays["about"] = np.frombuffer(text, np.uint8)


@pytest.mark.parametrize("how", ["nothing", "about", "no JSON", "missing", "shape", "more", "texts", "counts"])
def test_a_damaged_recording_is_refused_in_one_line(how, file, tmp_path, monkeypatch):
    arrays = npz.read(file)
    damage(arrays, how)
    npz.write(tmp_path / "b.npz", arrays)
    end = command(monkeypatch, file, tmp_path / "b.npz")
    assert (end.status, end.out) == (2, "")
    assert end.err.startswith("error: expected a recording, got ")
    assert end.err.count("\n") == 1
    assert len(end.err) < 500


LIES: dict[str, tuple[dict[str, object], dict[str, np.ndarray], str]] = {
    "another format": ({"format": "recording 9"}, {}, "it is no "),
    "a framework": ({"framework": "jax"}, {}, "its framework is 'jax'"),
    "a text": ({"network": 1}, {}, "its network is no text"),
    "a list": ({"calls": {}}, {}, "its calls are no list"),
    "texts": ({"notes": [1]}, {}, "its notes are no texts"),
    "a mapping": ({"versions": []}, {}, "its versions is no mapping"),
    "conditions": ({"asked": {"train": True}}, {}, "what its network was asked to do is not said"),
    "a call": ({"calls": [["a", "b"]]}, {}, "its call 0 is no path, kind, counts and dtype"),
    "inputs": ({"inputs": "1"}, {}, "its inputs are not counted"),
    "two results": ({"results": ["0", "0"]}, {}, "two results have one name"),
    "more inputs": ({"inputs": 9}, {}, "it lacks inputs/1"),
    "letters": ({}, {"results/0": np.array(["a"])}, "its 'results/0' holds no numbers"),
    "a gradient": ({}, {"gradients/none": np.zeros(1)}, "its 'none' is no weight"),
    "an input's gradient": ({}, {"input_gradients/9": np.zeros(1)}, "its gradient of input 9 is that of none"),
    "more": ({}, {"else": np.zeros(1)}, "it holds 'else', which no recording has"),
    "nothing said": ({}, {"about": np.zeros(1)}, "it says nothing of a recording"),
    "depth": ({}, {"about": np.frombuffer(b"[" * 100_000, np.uint8)}, "nests beyond Python's recursion"),
}


@pytest.mark.parametrize(("about", "arrays", "said"), LIES.values(), ids=LIES)
def test_what_a_recording_must_not_say(about, arrays, said, recording):
    sound = recording.to_arrays()
    told = json.dumps(json.loads(sound["about"].tobytes()) | about).encode()
    with pytest.raises(ValueError, match=said):
        from_arrays({**sound, "about": np.frombuffer(told, np.uint8), **arrays})


def test_gradients_are_of_a_scalar_of_floats():
    with pytest.raises(InputError, match="expected a loss that gives a scalar with a gradient, got another"):
        record(recorded_flax.make(), tuple(INPUTS), loss=lambda result: result)
    with pytest.raises(InputError, match="expected a result with a gradient, got none"):
        record(recorded_flax.make(), tuple(INPUTS), call=lambda module, x: module(x).argmax(1))


def test_what_a_file_asks_for_must_be_there(recording, tmp_path, monkeypatch):
    write_recording(tmp_path / "loss.npz", replace(recording, asked=Conditions(loss="loss")))
    end = command(monkeypatch, tmp_path / "loss.npz", "recorded_flax:make")
    assert end == End(2, "", "error: expected --loss, the recording's function 'loss', got none\n")
    npz.write(tmp_path / "letters.npz", {"0": np.array(["a"])})
    asked = ["--inputs", tmp_path / "letters.npz", "--record", tmp_path / "new.npz"]
    end = command(monkeypatch, "recorded_flax:make", *asked)
    assert (end.status, end.out) == (2, "")
    assert "expected --inputs of numbers, got " in end.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "expected two networks A and B to compare, or A alone and --record, got 0"),
        (["recorded_flax:make"], "expected two networks A and B"),
        (["{file}", "{file}", "{file}"], "expected two networks A and B"),
        (["{file}", "recorded_flax:make", "--record", "{new}.npz"], "expected two networks A and B"),
        (["{file}", "nowhere.npz"], "expected a sound .npz file, got nowhere.npz"),
        (["{file}", "recorded_flax:nothing"], "expected package.module:factory, got recorded_flax:nothing"),
        (["{file}", "recorded_flax:make", "--port"], "expected two factories with --port, got "),
        (
            ["recorded_flax:make", "recorded_flax:make"],
            "expected --inputs, shapes such as 2x3x32x32 or a file, got none",
        ),
        (["recorded_flax:make", "--inputs", "5x2x5x5", "--record", "{new}.txt"], "expected a file that ends in .npz"),
        (
            ["recorded_flax:make", "--inputs", "5x3x5x5", "--record", "{new}.npz"],
            "expected inputs that the NNX module takes",
        ),
        (
            ["recorded_flax:loss", "--inputs", "5x2x5x5", "--record", "{new}.npz"],
            "expected package.module:factory, got",
        ),
        (["{file}", "{file}", "--tolerance", "nan"], "expected tolerance from 0 to "),
        (
            ["recorded_flax:make", "--inputs", "5x2", "x", "--record", "{new}.npz"],
            "expected --inputs of shapes such as",
        ),
        (
            [
                "recorded_flax:make",
                "--inputs",
                "5x2x5x5",
                "--loss",
                *["recorded_flax:loss"] * 3,
                "--record",
                "{new}.npz",
            ],
            "expected one or two functions with --loss, got 3",
        ),
        (["recorded_flax:make", "--inputs", "5x2x5x5", "--names", "a=b", "--record", "{new}.npz"], "names has 'a'"),
        (
            ["recorded_flax:make", "--inputs", "5x2", "--steps", "1", "--dtype", "bfloat16", "--record", "{new}.npz"],
            "expected no --steps in bfloat16",
        ),
        (
            ["builtins:dict", "--inputs", "2x4", "--record", "{new}.npz"],
            "expected builtins:dict to make a torch or an NNX module, got dict",
        ),
        (
            ["recorded_flax:make", "recorded_flax:make_several", "--inputs", "5x2x5x5", "--port"],
            "expected weights that the second network takes",
        ),
        (["{file}", "recorded_flax:make", "--device", "gpu"], "expected a gpu that JAX can use, got only: cpu"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(argv, said, file, tmp_path, monkeypatch):
    end = command(monkeypatch, *(one.format(file=file, new=tmp_path / "new") for one in argv))
    assert (end.status, end.out) == (2, ""), end
    assert said in end.err
    assert end.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
