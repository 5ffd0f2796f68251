"""Alterations of PNG files, chunk by chunk with a sound CRC, and of the headers of other pictures."""

import struct
import zlib
from random import Random

from .bytewise import ANY, EXTREMES

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = (
    b"IHDR",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"PLTE",
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"iCCP",
    b"eXIf",
    b"gAMA",
    b"acTL",
    b"fcTL",
    b"xxxx",
)


def alter_png(random: Random, content: bytes, other: bytes) -> bytes:
    """A PNG file with a chunk altered; any other file with some bytes."""
    chunks = _chunks(content)
    if not chunks:
        return random.choice(ANY)(random, content, other)
    index = random.randrange(len(chunks))
    kind, data = chunks[index]
    how = random.randrange(7)
    if how < 2:  # width, height, depth, colours, packing, filter, interlacing
        chunks[0] = (b"IHDR", _header(random, chunks[0][1]))
    elif how == 2:
        chunks[index] = (kind, random.choice(ANY)(random, data, data))
    elif how == 3:
        chunks[index] = (random.choice(_KINDS), data)
    elif how == 4:
        chunks.insert(
            index, (random.choice(_KINDS), random.choice((b"", data, b"a\0\0" + zlib.compress(bytes(1 << 20)))))
        )
    elif how == 5:
        del chunks[index]
    else:
        packed = zlib.compress(bytes(random.choice((0, 1, 28 * 29, 1 << 16))))
        chunks = [(b"IHDR", _header(random, chunks[0][1])), (b"IDAT", packed), (b"IEND", b"")]
    return _SIGNATURE + b"".join(map(_chunk, chunks))


def _header(random: Random, data: bytes) -> bytes:
    if len(data) != 13:
        return data
    sizes = list(struct.unpack(">II", data[:8]))
    rest = list(data[8:])
    if random.random() < 0.6:
        sizes[random.randrange(2)] = random.choice((0, 1, 27, 29, 1000, 9000, 100_000, *EXTREMES)) & 0xFFFFFFFF
    else:
        rest[random.randrange(5)] = random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    return struct.pack(">II", *sizes) + bytes(rest)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    if not content.startswith(_SIGNATURE):
        return []
    chunks, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def _chunk(chunk: tuple[bytes, bytes]) -> bytes:
    kind, data = chunk
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
