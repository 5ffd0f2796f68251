"""Every row of the table: outputs of both frameworks' layers compared in float64 after a port."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from jaxae import port
from jaxae.errors import InputError
from jaxae.network import layers

torch.set_num_threads(2)

F64 = {"param_dtype": jnp.float64}
# Zeros need no compiled initialiser; every weight comes from torch.
ZEROS: Any = {**F64, "kernel_init": nnx.initializers.zeros}
RNGS = nnx.Rngs(0)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def last(x: np.ndarray) -> np.ndarray:
    """Channels first to channels last."""
    return np.moveaxis(x, 1, -1)


def scramble(module: torch.nn.Module) -> torch.nn.Module:
    """Random values everywhere, running variances positive: no parameter is left at 0 or 1."""
    generator = torch.Generator().manual_seed(1)
    for name, one in [*module.named_parameters(), *module.named_buffers()]:
        if one.is_floating_point():
            values = torch.randn(one.shape, generator=generator, dtype=one.dtype)
            one.data.copy_(values.abs() + 0.5 if name.endswith("var") else values)
    return module.double().eval()


def gap(ours: Any, theirs: torch.Tensor) -> float:
    a, b = np.asarray(ours), theirs.detach().numpy()
    b = np.moveaxis(b, 1, -1) if a.ndim > 2 and a.shape != b.shape else b
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


def check(flax: Callable[[], nnx.Module], theirs: torch.nn.Module, x: np.ndarray, **call: Any):
    """Port there and back, compare outputs, and see a wrong weight."""
    theirs = scramble(theirs)
    ours: Any = flax()
    report = port.from_torch(ours, theirs)
    assert not report.assumed
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
    axes_moved = x.ndim > 2
    got = ours(jnp.asarray(last(x) if axes_moved else x), **call)
    # Largest gap measured over the grid: 5e-16.
    assert gap(got, expected) < 1e-13
    back = port.to_torch(ours, like=theirs, carried=report.carried)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back[name], tensor), name
    first = next(iter(theirs.parameters()))
    first.data.view(-1)[0] += 0.1
    with torch.no_grad():
        assert gap(got, theirs(torch.from_numpy(x))) > 1e-6


def test_linear(x64):
    check(lambda: nnx.Linear(5, 3, rngs=RNGS, **ZEROS), torch.nn.Linear(5, 3), draw(7, 5))
    check(lambda: nnx.Linear(5, 3, use_bias=False, rngs=RNGS, **ZEROS), torch.nn.Linear(5, 3, bias=False), draw(7, 5))
    check(lambda: layers.Linear(5, 3, rngs=RNGS), torch.nn.Linear(5, 3), draw(7, 5))


@pytest.mark.parametrize(
    ("rank", "stride", "padding", "dilation", "groups"),
    [(1, 2, 1, 2, 1), (2, 1, 0, 1, 1), (2, (2, 3), (1, 2), (2, 1), 2), (3, 1, 1, 1, 2)],
)
def test_conv(x64, rank, stride, padding, dilation, groups):
    size: Any = (3, 2, 4)[:rank]
    torch_type = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[rank - 1]
    pads = (padding,) * rank if isinstance(padding, int) else padding
    check(
        lambda: nnx.Conv(
            4,
            6,
            size,
            stride,
            padding=[(p, p) for p in pads],
            kernel_dilation=dilation,
            feature_group_count=groups,
            rngs=RNGS,
            **ZEROS,
        ),
        torch_type(4, 6, size, stride, padding, dilation, groups),
        draw(2, 4, *(7, 8, 9)[:rank]),
    )
    if rank == 2:
        check(
            lambda: layers.Conv(
                4, 6, size, stride=stride, padding=padding, dilation=dilation, groups=groups, rngs=RNGS
            ),
            torch_type(4, 6, size, stride, padding, dilation, groups),
            draw(2, 4, 7, 8),
        )


@pytest.mark.parametrize("words", [("SAME", "same"), ("VALID", "valid")])
def test_conv_padding_by_name(x64, words):
    check(
        lambda: nnx.Conv(2, 3, (3, 5), padding=words[0], rngs=RNGS, **ZEROS),
        torch.nn.Conv2d(2, 3, (3, 5), padding=words[1]),
        draw(2, 2, 6, 7),
    )


@pytest.mark.parametrize("mode", ["circular", "reflect"])
def test_conv_padding_modes(x64, mode):
    check(
        lambda: nnx.Conv(2, 3, (3, 5), padding=mode.upper(), rngs=RNGS, **ZEROS),
        torch.nn.Conv2d(2, 3, (3, 5), padding=(1, 2), padding_mode=mode),
        draw(2, 2, 6, 7),
    )


@pytest.mark.parametrize("transpose_kernel", [True, False])
@pytest.mark.parametrize(
    ("rank", "stride", "padding", "extra", "dilation"),
    [(1, 2, 1, 1, 2), (2, 3, 4, 0, 2), (2, (2, 3), (1, 0), (1, 2), 1), (3, 2, 1, 1, 1)],
)
def test_conv_transpose(x64, transpose_kernel, rank, stride, padding, extra, dilation):
    size = (3, 4, 2)[:rank]

    def each(v: Any) -> tuple[int, ...]:
        return (v,) * rank if isinstance(v, int) else v

    settings = zip(size, each(padding), each(extra), each(dilation), strict=True)
    pads = [(d * (k - 1) - p, d * (k - 1) - p + o) for k, p, o, d in settings]
    torch_type = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    check(
        lambda: nnx.ConvTranspose(
            4,
            3,
            size,
            stride,
            padding=pads,
            kernel_dilation=dilation,
            transpose_kernel=transpose_kernel,
            rngs=RNGS,
            **ZEROS,
        ),
        torch_type[rank - 1](4, 3, size, stride, padding, extra, dilation=dilation),
        draw(2, 4, *(5, 6, 7)[:rank]),
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_own_conv_transpose(x64, groups):
    check(
        lambda: layers.ConvTranspose(4, 6, (3, 2), stride=2, padding=1, output_padding=1, groups=groups, rngs=RNGS),
        torch.nn.ConvTranspose2d(4, 6, (3, 2), 2, 1, 1, groups=groups),
        draw(2, 4, 5, 6),
    )


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (4, 2), (5, 3), (2, 3)])
def test_words_for_transposed_padding_are_what_lax_does(x64, padding, size, stride):
    """The numbers that the check compares, run as numbers, give what the word gives."""
    from jaxae.port.table.padding import flax_transpose_padding

    def make(pad: Any) -> nnx.ConvTranspose:
        return nnx.ConvTranspose(2, 3, (size,), stride, padding=pad, rngs=nnx.Rngs(0), **F64)

    word = make(padding)
    _, pads = flax_transpose_padding(word)
    x = jnp.asarray(draw(2, 7, 2))
    assert jnp.array_equal(word(x), make(pads)(x))


def test_embed(x64):
    theirs = scramble(torch.nn.Embedding(7, 3, padding_idx=2))
    ours = nnx.Embed(7, 3, rngs=RNGS, **F64)
    report = port.from_torch(ours, theirs)
    assert "padding_idx" in report.notes[0]
    index = np.array([[0, 6], [2, 3]])
    assert gap(ours(jnp.asarray(index)), theirs(torch.from_numpy(index))) == 0
    with pytest.raises(InputError, match="max_norm"):
        port.from_torch(ours, torch.nn.Embedding(7, 3, max_norm=1.0).double())


def test_embed_that_computes_in_another_dtype_is_noted(x64):
    ours = nnx.Embed(7, 3, rngs=RNGS)
    report = port.from_torch(ours, torch.nn.Embedding(7, 3).double())
    assert any("computes in float32" in note for note in report.notes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_batch_norm(x64, rank):
    theirs = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)[rank - 1]
    shape = (4, 3, *(5, 6, 7)[: rank if rank > 1 else 0])
    check(
        lambda: nnx.BatchNorm(3, momentum=0.9, epsilon=1e-5, rngs=RNGS, **F64),
        theirs(3),
        draw(*shape),
        use_running_average=True,
    )


def test_batch_norm_carries_its_counter():
    theirs = torch.nn.BatchNorm1d(3)
    theirs(torch.randn(4, 3))
    ours = nnx.BatchNorm(3, momentum=0.9, rngs=RNGS)
    report = port.from_torch(ours, theirs)
    assert report.carried["num_batches_tracked"] == 1
    assert port.to_torch(ours, carried=report.carried)["num_batches_tracked"] == 1
    assert port.to_torch(ours)["num_batches_tracked"] == 0


def test_running_variance_is_unbiased_in_torch_alone(x64):
    theirs = torch.nn.BatchNorm1d(3).double()
    ours = nnx.BatchNorm(3, momentum=0.9, rngs=RNGS, **F64)
    port.from_torch(ours, theirs)
    x = draw(5, 3)
    theirs(torch.from_numpy(x))
    ours(jnp.asarray(x))
    torch_mean, torch_var = (theirs.get_buffer(f"running_{name}").numpy() for name in ("mean", "var"))
    assert np.allclose(ours.mean[...], torch_mean, rtol=0, atol=1e-15)
    ratio = (torch_var - 0.9) / (np.asarray(ours.var[...]) - 0.9)
    assert np.allclose(ratio, 5 / 4, rtol=1e-12)


def test_default_initialisations_differ():
    torch.manual_seed(0)
    theirs, ours = torch.nn.Linear(400, 300), nnx.Linear(400, 300, rngs=nnx.Rngs(0))
    assert float(theirs.weight.detach().abs().max()) <= 400**-0.5
    assert float(theirs.bias.detach().abs().max()) > 0.9 * 400**-0.5
    assert float(jnp.abs(ours.kernel[...]).max()) > 1.5 * 400**-0.5
    assert ours.bias is not None
    assert not ours.bias[...].any()
    # Standard deviations 1 / sqrt(3 fan_in) and 1 / sqrt(fan_in).
    assert abs(float(theirs.weight.detach().std()) * 1200**0.5 - 1) < 0.02
    assert abs(float(ours.kernel[...].std()) * 20 - 1) < 0.02


def test_other_norms(x64):
    check(lambda: nnx.LayerNorm(5, epsilon=1e-5, rngs=RNGS, **F64), torch.nn.LayerNorm(5), draw(7, 5))
    check(lambda: nnx.GroupNorm(6, 3, epsilon=1e-5, rngs=RNGS, **F64), torch.nn.GroupNorm(3, 6), draw(2, 6, 4, 5))
    check(
        lambda: nnx.InstanceNorm(6, epsilon=1e-5, rngs=RNGS, **F64),
        torch.nn.InstanceNorm2d(6, affine=True),
        draw(2, 6, 4, 5),
    )
    check(lambda: nnx.RMSNorm(5, epsilon=1e-6, rngs=RNGS, **F64), torch.nn.RMSNorm(5, eps=1e-6), draw(7, 5))


def test_rms_norm_default_is_the_machine_epsilon():
    port.from_torch(nnx.RMSNorm(5, epsilon=2**-23, rngs=RNGS), torch.nn.RMSNorm(5))
    with pytest.raises(InputError, match=re.escape("eps is 1.1920928955078125e-07 in torch")):
        port.from_torch(nnx.RMSNorm(5, rngs=RNGS), torch.nn.RMSNorm(5))


def test_prelu(x64):
    check(lambda: nnx.PReLU(param_dtype=jnp.float64), torch.nn.PReLU(), draw(7, 5))


def exact_attention(query, key, value, **_: Any) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)


def check_attention(ours: Any, theirs: Any, q: np.ndarray, k: np.ndarray) -> None:
    port.from_torch(ours, theirs)
    expected = theirs(*map(torch.from_numpy, (q, k, k)), need_weights=False)[0]
    # jax.nn.dot_product_attention takes its softmax in float32: measured 8e-8.
    assert gap(ours(jnp.asarray(q), jnp.asarray(k)), expected) < 1e-6
    ours.attention_fn = exact_attention
    assert gap(ours(jnp.asarray(q), jnp.asarray(k)), expected) < 1e-13  # measured 4e-16
    ours.attention_fn = nnx.dot_product_attention
    back = port.to_torch(ours, like=theirs)
    assert all(torch.equal(back[name], one) for name, one in theirs.state_dict().items())


@pytest.mark.parametrize("bias", [True, False])
def test_attention(x64, bias):
    theirs = scramble(torch.nn.MultiheadAttention(6, 3, bias=bias, batch_first=True))
    ours = nnx.MultiHeadAttention(3, 6, decode=False, use_bias=bias, rngs=RNGS, **F64)
    check_attention(ours, theirs, draw(2, 4, 6), draw(2, 5, 6, seed=1))


def test_cross_attention(x64):
    theirs = scramble(torch.nn.MultiheadAttention(6, 2, kdim=4, vdim=4, batch_first=True))
    ours = nnx.MultiHeadAttention(2, 6, in_kv_features=4, decode=False, rngs=RNGS, **F64)
    check_attention(ours, theirs, draw(2, 4, 6), draw(2, 5, 4, seed=1))


@pytest.mark.parametrize("kind", [nnx.LSTMCell, nnx.OptimizedLSTMCell])
@pytest.mark.parametrize("bias", [True, False])
def test_lstm_cell(x64, kind, bias):
    theirs = scramble(torch.nn.LSTMCell(4, 3, bias=bias))
    ours = kind(4, 3, rngs=RNGS, **F64)
    report = port.from_torch(ours, theirs)
    assert bool(report.forward_only)
    x, h, c = draw(2, 4), draw(2, 3, seed=1), draw(2, 3, seed=2)
    hidden, cell = theirs(torch.from_numpy(x), tuple(map(torch.from_numpy, (h, c))))
    (got_c, got_h), _ = ours((jnp.asarray(c), jnp.asarray(h)), jnp.asarray(x))
    assert max(gap(got_h, hidden), gap(got_c, cell)) < 1e-13
    if bias:  # back as a network with the same outputs, not with the same two biases
        again = torch.nn.LSTMCell(4, 3).double()
        again.load_state_dict(port.to_torch(ours))
        back = again(torch.from_numpy(x), tuple(map(torch.from_numpy, (h, c))))[0]
        assert gap(got_h, back) < 1e-13
        assert not torch.equal(again.get_parameter("bias_ih"), theirs.get_parameter("bias_ih"))


def zero_inner_bias(cell: torch.nn.Module, hidden: int) -> Any:
    for name, one in cell.named_parameters():
        if name.startswith("bias_hh"):
            one.data[2 * hidden :] = 0
    return cell


def test_gru_cell(x64):
    theirs = scramble(torch.nn.GRUCell(4, 3))
    ours = nnx.GRUCell(4, 3, rngs=RNGS, **F64)
    before = nnx.to_pure_dict(nnx.state(ours))
    with pytest.raises(InputError, match="inside the reset gate"):
        port.from_torch(ours, theirs)
    same = jax.tree.map(jnp.array_equal, before, nnx.to_pure_dict(nnx.state(ours)))
    assert all(jax.tree.leaves(same))
    zero_inner_bias(theirs, 3)
    port.from_torch(ours, theirs)
    x, h = draw(2, 4), draw(2, 3, seed=1)
    expected = theirs(torch.from_numpy(x), torch.from_numpy(h))
    assert gap(ours(jnp.asarray(h), jnp.asarray(x))[0], expected) < 1e-13


@pytest.mark.parametrize("both_ways", [False, True])
def test_recurrent_networks(x64, both_ways):
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(4, 3, batch_first=True, bidirectional=both_ways)
            self.gru = torch.nn.GRU(4, 3, batch_first=True, bidirectional=both_ways)

    class Ours(nnx.Module):
        def __init__(self):
            def rnn(cell: Any) -> nnx.RNN:
                return nnx.RNN(cell(4, 3, rngs=RNGS, **F64))

            def two(cell: Any) -> nnx.Bidirectional:
                return nnx.Bidirectional(rnn(cell), rnn(cell))

            make = two if both_ways else rnn
            self.lstm, self.gru = make(nnx.OptimizedLSTMCell), make(nnx.GRUCell)

    theirs, ours = zero_inner_bias(scramble(Theirs()), 3), Ours()
    zero_inner_bias(theirs.gru, 3)
    report = port.from_torch(ours, theirs)
    assert "lstm.weight_ih_l0" in [row.torch for row in report.rows]
    x = draw(2, 5, 4)
    for one, two in ((ours.lstm, theirs.lstm), (ours.gru, theirs.gru)):
        assert gap(one(jnp.asarray(x)), two(torch.from_numpy(x))[0]) < 1e-13


def without_a_bias(layer: nnx.MultiHeadAttention) -> nnx.MultiHeadAttention:
    layer.key.bias = None
    return layer


REFUSED = [
    (
        lambda: nnx.ConvTranspose(4, 6, (3,), transpose_kernel=True, rngs=RNGS),
        lambda: torch.nn.ConvTranspose1d(4, 6, 3, groups=2),
        r"nnx.ConvTranspose has no groups \(torch's has 2\)",
    ),
    (lambda: nnx.PReLU(), lambda: torch.nn.PReLU(4), "one slope, not one per channel"),
    (
        lambda: nnx.Conv(2, 3, (3,), padding="SAME", rngs=RNGS),
        lambda: torch.nn.Conv1d(2, 3, 3, padding=1, padding_mode="replicate"),
        "nnx.Conv has no padding mode 'replicate'",
    ),
    (
        lambda: nnx.Conv(2, 3, (3,), padding="CIRCULAR", rngs=RNGS),
        lambda: torch.nn.Conv1d(2, 3, 3, padding=2, padding_mode="circular"),
        "padding",
    ),
    (lambda: nnx.Conv(2, 3, (3,), 2, padding="SAME", rngs=RNGS), lambda: torch.nn.Conv1d(2, 3, 3, 2, 1), "SAME"),
    (
        lambda: nnx.Conv(2, 3, (3,), padding="VALID", rngs=RNGS),
        lambda: torch.nn.Conv1d(2, 3, 3, dilation=2),
        "dilation is",
    ),
    (lambda: nnx.Conv(2, 3, (3,), mask=jnp.ones((3, 2, 3)), rngs=RNGS), lambda: torch.nn.Conv1d(2, 3, 3), "masked"),
    (
        lambda: nnx.Conv(2, 3, (3,), input_dilation=2, rngs=RNGS),
        lambda: torch.nn.Conv1d(2, 3, 3),
        "torch has that as ConvTranspose",
    ),
    (
        lambda: nnx.Conv(2, 3, (3,), padding="EDGE", rngs=RNGS),
        lambda: torch.nn.Conv1d(2, 3, 3),
        "expected a padding that Flax has, got 'EDGE'",
    ),
    (lambda: nnx.BatchNorm(3, rngs=RNGS), lambda: torch.nn.BatchNorm1d(3), "momentum in torch"),
    (lambda: nnx.BatchNorm(3, axis=1, rngs=RNGS), lambda: torch.nn.BatchNorm1d(3), "its axis is 1"),
    (
        lambda: nnx.InstanceNorm(3, epsilon=1e-5, rngs=RNGS),
        lambda: torch.nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
        "keeps running statistics",
    ),
    (
        lambda: nnx.BatchNorm(3, momentum=0.9, epsilon=1e-3, rngs=RNGS),
        lambda: torch.nn.BatchNorm1d(3),
        "eps is 1e-05 in torch, but 0.001",
    ),
    (lambda: nnx.BatchNorm(3, rngs=RNGS), lambda: torch.nn.BatchNorm1d(3, momentum=None), "momentum=None"),
    (
        lambda: nnx.BatchNorm(3, rngs=RNGS),
        lambda: torch.nn.BatchNorm1d(3, track_running_stats=False),
        "track_running_stats",
    ),
    (lambda: nnx.LayerNorm(3, rngs=RNGS), lambda: torch.nn.LayerNorm(3), "eps is 1e-05"),
    (lambda: nnx.GroupNorm(6, 2, epsilon=1e-5, rngs=RNGS), lambda: torch.nn.GroupNorm(3, 6), "groups is 3 in torch"),
    (lambda: nnx.MultiHeadAttention(2, 6, rngs=RNGS), lambda: torch.nn.MultiheadAttention(6, 3), "heads is 3 in torch"),
    (
        lambda: nnx.MultiHeadAttention(2, 6, normalize_qk=True, rngs=RNGS),
        lambda: torch.nn.MultiheadAttention(6, 2),
        "normalize_qk",
    ),
    (
        lambda: nnx.MultiHeadAttention(2, 6, rngs=RNGS),
        lambda: torch.nn.MultiheadAttention(6, 2, add_bias_kv=True),
        "add_bias_kv",
    ),
    (
        lambda: nnx.MultiHeadAttention(2, 6, rngs=RNGS),
        lambda: torch.nn.MultiheadAttention(6, 2, add_zero_attn=True),
        "add_zero_attn",
    ),
    (
        lambda: nnx.MultiHeadAttention(4, 8, num_kv_heads=2, rngs=RNGS),
        lambda: torch.nn.MultiheadAttention(8, 4),
        "grouped queries",
    ),
    (
        lambda: nnx.MultiHeadAttention(2, 6, qkv_features=4, rngs=RNGS),
        lambda: torch.nn.MultiheadAttention(6, 2),
        "inputs, heads and outputs, not 6, 4, 6",
    ),
    (
        lambda: nnx.MultiHeadAttention(2, 6, attention_fn=exact_attention, rngs=RNGS),
        lambda: torch.nn.MultiheadAttention(6, 2),
        "its attention_fn is not",
    ),
    (
        lambda: without_a_bias(nnx.MultiHeadAttention(2, 6, rngs=RNGS)),
        lambda: torch.nn.MultiheadAttention(6, 2),
        "some of",
    ),
    (
        lambda: nnx.OptimizedLSTMCell(4, 3, gate_fn=nnx.relu, rngs=RNGS),
        lambda: torch.nn.LSTMCell(4, 3),
        "its gates are not torch's",
    ),
    (
        lambda: nnx.RNN(nnx.OptimizedLSTMCell(4, 3, rngs=RNGS)),
        lambda: torch.nn.LSTM(4, 3, proj_size=2),
        "proj_size has no counterpart",
    ),
    (
        lambda: nnx.RNN(nnx.OptimizedLSTMCell(4, 3, rngs=RNGS)),
        lambda: torch.nn.LSTM(4, 3, num_layers=2),
        "stacks 2 layers",
    ),
    (lambda: nnx.Linear(3, 3, rngs=RNGS), lambda: torch.nn.Bilinear(3, 3, 3), "Bilinear"),
    (lambda: nnx.Einsum("ab,bc->ca", (3, 4), rngs=RNGS), lambda: torch.nn.Linear(3, 4), "its equation is 'ab,bc->ca'"),
]


@pytest.mark.parametrize(("flax", "theirs", "why"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused_by_name(flax, theirs, why):
    ours = flax()
    before = nnx.to_pure_dict(nnx.state(ours, nnx.Param))
    with pytest.raises(InputError, match=why) as caught:
        port.from_torch(ours, theirs())
    assert "\n" not in str(caught.value)
    after = nnx.to_pure_dict(nnx.state(ours, nnx.Param))
    assert all(jax.tree.leaves(jax.tree.map(jnp.array_equal, before, after)))


def test_per_channel_prelu_and_groups_are_refused_from_a_state_dict_too():
    with pytest.raises(InputError, match="one slope"):
        port.from_torch(nnx.PReLU(), {"weight": torch.zeros(4)})
    theirs = torch.nn.ConvTranspose1d(4, 6, 3, groups=2).state_dict()
    with pytest.raises(InputError, match="has no groups"):
        port.from_torch(nnx.ConvTranspose(4, 6, (3,), transpose_kernel=True, rngs=RNGS), theirs)


def test_settings_are_assumed_from_a_state_dict():
    report = port.from_torch(nnx.LayerNorm(3, rngs=RNGS), torch.nn.LayerNorm(3).state_dict())
    assert "eps 1e-06 (torch's default: 1e-05)" in report.assumed[0]


def test_a_layer_of_ones_own():
    class Scale(nnx.Module):
        def __init__(self):
            self.gain = nnx.Param(jnp.zeros((3, 2)))

    with pytest.raises(InputError, match=r"no row says what 'gain' of Scale is in torch"):
        port.from_torch(Scale(), {"weight": torch.ones(2, 3)})
    port.register(Scale, port.Row("weight", "gain", "b a -> a b"))
    ours = Scale()
    weight = torch.randn(2, 3)
    port.from_torch(ours, {"weight": weight})
    assert np.array_equal(ours.gain[...], weight.T.numpy())
    assert torch.equal(port.to_torch(ours)["weight"], weight)
    with pytest.raises(InputError, match="does not have"):
        port.register(Scale, port.Row("weight", "gain", "b a -> a b"))
    with pytest.raises(InputError, match=r"expected a type of nnx\.Module to register, got <class 'int'>"):
        port.register(int, port.Row("weight", "gain", "b a -> a b"))
    with pytest.raises(InputError, match="pattern"):
        port.Row("weight", "gain", "a b")
    with pytest.raises(InputError, match="'parts' first on the right"):
        port.Row("weight", ("gain", "other"), "b a -> a b")


def test_three_tensors_of_which_the_sum_matters():
    class Shift(nnx.Module):
        def __init__(self):
            self.shift = nnx.Param(jnp.zeros(3))

    names = ("first", "second", "third")
    port.register(Shift, port.Row(names, "shift", "outputs -> outputs"))
    rng = np.random.default_rng(0)
    state = {name: torch.from_numpy(rng.normal(size=3).astype("f")) for name in names}
    ours = Shift()
    report = port.from_torch(ours, state)
    expected = state["first"] + state["second"] + state["third"]
    assert np.array_equal(ours.shift[...], expected.numpy())
    assert report.rows[0].torch == "first + second + third"
    assert "first and second and third are one variable" in report.forward_only[0]
    back = port.to_torch(ours, like=state)
    assert torch.equal(back["first"], expected)
    assert not torch.stack([back["second"], back["third"]]).any()
    for name in names:
        with pytest.raises(InputError, match=rf"mis-shaped '{name}': expected \(3,\).*got \(4,\)"):
            port.from_torch(Shift(), {**state, name: torch.zeros(4)})
        with pytest.raises(InputError, match=rf"missing '{name}' \(3,\) for shift"):
            port.from_torch(Shift(), {key: one for key, one in state.items() if key != name})


def test_another_forward_pass_is_another_layer():
    class Doubled(nnx.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    class Named(nnx.Linear): ...

    source = torch.nn.Linear(2, 3)
    with pytest.raises(InputError, match="Doubled"):
        port.from_torch(Doubled(2, 3, rngs=RNGS), source)
    port.from_torch(Named(2, 3, rngs=RNGS), source)
