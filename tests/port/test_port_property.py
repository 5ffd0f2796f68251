"""Random small architectures in both frameworks: bit-exact round trips, equal outputs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxae import port

torch.set_num_threads(2)


RNGS = nnx.Rngs(0)
# Zeros, for they are made without compiling anything; every test fills them.
PLAIN: Any = {"rngs": RNGS, "param_dtype": jnp.float64, "kernel_init": nnx.initializers.zeros}


@st.composite
def convolution(draw: Any, channels: int, size: tuple[int, int]) -> Any:
    """A Conv or ConvTranspose in both frameworks, its channels and size; None where none fits."""
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = draw(st.tuples(st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)))
    out = draw(st.integers(1, 4))
    bias = draw(st.booleans())
    more: Any = {**PLAIN, "use_bias": bias}
    if draw(st.booleans()):
        extra = draw(st.tuples(st.integers(0, stride[0] - 1), st.integers(0, stride[1] - 1)))
        pads = [(k - 1 - p, k - 1 - p + o) for k, p, o in zip(kernel, padding, extra, strict=True)]
        theirs = torch.nn.ConvTranspose2d(channels, out, kernel, stride, padding, extra, bias=bias)
        ours = nnx.ConvTranspose(
            channels, out, kernel, stride, padding=pads, transpose_kernel=draw(st.booleans()), **more
        )
    else:
        groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0 == out % g]))
        pads = [(p, p) for p in padding]
        theirs = torch.nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=bias)
        ours = nnx.Conv(channels, out, kernel, stride, padding=pads, feature_group_count=groups, **more)
    after = tuple(theirs(torch.zeros(1, channels, *size)).shape[2:])
    return theirs, ours, out, after


@st.composite
def architecture(draw: Any) -> Any:
    """torch's Sequential, the NNX one, the input's shape and the flatten to say."""
    with jax.enable_x64(True):
        return build(draw)


def build(draw: Any) -> Any:
    channels = first = draw(st.integers(1, 4))
    size = start = draw(st.tuples(st.integers(5, 7), st.integers(5, 7)))
    theirs: list[Any] = []
    ours: list[Any] = []
    for _ in range(draw(st.integers(1, 2))):
        one, two, channels, size = draw(convolution(channels, size))
        theirs.append(one)
        ours.append(two)
        if draw(st.booleans()):
            theirs.append(torch.nn.BatchNorm2d(channels))
            norm = nnx.BatchNorm(channels, momentum=0.9, use_running_average=True, rngs=RNGS)
            ours.append(norm)
        theirs.append(torch.nn.Tanh())
        ours.append(jnp.tanh)
    channels_last = draw(st.booleans())
    theirs.append(torch.nn.Flatten())
    turn = (lambda x: x) if channels_last else (lambda x: x.transpose(0, 3, 1, 2))
    ours.append(lambda x: turn(x).reshape(len(x), -1))
    features = channels * size[0] * size[1]
    theirs.append(torch.nn.Linear(features, 3))
    ours.append(nnx.Linear(features, 3, **PLAIN))
    path = f"layers.{len(ours) - 1}"
    if draw(st.booleans()):  # functions left out: Flax's numbers then differ from torch's
        last = torch.nn.Linear(3, 2)
        theirs += [torch.nn.Sigmoid(), last]
        ours += [nnx.Sequential(jax.nn.sigmoid, nnx.Linear(3, 2, **PLAIN)).layers[1]]
        ours.insert(-1, jax.nn.sigmoid)
    flatten = {path: (channels, *size)} if channels_last else "CHW"
    return torch.nn.Sequential(*theirs), nnx.Sequential(*ours), (first, *start), flatten


def scrambled(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for name, one in module.double().state_dict().items():
        if one.is_floating_point():
            values = torch.randn(one.shape, generator=generator, dtype=one.dtype)
            one.copy_(values.abs() + 0.5 if name.endswith("var") else values)
    return module.eval()


@settings(max_examples=12, deadline=None, database=None, derandomize=True)
@given(architecture(), st.integers(0, 2**31))
def test_architectures(pair, seed):
    theirs, ours, shape, flatten = pair
    with jax.enable_x64(True):
        scrambled(theirs, seed)
        report = port.from_torch(ours, theirs, flatten=flatten)
        x = np.random.default_rng(seed).normal(size=(2, *shape))
        expected = theirs(torch.from_numpy(x)).detach().numpy()
        got = np.asarray(ours(jnp.asarray(x.transpose(0, 2, 3, 1))))
        assert np.abs(got - expected).max() <= 1e-12 * np.abs(expected).max()  # measured 2e-15
        back = port.to_torch(ours, flatten=flatten, carried=report.carried, like=theirs)
        for name, tensor in theirs.state_dict().items():
            assert back[name].numpy().tobytes() == tensor.numpy().tobytes()


LAYERS = {
    "linear": lambda a, b: nnx.Linear(a, b, rngs=nnx.Rngs(0)),
    "conv": lambda a, b: nnx.Conv(a, b, (2, 3), rngs=nnx.Rngs(0)),
    "transposed": lambda a, b: nnx.ConvTranspose(a, b, (2, 3), rngs=nnx.Rngs(0)),
    "attention": lambda a, b: nnx.MultiHeadAttention(a, a * b, rngs=nnx.Rngs(0)),
    "lstm": lambda a, b: nnx.LSTMCell(a, b, rngs=nnx.Rngs(0)),
    "gru": lambda a, b: nnx.GRUCell(a, b, rngs=nnx.Rngs(0)),
    "norm": lambda a, b: nnx.BatchNorm(a * b, rngs=nnx.Rngs(0)),
    "embed": lambda a, b: nnx.Embed(a, b, rngs=nnx.Rngs(0)),
}
DTYPES = st.sampled_from(["float16", "bfloat16", "float32"])


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(sorted(LAYERS)), st.integers(1, 3), st.integers(1, 3), DTYPES, st.data())
def test_any_bits_survive_the_way_to_torch_and_back(kind, a, b, dtype, data):
    """Signed zeros, subnormals and infinities too; LSTM and GRU cells in this direction."""
    ours, again = (nnx.eval_shape(lambda: LAYERS[kind](a, b)) for _ in range(2))
    bits: Any = np.uint32 if dtype == "float32" else np.uint16
    seed = data.draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    kept = []
    for path, one in nnx.iter_graph(ours):
        if isinstance(one, nnx.Param | nnx.BatchStat):
            words = rng.integers(0, np.iinfo(bits).max, one.shape, bits, endpoint=True)
            array = np.asarray(words).view(jnp.dtype(dtype))
            array = np.where(np.isnan(array), np.array(-0.0, array.dtype), array)
            one.set_value(jnp.asarray(array))
            kept.append((path, array))
    state = port.to_torch(ours)
    port.from_torch(again, state)
    found = dict(nnx.iter_graph(again))
    for path, array in kept:
        assert np.asarray(found[path].get_value()).tobytes() == array.tobytes()
