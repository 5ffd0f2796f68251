"""Networks become Flax source that does the same, or nothing is written."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from translation.zoo import ZOO

import torch_ref
from jaxae.errors import InputError
from jaxae.port import from_torch
from jaxae.translation import table  # noqa: F401  registers the rules
from jaxae.translation.entry import translate
from jaxae.translation.rules import FUNCTIONS, LAYERS

RUFF = Path(sys.executable).with_name("ruff")


def quick(module: nn.Module, *inputs: Any, **more: Any) -> Any:
    settings: dict[str, Any] = {"steps": 1} | more
    return translate(module, tuple(inputs), **settings)


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_is_translated_and_proven(name: str, tmp_path: Path) -> None:
    animal = ZOO[name]
    found = quick(animal.make(), *animal.inputs)
    assert found.proof.passed
    said = {check.what.partition(":")[0] for check in found.proof.checks}
    assert {"inference", "training, another batch", "1 steps of Adam"} <= said, said
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name)
        for node in ast.walk(ast.parse(found.source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {"jax", "jax.numpy", "flax", "collections.abc", "functools", "math", "numpy", "typing"}
    (tmp_path / "net.py").write_text(found.source)
    for command in (["format", "--check"], ["check", "--select", "E4,E7,E9,F,I,B,UP"]):
        done = subprocess.run([RUFF, *command, "--isolated", "net.py"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_weights_of_a_file_port_by_the_names_of_a_translation() -> None:
    torch.manual_seed(0)
    module = ZOO["TCN"].make()
    found = quick(module, *ZOO["TCN"].inputs)
    other = ZOO["TCN"].make()
    from_torch(found.module, other.state_dict(), names=found.names)
    x = torch.randn(2, 2, 20)
    found.module.eval()
    np.testing.assert_allclose(found.module(x.numpy()), other.eval()(x).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (torch_ref.Autoencoder(784), ((3, 784),)),
        (torch_ref.DenseVariationalAutoencoder(4, 0, (12, 9)), ((3, 1, 28, 28),)),
    ],
)
def test_the_projects_own(module: nn.Module, inputs: Any) -> None:
    assert quick(module, *inputs).proof.passed


class Bent(nn.Module):
    """What cannot be translated, in four places."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x)
        if x.sum() > 0:
            x = x + 1
        self.seen += 1
        x = Doubled.apply(x)
        return torch.linalg.svd(x)[1]


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0] * 2


def test_everything_that_cannot_be_written_is_named_at_once() -> None:
    with pytest.raises(InputError) as refused:
        quick(Bent(), (2, 4))
    told = str(refused.value)
    for part in ("test_translate.py", "if x.sum() > 0:", "changes seen in place", "Doubled", "svd"):
        assert part in told
    assert told.startswith("expected a network that Flax source can say, got")


def test_inputs_that_the_network_does_not_take() -> None:
    with pytest.raises(InputError, match="inputs that the torch network takes"):
        quick(nn.Linear(4, 4), (2, 5))


class Changing(nn.Module):
    """Another network in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> Any:
        h = F.relu(self.a(x))
        if self.training:
            return self.b(h), self.aux(h)
        return self.b(h)


def test_training_mode_may_do_something_else() -> None:
    found = quick(Changing(), (2, 4))
    assert "if self.deterministic:" in found.source
    assert any("another batch: results" in check.what for check in found.proof.checks)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 8), nn.Linear(8, 11, bias=False)
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.head.weight, self.two.weight = self.table.weight, self.one.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.two(F.relu(self.one(self.table(tokens)))))


def test_what_is_one_tensor_stays_one() -> None:
    found = quick(Tied(), np.arange(10).reshape(2, 5), steps=3)
    assert "self.table.attend(" in found.source
    assert found.module.one.kernel is found.module.two.kernel


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svd(x)[1] * self.weight


def test_a_leaf_is_left_to_a_person() -> None:
    module = nn.Sequential(nn.Linear(5, 3), Odd(), nn.Linear(3, 2))
    with pytest.raises(InputError, match="svd"):
        quick(module, (4, 3, 5))
    found = quick(module, (4, 3, 5), leaf=["Odd"])
    assert not found.proof.passed
    assert "class Odd(nnx.Module):" in found.source
    assert "weight (3,)" in found.source
    with pytest.raises(NotImplementedError, match="Odd is left to be written"):
        found.module(np.ones((4, 3, 5), np.float32))


def test_layouts_may_be_kept() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    kept, moved = (quick(module, (2, 2, 8, 8), keep_nchw=keep) for keep in (True, False))
    assert kept.source.count("moveaxis") > moved.source.count("moveaxis")


def wrong(name: str, write: Any) -> Any:
    """Plant a mistake in the rule of a function."""
    return lambda patch: patch.setitem(FUNCTIONS, name, type(FUNCTIONS[name])(write, FUNCTIONS[name].channels))


def spoilt(name: str, what: str, by: str) -> Any:
    """Plant a mistake in the source that a layer's rule writes."""
    rule = LAYERS[name]

    def write(holes: Any, module: Any) -> Any:
        found = rule(holes, module)
        for hole in holes.holes:
            if hole.hint == what:
                hole.value = eval(by, {"value": hole.value})
        return found

    return lambda patch: patch.setitem(LAYERS, name, write)


