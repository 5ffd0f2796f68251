"""A Linen module tells its layers without inputs: it is run abstractly on made-up ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxae import InputError, port


class Images(linen.Module):
    """Names of one's own, a flatten, and positions of one size of image alone."""

    @linen.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = linen.ConvTranspose(4, (2, 2), (2, 2), name="up")(linen.Conv(3, (3, 3), name="into")(x))
        x = linen.BatchNorm(not train, epsilon=1e-3, name="norm")(x)
        x = x + self.param("positions", linen.initializers.ones, (1, 16, 16, 4))
        return linen.Dense(2, name="fc")(x.reshape(len(x), -1))


class Tokens(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> Any:
        return linen.RNN(linen.GRUCell(5, name="cell"))(linen.Embed(11, 6, name="words")(x))


class Two(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return linen.LayerNorm(name="norm")(x) + linen.Conv(3, (3,), name="mix")(y)


CASES: Any = {"images": (Images(), (jnp.zeros((1, 8, 8, 3)), False)), "tokens": (Tokens(), (jnp.zeros((1, 4), int),))}


@pytest.mark.parametrize("name", CASES)
def test_no_input_is_needed(name):
    module, arguments = CASES[name]
    variables = module.init(jax.random.key(0), *arguments)
    told, ran = port.LinenView(variables, module), port.LinenView(variables, module, inputs=arguments[0])
    assert str(port.describe(told, flatten="CHW")) == str(port.describe(ran, flatten="CHW"))
    assert "not known" not in str(port.describe(told, flatten="CHW"))
    bridged: Any = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(*arguments)
    ported = port.to_arrays(bridged, flatten="CHW")[0]
    assert set(ported) == set(port.to_arrays(ran, flatten="CHW")[0])


def test_what_fits_no_made_up_input_is_asked_for():
    x, y = np.zeros((2, 5, 3), np.float32), np.zeros((2, 5, 3), np.float32)
    variables = Two().init(jax.random.key(0), x, y)
    with pytest.raises(InputError, match=r"'mix': its kernel \(3, 3, 3\) may be that of"):
        port.LinenView(variables, Two())
    assert port.LinenView(variables, Two(), inputs=(x, y)).variables
