from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx

import torch_ref
from jaxae.config import ConditionalVAEConfig
from jaxae.errors import InputError
from jaxae.network.layers import flatten_as_torch
from jaxae.network.models import ConditionalVAE
from jaxae.parity import Comparison, compare


class Net(torch.nn.Module):
    """A small classifier with a norm, a flatten and a square kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, (3, 2))
        self.norm = torch.nn.BatchNorm2d(3)
        self.fc1 = torch.nn.Linear(3 * 3 * 4, 6)
        self.ln = torch.nn.LayerNorm(6)
        self.fc2 = torch.nn.Linear(6, 6)
        self.fc3 = torch.nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.conv(x))).flatten(1)
        x = torch.tanh(self.fc1(x))
        return self.fc3(torch.tanh(self.fc2(self.ln(x))))


class Twin(nnx.Module):
    """The same, with room for one mistake at a time."""

    def __init__(
        self,
        *,
        flatten: Callable[[Any], Any] = flatten_as_torch,
        activation: Callable[[Any], Any] = jnp.tanh,
        epsilon: float = 1e-5,
        transpose: bool = False,
        stop: bool = False,
    ):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(2, 3, (3, 2), padding="VALID", rngs=rngs)
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.fc1 = nnx.Linear(3 * 3 * 4, 6, rngs=rngs)
        self.ln = nnx.LayerNorm(6, epsilon=epsilon, rngs=rngs)
        self.fc2 = Transposed(6, 6, rngs=rngs) if transpose else nnx.Linear(6, 6, rngs=rngs)
        self.fc3 = nnx.Linear(6, 2, rngs=rngs)
        self.flatten, self.activation, self.stop = flatten, activation, stop

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.flatten(nnx.relu(self.norm(self.conv(x))))
        x = self.activation(self.fc1(x))
        x = jax.lax.stop_gradient(x) if self.stop else x
        return self.fc3(jnp.tanh(self.fc2(self.ln(x))))


class Transposed(nnx.Linear):
    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        assert self.bias is not None
        return inputs @ self.kernel[...].T + self.bias[...][None]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        statistics = dict(net.norm.named_buffers())
        statistics["running_mean"].uniform_(-1, 1)
        statistics["running_var"].uniform_(0.5, 2)
    return net


IMAGES = np.random.default_rng(0).standard_normal((5, 2, 5, 5)).astype(np.float32)


def located(comparison: Comparison) -> tuple[str, str]:
    first = comparison.first_difference
    assert first is not None
    assert not comparison.passed
    assert first.layer in str(comparison)
    return first.layer, first.what


def test_a_right_pair_agrees_to_float64_rounding(net):
    comparison = compare(net, Twin(), IMAGES)
    assert comparison.passed
    assert comparison.first_difference is None
    assert comparison.first_gradient_difference is None
    assert comparison.unpaired == ()
    # Measured: 4e-15 at most.
    assert max(row.gap.max_rel for row in comparison.rows) < 1e-13
    outputs = [row.layer for row in comparison.rows if row.what == "output"]
    assert outputs == ["conv", "norm", "fc1", "ln", "fc2", "fc3"]
    gradients = [row.layer for row in comparison.rows if row.what == "gradient"]
    assert gradients == ["fc3", "fc2", "ln", "fc1", "norm", "conv"]


def test_a_right_pair_agrees_in_training_mode(net):
    assert compare(net, Twin(), IMAGES, train=True).passed


def test_a_wrong_flatten_is_located(net):
    comparison = compare(net, Twin(flatten=lambda x: x.reshape(len(x), -1)), IMAGES)
    assert located(comparison) == ("fc1", "input")
    assert comparison.first_difference is not None
    assert "another order" in comparison.first_difference.hint


def test_a_missing_activation_is_located(net):
    comparison = compare(net, Twin(activation=lambda x: x), IMAGES)
    assert located(comparison) == ("ln", "input")
    assert "activation" in str(comparison)


def test_eps_of_a_norm_is_located(net):
    assert located(compare(net, Twin(epsilon=1e-6), IMAGES)) == ("ln", "output")


def test_momentum_of_a_norm_changes_nothing_here(net):
    twin = Twin()
    twin.norm.momentum = 0.5
    assert compare(net, twin, IMAGES).passed


def test_a_transposed_kernel_is_located(net):
    net.fc2 = torch.nn.Linear(6, 6)
    twin = Twin()
    from jaxae.port import from_torch

    from_torch(twin, net, flatten="CHW")
    twin.fc2.kernel.set_value(twin.fc2.kernel[...].T)
    assert located(compare(net, twin, IMAGES, port=False)) == ("fc2", "output")
    # What the weights were does not matter once they are ported.
    assert compare(net, twin, IMAGES).passed


def test_a_forward_pass_that_transposes_is_located(net):
    from jaxae.port import register
    from jaxae.port.row import Row
    from jaxae.port.table.lookup import rules_for

    if not rules_for(Twin(transpose=True).fc2):
        register(
            Transposed,
            Row("weight", "kernel", "outputs inputs -> inputs outputs"),
            Row("bias", "bias", "outputs -> outputs"),
            torch="Linear",
        )
    assert located(compare(net, Twin(transpose=True), IMAGES)) == ("fc2", "output")


def test_a_gradient_alone_is_located(net):
    comparison = compare(net, Twin(stop=True), IMAGES)
    assert comparison.first_difference is None
    assert comparison.first_gradient_difference is not None
    assert comparison.first_gradient_difference.layer == "fc1"


def test_neither_network_is_touched(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    twin = Twin()
    kernel = np.asarray(twin.fc1.kernel[...]).copy()
    compare(net, twin, IMAGES)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert np.array_equal(twin.fc1.kernel[...], kernel)
    assert type(twin.fc1) is nnx.Linear
    assert twin.fc1.kernel[...].dtype == jnp.float32


def test_the_projects_own_pair(x64):
    torch.manual_seed(0)
    reference = torch_ref.ConditionalVariationalAutoencoder(784, 7, 10)
    twin = ConditionalVAE(ConditionalVAEConfig(num_latent=7), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 1, 28, 28))
    labels, eps = np.array([1, 9, 4]), rng.standard_normal((3, 7))
    comparison = compare(
        reference, twin, (images, labels, eps), nnx_call=lambda model, x, label, eps: model(x, label, eps=eps)[:4]
    )
    assert comparison.passed, str(comparison)
    # The twin takes the class as a bias where torch is given planes.
    assert comparison.notes == ("enc_conv_1 (Conv2d) gives the same of inputs in another form",)
    assert {row.layer for row in comparison.rows} >= {"enc_conv_1", "z_log_var", "dec_deconv_3"}


def test_results_that_do_not_correspond_are_refused(net):
    with pytest.raises(InputError, match="2 arrays from torch and 1 from NNX"):
        compare(net, Twin(), IMAGES, torch_call=lambda model, x: (model(x), x))


def test_inputs_that_are_no_numbers_are_refused(net):
    with pytest.raises(InputError, match="input 0"):
        compare(net, Twin(), "image.png")


def test_sequential_numbers_and_layers_called_twice():
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(inplace=True))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(self.body(x))

    class SharedTwin(nnx.Module):
        def __init__(self) -> None:
            self.body = nnx.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(0)), nnx.relu)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.body(self.body(x))

    comparison = compare(Shared(), SharedTwin(), np.random.default_rng(0).standard_normal((3, 4)))
    assert comparison.passed, str(comparison)
    assert "body.0#2" in {row.layer for row in comparison.rows}
    assert comparison.unpaired == ()
