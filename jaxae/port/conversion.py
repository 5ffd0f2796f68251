"""Conversion of a torch network's weights: by what is said of the two networks, or proven by running both."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.port.arrays import from_tensor, to_tensor
from jaxae.port.files import load
from jaxae.port.linen.variables import is_linen
from jaxae.port.linen.view import FlaxNetwork, viewed
from jaxae.port.names import own_names
from jaxae.port.options import PortOptions
from jaxae.port.proof import Proof, prove
from jaxae.port.report import PortReport
from jaxae.port.source import Weights, WeightSource, read_source, read_torch_layout
from jaxae.port.trial import Inputs
from jaxae.port.weights import fill_from_torch, to_tensors

if TYPE_CHECKING:
    import torch


def from_torch(
    module: nnx.Module,
    source: Weights,
    *,
    inputs: Inputs | None = None,
    nnx_inputs: Inputs | None = None,
    factory: "Callable[[], torch.nn.Module] | None" = None,
    torch_call: Callable[..., Any] | None = None,
    nnx_call: Callable[..., Any] | None = None,
    dtype: DTypeLike | None = None,
    ignore: Iterable[str] = (),
    missing: Iterable[str] = (),
    untie: bool = False,
    weights: str | None = None,
    prefix: str = "",
    allow: Iterable[str] = (),
    **options: Unpack[PortOptions],
) -> PortReport:
    """Fill an NNX module with copies of a torch network's weights; all of them, or none where it fails.

    With inputs the port is proven: both networks are run, names, flattens and unflattens are found by what their
    layers are given, and the results must agree in float64 with random parameters. Without, what names and shapes do
    not tell is asked for.

    Args:
        module: The NNX module: built, or abstract by `nnx.eval_shape`; a `nnx.bridge.ToNNX`, or a `LinenView` of
            Linen variables.
        source: A torch module, a state_dict or a training checkpoint that holds one, or the path of a file; or Linen
            variables of the module's names.
        inputs: Argument of the torch network or a tuple of them, to run both on: arrays, or shapes of arrays of floats.
        nnx_inputs: Arguments of the NNX module; by default torch's, with channels last where it then runs.
        factory: Function that makes the torch network of a source that is none, to be run.
        torch_call: Call of the torch network, `lambda module, *inputs: module(*inputs)[0]` say.
        nnx_call: Call of the NNX module; both results must have as many arrays, in one order.
        dtype: Dtype that floats are cast to; None keeps torch's.
        ignore: Patterns of torch tensors to leave aside; the report lists them.
        missing: Patterns of NNX variables that torch lacks, a new head's say: they keep their values; the report lists
            them.
        untie: Whether weights that are one tensor in torch may become several variables.
        weights: Key of the state_dict that is meant, where a checkpoint holds several: "model_ema"; keys are joined by
            dots, "models.generator".
        prefix: What the names of torch's tensors begin with, "student", where there are others.
        allow: Names of classes, functions or modules whose objects in a file are left aside; nothing of them is run.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If tensors are missing, unexpected, mis-shaped, or not to be had in Flax, and it names them all; or
            the networks run and differ, and it says where first.
    """
    if isinstance(module, Mapping):
        remedy = "fill view = jaxae.port.LinenView(variables, module), whose view.variables is the new dict"
        raise InputError(f"expected a module to fill, got a {type(module).__name__}: {remedy}")
    if isinstance(source, Mapping) and is_linen(source):
        if inputs is not None or ignore or missing or untie or weights or prefix or options:
            raise InputError("expected no further arguments for Linen variables, which have Flax's layout, got some")
        return load(module, read_source(source), dtype=dtype)
    module = viewed(module, inputs=inputs, nnx_inputs=nnx_inputs, nnx_call=nnx_call)
    read = read_torch_layout(source, weights=weights, prefix=prefix, allow=allow)
    more: Any = {"dtype": dtype, "ignore": ignore, "missing": missing, "untie": untie}
    if inputs is None:
        return fill_from_torch(module, read, **more, **options)
    network, state = network_of(read, factory)
    calls: dict[str, Any] = {"nnx_inputs": nnx_inputs, "torch_call": torch_call, "nnx_call": nnx_call}
    proof = prove(module, network, inputs, **calls, **options)
    more["ignore"] = beside(ignore, proof)
    report = fill_from_torch(module, state, **more, **proof.options)
    report.assumed.clear()
    report.proof = str(proof)
    return report


def to_torch(
    module: FlaxNetwork,
    *,
    inputs: Inputs | None = None,
    nnx_inputs: Inputs | None = None,
    torch_call: Callable[..., Any] | None = None,
    nnx_call: Callable[..., Any] | None = None,
    dtype: DTypeLike | None = None,
    like: Weights | None = None,
    ignore: Iterable[str] = (),
    carried: Mapping[str, np.ndarray] | None = None,
    **options: Unpack[PortOptions],
) -> "dict[str, torch.Tensor]":
    """A state_dict of new torch tensors with the weights of an NNX module or of Linen variables.

    Weights that the module shares are one tensor under several names. Counters that Flax lacks
    (`num_batches_tracked`) are zero unless carried from a report. Of recurrent biases that torch holds twice, the
    first gets the sum and the second zeros.

    Args:
        module: The NNX module, or Linen variables: a dict, a `nnx.bridge.ToNNX` or a `LinenView`.
        inputs: Argument of the torch network `like` or a tuple of them, to run both on, as in `from_torch`: names and
            orders are then found, and the port is proven.
        nnx_inputs: Arguments of the NNX module; by default torch's, with channels last where it then runs.
        torch_call: Call of the torch network.
        nnx_call: Call of the NNX module; both results must have as many arrays, in one order.
        dtype: Dtype that floats are cast to; None keeps Flax's.
        like: A torch module or state_dict that the result must fit: its names (wrappers' prefixes too), order and
            shapes; settings and types too where it is a module.
        ignore: Patterns of torch tensors that the NNX module lacks, buffers say: they are as `like` has them.
        carried: Counters in `PortReport.carried` of the port that filled the module.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If torch would miss or not expect tensors, and it names them all; or the networks differ.
    """
    module = viewed(module, inputs=inputs, nnx_inputs=nnx_inputs, nnx_call=nnx_call)
    if inputs is not None:
        if not hasattr(like, "named_modules"):
            raise InputError(f"expected like=, the torch module to run on the inputs, got {type(like).__name__}")
        calls: dict[str, Any] = {"nnx_inputs": nnx_inputs, "torch_call": torch_call, "nnx_call": nnx_call}
        proof = prove(module, like, inputs, **calls, **options)  # type: ignore[arg-type]
        options, ignore = proof.options, beside(ignore, proof)
        like = like.state_dict()  # type: ignore[union-attr]
    return to_tensors(module, dtype=dtype, like=like, ignore=ignore, carried=carried, **options)


def beside(ignore: Iterable[str], proof: Proof) -> list[str]:
    """The patterns of tensors to leave aside, and torch's constants: it ran with them, and Flax without."""
    return [*([ignore] if isinstance(ignore, str) else ignore), *proof.constants]


def network_of(
    weights: WeightSource, factory: "Callable[[], torch.nn.Module] | None"
) -> "tuple[torch.nn.Module, WeightSource]":
    """The torch network of weights, to be run, and the weights by its own names.

    Raises:
        InputError: If there is no factory of it, or the weights are those of another.
    """
    if weights.module is not None:
        network = getattr(weights.module, "_orig_mod", weights.module)
        # The state_dict, not the module: settings may be written otherwise, as a proof shows.
        return network, WeightSource(network.state_dict(), "torch", weights.origin, notes=weights.notes)
    if factory is None:
        raise InputError(
            f"expected factory=, a function that makes the torch network to run, beside {weights.origin}, got none"
        )
    network = factory()
    targets = list(network.state_dict())
    own = {short: weights.tensors[full] for short, full in own_names(weights.tensors, targets).items()}
    try:
        network.load_state_dict({name: to_tensor(from_tensor(name, value)) for name, value in own.items()})
    except RuntimeError as error:
        raise InputError(
            f"expected weights of the network that factory makes, got: {' '.join(str(error).split())}"
        ) from None
    return network, weights.renamed(own)
