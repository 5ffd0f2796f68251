"""Each of torch's functions as the source says it, beside torch itself: values and derivatives in float64."""

from collections.abc import Callable, Sequence
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional as F

from jaxae.errors import InputError
from jaxae.port.trial import float64_twin
from jaxae.translation import translate as translation
from jaxae.translation.entry import translate
from jaxae.translation.proof import TranslationProof

# What is compiled runs once.
QUICK: dict[str, bool | int | str] = {
    "xla_llvm_disable_expensive_passes": True,
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
}

Function = Callable[..., object]


class Net(torch.nn.Module):
    """A convolution whose result, channels last in Flax, many functions take."""

    def __init__(self, functions: Sequence[Function], layer: bool = True):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 1)
        self.functions, self.layer = functions, layer

    def forward(self, x):
        x = self.conv(x) if self.layer else x
        return tuple(function(x) for function in self.functions)


def translated(module: torch.nn.Module, *inputs: np.ndarray) -> translation.Translation:
    with mock.patch.object(translation, "prove", return_value=TranslationProof(())):
        return translate(module, inputs)


def gaps(module: torch.nn.Module, *inputs: np.ndarray, slopes: bool = True) -> list[float]:
    """How far each result is apart, and the derivative of all where `slopes` asks for it."""
    found = translated(module, *inputs)
    rng = np.random.default_rng(0)
    given = [np.concatenate([one, one[:1]]) for one in inputs]  # a batch of another size than was watched
    given = [rng.standard_normal(one.shape) if one.dtype.kind == "f" else one for one in given]
    theirs = module.double().eval()
    tensors = [torch.tensor(one, requires_grad=one.dtype.kind == "f") for one in given]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected = _flat(theirs(*tensors))
        _cost(expected).backward()
    finally:
        torch.set_default_dtype(before)
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"), jax.default_matmul_precision("highest"):
        twin = float64_twin(found.module)
        twin.eval()
        graph, state = nnx.split(twin)

        def call(xs):
            return jax.tree.leaves(nnx.merge(graph, state)(*xs))

        def cost(xs):
            outs = call(xs)
            return _cost(outs), outs

        arrays = [jnp.asarray(one) for one in given]
        moved: list[jax.Array] = []
        if slopes:
            run = jax.jit(jax.grad(cost, has_aux=True, allow_int=True), compiler_options=QUICK)
            moved, got = run(arrays)
        else:
            got = jax.jit(call, compiler_options=QUICK)(arrays)
    pairs = [(one.detach().numpy(), np.asarray(two)) for one, two in zip(expected, got, strict=True)]
    if slopes:
        both = zip(tensors, moved, strict=True)
        pairs += [(one.grad.numpy(), np.asarray(two)) for one, two in both if one.grad is not None]
    return [_gap(*pair) for pair in pairs]


def _flat(tree):
    return [part for one in tree for part in _flat(one)] if isinstance(tree, tuple | list) else [tree]


def _cost(outs):
    """A number in which every element of every result counts."""
    total = 0.0
    for one in outs:
        if "float" in str(one.dtype):
            total = total + (one * one).sum() + one.sum()
    return total


def _gap(one: np.ndarray, two: np.ndarray) -> float:
    if one.shape != two.shape or one.dtype.kind != two.dtype.kind:
        return np.inf
    one, two = one.astype(float), two.astype(float)
    gap = float(np.max(np.abs(one - two), initial=0) / max(1e-30, np.max(np.abs(one), initial=0)))
    return gap if np.isfinite(gap) else np.inf


def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, 4, 6, 6)).astype(np.float32)


def mask(x):
    return x > 0.1


def ids(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers)


