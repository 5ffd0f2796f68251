"""Compare any torch network with its NNX twin, and find the first layer at which they part."""

import copy
import operator
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import ArrayLike

from jaxae.errors import InputError
from jaxae.parity.calls import Call, record_nnx, record_torch
from jaxae.parity.channel_order import align, closest
from jaxae.parity.comparison import GRADIENT, INPUT, OUTPUT, RESULT, TOLERANCE, Comparison, Difference, difference
from jaxae.parity.gap import Gap, measure
from jaxae.port import describe, from_torch, to_arrays
from jaxae.port.flatten import Flatten
from jaxae.port.names import Names

if TYPE_CHECKING:
    import torch

# A network's one argument, or a tuple or list of them.
Inputs = ArrayLike | Sequence[ArrayLike]
Named = dict[str, np.ndarray]


def compare(
    torch_module: "torch.nn.Module",
    nnx_module: nnx.Module,
    inputs: Inputs,
    *,
    nnx_inputs: Inputs | None = None,
    torch_call: Callable[..., Any] | None = None,
    nnx_call: Callable[..., Any] | None = None,
    port: bool = True,
    names: Names = None,
    flatten: Flatten = None,
    unflatten: Flatten = None,
    gradients: bool = True,
    train: bool = False,
    tolerance: float | None = None,
) -> Comparison:
    """Run a torch network and an NNX network on the same weights and inputs, layer beside layer.

    Both are copied, and computed in float64 on the CPU; a layer that insists on another dtype is held to that one's
    tolerance. Gradients are those of the sum of all results, each element weighted by a fixed random number.

    Args:
        torch_module: Torch network.
        nnx_module: Twin of the torch network, whose weights it is given.
        inputs: Argument of the torch network, or a tuple of them: arrays.
        nnx_inputs: Argument or arguments of the twin; by default those of torch, float arrays of four or more axes
            with their channels moved to the end.
        torch_call: Call of the torch network, `lambda module, *inputs: module(*inputs)[0]` say; the result may be any
            tree of arrays.
        nnx_call: Call of the twin. Both results must have as many arrays, in one order.
        port: Whether to port the weights; otherwise both networks keep what they hold.
        names: Names of tensors in torch, as in `jaxae.port.from_torch`.
        flatten: Order of flattened images, as in `jaxae.port.from_torch`; by default torch's.
        unflatten: Order of images made of vectors, as in `jaxae.port.from_torch`; by default torch's.
        gradients: Whether to compare gradients too.
        train: Whether both run in training mode (batch statistics); dropout must be off.
        tolerance: Largest relative gap of every layer; by default 1e-10 in float64, 1e-4 in float32.

    Raises:
        InputError: If the weights cannot be ported, the results do not correspond, or the inputs are not arrays.
    """
    import torch

    wide = _widened(inputs)
    twin_wide = list(map(_channels_last, wide)) if nnx_inputs is None else _widened(nnx_inputs)
    # A port asks for the order of a flatten that shapes do not tell; torch's is the one to try.
    order: dict[str, Any] = {"flatten": flatten or "CHW", "unflatten": unflatten or "CHW"}
    run_torch, run_nnx = torch_call or operator.call, nnx_call or operator.call
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        module = copy.deepcopy(torch_module).cpu().double().train(train)
        twin = _as_float64(nnx_module)
        twin.train() if train else twin.eval()
        # The state_dict, not the module: settings that differ are to be found, not refused.
        if port:
            from_torch(twin, module.state_dict(), names=names, **order)
        rows = describe(twin, module.state_dict(), names=names, **order).rows
        paths = {_parent(row.flax): _parent(row.torch) for row in rows}
        twin_wide = list(map(jnp.asarray, twin_wide))
        result, calls = record_torch(module, lambda model: run_torch(model, *map(torch.from_numpy, wide)))
        twin_result, twin_calls = record_nnx(twin, lambda model: run_nnx(model, *twin_wide))
        forward, unpaired, notes = _pair_calls(calls, twin_calls, paths, tolerance)
        result = [leaf for leaf in jax.tree.leaves(result) if torch.is_tensor(leaf)]
        twin_result = [np.asarray(leaf) for leaf in jax.tree.leaves(twin_result)]
        if len(result) != len(twin_result):
            raise InputError(
                f"expected results that correspond, got {len(result)} arrays from torch and "
                f"{len(twin_result)} from NNX: pick them by torch_call and nnx_call"
            )
        values = [leaf.detach().numpy() for leaf in result]
        ends = list(map(closest, values, twin_result))
        for index, (end, other) in enumerate(zip(ends, twin_result, strict=True)):
            forward.append(difference("", f"result {index}", RESULT, end, other, tolerance))
        backward: list[Difference] = []
        if gradients and any(a.shape != b.shape for a, b in zip(ends, twin_result, strict=True)):
            notes.append("gradients were not compared: the results' shapes differ")
        elif gradients:
            rng = np.random.default_rng(0)
            weights = [rng.standard_normal(value.shape) for value in values]
            twin_weights = list(map(_like, weights, values, ends))
            wanted = _torch_gradients(module, result, weights)
            holder = _nnx_gradients(twin, lambda model: jax.tree.leaves(run_nnx(model, *twin_wide)), twin_weights)
            got, _ = to_arrays(holder, names=names, **order)
            backward = _pair_gradients(got, wanted, calls, tolerance)
    return Comparison((*forward, *backward), tuple(unpaired), tuple(notes))


