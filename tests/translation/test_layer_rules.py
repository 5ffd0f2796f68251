"""Layers of torch.nn become layers of Flax that do the same, in inference and in training, or are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from jaxae.errors import InputError
from jaxae.port import from_torch, to_torch
from jaxae.translation.entry import translate

# Of torch: old ways, and slow ones. Of NumPy: masks of -inf that are subtracted.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning"
)
RNG = np.random.default_rng(0)
# torch.nn.utils.weight_norm warns of its age.
old_weight_norm: Any = nn.utils.weight_norm  # pyright: ignore[reportDeprecated]
old_spectral_norm: Any = nn.utils.spectral_norm


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rms, self.whole = nn.Embedding(11, 8, padding_idx=0), nn.RMSNorm(8), nn.LayerNorm([5, 8])
        self.both, self.plain = nn.Bilinear(8, 8, 6), nn.LayerNorm(6, elementwise_affine=False)
        self.unmoved, self.rows, self.last = nn.LayerNorm(6, bias=False), nn.RMSNorm([5, 6], 1e-4), nn.RMSNorm(6, 1e-4)
        self.conv, self.identity = nn.Conv2d(6, 4, (1, 5)), nn.Identity()

    def forward(self, words: torch.Tensor) -> Any:
        x = self.whole(self.rms(self.embed(words)))
        x = self.identity(self.both(x, x + x))
        x = self.last(self.rows(self.unmoved(self.plain(x) + x)))
        return x, self.conv(x.permute(2, 0, 1))  # an image without a batch


class Critic(nn.Module):
    """Spectral norms of both styles, along both axes, of all that has them."""

    def __init__(self) -> None:
        super().__init__()
        norm = parametrizations.spectral_norm
        self.first, self.second = (
            norm(nn.Conv2d(3, 4, 4, 2, 1)),
            old_spectral_norm(nn.Conv2d(4, 6, 3, groups=2), "weight", 2),
        )
        self.wider, self.wide = (
            norm(nn.ConvTranspose2d(6, 5, 3, 2)),
            old_spectral_norm(nn.ConvTranspose2d(5, 4, 2, bias=False)),
        )
        self.features, self.score = (
            norm(nn.Linear(4, 3), dim=1),
            old_spectral_norm(nn.Linear(3, 2, bias=False), eps=1e-3),
        )
        self.classes = norm(nn.Embedding(7, 3))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
        x = torch.tanh(self.second(torch.tanh(self.first(x))))
        features = self.features(self.wide(self.wider(x)).mean((2, 3)))
        return self.score(features), (features * self.classes(labels)).sum(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.RNN(6, 5, nonlinearity="relu", batch_first=True, bias=False)
        self.second = nn.GRU(5, 4)
        self.long, self.gated, self.simple = nn.LSTMCell(4, 3), nn.GRUCell(3, 4), nn.RNNCell(4, 4)
        self.both = nn.LSTM(4, 4, 2, bidirectional=True, dropout=0.2)

    def forward(self, x: torch.Tensor) -> Any:
        x, _ = self.first(x)
        x, last = self.second(x)
        state = None
        for step in x[:2]:
            state = self.long(step, state)
        assert state is not None
        y = self.simple(self.gated(state[0], x[0]))
        out, (h, c) = self.both(x, (torch.stack([y] * 4), torch.stack([x[0], y] * 2)))
        return out, h, c, last


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = nn.MultiheadAttention(8, 2, dropout=0.1)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, bias=False, batch_first=True)

    def forward(self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor, padding: torch.Tensor) -> Any:
        causal = torch.ones(5, 5).triu(1) > 0
        y, weights = self.own(x, x, x, attn_mask=causal, key_padding_mask=padding)
        z, each = self.cross(y.transpose(0, 1), key, value, average_attn_weights=False)
        bias = -causal.to(x.dtype)
        return z, weights, each, self.own(y, y, y, need_weights=False, attn_mask=bias, key_padding_mask=padding)[0]


class Transformer(nn.Module):
    """An encoder that torch has a faster path for, and a layer of a decoder, which it has not."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.embed, self.encoder = nn.Embedding(9, 8), nn.TransformerEncoder(layer, 1, nn.LayerNorm(8))
        self.decoder = nn.TransformerDecoderLayer(8, 2, 16, activation="gelu", norm_first=True)
        self.register_buffer("mask", torch.triu(torch.ones(5, 5, dtype=torch.bool), 1))

    def forward(self, words: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        memory = self.encoder(self.embed(words), mask=self.mask, src_key_padding_mask=words == 0)
        causal = nn.Transformer.generate_square_subsequent_mask(len(x))
        return self.decoder(x, memory.transpose(0, 1), tgt_mask=causal, tgt_is_causal=True)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, groups=3, dilation=2, stride=2),
        nn.BatchNorm2d(6, eps=1e-3),
        nn.Conv2d(6, 4, (3, 2), padding="same", padding_mode="reflect"),
        nn.GroupNorm(2, 4),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.InstanceNorm2d(4, affine=True),
        nn.Conv2d(4, 4, 3, padding=2, padding_mode="replicate"),
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
        nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2, dilation=2),
        nn.Dropout2d(0.2),
        nn.PReLU(),
        nn.PReLU(4),
    )


