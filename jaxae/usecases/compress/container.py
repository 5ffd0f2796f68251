"""The file of compressed images: a header, an entropy-coded payload, and a digest of both.

Layout, little endian; a varint is seven bits a byte, lowest first, the top bit set on all but the last:

    4 bytes   magic "jxae"
    1 byte    version, 1
    8 bytes   the model: the first of the SHA-256 of its settings, weights and tables
    varint    quantisation step, in the tables' finest bins
    varints   number of dimensions of the array, then each of them
    varint    length of the payload, then the payload
    8 bytes   the first of the SHA-256 of everything before
"""

import hashlib
import math
from typing import NamedTuple

from jaxae.errors import InputError

MAGIC = b"jxae"
VERSION = 1
MODEL_BYTES = 8

_DIGEST_BYTES = 8
_LARGEST_VARINT = 10
_LARGEST_PIXELS = 1 << 30


class Container(NamedTuple):
    """What a compressed file holds.

    Attributes:
        model: First bytes of the model's hash.
        step: Quantisation step, a whole odd number of the tables' finest bins.
        shape: Shape of the uint8 array: an image [h, w], or a batch [n, 28, 28] or [n, 28, 28, 1].
        payload: The entropy-coded symbols.
    """

    model: bytes
    step: int
    shape: tuple[int, ...]
    payload: bytes


class _TruncatedError(Exception):
    """The bytes end before what they announce."""


def pack(container: Container) -> bytes:
    """The bytes of a compressed file."""
    numbers = (container.step, len(container.shape), *container.shape, len(container.payload))
    body = b"".join((MAGIC, bytes([VERSION]), container.model, *map(_varint, numbers), container.payload))
    return body + _digest(body)


def unpack(content: bytes, name: str) -> Container:
    """What `pack` wrote, checked to the last bit.

    Raises:
        InputError: If the bytes are another format, another version, truncated or altered; `name` is what the message
            calls them.
    """
    if content[:4] != MAGIC[: len(content)] or not content:
        raise InputError(f"expected a file that jaxae compressed, got {name}, which is none")
    if len(content) > 4 and content[4] != VERSION:
        raise InputError(f"expected version {VERSION} of the compressed format, got {name}, of version {content[4]}")
    try:
        container, end = _parse(content)
    except _TruncatedError as error:
        raise InputError(f"expected a whole file, got {name}, which is truncated: {error}") from None
    altered = f"expected the file as it was written, got {name}, which is altered"
    if len(content) > end + _DIGEST_BYTES:
        raise InputError(f"{altered}: {len(content) - end - _DIGEST_BYTES} bytes follow its end")
    if _digest(content[:end]) != content[end:]:
        raise InputError(f"{altered}: its digest does not match its content")
    # Only a file made to deceive comes as far as this.
    if container.step % 2 == 0 or not _is_shape(container.shape):
        raise InputError(f"{altered}: step {container.step}, shape {list(container.shape)}")
    return container


def _parse(content: bytes) -> tuple[Container, int]:
    position = len(MAGIC) + 1
    model = content[position : position + MODEL_BYTES]
    position += MODEL_BYTES
    step, position = _read_varint(content, position)
    rank, position = _read_varint(content, position)
    shape = []
    for _ in range(min(rank, 4)):
        size, position = _read_varint(content, position)
        shape.append(size)
    length, position = _read_varint(content, position)
    end = position + length
    if len(content) < end + _DIGEST_BYTES:
        raise _TruncatedError(f"{len(content)} bytes of {end + _DIGEST_BYTES}")
    return Container(model, step, tuple(shape), content[position:end]), end


def _is_shape(shape: tuple[int, ...]) -> bool:
    if len(shape) == 2:
        return 0 < math.prod(shape) <= _LARGEST_PIXELS
    tiles = len(shape) in {3, 4} and shape[1:] in {(28, 28), (28, 28, 1)}
    return tiles and 0 < math.prod(shape) <= _LARGEST_PIXELS


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    number = 0
    for index in range(_LARGEST_VARINT):
        if position + index >= len(content):
            raise _TruncatedError(f"{len(content)} bytes end within its header")
        byte = content[position + index]
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, position + index + 1
    # Ten bytes with the top bit set are no length of ours; the digest would not match either.
    raise _TruncatedError("a length in its header never ends")


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]
