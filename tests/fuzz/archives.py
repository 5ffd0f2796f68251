"""Alterations of what is packed: members of zips with a sound CRC, zips' own records, gzip."""

import contextlib
import gzip
import io
import struct
import warnings
import zipfile
from random import Random

from .bytewise import ANY, EXTREMES, Alteration

# The signature of each of a zip's records, and its fields: offset and width.
_RECORDS = {
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x01\x02": ((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)),
    b"PK\x05\x06": ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\x06\x06": ((4, 8), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\x06\x07": ((4, 4), (8, 8), (16, 4)),
}


def alter_record(random: Random, content: bytes, other: bytes) -> bytes:
    """A zip with a field of one of its records made another number."""
    begins = [(at, fields) for mark, fields in _RECORDS.items() for at in _find_all(content, mark)]
    if not begins:
        return content
    at, fields = random.choice(begins)
    offset, width = random.choice(fields)
    old = int.from_bytes(content[at + offset : at + offset + width], "little")
    new = random.choice((old + 1, old - 1, 2 * old, 8, 12, 14, 99, *EXTREMES)) & ((1 << 8 * width) - 1)
    return content[: at + offset] + new.to_bytes(width, "little") + content[at + offset + width :]


def alter_members(*inner: Alteration) -> Alteration:
    """An alteration of one member of a zip, by any of these, with a CRC that is right again."""

    def alter(random: Random, content: bytes, other: bytes) -> bytes:
        members, others = _members(content), _members(other)
        if not members or not others:
            return content
        name = random.choice(sorted(members))
        # The pickle of a torch file is one of many members, and most of what can go wrong.
        name = next((one for one in members if one.endswith(".pkl") and random.random() < 0.7), name)
        how = random.randrange(12)
        if how == 0:
            del members[name]
        elif how == 1:
            members[name] = others[random.choice(sorted(others))]
        elif how == 2:
            new = random.choice(
                ("", "a/b", name.upper(), name + "\0x", "n" * 3000, "../x", "\n", "x.npy", "images.npy")
            )
            members[new] = members.pop(name) if random.random() < 0.5 else members[name]
        else:
            members[name] = random.choice(inner)(random, members[name], others.get(name, members[name]))
        return _zip(random, members, twin=name if random.random() < 0.03 and name in members else None)

    return alter


def alter_unpacked(*inner: Alteration) -> Alteration:
    """An alteration of what is gzipped, packed again; of what is not, as it is."""

    def alter(random: Random, content: bytes, other: bytes) -> bytes:
        altered = random.choice(inner)(random, _unpacked(content), _unpacked(other))
        return gzip.compress(altered, 1, mtime=0) if content[:2] == b"\x1f\x8b" else altered

    return alter


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _find_all(content: bytes, mark: bytes) -> list[int]:
    found, at = [], content.find(mark)
    while at >= 0:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def _members(content: bytes) -> dict[str, bytes]:
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}
    return {}


def _zip(random: Random, members: dict[str, bytes], twin: str | None) -> bytes:
    packed = io.BytesIO()
    how = zipfile.ZIP_STORED if random.random() < 0.93 else random.choice((8, 12, 14))
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", how) as archive:
        warnings.simplefilter("ignore")  # of two members of one name
        for name, content in [*members.items(), *([(twin, members[twin])] if twin else [])]:
            with contextlib.suppress(struct.error, UnicodeEncodeError):
                archive.writestr(zipfile.ZipInfo(name), content, how)
    if packed.getbuffer().nbytes > 30 and random.random() < 0.05:
        return random.choice(ANY)(random, packed.getvalue(), packed.getvalue())
    return packed.getvalue()
