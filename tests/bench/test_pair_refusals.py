"""What cannot be measured of a pair of one's own is told in one line."""

import json
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import optax
import pytest
import torch
from conftest import REPOSITORY
from flax import linen, nnx
from small_pair import IMAGES, PAIR, FlaxNet, jax_loss, sgd, torch_loss

from jaxae.bench import PairSettings
from jaxae.bench.pair.half import make_pair, read_half
from jaxae.bench.pair.networks import NetworkPair
from jaxae.bench.pair.prepare import prepare, prepare_file
from jaxae.errors import InputError
from jaxae.port import from_torch


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"torch_module": torch_loss}, "expected a torch.nn.Module first, got function"),
        ({"nnx_module": jax_loss}, "expected an nnx.Module, a linen.Module, or a function and .* second, got function"),
        ({"nnx_module": (jax_loss, [1])}, "a function and a dict of parameters second, got tuple"),
        ({"nnx_module": (jax_loss, {"w": np.zeros(3)})}, "expected "),
        ({"nnx_module": linen.Dense(3, dtype="none")}, "a Linen module that makes its variables .*, got TypeError: "),
        (
            {"torch_loss": lambda result, *_: result},
            r"a torch loss that returns a scalar .*, got a tensor of shape \(8, 3\)",
        ),
        ({"torch_loss": lambda *_: 1.0}, "a torch loss that returns a scalar with a gradient, got float"),
        ({"torch_loss": lambda result, *_: result.detach().sum()}, "scalar with a gradient, got torch.float32 without"),
        (
            {"torch_loss": lambda result, *_: result.sum() / 0},
            "expected a torch loss that is finite at first, got -?inf",
        ),
        ({"torch_loss": lambda result: result}, "expected a torch loss of result, inputs and targets, got TypeError: "),
        ({"jax_loss": lambda result, *_: result}, r"a JAX loss that returns a scalar, got an array of shape \(8, 3\)"),
        ({"jax_loss": lambda *_: 1}, "a JAX loss that returns a scalar, got one of int32"),
        ({"jax_loss": lambda result: result}, "expected a JAX loss of result, inputs and targets, got TypeError: "),
        (
            {"optimizers": (lambda _: None, optax.sgd(1))},
            "parameters to a torch optimizer, got one that returns NoneType",
        ),
        ({"optimizers": (optax.sgd(1), optax.sgd(1))}, "from parameters to a torch optimizer, got TypeError"),
        ({"optimizers": (sgd(1)[0], sgd)}, "expected an optax optimizer, got function"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(change, told):
    with pytest.raises(InputError, match=told) as refused:
        prepare(replace(PAIR, **change))
    assert str(refused.value).startswith("expected ")
    assert "\n" not in str(refused.value)


def test_weights_that_do_not_port_are_told_in_the_ports_own_words():
    other = FlaxNet()
    other.norm = nnx.BatchNorm(3, momentum=0.5, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"norm.*momentum") as own:
        from_torch(nnx.clone(other), PAIR.torch_module, inputs=IMAGES, flatten="CHW")
    with pytest.raises(InputError) as refused:
        prepare(replace(PAIR, nnx_module=other))
    assert str(refused.value) == str(own.value)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "expected net.py:make to return 5 or 7 things .*, got NoneType"),
        ((1, 2, 3, 4, 5, 6), "expected net.py:make to return 5 or 7 things .*, got 6 things"),
        ({"torch_module": 1}, "to return a dict of .*, got none of nnx_module, inputs, torch_loss, jax_loss"),
        (vars(PAIR) | {"loss": 1}, "to return a dict of .*, got loss too"),
    ],
)
def test_what_a_function_must_return_is_told(made, told):
    with pytest.raises(InputError, match=told):
        NetworkPair.made(made, "net.py:make")


def test_a_tuple_and_a_dict_make_the_same_pair():
    five = (PAIR.torch_module, PAIR.nnx_module, IMAGES, torch_loss, jax_loss)
    assert NetworkPair.made(five, "make") == NetworkPair(*five)
    assert NetworkPair.made((*five, *(PAIR.optimizers or ())), "make").optimizers == PAIR.optimizers
    assert NetworkPair.made(vars(PAIR), "make") == PAIR


BENCHMARK = REPOSITORY / "docs" / "benchmark-cpu.json"

NET = """
import numpy as np
import optax
import torch
from flax import linen, nnx

from layers import WIDTH


class Ours(nnx.Module):
    def __init__(self):
        self.layer = nnx.Linear(3, WIDTH, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.layer(x)


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, WIDTH)

    def forward(self, x):
        return self.layer(x)


def square(result, x):
    return (result ** 2).mean()


def make():
    adam = lambda parameters: torch.optim.Adam(parameters, 0.01)
    return Theirs(), Ours(), np.ones((4, 3)), square, square, adam, optax.adam(0.02)
"""


def test_a_pair_of_a_file_runs_in_processes_of_its_own(tmp_path, command):
    """Whose networks no other process can import; here they are given other optimizers, and are not timed."""
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "layers.py").write_text("WIDTH = 2")
    quick = ("--rounds", 1, "--turn-seconds", 0.001, "--threads", 1)
    flags = ("--pair", f"{tmp_path / 'net.py'}:make", "--pair-contenders", "jax_jit", *quick)
    ended = command("benchmark.py", *flags, "--json", tmp_path / "found.json", "--page", tmp_path / "page.html")
    assert ended.status == 1
    assert "error: expected times of both frameworks, got JAX, jit: cost of step 2 is " in ended.err
    written = json.loads((tmp_path / "found.json").read_text())
    assert json.loads(ended.out.splitlines()[-1]) == written
    assert [row["status"] for row in written["rows"]] == ["ok", "differs"] * 3
    assert written["environment"]["versions"].keys() >= {"torch", "jax"}
    assert "proven at" in (tmp_path / "page.html").read_text()