def _widened(inputs: Inputs) -> list[np.ndarray]:
    several: Any = inputs if isinstance(inputs, tuple | list) else (inputs,)
    arrays = [np.asarray(one.detach() if hasattr(one, "detach") else one) for one in several]
    for index, array in enumerate(arrays):
        if array.dtype.kind not in "fiub":
            raise InputError(f"expected arrays of numbers, got input {index} of {array.dtype}")
    return [np.array(array, np.float64 if array.dtype.kind == "f" else None, order="C") for array in arrays]


def _channels_last(array: np.ndarray) -> np.ndarray:
    moves = array.ndim >= 4 and array.dtype.kind == "f"
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if moves else array


def _as_float64(module: nnx.Module) -> Any:
    def widen(leaf: Any) -> Any:
        floats = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, jnp.float64) if floats else leaf

    graph, state = nnx.split(module)
    return nnx.merge(graph, jax.tree.map(widen, state))


def _parent(names: str) -> str:
    """The layer of a tensor; of several tensors, the layer that they have in common."""
    parents = [name.split(".")[:-1] for name in names.split(" + ")]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*parents, strict=False))
    return ".".join(part for part, *_ in shared)


def _pair_calls(
    calls: Sequence[Call], twins: Sequence[Call], paths: dict[str, str], tolerance: float | None
) -> tuple[list[Difference], list[str], list[str]]:
    named = {}
    for twin in twins:
        path, mark, count = twin.path.partition("#")
        named[paths.get(path, path) + mark + count] = twin
    rows: list[Difference] = []
    notes: list[str] = []
    for call in calls:
        twin = named.get(call.path)
        # The whole is compared by its result, as the caller picks it.
        if not call.path or twin is None:
            continue
        inputs, outputs = (
            # A twin may take more (a label), or give more (a carry), than can be told apart.
            [
                difference(call.path, call.kind, what, align(call, left, right), right, tolerance)
                for left, right in zip(ours, theirs, strict=False)
            ]
            for what, ours, theirs in ((INPUT, call.inputs, twin.inputs), (OUTPUT, call.outputs, twin.outputs))
        )
        if outputs and all(row.passed for row in outputs) and not all(row.passed for row in inputs):
            notes.append(f"{call.path} ({call.kind}) gives the same of inputs in another form")
            inputs = []
        rows += inputs + outputs
    kinds = {call.path: call.kind for call in calls} | {p: c.kind for p, c in named.items()}
    alone = ({call.path for call in calls} ^ set(named)) - {""}
    return _in_order(rows), [f"{path} ({kinds[path]})" for path in sorted(alone)], notes


def _in_order(rows: list[Difference]) -> list[Difference]:
    """A container ends after its parts, whose difference is the more telling: inputs of it go."""
    containers = {one.layer for one in rows if any(other.layer.startswith(f"{one.layer}.") for other in rows)}
    return [row for row in rows if not (row.what == INPUT and row.layer in containers)]


def _like(weight: np.ndarray, before: np.ndarray, after: np.ndarray) -> jax.Array:
    """Weights of a result in the layout that the result was put into."""
    same = before.shape == after.shape and np.array_equal(before, after, equal_nan=True)
    return jnp.asarray(weight if same else np.moveaxis(weight, 1, -1))


def _nnx_gradients(twin: Any, run: Callable[[Any], list], weights: list[jax.Array]) -> nnx.Module:
    """A module like the twin that holds the gradients in place of its parameters."""
    graph, parameters, rest = nnx.split(nnx.clone(twin), nnx.Param, ...)

    def objective(parameters: Any) -> jax.Array:
        outputs = run(nnx.merge(graph, parameters, rest, copy=True))
        return sum((w * y).sum() for w, y in zip(weights, outputs, strict=True))  # type: ignore

    return nnx.merge(graph, jax.jit(jax.grad(objective))(parameters), rest)


def _torch_gradients(module: "torch.nn.Module", result: "list[torch.Tensor]", weights: list[np.ndarray]) -> Named:
    import torch

    module.zero_grad()
    total = sum((torch.from_numpy(w) * y).sum() for w, y in zip(weights, result, strict=True))
    total.backward()  # type: ignore[union-attr]
    return {
        name: (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).numpy()
        for name, leaf in module.named_parameters()
    }


def _pair_gradients(got: Named, wanted: Named, calls: Sequence[Call], tolerance: float | None) -> list[Difference]:
    """Gradients layer by layer, in the order of the backward pass."""
    order = {call.path: index for index, call in enumerate(calls)}
    kinds = {call.path: call.kind for call in calls}
    layers: dict[str, list[str]] = {}
    for name in wanted:
        if name in got:
            layers.setdefault(name.rpartition(".")[0], []).append(name)
    allowed = TOLERANCE["float64"] * 10 if tolerance is None else tolerance
    rows = []
    for path in sorted(layers, key=lambda path: -order.get(path, -1)):
        pairs = [(got[name], wanted[name]) for name in layers[path]]
        gap = Gap(float("inf"), float("inf"), path)
        if all(left.shape == right.shape for left, right in pairs):
            # Relative to the layer's largest: a bias before a batch norm has a gradient of nothing but rounding,
            # which no two frameworks share.
            ours, theirs = (np.concatenate([one.ravel() for one in side]) for side in zip(*pairs, strict=True))
            gap = measure({path: ours}, {path: theirs})
        rows.append(Difference(path, kinds.get(path, ""), GRADIENT, gap, allowed))
    return rows
