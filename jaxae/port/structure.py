"""Structure: the layers of an NNX module, each with its rows of the table and its torch names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from einops import EinopsError
from flax import nnx

from jaxae.port.held import Held, HeldArray, Slice, Whole
from jaxae.port.linen.layers import ROOT
from jaxae.port.linen.view import LinenView
from jaxae.port.names import MOST_STACKS, Paths, all_there, join, with_numbers
from jaxae.port.row import Layer, Row
from jaxae.port.table.lookup import rules_for

# Variables that are no weights: random streams, decoding caches, what a forward pass notes down.
_PASSING = (nnx.RngState, nnx.Cache, nnx.Intermediate)


@dataclass(frozen=True)
class Place:
    """A layer in its network.

    Attributes:
        path: Its path in the NNX module.
        layer: The layer.
        rule: Its entry in the table.
        template: Names of its torch tensors, `*` for the tensor's own.
        rows: Those of the entry's rows that this layer has (a bias may be absent; a norm may have none).
        index: Its number among layers that are stacked in one, along each leading axis of their variables.
    """

    path: str
    layer: object
    rule: Layer
    template: str
    rows: tuple[Row, ...]
    index: tuple[int, ...] = ()

    def held(self, name: str) -> Held | None:
        """The layer's variable at a dotted path below it, or its part of one; None if there is none."""
        whole = variable(self.layer, name)
        return Slice(whole, self.index) if whole is not None and self.index else whole

    def torch_name(self, tensor: str) -> str:
        """The full name of one of its torch tensors."""
        return self.template.replace("*", tensor)

    def __str__(self) -> str:
        """The layer as a message names it."""
        return f"{self.path!r} ({type(self.layer).__name__})"

    @property
    def widths(self) -> tuple[int, int]:
        """Features that come in and go out; 0 where the table does not tell."""
        return self.rule.width(self.layer) if self.rule.width else (0, 0)

    @property
    def is_norm(self) -> bool:
        """Whether it treats each of its features by itself."""
        return any("features" in row.pattern for row in self.rows)


class Structure:
    """Walks an NNX module, in the order of its attributes.

    Attributes:
        places: Its layers. A layer that is shared has a place for each path.
        problems: What the table does not know, one sentence each.
        notes: What it takes for granted, one sentence each.
        ordered: Whether the attributes' order is one of declaration: of Linen's variables it is none.
    """

    def __init__(self, module: nnx.Module, paths: Paths):
        self.places: list[Place] = []
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.ordered = True
        self._paths = paths
        self._open: list[int] = []
        self._unsure: set[str] = set()  # layers of Linen of which only the variables are known, not the settings
        self._visit(module, "", paths.given("") or "", "", frozenset())

    def _visit(self, module: Any, path: str, torch: str, suffix: str, covered: frozenset) -> None:
        if id(module) in self._open:
            return
        module = LinenView(module) if isinstance(module, nnx.bridge.ToNNX) else module
        if isinstance(module, LinenView):
            self._unsure |= {join(path, one) for one in module.view__linen.guessed}
            self.notes += module.view__linen.notes
            self.ordered &= module.view__linen.ordered
        self._open.append(id(module))
        attributes = list(_attributes(module))
        rule = self._choose(module, path, torch, suffix)
        if rule is not None and not rule.rows:  # refused as a whole
            self.problems.append(f"{path!r} ({type(module).__name__}) is refused: {rule.refuse(module)}")
            attributes = []
        elif rule is not None:
            covered |= self._place(rule, module, path, torch, suffix, covered)
        own = {name: value for name, value in attributes if is_weight(value) and id(value) not in covered}
        self._place_own(module, path, torch, suffix, own)
        sequence = isinstance(module, list | tuple | nnx.List)
        siblings = [int(name) for name, value in attributes if _holds_weights(value)] if sequence else None
        for name, value in attributes:
            if isinstance(value, nnx.Module | list | tuple | dict):
                below = join(path, name)
                part, ending = _torch_part(module, name, suffix)
                above = self._paths.child(torch, below, part, siblings)
                named = above not in (torch, join(torch, part))
                ending = "" if named and siblings is None else ending
                self._visit(value, below, above, ending, covered)
        self._open.pop()

    def _choose(self, module: object, path: str, torch: str, suffix: str) -> Layer | None:
        """Of a layer's entries the one with the most of its tensors there; the first of those that are alike."""
        rules = rules_for(module) if isinstance(module, nnx.Module) else []
        if len(rules) < 2:
            return rules[0] if rules else None
        template = self._paths.template(torch, suffix)

        def likeness(rule: Layer) -> tuple[float, bool]:
            """The share of its tensors that are there in the right shape; whether torch's layer is of its kind."""
            there = []
            for row in rule.rows_of(module):
                held = variable(module, row.flax_names[0])
                if held is None:
                    continue
                names = self._paths.tensors(path, template, row.flax_names, row.torch_names)
                for name, usual in zip(names, row.torch_names, strict=True):
                    said = name != template.replace("*", usual)
                    known = name in self._paths.available if self._paths.available else said
                    there.append(known and self._paths.shapes.get(name) in (None, _torch_shape(row, module, held)))
            kinds = self._paths.kinds.get(template.partition("*")[0].rstrip("."), ())
            return sum(there) / max(len(there), 1), bool(set(kinds) & set(rule.torch))

        return max(rules, key=likeness)

    def _place(
        self, rule: Layer, module: nnx.Module, path: str, torch: str, suffix: str, covered: frozenset
    ) -> frozenset:
        rows, ids = [], set()
        for row in rule.rows_of(module):
            found = [variable(module, name) for name in row.flax_names]
            there = [one for one in found if one is not None]
            if there and len(there) < len(found):
                some = ", ".join(row.flax_names)
                self.problems.append(f"{path!r} ({type(module).__name__}) has only some of {some}")
            elif there:
                ids.update(map(id, there))
                if not covered.issuperset(map(id, there)):
                    rows.append(row)
        # A norm without scale and bias has settings, if no tensors.
        if rows or rule.settings:
            rule = self._without_settings(rule, path) if path in self._unsure else rule
            place = Place(path, module, rule, self._paths.template(torch, suffix), tuple(rows))
            self.places.append(place)
        if why := rule.refuse(module):
            self.problems.append(f"{path!r} ({type(module).__name__}) is refused: {why}")
        return frozenset(ids)

    def _without_settings(self, rule: Layer, path: str) -> Layer:
        """The entry of a layer whose settings are not known."""
        if rule.settings:
            names = ", ".join(setting.name for setting in rule.settings)
            said = f"{names} of {path!r} are not known from its variables and must be torch's"
            self.notes.append(f"{said}: the Linen module tells them, run on inputs")
        return replace(rule, settings=())

    def _place_own(self, module: Any, path: str, torch: str, suffix: str, own: Mapping[str, Any]) -> None:
        """Variables of a module that the table does not know: as they are, where torch has them under their names."""
        kind = type(module).__name__
        remedy = f"jaxae.port.register({kind}, Row(...)) adds one"
        template = self._paths.template(torch, suffix) if own else ""
        rows, shapes = [], {}
        for name, value in own.items():
            unknown = f"no row says what {join(path, name)!r} of {kind} is in torch; {remedy}"
            if variable(module, name) is not value:
                self.problems.append(unknown)
                continue
            (full,) = self._paths.tensors(path, template, (name,), (name,))
            stacks = 0
            if self._paths.available and full not in self._paths.available:
                stacks = self._stacks(full, value.shape)
                if not stacks:
                    self.problems.append(unknown)
                    continue
            axes = " ".join(f"axis_{number}" for number in range(stacks, len(value.shape)))
            rows.append(Row(name, name, f"{axes} -> {axes}"))
            shapes[name] = value.shape[stacks:]
            self.notes.append(f"{join(path, name)!r} of {kind} ports as it is: its axes are taken to be {full!r}'s")
        if rows:

            def refuse(_: object, tensors: Mapping[str, np.ndarray]) -> str | None:
                same = all(array.shape == shapes[name] for name, array in tensors.items())
                other = f"it has another shape, and no row says what {kind}'s axes are in torch"
                return None if same else f"{other}; {remedy}"

            rule = Layer(type(module), (), tuple(rows), refuse_tensors=refuse)
            self.places.append(Place(path, module, rule, template, tuple(rows)))

    def _stacks(self, name: str, shape: tuple[int, ...]) -> int:
        """Leading axes of a variable of no row that are numbers of torch's layers, by the names that are there."""
        counts = range(1, min(len(shape), MOST_STACKS) + 1)
        known = self._paths.available
        found = (n for n in counts if any(all_there(one, shape[:n], known) for one in with_numbers(name, n)))
        return next(found, 0)