DRAWN = """
import numpy as np
import torch
from flax import linen, nnx

calls = 0


class Ours(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(calls)
        self.first, self.last = nnx.Linear(3, 3, rngs=rngs), Last(rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)

    def __call__(self, x):
        return self.last.layer(self.norm(self.first(x)))


class Last(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(3, {nnx_width}, rngs=rngs)


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(calls)
        self.first, self.norm, self.last = torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Module()
        self.tied, self.last.layer = self.first, torch.nn.Linear(3, {torch_width})
        self.norm.running_mean += calls
        self.register_buffer("scale", torch.full((), 1.0 + calls), persistent=False)
        {extra}

    def forward(self, x):
        return self.last.layer(self.norm(self.tied(x) * 1.0))


def square(result, x):
    return (result ** 2).mean()


def make():
    global calls
    calls += 1
    return Theirs(), Ours(), np.random.default_rng(calls).normal(size=(4, 3)), square, square
"""


def test_what_is_made_anew_gets_the_weights_and_inputs_of_the_first_call(tmp_path):
    """Which a file tells of: buffers that no state_dict has, statistics of batches, what is tied."""
    (tmp_path / "drawn.py").write_text(DRAWN.format(torch_width=2, nnx_width=2, extra="pass"))
    name = f"{tmp_path / 'drawn.py'}:make"
    prepare_file(name, str(tmp_path))
    # The module of its functions is one of this process: torch.compile looks there for what they name.
    own = sys.modules["jaxae_users_drawn"]
    first = own.calls
    theirs: Any
    ours: Any
    theirs, ours = (read_half(make_pair(name), tmp_path, framework) for framework in ("torch", "jax"))
    assert type(theirs.module) is own.Theirs
    assert own.calls == first + 2 == 4
    assert theirs.module.scale == 2
    assert theirs.module.tied.weight is theirs.module.first.weight
    np.testing.assert_array_equal(theirs.inputs[0], np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32))
    np.testing.assert_array_equal(ours.inputs[0], theirs.inputs[0])
    x = torch.from_numpy(theirs.inputs[0])
    theirs.module.eval()
    ours.module.eval()
    with torch.no_grad():
        np.testing.assert_allclose(ours.module(ours.inputs[0]), theirs.module(x), rtol=1e-5)
    torch.manual_seed(1)
    assert torch.equal(theirs.module.first.weight, torch.nn.Linear(3, 3).weight)


@pytest.mark.parametrize(
    ("torch_width", "nnx_width", "extra", "told"),
    [
        (
            "1 + calls",
            2,
            "pass",
            r"torch network at each call, got last.layer.weight of shape \(3, 3\), at first of .*",
        ),
        (2, "1 + calls", "pass", r"NNX network at each call, got last.layer.bias.* of shape \(3,\), at first of .*"),
        (2, 2, "calls == 1 or delattr(self, 'tied')", "got tied.weight absent, at first of shape .*"),
    ],
)
def test_a_function_that_makes_another_network_when_called_again_is_refused(
    torch_width, nnx_width, extra, told, tmp_path
):
    (tmp_path / "drawn.py").write_text(DRAWN.format(torch_width=torch_width, nnx_width=nnx_width, extra=extra))
    sys.modules.pop("jaxae_users_drawn", None)
    with pytest.raises(InputError, match=f"expected a function that makes the same .*{told}"):
        prepare_file(f"{tmp_path / 'drawn.py'}:make", str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--pair", "net.py:make", "--models", "ae"), "expected no --models beside --pair, got one"),
        (("--pair", "net.py:make", "--batch-size", 3), "expected no --batch-size beside --pair, got one"),
        (("--pair", "net.py:make", "--contenders", "jax_step"), r"no --contenders beside --pair \(--pair-contenders\)"),
        (("--pair", "net.py:make", "--compare", "net.py"), "expected"),
        (("--pair", "net.py:make", "--compare", BENCHMARK), "expected a benchmark's result of a pair in "),
        (
            ("--pair", "net.py:make", "--pair-contenders", "jax"),
            "expected contenders of a pair out of torch_eager, .*'jax'",
        ),
        (("--pair", "net.py:make", "--json", "net.py"), "expected"),
        (("--tolerance", 1e-3), "expected --pair beside --tolerance, got none"),
        (("--page", "page.html"), "expected --pair beside --page, got none"),
        (("--pair", "none.py:make", "--rounds", 1), "expected a Python file, got no none.py"),
    ],
)
def test_flags_that_a_pair_has_not_are_refused(flags, told, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("")
    ended = command("benchmark.py", *flags)
    assert ended.status == 2
    assert re.match(f"error: .*{told}.*\n", ended.err.splitlines(keepends=True)[-1])
    assert not ended.out
    assert sorted(one.name for one in tmp_path.iterdir()) == ["net.py"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"contenders": ("jax_step",)}, "contenders of a pair out of torch_eager, .*, got 'jax_step'"),
        ({"contenders": ()}, "at least one contender, got none"),
        ({"tf32": True}, "tf32 and deterministic only with a gpu, got cpu"),
    ],
)
def test_bad_settings_of_a_pair(fields, message):
    with pytest.raises(InputError, match=f"expected {message}"):
        PairSettings(**fields)
