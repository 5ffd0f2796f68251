"""A walk through a pickle of torch's: nothing is imported, built or run, and all that it declares is counted.

Reading a pickle is running a program. This reads its operations only, refuses those that torch does not write for
tensors, and bounds what the reader that comes after would build: how many parts, how deep, how large when shared parts
are unfolded (tuples of a tuple twice, of that twice, ..., are short on disk and endless to hash).
"""

import pickletools
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any, NamedTuple

from .pickle_calls import MOST_PARTS, Made, RefusedPickleError, Storage, made_of, storage_of

_SCALARS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_STRINGS = {"BINSTRING", "SHORT_BINSTRING"}  # of Python 2, which torch wrote no tensors with
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False}
_NEW = {"EMPTY_DICT": "dict", "EMPTY_LIST": "list", "EMPTY_SET": "set", "EMPTY_TUPLE": "tuple"}
_TAKES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3, "STACK_GLOBAL": 2}


class Declared(NamedTuple):
    """What a pickle declares.

    Attributes:
        storages: Storages by their keys.
        whole: The value that it is: a scalar, or what it makes of parts.
        inner: Bytes of the storages that are in the pickle itself, by keys of their own.
    """

    storages: dict[str, Storage]
    whole: object
    inner: dict[str, bytes]

    @property
    def items(self) -> Sequence[object]:
        """Its items, if it is a list."""
        return self.whole.parts if isinstance(self.whole, Made) and self.whole.kind == "list" else ()


def walk(stream: BytesIO, *, inert: bool = False) -> Declared:
    """What the next pickle of a stream declares.

    Args:
        stream: Stream of pickles.
        inert: Whether the reader makes no objects: these may then refer to each other in circles.

    Raises:
        RefusedPickleError: If it does what torch does not for tensors.
        ValueError, IndexError, KeyError: If it is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[object, Any] = {}
    storages: dict[str, Storage] = {}
    inner: dict[str, bytes] = {}

    def pop(count: int) -> list[Any]:
        if count > len(stack) - (marks[-1] if marks else 0):
            raise IndexError("its stack is empty")
        parts = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return parts

    def pop_to_mark() -> list[Any]:
        parts = stack[marks[-1] :]
        del stack[marks.pop() :]
        return parts

    operations: Iterator[tuple[Any, Any, Any]] = pickletools.genops(stream)
    for count, (operation, argument, _) in enumerate(operations):
        name = operation.name
        if count >= MOST_PARTS:
            raise RefusedPickleError(f"it has more than {MOST_PARTS} parts")
        if name in _SCALARS or (inert and name in _STRINGS):
            stack.append(_CONSTANTS.get(name, argument))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _NEW:
            stack.append(Made(_NEW[name]))
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"):
            parts = pop(_TAKES[name]) if name in _TAKES else pop_to_mark()
            kind = "set" if name == "FROZENSET" else "tuple"
            stack.append(Made(kind, parts).hold(parts))
        elif name in _TAKES:
            parts = pop(_TAKES[name])
            raw = _bytes_of_storage(parts) if inert and name == "REDUCE" else None
            stack.append(made_of(name, parts, inert=inert) if raw is None else _inner_storage(raw, inner))
        elif name == "GLOBAL":
            stack.append(Made("global", name=str(argument).replace(" ", ".")))
        elif name == "BINPERSID":
            (pid,) = pop(1)
            stack.append(_class_of(pid) if inert and _class_of(pid) else storage_of(pid, storages))
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "BUILD"):
            parts = pop_to_mark() if name.endswith("S") else pop(2 if name == "SETITEM" else 1)
            _fill(name, stack[-1], parts)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise RefusedPickleError(f"it has the operation {name}, which torch does not write")
    return Declared(storages, stack[-1], inner)


def _fill(operation: str, target: object, parts: list[Any]) -> None:
    """What an operation does to a list, a mapping or an object that is made already."""
    if not isinstance(target, Made) or (target.used and not target.inert):
        raise RefusedPickleError("it changes what it has used already, which torch does not")
    if operation == "BUILD":
        _check_attributes(target, parts[0])
        target.state = parts[0]
    else:
        added = parts[::2] if operation.startswith("SETITEM") else parts
        if operation.startswith("SETITEM") and not all(map(_is_plain, added)):
            raise RefusedPickleError("it has a mapping whose keys are no plain values, which torch does not write")
        if not isinstance(target.parts, list):
            target.parts, target.values = list(target.parts), list(target.values)
        target.parts.extend(added)
        if operation.startswith("SETITEM"):
            target.values.extend(parts[1::2])
    target.hold(parts)


def _check_attributes(target: Made, state: object) -> None:
    """Let an ordered mapping have torch's metadata: any other attribute would hide its methods."""
    plain = isinstance(state, Made) and state.kind == "dict" and set(state.parts) <= {"_metadata"}
    if target.kind == "collections.OrderedDict" and plain:
        return
    if not (target.inert or target.is_object):
        raise RefusedPickleError(f"it gives attributes to what is {target.kind}, which torch does not")


def _bytes_of_storage(parts: Sequence[Any]) -> bytes | None:
    """The bytes of a storage that was pickled by itself, which is a file of torch's older container; None of others."""
    called, given = parts
    names = isinstance(called, Made) and called.kind == "global" and called.name == "torch.storage._load_from_bytes"
    raw = given.parts[0] if names and isinstance(given, Made) and len(given.parts) == 1 else None
    if isinstance(raw, Made) and raw.kind == "_codecs.encode":  # in protocol 2
        raw = str(raw.given[0]).encode("latin1")
    return raw if isinstance(raw, bytes) else None


def _inner_storage(raw: bytes, inner: dict[str, bytes]) -> Made:
    """The storage of such bytes, noted by a key of its own."""
    stream = BytesIO(raw)
    for _ in range(3):  # magic number, protocol version, system information
        walk(stream)
    found = walk(stream).whole
    if not isinstance(found, Made) or found.storage is None or [*walk(stream).items] != [found.key]:
        raise RefusedPickleError("it has the bytes of what is no storage")
    number, content = int.from_bytes(stream.read(8), "little"), stream.read(found.storage.nbytes)
    if number * found.storage.item != found.storage.nbytes or len(content) != found.storage.nbytes:
        raise RefusedPickleError(f"it does not hold the {found.storage.nbytes} bytes of a storage")
    found.key = f"inner {len(inner)}"
    inner[found.key] = content
    return found


def _class_of(pid: object) -> object:
    """The class that a pickle refers to with its source, as torch's older container does; None where it is none."""
    parts = pid.parts if isinstance(pid, Made) and pid.kind == "tuple" else ()
    return parts[1] if len(parts) == 4 and parts[0] == "module" else None


def _is_plain(key: object) -> bool:
    """Whether a key is a scalar, a tuple of few of them, or a global."""
    if not isinstance(key, Made):
        return True
    return key.kind == "global" or (key.kind == "tuple" and key.depth == 0 and len(key.parts) == key.size - 1)
