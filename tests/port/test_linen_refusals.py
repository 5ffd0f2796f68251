"""Variables and layers of Linen that do not port, each with what is said of it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxae import InputError, port


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


ATTENTION = {name: {"kernel": zeros(6, 2, 3)} for name in ("query", "key")} | {
    "value": {"kernel": zeros(5, 2, 3)},
    "out": {"kernel": zeros(2, 3, 6)},
}
GATES = {name: {"kernel": zeros(3, 4), "bias": zeros(4)} for name in ("ir", "iz", "in")} | {
    name: {"kernel": zeros(4, 4)} for name in ("hr", "hz")
}
GATES["hn"] = {"kernel": zeros(4, 4), "bias": zeros(4)}

# Variables, the layers that are said, and what is refused.
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a vector": ({"a": {"kernel": zeros(3)}}, {}, r"'a': its kernel \(3,\) is that of no layer"),
    "a square transposed convolution": (
        {"ConvTranspose_0": {"kernel": zeros(2, 2, 3, 3), "bias": zeros(3)}},
        {},
        r"may be that of linen.ConvTranspose\(3, \(2, 2\)\) and ",
    ),
    "axes of a kernel without a bias": (
        {"DenseGeneral_0": {"kernel": zeros(2, 3, 4)}},
        {},
        "linen.DenseGeneral with one axis or several",
    ),
    "an equation": ({"Einsum_0": {"kernel": zeros(2, 3)}}, {}, r"equation is not known: linen.Einsum\(\(2, 3\), "),
    "a class of no row": ({"ConvLocal_0": {"kernel": zeros(2, 3)}}, {}, r"'ConvLocal_0' \(ConvLocal\) is refused: "),
    "a layer of no row": (
        {"a": {"kernel": zeros(2, 3)}},
        {"a": linen.ConvLocal(3, (2,))},
        r"'a' \(ConvLocal\) is refused: ",
    ),
    "no kernel": ({"a": {"bias": zeros(3)}}, {"a": linen.Dense(3)}, "variables of a Dense, got none named 'kernel'"),
    "a convolution of other axes": (
        {"a": {"kernel": zeros(3, 2, 3)}},
        {"a": linen.Conv(3, (3, 3))},
        r"a Conv that NNX has too, got a kernel \(3, 2, 3\) for the kernel_size \(3, 3\)",
    ),
    "a transposed convolution of other axes": (
        {"a": {"kernel": zeros(3, 2, 3)}},
        {"a": linen.ConvTranspose(3, (3, 3))},
        r"a ConvTranspose that NNX has too, got a kernel \(3, 2, 3\) for the kernel_size \(3, 3\)",
    ),
    "keys and values of two sizes": (
        {"a": ATTENTION},
        {"a": linen.MultiHeadDotProductAttention(2)},
        "got keys and values of different sizes",
    ),
    "features of other axes": (
        {"a": {"kernel": zeros(5, 6)}},
        {"a": linen.DenseGeneral((2, 3))},
        r"got a kernel \(5, 6\) for 1 axes and the features \(2, 3\)",
    ),
    "an equation of the call": (
        {"a": {"kernel": zeros(5, 3)}},
        {"a": linen.Einsum((5, 3), None)},
        "got an Einsum whose equation is given in the call",
    ),
    "gates of another function": (
        {"a": GATES},
        {"a": linen.GRUCell(4, gate_fn=linen.relu)},
        "got gates that are not torch's sigmoid and tanh",
    ),
    "a bias of another length": (
        {"a": {"scale": zeros(3), "bias": zeros(4)}},
        {"a": linen.LayerNorm()},
        r"'a' \(LayerNorm\) has 'bias' \(4,\), not \(3,\)",
    ),
    "no bias": ({"a": {"scale": zeros(3)}}, {"a": linen.LayerNorm()}, r"'a' \(LayerNorm\) lacks 1 of its variables"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layers_that_do_not_port_are_refused(case):
    variables, layers, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        port.LinenView({"params": variables}, layers=layers)


def test_a_class_of_ones_own_that_has_a_name_of_linens_ports_as_it_is():
    variables = {"params": {"Embed_0": {"table": zeros(3, 4)}}}
    assert list(port.LinenView(variables).variables["params"]["Embed_0"]) == ["table"]


VARIABLES: dict[str, tuple[Any, str]] = {
    "parameters within parameters": (
        {"params": {"params": {"a": {"kernel": zeros(2, 3)}}}, "more": {"a": {"b": zeros(3)}}},
        r"expected the collections of the Linen variables beside each other, got \['more'\] above",
    ),
    "no parameters": ({"params": {}, "batch_stats": {}}, "expected parameters in the Linen variables, got none"),
    "an array above others": (
        {"params/a": zeros(3), "params/a/kernel": zeros(2, 3)},
        "got an array and others below it at 'params/a/kernel'",
    ),
    "an array below others": (
        {"params/a/kernel": zeros(2, 3), "params/a": zeros(3)},
        "expected one thing at a path, got two at 'params/a'",
    ),
    "levels beyond number": (
        {"params": functools.reduce(lambda below, _: {"a": below}, range(70), {"kernel": zeros(2, 3)})},
        "expected Linen variables of at most 64 levels, got more",
    ),
    "no variables": (3, "expected Linen variables or a nnx.bridge.ToNNX, got int"),
}


@pytest.mark.parametrize("case", VARIABLES)
def test_variables_that_are_none_are_refused(case, unchecked):
    variables, message = VARIABLES[case]
    with pytest.raises(InputError, match=message):
        port.LinenView(variables)


def test_a_view_of_variables_alone_runs_nothing():
    view = port.LinenView({"params": {"Dense_0": {"kernel": zeros(2, 3), "bias": zeros(3)}}})
    with pytest.raises(InputError, match="got variables alone"):
        view(zeros(1, 2))


def test_a_call_of_a_method_that_the_module_lacks_names_it():
    variables = {"params": {"kernel": zeros(2, 3), "bias": zeros(3)}}
    with pytest.raises(AttributeError, match="nonesuch"):
        port.LinenView(variables, linen.Dense(3), inputs=(1, 2), call=lambda module, x: module.nonesuch(x))


class Mapped(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> Any:
        many = linen.vmap(linen.Dense, variable_axes={"params": 1}, split_rngs={"params": True})
        return many(4, name="many")(x)


def test_layers_that_are_stacked_along_another_axis_are_refused():
    variables = Mapped().init(jax.random.key(0), jnp.zeros((3, 2, 5)))
    with pytest.raises(InputError, match=r"'many/kernel' \(5, 3, 4\) is not stacked along its first axes of layers of"):
        port.LinenView(variables, Mapped(), inputs=(3, 2, 5))


def test_linen_variables_take_no_arguments_of_torchs():
    ours = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    variables = {"params": {"kernel": zeros(2, 3), "bias": zeros(3)}}
    with pytest.raises(InputError, match="expected no further arguments for Linen variables"):
        port.from_torch(ours, variables, ignore="x")