ELEMENTS: list[Function] = [
    lambda x: -x + torch.abs(x) + x.exp() + torch.exp2(x) + torch.expm1(x),
    lambda x: torch.log(x * x + 1) + (x.square() + 1).log2() + (x**2 + 1).log10() + torch.log1p(x.abs()),
    lambda x: (x * x + 1).sqrt() + torch.rsqrt(x**2 + 0.5) + (x.exp() + 1).reciprocal() + (x.abs() + 1) ** 0.3,
    lambda x: torch.sin(x) + x.cos() + x.sigmoid().tan() + x.sinh() + x.cosh() + x.tanh(),
    lambda x: (x.tanh() * 0.9).asin() + (x.tanh() * 0.9).acos() + x.atan() + x.asinh() + (x.abs() + 2).acosh(),
    lambda x: (x.tanh() * 0.9).atanh() + x.erf() + torch.erfc(x) + torch.sinc(x) + torch.lgamma(x.abs() + 1),
    lambda x: x.sign() + x.floor() + torch.ceil(x) + x.trunc() + x.frac() + x.round() + x.round(decimals=2),
    lambda x: 1 + x - 2.5 + (3 - x) * 2 + x / 3 + 2 / (x.exp() + 1) + 1.5 * x,
    lambda x: torch.add(x, x.sin(), alpha=2) + torch.sub(x, x.cos(), alpha=0.5) + torch.rsub(x, 1, alpha=2),
    lambda x: torch.div(x.detach(), 0.3, rounding_mode="floor") + torch.div(x, 0.3, rounding_mode="trunc"),
    lambda x: x % 0.7 + torch.fmod(x, 0.7) + torch.remainder(x, -0.4) + 3 % (x.detach().abs() + 0.3),
    lambda x: x.detach() // 0.7 + 3 // (x.detach().abs() + 1),
    lambda x: x**3 + 2**x + torch.pow(2.0, x) + (x.abs() + 1).pow(-1.5) + (x.abs() + 1) ** x,
    lambda x: x.clamp(-0.5, 0.5) + x.clip(min=0.2) + torch.clamp(x, max=0.3) + x.clamp(x.sin() - 0.1, x.sin() + 0.2),
    lambda x: torch.minimum(x, x.sin() * 2) + torch.maximum(x, x[:, :1]) + torch.max(x, -x) + torch.min(x, x * x),
    lambda x: torch.lerp(x, x.sin(), 0.3) + torch.lerp(x, x.sin(), x.sigmoid()),
    lambda x: torch.addcmul(x, x, x, value=2) + torch.addcdiv(x, x, x.exp()),
    lambda x: (x > 0) & (x < 1) | ~(x <= -1) ^ (x >= 2),
    lambda x: torch.logical_and(x > 0, x < 1) | torch.logical_or(x == 0, x != 1) & torch.logical_not(x > 2),
    lambda x: torch.isnan(x) | torch.isinf(x / 0.0) & torch.isfinite(x),
    lambda x: (
        torch.where(x > 0, x, 0.1 * x)
        + x.where(x < 0, x * 2)
        + torch.nan_to_num((x / (x > 0)).detach(), 0.5, 1.0, -1.0)
    ),
    lambda x: x.masked_fill(x < x.mean(1, True), float("-inf")).softmax(1) + x.masked_fill(x[:, :1] > 0, -3),
    lambda x: torch.logit(x.sigmoid()) + torch.logit(x.sigmoid(), eps=0.3) + torch.logaddexp(x, x * x),
    lambda x: torch.atan2(x, x + 3) + torch.hypot(x, x + 1) + torch.copysign(x, x.sin()) + torch.xlogy(x, x.exp()),
    lambda x: x.clone().add_(1).mul_(2).relu_() + x.detach() * x + x.data,
]
ACTIVATIONS: list[Function] = [
    lambda x: F.relu(x) + F.relu6(3 * x) + F.leaky_relu(x) + F.leaky_relu(x, 0.2),
    lambda x: F.elu(x) + F.elu(x, 0.7) + F.selu(x) + F.celu(x),
    lambda x: F.gelu(x) + F.gelu(x, approximate="tanh") + F.silu(x) + F.mish(x) + F.softsign(x),
    lambda x: F.hardtanh(x) + F.hardtanh(x, -0.2, 0.4),
    # torch's own derivatives of these have constants in float32
    lambda x: F.hardswish(2 * x.detach()) + F.hardsigmoid(2 * x.detach()) + F.celu(x.detach(), 0.6),
    lambda x: F.hardshrink(x) + F.softshrink(x, 0.3) + F.tanhshrink(x) + F.threshold(x, 0.1, 7.0),
    lambda x: F.logsigmoid(30 * x) + F.softplus(10 * x) + F.softplus(x, beta=2, threshold=1.5) + torch.sigmoid(x),
    lambda x: F.softmax(x, 1) + F.log_softmax(x, -1) + F.softmin(x, dim=2) + x.softmax(0) + x.log_softmax(-3),
    lambda x: F.glu(x, 1),
    lambda x: F.glu(x),
    lambda x: F.prelu(x, torch.tensor([0.3])) + F.prelu(x, torch.tensor([0.1, 0.2, 0.3, 0.4])) + F.rrelu(x),
]
SHAPES: list[Function] = [
    lambda x: x.view(x.size(0), -1),
    lambda x: x.reshape(-1, 36),
    lambda x: x.view(x.shape[0], 4, -1),
    lambda x: x.view(x.shape[0], 4, 36).view(-1, 4, 3, 12),
    lambda x: x.reshape((x.shape[0] * 4, 6, 6)),
    lambda x: x.flatten(2).transpose(1, 2),
    lambda x: x.flatten(1).unflatten(1, (4, 6, 6)),
    lambda x: x.flatten(0, 1),
    lambda x: x.flatten(1, 2),
    lambda x: x.mean((2, 3), keepdim=True).flatten(1),
    lambda x: x.mean((2, 3), keepdim=True).squeeze(),
    lambda x: x.mean(3, keepdim=True).squeeze(-1),
    lambda x: x[:, :1].squeeze(1).unsqueeze(1),
    lambda x: x.unsqueeze(2),
    lambda x: x.unsqueeze(-1),
    lambda x: x.unsqueeze(0),
    lambda x: x.squeeze(1),
    lambda x: x.permute(0, 2, 3, 1),
    lambda x: x.permute(1, 0, 3, 2),
    lambda x: x.transpose(1, 3).contiguous(),
    lambda x: x.transpose(-1, -2),
    lambda x: x.mT,
    lambda x: x.flatten(1).T,
    lambda x: x.flatten(1).t(),
    lambda x: torch.movedim(x, 1, -1),
    lambda x: torch.moveaxis(x, (2, 3), (0, 1)),
    lambda x: x[:, :1].expand(-1, 3, -1, -1),
    lambda x: x[0].expand(x.shape[0], 4, 6, 6),
    lambda x: x[:, :1].expand_as(x) + x.mean((2, 3), True).broadcast_to(x.shape),
    lambda x: x.repeat(1, 2, 1, 3),
    lambda x: x.repeat(2, 1, 1, 1, 1),
    lambda x: torch.tile(x, (2, 1)),
    lambda x: x.repeat_interleave(2, dim=1),
    lambda x: x.flatten(1).repeat_interleave(3),
    lambda x: torch.roll(x, 1, 1) + torch.roll(x, (1, 2), dims=(2, 3)) + torch.roll(x, 5),
    lambda x: x.flip(1) + x.flip((2, 3)) + torch.flip(x, dims=[-1]),
    lambda x: torch.rot90(x, 1, (2, 3)),
    lambda x: F.pixel_shuffle(x, 2),
    lambda x: F.pixel_unshuffle(x, 3),
    lambda x: F.channel_shuffle(x, 2),
    lambda x: x.view_as(x) + x.reshape_as(x),
    lambda x: torch.broadcast_tensors(x[:, :1], x)[0],
]
JOINS: list[Function] = [
    lambda x: torch.cat([x, x.sin()], 1),
    lambda x: torch.cat((x, x[:, :, :2]), dim=2),
    lambda x: torch.cat([x, x], -1),
    lambda x: torch.cat([x, x]),
    lambda x: torch.stack([x, x.cos()]),
    lambda x: torch.stack([x, x.cos()], 1),
    lambda x: torch.stack([x, x.cos()], 2),
    lambda x: torch.stack([x, x.cos()], -1),
    lambda x: torch.hstack([x, x]),
    lambda x: torch.vstack([x, x]),
    lambda x: torch.dstack([x, x]),
    lambda x: x.split(2, 1),
    lambda x: x.split([1, 3], dim=1),
    lambda x: x.split(4, dim=2),
    lambda x: x.split(4, dim=1),
    lambda x: x.chunk(2, 1),
    lambda x: x.chunk(4, -1),
    lambda x: torch.tensor_split(x, 4, 3),
    lambda x: torch.tensor_split(x, (1, 4), 2),
    lambda x: x.unbind(1),
    lambda x: x.unbind(2),
    lambda x: torch.stack([x, 2 * x]).unbind(0),
    lambda x: list(x.transpose(0, 1)),
    lambda x: torch.meshgrid(x[0, 0, 0], x[0, 0, 1], indexing="xy"),
    lambda x: torch.meshgrid(x[0, 0, 0], x[0, 0, 1]),
]


