"""Weights: from torch into an NNX module, and from an NNX module to torch."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from typing import TYPE_CHECKING, Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.port import checks
from jaxae.port.arrays import cast_floats, copy_for_flax, dtype_name, from_tensor, has_nan, to_tensor
from jaxae.port.options import PortOptions
from jaxae.port.plan import PortPlan, Transfer, make_plan, raise_problems, shared_variables
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
    **options: Unpack[PortOptions],
) -> PortReport:
    """Fill an NNX module with copies of a torch network's weights; all of them, or none where it fails.

    Args:
        module: The NNX module: built, or abstract by `nnx.eval_shape`.
        source: A torch module (its settings are then checked against Flax's), a state_dict or a training checkpoint
            that holds one, or the path of a file.
        dtype: Dtype that floats are cast to; None keeps torch's.
        ignore: Patterns of torch tensors to leave aside; the report lists them.
        untie: Whether weights that are one tensor in torch may become several variables.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If tensors are missing, unexpected, mis-shaped, or not to be had in Flax; it names them all.
    """
    plan, tensors, weights = _match(module, source, ignore, untie, options)
    report = _report(plan, tensors, weights, dtype)
    wanted = dict.fromkeys(name for transfer in plan.transfers for name in transfer.torch if name in tensors)
    copies = {name: copy_for_flax(name, tensors[name], dtype, plan.problems) for name in wanted}
    arrays = {name: array for name, array in copies.items() if array is not None}
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
    **options: Unpack[PortOptions],
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
        plan = make_plan(module, **options)
        raise_problems(TO_TORCH, plan.problems)
        return _report(plan, {})
    return _report(*_match(module, source, ignore, untie, options))


def to_torch(
    module: nnx.Module,
    *,
    dtype: DTypeLike | None = None,
    like: Weights | None = None,
    carried: Mapping[str, np.ndarray] | None = None,
    **options: Unpack[PortOptions],
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
    **options: Unpack[PortOptions],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What `to_torch` gives, as NumPy arrays and without importing torch; and for each tied name the earlier one."""
    target = None if like is None else read_torch_layout(like)
    plan = make_plan(module, target.tensors if target else (), **options)
    if target is not None and target.module is not None:
        checks.layers(plan, target.module)
    arrays: dict[str, np.ndarray] = {}
    ties: dict[str, str] = {}
    for first, *others in shared_variables(plan).values():
        arrays |= _torch_arrays(first, dtype, plan.problems)
        for other in others:
            arrays |= _torch_arrays(other, dtype, plan.problems)
            ties |= zip(other.torch, first.torch, strict=True)
    carried = carried or {}
    arrays |= {name: np.array(carried.get(name, 0), np.int64) for name in plan.counters}
    unknown = sorted(set(carried) - set(plan.counters))
    plan.problems += [f"{name!r} is carried, but the module has no such layer" for name in unknown]
    nan_notes(arrays)
    if target is not None:
        arrays, ties = checks.fit(plan, arrays, ties, target.tensors)
    raise_problems(TO_TORCH, plan.problems)
    return arrays, ties


def _match(
    module: nnx.Module, source: Weights, ignore: Iterable[str], untie: bool, options: PortOptions
) -> tuple[PortPlan, dict[str, Any], WeightSource]:
    """The plan of a port to Flax, the tensors that take part in it, by their short names, and their source."""
    weights = read_torch_layout(source)
    plan = make_plan(module, weights.tensors, **options)
    tensors = {short: weights.tensors[full] for short, full in plan.names.items()}
    ignored = set()
    for pattern in dict.fromkeys([ignore] if isinstance(ignore, str) else ignore):
        found = {name for name in tensors if fnmatchcase(name, pattern)}
        if not found:
            plan.problems.append(f"ignore has {pattern!r}, which no tensor matches")
        ignored |= found
    plan.notes += [f"{name!r} is ignored, as asked" for name in sorted(ignored)]
    tensors = {name: value for name, value in tensors.items() if name not in ignored}
    if weights.module is not None:
        checks.layers(plan, weights.module)
    checks.names(plan, tensors, untie=untie)
    raise_problems(TO_FLAX, plan.problems)
    return plan, tensors, weights


def _report(
    plan: PortPlan, tensors: Mapping[str, Any], weights: WeightSource | None = None, cast_to: DTypeLike | None = None
) -> PortReport:
    report = PortReport(notes=list(plan.notes))
    for transfer in plan.transfers:
        named = tensors.get(transfer.torch[0], transfer.variables[0])
        dtype = dtype_name(named.dtype) if cast_to is None else str(jnp.dtype(cast_to))
        compute = getattr(transfer.place.layer, "dtype", None)
        if transfer.trained and compute is not None and str(jnp.dtype(compute)) != dtype:
            path, tensor = transfer.place.path, transfer.torch[0]
            report.notes.append(f"{path!r} computes in {jnp.dtype(compute)}, though {tensor!r} is {dtype}")
        torch, flax = " + ".join(transfer.torch), " + ".join(transfer.flax)
        pattern = transfer.row.pattern + (" (space reversed)" if transfer.row.flip else "")
        report.rows.append(PortRow(torch, transfer.torch_shape, pattern, flax, transfer.flax_shape, dtype))
        if transfer.row.forward_only:
            said = f"{' and '.join(transfer.torch)} are one variable in Flax: outputs are kept, but training moves "
            said += f"their sum 1/{len(transfer.torch)} as fast, and they cannot be told apart again"
            report.forward_only.append(said)
    if weights is None or weights.module is None:
        report.assumed += checks.assumed(plan)
    report.carried = {name: from_tensor(name, tensors[name]) for name in plan.counters if name in tensors}
    return report


def _flax_arrays(transfer: Transfer, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    if transfer.torch[0] not in arrays:  # a torch cell built without the bias that Flax always has
        return tuple(np.zeros(one.shape, one.dtype) for one in transfer.variables)
    whole = reduce(np.add, (arrays[name] for name in transfer.torch))
    return transfer.row.to_flax(whole, transfer.flax_shape, transfer.sizes)


def _torch_arrays(transfer: Transfer, dtype: DTypeLike | None, problems: list[str]) -> dict[str, np.ndarray]:
    values = [one.get_value() for one in transfer.variables]
    if any(isinstance(value, jax.ShapeDtypeStruct) for value in values):
        problems.append(f"{transfer.flax[0]!r} is abstract: it has a shape, but no value")
        return {}
    whole = cast_floats(transfer.row.to_torch(tuple(map(np.array, values)), transfer.sizes), dtype)
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
    try:
        for target, _, value in ready:
            target.set_value(value)
    except BaseException:
        for target, before, _ in ready:
            target.set_value(before)
        raise
