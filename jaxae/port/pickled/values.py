"""Values of a pickle that was walked: plain data, NumPy arrays for tensors, and `Inert` for objects."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jaxae.errors import brief
from jaxae.port.pickled.arrays import numpy_value
from jaxae.port.pickled.inert import Inert, is_known
from jaxae.port.pickled.tensors import Storages, tensor
from torch_ref.pickle_calls import Made, RefusedPickleError

# Functions that give their class, or the object that it would have made: the object goes by its class's name.
_MAKERS = ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__")


def values_of(whole: object, storages: Storages, allow: Iterable[str] = ()) -> object:
    """The value that a pickle makes.

    Args:
        whole: What the walk through the pickle gave.
        storages: Bytes of its storages.
        allow: Names of classes, functions or modules whose objects may stand as `Inert`, beside those that are known.

    Raises:
        RefusedPickleError: If it holds objects of others.
        Exception: If it is damaged.
    """
    values = _Values(storages, tuple(allow))
    made = values.build(whole)
    values.fill()
    if values.unknown:
        names = brief(", ".join(values.unknown), 100)
        flag = brief(" ".join(values.unknown), 100)
        raise RefusedPickleError(
            f"it holds more than tensors ({names}), which would run code; nothing was run; save model.state_dict() "
            f"instead, or allow= ('--allow {flag}') leaves these inert, reads the rest and still runs nothing"
        )
    return made


class _Values:
    def __init__(self, storages: Storages, allow: Sequence[str]):
        self._storages, self._allow = storages, allow
        self._built: dict[int, Any] = {}
        self._waiting: deque[tuple[Inert, Made]] = deque()
        self.unknown: dict[str, None] = {}

    def build(self, part: object) -> Any:
        """The value of a part; one that is there twice is one value. Objects are filled later."""
        if not isinstance(part, Made):
            return part
        if id(part) not in self._built:
            self._built[id(part)] = self._make(part)
        return self._built[id(part)]

    def fill(self) -> None:
        """Give the objects what they hold: one by one, for they may refer to each other in circles."""
        while self._waiting:
            inert, part = self._waiting.popleft()
            inert.arguments = self._all(part.given)
            state = self.build(part.state)
            if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], Mapping):  # of a class with slots
                state = {**(state[0] if isinstance(state[0], Mapping) else {}), **state[1]}
            if state is not None:
                inert.attributes = state if isinstance(state, Mapping) else {"state": state}
            inert.items = self._mapping(part) if part.values else self._all(part.parts)

    def _make(self, part: Made) -> Any:
        if part.kind in _PLAIN:
            return _PLAIN[part.kind](self, part)
        if part.kind == "global":
            return self._inert(part.name, None)
        if part.kind == "storage":
            return Inert("torch.Storage")
        if part.kind == "torch._utils._rebuild_parameter":
            return self.build(part.given[0])
        if part.kind == "torch.jit._pickle.restore_type_tag":
            return self.build(part.given[0])
        if part.kind.startswith("torch._utils."):
            return tensor(part, self._storages)
        if part.inert and part.kind.startswith("numpy."):
            value = numpy_value(part.kind, self._all(part.given), self.build(part.state))
            if value is not None:
                return value
        name = part.kind
        if name in _MAKERS and part.given and isinstance(part.given[0], Made):
            name = part.given[0].name
        return self._inert(name, part)

    def _inert(self, name: str, part: Made | None) -> Inert:
        if not is_known(name, self._allow):
            self.unknown[name[:80]] = None
        inert = Inert(name)
        if part is not None:
            self._waiting.append((inert, part))
        return inert

    def _all(self, parts: Iterable[object]) -> list[Any]:
        return [self.build(part) for part in parts]

    def _mapping(self, part: Made) -> dict[Any, Any]:
        return dict(zip(self._all(part.parts), self._all(part.values), strict=True))

    def _given(self, part: Made) -> list[Any]:
        """What a collection was called with, written out."""
        given = self.build(part.given[0]) if part.given else ()
        if not isinstance(given, list | tuple | set | dict):  # an array would be, item by item
            raise RefusedPickleError(f"it makes {part.kind} of what is no list")
        return list(given)

    def _ordered(self, part: Made) -> Mapping[Any, Any]:
        kind = Counter if part.kind.endswith("Counter") else OrderedDict
        first = self.build(part.given[0]) if part.given else {}
        made: Any = kind(first if isinstance(first, Mapping) else dict(first))
        made.update(self._mapping(part))
        state = self.build(part.state)
        if state is not None:  # torch's metadata: the walk lets no other attribute pass
            made._metadata = state["_metadata"] if state else None
        return made

    def _encoded(self, part: Made) -> bytes:
        return str(self.build(part.given[0])).encode("latin1")


_BUILTINS = ("builtins", "__builtin__")
_PLAIN: dict[str, Callable[[_Values, Made], Any]] = {
    "tuple": lambda self, part: tuple(self._all(part.parts)),
    "list": lambda self, part: self._all(part.parts),
    "set": lambda self, part: set(self._all(part.parts)),
    "dict": _Values._mapping,
    "collections.defaultdict": _Values._mapping,
    "collections.OrderedDict": _Values._ordered,
    "collections.Counter": _Values._ordered,
    "collections.deque": lambda self, part: [*self._given(part), *self._all(part.parts)],
    "torch.Size": lambda self, part: tuple(self._given(part)),
    "_codecs.encode": _Values._encoded,
}
_PLAIN |= {f"{module}.complex": lambda self, part: complex(*self._all(part.given)) for module in _BUILTINS}
_PLAIN |= {f"{module}.set": lambda self, part: set(self._given(part)) for module in _BUILTINS}
_PLAIN |= {f"{module}.frozenset": _PLAIN["builtins.set"] for module in _BUILTINS}
_PLAIN |= {f"{module}.bytearray": _Values._encoded for module in _BUILTINS}
_PLAIN |= {f"{module}.bytes": lambda self, part: bytes(self._given(part)) for module in _BUILTINS}
_PLAIN |= {
    f"torch.jit._pickle.build_{kind}list": lambda self, part: self._given(part)
    for kind in ("int", "bool", "double", "tensor")
}
