"""What a pickle of torch's makes: the parts of values, and the calls that torch writes for tensors.

torch's own reader would run some calls with any arguments, which reserve memory by a number, and would enlarge a
storage to what a tensor claims, by what memory held. Here each call is one that torch writes, and every tensor lies
within its storage.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# How deep values nest, and how many parts they have, shared ones unfolded: some 30 a tensor, 30,000 tensors, read in a
# second or two.
_DEEPEST, MOST_PARTS = 100, 1_000_000

# Kinds of storages by the bytes of an item.
_KINDS = {
    16: "ComplexDouble",
    8: "Double Long ComplexFloat",
    4: "Float Int QInt32",
    2: "Half BFloat16 Short",
    1: "Char Byte Bool QUInt8 QInt8 QUInt4x2 QUInt2x4 Untyped",
}
_ITEM_SIZES = {f"{kind}Storage": size for size, kinds in _KINDS.items() for kind in kinds.split()}

# What torch calls to make tensors and plain values again; those below are looked at more closely.
_TENSORS = {f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "qtensor")}
_BYTES = {"_codecs.encode", "builtins.bytearray", "__builtin__.bytearray"}
_COLLECTIONS = {"collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set", "torch.Size"}
_PARAMETER, _SPARSE = "torch._utils._rebuild_parameter", "torch._utils._rebuild_sparse_tensor"
_SMALL = {"builtins.complex", "torch.device", "torch.serialization._get_layout"}
_CALLS = {*_TENSORS, *_BYTES, *_COLLECTIONS, *_SMALL, _PARAMETER, _SPARSE}
_CALLS |= {"torch._utils._rebuild_meta_tensor_no_storage"}
# What a reader that makes no objects takes besides.
_PLAIN = {f"builtins.{kind}" for kind in ("bytes", "complex", "frozenset", "getattr", "slice")}
_PLAIN |= {name.replace("builtins", "__builtin__") for name in _PLAIN}
_PLAIN |= {"collections.defaultdict", "collections.deque"}
# What torch's reader would call of its own accord, with any arguments. All else it refuses, unless the user allows it.
_TRUSTED = re.compile(
    r"(collections|builtins|__builtin__|_codecs|torch\._utils|torch\._tensor)\..*|torch\..*(Tensor|Storage)"
)


class RefusedPickleError(Exception):
    """Why a pickle is refused, in a clause about the file."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as a pickle declares it: the bytes of all its items, and of one, and their kind ("Float")."""

    nbytes: int
    item: int
    kind: str


@dataclass(slots=True, eq=False)
class Made:
    """What a pickle makes of parts, how deep and how large it is unfolded.

    Attributes:
        kind: "tuple", "dict", "list", "set", "storage" or "global"; of a call, what it called.
        parts: The parts of a tuple, a list or a set; the keys of a mapping.
        values: The values of a mapping, in the order of its keys; a list where the parts are one.
        given: The arguments of a call.
        state: What it was given by BUILD, None if it was not.
        name: Name of a global, with its module.
        key: Key of a storage.
        storage: The storage that it is.
        inert: Whether it is an object that is not made: what it has is then counted by itself.
    """

    kind: str
    parts: Sequence[Any] = ()
    name: str = ""
    storage: Storage | None = None
    depth: int = 0
    size: int = 1
    used: bool = False
    values: Any = ()
    given: Sequence[Any] = ()
    state: Any = None
    key: str = ""
    inert: bool = False

    @property
    def is_object(self) -> bool:
        """Whether it is an object that torch's reader would not make of its own accord."""
        return "." in self.kind and not is_trusted(self.kind)

    def hold(self, parts: list[Any]) -> "Made":
        """Count parts in, which are used from then on. Raises RefusedPickleError if they are too many or too deep."""
        for part in parts:
            if isinstance(part, Made):
                part.used = True
                self.depth, self.size = max(self.depth, part.depth + 1), self.size + part.size
            else:
                self.size += 1
        if self.inert:
            self.depth, self.size = 0, 1
        if self.depth > _DEEPEST or self.size > MOST_PARTS:
            raise RefusedPickleError("it nests its parts deeper than torch does for tensors")
        return self


def is_trusted(name: str) -> bool:
    """Whether torch's reader would call what has this name."""
    return name in _CALLS or name == "torch.nn.parameter.Parameter" or _TRUSTED.fullmatch(name) is not None