def _written(x):
    y = x.clone()
    y[:, 0] = 1.5
    y[:, 1, 2:4] += 2
    y[..., -1] = x[..., 0]
    y[y > 1] = 0.25
    y[:, :, :, 2] = 0
    z = torch.zeros(x.shape[0], 6)
    z[:, 1:3] = x[:, 0, 0, :2]
    return y, z


def _in_order(x):
    return x.flatten(1).argsort(1)


INDICES: list[Function] = [
    lambda x: x[0],
    lambda x: x[:, 1],
    lambda x: x[:, 1:3],
    lambda x: x[:, ::2, 1:-1, :4],
    lambda x: x[..., 0],
    lambda x: x[:, :, 0, 1],
    lambda x: x[:, :, 2],
    lambda x: x[-1, ..., 1],
    lambda x: x[:, None],
    lambda x: x[:, :, None, 1],
    lambda x: x[..., None],
    lambda x: x[: x.shape[0] - 1],
    lambda x: x[:, ids(0, 2, 2)],
    lambda x: x[:, [0, 2]],
    lambda x: x[0, :, ids(1, 3)],
    lambda x: x[:, ids(0, 1), ids(2, 3)],
    lambda x: x[:, None, 1, ids(2, 3)],
    lambda x: x[torch.arange(x.shape[0]), 0, 1],
    lambda x: x[:, torch.tensor(2)],
    _written,
    lambda x: x.narrow(1, 1, 2) + x.narrow(1, 0, 2),
    lambda x: x.select(1, 2) + torch.select(x, 2, 0)[:, :1],
    lambda x: x.index_select(1, ids(3, 0)),
    lambda x: torch.index_select(x, -1, ids(3, 0)),
    lambda x: torch.gather(x.flatten(1), 1, _in_order(x)),
    lambda x: torch.gather(x.flatten(1), 1, _in_order(x)[:1, :3]),
    lambda x: x.gather(1, x.argsort(1)[:, :2]),
    lambda x: torch.take_along_dim(x, x.argsort(2), 2),
    lambda x: torch.zeros_like(x.flatten(1)).scatter(1, _in_order(x), x.flatten(1)),
    lambda x: x.flatten(1).scatter_add(1, _in_order(x) // 2, x.flatten(1)),
    lambda x: x.scatter(1, x.argsort(1)[:, :1], 7.0),
    lambda x: x.index_add(1, ids(0, 2), x[:, :2], alpha=2) + x.index_fill(1, ids(1), 3.0),
    lambda x: torch.diagonal(x, dim1=2, dim2=3) + x.diagonal(0, 2, 3),
    lambda x: torch.diag(x[0, 0]),
    lambda x: torch.diag_embed(x[:, 0]),
    lambda x: x.tril() + torch.triu(x, diagonal=1),
    lambda x: F.pad(x, (1, 2, 0, 1)),
    lambda x: F.pad(x, (1, -2), value=3.0),
    lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate") + F.pad(x, (1, 2, 0, 1), mode="circular"),
    lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)),
    lambda x: F.unfold(x, 3),
    lambda x: F.unfold(x, (2, 3), dilation=(2, 1), padding=1, stride=2),
    lambda x: x.unfold(1, 2, 1),
    lambda x: x.unfold(3, 3, 2),
    lambda x: F.fold(F.unfold(x, 3, padding=1, stride=2), (6, 6), 3, padding=1, stride=2),
    lambda x: F.fold(F.unfold(x, 2, dilation=2), (6, 6), 2, dilation=2),
    lambda x: x.to(torch.int64) + x.long() + x.int() + x.type(torch.int32),
    lambda x: (x > 0).to(x.dtype) + (x > 0).type_as(x) + x.to(x) + x.double() + x.to("cpu"),
    lambda x: (x > 0).bool() | x.bool(),
    lambda x: (x > 0).float(),
]
REDUCTIONS: list[Function] = [
    lambda x: x.sum() + x.mean() + (x > 0).sum() + x.abs().max() + x.min() + x.std() + x.var(),
    lambda x: x.sum(1) + x.mean(1) + x.amax(1) + torch.amin(x, 1) + torch.logsumexp(x, 1),
    lambda x: x.sum((2, 3)) + x.mean(dim=(-1, -2)) + x.amax((2, 3)) + x.std((2, 3)) + x.var((2, 3), unbiased=False),
    lambda x: x.sum((0, 2, 3)) + x.var((0, 2, 3), correction=0),
    lambda x: x.sum(2, keepdim=True) + x.prod(2, keepdim=True),
    lambda x: x.mean(-1) + x.prod(-1),
    lambda x: x.mean(0) + x.mean((0,), keepdim=True),
    lambda x: x.max(1),
    lambda x: x.min(2, keepdim=True),
    lambda x: torch.max(x, dim=-1)[0],
    lambda x: (x.argmax(), x.argmin(1), x.argmax(dim=2, keepdim=True)),
    lambda x: (torch.var_mean(x, 1), torch.std_mean(x, dim=(2, 3), unbiased=False)),
    lambda x: x.norm() + torch.norm(x, p=1) + torch.norm(x, p=float("inf")),
    lambda x: x.norm(dim=1) + x.norm(p=3, dim=1) + x.norm(1, 1),
    lambda x: torch.linalg.norm(x, dim=(2, 3)) + torch.linalg.vector_norm(x, 2.5, (2, 3)),
    lambda x: torch.linalg.norm(x[0, 0], ord="fro"),
    lambda x: x.cumsum(1) + torch.cumsum(x, -1) + x.tanh().cumprod(2),
    lambda x: ((x > 0).all(1), (x > 0).any(), torch.all(x > 0, dim=2), torch.count_nonzero(x > 0, 1)),
    lambda x: x.median(),
    lambda x: x.topk(2, dim=1),
    lambda x: x.topk(3),
    lambda x: x.topk(3, largest=False),
    lambda x: (x.sort(1), x.sort(descending=True), x.argsort(2)),
    lambda x: F.normalize(x) + F.normalize(x, p=1, dim=-1),
    lambda x: F.normalize(x * 0.0 + torch.relu(x)),
    lambda x: F.cosine_similarity(x, x.sin() + 1) + F.cosine_similarity(x, x + 1, dim=1),
    lambda x: F.cosine_similarity(x.flatten(1), x.flatten(1) + 1, dim=-1),
    lambda x: F.pairwise_distance(x, x.sin() + 1),
    lambda x: torch.cdist(x[:, 0], x[:, 1]) + torch.cdist(x[:, 0], x[:, 0], p=1),
    lambda x: x.softmax(1).logsumexp((1, 2)) + torch.logsumexp(x, (2, 3), keepdim=True)[:, 0],
]
PRODUCTS: list[Function] = [
    lambda x: x @ x.mT + torch.matmul(x, x),
    lambda x: torch.bmm(x[:, 0], x[:, 1]) + torch.baddbmm(x[:, 0], x[:, 0], x[:, 1], beta=0.5, alpha=2),
    lambda x: torch.mm(x[0, 0], x[0, 1]) + torch.addmm(x[0, 0], x[0, 0], x[0, 1], alpha=0.5),
    lambda x: torch.mv(x[0, 0], x[0, 0, 0]) + torch.dot(x[0, 0, 0], x[0, 0, 1]) + x[0, 0, 0] @ x[0, 0, 1],
    lambda x: torch.outer(x[0, 0, 0], x[0, 0, 1]),
    lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
    lambda x: torch.einsum("b c h w, b c h w -> b h", [x, x]),
    lambda x: F.linear(x, torch.ones(3, 6), torch.arange(3.0)) + F.linear(x, torch.ones(3, 6)),
    lambda x: F.bilinear(x[:, 0], x[:, 1], torch.ones(3, 6, 6), torch.ones(3)),
    lambda x: torch.tensordot(x, x, dims=([0, 1], [0, 1])),  # type: ignore[arg-type]
    lambda x: torch.kron(x[0, 0], x[0, 1]),
    lambda x: F.scaled_dot_product_attention(x, x.sin(), x.cos()),
    lambda x: F.scaled_dot_product_attention(x, x.sin(), x.cos(), is_causal=True, scale=0.3),
    lambda x: F.scaled_dot_product_attention(x, x, x.cos(), attn_mask=(x[0, 0] > 0).tril(-1)),
    lambda x: F.scaled_dot_product_attention(x, x, x.cos(), x[:, :1].sin()),
    lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, 2:], enable_gqa=True),
    lambda x: torch.linalg.inv(x[:, 0] @ x[:, 0].mT + torch.eye(6)),
]