def variable(layer: object, name: str) -> Whole | None:
    """The layer's variable at a dotted path below it, or None."""
    for part in name.split("."):
        holder = layer
        if isinstance(layer, list | tuple | nnx.List):
            layer = layer[int(part)] if part.isdigit() and int(part) < len(layer) else None
        elif isinstance(layer, dict):
            layer = layer.get(part, layer.get((part,)))
        else:
            layer = getattr(layer, part, None)
    if isinstance(holder, dict) and isinstance(layer, jax.Array | jax.ShapeDtypeStruct):
        return HeldArray(holder, (part,))
    return layer if isinstance(layer, nnx.Variable) else None


def _torch_shape(row: Row, layer: object, held: Whole) -> tuple[int, ...] | None:
    """The shape of a row's torch tensor; None if the variable has other axes than the row."""
    stacked = max(0, len(held.shape) - (row.rank(layer) or len(held.shape)))
    try:
        return row.torch_shape(tuple(held.shape[stacked:]), {})
    except EinopsError:
        return None


def is_weight(value: object) -> bool:
    """Whether it is a variable that belongs to the network, beyond the call or the random stream."""
    return isinstance(value, nnx.Variable) and not isinstance(value, _PASSING)


def _attributes(module: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(module, list | tuple | nnx.List):
        return ((str(number), value) for number, value in enumerate(module))
    if isinstance(module, dict | nnx.Dict):
        return ((str(name), value) for name, value in module.items())
    return ((name, value) for name, value in vars(module).items() if not name.startswith("_pytree_"))


def _holds_weights(value: Any) -> bool:
    if isinstance(value, nnx.Module | list | tuple | dict):
        return any(_holds_weights(child) for _, child in _attributes(value))
    return is_weight(value)


def _torch_part(module: Any, name: str, suffix: str) -> tuple[str, str]:
    """What torch calls a child, and the ending of its tensors' names."""
    if isinstance(module, nnx.Sequential) and name == "layers":
        return "", suffix
    if isinstance(module, nnx.WeightNorm) and name == "layer_instance":
        return "", suffix
    if isinstance(module, nnx.LoRA) and name == "base_module":
        return "base_layer", suffix
    if isinstance(module, LinenView) and name == ROOT:
        return "", suffix
    if isinstance(module, nnx.RNN) and name == "cell":
        return "", f"_l0{suffix}"
    if isinstance(module, nnx.Bidirectional):
        return "", "_reverse" if name == "backward_rnn" else ""
    return name, ""