def made_of(operation: str, parts: list[Any], *, inert: bool = False) -> Made:
    """What an operation makes by calling, or finds by name, for a reader that makes objects or leaves them inert.

    Raises:
        RefusedPickleError: If torch writes no such call.
    """
    if operation == "STACK_GLOBAL":
        return Made("global", name=".".join(part if isinstance(part, str) else "?" for part in parts))
    called, arguments = parts[0], parts[1]
    name = _name_of(called, inert)
    given = arguments.parts if isinstance(arguments, Made) else ()
    if inert and (name in _PLAIN or not is_trusted(name)):
        return Made(name, given=given, inert=True).hold(parts)
    if is_trusted(name) and (operation != "REDUCE" or name not in _CALLS):
        raise RefusedPickleError(
            f"it holds more than tensors ({name[:80]}), which would run code; nothing was run; save model.state_dict() "
            "instead"
        )
    if name in _BYTES and not (len(given) == 2 and isinstance(given[0], str) and given[1] in ("latin1", "latin-1")):
        raise RefusedPickleError("it has bytes that are not written out")
    if name in _TENSORS:
        _check_tensor(name, given)
    # What is iterated over is written out: a storage would be, item by item.
    kinds = [one.kind if isinstance(one, Made) else "" for one in given]
    if name in _COLLECTIONS and not {*kinds} <= {"tuple", "list", "dict"}:
        raise RefusedPickleError(f"it makes {name} of what is no list")
    if name == _PARAMETER and not (kinds and kinds[0] in _TENSORS):
        raise RefusedPickleError("it has a parameter of what is no tensor")
    if name == _SPARSE and not (len(given) == 2 and isinstance(given[1], Made) and _is_sparse(given[1])):
        raise RefusedPickleError("it has a sparse tensor of what is no tensor")
    return Made(name, given=given).hold(parts)


def _name_of(called: object, inert: bool) -> str:
    """The name of what is called: of a global, or of a global's attribute that a reader leaves inert."""
    if isinstance(called, Made) and called.kind == "global":
        return called.name
    if inert and isinstance(called, Made) and called.kind.endswith(".getattr") and len(called.given) == 2:
        above, name = called.given
        if isinstance(above, Made) and above.kind == "global" and isinstance(name, str):
            return f"{above.name}.{name}"
    raise RefusedPickleError("it calls what is no function")


def _is_sparse(data: Made) -> bool:
    """Whether it is a tuple of indices, values and a shape; of a compressed layout, two kinds of indices."""
    if data.kind != "tuple":
        return False
    kinds = [part.kind if isinstance(part, Made) else "" for part in data.parts[:4]]
    tensors = [kind in _TENSORS for kind in kinds]
    return tensors[:2] == [True, True] and all(
        tensor or kind in ("torch.Size", "tuple", "") for kind, tensor in zip(kinds, tensors, strict=True)
    )


def _check_tensor(name: str, given: Sequence[Any]) -> None:
    """Hold a tensor's extents against its storage."""
    if len(given) < 4 or not all(isinstance(given[index], Made) for index in (0, 2, 3)):
        raise RefusedPickleError("it has a tensor without a storage, a shape and strides")
    storage, shape, strides = given[0].storage, given[2].parts, given[3].parts
    numbers = (given[1], *shape, *strides)
    if (
        storage is None
        or len(shape) != len(strides)
        or {given[2].kind, given[3].kind} != {"tuple"}
        or not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)
    ):
        raise RefusedPickleError("it has a tensor whose shape and strides are not whole numbers, as many of either")
    item = storage.item
    if name.endswith("_v3"):  # over bytes, with a dtype of its own: torch.uint16, torch.float8_e4m3fn, torch.bits8
        dtype = given[6].name if len(given) > 6 and isinstance(given[6], Made) else ""
        bits = re.match(r"torch\.[a-z]+(\d+)", dtype)
        if bits is None:
            raise RefusedPickleError("it has a tensor without a dtype")
        item = max(item, int(bits[1]) // 8)
    count = 1 if all(shape) else 0
    last = given[1] + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) + 1
    if count and last * item > storage.nbytes:
        raise RefusedPickleError(f"it has a tensor of {last * item} bytes in a storage of {storage.nbytes}")
    if name.endswith("_qtensor"):  # made anew, of its whole shape
        for length in shape:
            count *= length
        if count * item > storage.nbytes:
            raise RefusedPickleError(f"it has a tensor of {count * item} bytes in a storage of {storage.nbytes}")


def storage_of(pid: object, storages: dict[str, Storage]) -> Made:
    """The storage that a pickle refers to, noted by its key. Raises RefusedPickleError if it is none."""
    parts = pid.parts if isinstance(pid, Made) and pid.kind == "tuple" else ()
    if len(parts) < 5 or parts[0] != "storage" or any(part is not None for part in parts[5:]):
        raise RefusedPickleError("it refers to what is no storage")
    kind = parts[1].name.rpartition(".")[2] if isinstance(parts[1], Made) else "?"
    key, numel = parts[2], parts[4]
    if kind not in _ITEM_SIZES:
        raise RefusedPickleError(f"it has a storage of {kind[:40]}, which is not ported")
    if not isinstance(key, str) or type(numel) is not int or not 0 <= numel < 1 << 62:
        raise RefusedPickleError("it declares a storage without a size")
    found = Storage(numel * _ITEM_SIZES[kind], _ITEM_SIZES[kind], kind.removesuffix("Storage"))
    if storages.setdefault(key, found) != found:
        raise RefusedPickleError(f"it declares the storage {key[:80]!r} twice, as two")
    return Made("storage", storage=found, key=key)
