"""Rows of layers that Flax has under other shapes or names: outputs of both frameworks compared in float64."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from test_port_layers import F64, RNGS, ZEROS, check, check_attention, draw, gap, scramble

from jaxae import port
from jaxae.errors import InputError

torch.manual_seed(0)


def comes_back(ours: nnx.Module, theirs: torch.nn.Module, **options: Any) -> bool:
    """Whether a state_dict made of the NNX module is torch's own, bit by bit."""
    back = port.to_torch(ours, like=theirs, **options)
    return all(torch.equal(back[name], value) for name, value in theirs.state_dict().items())


@pytest.mark.parametrize("bias", [True, False])
def test_linear_general(x64, bias):
    more: Any = {"use_bias": bias, "rngs": RNGS, **ZEROS}
    check(lambda: nnx.LinearGeneral(5, 6, **more), torch.nn.Linear(5, 6, bias=bias), draw(7, 5))
    theirs = scramble(torch.nn.Linear(6, 20, bias=bias))
    ours = nnx.LinearGeneral((2, 3), (4, 5), axis=(-2, -1), **more)
    port.from_torch(ours, theirs)
    x = draw(7, 2, 3)
    assert gap(ours(jnp.asarray(x)).reshape(7, 20), theirs(torch.from_numpy(x).flatten(1))) < 1e-12
    assert comes_back(ours, theirs)


def test_linear_general_after_an_image_asks_for_the_order(x64):
    class Ours(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(2, 3, (1, 1), rngs=RNGS, **F64)
            self.fc = nnx.LinearGeneral((4, 5, 3), 7, axis=(1, 2, 3), rngs=RNGS, **F64)

    theirs = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(2, 3, 1), "fc": torch.nn.Linear(60, 7)}).double()
    with pytest.raises(InputError, match="shapes alone cannot tell in which order"):
        port.from_torch(Ours(), theirs)
    with pytest.raises(InputError, match="has no flat features"):
        port.from_torch(Ours(), theirs, flatten={"fc": (3, 4, 5)})


EINSUMS = [
    ("...b,bc->...c", (6, 4), (4,), (3, 6)),
    ("...b,cb->...c", (4, 6), None, (3, 6)),
    ("nta,hab->nthb", (2, 6, 5), (2, 5), (3, 2, 6)),
    ("nab,chab->nhc", (4, 2, 3, 5), (2, 4), (6, 3, 5)),
]


