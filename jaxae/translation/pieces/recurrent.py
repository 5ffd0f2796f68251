"""Recurrent layers and cells with all of torch's biases, which Flax's lack in part."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class RecurrentCell(nnx.Module):
    """What the recurrent cells share: a layer of the inputs and a layer of the state, for all gates at once.

    Args:
        in_features: Features of the input.
        hidden_features: Features of the state.
        gates: Number of gates.
        use_bias: Whether both layers have biases.
        rngs: Random streams.
    """

    torch_rows = (
        ("weight_ih", "dense_i.kernel", "outputs inputs -> inputs outputs"),
        ("weight_hh", "dense_h.kernel", "outputs inputs -> inputs outputs"),
        ("bias_ih", "dense_i.bias", "outputs -> outputs"),
        ("bias_hh", "dense_h.bias", "outputs -> outputs"),
    )

    def __init__(
        self, in_features: int, hidden_features: int, *, gates: int = 1, use_bias: bool = True, rngs: nnx.Rngs
    ):
        self.dense_i = nnx.Linear(in_features, gates * hidden_features, use_bias=use_bias, rngs=rngs)
        self.dense_h = nnx.Linear(hidden_features, gates * hidden_features, use_bias=use_bias, rngs=rngs)

    def start(self, inputs: jax.Array) -> Any:
        """The state before the first of a sequence, of which one step is given: zeros."""
        return jnp.zeros((*inputs.shape[:-1], self.dense_h.in_features), inputs.dtype)

    def __call__(self, carry: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        """The next state, and what the cell gives."""
        raise NotImplementedError


class LSTMCell(RecurrentCell):
    """A long short-term memory, whose state is a pair: what it gives, and what it remembers."""

    def __init__(self, in_features: int, hidden_features: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, gates=4, use_bias=use_bias, rngs=rngs)

    def start(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The state before the first of a sequence, of which one step is given: zeros."""
        return super().start(inputs), super().start(inputs)

    def __call__(
        self, carry: tuple[jax.Array, jax.Array], inputs: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """The next state, and what the cell gives."""
        h, c = carry
        i, f, g, o = jnp.split(self.dense_i(inputs) + self.dense_h(h), 4, axis=-1)
        c = nnx.sigmoid(f) * c + nnx.sigmoid(i) * jnp.tanh(g)
        h = nnx.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


class GRUCell(RecurrentCell):
    """A gated recurrent unit, with a bias inside the reset gate's product, which Flax's lacks."""

    def __init__(self, in_features: int, hidden_features: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        super().__init__(in_features, hidden_features, gates=3, use_bias=use_bias, rngs=rngs)

    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The next state, which is what the cell gives too."""
        r, z, n = jnp.split(self.dense_i(inputs), 3, axis=-1)
        hr, hz, hn = jnp.split(self.dense_h(carry), 3, axis=-1)
        n = jnp.tanh(n + nnx.sigmoid(r + hr) * hn)
        z = nnx.sigmoid(z + hz)
        h = (1 - z) * n + z * carry
        return h, h


class SimpleCell(RecurrentCell):
    """A recurrent cell of tanh, with a bias for its state as well."""

    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The next state, which is what the cell gives too."""
        h = jnp.tanh(self.dense_i(inputs) + self.dense_h(carry))
        return h, h


class ReLUCell(RecurrentCell):
    """A recurrent cell of ReLU, with a bias for its state as well."""

    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The next state, which is what the cell gives too."""
        h = nnx.relu(self.dense_i(inputs) + self.dense_h(carry))
        return h, h


class Recurrent(nnx.Module):
    """Layers of recurrent cells over a sequence, in one direction or in both.

    Args:
        in_features: Features of the input.
        hidden_features: Features of the state.
        cell: The class of the cells.
        num_layers: Number of layers.
        bidirectional: Whether each layer has a second cell, which goes through the sequence from its end.
        dropout_rate: Rate of dropout between layers.
        use_bias: Whether cells have biases.
        batch_first: Whether the batch comes before the time.
        rngs: Random streams.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        cell: type[RecurrentCell],
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout_rate: float = 0.0,
        use_bias: bool = True,
        batch_first: bool = False,
        rngs: nnx.Rngs,
    ):
        ways = 2 if bidirectional else 1
        sizes = [in_features, *[ways * hidden_features] * (num_layers - 1)]
        self.layers = nnx.List(
            nnx.List(cell(size, hidden_features, use_bias=use_bias, rngs=rngs) for _ in range(ways)) for size in sizes
        )
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)
        self.batch_first = batch_first

    @property
    def torch_rows(self) -> tuple[tuple[str, str, str], ...]:
        """Names of torch's tensors, of the variables that they become, and their axes."""
        return tuple(
            (f"{name}_l{n}{'_reverse' * way}", f"layers.{n}.{way}.{variable}", axes)
            for n, cells in enumerate(self.layers)
            for way, cell in enumerate(cells)
            for name, variable, axes in cell.torch_rows
        )

    def __call__(self, x: jax.Array, state: Any = None) -> tuple[jax.Array, Any]:
        """What the last layer gives, and the last state of each cell.

        Args:
            x: The sequence: (time, batch, features), or (batch, time, features), or without a batch.
            state: First states of all cells, layer by layer, forward before backward; by default zeros.
        """
        swapped = self.batch_first and x.ndim > 2
        x = x.swapaxes(0, 1) if swapped else x
        last = []
        for n, cells in enumerate(self.layers):
            x = self.dropout(x) if n else x
            found = []
            for way, cell in enumerate(cells):
                first = cell.start(x[0]) if state is None else _state_of(len(last), state)
                carry, y = _scanned(cell, first, x, reverse=way == 1)
                last.append(carry)
                found.append(y)
            x = jnp.concatenate(found, axis=-1)
        return x.swapaxes(0, 1) if swapped else x, jax.tree.map(lambda *each: jnp.stack(each), *last)


def _state_of(number: int, states: Any) -> Any:
    """The state of one cell of several."""
    return jax.tree.map(lambda each: each[number], states)


def _scanned(cell: Any, carry: Any, x: jax.Array, *, reverse: bool) -> tuple[Any, jax.Array]:
    """A cell's last state and results over a sequence, along the first axis."""
    return jax.lax.scan(lambda carry, step: cell(carry, step), carry, x, reverse=reverse)
