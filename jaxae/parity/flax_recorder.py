"""The recorder of Flax networks: runs a copy of an NNX module, and notes down what it did, in torch's names."""

import operator
import platform
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxae.errors import InputError
from jaxae.parity.torch_names import TorchNames, plain
from jaxae.port.calls import NNXRecorder, quick_options
from jaxae.port.options import PortOptions
from jaxae.port.trial import Inputs, layout_for, move_channels, read_inputs, twin_in
from jaxae.training.runtime import make_mesh
from torch_ref.calls import leaves
from torch_ref.recording import Conditions, Dtype, Recording, weighting

Run = Callable[..., Any]
_OPTIMIZERS = {"adam": optax.adam, "sgd": optax.sgd}


def record(
    module: nnx.Module,
    inputs: Inputs,
    asked: Conditions | None = None,
    *,
    nnx_inputs: Inputs | None = None,
    call: Run | None = None,
    loss: Callable[..., Any] | None = None,
    dtype: Dtype = "float64",
    device: str = "cpu",
    name: str = "",
    available: Iterable[str] = (),
    options: PortOptions | None = None,
) -> Recording:
    """Run a copy of an NNX module: forward with every layer noted down, gradients, and steps of an optimizer.

    Args:
        module: The module, which is left alone.
        inputs: Arguments as torch takes them.
        asked: What it is to do.
        nnx_inputs: Its own arguments; by default torch's, with channels last where it then runs.
        call: Call of it; the result may be any tree of arrays.
        loss: Function of the result that gives the scalar whose gradients are taken; by default the sum of all results,
            weighted as by `torch_ref.recording.weighting`.
        dtype: Dtype of floats.
        device: Kind of device, "cpu" or "gpu".
        name: Name of the network; by default its class.
        available: Names of torch's tensors where they are known.
        options: Names and orders of torch, where they differ.

    Raises:
        InputError: If the module does not run on the inputs, or there is nothing to take gradients of.
    """
    asked = asked or Conditions()
    place = make_mesh(device=device, devices=1).devices.flat[0]
    with jax.enable_x64(dtype == "float64"), jax.default_device(place):
        twin = twin_in(module, jnp.dtype(dtype))
        twin.train() if asked.train else twin.eval()
        dropout = _silence(twin) if asked.train else {}
        names = TorchNames(twin, available, options or PortOptions())
        run, given = call or operator.call, read_inputs(inputs)
        own = _taken(twin, run, given, nnx_inputs, dtype)
        weights = names.tensors(twin)
        recorder = NNXRecorder(twin, run)
        result, calls = recorder(nnx.state(twin), *own)
        results = {path: plain(leaf) for path, leaf in leaves(result) if hasattr(leaf, "dtype")}
        again, _ = recorder(_other_noise(twin), *own)
        notes = [*names.notes, *_random(results, again)]
        gradients, input_gradients, costs, after = {}, {}, [], {}
        if asked.gradients:
            training = _Training(twin, run, loss, own)
            holder, into = training.gradients()
            gradients = names.tensors(holder, trained=True)
            input_gradients = _as_given(given, own, into)
            costs, trained = training.steps(asked)
            after = names.tensors(trained)
        return Recording(
            framework="nnx",
            network=name or type(module).__name__,
            dtype=dtype,
            device=place.platform if place.platform == "cpu" else f"{place.platform} {place.device_kind}",
            versions=_versions(),
            precision={
                "jax_default_matmul_precision": str(jax.config.values["jax_default_matmul_precision"] or "default")
            },
            asked=asked,
            inputs=given,
            results=results,
            calls=names.calls(calls),
            weights=weights,
            trained=frozenset(names.tensors(twin, trained=True)),
            gradients=gradients,
            input_gradients=input_gradients,
            after=after,
            costs=costs,
            sums=names.sums,
            dropout=dropout,
            notes=notes,
        )


