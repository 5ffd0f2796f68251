"""Rounding within: whether a network that is given float64 computes in less on the way."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core as jax_core

if TYPE_CHECKING:
    import torch


def rounds_in_jax(module: nnx.Module, call: Callable[..., Any], arguments: Sequence[np.ndarray]) -> bool:
    """Whether a Flax network in float64 rounds to a narrower float, as its jaxpr says."""
    graph, state = nnx.split(module)
    program = jax.make_jaxpr(lambda state, *arrays: call(nnx.merge(graph, state, copy=True), *arrays))
    return any(_narrows(equation) for equation in _equations(program(state, *arguments).jaxpr))


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for below in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(below):
                yield from _equations(getattr(below, "jaxpr", below))


def _is_jaxpr(value: object) -> bool:
    return isinstance(value, jax_core.Jaxpr | jax_core.ClosedJaxpr)


def _narrows(equation: Any) -> bool:
    wide = any(_float_size(one.aval) == 8 for one in equation.invars)
    return wide and any(0 < _float_size(one.aval) < 8 for one in equation.outvars)


def _float_size(aval: Any) -> int:
    dtype = getattr(aval, "dtype", None)
    return dtype.itemsize if dtype is not None and jnp.issubdtype(dtype, jnp.floating) else 0


def rounds_in_torch(module: "torch.nn.Module", call: Callable[..., Any], arguments: Sequence[np.ndarray]) -> bool:
    """Whether a torch network in float64 rounds to a narrower float, as its operations say when it runs."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = False

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal found
            result = func(*args, **(kwargs or {}))
            given, made = (
                [one.itemsize for one in jax.tree.leaves(tree) if torch.is_tensor(one) and one.is_floating_point()]
                for tree in ((args, kwargs), result)
            )
            found |= 8 in given and any(size < 8 for size in made)
            return result

    with torch.no_grad(), Watch():
        call(module, *map(torch.from_numpy, arguments))
    return found
