"""Ports with inputs: no hint is needed, and what differs is refused with its place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx
from port.strangers import ZEROS, conv, linear, rngs

from jaxae import InputError, port

T = torch.nn


def deconv(inputs: int, outputs: int) -> nnx.ConvTranspose:
    padding = [(2, 2)] * 2  # torch's kernel 4, padding 1
    return nnx.ConvTranspose(
        inputs, outputs, (4, 4), 2, padding=padding, transpose_kernel=True, kernel_init=ZEROS, rngs=rngs()
    )


def flat(x: jax.Array) -> jax.Array:
    return x.reshape(len(x), -1)


class TorchVAE(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = T.Linear(30, 8), T.Linear(8, 3), T.Linear(8, 3)
        self.fc3, self.fc4 = T.Linear(3, 8), T.Linear(8, 30)

    def forward(self, x: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h = F.relu(self.fc1(x))
        log_var, mean = self.fc22(h), self.fc21(h)  # the other way round than below
        return self.fc4(F.relu(self.fc3(mean + eps * torch.exp(log_var / 2)))), mean, log_var


class FlaxVAE(nnx.Module):
    """Of other names, declared in another order."""

    def __init__(self) -> None:
        self.out, self.decoder = linear(8, 30), linear(3, 8)
        self.mean, self.log_var, self.encoder = linear(8, 3), linear(8, 3), linear(30, 8)

    def __call__(self, x: jax.Array, eps: jax.Array) -> tuple[jax.Array, ...]:
        h = nnx.relu(self.encoder(x))
        mean, log_var = self.mean(h), self.log_var(h)
        return self.out(nnx.relu(self.decoder(mean + eps * jnp.exp(log_var / 2)))), mean, log_var


class TorchBlock(T.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = T.Conv2d(inputs, outputs, 3, stride, 1, bias=False), T.BatchNorm2d(outputs)
        self.conv2, self.bn2 = T.Conv2d(outputs, outputs, 3, 1, 1, bias=False), T.BatchNorm2d(outputs)
        self.downsample = T.Sequential(T.Conv2d(inputs, outputs, 1, stride, bias=False), T.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.downsample(x))


class FlaxBlock(nnx.Module):
    """The skip is computed first, in torch last."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        self.skip, self.skip_norm = conv(inputs, outputs, 1, strides=stride, use_bias=False), norm(outputs)
        self.first = conv(inputs, outputs, 3, padding=1, strides=stride, use_bias=False)
        self.second, self.norms = (
            conv(outputs, outputs, 3, padding=1, use_bias=False),
            nnx.List([norm(outputs), norm(outputs)]),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        skip = self.skip_norm(self.skip(x))
        return nnx.relu(self.norms[1](self.second(nnx.relu(self.norms[0](self.first(x))))) + skip)


def norm(features: int, momentum: float = 0.9) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, momentum=momentum, rngs=rngs())


class TorchTagger(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.lstm, self.fc = T.Embedding(11, 6), T.LSTM(6, 7, batch_first=True), T.Linear(7, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.lstm(self.emb(x))[0])


class FlaxTagger(nnx.Module):
    def __init__(self) -> None:
        self.tag, self.words = linear(7, 4), nnx.Embed(11, 6, rngs=rngs())
        self.rnn = nnx.RNN(nnx.LSTMCell(6, 7, rngs=rngs()), rngs=rngs())

    def __call__(self, x: jax.Array) -> jax.Array:
        states: Any = self.rnn(self.words(x))
        return self.tag(states)


class TorchBeside(T.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = T.Conv2d(2, 3, 3), T.Linear(3 * 4 * 5 + 6, 7)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.cat([F.relu(self.conv(x)).flatten(1), y], 1))


class FlaxBeside(nnx.Module):
    """What stands beside the image comes first, in torch last."""

    def __init__(self) -> None:
        self.conv, self.fc = conv(2, 3, 3), linear(66, 7)

    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return self.fc(jnp.concatenate([y, flat(nnx.relu(self.conv(x)))], 1))


WORDS = np.random.default_rng(0).integers(0, 11, (3, 5))
NETWORKS: dict[str, tuple[Any, Any, Any]] = {
    "names in another order": (TorchVAE, FlaxVAE, ((3, 30), (3, 3))),
    "blocks": (
        lambda: T.Sequential(TorchBlock(2, 4, 2), TorchBlock(4, 4, 1)),
        lambda: nnx.Sequential(FlaxBlock(2, 4, 2), FlaxBlock(4, 4, 1)),
        (2, 2, 9, 8),
    ),
    "a recurrent network": (TorchTagger, FlaxTagger, WORDS),
    "a norm after a flatten": (
        lambda: T.Sequential(T.Conv2d(1, 4, 3), T.ReLU(), T.Flatten(), T.BatchNorm1d(80), T.Linear(80, 5)),
        lambda: nnx.Sequential(conv(1, 4, 3), nnx.relu, flat, norm(80), linear(80, 5)),
        (4, 1, 6, 7),
    ),
    "a flatten and an unflatten of one layer": (
        lambda: T.Sequential(
            T.Conv2d(1, 5, 3),
            T.Flatten(),
            T.Linear(80, 36),
            T.BatchNorm1d(36),
            T.Unflatten(1, (6, 3, 2)),
            T.ConvTranspose2d(6, 2, 4, 2, 1),
        ),
        lambda: nnx.Sequential(
            conv(1, 5, 3), flat, linear(80, 36), norm(36), lambda x: x.reshape(-1, 3, 2, 6), deconv(6, 2)
        ),
        (2, 1, 6, 6),
    ),
    "an image made of features": (
        lambda: T.Sequential(T.Linear(5, 72), T.Unflatten(1, (3, 4, 6))),
        lambda: nnx.Sequential(linear(5, 72), lambda x: x.reshape(-1, 4, 6, 3)),
        (2, 5),
    ),
    "features beside a flattened image": (TorchBeside, FlaxBeside, ((2, 2, 6, 7), (2, 6))),
    "a convolution over time": (
        lambda: T.Sequential(T.Conv1d(3, 4, 3), T.ReLU(), T.Flatten(), T.Linear(20, 2)),
        lambda: nnx.Sequential(nnx.Conv(3, 4, 3, padding="VALID", rngs=rngs()), nnx.relu, flat, linear(20, 2)),
        (2, 3, 7),
    ),
    "padding before the layer": (
        lambda: T.Sequential(T.Conv2d(1, 4, 3, padding=1, padding_mode="replicate"), T.Conv2d(4, 2, 3)),
        lambda: nnx.Sequential(
            lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), conv(1, 4, 3), conv(4, 2, 3)
        ),
        (2, 1, 5, 6),
    ),
}