def _kernel(*shape: int) -> torch.Tensor:
    count = int(np.prod(shape))
    return torch.linspace(-1, 1, count).sin().reshape(shape)


WEIGHTED: list[Function] = [
    lambda x: F.conv2d(x, _kernel(3, 4, 3, 3), _kernel(3)),
    lambda x: F.conv2d(x, _kernel(6, 2, 3, 2), None, (2, 1), (1, 0), (1, 2), 2),
    lambda x: F.conv2d(x, _kernel(2, 4, 2, 3), padding="same"),
    lambda x: F.conv1d(x.flatten(2), _kernel(3, 4, 3), padding=1),
    lambda x: F.conv3d(x.unsqueeze(2), _kernel(3, 4, 1, 3, 3)),
    lambda x: F.conv_transpose2d(x, _kernel(4, 3, 3, 2), _kernel(3), stride=2, padding=1, output_padding=1),
    lambda x: F.conv_transpose2d(x, _kernel(4, 3, 3, 2), groups=2, dilation=2),
    lambda x: F.conv_transpose1d(x.flatten(2), _kernel(4, 3, 3), stride=2),
    lambda x: F.conv_transpose3d(x.unsqueeze(2), _kernel(4, 3, 1, 3, 3)),
    lambda x: F.batch_norm(x, _kernel(4), _kernel(4).abs() + 1, _kernel(4), _kernel(4)),
    lambda x: F.batch_norm(x, None, None, training=True),
    lambda x: F.layer_norm(x, (6,), _kernel(6), _kernel(6)) + F.layer_norm(x, (4, 6, 6), eps=1e-3),
    lambda x: F.group_norm(x, 2, _kernel(4), _kernel(4)) + F.group_norm(x, 4),
    lambda x: F.instance_norm(x, weight=_kernel(4), bias=_kernel(4)),
    lambda x: F.rms_norm(x, (6,), _kernel(6)) + F.rms_norm(x, (6, 6), eps=1e-5),
    lambda x: F.local_response_norm(x, 3, alpha=0.1) + F.local_response_norm(x, 2),
    lambda x: F.embedding(x.argmax(1), _kernel(4, 5)) + F.embedding(x.argmax(1), _kernel(4, 5), padding_idx=1),
    lambda x: F.one_hot(x.argmax(1), 4),
    lambda x: F.dropout(x, 0.3, training=False) + F.dropout2d(x, 0.2, training=False),
    lambda x: F.mse_loss(x, x.sin()) + F.l1_loss(x, x.sin(), reduction="sum"),
    lambda x: F.mse_loss(x, x.sin(), reduction="none") + F.smooth_l1_loss(x, 2 * x.sin(), beta=0.5),
    lambda x: F.huber_loss(x, 2 * x.sin(), delta=0.5),
    lambda x: F.binary_cross_entropy(x.sigmoid(), x.sin() ** 2),
    lambda x: F.binary_cross_entropy_with_logits(x, x.sin() ** 2, weight=_kernel(6).abs()),
    lambda x: F.binary_cross_entropy_with_logits(x, x.sin() ** 2, pos_weight=_kernel(6).abs(), reduction="sum"),
    lambda x: F.cross_entropy(x, x.argmin(1)) + F.cross_entropy(x, x.argmin(1), label_smoothing=0.2),
    lambda x: F.cross_entropy(x, x.argmin(1), weight=_kernel(4).abs(), ignore_index=2),
    lambda x: F.cross_entropy(x, x.softmax(1), reduction="none"),
    lambda x: F.nll_loss(x.log_softmax(1), x.argmin(1), reduction="none"),
    lambda x: F.kl_div(x.log_softmax(1), x.softmax(1), reduction="batchmean") + F.kl_div(x, x.sin(), log_target=True),
]
POOLS: list[Function] = [
    lambda x: F.max_pool2d(x, 2) + F.max_pool2d(x, (3, 2), 2, (1, 0)),
    lambda x: F.max_pool2d(x, 2, dilation=2, stride=1),
    lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    lambda x: F.max_pool2d(x, 4, 4, padding=1, ceil_mode=True),
    lambda x: F.max_pool1d(x.flatten(2), 5),
    lambda x: F.max_pool3d(x.unsqueeze(2), (1, 2, 2)),
    lambda x: F.avg_pool2d(x, 2) + F.avg_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    lambda x: F.avg_pool2d(x, 4, 3, ceil_mode=True),
    lambda x: F.avg_pool2d(x, 4, 3, 1, ceil_mode=True),
    lambda x: F.avg_pool2d(x, 4, 3, 1, ceil_mode=True, count_include_pad=False),
    lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    lambda x: F.avg_pool1d(x.flatten(2), 5, 3, padding=2),
    lambda x: F.avg_pool3d(x.unsqueeze(2), (1, 2, 2)),
    lambda x: F.lp_pool2d(x, 2.0, 2) + F.lp_pool2d(x, 2.0, 3, stride=2, ceil_mode=True),
    lambda x: F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, (1, 1)),
    lambda x: F.adaptive_avg_pool2d(x, 4) + F.adaptive_max_pool2d(x, 4),
    lambda x: F.adaptive_avg_pool2d(x, (3, None)) + F.adaptive_max_pool2d(x, (3, 6)),
    lambda x: F.adaptive_avg_pool1d(x.flatten(2), 7),
    lambda x: F.adaptive_avg_pool3d(x.unsqueeze(2), (1, 4, 2)),
    lambda x: F.interpolate(x, scale_factor=2),
    lambda x: F.interpolate(x, size=(4, 9)),
    lambda x: F.interpolate(x, scale_factor=1.7) + F.interpolate(x, scale_factor=1.7, mode="nearest-exact"),
    lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    lambda x: F.interpolate(x, size=(9, 4), mode="bilinear", align_corners=True),
    lambda x: F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear"),
    lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    lambda x: F.interpolate(x, size=(7, 4), mode="bicubic", align_corners=True),
    lambda x: F.interpolate(x, size=(4, 3), mode="area"),
    lambda x: F.interpolate(x.flatten(2), size=20, mode="linear"),
    lambda x: F.interpolate(x.unsqueeze(2), scale_factor=2, mode="trilinear"),
]
CREATIONS: list[Function] = [
    lambda x: torch.zeros(x.shape[0], 4, 1, 1) + x + torch.ones((2, 1, 1, 1))[:1] * torch.full((1,), 2.5),
    lambda x: torch.zeros_like(x) + torch.ones_like(x) * torch.full_like(x, 3.0) + x,
    lambda x: x.new_zeros(x.shape[0], 4, 6, 6) + x.new_ones(6) + x.new_full((6,), 2.0) + x.new_tensor([1.5]),
    lambda x: x + torch.arange(6) + torch.arange(1, 7, dtype=x.dtype) + torch.arange(0, 12, 2) + torch.arange(3.0)[0],
    lambda x: x + torch.arange(x.shape[0]).view(-1, 1, 1, 1),
    lambda x: x + torch.linspace(0, 1, 6) + torch.eye(6) + torch.eye(6, 6, dtype=x.dtype),
    lambda x: x + torch.tensor([1.0, 2, 3, 4, 5, 6]) + torch.tensor(2.5) + torch.tensor(3),
    lambda x: x * torch.zeros(6, dtype=torch.bool).logical_not(),
    lambda x: x.clone().fill_(2.0) + x.clone().zero_() + torch.empty_like(x).copy_(x),
]
GROUPS = {
    "elements": ELEMENTS, "activations": ACTIVATIONS, "shapes": SHAPES, "joins": JOINS, "indices": INDICES,
    "reductions": REDUCTIONS, "products": PRODUCTS, "weighted": WEIGHTED, "pools": POOLS, "creations": CREATIONS,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch tells of what will change
@pytest.mark.parametrize("layer", [False, True], ids=["plain", "after-a-layer"])
@pytest.mark.parametrize("group", GROUPS)
def test_same_as_torch(group: str, layer: bool):
    found = gaps(Net(GROUPS[group], layer), images(), slopes=not layer)
    assert max(found) < 1e-12, found


REFUSED: list[tuple[Function, str]] = [
    (lambda x: x[x > 0], "mask"),
    (lambda x: x.masked_select(x > 0), "shape depends on data"),
    (lambda x: (x > 0).nonzero(), "shape depends on data"),
    (lambda x: x.repeat_interleave(torch.tensor([1, 2, 1, 1]), dim=1), "depends on data"),
    (lambda x: F.gumbel_softmax(x), "torch.rand_like"),
    (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], "places of the largest"),
    (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", antialias=True), "antialias"),
    (lambda x: F.dropout(x), "training=self.training"),
    (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1), "self.training"),
    (lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4), training=True), "BatchNorm"),
    (lambda x: x.median(1), "sort"),
    (lambda x: F.one_hot(x.argmax(1)), "num_classes"),
    (lambda x: F.rrelu(x, training=True), "leaky_relu"),
    (lambda x: torch.linalg.norm(x[0, 0], ord=2), "matrix"),
    (lambda x: torch.cat([x, x]).chunk(2), "follows the batch"),
    (lambda x: F.alpha_dropout(x, 0.1), "no counterpart"),
    (lambda x: torch.multinomial(x[0, 0].softmax(-1), 2), "distribution"),
    (lambda x: F.grid_sample(x, torch.tanh(x).permute(0, 2, 3, 1)[..., :2], align_corners=False), "no rule"),
    (lambda x: F.embedding(x.argmax(1), torch.ones(4, 3), max_norm=1.0), "max_norm"),
    (lambda x: F.mse_loss(x, x, reduce=False), "reduction"),
    (lambda x: F.fractional_max_pool2d(x, 2, output_size=3), "without a rule"),
    (lambda x: torch.div(x.argmax(1), 2, rounding_mode="trunc"), "for whole numbers; divide floats"),
    (lambda x: torch.where(x > 0, x > 1, x < 2), "write it with & and |"),
    (lambda x: x[:, x[0, :, 0, 0] > 0], "use torch.where"),
    (lambda x: x.scatter_reduce(1, x.argmax(1, keepdim=True), x, "mean"), "or leaves out the tensor"),
    (lambda x: torch.diag_embed(x[0, 0], dim1=0, dim2=1), "elsewhere than on the last two axes"),
    (lambda x: F.cross_entropy(x.flatten(2), x.flatten(2).softmax(1), torch.ones(4)), "weights beside probabilities"),
    (
        lambda x: F.cross_entropy(x.flatten(2), x.flatten(2).argmax(1), torch.ones(4), label_smoothing=0.1),
        "weights beside smoothing",
    ),
    (lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True)[0], "which Flax's pools do not"),
    (lambda x: x.view(torch.int32), "reads the bits"),
    (lambda x: torch.atleast_2d(x), "write unsqueeze"),
    (lambda x: F.pixel_shuffle(x[0], 2), "takes a batch of images"),
    (lambda x: F.instance_norm(x, torch.zeros(4), torch.ones(4)), "changes the statistics that it is given"),
    (lambda x: F.conv2d(x[0], torch.ones(1, 4, 1, 1)), "give it a batch of images"),
]


