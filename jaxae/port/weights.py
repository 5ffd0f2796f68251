"""Weights: from torch into an NNX module, and from an NNX module to torch."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.port import checks
from jaxae.port.arrays import from_tensor, is_float, to_tensor
from jaxae.port.flatten import Flatten
from jaxae.port.names import Names
from jaxae.port.plan import (
    Plan,
    Transfer,
    has_nan,
    ignored_names,
    make_plan,
    shared_variables,
    torch_layers,
)
from jaxae.port.report import PortReport, PortRow


def from_torch(
    module: nnx.Module,
    source: Any,
    *,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    dtype: DTypeLike | None = None,
    ignore: Iterable[str] = (),
    untie: bool = False,
) -> PortReport:
    """Fill an NNX module with a torch network's weights; all of them, or none where it fails.

    Arrays are copied and keep their dtypes.

    Args:
        module: Built, or abstract by `nnx.eval_shape`.
        source: A torch module (its settings are then checked against Flax's), a state_dict or a
            training checkpoint that holds one, or the path of a file.
        names: Where paths differ: a mapping from Flax paths, of layers or whole branches, to
            torch's, or a function from the path that torch would have to torch's. A path with a
            `*` is a template of the tensors' names, 'lstm.*_l1'.
        flatten: For layers that take a flattened image: torch's (channels, height, width) of it
            where the NNX module flattens channels last, {"fc1": (16, 5, 5)}; "CHW" where it
            flattens as torch does, for one layer or for the whole module.
        unflatten: The same for layers whose outputs are reshaped to an image.
        dtype: Cast floats to it; None keeps torch's.
        ignore: Patterns of torch tensors to leave aside; the report lists them.
        untie: Let weights that are one tensor in torch become several variables.

    Returns:
        What became what, and what had to be assumed.

    Raises:
        InputError: Naming everything missing, unexpected, mis-shaped, or not to be had in Flax.
    """
    plan, tensors, report = _prepare(
        module, source, names, flatten, unflatten, ignore, untie, dtype
    )
    arrays: dict[str, np.ndarray] = {}
    for name in _wanted(plan):
        if name in tensors:
            try:
                arrays[name] = cast(name, from_tensor(name, tensors[name]), dtype)
            except InputError as error:
                plan.problems.append(str(error))
    checks.tensors(plan, arrays)
    checks.ties(plan, arrays)
    plan.raise_problems("to Flax")
    filled: list[tuple[nnx.Variable, np.ndarray]] = []
    for transfers in shared_variables(plan).values():
        transfer = next((one for one in transfers if one.torch[0] in arrays), transfers[0])
        filled += zip(transfer.variables, _flax_arrays(transfer, arrays), strict=True)
    report.notes += nan_notes(arrays)
    assign(filled)
    return report


def to_torch(
    module: nnx.Module,
    *,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    dtype: DTypeLike | None = None,
    like: Any = None,
    carried: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """A state_dict of new torch tensors with an NNX module's weights.

    Weights that the module shares are one tensor under several names. Counters that Flax lacks
    (`num_batches_tracked`) are zero unless carried from a report. Of recurrent biases that torch
    holds twice, the first gets the sum and the second zeros.

    Args:
        module: The NNX module.
        names: As in `from_torch`.
        flatten: As in `from_torch`.
        unflatten: As in `from_torch`.
        dtype: Cast floats to it; None keeps Flax's.
        like: A torch module or state_dict that the result must fit: its names (wrappers' prefixes
            too), order and shapes; settings and types too where it is a module.
        carried: `PortReport.carried` of the port that filled the module.

    Raises:
        InputError: Naming everything that torch would miss or not expect.
    """
    arrays, groups = to_arrays(
        module, names=names, flatten=flatten, unflatten=unflatten, dtype=dtype, like=like,
        carried=carried,
    )  # fmt: skip
    made: dict[str, Any] = {}
    return {
        name: made.setdefault(groups.get(name, name), to_tensor(array))
        for name, array in arrays.items()
    }


def to_arrays(
    module: nnx.Module,
    *,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    dtype: DTypeLike | None = None,
    like: Any = None,
    carried: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What `to_torch` gives, as NumPy arrays and without importing torch.

    Returns:
        Arrays in torch's layout, and for each name that is tied to an earlier one that one.
    """
    source, torch_module = checks.read_source(like) if like is not None else ({}, None)
    plan = make_plan(module, source, names=names, flatten=flatten, unflatten=unflatten)
    if torch_module is not None:
        checks.layers(plan, torch_layers(torch_module, plan.names))
    arrays: dict[str, np.ndarray] = {}
    groups: dict[str, str] = {}
    for transfers in shared_variables(plan).values():
        for transfer in transfers:
            for name, array in _torch_arrays(transfer, dtype, plan.problems).items():
                if transfer is not transfers[0]:
                    groups[name] = transfers[0].torch[transfer.torch.index(name)]
                arrays[name] = array
    for name in plan.counters:
        arrays[name] = np.array((carried or {}).get(name, 0), np.int64)
    for name in sorted(set(carried or ()) - set(plan.counters)):
        plan.problems.append(f"{name!r} is carried, but the module has no such layer")
    nan_notes(arrays)
    if like is not None:
        arrays, groups = checks.fit(plan, arrays, groups, source)
    plan.raise_problems("to torch")
    return arrays, groups


def describe(
    module: nnx.Module,
    source: Any = None,
    *,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    ignore: Iterable[str] = (),
    untie: bool = False,
) -> PortReport:
    """The report that `from_torch` would give, with nothing written.

    Args:
        module: The NNX module.
        source: As in `from_torch`, or None to describe the module alone.
        names: As in `from_torch`.
        flatten: As in `from_torch`.
        unflatten: As in `from_torch`.
        ignore: As in `from_torch`.
        untie: As in `from_torch`.
    """
    if source is None:
        plan = make_plan(module, names=names, flatten=flatten, unflatten=unflatten)
        plan.raise_problems("to torch")
        return _report(plan, {}, None)
    return _prepare(module, source, names, flatten, unflatten, ignore, untie)[2]


def _prepare(
    module: nnx.Module,
    source: Any,
    names: Names,
    flatten: Flatten,
    unflatten: Flatten,
    ignore: Iterable[str],
    untie: bool,
    dtype: DTypeLike | None = None,
) -> tuple[Plan, dict[str, Any], PortReport]:
    given, torch_module = checks.read_source(source)
    plan = make_plan(module, given, names=names, flatten=flatten, unflatten=unflatten)
    tensors = {short: given[full] for short, full in plan.names.items()}
    ignored, problems = ignored_names(tensors, ignore)
    plan.problems += problems
    plan.notes += [f"{name!r} is ignored, as asked" for name in sorted(ignored)]
    tensors = {name: value for name, value in tensors.items() if name not in ignored}
    if torch_module is not None:
        checks.layers(plan, torch_layers(torch_module, plan.names))
    checks.names(plan, tensors, untie=untie)
    plan.raise_problems("to Flax")
    return plan, tensors, _report(plan, tensors, torch_module, dtype)


def _report(
    plan: Plan, tensors: Mapping[str, Any], torch_module: Any, cast_to: DTypeLike | None = None
) -> PortReport:
    report = PortReport(notes=list(plan.notes))
    for transfer in plan.transfers:
        first = tensors.get(transfer.torch[0])
        dtype = first.dtype if first is not None else transfer.variables[0].dtype
        dtype = str(dtype if cast_to is None else jnp.dtype(cast_to)).removeprefix("torch.")
        compute = getattr(transfer.place.layer, "dtype", None)
        if transfer.trained and compute is not None and str(jnp.dtype(compute)) != dtype:
            report.notes.append(f"{transfer.place.path!r} computes in {jnp.dtype(compute)}, though "
                                f"{transfer.torch[0]!r} is {dtype}")  # fmt: skip
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
            names = " and ".join(transfer.torch)
            report.forward_only.append(
                f"{names} are one variable in Flax: outputs are kept, but training moves their sum "
                "half as fast, and they cannot be told apart again"
            )
    if torch_module is None:
        report.assumed += checks.assumed(plan)
    report.carried = {
        name: from_tensor(name, tensors[name]) for name in plan.counters if name in tensors
    }
    return report


def _wanted(plan: Plan) -> list[str]:
    return list(dict.fromkeys(name for transfer in plan.transfers for name in transfer.torch))


def cast(name: str, array: np.ndarray, dtype: DTypeLike | None) -> np.ndarray:
    """A float array in the dtype asked for; refused where JAX would round it."""
    if dtype is not None and is_float(array.dtype):
        array = array.astype(jnp.dtype(dtype))
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise InputError(f"{name!r} is {array.dtype}, which JAX would round: enable x64, or say "
                         f"dtype={str(jax.dtypes.canonicalize_dtype(array.dtype))!r}")  # fmt: skip
    return array


def _flax_arrays(transfer: Transfer, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    if transfer.torch[0] not in arrays:  # a torch cell built without the bias that Flax always has
        return tuple(np.zeros(one.shape, one.dtype) for one in transfer.variables)
    whole = arrays[transfer.torch[0]]
    for name in transfer.torch[1:]:
        whole = whole + arrays[name]
    return transfer.row.to_flax(whole, transfer.flax_shape, transfer.sizes)


def _torch_arrays(
    transfer: Transfer, dtype: DTypeLike | None, problems: list[str]
) -> dict[str, np.ndarray]:
    values = [one.get_value() for one in transfer.variables]
    if any(isinstance(value, jax.ShapeDtypeStruct) for value in values):
        problems.append(f"{transfer.flax[0]!r} is abstract: it has a shape, but no value")
        return {}
    parts = tuple(np.array(value) for value in values)
    whole = transfer.row.to_torch(parts, transfer.sizes)
    if dtype is not None and is_float(whole.dtype):
        whole = whole.astype(jnp.dtype(dtype))
    rest = {name: np.zeros_like(whole) for name in transfer.torch[1:]}
    return {transfer.torch[0]: whole, **rest}


def nan_notes(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of tensors with NaN, also given as a warning: they port as they are."""
    names = [name for name, array in arrays.items() if is_float(array.dtype) and has_nan(array)]
    if not names:
        return []
    note = f"NaN in {', '.join(map(repr, names))}, ported as it is"
    warnings.warn(note, stacklevel=3)
    return [note]


def assign(filled: list[tuple[nnx.Variable, np.ndarray]]) -> None:
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
