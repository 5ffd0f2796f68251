"""Weights: from torch into an NNX module, and from an NNX module to torch."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxae.port import asides, checks
from jaxae.port.arrays import (
    Deferred,
    FlaxCopies,
    cast_dtype,
    cast_floats,
    dtype_name,
    from_tensor,
    has_nan,
    to_tensor,
    why_refused,
)
from jaxae.port.held import Held, stacked, whole_of
from jaxae.port.linen.view import FlaxNetwork
from jaxae.port.options import PortOptions
from jaxae.port.plan import AVERAGED, PortPlan, Transfer, make_plan, raise_problems, shared_variables
from jaxae.port.report import PortReport, PortRow
from jaxae.port.source import Weights, WeightSource, read_torch_layout

if TYPE_CHECKING:
    import torch


class ToTorchKeywords(PortOptions, total=False):
    """Keywords of `to_torch`, but for what it needs to run the networks."""

    dtype: DTypeLike | None
    like: Weights | None
    ignore: Iterable[str]
    carried: Mapping[str, np.ndarray] | None


TO_FLAX, TO_TORCH = "weights that port to Flax", "weights that port to torch"


def fill_from_torch(
    module: nnx.Module,
    source: Weights,
    *,
    dtype: DTypeLike | None = None,
    ignore: Iterable[str] = (),
    missing: Iterable[str] = (),
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
        missing: Patterns of NNX variables that torch lacks and that keep their values.
        untie: Whether weights that are one tensor in torch may become several variables.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If tensors are missing, unexpected, mis-shaped, or not to be had in Flax; it names them all.
    """
    plan, tensors, weights = _match(module, source, ignore, missing, untie, options)
    report = _report(plan, tensors, weights, dtype)
    wanted = dict.fromkeys(name for transfer in plan.transfers for name in transfer.torch if name in tensors)
    arrays = FlaxCopies(tensors, wanted, dtype, plan.problems)
    checks.tensors(plan, arrays)
    checks.ties(plan, arrays)
    raise_problems(TO_FLAX, plan.problems)
    with_nan: list[str] = []
    assign(_filled(plan, arrays, with_nan))
    report.notes += nan_notes(with_nan)
    return report


def describe(
    module: FlaxNetwork,
    source: Weights | None = None,
    *,
    ignore: Iterable[str] = (),
    missing: Iterable[str] = (),
    untie: bool = False,
    weights: str | None = None,
    prefix: str = "",
    allow: Iterable[str] = (),
    **options: Unpack[PortOptions],
) -> PortReport:
    """The report that `from_torch` would give, with nothing written.

    Args:
        module: The NNX module, or Linen variables.
        source: Weights that `from_torch` takes, or None to describe the module alone.
        ignore: Patterns of torch tensors to leave aside.
        missing: Patterns of NNX variables that torch lacks.
        untie: Whether weights that are one tensor in torch may become several variables.
        weights: Key of the state_dict that is meant, where a checkpoint holds several.
        prefix: What the names of torch's tensors begin with, where there are others.
        allow: Names of classes, functions or modules whose objects in a file are left aside.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If the weights do not port.
    """
    if source is None:
        plan = make_plan(module, **options)
        raise_problems(TO_TORCH, plan.problems)
        return _report(plan, {})
    read = read_torch_layout(source, weights=weights, prefix=prefix, allow=allow)
    return _report(*_match(module, read, ignore, missing, untie, options))


def to_tensors(module: FlaxNetwork, **keywords: Unpack[ToTorchKeywords]) -> "dict[str, torch.Tensor]":
    """What `jaxae.port.to_torch` gives, by what is said of the two networks alone."""
    arrays, ties = to_deferred(module, **keywords)
    made: dict[str, torch.Tensor] = {}
    with telling_of_nan() as read:
        for name, array in arrays.items():
            if (first := ties.get(name, name)) not in made:
                made[first] = to_tensor(read(name, array))
    return {name: made[ties.get(name, name)] for name in arrays}


