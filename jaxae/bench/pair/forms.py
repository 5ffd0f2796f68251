"""The forms in which a pair's JAX network may be given: an NNX module, a Linen module, a function of parameters."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from flax import linen, nnx

from jaxae.bench.pair.networks import NetworkPair, call
from jaxae.errors import InputError, brief
from jaxae.port import LinenView
from jaxae.port.trial import layouts, move_channels, read_inputs


def in_nnx(pair: NetworkPair) -> NetworkPair:
    """The pair with its JAX network as an NNX module.

    A Linen module is bridged, with variables that it makes itself. Of a function and its parameters, a dict of
    Flax's names or a `jaxae.port.LinenView` of one that says which layers they are of, the module holds the
    parameters, and its call is the function's.

    Raises:
        InputError: If it is in none of these forms, Linen makes no variables for the inputs, or the parameters are
            of no layers that are known.
    """
    given: Any = pair.nnx_module
    if isinstance(given, nnx.Module):
        return pair
    if isinstance(given, linen.Module):
        return replace(pair, nnx_module=_bridged(given, pair))
    if (
        isinstance(given, tuple)
        and len(given) == 2
        and callable(given[0])
        and isinstance(given[1], Mapping | LinenView)
    ):
        function, inner = given[0], pair.nnx_call or call
        return replace(
            pair,
            nnx_module=given[1] if isinstance(given[1], LinenView) else LinenView(given[1]),
            nnx_call=lambda view, *inputs: inner(partial(function, view.variables), *inputs),
        )
    came = type(given).__name__
    raise InputError(
        f"expected an nnx.Module, a linen.Module, or a function and a dict of parameters second, got {came}"
    )


class _Called(nnx.Module):
    """A bridged module under its owner's call: `lazy_init` takes modules alone."""

    def __init__(self, net: nnx.bridge.ToNNX, call_of: Callable[..., object]):
        self.net, self.call_of = net, call_of

    def __call__(self, *inputs: object) -> object:
        return self.call_of(self.net, *inputs)


def _bridged(module: linen.Module, pair: NetworkPair) -> nnx.bridge.ToNNX:
    given = read_inputs(pair.inputs if pair.nnx_inputs is None else pair.nnx_inputs)
    own = [(False,) * len(given)]
    failure = ""
    for moved in layouts(given) if pair.nnx_inputs is None else own:
        bridge = nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0))
        try:
            nnx.bridge.lazy_init(_Called(bridge, pair.nnx_call or call), *move_channels(given, moved))
        except Exception as error:  # whatever the user's code raises
            failure = failure or f"{type(error).__name__}: {brief(error, 200)}"
        else:
            return bridge
    raise InputError(f"expected a Linen module that makes its variables for the inputs, got {failure}")
