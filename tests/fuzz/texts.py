"""Alterations of texts: digits, tokens, and JSON documents that parse to something else or not at all."""

import json
import re
from random import Random
from typing import Any

NUMBERS = (
    *("0", "-1", "1", "2", "255", "256", "65536", "2147483647", "2147483648", "4294967296", "9223372036854775807"),
    *("9223372036854775808", "18446744073709551616", "1" * 400, "9" * 5000, "-0", "1e999", "-1e999", "1e-400", "NaN"),
    *("Infinity", "0.5", "1e3", "007", "0x10", "1_000", "٣"),
)
VALUES = (
    *NUMBERS[:11],
    "null",
    "true",
    "false",
    '""',
    '"\\ud800"',
    '"' + "n" * 3000 + '"',
    "[]",
    "{}",
    "[[]]",
    "[1, 2]",
)
DEEP = ("[" * 100_000, "[" * 500 + "]" * 500, '{"a":' * 3000 + "1" + "}" * 3000, "(" * 150, "-" * 3000)


def edit_number(random: Random, content: bytes, other: bytes) -> bytes:
    """A number in the text made another: a digit, or all of it."""
    text = content.decode("latin1")
    found = list(re.finditer(r"\d+(\.\d+)?(e[-+]?\d+)?", text))
    if not found:
        return content
    match = random.choice(found)
    digit = match[0].replace(random.choice(match[0]), random.choice("0123456789"))
    return _put(text, match.span(), random.choice((digit, random.choice(NUMBERS))))


def edit_token(random: Random, content: bytes, other: bytes) -> bytes:
    """A token left out, doubled, or replaced by another one, of this file or of Python, JSON and trouble."""
    text = content.decode("latin1")
    tokens = list(re.finditer(r"\w+|[^\w\s]|\s+", text))
    if not tokens:
        return content
    match, again = random.choice(tokens), random.choice(tokens)
    foreign = random.choice(
        ("'", '"', "'''", "(", ")", "[", "}", ",", ":", "\\", "\n", "\0", "\xff", "lambda", "0x", "[]")
    )
    new = random.choice(("", match[0] * 2, again[0], foreign, random.choice(NUMBERS), "<f8", "|O", "V0", "\u00e9"))
    return _put(text, match.span(), new)


def nest(random: Random, content: bytes, other: bytes) -> bytes:
    """Something deep in the place of a token."""
    text = content.decode("latin1")
    tokens = list(re.finditer(r"\w+|[\[{(]", text))
    span = random.choice(tokens).span() if tokens else (0, 0)
    return _put(text, span, random.choice(DEEP))


def edit_line(random: Random, content: bytes, other: bytes) -> bytes:
    """Lines left out, doubled, turned round, run together, or made very long."""
    lines = content.splitlines(keepends=True) or [b""]
    index = random.randrange(len(lines))
    line = lines[index]
    stretched = line.rstrip(b"\n").replace(b" ", b" " * 20_000, 1)
    runs = (
        b"epoch " * 5000,
        b"1" * 50_000,
        b"Epoch 1 " + b"/" * 50_000,
        b"epoch 1 batch 1 cost " + b"9" * 50_000 + b"x",
    )
    changed = random.choice(
        (b"", line * 2, line.rstrip(b"\n"), stretched, random.choice(runs), line[::-1], b"\xff\xfe")
    )
    lines[index] = changed
    if random.random() < 0.2:
        random.shuffle(lines)
    return b"".join(lines)


def edit_json(random: Random, content: bytes, other: bytes) -> bytes:
    """A JSON document with a value replaced, a key left out, renamed, added or there twice."""
    try:
        document = json.loads(content)
    except ValueError:
        return edit_token(random, content, other)
    marks: dict[str, str] = {}
    places = list(_places(document))
    if not places:
        return random.choice(VALUES).encode()
    owner, key = random.choice(places)
    how = random.randrange(6)
    if how == 0:
        del owner[key]
    elif how == 1 and isinstance(owner, dict):
        owner[random.choice(("x", "", "kind", "n" * 3000, "a\nb", "\ud800", "__class__", "self"))] = owner.pop(key)
    elif how == 2 and isinstance(owner, dict):
        marks["mark-twin"] = f"{json.dumps(key)}: 1, {json.dumps(key)}"
        owner["mark-twin"] = owner.pop(key)
    else:
        marks["mark-value"] = random.choice((*VALUES, random.choice(NUMBERS), json.dumps(_any(random, document))))
        owner[key] = "mark-value"
    text = json.dumps(document)
    for mark, new in marks.items():
        text = text.replace(json.dumps(mark), new, 1)
    return text.encode("utf-8", "surrogatepass")


TEXT = (edit_number, edit_token, nest, edit_line)
JSON = (edit_json, edit_json, *TEXT)


def _put(text: str, span: tuple[int, int], new: str) -> bytes:
    before, after = text[: span[0]].encode("latin1"), text[span[1] :].encode("latin1")
    return before + new.encode("utf-8", "surrogatepass") + after


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a document, as the mapping or list and the key or index in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _any(random: Random, document: Any) -> Any:
    owner, key = random.choice(_places(document) or [([None], 0)])
    return owner[key]
