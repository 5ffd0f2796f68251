"""Proof of a port: both networks in float64, with random parameters, on the inputs given and on random ones."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import jax
import numpy as np
from flax import nnx

from jaxae.errors import InputError
from jaxae.port import checks
from jaxae.port.correspondence import Correspondence, PartError, correspondences, result_gap
from jaxae.port.linen.view import with_views
from jaxae.port.names import join
from jaxae.port.networks import Networks
from jaxae.port.options import PortOptions
from jaxae.port.plan import PortPlan, make_plan
from jaxae.port.structure import is_weight
from jaxae.port.trial import (
    Inputs,
    float64_copy,
    float64_twin,
    layout_for,
    move_channels,
    randomise,
    read_inputs,
    redraw,
)

if TYPE_CHECKING:
    import torch

_LEAST_ROWS = 16  # of a layer's inputs, by which its features are told apart


@dataclass(frozen=True)
class Proof:
    """What two networks with the same random parameters give for the same inputs.

    Attributes:
        gap: Largest difference of a result, relative to the largest of its elements.
        runs: Number of sets of inputs.
        options: How the networks correspond, as a port takes it.
        constants: Names of torch's buffers that are no variable of Flax's, a mask say, without wrappers.
        coarse: Whether a network computes in part in less than float64.
    """

    gap: float
    runs: int
    options: PortOptions
    constants: tuple[str, ...]
    coarse: bool

    def __str__(self) -> str:
        """The finding in words."""
        same = f"the same results for {self.runs} sets of inputs"
        within = " but for what the networks themselves compute in float32" if self.coarse else ""
        return f"proven at {self.gap:.0e}: {same} in float64{within}, with random parameters"


def prove(
    module: nnx.Module,
    torch_module: "torch.nn.Module",
    inputs: Inputs,
    *,
    nnx_inputs: Inputs | None = None,
    torch_call: Callable[..., Any] | None = None,
    nnx_call: Callable[..., Any] | None = None,
    **options: Unpack[PortOptions],
) -> Proof:
    """Find how an NNX module corresponds to a torch network, and prove it.

    Both are copied and left as they are. The copies compute in float64, in inference mode, with random values in every
    parameter and buffer; all that is said of the order of features holds for any values.

    Args:
        module: The NNX module, built or abstract.
        torch_module: Torch network.
        inputs: Argument of the torch network or a tuple of them: arrays, or shapes of arrays of floats.
        nnx_inputs: Arguments of the NNX module; by default torch's, with channels last where it then runs.
        torch_call: Call of the torch network, `lambda module, *inputs: module(*inputs)[0]` say.
        nnx_call: Call of the NNX module; both results must have as many arrays, in one order.
        **options: Names, flatten and unflatten of `PortOptions`, where the networks do not tell.

    Raises:
        InputError: If the results differ, and where they do first; or the networks do not run on the inputs; or one is
            lazy.
    """
    if lazy := checks.without_shape(torch_module.state_dict()):
        raise InputError(f"expected a torch module that has its weights, got: {'; '.join(lazy)}")
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("highest"):
        theirs, twin = float64_copy(torch_module).eval(), with_views(float64_twin(module))
        twin.eval()
        run_nnx = nnx_call or operator.call
        pairs = _input_sets(twin, run_nnx, inputs, nnx_inputs)
        rng = np.random.default_rng(1)
        buffers = _statistics(theirs, twin)
        randomise(theirs, buffers, rng)
        # Constants that torch keeps in buffers are rounded to float32; Flax may compute them anew.
        rounded = any(one.is_floating_point() for full, one in theirs.named_buffers() if full not in buffers)
        networks = Networks(theirs, twin, torch_call or operator.call, run_nnx, pairs, coarse=rounded)
        start = _said(networks, options)
        start.kinds = {**networks.kinds(), **options.get("kinds", {})}
        differing = _differing_settings(networks, start)
        try:
            for found in correspondences(networks, start, named=_is_named(networks, start)):
                randomise(theirs, buffers, rng)
                gap = result_gap(networks, found)
                if gap <= networks.tolerance:
                    _check_momentum(_differing_settings(networks, found))
                    said: Any = found.options(networks.places)
                    plan = make_plan(twin, networks.tensors(), **said)
                    return Proof(gap, len(pairs), said, _constants(theirs, plan), networks.coarse)
            raise PartError("layers that are alike stand for each other in no way that was tried")
        except PartError as part:
            told = "; ".join((str(part), *differing))
            raise InputError(f"expected networks that give the same, got a difference: {told}") from None


def _statistics(module: "torch.nn.Module", twin: nnx.Module) -> list[str]:
    """Names of the buffers that are weights in Flax too: those of torch's own layers, and those of a variable's name.

    Others, a mask say, are constants of the torch network.
    """
    modules = dict(module.named_modules())
    variables = {join(*map(str, path)) for path, one in nnx.iter_graph(twin) if is_weight(one)}
    return [
        full
        for full, _ in module.named_buffers()
        if full in variables or type(modules[full.rpartition(".")[0]]).__module__.startswith("torch.")
    ]


def _check_momentum(differing: Sequence[str]) -> None:
    """Refuse other averages of batch norms, which inference does not show."""
    if momentum := [one for one in differing if "momentum" in one]:
        raise InputError(f"expected networks that train alike, got: {'; '.join(momentum)}")


def _input_sets(
    twin: Any, run_nnx: Callable[..., Any], inputs: Inputs, nnx_inputs: Inputs | None
) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The inputs given, and random ones like them, for both networks."""
    given = read_inputs(inputs)
    if nnx_inputs is not None:  # of which other values cannot be had: what is done to the inputs is not known
        return [(given, read_inputs(nnx_inputs))]
    rng = np.random.default_rng(2)
    rows = max([len(one) for one in given if one.ndim] or [1])
    sets = [given, *(redraw(given, rng) for _ in range(1 + _LEAST_ROWS // rows))]
    moved = layout_for(twin, run_nnx, given)
    return [(one, move_channels(one, moved)) for one in sets]


def _said(networks: Networks, options: PortOptions) -> Correspondence:
    """What the user said of the correspondence."""
    said = {}
    for name in ("flatten", "unflatten"):
        order = options.get(name)
        said[name] = dict(order) if isinstance(order, Mapping) else {}
    return Correspondence(options.get("names"), **said) if networks.places else Correspondence()


def _is_named(networks: Networks, start: Correspondence) -> bool:
    """Whether every tensor has its variable by the names as they are."""
    tensors = networks.tensors()
    plan = make_plan(networks.twin, tensors, **start.options(networks.places))
    checks.names(plan, tensors, untie=True)
    return not plan.problems


def _differing_settings(networks: Networks, start: Correspondence) -> list[str]:
    """Settings of layers of the same name that differ: likely reasons of a difference."""
    plan = make_plan(networks.twin, networks.module.state_dict(), **start.options(networks.places))
    before = len(plan.problems)
    checks.layers(plan, networks.module)
    return plan.problems[before:]


def _constants(module: "torch.nn.Module", plan: PortPlan) -> tuple[str, ...]:
    ported = {name for one in plan.transfers for name in one.torch} | set(plan.counters)
    buffers = {name for name, _ in module.named_buffers()}
    return tuple(short for short, full in plan.names.items() if full in buffers and short not in ported)
