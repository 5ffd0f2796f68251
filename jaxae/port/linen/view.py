"""A view: Linen's variables as the NNX layers that they correspond to, which every port takes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from flax import linen, nnx
from flax.errors import FlaxError
from jaxtyping import PyTree

from jaxae.errors import InputError, brief
from jaxae.port.calls import note_call
from jaxae.port.linen.layers import ROOT, Layers
from jaxae.port.linen.run import LayerCall, keep_first, run
from jaxae.port.linen.sketch import sketch
from jaxae.port.linen.variables import PARAMS, Path, is_linen, read_collections, replaced, unboxed
from jaxae.port.trial import Inputs, layouts, move_channels, read_inputs

# What ports take for a Flax network: an NNX module, a `nnx.bridge.ToNNX` among them, or Linen variables.
FlaxNetwork = nnx.Module | Mapping[str, Any]
_NO_MODULE = "LinenView(..., module=), the Linen module to run"
# Variables by Linen's collection and path.
_Held = Mapping[tuple[str, Path], nnx.Variable]


@dataclass(frozen=True, eq=False)
class _Linen:
    """What a view knows of Linen beside the values.

    Attributes:
        module: The module, if it is known.
        slots: For the collection and path of each variable the path of the view's attribute.
        layers: Paths of the layers.
        guessed: The view's paths of the layers that names and shapes told.
        notes: What was taken for granted.
        ordered: Whether the layers are in the order in which they run.
        tree: The variables that the view was made of, if they were no module's.
        bare: Whether they came without the "params" level.
    """

    module: linen.Module | None
    slots: Mapping[tuple[str, Path], Path]
    layers: frozenset[Path]
    guessed: frozenset[str]
    notes: tuple[str, ...]
    ordered: bool
    tree: Mapping[str, Any] | None = None
    bare: bool = False


class LinenView(nnx.Module):
    """Linen variables as the NNX module of the same names that they correspond to; every function of a port takes it.

    Of a `nnx.bridge.ToNNX` it has the variables themselves: what fills the view fills that module. Of a dict it has
    copies, and `variables` is a new dict like it.

    Args:
        variables: Linen variables, with their collections or the parameters alone, or a `nnx.bridge.ToNNX`.
        module: The Linen module, which tells its layers' kinds and settings as it is run abstractly; what a proof runs.
        inputs: Argument of the module or a tuple of them, arrays or shapes of arrays of floats, as they are or with
            channels last; by default a made-up one is tried.
        call: Call of the module, `lambda module, x: module(x, train=False)` say.
        layers: Linen layers by path, `{"decoder/up": linen.ConvTranspose(4, (3, 3))}`, where neither a run nor names
            and shapes tell what they are.

    Raises:
        InputError: If these are no Linen variables, it is open what layers they are of, or NNX has none like one.
    """

    def __init__(
        self,
        variables: "Mapping[str, Any] | nnx.bridge.ToNNX | LinenView",
        module: linen.Module | None = None,
        *,
        inputs: Inputs | None = None,
        call: Callable[..., Any] | None = None,
        layers: Mapping[str, linen.Module] | None = None,
    ):
        tree, bare, notes = None, False, []
        if isinstance(variables, nnx.bridge.ToNNX):
            module, held = variables.to_nnx__module, dict(_variables_of(variables))
            if not held:
                raise InputError("expected a ToNNX with variables, got one without: call nnx.bridge.lazy_init first")
        elif isinstance(variables, LinenView):
            known, held = variables.view__linen, variables.view__held
            module, tree, bare = module or known.module, known.tree, known.bare
        elif isinstance(variables, Mapping):
            read = read_collections(variables, "the Linen variables")
            tree, bare = read.tree, read.bare
            notes += [f"{name!r} is left aside" for name in read.aside]
            held = {
                (name, path): nnx.variable_type_from_name(name, allow_register=True)(unboxed(leaf))
                for name, leaves in read.leaves.items()
                for path, leaf in leaves.items()
            }
        else:
            raise InputError(f"expected Linen variables or a nnx.bridge.ToNNX, got {type(variables).__name__}")
        seen = _seen(module, held, inputs, call)
        said = {tuple(path.replace(".", "/").split("/")): layer for path, layer in (layers or {}).items()}
        made = Layers({path: one for (_, path), one in held.items()}, seen, said)
        for name, child in made.make().items():
            setattr(self, name, child)
        self.view__linen = _Linen(
            module,
            {(name, path): made.paths[path] for name, path in held},
            frozenset(made.layers),
            frozenset(made.guessed),
            (*notes, *made.notes),
            bool(seen) and not made.guessed,
            tree,
            bare,
        )

    @property
    def variables(self) -> dict[str, Any]:
        """A new dict of the variables, like the one that the view was made of, in its boxes."""
        known = self.view__linen
        values = {(name, *path): one.get_value() for (name, path), one in self.view__held.items()}
        if known.tree is None:
            return _nested(values)
        renewed = replaced(known.tree, values)
        return renewed[PARAMS] if known.bare else renewed

    @property
    def view__held(self) -> dict[tuple[str, Path], nnx.Variable]:
        """The variables by Linen's collection and path."""
        found = {}
        for key, path in self.view__linen.slots.items():
            holder: Any = self
            for part in path:
                holder = getattr(holder, part)
            found[key] = holder
        return found

    def __call__(self, *arguments: object, **keywords: object) -> PyTree:
        """What the Linen module gives, in inference mode.

        Raises:
            InputError: If the view was made without the module.
        """
        known = self.view__linen
        if known.module is None:
            raise InputError(f"expected {_NO_MODULE}, got variables alone")

        def end(call: LayerCall) -> None:
            if call.outside and call.path in known.layers:
                path = ".".join(call.path) or ROOT
                note_call(path, call.loop or type(call.layer).__name__, call.arguments, call.result)

        return _Bound(known.module, _values(self.view__held), end=end)(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        known = vars(self).get("view__linen")
        if known is not None and _is_method(known.module, name):
            return partial(self.__call__, method=name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def viewed(
    module: object,
    *,
    inputs: Inputs | None = None,
    nnx_inputs: Inputs | None = None,
    nnx_call: Callable[..., Any] | None = None,
) -> PyTree:
    """The view of a `ToNNX` or of Linen variables; any other module as it is.

    Args:
        module: What a port was given as its Flax network.
        inputs: Arguments of the torch network, if both are run.
        nnx_inputs: Arguments of the Flax network, if they are others.
        nnx_call: Call of the Flax network.

    Raises:
        InputError: If there is no view of it, for a reason that `LinenView` names.
    """
    given = inputs if nnx_inputs is None else nnx_inputs
    if isinstance(module, LinenView):
        known = module.view__linen
        # Without the module there is nothing to run, and what was said of the layers would be forgotten.
        runs = given is not None and known.guessed and known.module is not None
        return LinenView(module, inputs=given, call=nnx_call) if runs else module
    if isinstance(module, nnx.bridge.ToNNX):
        return LinenView(module, inputs=given, call=nnx_call)
    return LinenView(module) if isinstance(module, Mapping) and is_linen(module) else module


def with_views(module: nnx.Module) -> nnx.Module:
    """An NNX module in which each `ToNNX` has become its view: it is changed."""
    for _, one in list(nnx.iter_modules(module)):
        for name, value in list(vars(one).items()):
            if isinstance(value, nnx.bridge.ToNNX):
                setattr(one, name, LinenView(value))
    return module


class _Bound:
    """A Linen module with its variables, which is called as its NNX view is."""

    def __init__(self, module: linen.Module, variables: Mapping[str, Any], **listening: Callable[[LayerCall], None]):
        self._module, self._variables, self._listening = module, variables, listening

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        try:
            return run(self._module, self._variables, *arguments, **self._listening, **keywords)
        except FlaxError as error:  # of shapes that do not fit, of which NNX raises a ValueError
            raise ValueError(brief(error, 300)) from error

    def __getattr__(self, name: str) -> Any:
        if _is_method(self._module, name):
            return partial(self.__call__, method=name)
        raise AttributeError(name)


def _is_method(module: linen.Module | None, name: str) -> bool:
    return not name.startswith("_") and callable(getattr(type(module), name, None)) and module is not None


def _variables_of(module: nnx.bridge.ToNNX) -> Iterator[tuple[tuple[str, Path], nnx.Variable]]:
    for path, one in nnx.iter_graph(module):
        if isinstance(one, nnx.Variable) and not isinstance(one, nnx.RngState | nnx.Cache | nnx.Intermediate):
            yield (nnx.variable_name_from_type(type(one)), tuple(map(str, path))), one


def _values(held: _Held) -> dict[str, Any]:
    return _nested({(name, *path): one.get_value() for (name, path), one in held.items()})


def _nested(values: Mapping[Path, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for (*above, last), value in values.items():
        level = made
        for part in above:
            level = level.setdefault(part, {})
        level[last] = value
    return made


def _seen(
    module: linen.Module | None, held: _Held, inputs: Inputs | None, call: Callable[..., Any] | None
) -> dict[Path, LayerCall]:
    """The first call of each layer, as far as it can be known."""
    if module is None:
        return {}
    if inputs is None:
        return sketch(module, {path: tuple(one.shape) for (_, path), one in held.items()})
    return _run_abstractly(module, held, inputs, call)


def _run_abstractly(
    module: linen.Module, held: _Held, inputs: Inputs, call: Callable[..., Any] | None
) -> dict[Path, LayerCall]:
    """The first call of each layer, in a run of which only the shapes are computed.

    Raises:
        InputError: If the module does not run on the inputs, as they are or with channels last.
    """
    given = read_inputs(inputs)
    seen: dict[Path, LayerCall] = {}

    def shapes(variables: Any, *arrays: Any) -> Any:
        seen.clear()
        bound = _Bound(module, variables, end=partial(keep_first, seen))
        return call(bound, *arrays) if call else bound(*arrays)

    failure = ""
    for moved in layouts(given):
        arrays = [
            jax.ShapeDtypeStruct(one.shape, jax.dtypes.canonicalize_dtype(one.dtype))
            for one in move_channels(given, moved)
        ]
        try:
            jax.eval_shape(shapes, _values(held), *arrays)
        except (TypeError, ValueError, IndexError) as error:
            failure = failure or brief(error, 200)
        else:
            return seen
    raise InputError(f"expected inputs that the Linen module takes, as they are or with channels last, got: {failure}")
