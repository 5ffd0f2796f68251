"""Linen's layers: outputs of both frameworks compared after a port, both ways, and what is open or differs refused."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from flax.core import freeze, unfreeze

from jaxae import InputError, port

torch.set_num_threads(2)
T = torch.nn
F64 = {"param_dtype": jnp.float64}
SAME = {"padding": "VALID", **F64}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def scramble(module: T.Module) -> T.Module:
    """Random values everywhere, running variances positive."""
    generator = torch.Generator().manual_seed(1)
    for name, one in [*module.named_parameters(), *module.named_buffers()]:
        if one.is_floating_point():
            values = 0.5 * torch.randn(one.shape, generator=generator, dtype=one.dtype)
            one.data.copy_(values.abs() + 0.5 if name.endswith("var") else values)
    return module.double().eval()


def gap(ours: Any, theirs: torch.Tensor) -> float:
    """The largest difference, relative; arrays of images channels last, features of several axes in one."""
    a, b = np.asarray(ours), theirs.detach().numpy()
    b = np.moveaxis(b, 1, -1) if a.shape != b.shape and b.ndim > 2 else b
    return float(np.abs(a.reshape(b.shape) - b).max() / np.abs(b).max())


def init(module: linen.Module, *inputs: Any) -> Any:
    return module.init(jax.random.key(0), *map(jnp.asarray, inputs))


LAYERS = {
    "dense": (linen.Dense(3, **F64), T.Linear(5, 3), (7, 5)),
    "dense without bias": (linen.Dense(3, use_bias=False, **F64), T.Linear(5, 3, bias=False), (7, 5)),
    "conv 1d": (linen.Conv(4, (3,), **SAME), T.Conv1d(6, 4, 3), (2, 6, 9)),
    "conv of groups": (
        linen.Conv(4, (3, 2), (2, 1), padding=(1, 0), kernel_dilation=(1, 2), feature_group_count=2, **F64),
        T.Conv2d(6, 4, (3, 2), (2, 1), (1, 0), (1, 2), 2),
        (2, 6, 9, 8),
    ),
    "conv circular": (
        linen.Conv(4, (3, 3), padding="CIRCULAR", **F64),
        T.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
        (2, 3, 6, 5),
    ),
    "transposed": (linen.ConvTranspose(4, (3, 2), (2, 2), **SAME), T.ConvTranspose2d(3, 4, (3, 2), 2), (2, 3, 5, 4)),
    "transposed kernel": (
        linen.ConvTranspose(4, (4, 4), (2, 2), padding=((2, 2), (2, 2)), transpose_kernel=True, **F64),
        T.ConvTranspose2d(3, 4, 4, 2, 1),
        (2, 3, 5, 4),
    ),
    "batch norm": (linen.BatchNorm(True, momentum=0.9, **F64), T.BatchNorm2d(3), (2, 3, 5, 4)),
    "layer norm": (linen.LayerNorm(epsilon=1e-5, **F64), T.LayerNorm(6), (2, 6)),
    "layer norm without bias": (linen.LayerNorm(1e-5, use_bias=False, **F64), T.LayerNorm(6, bias=False), (2, 6)),
    "rms norm": (linen.RMSNorm(epsilon=1e-3, **F64), T.RMSNorm(6, eps=1e-3), (2, 6)),
    "group norm": (linen.GroupNorm(3, epsilon=1e-5, **F64), T.GroupNorm(3, 6), (2, 6, 5, 4)),
    "instance norm": (linen.InstanceNorm(epsilon=1e-5, **F64), T.InstanceNorm2d(6, affine=True), (2, 6, 5, 4)),
    "prelu": (linen.PReLU(**F64), T.PReLU(), (7, 5)),
    "features of several axes": (linen.DenseGeneral((2, 3), **F64), T.Linear(5, 6), (7, 5)),
    "einsum": (linen.Einsum((5, 3), "ab,bc->ac", **F64), T.Linear(5, 3), (7, 5)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, x64):
    module, theirs, shape = LAYERS[name]
    theirs, x = scramble(theirs), draw(*shape)
    ours_x = np.moveaxis(x, 1, -1)
    view = port.LinenView(init(module, ours_x), module, inputs=x)
    report = port.from_torch(view, theirs)
    assert not report.assumed
    assert not [note for note in report.notes if "not known" in note]
    got = module.apply(view.variables, jnp.asarray(ours_x))
    # Largest gap measured: 6e-16.
    assert gap(got, theirs(torch.from_numpy(x))) < 1e-13
    back = port.to_torch(view, like=theirs, carried=report.carried)
    assert all(torch.equal(back[one], tensor) for one, tensor in theirs.state_dict().items())
    next(theirs.parameters()).data.view(-1)[0] += 0.1
    assert gap(got, theirs(torch.from_numpy(x))) > 1e-6


CELLS = {
    "lstm": (linen.LSTMCell, T.LSTM),
    "optimized lstm": (linen.OptimizedLSTMCell, T.LSTM),
    "gru": (linen.GRUCell, T.GRU),
    "simple": (linen.SimpleCell, T.RNN),
}


class Recurrent(linen.Module):
    cell: Any

    @linen.compact
    def __call__(self, x: jax.Array) -> Any:
        return linen.RNN(self.cell(5, name="rnn", **F64))(x)


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_cells(name, x64):
    cell, kind = CELLS[name]
    holder: Any = scramble(T.ModuleDict({"rnn": kind(3, 5, batch_first=True)}))
    x, module = draw(2, 7, 3), Recurrent(cell)
    view = port.LinenView(init(module, x), module, inputs=x)
    report = port.from_torch(view, holder)
    assert any("1/2 as fast" in one for one in report.forward_only)
    got = module.apply(view.variables, jnp.asarray(x))
    assert gap(got, holder["rnn"](torch.from_numpy(x))[0]) < 1e-13
    holder.load_state_dict(port.to_torch(view, like=holder))
    assert gap(got, holder["rnn"](torch.from_numpy(x))[0]) < 1e-13
    holder["rnn"].bias_hh_l0.data[-1] += 0.1
    assert gap(got, holder["rnn"](torch.from_numpy(x))[0]) > 1e-6


@pytest.mark.filterwarnings("ignore:SelfAttention")
@pytest.mark.parametrize("kind", [linen.MultiHeadDotProductAttention, linen.SelfAttention])
def test_attention(kind, x64):
    theirs, x = scramble(T.MultiheadAttention(6, 2, batch_first=True)), draw(2, 5, 6)
    module = kind(num_heads=2, **F64)
    view = port.LinenView(init(module, x), module, inputs=x)
    port.from_torch(view, theirs)
    got = module.apply(view.variables, jnp.asarray(x))
    assert gap(got, theirs(*3 * [torch.from_numpy(x)])[0]) < 1e-13
    back = port.to_torch(view, like=theirs)
    assert all(torch.equal(back[one], tensor) for one, tensor in theirs.state_dict().items())


def test_embed():
    theirs = T.Embedding(7, 4)
    variables = init(linen.Embed(7, 4), np.zeros(3, int))
    view = port.LinenView(variables)
    port.from_torch(view, theirs)
    assert np.array_equal(view.variables["params"]["embedding"], theirs.weight.detach())


class Net(linen.Module):
    """A network as people write them: Linen's own names, training by default."""

    epsilon: float = 1e-5
    padding: Any = 1
    dtype: Any = None

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = linen.Conv(4, (3, 3), padding=self.padding, dtype=self.dtype)(x)
        x = linen.BatchNorm(not train, momentum=0.9, epsilon=self.epsilon)(x)
        x = linen.max_pool(linen.relu(x), (2, 2), (2, 2))
        x = linen.Dropout(0.5, deterministic=not train)(x.reshape(len(x), -1))
        x = linen.tanh(linen.Dense(5)(x))
        return linen.Dense(3)(x)


