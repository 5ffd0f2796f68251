"""Alterations of pickles, operation by operation: arguments, order, and operations that torch never writes."""

import contextlib
import io
import itertools
import pickletools
import struct
from random import Random

from .bytewise import EXTREMES

_STRANGE = (
    b"\x85" * 50,  # tuples of tuples
    b")" + b"\x85" * 200_000,
    b"]" * 120,
    b"}" * 120,
    b"(" * 120,
    b"\x96" + struct.pack("<Q", 2**34),  # BYTEARRAY8
    b"X" + struct.pack("<I", 2**32 - 1),  # BINUNICODE
    b"\x8b" + struct.pack("<i", 2**31 - 1),  # LONG4
    b"\x8a\xff" + b"\x7f" * 255,  # LONG1, of 612 digits
    b"r\xff\xff\xff\xff",  # LONG_BINPUT
    b"j\xff\xff\xff\xff",  # LONG_BINGET
    b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    b"c_codecs\nencode\nX\x02\x00\x00\x00aaX\x03\x00\x00\x00hex\x86R",
    b"ctorch\nFloatTensor\nJ\xff\xff\xff\x7f\x85R",
    b"ctorch\nTensor\nJ\xff\xff\xff\x7f\x85R",
    b"ctorch.storage\nUntypedStorage\nJ\xff\xff\xff\x7f\x85R",
    b"ctorch.nn.parameter\nParameter\n)\x81",
    b"ctorch._tensor\n_rebuild_from_type_v2\n(c__builtin__\nbytearray\nctorch\nTensor\nJ\xff\xff\xff\x7f\x85}tR",
    b"cposix\nsystem\nX\x04\x00\x00\x00true\x85R",
    b"}X\x05\x00\x00\x00itemsK\x01sb",  # BUILD: an attribute that hides a method
    b"}X\x09\x00\x00\x00_metadata}X\x00\x00\x00\x00K\x01ssb",
    b"}X\x05\x00\x00\x00dtypectorch\nfloat64\nsb",
)
_VALUES = (b"K", b"M", b"J", b"\x8a", b"X", b"N", b")", b"]", b"}", b"\x88", b"\x89", b"h", b"c")
_PLAIN = (
    b"N",
    b"K\x01",
    b"K\x00",
    b"\x88",
    b")",
    b"]",
    b"}",
    b"X\x00\x00\x00\x00",
    b"0",
    b"2",
    b".",
    b"R",
    b"b",
    b"s",
    b"u",
    b"e",
    b"t",
    b"Q",
)


def alter_pickle(random: Random, content: bytes, other: bytes) -> bytes:
    """A pickle with some of its operations changed."""
    operations = _operations(content)
    if not operations:
        return content
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _alter_one(random, operations)
    return b"".join(operations)


def alter_old_container(random: Random, content: bytes, other: bytes) -> bytes:
    """torch's older container with one of its pickles altered; the storages' bytes follow them."""
    stream, ends = io.BytesIO(content), [0]
    with contextlib.suppress(ValueError, IndexError, KeyError):
        while len(ends) < 6:  # magic number, version, system, tensors, keys of storages
            for _ in pickletools.genops(stream):
                pass
            ends.append(stream.tell())
    parts = [content[a:b] for a, b in itertools.pairwise([*ends, len(content)])]
    index = random.choice((3, 3, 3, 4, 0, 1, 2)) % len(parts)
    parts[index] = alter_pickle(random, parts[index], parts[index])
    return b"".join(parts)


def _alter_one(random: Random, operations: list[bytes]) -> None:
    index, other = random.randrange(len(operations)), random.randrange(len(operations))
    how = random.randrange(14)
    if how < 3:
        numbers = [place for place, one in enumerate(operations) if one[:1] in (b"K", b"M", b"J", b"\x8a")]
        if numbers:
            # Sizes, strides, offsets, keys of states: in all of them, or in one.
            chosen = numbers if random.random() < 0.1 else [random.choice(numbers)]
            for place in chosen:
                operations[place] = _number(random.choice((1, 3, 4, 7, 12, 100, 100_000, -1, -(2**31), *EXTREMES)))
    elif how == 3:
        operations[index] = operations[other]
    elif how == 4:
        operations.insert(index, operations[other])
    elif how == 5 and random.random() < 0.5:
        del operations[index]
    elif how == 5:  # a text of another length than its own
        texts = [place for place, one in enumerate(operations) if one[:1] == b"X"]
        place = random.choice(texts or [0])
        length = struct.pack("<I", random.choice(EXTREMES) & 0xFFFFFFFF)
        operations[place] = b"X" + length + operations[place][5:]
    elif how == 6:
        operations[index], operations[other] = operations[other], operations[index]
    elif how < 12:
        # Strange things in the place of values, so that the rest goes on as before.
        values = [place for place, one in enumerate(operations) if one[:1] in _VALUES]
        operations[random.choice(values or [0])] = random.choice(_STRANGE)
    elif how == 12:
        operations.insert(index, random.choice((*_STRANGE, *_PLAIN)))
    else:
        operations[index] = random.choice((*_STRANGE, *_PLAIN, _text(random, operations[index])))


def _operations(content: bytes) -> list[bytes]:
    """The operations of a pickle, as far as there are any; the last with all that follows."""
    begins = []
    with contextlib.suppress(ValueError, IndexError, KeyError):
        for _, _, at in pickletools.genops(content):
            begins.append(at)
    return [content[a:b] for a, b in itertools.pairwise([*begins, len(content)])]


def _number(number: int) -> bytes:
    if 0 <= number < 256:
        return b"K" + bytes([number])
    if -(2**31) <= number < 2**31:
        return b"J" + struct.pack("<i", number)
    packed = number.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(packed)]) + packed


def _text(random: Random, operation: bytes) -> bytes:
    """Another text in the place of one: longer, not ASCII, no text at all."""
    words = (
        b"",
        b"0",
        b"n" * 5000,
        b"\xed\xa0\x80",
        b"\xff",
        b"a\nb",
        b"storage",
        b"cuda:99",
        b"meta",
        b"items",
        b"shape",
    )
    word = random.choice(words)
    if operation[:1] == b"c":
        module, name = random.choice(
            ((b"torch", b"DoubleStorage"), (b"torch", b"float64"), (b"torch", b"Size"), (b"x", b"y"))
        )
        return b"c" + module + b"\n" + name + b"\n"
    return b"X" + struct.pack("<I", len(word)) + word