@pytest.mark.parametrize(("equation", "kernel", "bias", "x"), EINSUMS)
def test_einsum(x64, equation, kernel, bias, x):
    ours = nnx.Einsum(equation, kernel, bias, rngs=RNGS, **ZEROS)
    x = draw(*x)
    inputs = 6 if "ab->nhc" not in equation else 15
    theirs = scramble(torch.nn.Linear(inputs, int(np.prod(kernel)) // inputs, bias=bias is not None))
    port.from_torch(ours, theirs)
    expected = theirs(torch.from_numpy(x.reshape(*x.shape[:-1], 6) if inputs == 6 else x.reshape(-1, 15)))
    got = ours(jnp.asarray(x))
    assert gap(got.reshape(expected.shape), expected) < 1e-12
    assert comes_back(ours, theirs)


@pytest.mark.parametrize(
    ("equation", "kernel"), [("ab,bc->ca", (3, 4)), ("ab,ab->a", (3, 4)), ("abc,bcd->abd", (3, 4, 5))]
)
def test_einsums_that_are_no_linear_are_refused(equation, kernel):
    with pytest.raises(InputError, match="its equation is"):
        port.from_torch(nnx.Einsum(equation, kernel, rngs=RNGS), torch.nn.Linear(3, 4, bias=False))


class Attention(torch.nn.Module):
    """Attention as people write it: the names of its projections, and of its number of heads, are their own."""

    def __init__(self, width: int, heads: int, names: tuple[str, ...], heads_name: str, head_dim: int):
        super().__init__()
        self.names, self.count = names, heads
        setattr(self, heads_name, heads)
        inner = heads * head_dim
        if len(names) == 2:
            self.add_module(names[0], torch.nn.Linear(width, 3 * inner))
        else:
            for name in names[:3]:
                self.add_module(name, torch.nn.Linear(width, inner))
        self.add_module(names[-1], torch.nn.Linear(inner, width))

    def forward(self, q, k, v, *, need_weights: bool = False):
        assert q is not None
        assert not need_weights
        apply = [self.get_submodule(name) for name in self.names]
        if len(apply) == 2:
            parts = [apply[0](one).chunk(3, -1)[number] for number, one in enumerate((q, k, v))]
        else:
            parts = [layer(one) for layer, one in zip(apply, (q, k, v), strict=False)]
        q, k, v = (part.unflatten(-1, (self.count, -1)).transpose(1, 2) for part in parts)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return apply[-1]((weights @ v).transpose(1, 2).flatten(2)), None


NAMES = [
    ("qkv", "proj"),
    ("c_attn", "c_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("query", "key", "value", "out"),
]


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0] + " " + names[-1])
def test_attention_under_other_names(x64, names):
    theirs: Any = scramble(Attention(6, 3, names, "num_heads", 2))
    ours = nnx.MultiHeadAttention(3, 6, decode=False, rngs=RNGS, **F64)
    check_attention(ours, theirs, draw(2, 4, 6), draw(2, 5, 6, seed=1))
    with pytest.raises(InputError, match="heads is 3 in torch, but 2"):
        port.from_torch(nnx.MultiHeadAttention(2, 6, decode=False, rngs=RNGS, **F64), theirs)


def test_attention_with_projections_of_other_layers_and_unknown_heads(x64):
    theirs: Any = scramble(Attention(6, 3, ("q", "k", "v", "o"), "number", 4))
    names = {"query": "q", "key": "k", "value": "v", "out": "o"}
    ours = nnx.MultiHeadAttention(3, 6, qkv_features=12, decode=False, rngs=RNGS, **F64)
    report = port.from_torch(ours, theirs, names=names)
    assert any("heads 3" in note and "assumed" in note for note in report.notes)
    assert comes_back(ours, theirs, names=names)
    assert torch.equal(port.to_torch(ours, names=names)["q.weight"], theirs.q.weight)


def test_two_widths_of_attention_are_refused_by_name():
    theirs = torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=5, batch_first=True)
    with pytest.raises(InputError, match="kdim 6 and vdim 5 differ"):
        port.from_torch(nnx.MultiHeadAttention(2, 8, in_kv_features=6, decode=False, rngs=RNGS), theirs)


class LowRank(torch.nn.Module):
    """A layer of peft: a base layer and, by adapter, two small ones."""

    def __init__(self, scaling: float):
        super().__init__()
        self.base_layer = torch.nn.Linear(5, 4)
        self.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(5, 2, bias=False)})
        self.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(2, 4, bias=False)})
        self.scaling = {"default": scaling}

    def forward(self, x):
        return self.base_layer(x) + self.lora_B["default"](self.lora_A["default"](x)) * self.scaling["default"]


def test_lora(x64):
    low: Any = {"rngs": RNGS, "param_dtype": jnp.float64, "lora_param_dtype": jnp.float64}
    check(lambda: nnx.LoRALinear(5, 4, lora_rank=2, **low), LowRank(1.0), draw(7, 5))
    base: Any = partial(nnx.Linear, 5, 4, rngs=RNGS, **F64)
    check(lambda: nnx.LoRA(5, 2, 4, base_module=base(), rngs=RNGS, **F64), LowRank(1.0), draw(7, 5))
    with pytest.raises(InputError, match=r"scaling \(alpha / rank\) is 2\.0 in torch, but 1\.0"):
        port.from_torch(nnx.LoRALinear(5, 4, lora_rank=2, **low), LowRank(2.0).double())
    theirs = LowRank(1.0).double()
    state = {name.replace(".default", ""): value for name, value in theirs.state_dict().items()}  # peft's files
    ours = nnx.LoRALinear(5, 4, lora_rank=2, **low)
    report = port.from_torch(ours, state)
    assert any("scaling (alpha / rank) 1.0" in line for line in report.assumed)
    x = draw(7, 5)
    assert gap(ours(jnp.asarray(x)), theirs(torch.from_numpy(x))) < 1e-12


