"""Alterations of headers that leave the rest of a file sound: .npy, safetensors, IDX, compressed images.

What a reader checks first (lengths, digests) is made right again, so that what it does next is reached.
"""

import hashlib
import json
import struct
from random import Random
from typing import Any

import msgpack

from . import texts
from .bytewise import ANY, EXTREMES, set_length


def alter_npy(random: Random, content: bytes, other: bytes) -> bytes:
    """A .npy file with its header's text altered and its length made right."""
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        return set_length(random, content, other)
    wide = content[6] > 1
    length = int.from_bytes(content[8 : 12 if wide else 10], "little")
    begin = 12 if wide else 10
    text, data = content[begin : begin + length], content[begin + length :]
    if random.random() < 0.1:
        return content[:8] + _extreme(random, begin - 8) + text + data
    text = random.choice(texts.TEXT)(random, text, text)
    if random.random() < 0.3:
        shape = ", ".join(str(random.choice(EXTREMES)) for _ in range(random.choice((1, 2, 3, 40))))
        kind = random.choice(("|u1", "<f4", "|V0", "|S0", "<U0", "|V2147483647", "|O", ">f8", "<M8[ns]", "<c16", "<i9"))
        text = (
            f"{{'descr': '{kind}', 'fortran_order': {random.choice((True, False))}, 'shape': ({shape},), }}\n".encode()
        )
    version = random.choice((content[6:8], b"\x02\x00", b"\x03\x00"))
    width = 4 if version[0] > 1 else 2
    return content[:6] + version + (len(text) % (1 << 8 * width)).to_bytes(width, "little") + text + data


def alter_msgpack(random: Random, content: bytes, other: bytes) -> bytes:
    """A msgpack file of flax with one array's shape, dtype or bytes altered, or an entry put elsewhere."""
    try:
        tree = msgpack.unpackb(content)
    except ValueError:
        return set_length(random, content, other)
    level = tree
    while isinstance(level, dict) and level:
        name = random.choice(list(level))
        if not isinstance(level[name], dict) or random.random() < 0.1:
            level[random.choice((name, name, name, "params", "0", ""))] = _altered_entry(random, level[name])
            break
        level = level[name]
    packed: Any = msgpack.packb(tree)
    return packed


def _altered_entry(random: Random, entry: object) -> object:
    if not isinstance(entry, msgpack.ExtType) or random.random() < 0.1:
        return random.choice((None, {}, [], "x", 1, [entry], {"0": entry}, {"__msgpack_chunked_array__": True}))
    shape, dtype, data = msgpack.unpackb(entry.data, raw=True)
    match random.randrange(4):
        case 0:
            shape = [random.choice(EXTREMES) for _ in range(random.choice((0, 1, 2, 40)))]
        case 1:
            dtype = random.choice(
                (b"O", b"S9", b"float16", b"bfloat16", b"complex128", b"i4,i4", b"V0", b"M8[ns]", b"\xff")
            )
        case 2:
            data = data[: random.randrange(len(data) + 1)]
        case _:
            return msgpack.ExtType(random.choice((1, 2, 3, 3, 9)), entry.data)
    try:
        return msgpack.ExtType(entry.code, msgpack.packb([shape, dtype, data]))
    except OverflowError:  # of a number that msgpack has no place for
        return entry


def alter_safetensors(random: Random, content: bytes, other: bytes) -> bytes:
    """A safetensors file with its header's JSON altered and its length made right."""
    if len(content) < 9:
        return set_length(random, content, other)
    length = int.from_bytes(content[:8], "little")
    text, data = content[8 : 8 + length], content[8 + length :]
    if random.random() < 0.1:
        return _extreme(random, 8) + text + data
    text = random.choice((*texts.JSON, _entries))(random, text, other)
    return struct.pack("<Q", len(text)) + text + data


def _entries(random: Random, text: bytes, other: bytes) -> bytes:
    """A header of many or odd entries: empty tensors, twins, extreme shapes and offsets."""
    shape = [random.choice(EXTREMES) for _ in range(random.choice((0, 1, 2, 3, 40)))]
    if random.random() < 0.6:
        shape = [*shape, 0]
    offsets = [0, 0] if random.random() < 0.7 else [random.choice(EXTREMES), random.choice(EXTREMES)]
    kind = random.choice(("F32", "U8", "BF16", "BOOL", "F8_E4M3", "F4", "C64", "X"))
    entry = json.dumps({"dtype": kind, "shape": shape, "data_offsets": offsets})
    names = [f"n{number}" for number in range(random.choice((1, 2, 30, 3000)))]
    names += random.choice(([], names[:1], ["__metadata__"], ["\\ud800"], ["n" * 9000]))
    return ("{" + ", ".join(f'"{name}": {entry}' for name in names) + "}").encode()


def alter_idx(random: Random, content: bytes, other: bytes) -> bytes:
    """An IDX file with a number of its header made extreme, or all of them."""
    count = content[3] if len(content) > 3 else 0
    if not count or len(content) < 4 + 4 * count:
        return set_length(random, content, other)
    sizes = list(struct.unpack(f">{count}I", content[4 : 4 + 4 * count]))
    for index in range(count) if random.random() < 0.3 else [random.randrange(count)]:
        sizes[index] = random.choice((0, 1, sizes[index] - 1 & 0xFFFFFFFF, sizes[index] + 1, *EXTREMES)) & 0xFFFFFFFF
    magic = bytearray(content[:4])
    if random.random() < 0.2:
        magic[random.randrange(4)] = random.choice((0, 1, 3, 8, 9, 13, 14, 255))
    return bytes(magic) + struct.pack(f">{count}I", *sizes) + content[4 + 4 * count :]


def alter_compressed(random: Random, content: bytes, other: bytes) -> bytes:
    """A compressed image, altered, with a digest that is right again."""
    body = content[:-8]
    if random.random() < 0.5 and len(body) > 13:  # numbers follow the magic, the version and the model
        numbers, rest = _varints(body[13:])
        index = random.randrange(len(numbers))
        numbers[index] = random.choice((1, 2, 3, 9, 28, 56, 784, 99_999, numbers[index] + 1, *EXTREMES))
        body = body[:13] + b"".join(map(_varint, numbers)) + random.choice((rest, rest, b"", random.randbytes(40)))
    else:
        body = random.choice(ANY)(random, body, other[:-8])
    return body + hashlib.sha256(body).digest()[:8]


def _extreme(random: Random, width: int) -> bytes:
    """A length of so many bytes that is far from what it was."""
    return (random.choice(EXTREMES) & ((1 << 8 * width) - 1)).to_bytes(width, "little")


def _varints(content: bytes) -> tuple[list[int], bytes]:
    """The step, the number of axes, each of them, and the payload's length; what follows."""
    numbers, at, shift = [0], 0, 0
    while len(numbers) < 3 or len(numbers) <= 3 + numbers[1]:
        numbers[-1] |= (content[at] & 127) << shift
        shift += 7
        if content[at] < 128:
            numbers.append(0)
            shift = 0
        at += 1
    return numbers[:-1], content[at:]


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
