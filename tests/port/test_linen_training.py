"""A training goes on in Linen where torch stopped, and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen
from flax.training.train_state import TrainState

from jaxae import port

X, Y = (np.random.default_rng(seed).normal(size=(8, features)) for seed, features in ((0, 6), (1, 4)))
NAMES = {"Dense_0": "0", "Dense_1": "2"}


class Net(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.tanh(linen.Dense(5)(x))
        return linen.Dense(4)(x)


def train(theirs: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        ((theirs(torch.from_numpy(X)) - torch.from_numpy(Y)) ** 2).mean().backward()
        optimizer.step()


def test_a_train_state_goes_on_where_torch_stopped(x64):
    torch.manual_seed(0)
    theirs: Any = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4)).double()
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    train(theirs, optimizer, 5)
    net: Any = Net()
    view = port.LinenView(net.init(jax.random.key(0), jnp.asarray(X)), net)
    port.from_torch(view, theirs, names=NAMES)
    params = view.variables["params"]
    ported = port.optimizer_from_torch(view, optimizer, theirs, params=params, names=NAMES)
    state: Any = TrainState(5, net.apply, params, ported.tx, ported.state)
    step = jax.jit(
        lambda state: state.apply_gradients(
            grads=jax.grad(lambda params: ((net.apply({"params": params}, X) - Y) ** 2).mean())(state.params)
        )
    )
    for _ in range(10):
        state = step(state)
    train(theirs, optimizer, 10)
    # Largest gap measured: 2e-16.
    assert np.abs(state.params["Dense_0"]["kernel"].T - theirs[0].weight.detach().numpy()).max() < 1e-14
    back = port.optimizer_to_torch(view, state.opt_state, ported.groups, theirs, params=params, names=NAMES)
    for number, kept in optimizer.state_dict()["state"].items():
        assert torch.allclose(back["state"][number]["exp_avg"], kept["exp_avg"], rtol=0, atol=1e-14)
