"""The file of compressed images: a header, an entropy-coded payload, and a digest of both.

Layout, little endian; a varint is seven bits per byte, lowest first, the top bit set on all but the last:

    4 bytes   magic "jxae"
    1 byte    version, 1
    8 bytes   the model: the first of the SHA-256 of its settings, weights and tables
    varint    quantisation step, in the tables' finest bins
    varints   number of dimensions of the array, then each of them
    varint    length of the payload, then the payload
    8 bytes   the first of the SHA-256 of everything before
"""

import hashlib
import io
import math
from typing import NamedTuple

from jaxae.errors import InputError
from jaxae.usecases.compress.code_tables import LARGEST_STEP
from jaxae.usecases.picture import holds_images

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
    shape = container.shape
    odd = container.step % 2 and container.step <= LARGEST_STEP + 1  # the odd number nearest to the largest step
    if not odd or not holds_images(shape) or not 0 < math.prod(shape) <= _LARGEST_PIXELS:
        raise InputError(f"{altered}: step {container.step}, shape {list(shape)}")
    return container


def _parse(content: bytes) -> tuple[Container, int]:
    """The container, and where its payload ends."""
    file = io.BytesIO(content)
    file.seek(len(MAGIC) + 1)
    model, step = file.read(MODEL_BYTES), _read_varint(file)
    shape = tuple(_read_varint(file) for _ in range(min(_read_varint(file), 4)))
    length = _read_varint(file)
    begin = file.tell()
    end = begin + length
    if len(content) < end + _DIGEST_BYTES:
        raise _TruncatedError(f"{len(content)} bytes of {end + _DIGEST_BYTES}")
    return Container(model, step, shape, content[begin:end]), end


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def _read_varint(file: io.BytesIO) -> int:
    number = 0
    for index in range(_LARGEST_VARINT):
        if not (byte := file.read(1)):
            raise _TruncatedError(f"{file.getbuffer().nbytes} bytes end within its header")
        number |= (byte[0] & 127) << 7 * index
        if byte[0] < 128:
            return number
    # Ten bytes with the top bit set are no length of ours; the digest would not match either.
    raise _TruncatedError("a length in its header never ends")


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]