def lines() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 4, padding=2, padding_mode="circular"),
        nn.BatchNorm1d(4, affine=False),
        nn.ConvTranspose1d(4, 6, 3, stride=4),
        nn.ConvTranspose1d(6, 4, 5, 3, padding=6, groups=2, bias=False, output_padding=1),
        nn.InstanceNorm1d(4),
        nn.LocalResponseNorm(3),
        nn.Conv1d(4, 4, 4, padding="same"),
        nn.MaxPool1d(3, 2, 1),
        nn.AvgPool1d(2, 1),
        nn.LPPool1d(2, 2),
        nn.ConstantPad1d(2, 0.5),
        nn.AdaptiveAvgPool1d(4),
        nn.AdaptiveMaxPool1d(3),
        nn.Dropout1d(0.4),
        nn.Flatten(),
        nn.SyncBatchNorm(12),
    )


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 4, (3, 1, 2), padding=(1, 0, 1), bias=False),
        nn.BatchNorm3d(4),
        nn.MaxPool3d(2, 1),
        nn.Dropout3d(0.3),
        nn.ConvTranspose3d(4, 2, 2, stride=2),
        nn.GroupNorm(1, 2, affine=False),
        nn.AvgPool3d(2, 1),
        nn.ZeroPad3d(1),
        nn.AdaptiveAvgPool3d((2, 2, 1)),
    )


def activations() -> nn.Module:
    each: list[nn.Module] = [
        nn.ReLU6(), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.SELU(), nn.CELU(0.6), nn.GELU(), nn.GELU("tanh"), nn.SiLU(),
        nn.Mish(), nn.Hardtanh(-2, 0.7), nn.Hardswish(), nn.Hardsigmoid(), nn.Softplus(2, 10), nn.Linear(8, 8),
        nn.Hardshrink(0.1), nn.Linear(8, 8), nn.Softshrink(0.1), nn.Tanhshrink(), nn.Linear(8, 8),
        nn.Threshold(0.1, 0.2), nn.Softsign(), nn.LogSigmoid(), nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.Linear(8, 8),
        nn.Softmax(-1), nn.LogSoftmax(None), nn.Softmin(1), nn.GLU(), nn.AlphaDropout(0.2), nn.Dropout(0.1),
    ]  # fmt: skip
    return nn.Sequential(nn.Linear(6, 8), *each)


def images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(2, 1, padding=1, count_include_pad=False),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.PixelShuffle(2),
        nn.LPPool2d(2, 2),
        nn.PixelUnshuffle(2),
        nn.ChannelShuffle(2),
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.UpsamplingBilinear2d(size=(7, 9)),
        nn.ReflectionPad2d(1),
        nn.ReplicationPad2d((1, 0, 2, 1)),
        nn.CircularPad2d(1),
        nn.AdaptiveMaxPool2d((4, 3)),
        nn.Softmax2d(),
        nn.FeatureAlphaDropout(0.2),
        nn.Unfold(2),
        nn.Linear(6, 6),
        nn.Fold((4, 3), 2),
        nn.Flatten(),
        nn.Unflatten(1, (8, 12)),
    )


def weight_norms() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(3, 4, 3)),
        old_weight_norm(nn.ConvTranspose1d(4, 6, 4, 2)),
        nn.Flatten(),
        parametrizations.weight_norm(nn.Linear(108, 3)),
        old_weight_norm(nn.Linear(3, 2, bias=False)),
    )