class _Training:
    """A network, its cost, and the gradients of that."""

    def __init__(self, twin: nnx.Module, run: Run, loss: Callable[..., Any] | None, own: Sequence[jax.Array]):
        self._graph, self._params, self._rest = nnx.split(nnx.clone(twin), nnx.Param, ...)
        floats = {i: one for i, one in enumerate(own) if jnp.issubdtype(one.dtype, jnp.floating)}

        def objective(params: Any, floats: dict[int, jax.Array], rest: Any) -> tuple[jax.Array, Any]:
            model = nnx.merge(self._graph, params, rest, copy=True)
            result = run(model, *(floats.get(i, one) for i, one in enumerate(own)))
            return _objective(result, loss), nnx.split(model, nnx.Param, ...)[2]

        self._floats = floats
        # Narrow floats are rounded where a compiler puts them: those are compiled as ever.
        self._options = quick_options(twin) if all(one.dtype == jnp.float64 for one in floats.values()) else {}
        self._gradients = jax.jit(
            jax.value_and_grad(objective, argnums=(0, 1), has_aux=True), compiler_options=self._options
        )
        self._first = self._gradients(self._params, floats, self._rest)

    def gradients(self) -> tuple[nnx.Module, dict[int, np.ndarray]]:
        """A module that holds the gradients in place of its parameters; gradients of the float arguments."""
        _, (params, floats) = self._first
        into = {index: plain(array) for index, array in floats.items()}
        return nnx.merge(self._graph, params, self._rest, copy=True), into

    def steps(self, asked: Conditions) -> tuple[list[float], nnx.Module]:
        """Costs before each step and after the last, and the module after it, with the statistics of the first pass."""
        (cost, rest), (gradients, _) = self._first
        first = rest
        params, costs = self._params, [float(cost)]
        rule = _OPTIMIZERS[asked.optimizer](asked.learning_rate)
        state = rule.init(params) if asked.steps else None

        @partial(jax.jit, compiler_options=self._options)
        def move(gradients: Any, state: Any, params: Any) -> tuple[Any, Any]:
            updates, state = rule.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        for _ in range(asked.steps):
            params, state = move(gradients, state, params)
            (cost, rest), (gradients, _) = self._gradients(params, self._floats, rest)
            costs.append(float(cost))
        return costs, nnx.merge(self._graph, params, first, copy=True)


def _objective(result: Any, loss: Callable[..., Any] | None) -> jax.Array:
    """The scalar that gradients are of."""
    if loss is not None:
        cost = loss(result)
        if not isinstance(cost, jax.Array) or cost.size != 1:
            raise InputError("expected a loss that gives a scalar with a gradient, got another")
        return cost.reshape(())
    terms = [
        leaf for _, leaf in leaves(result) if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    if not terms:
        raise InputError("expected a result with a gradient, got none: say that no gradients are to be taken")
    return sum((jnp.asarray(weighting(y.shape), y.dtype) * y).sum() for y in terms)  # type: ignore[return-value]


def _taken(twin: nnx.Module, run: Run, given: Sequence[np.ndarray], own: Inputs | None, dtype: str) -> list[jax.Array]:
    """The arguments of the module, in its dtype."""

    def cast(arrays: Sequence[np.ndarray]) -> list[Any]:
        kept = jnp.dtype(dtype)
        return [np.asarray(one, kept) if one.dtype.kind == "f" else one for one in arrays]

    arrays = cast(given)
    taken = move_channels(arrays, layout_for(twin, run, given)) if own is None else cast(read_inputs(own))
    return [jnp.asarray(one) for one in taken]


def _as_given(
    given: Sequence[np.ndarray], own: Sequence[jax.Array], into: dict[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """Gradients of the arguments in torch's layout; none where the arguments are other ones."""
    found = {}
    for index, array in into.items() if len(given) == len(own) else ():
        theirs = given[index]
        if array.shape == theirs.shape and np.allclose(theirs, plain(own[index]), rtol=1e-2):
            found[index] = array
        elif array.ndim >= 3 and np.moveaxis(array, -1, 1).shape == theirs.shape:
            found[index] = np.moveaxis(array, -1, 1)
    return found


def _silence(twin: nnx.Module) -> dict[str, float]:
    """Switch dropout off; the rates that it had, by the layers' paths."""
    rates = {}
    for path, layer in nnx.iter_modules(twin):
        name = {nnx.Dropout: "rate", nnx.MultiHeadAttention: "dropout_rate"}
        for kind, attribute in name.items():
            if isinstance(layer, kind) and getattr(layer, attribute):
                rates[".".join(map(str, path))] = float(getattr(layer, attribute))
                setattr(layer, attribute, 0.0)
    return rates


def _other_noise(twin: nnx.Module) -> nnx.State:
    """The module's state with its random streams further on."""
    state = nnx.state(nnx.clone(twin))
    counts = nnx.filter_state(state, nnx.RngCount)
    return nnx.merge_state(state, jax.tree.map(lambda count: count + 1, counts))


def _random(results: dict[str, np.ndarray], again: Any) -> list[str]:
    """A note where other noise gives other numbers."""
    values = {path: plain(leaf) for path, leaf in leaves(again) if hasattr(leaf, "dtype")}
    same = all(
        np.array_equal(values[path], array, equal_nan=array.dtype.kind == "f") for path, array in results.items()
    )
    return [] if same else ["the NNX network gives other numbers when its noise is another: dropout, or other noise"]


def _versions() -> dict[str, str]:
    import flax

    versions = {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__, "numpy": np.__version__}
    return {"python": platform.python_version(), **versions}
