"""What `dtype="bfloat16"` computes in bfloat16 and what in float32, read off the traced program."""

import jax
import jax.numpy as jnp
import pytest

from jaxae import AUTOENCODER, DENSE_VAE, load
from jaxae.network.models import init_parameters
from jaxae.training.cost import draw_noise, summed_cost, take_batch
from jaxae.training.program import program_of
from jaxae.training.runtime import make_mesh
from jaxae.training.state import Examples

CONFIGS = {
    "autoencoder": AUTOENCODER.replace(hidden=(3,)),
    "dense vae": DENSE_VAE.replace(hidden=(4,), num_latent=2),
    "gaussian pixels": DENSE_VAE.replace(hidden=(4,), num_latent=2, binarize=False).replace(
        likelihood="gaussian", scale="fixed"
    ),
}
# What layers have and costs have not, and the other way round.
OF_LAYERS = {"dot_general", "tanh"}
OF_COSTS = {"log1p", "log", "integer_pow", "abs", "erf_inv"}


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_layers_are_bfloat16_and_parameters_gradients_and_costs_float32(config):
    program = program_of(config.replace(dtype="bfloat16"), make_mesh(device="cpu", devices=1))
    train = load("digits").train
    data = Examples(jnp.asarray(train.images[:8]), jnp.asarray(train.labels[:8]))
    parameters = init_parameters(config.model, jax.random.key(0))

    def cost(parameters):
        row = jnp.arange(4)
        batch = take_batch(program, data, row, draw_noise(program, jax.random.key(1), row))
        return summed_cost(program, parameters, batch, 1.0)

    traced = jax.make_jaxpr(jax.value_and_grad(cost, has_aux=True))(parameters)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(parameters)} == {"float32"}
    assert {str(result.dtype) for result in traced.out_avals} == {"float32"}
    found: dict[str, set[str]] = {}
    for equation in equations(traced.jaxpr):
        dtypes = {str(one.aval.dtype) for one in (*equation.invars, *equation.outvars)}
        found.setdefault(equation.primitive.name, set()).update(dtypes & {"float32", "bfloat16", "float64"})
    layers, costs = (found.keys() & names for names in (OF_LAYERS, OF_COSTS))
    assert {name: found[name] for name in layers} == {name: {"bfloat16"} for name in layers} != {}
    assert {name: found[name] for name in costs} == {name: {"float32"} for name in costs} != {}
