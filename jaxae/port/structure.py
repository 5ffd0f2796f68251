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
    layer: Any
    rule: Layer
    template: str
    rows: tuple[Row, ...]

    def torch_name(self, tensor: str) -> str:
        """The full name of one of its torch tensors."""
        return self.template.replace("*", tensor)


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
        for name, value in _attributes(module):
            below = join(path, name)
            if isinstance(value, nnx.Variable):
                self._check_known(module, path, name, value, covered)
            elif isinstance(value, nnx.Module | list | tuple | dict):
                siblings = _numbers(module)
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
            if all(one is None for one in found):
                continue
            if any(one is None for one in found):
                some = f"only some of {', '.join(row.flax_names)}"
                self.problems.append(f"{path!r} ({type(module).__name__}) has {some}")
                continue
            rows.append(row)
            ids.update(id(one) for one in found)
        if ids and not ids <= covered:
            template = self._paths.template(torch, suffix)
            self.places.append(Place(path, module, rule, template, tuple(rows)))
            why = rule.refuse(module)
            if why:
                self.problems.append(f"{path!r} ({type(module).__name__}) is refused: {why}")
        return frozenset(ids)

    def _check_known(self, module: Any, path: str, name: str, value: nnx.Variable, covered: frozenset) -> None:
        if id(value) in covered or not is_weight(value):
            return
        kind = type(module).__name__
        self.problems.append(
            f"no row says what {join(path, name)!r} of {kind} is in torch; "
            f"jaxae.port.register({kind}, Row(...)) adds one"
        )


def variable(layer: Any, name: str) -> nnx.Variable | None:
    """The layer's variable at a dotted path below it, or None."""
    for part in name.split("."):
        layer = getattr(layer, part, None)
    return layer if isinstance(layer, nnx.Variable) else None


def is_weight(value: nnx.Variable) -> bool:
    """Whether a variable belongs to the network, beyond the call or the random stream."""
    return not isinstance(value, _PASSING)


def _attributes(module: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(module, list | tuple | nnx.List):
        yield from ((str(number), value) for number, value in enumerate(module))
    elif isinstance(module, dict | nnx.Dict):
        yield from ((str(name), value) for name, value in module.items())
    else:
        yield from ((name, value) for name, value in vars(module).items() if name[:8] != "_pytree_")


def _holds_weights(value: Any) -> bool:
    if isinstance(value, nnx.Variable):
        return is_weight(value)
    if isinstance(value, nnx.Module | list | tuple | dict):
        return any(_holds_weights(child) for _, child in _attributes(value))
    return False


def _numbers(module: Any) -> list[int] | None:
    if not isinstance(module, list | tuple | nnx.List):
        return None
    return [int(name) for name, value in _attributes(module) if _holds_weights(value)]


def _torch_part(module: Any, name: str, suffix: str) -> tuple[str, str]:
    """What torch calls a child, and the ending of its tensors' names."""
    if isinstance(module, nnx.Sequential) and name == "layers":
        return "", suffix
    if isinstance(module, nnx.RNN) and name == "cell":
        return "", f"_l0{suffix}"
    if isinstance(module, nnx.Bidirectional):
        return "", "_reverse" if name == "backward_rnn" else ""
    return name, ""
