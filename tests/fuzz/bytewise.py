"""Alterations of any bytes at all: bits, bytes, lengths, cuts and splices."""

from collections.abc import Callable
from random import Random

# A function of a random stream, a sound file and another of the same kind, to an altered one.
Alteration = Callable[[Random, bytes, bytes], bytes]

# What a length or an offset may claim: around nothing, and around the largest numbers of each width.
EXTREMES = (0, 1, 2, *(edge for bits in (7, 8, 15, 16, 31, 32, 62, 63, 64) for edge in (2**bits - 1, 2**bits)))


def flip_bits(random: Random, content: bytes, other: bytes) -> bytes:
    """A few bits turned round."""
    altered = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        if altered:
            altered[random.randrange(len(altered))] ^= 1 << random.randrange(8)
    return bytes(altered)


def edit_bytes(random: Random, content: bytes, other: bytes) -> bytes:
    """A few bytes in a row replaced."""
    begin = _place(random, content)
    length = random.choice((1, 1, 2, 4, 8, 16))
    return content[:begin] + _noise(random, length) + content[begin + length :]


def edit_head(random: Random, content: bytes, other: bytes) -> bytes:
    """A byte among the first, where headers are."""
    begin = random.randrange(max(1, min(64, len(content))))
    return content[:begin] + _noise(random, 1) + content[begin + 1 :]


def truncate(random: Random, content: bytes, other: bytes) -> bytes:
    """The file cut short, at any place or near its end."""
    return content[: random.choice((_place(random, content), max(0, len(content) - random.randrange(1, 40))))]


def drop(random: Random, content: bytes, other: bytes) -> bytes:
    """A stretch left out."""
    begin = _place(random, content)
    return content[:begin] + content[begin + random.choice((1, 2, 7, 64, 512)) :]


def insert(random: Random, content: bytes, other: bytes) -> bytes:
    """Bytes put in between: noise, zeros, or some of the file's own."""
    begin, source = _place(random, content), _place(random, content)
    length = random.choice((1, 2, 7, 64, 512))
    added = random.choice((_noise(random, length), bytes(length), content[source : source + length]))
    return content[:begin] + added + content[begin:]


def splice(random: Random, content: bytes, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return content[: _place(random, content)] + other[_place(random, other) :]


def set_length(random: Random, content: bytes, other: bytes) -> bytes:
    """An extreme number in place of two, four or eight bytes, in either order."""
    width, order = random.choice((2, 4, 4, 8)), random.choice(("little", "big"))
    begin = random.choice(
        (_place(random, content), random.randrange(64), max(0, len(content) - random.randrange(1, 80)))
    )
    number = random.choice(EXTREMES) & ((1 << 8 * width) - 1)
    return content[:begin] + number.to_bytes(width, order) + content[begin + width :]


def repeat(random: Random, content: bytes, other: bytes) -> bytes:
    """The file, or a part of it, several times."""
    begin, end = sorted((_place(random, content), _place(random, content)))
    part = random.choice((content, content[begin:end]))
    return content[:begin] + part * random.choice((2, 3, 20)) + content[begin:]


def empty(random: Random, content: bytes, other: bytes) -> bytes:
    """Nothing, or nearly nothing."""
    return random.choice((b"", b"\0", content[:1], b"\n", bytes(64)))


ANY: tuple[Alteration, ...] = (
    flip_bits,
    edit_bytes,
    edit_head,
    truncate,
    drop,
    insert,
    splice,
    set_length,
    repeat,
    empty,
)


def _place(random: Random, content: bytes) -> int:
    return random.randrange(len(content) + 1)


def _noise(random: Random, length: int) -> bytes:
    return random.choice((random.randbytes(length), b"\xff" * length, bytes(length)))