def torch_net() -> T.Module:
    features = T.Sequential(T.Conv2d(3, 4, 3, padding=1), T.BatchNorm2d(4), T.ReLU(), T.MaxPool2d(2))
    head = T.Sequential(T.Flatten(), T.Dropout(), T.Linear(4 * 3 * 2, 5), T.Tanh(), T.Linear(5, 3))
    return scramble(T.Sequential(features, head)).float()


def bridged(module: linen.Module) -> Any:
    return nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(jnp.zeros((1, 6, 4, 3)), train=False)


def test_a_bridged_network_is_proven_without_a_hint():
    ours, theirs = bridged(Net(dtype=jnp.bfloat16)), torch_net()
    before = ours.Dense_0["kernel"]
    report = port.from_torch(ours, theirs, inputs=(2, 3, 6, 4))
    assert report.proof.startswith("proven at")
    assert ours.Dense_0["kernel"] is before
    x = draw(2, 3, 6, 4).astype(np.float32)
    module: Any = Net()
    got = module.apply(port.LinenView(ours).variables, jnp.asarray(np.moveaxis(x, 1, -1)), train=False)
    # Largest gap measured, in float32: 2e-7.
    assert gap(got, theirs(torch.from_numpy(x))) < 1e-5
    back = port.to_torch(ours, like=theirs, inputs=(2, 3, 6, 4), carried=report.carried)
    assert all(torch.equal(back[name], one) for name, one in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("module", "place"),
    [(Net(epsilon=1e-3), "'BatchNorm_0' (BatchNorm) gives"), (Net(padding="CIRCULAR"), "'Conv_0' (Conv) gives")],
)
def test_a_mistake_is_refused_with_its_place(module, place):
    ours = bridged(module)
    before = ours.Dense_1["kernel"][...]
    with pytest.raises(InputError, match=re.escape(place)):
        port.from_torch(ours, torch_net(), inputs=(2, 3, 6, 4))
    assert np.array_equal(ours.Dense_1["kernel"][...], before)