def both(name: str) -> tuple[T.Module, Any, Any]:
    torch.manual_seed(0)
    theirs, ours, inputs = NETWORKS[name]
    return theirs().eval(), ours(), inputs


def outputs(theirs: T.Module, ours: Any, inputs: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Results of both on the same inputs, torch's with channels last."""
    several = inputs if isinstance(inputs, tuple) and isinstance(inputs[0], tuple) else (inputs,)
    rng = np.random.default_rng(5)
    given = [one if isinstance(one, np.ndarray) else rng.standard_normal(one, np.float32) for one in several]
    with torch.no_grad():
        wanted = theirs(*map(torch.from_numpy, given))
    ours.eval()
    spatial = any(isinstance(one, T.Conv2d | T.Conv1d) for one in theirs.modules())
    last = [np.moveaxis(one, 1, -1) if one.ndim >= 3 and spatial else one for one in given]
    got = ours(*map(jnp.asarray, last))
    pairs = zip(*((one if isinstance(one, tuple) else (one,)) for one in (wanted, got)), strict=True)
    return [(w.numpy() if w.shape == g.shape else np.moveaxis(w.numpy(), 1, -1), np.asarray(g)) for w, g in pairs]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_hint_is_needed_both_ways(name):
    theirs, ours, inputs = both(name)
    report = port.from_torch(ours, theirs, inputs=inputs)
    assert report.proof.startswith("proven at")
    for wanted, got in outputs(theirs, ours, inputs):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())
    back = port.to_torch(ours, like=theirs, inputs=inputs, carried=report.carried)
    for key, value in theirs.state_dict().items():
        if "bias_" not in key:  # a recurrent layer's two, of which Flax has the sum
            assert torch.equal(back[key], value), key