def old_weight_norm(module: torch.nn.Module) -> torch.nn.Module:
    with pytest.warns(FutureWarning):
        return torch.nn.utils.weight_norm(module)


def new_weight_norm(module: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.utils.parametrizations.weight_norm(module)


@pytest.mark.parametrize("norm", [old_weight_norm, new_weight_norm])
def test_weight_norm(x64, norm):
    wrap: Any = {"epsilon": 0.0, "rngs": RNGS}
    pairs: list[Any] = [
        (lambda: nnx.Linear(5, 3, rngs=RNGS, **F64), lambda: torch.nn.Linear(5, 3), (7, 5)),
        (
            lambda: nnx.Conv(2, 3, (3, 2), padding="VALID", use_bias=False, rngs=RNGS, **F64),
            lambda: torch.nn.Conv2d(2, 3, (3, 2), bias=False),
            (2, 2, 6, 4),
        ),
        (
            lambda: nnx.ConvTranspose(2, 3, (3,), padding="VALID", transpose_kernel=True, rngs=RNGS, **F64),
            lambda: torch.nn.ConvTranspose1d(2, 3, 3),
            (2, 2, 5),
        ),
    ]
    for flax, make, shape in pairs:
        theirs, x = scramble(norm(make())), draw(*shape)
        ours: Any = nnx.WeightNorm(flax(), **wrap)
        port.from_torch(ours, theirs)
        assert comes_back(ours, theirs)
        # float32 as Flax makes the scales would not do: 1e-8.
        got = ours(jnp.asarray(np.moveaxis(x, 1, -1) if x.ndim > 2 else x))
        assert gap(got, theirs(torch.from_numpy(x))) < 1e-12


def test_a_network_that_has_run_is_ported_with_proof(x64):
    """The older norm then holds a weight with a history, which `copy.deepcopy` refuses."""
    theirs = old_weight_norm(torch.nn.Linear(5, 3))
    theirs(torch.ones(2, 5))
    ours: Any = nnx.WeightNorm(nnx.Linear(5, 3, rngs=RNGS), epsilon=0.0, rngs=RNGS)
    assert "proven" in str(port.from_torch(ours, theirs, inputs=(2, 5)))


def test_weight_norm_checks_the_layer_that_it_wraps(x64):
    theirs = new_weight_norm(torch.nn.Conv2d(2, 2, 3, padding=1, bias=False)).double()
    ours = nnx.WeightNorm(nnx.Conv(2, 2, (3, 3), padding="VALID", use_bias=False, rngs=RNGS, **F64), rngs=RNGS)
    with pytest.raises(InputError, match="padding"):
        port.from_torch(ours, theirs)
    flipped = nnx.ConvTranspose(2, 2, (3,), padding="VALID", rngs=RNGS, **F64)
    with pytest.raises(InputError, match="set transpose_kernel=True"):
        port.from_torch(nnx.WeightNorm(flipped, rngs=RNGS), new_weight_norm(torch.nn.ConvTranspose1d(2, 2, 3)).double())


def test_spectral_norm_is_refused_for_a_reason_that_holds(x64):
    torch.manual_seed(0)
    theirs: Any = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(5, 4).double())
    theirs.parametrizations.weight[0]._u.copy_(
        torch.nn.functional.normalize(torch.randn(4, dtype=torch.float64), dim=0)
    )
    theirs.eval()
    ours: Any = nnx.SpectralNorm(nnx.Linear(5, 4, rngs=RNGS, **F64), param_dtype=jnp.float64, rngs=RNGS)
    with pytest.raises(InputError, match="step of the power iteration in every call"):
        port.from_torch(ours, theirs)
    raw = theirs.parametrizations.weight
    ours.layer_instance.kernel[...] = jnp.asarray(raw.original.detach().numpy().T)
    ours.layer_instance.bias[...] = jnp.asarray(theirs.bias.detach().numpy())
    ours.batch_stats["kernel", "u"][...] = jnp.asarray(raw[0]._u.numpy()[None])
    x = draw(3, 5)
    assert gap(ours(jnp.asarray(x), update_stats=False), theirs(torch.from_numpy(x))) > 1e-3