@pytest.mark.filterwarnings("ignore")  # torch tells of what it gave up
def test_what_cannot_be_said_is_refused():
    with pytest.raises(InputError) as caught:
        translated(Net([function for function, _ in REFUSED]), images())
    told = str(caught.value).split("; /")
    for function, why in REFUSED:
        line = f".py:{function.__code__.co_firstlineno} "
        # A line is quoted with the words that stand beside it here: the reason is what follows.
        assert any(line in one and why in one.rpartition("): ")[2] for one in told), (line, why, told)


class Noisy(torch.nn.Module):
    def forward(self, x):
        mu, deviation = x.chunk(2, 1)
        z = mu + deviation.exp() * torch.randn_like(deviation)
        u = torch.rand(x.shape[0], 3) - torch.empty(x.shape[0], 3).uniform_(1, 2)
        n = torch.normal(mu, deviation.exp()) + torch.empty_like(mu).normal_(3.0, 0.5) + torch.randn(6)
        b = torch.bernoulli(mu.sigmoid()) + torch.empty_like(mu).bernoulli_(0.25)
        p = x[:, torch.randperm(4)] + torch.randint(2, 5, (x.shape[0], 1, 1, 1))
        return z, u, n, b, F.dropout(F.dropout2d(p, 0.5, self.training), 0.5, self.training)


def test_noise_is_drawn_from_a_key_of_the_class():
    found = translated(Noisy(), images())
    assert "rngs.noise.fork()" in found.source
    x = images()
    call: Function = found.module  # type: ignore[assignment]
    with jax.numpy_rank_promotion("allow"):
        first, again = (jax.tree.leaves(call(x)) for _ in range(2))
    shapes = [one.shape for one in first]
    assert shapes == [(2, 2, 6, 6), (2, 3), (2, 2, 6, 6), (2, 2, 6, 6), x.shape]
    for left, right in zip(first, again, strict=True):
        assert np.isfinite(left).all()
        assert (np.asarray(left) != np.asarray(right)).any()
    assert set(np.unique(first[3])) == {0.0, 1.0, 2.0}
    assert float(np.max(first[1])) < 0 < 2 + float(np.min(first[1]))


def test_large_numbers_of_one_sign_are_as_exact():
    x = 40 * images()
    assert max(gaps(Net([lambda x: F.softplus(40 * x) + F.logsigmoid(40 * x), torch.erf], False), x)) < 1e-12
