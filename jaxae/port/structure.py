"""Structure: the layers of an NNX module, each with its rows of the table and its torch names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flax import nnx

from jaxae.port.names import Paths, join
from jaxae.port.row import Layer, Row
from jaxae.port.table.lookup import rule_for

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
        rows: Those of the entry's rows that this layer has (a bias may be absent).
    """

    path: str
    layer: nnx.Module
    rule: Layer
    template: str
    rows: tuple[Row, ...]

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
    """

    def __init__(self, module: nnx.Module, paths: Paths):
        self.places: list[Place] = []
        self.problems: list[str] = []
        self._paths = paths
        self._open: list[int] = []
        self._visit(module, "", "", "", frozenset())

    def _visit(self, module: Any, path: str, torch: str, suffix: str, covered: frozenset) -> None:
        if id(module) in self._open:
            return
        self._open.append(id(module))
        covered |= self._place(module, path, torch, suffix, covered)
        attributes = list(_attributes(module))
        sequence = isinstance(module, list | tuple | nnx.List)
        siblings = [int(name) for name, value in attributes if _holds_weights(value)] if sequence else None
        for name, value in attributes:
            below = join(path, name)
            if is_weight(value) and id(value) not in covered:
                kind = type(module).__name__
                remedy = f"jaxae.port.register({kind}, Row(...)) adds one"
                self.problems.append(f"no row says what {below!r} of {kind} is in torch; {remedy}")
            elif isinstance(value, nnx.Module | list | tuple | dict):
                part, ending = _torch_part(module, name, suffix)
                above = self._paths.child(torch, below, part, siblings)
                named = above not in (torch, join(torch, part))
                ending = "" if named and siblings is None else ending
                self._visit(value, below, above, ending, covered)
        self._open.pop()

    def _place(self, module: Any, path: str, torch: str, suffix: str, covered: frozenset) -> frozenset:
        rule = rule_for(module) if isinstance(module, nnx.Module) else None
        if rule is None:
            return frozenset()
        rows, ids = [], set()
        for row in rule.rows:
            found = [variable(module, name) for name in row.flax_names]
            there = [one for one in found if one is not None]
            if there and len(there) < len(found):
                some = ", ".join(row.flax_names)
                self.problems.append(f"{path!r} ({type(module).__name__}) has only some of {some}")
            elif there:
                rows.append(row)
                ids.update(map(id, there))
        if ids and not ids <= covered:
            place = Place(path, module, rule, self._paths.template(torch, suffix), tuple(rows))
            self.places.append(place)
            if why := rule.refuse(module):
                self.problems.append(f"{place} is refused: {why}")
        return frozenset(ids)


def variable(layer: object, name: str) -> nnx.Variable | None:
    """The layer's variable at a dotted path below it, or None."""
    for part in name.split("."):
        layer = getattr(layer, part, None)
    return layer if isinstance(layer, nnx.Variable) else None


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
    if isinstance(module, nnx.RNN) and name == "cell":
        return "", f"_l0{suffix}"
    if isinstance(module, nnx.Bidirectional):
        return "", "_reverse" if name == "backward_rnn" else ""
    return name, ""
