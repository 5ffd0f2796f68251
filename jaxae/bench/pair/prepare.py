"""A pair made ready: weights ported with proof, losses tried, and what each framework's processes read in files.

Runs as a worker process for a pair that a file makes, so that the benchmark's own process holds no framework.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxae.bench.contenders import Framework
from jaxae.bench.pair.forms import in_nnx
from jaxae.bench.pair.half import Half, bare, half_of, make_pair, read_half, write_halves
from jaxae.bench.pair.networks import NetworkPair, call
from jaxae.errors import InputError, brief
from jaxae.port import from_torch
from jaxae.port.trial import Inputs, move_channels, read_inputs, taken_by

Arrays = tuple[np.ndarray, ...]


class Prepared(NamedTuple):
    """What is known of a pair that is ready.

    Attributes:
        proof: What the port of the weights was proven by.
        batch: Shapes of the inputs as torch takes them.
    """

    proof: str
    batch: tuple[str, ...]


def prepare_file(name: str, folder: str) -> Prepared:
    """Make ready the pair of a user's function, FILE.py:make or package.module:make, for processes that call it anew.

    Raises:
        InputError: If there is none, it returns something else, other networks when called again, or what `prepare`
            raises it for.
    """
    prepared, halves = prepare(make_pair(name))
    write_halves(halves, Path(folder))
    again = make_pair(name)
    for framework in halves:
        read_half(again, Path(folder), framework)
    return prepared


def prepare(pair: NetworkPair) -> tuple[Prepared, dict[Framework, Half]]:
    """Port the weights and try the losses; halves around copies of the networks: the pair stays as it is.

    Raises:
        InputError: If the networks are none, the weights do not port, a loss gives no finite scalar, or an optimizer is
            none.
    """
    from torch_ref.copies import copied

    if not (hasattr(pair.torch_module, "state_dict") and hasattr(pair.torch_module, "named_modules")):
        raise InputError(f"expected a torch.nn.Module first, got {type(pair.torch_module).__name__}")
    pair = in_nnx(pair)
    module = copied(bare(pair.torch_module)).cpu().float()
    twin: nnx.Module = nnx.clone(pair.nnx_module)  # type: ignore[assignment]  a module, of `in_nnx`
    calls: dict[str, Any] = {"torch_call": pair.torch_call, "nnx_call": pair.nnx_call}
    report = from_torch(
        twin, module, inputs=pair.inputs, nnx_inputs=pair.nnx_inputs, dtype=jnp.float32, **calls, **pair.options
    )
    given = read_inputs(pair.inputs)
    theirs = taken_by(twin, pair.nnx_call or call, given, pair.nnx_inputs)
    moved = any(one.shape != other.shape for one, other in zip(given, theirs, strict=False))
    targets = _read_targets(pair.targets)
    images = [moved and one.ndim >= 4 and one.dtype.kind == "f" for one in targets]
    their_targets = move_channels(targets, images) if pair.nnx_targets is None else _read_targets(pair.nnx_targets)
    own = replace(pair, torch_module=module, nnx_module=twin)
    halves: dict[Framework, Half] = {
        "torch": half_of(own, "torch", _single(given), _single(targets)),
        "jax": half_of(own, "jax", _single(theirs), _single(their_targets)),
    }
    _try_torch(halves["torch"])
    _try_jax(halves["jax"])
    batch = tuple("x".join(map(str, one.shape)) or "scalar" for one in given)
    return Prepared(report.proof or "", batch), halves


def _read_targets(targets: Inputs) -> list[np.ndarray]:
    return read_inputs(targets) if not isinstance(targets, tuple | list) or len(targets) else []


def _single(arrays: Sequence[np.ndarray]) -> Arrays:
    """Arrays with their floats in float32."""
    return tuple(one.astype(np.float32) if one.dtype.kind == "f" else one for one in arrays)


def _try_torch(half: Half) -> None:
    """Refuse a loss of torch that gives no finite scalar, and an optimizer that is none."""
    import torch

    from torch_ref.copies import copied

    module: Any = half.module
    module = copied(module).train()
    inputs, targets = ([torch.from_numpy(one) for one in some] for some in (half.inputs, half.targets))
    try:
        cost = half.loss(half.call(module, *inputs), *inputs, *targets)
    except Exception as error:  # whatever the user's code raises
        raise InputError(f"expected a torch loss of result, inputs and targets, got {_told(error)}") from error
    if not isinstance(cost, torch.Tensor):
        raise InputError(f"expected a torch loss that returns a scalar with a gradient, got {type(cost).__name__}")
    if cost.ndim or not cost.requires_grad:
        came = f"a tensor of shape {tuple(cost.shape)}" if cost.ndim else f"{cost.dtype} without a gradient"
        raise InputError(f"expected a torch loss that returns a scalar with a gradient, got {came}")
    if not torch.isfinite(cost):
        raise InputError(f"expected a torch loss that is finite at first, got {cost.item()}")
    try:
        optimizer = half.optimizer(module.parameters())  # type: ignore[operator]
    except Exception as error:  # whatever the user's code raises
        told = _told(error)
        raise InputError(f"expected a function from parameters to a torch optimizer, got {told}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        came = type(optimizer).__name__
        raise InputError(f"expected a function from parameters to a torch optimizer, got one that returns {came}")


def _try_jax(half: Half) -> None:
    """Refuse a loss of JAX that gives no scalar, and an optimizer that is none."""
    module: Any = nnx.clone(half.module)  # type: ignore[arg-type]
    module.train()
    graph, state = nnx.split(module)

    def cost_of(state: nnx.State, inputs: Sequence[jax.Array], targets: Sequence[jax.Array]) -> object:
        return half.loss(half.call(nnx.merge(graph, state, copy=True), *inputs), *inputs, *targets)

    try:
        cost: Any = jax.eval_shape(cost_of, state, half.inputs, half.targets)
    except Exception as error:  # whatever the user's code raises
        raise InputError(f"expected a JAX loss of result, inputs and targets, got {_told(error)}") from error
    if not isinstance(cost, jax.ShapeDtypeStruct):
        raise InputError(f"expected a JAX loss that returns a scalar, got {type(cost).__name__}")
    if cost.shape or not jnp.issubdtype(cost.dtype, jnp.floating):
        came = f"an array of shape {cost.shape}" if cost.shape else f"one of {cost.dtype}"
        raise InputError(f"expected a JAX loss that returns a scalar, got {came}")
    if not (hasattr(half.optimizer, "init") and hasattr(half.optimizer, "update")):
        raise InputError(f"expected an optax optimizer, got {type(half.optimizer).__name__}")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {brief(error, 200)}"


# What this module answers as a worker process.
HANDLERS = {"prepare": prepare_file}