@pytest.mark.parametrize("norm", [torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm])
def test_spectral_norm_on_torchs_side_is_one_sentence(norm):
    theirs = torch.nn.Sequential(norm(torch.nn.Conv2d(1, 4, 4, bias=False)))
    ours = nnx.Sequential(nnx.Conv(1, 4, (4, 4), padding="VALID", use_bias=False, rngs=RNGS))
    with pytest.raises(InputError, match=r"remove_spectral_norm|remove_parametrizations") as caught:
        port.from_torch(ours, theirs.state_dict())
    assert "unexpected" not in str(caught.value)
    assert "missing" not in str(caught.value)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padded_conv(x64, mode):
    theirs = torch.nn.Conv2d(2, 3, (3, 5), (1, 2), padding=(2, 1), padding_mode=mode)

    def make(mode):
        return port.PaddedConv(2, 3, (3, 5), strides=(1, 2), padding=(2, 1), padding_mode=mode, rngs=RNGS, **F64)

    check(lambda: make(mode), theirs, draw(2, 2, 6, 7))
    other = "zeros" if mode != "zeros" else "reflect"
    with pytest.raises(InputError, match="padding"):
        port.from_torch(make(other), theirs)


def test_replicate_names_the_layer_that_has_it():
    theirs = torch.nn.Conv2d(1, 4, 3, padding=1, padding_mode="replicate")
    with pytest.raises(InputError, match=r"jaxae\.port\.PaddedConv has"):
        port.from_torch(nnx.Conv(1, 4, (3, 3), padding="VALID", rngs=RNGS), theirs)


def test_params_of_ones_own_port_as_they_are(x64):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.token = torch.nn.Parameter(torch.randn(1, 1, 4))
            self.gain = torch.nn.Parameter(torch.tensor(2.0))
            self.steps = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(2, 3)) for _ in range(2)])
            self.out = torch.nn.Linear(4, 2)

    class Ours(nnx.Module):
        def __init__(self):
            self.token = nnx.Param(jnp.zeros((1, 1, 4)))
            self.gain = nnx.Param(jnp.zeros(()))
            self.steps = nnx.List([nnx.Param(jnp.zeros((2, 3))) for _ in range(2)])
            self.out = nnx.Linear(4, 2, rngs=RNGS, **F64)

    theirs, ours = Theirs().double(), Ours()
    report = port.from_torch(ours, theirs)
    assert sum("ports as it is" in note for note in report.notes) == 4
    assert np.array_equal(ours.token[...], theirs.token.detach().numpy())
    assert np.array_equal(ours.steps[1][...], theirs.steps[1].detach().numpy())
    assert comes_back(ours, theirs)
    assert port.to_torch(ours).keys() == theirs.state_dict().keys()
    renamed = {name.replace("token", "cls"): value for name, value in theirs.state_dict().items()}
    port.from_torch(Ours(), renamed, names={"token": "cls"})
    turned = theirs.state_dict() | {"token": theirs.token.detach().reshape(4, 1, 1)}
    with pytest.raises(InputError, match=r"'token' is refused: it has another shape.*register\(Ours, Row"):
        port.from_torch(Ours(), turned)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_simple_cell(x64, nonlinearity):
    theirs = scramble(torch.nn.RNN(4, 3, batch_first=True, nonlinearity=nonlinearity))

    def make(activation):
        return nnx.RNN(nnx.SimpleCell(4, 3, activation_fn=activation, dtype=jnp.float64, rngs=RNGS, **F64))

    ours = make(getattr(nnx, nonlinearity))
    report = port.from_torch(ours, theirs)
    assert report.forward_only
    x = draw(2, 5, 4)
    assert gap(ours(jnp.asarray(x)), theirs(torch.from_numpy(x))[0]) < 1e-12
    with pytest.raises(InputError, match="nonlinearity is"):
        port.from_torch(make(nnx.relu if nonlinearity == "tanh" else nnx.tanh), theirs)


