"""Networks as strangers write them, in our own words: each in torch, and in Flax under other names."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx

T = torch.nn


ZEROS = nnx.initializers.zeros  # drawing is compiled anew for each shape, and no drawn value may stay


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def conv(inputs: int, outputs: int, size: int, **more: Any) -> nnx.Conv:
    return nnx.Conv(
        inputs, outputs, (size, size), **({"padding": "VALID", "kernel_init": ZEROS, "rngs": rngs()} | more)
    )


def linear(inputs: int, outputs: int, **more: Any) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=ZEROS, rngs=rngs(), **more)


def batch_norm(features: int) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, momentum=0.9, rngs=rngs())


def layer_norm(features: int) -> nnx.LayerNorm:
    return nnx.LayerNorm(features, epsilon=1e-5, rngs=rngs())


def gelu(x: jax.Array) -> jax.Array:
    return nnx.gelu(x, approximate=False)


class TorchBasic(T.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = T.Conv2d(inputs, outputs, 3, stride, 1, bias=False), T.BatchNorm2d(outputs)
        self.relu = T.ReLU(inplace=True)
        self.conv2, self.bn2 = T.Conv2d(outputs, outputs, 3, 1, 1, bias=False), T.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = T.Sequential(T.Conv2d(inputs, outputs, 1, stride, bias=False), T.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet18(T.Module):
    """Its 18 layers, a few channels wide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = T.Conv2d(3, 2, 7, 2, 3, bias=False), T.BatchNorm2d(2)
        self.maxpool = T.MaxPool2d(3, 2, 1)
        widths = (2, 2, 3, 4, 5)
        for n in range(1, 5):
            first = TorchBasic(widths[n - 1], widths[n], 1 if n == 1 else 2)
            setattr(self, f"layer{n}", T.Sequential(first, TorchBasic(widths[n], widths[n], 1)))
        self.avgpool, self.fc = T.AdaptiveAvgPool2d(1), T.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for n in range(1, 5):
            x = getattr(self, f"layer{n}")(x)
        return self.fc(self.avgpool(x).flatten(1))


class Basic(nnx.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        self.first = conv(inputs, outputs, 3, strides=stride, padding=1, use_bias=False)
        self.second = conv(outputs, outputs, 3, padding=1, use_bias=False)
        self.norms = nnx.List([batch_norm(outputs), batch_norm(outputs)])
        skip = [conv(inputs, outputs, 1, strides=stride, use_bias=False), batch_norm(outputs)]
        self.skip = nnx.List(skip if stride != 1 else [])

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.norms[1](self.second(nnx.relu(self.norms[0](self.first(x)))))
        for layer in self.skip:
            x = layer(x)
        return nnx.relu(x + y)


class ResNet18(nnx.Module):
    def __init__(self) -> None:
        self.stem, self.norm = conv(3, 2, 7, strides=2, padding=3, use_bias=False), batch_norm(2)
        widths = [(2, 2, 1), (2, 2, 1), (2, 3, 2), (3, 3, 1), (3, 4, 2), (4, 4, 1), (4, 5, 2), (5, 5, 1)]
        self.stages = nnx.List([Basic(*width) for width in widths])
        self.head = linear(5, 7)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.stem(x)))
        padding: Any = ((1, 1), (1, 1))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=padding)
        for block in self.stages:
            x = block(x)
        return self.head(x.mean((1, 2)))