WORDS = RNG.integers(1, 9, (3, 5))
PADDED = np.array([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "convolutions": (convolutions, ((2, 3, 9, 8),)),
    "lines": (lines, ((3, 3, 20),)),
    "volumes": (volumes, ((2, 2, 5, 4, 4),)),
    "norms": (Norms, (WORDS,)),
    "transformer": (Transformer, (np.where(PADDED, 0, WORDS), (4, 3, 8))),
    "activations": (activations, ((5, 6),)),
    "images": (images, ((2, 3, 20, 18),)),
    "weight norms": (weight_norms, ((3, 3, 10),)),
}


def drawn(inputs: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
    return tuple(RNG.standard_normal(one) if isinstance(one, tuple) else one for one in inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_do_the_same(name: str) -> None:
    torch.manual_seed(0)
    make, inputs = NETWORKS[name]
    found = translate(make(), drawn(inputs), unproven=True, steps=0)
    assert max(one.gap for one in found.proof.checks if "results" in one.what) < 1e-12, found.source


def test_recurrent_layers_do_the_same() -> None:
    torch.manual_seed(0)
    assert translate(Recurrent(), drawn(((3, 5, 6),)), steps=0).proof.passed


def test_spectral_norms_iterate_as_torchs_do() -> None:
    """Of a network that has run: the older style then holds a weight with a history, which `copy.deepcopy` refuses."""
    torch.manual_seed(0)
    theirs, inputs = Critic(), drawn(((2, 3, 10, 10), np.array([1, 5])))
    theirs(torch.from_numpy(inputs[0]).float(), torch.from_numpy(inputs[1]))
    found = translate(theirs, inputs, steps=2)
    ours: Any = found.module
    assert found.proof.passed
    assert any("running means of 7 layers" in one.what for one in found.proof.checks)  # u and v after a call
    buffers = dict(theirs.named_buffers())
    assert np.array_equal(ours.first.v[...], buffers["first.parametrizations.weight.0._v"])
    assert np.array_equal(ours.second.u[...], buffers["second.weight_u"])


def test_attention_carries_what_ports_its_weights() -> None:
    torch.manual_seed(0)
    found = translate(Attention(), drawn(((5, 3, 8), (3, 4, 6), (3, 4, 4), PADDED)), steps=0)
    assert found.proof.passed
    other = Attention().state_dict()
    from_torch(found.module, other)
    back = to_torch(found.module)
    assert back.keys() == other.keys()
    assert all(torch.equal(back[name], other[name]) for name in other)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.long = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.long(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3] * len(x)), batch_first=True))[1]


class First(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


REFUSED: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "spectral norm elsewhere": (lambda: parametrizations.spectral_norm(nn.LayerNorm(3)), (2, 3), "has a spectral norm"),
    "padded rows": (lambda: old_spectral_norm(nn.Embedding(4, 3, 0)), np.array([[1, 2]]), "has a spectral norm; take"),
    "norm and groups": (
        lambda: parametrizations.spectral_norm(nn.ConvTranspose1d(4, 4, 3, groups=2)),
        (2, 4, 6),
        "spectral norm and groups; .*remove_parametrizations",
    ),
    "norm of a bias": (lambda: old_weight_norm(nn.Linear(3, 3), "bias"), (2, 3), "has norms of bias"),
    "two norms": (
        lambda: parametrizations.spectral_norm(parametrizations.weight_norm(nn.Linear(3, 3))),
        (2, 3),
        r"a parametrization \(WeightNorm, SpectralNorm\)",
    ),
    "weight norm of inputs": (lambda: parametrizations.weight_norm(nn.Linear(3, 3), dim=1), (2, 3), "dim=1"),
    "weight norm elsewhere": (lambda: parametrizations.weight_norm(nn.LayerNorm(3)), (2, 3), "has a weight norm"),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(3, 3), "weight", 0.3), (2, 3), "is pruned by a mask; take"),
    "cumulative": (lambda: nn.BatchNorm1d(3, momentum=None), (4, 3), "momentum=None"),
    "no statistics": (lambda: nn.BatchNorm1d(3, track_running_stats=False), (4, 3), "track_running_stats=False"),
    "statistics": (lambda: nn.InstanceNorm1d(3, track_running_stats=True), (2, 3, 5), "track_running_stats=True"),
    "projected": (lambda: First(nn.LSTM(3, 4, proj_size=2)), (2, 3, 3), "proj_size"),
    "packed": (Packed, (2, 5, 3), "PackedSequence; give it the padded sequences"),
    "bounded rows": (lambda: nn.Embedding(4, 3, max_norm=1.0), np.array([[1, 2]]), "max_norm"),
    "bags": (lambda: nn.EmbeddingBag(4, 3), np.array([[1, 2]]), "as an Embedding and a sum"),
    "no batch": (lambda: nn.Dropout2d(0.2), (3, 4, 5), "give it 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_said_is_refused_with_what_to_do(name: str) -> None:
    make, inputs, told = REFUSED[name]
    with pytest.raises(InputError, match=told):
        translate(nn.Sequential(make()), drawn((inputs,)))
