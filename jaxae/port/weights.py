"""Weights: from torch into an NNX module, and from an NNX module to torch."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.port import checks
from jaxae.port.arrays import cast_floats, copy_for_flax, dtype_name, from_tensor, has_nan, to_tensor
from jaxae.port.options import PortKeywords, PortOptions
from jaxae.port.plan import PortPlan, Transfer, ignored_names, make_plan, raise_problems, shared_variables, torch_layers
from jaxae.port.report import PortReport, PortRow
from jaxae.port.source import Weights, WeightSource, read_torch_layout

if TYPE_CHECKING:
    import torch

TO_FLAX, TO_TORCH = "weights that port to Flax", "weights that port to torch"


def from_torch(
    module: nnx.Module,
    source: Weights,
    *,
    dtype: DTypeLike | None = None,
    ignore: Iterable[str] = (),
    untie: bool = False,
    **options: Unpack[PortKeywords],
) -> PortReport:
    """Fill an NNX module with a torch network's weights; all of them, or none where it fails.

    Arrays are copied and keep their dtypes.

    Args:
        module: The NNX module: built, or abstract by `nnx.eval_shape`.
        source: A torch module (its settings are then checked against Flax's), a state_dict or a training checkpoint
            that holds one, or the path of a file.
        dtype: Dtype that floats are cast to; None keeps torch's.
        ignore: Patterns of torch tensors to leave aside; the report lists them.
        untie: Whether weights that are one tensor in torch may become several variables.
        **options: Names, flatten and unflatten of `PortOptions`.

    Returns:
        What became what, and what had to be assumed.

    Raises:
        InputError: If tensors are missing, unexpected, mis-shaped, or not to be had in Flax; it names them all.
    """
    weights = read_torch_layout(source)
    plan, tensors = _match(module, weights, PortOptions(**options), ignore, untie=untie)
    report = _report(plan, tensors, weights, dtype)
    arrays: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(name for transfer in plan.transfers for name in transfer.torch):
        if name in tensors:
            array = copy_for_flax(name, tensors[name], dtype, plan.problems)
            arrays |= {} if array is None else {name: array}
    checks.tensors(plan, arrays)
    checks.ties(plan, arrays)
    raise_problems(TO_FLAX, plan.problems)
    filled: list[tuple[nnx.Variable, np.ndarray]] = []
    for transfers in shared_variables(plan).values():
        transfer = next((one for one in transfers if one.torch[0] in arrays), transfers[0])
        filled += zip(transfer.variables, _flax_arrays(transfer, arrays), strict=True)
    report.notes += nan_notes(arrays)
    assign(filled)
    return report


def describe(
    module: nnx.Module,
    source: Weights | None = None,
    *,
    ignore: Iterable[str] = (),
    untie: bool = False,
    **options: Unpack[PortKeywords],
) -> PortReport:
    """The report that `from_torch` would give, with nothing written.

    Args:
        module: The NNX module.
        source: Weights that `from_torch` takes, or None to describe the module alone.
        ignore: Patterns of torch tensors to leave aside.
        untie: Whether weights that are one tensor in torch may become several variables.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If the weights do not port.
    """
    if source is None:
        plan = make_plan(module, PortOptions(**options))
        raise_problems(TO_TORCH, plan.problems)
        return _report(plan, {})
    weights = read_torch_layout(source)
    plan, tensors = _match(module, weights, PortOptions(**options), ignore, untie=untie)
    return _report(plan, tensors, weights)


def to_torch(
    module: nnx.Module,
    *,
    dtype: DTypeLike | None = None,
    like: Weights | None = None,
    carried: Mapping[str, np.ndarray] | None = None,
    **options: Unpack[PortKeywords],
) -> dict[str, "torch.Tensor"]:
    """A state_dict of new torch tensors with an NNX module's weights.

    Weights that the module shares are one tensor under several names. Counters that Flax lacks
    (`num_batches_tracked`) are zero unless carried from a report. Of recurrent biases that torch holds twice, the
    first gets the sum and the second zeros.

    Args:
        module: The NNX module.
        dtype: Dtype that floats are cast to; None keeps Flax's.
        like: A torch module or state_dict that the result must fit: its names (wrappers' prefixes too), order and
            shapes; settings and types too where it is a module.
        carried: Counters in `PortReport.carried` of the port that filled the module.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If torch would miss or not expect tensors; it names them all.
    """
    arrays, ties = to_arrays(module, dtype=dtype, like=like, carried=carried, **options)
    made: dict[str, torch.Tensor] = {}
    return {name: made.setdefault(ties.get(name, name), to_tensor(array)) for name, array in arrays.items()}


def to_arrays(
    module: nnx.Module,
    *,
    dtype: DTypeLike | None = None,
    like: Weights | None = None,
    carried: Mapping[str, np.ndarray] | None = None,
    **options: Unpack[PortKeywords],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What `to_torch` gives for the same arguments, as NumPy arrays and without importing torch.

    Returns:
        Arrays in torch's layout, and for each name that is tied to an earlier one that one.
    """
    target = None if like is None else read_torch_layout(like)
    plan = make_plan(module, PortOptions(**options), target.tensors if target else ())
    if target is not None and target.module is not None:
        checks.layers(plan, torch_layers(target.module, plan.names))
    arrays: dict[str, np.ndarray] = {}
    ties: dict[str, str] = {}
    for first, *others in shared_variables(plan).values():
        arrays |= _torch_arrays(first, dtype, plan.problems)
        for other in others:
            arrays |= _torch_arrays(other, dtype, plan.problems)
            ties |= zip(other.torch, first.torch, strict=True)
    carried = carried or {}
    arrays |= {name: np.array(carried.get(name, 0), np.int64) for name in plan.counters}
    for name in sorted(set(carried) - set(plan.counters)):
        plan.problems.append(f"{name!r} is carried, but the module has no such layer")
    nan_notes(arrays)
    if target is not None:
        arrays, ties = checks.fit(plan, arrays, ties, target.tensors)
    raise_problems(TO_TORCH, plan.problems)
    return arrays, ties


def _match(
    module: nnx.Module, weights: WeightSource, options: PortOptions, ignore: Iterable[str], *, untie: bool
) -> tuple[PortPlan, dict[str, Any]]:
    """The plan of a port to Flax, and the tensors that take part in it, by their short names."""
    plan = make_plan(module, options, weights.tensors)
    tensors = {short: weights.tensors[full] for short, full in plan.names.items()}
    ignored, problems = ignored_names(tensors, ignore)
    plan.problems += problems
    plan.notes += [f"{name!r} is ignored, as asked" for name in sorted(ignored)]
    tensors = {name: value for name, value in tensors.items() if name not in ignored}
    if weights.module is not None:
        checks.layers(plan, torch_layers(weights.module, plan.names))
    checks.names(plan, tensors, untie=untie)
    raise_problems(TO_FLAX, plan.problems)
    return plan, tensors


def _report(
    plan: PortPlan, tensors: Mapping[str, Any], weights: WeightSource | None = None, cast_to: DTypeLike | None = None
) -> PortReport:
    report = PortReport(notes=list(plan.notes))
    for transfer in plan.transfers:
        named = tensors.get(transfer.torch[0], transfer.variables[0])
        dtype = dtype_name(named) if cast_to is None else str(jnp.dtype(cast_to))
        compute = getattr(transfer.place.layer, "dtype", None)
        if transfer.trained and compute is not None and str(jnp.dtype(compute)) != dtype:
            held = f"though {transfer.torch[0]!r} is {dtype}"
            report.notes.append(f"{transfer.place.path!r} computes in {jnp.dtype(compute)}, {held}")
        report.rows.append(
            PortRow(
                " + ".join(transfer.torch),
                transfer.torch_shape,
                transfer.row.pattern + (" (space reversed)" if transfer.row.flip else ""),
                " + ".join(transfer.flax),
                transfer.flax_shape,
                dtype,
            )
        )
        if transfer.row.forward_only:
            names, count = " and ".join(transfer.torch), len(transfer.torch)
            report.forward_only.append(
                f"{names} are one variable in Flax: outputs are kept, but training moves their sum "
                f"1/{count} as fast, and they cannot be told apart again"
            )
    if weights is None or weights.module is None:
        report.assumed += checks.assumed(plan)
    report.carried = {name: from_tensor(name, tensors[name]) for name in plan.counters if name in tensors}
    return report


def _flax_arrays(transfer: Transfer, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    if transfer.torch[0] not in arrays:  # a torch cell built without the bias that Flax always has
        return tuple(np.zeros(one.shape, one.dtype) for one in transfer.variables)
    whole = arrays[transfer.torch[0]]
    for name in transfer.torch[1:]:
        whole = whole + arrays[name]
    return transfer.row.to_flax(whole, transfer.flax_shape, transfer.sizes)


def _torch_arrays(transfer: Transfer, dtype: DTypeLike | None, problems: list[str]) -> dict[str, np.ndarray]:
    values = [one.get_value() for one in transfer.variables]
    if any(isinstance(value, jax.ShapeDtypeStruct) for value in values):
        problems.append(f"{transfer.flax[0]!r} is abstract: it has a shape, but no value")
        return {}
    parts = tuple(np.array(value) for value in values)
    whole = cast_floats(transfer.row.to_torch(parts, transfer.sizes), dtype)
    rest = {name: np.zeros_like(whole) for name in transfer.torch[1:]}
    return {transfer.torch[0]: whole, **rest}


def nan_notes(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of tensors with NaN, also given as a warning: they port as they are."""
    names = [repr(name) for name, array in arrays.items() if has_nan(array)]
    if not names:
        return []
    note = f"NaN in {', '.join(names)}, ported as it is"
    warnings.warn(note, stacklevel=3)
    return [note]


def assign(filled: Sequence[tuple[nnx.Variable, np.ndarray]]) -> None:
    """Set variables to copies of arrays, on the devices where they are: all, or none."""
    ready = []
    for target, array in filled:
        before = target.get_value()
        value = jnp.array(array, copy=True)
        if isinstance(before, jax.Array) and before.sharding != value.sharding:
            value = jax.device_put(value, before.sharding)
        ready.append((target, before, value))
    done = []
    try:
        for target, before, value in ready:
            target.set_value(value)
            done.append((target, before))
    except BaseException:
        for target, before in done:
            target.set_value(before)
        raise