class TorchAttention(T.Module):
    """One layer for queries, keys and values; a causal one keeps its mask in a buffer."""

    def __init__(self, features: int, heads: int, length: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv, self.project = T.Linear(features, 3 * features), T.Linear(features, features)
        if length:
            self.register_buffer("bias", torch.tril(torch.ones(length, length))[None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, features = x.shape
        parts = self.to_qkv(x).reshape(rows, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-2, -1) / math.sqrt(features // self.heads)
        mask: Any = getattr(self, "bias", None)
        if mask is not None:
            scores = scores.masked_fill(mask[:, :, :length, :length] == 0, float("-inf"))
        return self.project((scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape))


class TorchBlock(T.Module):
    def __init__(self, length: int = 0) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = T.LayerNorm(8), TorchAttention(8, 2, length), T.LayerNorm(8)
        self.mlp = T.Sequential(T.Linear(8, 12), T.GELU(), T.Linear(12, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TorchViT(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cls_token, self.pos_embed = T.Parameter(torch.zeros(1, 1, 8)), T.Parameter(torch.zeros(1, 5, 8))
        self.patch_embed, self.blocks = T.Conv2d(3, 8, 4, 4), T.ModuleList(TorchBlock() for _ in range(2))
        self.norm, self.head = T.LayerNorm(8), T.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Block(nnx.Module):
    def __init__(self, *, causal: bool = False) -> None:
        self.before, self.after = layer_norm(8), layer_norm(8)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs())
        self.up, self.down, self.causal = linear(8, 12), linear(12, 8), causal

    def __call__(self, x: jax.Array) -> jax.Array:
        mask = nnx.make_causal_mask(x[..., 0]) if self.causal else None
        x = x + self.attention(self.before(x), mask=mask)
        return x + self.down(gelu(self.up(self.after(x))))


class ViT(nnx.Module):
    def __init__(self) -> None:
        self.patch, self.layers = conv(3, 8, 4, strides=4), nnx.List([Block(), Block()])
        self.place, self.token = nnx.Param(jnp.zeros((1, 5, 8))), nnx.Param(jnp.zeros((1, 1, 8)))
        self.final, self.out = layer_norm(8), linear(8, 5)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.patch(x).reshape(len(x), -1, 8)
        x = jnp.concatenate([jnp.broadcast_to(self.token[...], (len(x), 1, 8)), x], 1) + self.place[...]
        for layer in self.layers:
            x = layer(x)
        return self.out(self.final(x)[:, 0])


class Conv1D(T.Module):
    """GPT-2's: a linear layer whose weight is kept transposed."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight, self.bias = T.Parameter(torch.zeros(inputs, outputs)), T.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class TorchGPT(T.Module):
    """Its mask is a buffer, its head the embedding, one weight of a layer square and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = T.Embedding(11, 8), T.Embedding(6, 8)
        self.h, self.mix, self.ln_f = T.ModuleList([TorchBlock(6)]), Conv1D(8, 8), T.LayerNorm(8)
        self.lm_head = T.Linear(8, 11, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.wte(words) + self.wpe(torch.arange(words.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(self.mix(x)))


class GPT(nnx.Module):
    def __init__(self) -> None:
        self.words, self.places = nnx.Embed(11, 8, rngs=rngs()), nnx.Embed(6, 8, rngs=rngs())
        self.block, self.mixed, self.last = Block(causal=True), linear(8, 8), layer_norm(8)

    def __call__(self, words: jax.Array) -> jax.Array:
        x = self.block(self.words(words) + self.places(jnp.arange(words.shape[1]))[None])
        return self.words.attend(self.last(self.mixed(x)))


class TorchRMS(T.Module):
    """Computed in float32, whatever comes."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = T.Parameter(torch.ones(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x)


class TorchFour(T.Module):
    """Four layers for queries, keys, values and outputs, without biases."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (T.Linear(features, features, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for layer in (self.wq, self.wk, self.wv)
        )
        return self.wo(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape))


class TorchLlama(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm1, self.attention, self.norm2 = (
            T.Embedding(11, 8),
            TorchRMS(8),
            TorchFour(8, 2),
            TorchRMS(8),
        )
        self.w1, self.w2, self.w3 = (T.Linear(*size, bias=False) for size in ((8, 12), (12, 8), (8, 12)))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embed(words)
        x = x + self.attention(self.norm1(x))
        y = self.norm2(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nnx.Module):
    def __init__(self) -> None:
        self.words = nnx.Embed(11, 8, rngs=rngs())
        self.first, self.second = (nnx.RMSNorm(8, epsilon=1e-6, rngs=rngs()) for _ in range(2))
        self.mix = nnx.MultiHeadAttention(2, 8, use_bias=False, decode=False, rngs=rngs())
        self.up, self.gate, self.down = (linear(*size, use_bias=False) for size in ((8, 12), (8, 12), (12, 8)))

    def __call__(self, words: jax.Array) -> jax.Array:
        x = self.words(words)
        x = x + self.mix(self.first(x))
        y = self.second(x)
        return x + self.down(self.up(y) * nnx.silu(self.gate(y)))


class TorchUNet(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = T.Sequential(T.Conv2d(2, 3, 3, padding=1), T.BatchNorm2d(3), T.ReLU(inplace=True))
        self.middle = T.Sequential(T.Conv2d(3, 5, 3, padding=1), T.ReLU())
        self.up, self.merge, self.out = T.ConvTranspose2d(5, 3, 2, 2), T.Conv2d(6, 4, 3, padding=1), T.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down(x)
        x = self.up(self.middle(F.max_pool2d(skip, 2)))
        return self.out(F.relu(self.merge(torch.cat([x, skip], 1))))


class UNet(nnx.Module):
    """The skip comes first in the concatenation, in torch last; the last convolution is a linear layer."""

    def __init__(self) -> None:
        self.encoder, self.norm, self.deep = conv(2, 3, 3, padding=1), batch_norm(3), conv(3, 5, 3, padding=1)
        self.grow = nnx.ConvTranspose(5, 3, (2, 2), (2, 2), padding="VALID", transpose_kernel=True, rngs=rngs())
        self.decoder, self.pixels = conv(6, 4, 3, padding=1), linear(4, 2)

    def __call__(self, x: jax.Array) -> jax.Array:
        skip = nnx.relu(self.norm(self.encoder(x)))
        x = self.grow(nnx.relu(self.deep(nnx.max_pool(skip, (2, 2), (2, 2)))))
        return self.pixels(nnx.relu(self.decoder(jnp.concatenate([skip, x], -1))))


class TorchTagger(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.rnn = T.Embedding(11, 6), T.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = T.Linear(10, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(self.emb(words))[0])


class Tagger(nnx.Module):
    def __init__(self) -> None:
        def both(inputs: int) -> nnx.Bidirectional:
            one, other = (nnx.RNN(nnx.LSTMCell(inputs, 5, rngs=rngs()), rngs=rngs()) for _ in range(2))
            return nnx.Bidirectional(one, other, rngs=rngs())

        self.words, self.layers, self.tag = nnx.Embed(11, 6, rngs=rngs()), nnx.List([both(6), both(10)]), linear(10, 4)

    def __call__(self, words: jax.Array) -> jax.Array:
        x: Any = self.words(words)
        for layer in self.layers:
            x = layer(x)
        return self.tag(x)


WORDS = np.random.default_rng(0).integers(0, 11, (3, 5))
# torch's, Flax's, and inputs.
NETWORKS: dict[str, tuple[Callable[[], T.Module], Callable[[], nnx.Module], Any]] = {
    "ResNet-18": (TorchResNet18, ResNet18, (2, 3, 32, 32)),
    "ViT": (TorchViT, ViT, (2, 3, 8, 8)),
    "GPT": (TorchGPT, GPT, WORDS),
    "Llama": (TorchLlama, Llama, WORDS),
    "U-Net": (TorchUNet, UNet, (2, 2, 8, 6)),
    "LSTM tagger": (TorchTagger, Tagger, WORDS),
}