def to_arrays(module: FlaxNetwork, **keywords: Unpack[ToTorchKeywords]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """What `to_tensors` gives, as NumPy arrays and without importing torch; and for each tied name the earlier one."""
    arrays, ties = to_deferred(module, **keywords)
    with telling_of_nan() as read:
        return {name: read(name, array) for name, array in arrays.items()}, ties


def to_deferred(
    module: FlaxNetwork,
    *,
    dtype: DTypeLike | None = None,
    like: Weights | None = None,
    ignore: Iterable[str] = (),
    carried: Mapping[str, np.ndarray] | None = None,
    **options: Unpack[PortOptions],
) -> tuple[dict[str, Deferred | np.ndarray], dict[str, str]]:
    """What `to_arrays` gives, most of it made only when it is read."""
    target = None if like is None else read_torch_layout(like)
    plan = make_plan(module, target.tensors if target else (), **options)
    if target is not None and target.module is not None:
        checks.layers(plan, target.module)
    arrays: dict[str, Deferred | np.ndarray] = {}
    ties: dict[str, str] = {}
    for first, *others in shared_variables(plan).values():
        arrays |= _torch_arrays(first, dtype, plan.problems)
        for other in others:
            arrays |= _torch_arrays(other, dtype, plan.problems)
            ties |= zip(other.torch, first.torch, strict=True)
    carried = carried or {}
    arrays |= {name: np.array(carried.get(name, 0), np.int64) for name in plan.counters}
    unknown = sorted(set(carried) - {*plan.counters, AVERAGED})
    plan.problems += [f"{name!r} is carried, but the module has no such layer" for name in unknown]
    tensors = {} if target is None else target.tensors
    same = asides.as_they_are(plan, arrays, tensors, ignore)
    if target is not None:
        arrays, ties = checks.fit(plan, arrays, ties, tensors, same)
    raise_problems(TO_TORCH, plan.problems)
    return arrays, ties


def _match(
    module: FlaxNetwork,
    source: Weights,
    ignore: Iterable[str],
    missing: Iterable[str],
    untie: bool,
    options: PortOptions,
) -> tuple[PortPlan, dict[str, Any], WeightSource]:
    """The plan of a port to Flax, the tensors that take part in it, by their short names, and their source."""
    weights = read_torch_layout(source)
    plan = make_plan(module, weights.tensors, **options)
    tensors = {short: weights.tensors[full] for short, full in plan.names.items()}
    ignored = asides.ignored(plan, tensors, ignore)
    tensors = {name: value for name, value in tensors.items() if name not in ignored}
    asides.keep(plan, tensors, missing)
    # A lazy layer's tensor raises another error when it is asked for its shape.
    lazy = {name for name, value in tensors.items() if hasattr(value, "materialize")}
    strange = {name: value for name, value in tensors.items() if name in lazy or not hasattr(value, "shape")}
    plan.problems += [why for name, value in strange.items() if (why := why_refused(name, value))]
    raise_problems(TO_FLAX, plan.problems)
    if weights.module is not None:
        checks.layers(plan, weights.module)
    checks.names(plan, tensors, untie=untie, buffers=_buffers(weights, plan))
    raise_problems(TO_FLAX, plan.problems)
    return plan, tensors, weights


def _buffers(weights: WeightSource, plan: PortPlan) -> set[str]:
    """Names of torch's buffers, as far as a module tells them."""
    if weights.module is None:
        return set()
    full = {name for name, _ in weights.module.named_buffers()}
    return {short for short, name in plan.names.items() if name in full}


def _report(
    plan: PortPlan, tensors: Mapping[str, Any], weights: WeightSource | None = None, cast_to: DTypeLike | None = None
) -> PortReport:
    report = PortReport(notes=[*plan.notes, *(() if weights is None else weights.notes)])
    for transfer in plan.transfers:
        named = tensors.get(transfer.torch[0], transfer.variables[0])
        dtype = dtype_name(named.dtype) if cast_to is None else str(jnp.dtype(cast_to))
        compute = getattr(transfer.place.layer, "dtype", None)
        if transfer.trained and compute is not None and str(jnp.dtype(compute)) != dtype:
            path, tensor = transfer.place.path, transfer.torch[0]
            report.notes.append(f"{path!r} computes in {jnp.dtype(compute)}, though {tensor!r} is {dtype}")
        torch, flax = " + ".join(transfer.torch), " + ".join(transfer.flax)
        pattern = transfer.row.pattern + (" (space reversed)" if transfer.row.flip else "")
        pattern += "".join(f" ({name} in another order)" for name, _ in transfer.row.orders)
        report.rows.append(PortRow(torch, transfer.torch_shape, pattern, flax, transfer.flax_shape, dtype))
        if transfer.row.forward_only:
            said = f"{' and '.join(transfer.torch)} are one variable in Flax: outputs are kept, but training moves "
            said += f"their sum 1/{len(transfer.torch)} as fast, and they cannot be told apart again"
            report.forward_only.append(said)
    if weights is None or weights.module is None:
        report.assumed += checks.assumed(plan)
    report.carried = {name: from_tensor(name, tensors[name]) for name in plan.counters if name in tensors}
    return report


def _filled(plan: PortPlan, arrays: Mapping[str, np.ndarray], with_nan: list[str]) -> Iterator[tuple[Held, np.ndarray]]:
    """What each variable gets, one after another; names of tensors with NaN into a list."""
    chosen = [
        next((one for one in transfers if one.torch[0] in arrays), transfers[0])
        for transfers in shared_variables(plan).values()
    ]
    # Parts of one variable one after another, which then is done with.
    first: dict[int, int] = {}
    for number, transfer in enumerate(chosen):
        first.setdefault(id(whole_of(transfer.variables[0])), number)
    for transfer in sorted(chosen, key=lambda one: first[id(whole_of(one.variables[0]))]):
        read = {name: noting_nan(name, arrays[name], with_nan) for name in transfer.torch if name in arrays}
        values = list(_flax_arrays(transfer, read))
        del read
        for variable in transfer.variables:
            yield variable, values.pop(0)


def _flax_arrays(transfer: Transfer, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    if transfer.torch[0] not in arrays:  # a torch cell built without the bias that Flax always has
        return tuple(np.zeros(one.shape, one.dtype) for one in transfer.variables)
    whole = transfer.row.joined([arrays[name] for name in transfer.torch])
    return transfer.row.to_flax(whole, transfer.flax_shape, transfer.sizes)


def _torch_arrays(transfer: Transfer, dtype: DTypeLike | None, problems: list[str]) -> dict[str, Deferred]:
    if any(isinstance(whole_of(one).get_value(), jax.ShapeDtypeStruct) for one in transfer.variables):
        problems.append(f"{transfer.flax[0]!r} is abstract: it has a shape, but no value")
        return {}

    def make(part: int) -> np.ndarray:
        values = tuple(np.asarray(one.get_value()) for one in transfer.variables)
        return transfer.row.parted(cast_floats(transfer.row.to_torch(values, transfer.sizes), dtype))[part]

    cast = cast_dtype(np.dtype(transfer.variables[0].dtype), dtype)
    return {name: Deferred(transfer.torch_shape, cast, partial(make, part)) for part, name in enumerate(transfer.torch)}


@contextmanager
def telling_of_nan() -> Iterator[Callable[[str, Deferred | np.ndarray], np.ndarray]]:
    """Give a function that reads a named array; at the end tell of those with NaN, as a warning."""
    found: list[str] = []
    yield lambda name, array: noting_nan(name, np.asarray(array), found)
    nan_notes(found, above=5)


def fill_places(plan: PortPlan, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill the layers of a plan whose tensors are there in the right shapes, and leave the others as they are."""
    filled: list[tuple[Held, np.ndarray]] = []
    for transfer in plan.transfers:
        there = [name for name in transfer.torch if name in tensors]
        if all(tensors[name].shape == transfer.torch_shape for name in there) and (
            len(there) == len(transfer.torch) or transfer.row.forward_only
        ):
            filled += zip(transfer.variables, _flax_arrays(transfer, tensors), strict=True)
    assign(filled)


def noting_nan(name: str, array: np.ndarray, found: list[str]) -> np.ndarray:
    """The array, with its name taken down if it holds NaN."""
    if has_nan(array):
        found.append(name)
    return array


def nan_notes(names: Sequence[str], above: int = 3) -> list[str]:
    """A note of tensors with NaN, also given as a warning: they port as they are."""
    if not names:
        return []
    note = f"NaN in {', '.join(map(repr, names))}, ported as it is"
    warnings.warn(note, stacklevel=above)
    return [note]


def assign(filled: Iterable[tuple[Held, np.ndarray]]) -> None:
    """Set variables to arrays that nobody else has, on the devices where they are or are to be: all, or none.

    An abstract variable says that by the sharding of its shape. On the CPU the arrays' own memory is used.
    """
    ready = []
    for target, array in stacked(filled):
        before = target.get_value()
        ready.append((target, before, jax.block_until_ready(jax.device_put(array, before.sharding))))
        del array  # before the next one is made
    try:
        for target, _, value in ready:
            target.set_value(value)
    except BaseException:
        for target, before, _ in ready:
            target.set_value(before)
        raise