NAMES = {"Conv_0": "0.0", "BatchNorm_0": "0.1", "Dense_0": "1.2", "Dense_1": "1.4"}


def test_names_and_settings_are_checked_without_a_proof():
    theirs, inputs = torch_net(), (1, 6, 4, 3)
    variables = Net().init(jax.random.key(0), jnp.zeros(inputs), train=False)
    said: Any = {"names": NAMES, "flatten": {"Dense_0": (4, 3, 2)}}
    view = port.LinenView(variables, Net(), inputs=inputs)
    port.from_torch(view, theirs, **said)
    proven = port.LinenView(variables, Net())
    port.from_torch(proven, theirs, inputs=(1, 3, 6, 4))
    assert jax.tree.all(jax.tree.map(np.array_equal, view.variables, proven.variables))
    with pytest.raises(InputError, match=re.escape("'BatchNorm_0': eps is 1e-05 in torch, but 0.001 in Flax")):
        port.from_torch(port.LinenView(variables, Net(1e-3), inputs=inputs), theirs, **said)
    with pytest.raises(InputError, match=r"'Dense_0' takes 24 features.* say flatten="):
        port.from_torch(view, theirs, names=NAMES)
    with pytest.raises(InputError, match=r"names=\{'Conv_0': '0.0'.*inputs= finds and proves"):
        port.from_torch(view, theirs, flatten=said["flatten"])


def test_variables_alone_tell_what_they_can():
    variables = Net().init(jax.random.key(0), jnp.zeros((1, 6, 4, 3)), train=False)
    view = port.LinenView(variables)
    report = port.from_torch(view, torch_net(), names=NAMES, flatten={"Dense_0": (4, 3, 2)})
    told = " ".join(report.notes)
    assert "eps, momentum in torch's sense (1 - Flax's) of 'BatchNorm_0' are not known" in told
    assert "padding (mode, low and high), dilation, groups of 'Conv_0' are not known" in told
    with pytest.raises(InputError, match="the Linen module to run, got variables alone"):
        port.from_torch(view, torch_net(), inputs=(2, 3, 6, 4))