MISTAKES = {
    "another activation": wrong("relu", lambda w, x, inplace=False: w.elementwise("nnx.relu6({})", x)),
    "a sum for a mean": wrong("mean", lambda w, x, dim, keepdim=False: w.reduce("{}.sum({})", x, dim, keepdim)),
    "the other axis": wrong("mean", lambda w, x, dim, keepdim=False: w.reduce("{}.mean({})", x, (1, 2), keepdim)),
    "minus for plus": wrong("add", lambda w, x, y: w.elementwise("({} - {})", x, y)),
    "channels last flattened": wrong(
        "flatten",
        lambda w, x, start_dim=0, end_dim=-1: type(w.elementwise("{}", x))(f"{x.code}.reshape({x.code}.shape[0], -1)"),
    ),
    "epsilon": spoilt("BatchNorm2d", "epsilon", "1e-4"),
    "momentum": spoilt("BatchNorm2d", "momentum", "0.99"),
    "padding": spoilt("Conv2d", "padding", "'SAME'"),
    "stride": spoilt("Conv2d", "strides", "2"),
    "bias left out": spoilt("Linear", "use_bias", "False"),
}


class Small(nn.Module):
    """A network on which each of the mistakes shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3, padding=2), nn.BatchNorm2d(3)
        self.head, self.other = nn.Linear(3, 4), nn.Linear(3 * 7 * 7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(3 * self.norm(self.conv(x)))
        return self.head(x.mean((2, 3))) + self.other(x.flatten(1))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_rule_is_caught(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MISTAKES[mistake](monkeypatch)
    with pytest.raises(InputError, match=r"expected (a translation that does the same|weights that port)"):
        quick(Small(), (2, 2, 5, 5))


def test_without_a_mistake_it_passes_and_a_failing_place_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick(Small(), (2, 2, 5, 5)).proof.passed
    MISTAKES["epsilon"](monkeypatch)
    found = quick(Small(), (2, 2, 5, 5), unproven=True)
    assert not found.proof.passed
    assert "# NOT PROVEN" in found.source


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, *, scale: float = 2.0, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = scale * self.linear(x)
        return y if mask is None else y.masked_fill(~mask, 0.0)


def test_arguments_by_name() -> None:
    mask = np.array([[True, False, True, True], [False, True, True, True]])
    found = translate(Masked(), (2, 4), keywords={"mask": mask}, steps=1)
    assert found.proof.passed
    assert "def __call__(self, x: jax.Array, mask: jax.Array)" in found.source


def test_what_is_rounded_to_float32_within_is_proven_in_float64() -> None:
    class Norm(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = x.float()
            return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)

    found = quick(nn.Sequential(nn.Linear(4, 4), Norm()), (2, 4))
    assert ".astype(jnp.float32)" in found.source


def test_a_network_of_fixed_sizes_is_told() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones(3, 4)

    found = quick(nn.Sequential(nn.Linear(4, 4), Fixed()), (3, 4))
    assert any("sizes of the inputs are fixed" in note for note in found.notes)


def test_the_command_writes_a_file_and_its_proof(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_torch_net.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(3, 2)\n")
    ended = command("translate.py", "my_torch_net:make", "--inputs", "2x3", "--out", "net.py", "--steps", "1")
    assert ended.status == 0, ended.err
    assert "proven in float64" in ended.out
    assert "class Network(nnx.Module):" in (tmp_path / "net.py").read_text()
    assert (tmp_path / "net.proof.json").exists()
    for words, said in (
        (["--inputs", "2x4"], "inputs that the torch network takes"),
        ([], "expected --inputs"),
        (["--inputs", "2xx"], "expected --inputs like 2x3x32x32"),
        (["--inputs", "2x3", "--out", "net.txt"], "ends in .py"),
    ):
        ended = command("translate.py", "my_torch_net:make", *words)
        assert ended.status == 2
        assert said in ended.err