def test_gru_cell_with_the_inner_bias(x64):
    theirs = scramble(torch.nn.GRU(4, 3, batch_first=True))
    with pytest.raises(InputError, match=r"jaxae\.port\.TorchGRUCell has one"):
        port.from_torch(nnx.RNN(nnx.GRUCell(4, 3, rngs=RNGS, **F64)), theirs)
    ours = nnx.RNN(port.TorchGRUCell(4, 3, rngs=RNGS, **F64))
    report = port.from_torch(ours, theirs)
    assert not report.forward_only
    x = draw(2, 5, 4)
    assert gap(ours(jnp.asarray(x)), theirs(torch.from_numpy(x))[0]) < 1e-12
    assert comes_back(ours, theirs)


STACKED = {
    "lstm": (torch.nn.LSTM, nnx.OptimizedLSTMCell),
    "gru": (torch.nn.GRU, port.TorchGRUCell),
    "rnn": (torch.nn.RNN, nnx.SimpleCell),
}


@pytest.mark.parametrize("kind", STACKED)
@pytest.mark.parametrize("both_ways", [False, True])
def test_stacked_recurrent_networks(x64, kind, both_ways):
    torch_type, cell = STACKED[kind]
    width = 6 if both_ways else 3
    more: Any = {"dtype": jnp.float64, "rngs": RNGS, **F64}

    class Ours(nnx.Module):
        def __init__(self):
            def layer(inputs: int) -> Any:
                one = nnx.RNN(cell(inputs, 3, **more))
                return nnx.Bidirectional(one, nnx.RNN(cell(inputs, 3, **more))) if both_ways else one

            self.first, self.second = layer(4), layer(width)

        def __call__(self, x):
            return self.second(self.first(x))

    theirs = scramble(torch_type(4, 3, num_layers=2, bidirectional=both_ways, batch_first=True))
    names = {}
    for number, path in enumerate(("first", "second")):
        if both_ways:
            names |= {f"{path}.forward_rnn.cell": f"*_l{number}", f"{path}.backward_rnn.cell": f"*_l{number}_reverse"}
        else:
            names[f"{path}.cell"] = f"*_l{number}"
    ours = Ours()
    port.from_torch(ours, theirs, names=names)
    x = draw(2, 5, 4)
    expected = theirs(torch.from_numpy(x))[0]
    assert gap(ours(jnp.asarray(x)), expected) < 1e-12
    back = port.to_torch(ours, names=names, like=theirs)
    again = torch_type(4, 3, num_layers=2, bidirectional=both_ways, batch_first=True).double()
    again.load_state_dict(back)
    assert gap(ours(jnp.asarray(x)), again(torch.from_numpy(x))[0]) < 1e-12
    if kind == "gru":
        assert comes_back(ours, theirs, names=names)


def test_lazy_layers_and_wrong_rows_are_refused():
    with pytest.raises(InputError, match="'weight' has no shape yet"):
        port.from_torch(nnx.Linear(2, 2, rngs=RNGS), torch.nn.LazyLinear(2))

    class Gain(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.zeros((3, 2)))

    for pattern in ("a b -> a c", "a a -> a a", "a b -> a", "a (b c) -> a b"):
        with pytest.raises(InputError, match="expected each axis once on both sides"):
            port.Row("weight", "gain", pattern)
    port.register(Gain, port.Row("weight", "gain", "a b c -> c b a"))
    with pytest.raises(InputError, match=r"'gain' is \(3, 2\), not 'c b a'"):
        port.from_torch(Gain(), {"weight": torch.zeros(3, 2)})
    with pytest.raises(InputError, match="that the table does not have, got Gain"):
        port.register(Gain, port.Row("weight", "gain", "a b -> b a"))