class Own(linen.Module):
    """Names of one's own, which tell no class."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.ConvTranspose(3, (2, 2), (2, 2), name="up")(linen.Conv(3, (3, 3), name="into")(x))
        x = linen.LayerNorm(name="norm")(linen.Dense(4, name="fc")(x))
        return x * jnp.broadcast_to(self.param("gain", linen.initializers.ones, (4,)), x.shape)


def test_what_names_and_shapes_do_not_tell_is_asked_for_at_once():
    variables = init(Own(), np.zeros((1, 4, 4, 3)))
    with pytest.raises(InputError) as refused:
        port.to_torch(variables)
    told = str(refused.value)
    assert (
        "'into': its kernel (3, 3, 3, 3) may be that of linen.Conv(3, (3, 3)), linen.ConvTranspose(3, (3, 3))" in told
    )
    assert "'up': its kernel (2, 2, 3, 3)" in told
    assert "layers={'into': linen.Conv(...), ...} of jaxae.port.LinenView" in told
    assert "\n" not in told
    layers: dict[str, linen.Module] = {"into": linen.Conv(3, (3, 3)), "up": linen.ConvTranspose(3, (2, 2), (2, 2))}
    view = port.LinenView(variables, layers=layers)
    ran = port.LinenView(variables, Own(), inputs=(1, 4, 4, 3))
    state = port.to_torch(view, flatten="CHW")
    assert all(torch.equal(one, state[name]) for name, one in port.to_torch(ran).items())
    assert np.array_equal(state["up.weight"][0, 1], np.flip(variables["params"]["up"]["kernel"][:, :, 0, 1]))
    assert "'fc' is taken for a Dense" in str(port.describe(view, flatten="CHW"))
    with pytest.raises(InputError, match="layers has 'down', which has no variables"):
        port.LinenView(variables, layers=layers | {"down": linen.Dense(1)})


def test_forms_of_variables(unchecked):
    module = linen.Sequential([linen.Dense(5), linen.tanh, linen.Dense(4)])
    variables = init(module, np.zeros((1, 6)))
    boxed = jax.tree.map(lambda one: linen.Partitioned(one, (None,) * one.ndim), variables)
    state = {name: one.numpy() for name, one in port.to_torch(variables).items()}
    assert list(state) == ["layers_0.weight", "layers_0.bias", "layers_2.weight", "layers_2.bias"]
    for form in (variables["params"], freeze(variables), boxed, {"step": 3, "opt_state": {}, **variables}):
        assert all(np.array_equal(one, state[name]) for name, one in port.to_torch(form).items())
        view = port.LinenView(form)
        assert jax.tree.structure(view.variables) == jax.tree.structure(
            unfreeze(form) if "step" not in form else variables
        )
    theirs = T.Sequential(T.Linear(6, 5), T.Tanh(), T.Linear(5, 4))
    view = port.LinenView(boxed, module)
    port.from_torch(view, theirs, inputs=(2, 6))
    x = draw(2, 6).astype(np.float32)
    assert isinstance(view.variables["params"]["layers_0"]["kernel"], linen.Partitioned)
    assert gap(module.apply(view.variables, jnp.asarray(x)), theirs(torch.from_numpy(x))) < 1e-5
    with pytest.raises(InputError, match=r"got a dict: fill view = jaxae.port.LinenView"):
        port.from_torch(variables, theirs)


def test_a_bridged_part_of_a_network():
    class Whole(nnx.Module):
        def __init__(self) -> None:
            part = nnx.bridge.ToNNX(linen.Dense(5), rngs=nnx.Rngs(0))
            self.into, self.out = part.lazy_init(jnp.zeros((1, 6))), nnx.Linear(5, 4, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(jnp.tanh(self.into(x)))

    class Theirs(T.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = T.Linear(6, 5), T.Linear(5, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.into(x)))

    ours, theirs = Whole(), Theirs()
    assert port.from_torch(ours, theirs, inputs=(2, 6)).proof
    x = draw(2, 6).astype(np.float32)
    assert gap(ours(jnp.asarray(x)), theirs(torch.from_numpy(x))) < 1e-5


class Block(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return x + linen.Dense(6, name="fc")(linen.LayerNorm(1e-5, name="norm")(x)), None


class Deep(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        stacked: Any = linen.scan(Block, {"params": 0}, split_rngs={"params": True}, length=3)
        kept: Any = linen.remat(linen.Dense)
        return kept(4, name="out")(stacked(name="blocks")(x, None)[0])


class TorchBlock(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = T.LayerNorm(6), T.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc(self.norm(x))


def test_stacked_layers():
    theirs = scramble(T.ModuleDict({"blocks": T.Sequential(*(TorchBlock() for _ in range(3))), "out": T.Linear(6, 4)}))
    theirs.forward = lambda x: theirs["out"](theirs["blocks"](x))  # type: ignore[index, method-assign]
    x, module = draw(2, 6).astype(np.float32), Deep()
    theirs.float()
    view = port.LinenView(init(module, x), module, inputs=x)
    port.from_torch(view, theirs)
    got = module.apply(view.variables, jnp.asarray(x))
    assert gap(got, theirs(torch.from_numpy(x))) < 1e-5  # measured: 2e-7
    back = port.to_torch(view, like=theirs)
    assert all(torch.equal(back[name], one) for name, one in theirs.state_dict().items())
