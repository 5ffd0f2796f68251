"""A walk through a pickle of torch's: nothing is imported, built or run, and all that it declares is counted.

Reading a pickle is running a program. This reads its operations only, refuses those that torch does not write for
tensors, and bounds what the reader that comes after would build: how many parts, how deep, how large when shared parts
are unfolded (tuples of a tuple twice, of that twice, ..., are short on disk and endless to hash).
"""

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

# Some 25 operations a tensor: 40,000 tensors, read in about a second.
_MOST_OPERATIONS, _DEEPEST = 1_000_000, 100

# Kinds of storages by the bytes of an item.
_KINDS = {
    16: "ComplexDouble",
    8: "Double Long ComplexFloat",
    4: "Float Int QInt32",
    2: "Half BFloat16 Short",
    1: "Char Byte Bool QUInt8 QInt8 QUInt4x2 QUInt2x4 Untyped",
}
_ITEM_SIZES = {f"{kind}Storage": size for size, kinds in _KINDS.items() for kind in kinds.split()}

_SCALARS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_NEW = {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE"}
_TAKES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3, "STACK_GLOBAL": 2}


class RefusedPickleError(Exception):
    """Why a pickle is refused, in a clause about the file."""


@dataclass(slots=True)
class _Made:
    """What a pickle makes of parts: its parts where they are needed, how deep and how large it is unfolded."""

    parts: tuple[Any, ...] = ()
    name: str = ""
    depth: int = 0
    size: int = 1
    used: bool = False

    def hold(self, parts: list[Any]) -> "_Made":
        for part in parts:
            if isinstance(part, _Made):
                part.used = True
                self.depth, self.size = max(self.depth, part.depth + 1), self.size + part.size
            else:
                self.size += 1
        if self.depth > _DEEPEST or self.size > _MOST_OPERATIONS:
            raise RefusedPickleError("it nests its parts deeper than torch does for tensors")
        return self


def declared_storages(stream: BytesIO) -> dict[str, int]:
    """The bytes of each storage that the next pickle of a stream declares.

    Raises:
        RefusedPickleError: If it does what torch does not for tensors.
        ValueError, IndexError, KeyError: If it is damaged.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[object, Any] = {}
    storages: dict[str, int] = {}

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
        if count >= _MOST_OPERATIONS:
            raise RefusedPickleError(f"it has more than {_MOST_OPERATIONS} parts")
        if name in _SCALARS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name in _NEW:
            stack.append(_Made())
        elif name in ("TUPLE", "FROZENSET") or name in _TAKES:
            parts = pop(_TAKES[name]) if name in _TAKES else pop_to_mark()
            kept = tuple(parts) if len(parts) < 10 and name.startswith("TUPLE") else ()
            last = parts[-1] if name == "STACK_GLOBAL" else ""
            stack.append(_Made(kept, last if isinstance(last, str) else "").hold(parts))
        elif name == "GLOBAL":
            stack.append(_Made(name=str(argument).rpartition(" ")[2]))
        elif name == "BINPERSID":
            _note_storage(pop(1)[0], storages)
            stack.append(_Made())
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "BUILD"):
            parts = pop_to_mark() if name.endswith("S") else pop(2 if name == "SETITEM" else 1)
            if name.startswith("SETITEM"):
                _check_keys(parts[::2])
            target = stack[-1]
            if not isinstance(target, _Made) or target.used:
                raise RefusedPickleError("it changes what it has used already, which torch does not")
            target.hold(parts)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise RefusedPickleError(f"it has the operation {name}, which torch does not write")
    return storages


def _check_keys(keys: list[Any]) -> None:
    for key in keys:
        if isinstance(key, _Made) and (not key.parts or key.depth) and not key.name:
            raise RefusedPickleError("it has a mapping whose keys are no plain values, which torch does not write")


def _note_storage(pid: Any, storages: dict[str, int]) -> None:
    parts = pid.parts if isinstance(pid, _Made) else ()
    if len(parts) < 5 or parts[0] != "storage":
        return
    kind, key, numel = getattr(parts[1], "name", "?"), parts[2], parts[4]
    if kind not in _ITEM_SIZES:
        raise RefusedPickleError(f"it has a storage of {kind[:40]}, which is not ported")
    if not isinstance(key, str) or not isinstance(numel, int) or not 0 <= numel < 1 << 62:
        raise RefusedPickleError("it declares a storage without a size")
    storages[key] = max(numel * _ITEM_SIZES[kind], storages.get(key, 0))