SEQUENTIAL = (T.Linear(4, 6), T.LayerNorm(6), T.GELU(), T.Linear(6, 2))
MISTAKES: dict[str, tuple[Any, Any, Any, str]] = {
    "another GELU": (
        lambda: T.Sequential(*SEQUENTIAL),
        lambda: nnx.Sequential(linear(4, 6), nnx.LayerNorm(6, epsilon=1e-5, rngs=rngs()), nnx.gelu, linear(6, 2)),
        (3, 4),
        r"'layers.3' \(Linear\) is given other numbers .*operation",
    ),
    "another eps": (
        lambda: T.Sequential(*SEQUENTIAL),
        lambda: nnx.Sequential(
            linear(4, 6), nnx.LayerNorm(6, rngs=rngs()), lambda x: nnx.gelu(x, approximate=False), linear(6, 2)
        ),
        (3, 4),
        r"'layers.1' \(LayerNorm\) gives other numbers .*eps is 1e-05 in torch, but 1e-06",
    ),
    "another padding": (
        lambda: T.Sequential(T.Conv2d(1, 2, 3, padding=1), T.Conv2d(2, 2, 3)),
        lambda: nnx.Sequential(conv(1, 2, 3), conv(2, 2, 3, padding=1)),
        (2, 1, 6, 7),
        r"'layers.0' \(Conv\) gives other numbers",
    ),
    "another momentum": (
        lambda: T.Sequential(T.Linear(4, 6), T.BatchNorm1d(6)),
        lambda: nnx.Sequential(linear(4, 6), norm(6, momentum=0.99)),
        (3, 4),
        r"momentum in torch's sense .* is 0.1 in torch",
    ),
    "another momentum under another name": (
        lambda: T.Sequential(T.Linear(4, 6), T.BatchNorm1d(6)),
        lambda: nnx.Sequential(nnx.Sequential(linear(4, 6), norm(6, momentum=0.99))),
        (8, 4),
        r"'layers.0.layers.1': momentum in torch's sense .* is 0.1 in torch",
    ),
    "another slope": (
        lambda: T.Sequential(T.Linear(4, 6), T.LeakyReLU(0.2), T.Linear(6, 2)),
        lambda: nnx.Sequential(linear(4, 6), nnx.leaky_relu, linear(6, 2)),
        (3, 4),
        r"'layers.2' \(Linear\) is given other numbers",
    ),
    "a transposed kernel": (
        lambda: T.Sequential(T.Conv2d(1, 2, 3), T.Conv2d(2, 2, 3)),
        lambda: nnx.Sequential(
            lambda x: jnp.swapaxes(x, 1, 2), conv(1, 2, 3), lambda x: jnp.swapaxes(x, 1, 2), conv(2, 2, 3)
        ),
        (2, 1, 6, 6),
        r"'layers.1' \(Conv\)",
    ),
    "a permuted stack": (
        lambda: T.Sequential(*(layer for _ in range(3) for layer in (T.Linear(4, 4), T.Tanh()))),
        lambda: nnx.Sequential(linear(4, 4), nnx.tanh, linear(4, 4), linear(4, 4), nnx.tanh),
        (3, 4),
        r"is given other numbers",
    ),
    "another reduction": (
        lambda: T.Sequential(T.Conv2d(1, 3, 3), T.AdaptiveAvgPool2d(1), T.Flatten(), T.Linear(3, 2)),
        lambda: nnx.Sequential(conv(1, 3, 3), lambda x: x.max((1, 2)), linear(3, 2)),
        (2, 1, 6, 6),
        r"\(Linear\) is given other numbers",
    ),
    "another end": (
        lambda: T.Sequential(T.Linear(4, 3), T.Sigmoid()),
        lambda: nnx.Sequential(linear(4, 3)),
        (3, 4),
        r"result 0 differs, after layers that agree",
    ),
    "a residual left out": (
        TorchVAE,
        type("NoEps", (FlaxVAE,), {"__call__": lambda self, x, eps: FlaxVAE.__call__(self, x, 0 * eps)}),
        ((3, 30), (3, 3)),
        r"'decoder' \(Linear\) is given other numbers",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_with_its_place(name):
    theirs, ours, inputs, message = MISTAKES[name]
    module = ours()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(module)))
    with pytest.raises(InputError, match=message):
        port.from_torch(module, theirs(), inputs=inputs)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.to_pure_dict(nnx.state(module)))


def test_a_state_dict_needs_a_network_to_run():
    theirs, ours, inputs = both("a norm after a flatten")
    with pytest.raises(InputError, match="expected factory=, a function"):
        port.from_torch(ours, theirs.state_dict(), inputs=inputs)
    report = port.from_torch(ours, theirs.state_dict(), inputs=inputs, factory=NETWORKS["a norm after a flatten"][0])
    assert report.proof
    with pytest.raises(InputError, match="expected weights of the network that factory makes"):
        port.from_torch(ours, theirs.state_dict(), inputs=inputs, factory=lambda: T.Linear(2, 2))
    with pytest.raises(InputError, match="expected like=, the torch module"):
        port.to_torch(ours, inputs=inputs)
    with pytest.raises(InputError, match="expected inputs that the NNX module takes"):
        port.from_torch(ours, theirs, inputs=(4, 1, 9, 9), nnx_inputs=None, torch_call=lambda m, x: m(x[:, :, :6, :7]))


def test_an_abstract_module_is_filled():
    theirs, _, inputs = both("a norm after a flatten")
    ours = nnx.eval_shape(NETWORKS["a norm after a flatten"][1])
    port.from_torch(ours, theirs, inputs=inputs)
    for wanted, got in outputs(theirs, ours, inputs):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-6 * np.abs(wanted).max())


def test_large_running_means_hide_no_order_of_features():
    # With means of another network's inputs nothing passes the relu, and any order of a flatten gives the same.
    class Flax(nnx.Module):
        def __init__(self) -> None:
            self.conv, self.norm, self.fc = conv(3, 4, 3), norm(4), linear(4 * 3 * 5, 2)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.fc(flat(nnx.relu(self.norm(self.conv(x)))))

    theirs: Any = T.Sequential(T.Conv2d(3, 4, 3), T.BatchNorm2d(4), T.ReLU(), T.Flatten(), T.Linear(4 * 3 * 5, 2))
    theirs.eval()[1].running_mean.fill_(20.0)
    ours = Flax()
    port.from_torch(ours, theirs, inputs=(2, 3, 5, 7))
    weight = theirs[4].weight.detach().numpy()
    assert np.array_equal(ours.fc.kernel[...].T, np.moveaxis(weight.reshape(2, 4, 15), 1, 2).reshape(2, 60))
