"""Modules of one torch class become one class: what differs between them becomes its arguments."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxae.translation.naming import Lines
from jaxae.translation.spelling import numbered
from jaxae.translation.units import Unit
from jaxae.translation.writer import MARK, Constant, Hole

# Arguments that come first, without their names.
FEATURES = ("in_features", "out_features", "features", "num_features", "num_embeddings")
OMITTED = "__omitted__"  # stands for a setting that is Flax's default
_MISSING: Any = object()  # a constant of a part that one of the modules lacks


@dataclass
class Parameter:
    """An argument of a class.

    Attributes:
        name: What it is called.
        values: What it is for each of the modules.
        stored: Whether the call reads it too.
    """

    name: str
    values: list[Any]
    stored: bool = False

    @property
    def positional(self) -> bool:
        """Whether it is written without its name: numbers of features."""
        return self.name in FEATURES

    @property
    def default(self) -> Constant:
        """What most of the modules have, where it is no number of features; None where there is no such."""
        known = [one for one in self.values if one is not _MISSING]
        most = max(known, key=lambda one: sum(_equal(one, other) for other in known))
        return None if self.positional or isinstance(most, list) else most


@dataclass
class SourceClass:
    """One class of the source.

    Attributes:
        name: Its name.
        kind: The torch class.
        units: The modules that are of it.
        lines: The text of the fullest of them.
        holes: For each module, the constants and submodules by the marks of the text.
        optional: An attribute that some of the modules lack.
        parameters: Arguments of the class.
    """

    name: str
    kind: type
    units: list[Unit]
    lines: Lines
    holes: list[dict[str, Any]]
    optional: str = ""
    parameters: list[Parameter] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def values_of(self, unit: Unit) -> list[Any]:
        """The arguments that make one module."""
        index = next(n for n, one in enumerate(self.units) if one is unit)
        return [one.values[index] for one in self.parameters]


def grouped(units: Sequence[tuple[Unit, Lines]], names: Sequence[str]) -> list[SourceClass]:
    """The classes of a source, each after those that it makes.

    Args:
        units: Modules with their texts, each after those that it makes.
        names: Names that are taken.
    """
    groups: list[SourceClass] = []
    of: dict[int, SourceClass] = {}
    keys: dict[Any, tuple[SourceClass, list[str]]] = {}  # with the class's marks in the order of the module's own
    for unit, lines in units:
        key = (unit.kind, _key(unit, lines, of))
        if key not in keys:
            keys[key] = SourceClass("", unit.kind, [], lines, []), _marks(lines)
            groups.append(keys[key][0])
        group, marks = keys[key]
        group.units.append(unit)
        own = {theirs: _meant(unit, mark) for mark, theirs in zip(_marks(lines), marks, strict=True)}
        group.holes.append({mark: own.get(mark, _MISSING) for mark in _marks(group.lines)})
        of[id(unit)] = group
        _absorb(groups, keys, of, group)
    taken = set(names)
    for group in groups:
        group.name = _unique(
            group.kind.__name__ if not group.kind.__module__.startswith("torch.nn.modules.container") else "Network",
            taken,
        )
        taken.add(group.name)
    for group in groups:
        _find_parameters(group, of)
    return groups


def _meant(unit: Unit, mark: str) -> Any:
    kind, number = mark[2], int(mark[3:-2])
    return unit.holes.holes[number] if kind == "h" else unit.holes.units[number]


def _texts(lines: Lines) -> Iterator[str]:
    for _, code in lines.made:
        yield code
    yield from lines.chain or ()
    yield from lines.body
    yield lines.result
    if lines.training is not None:
        yield from lines.training.body
        yield lines.training.result


def _marks(lines: Lines) -> list[str]:
    return list(dict.fromkeys(found[0] for text in _texts(lines) for found in MARK.finditer(text)))


def _key(unit: Unit, lines: Lines, of: dict[int, SourceClass]) -> Any:
    """What two modules of one class have in common."""
    numbers = {mark: n for n, mark in enumerate(_marks(lines))}

    def common(found: re.Match[str]) -> str:
        if found[1] == "u":
            return f"<{id(of[id(unit.holes.units[int(found[2])])])}:{numbers[found[0]]}>"
        return f"<{numbers[found[0]]}>"

    texts = tuple(MARK.sub(common, text) for text in _texts(lines))
    return tuple(name for name, _ in lines.made), tuple(lines.signature), texts


def _absorb(
    groups: list[SourceClass],
    keys: dict[Any, tuple[SourceClass, list[str]]],
    of: dict[int, SourceClass],
    group: SourceClass,
) -> None:
    """Make one class of two that differ by a submodule which some of the modules lack."""
    for other in groups:
        if other is group or other.kind is not group.kind or group.optional or other.optional:
            continue
        for full, less in ((group, other), (other, group)):
            if merged := _with_optional(full, less):
                name, lines, marks = merged
                full.optional, full.lines = name, lines
                full.units += less.units
                for holes in less.holes:
                    full.holes.append({mark: holes[one] if one else _MISSING for mark, one in marks.items()})
                for unit in less.units:
                    of[id(unit)] = full
                theirs = {one: mark for mark, one in marks.items() if one}
                for key, (one, own) in list(keys.items()):
                    if one is less:
                        keys[key] = full, [theirs[mark] for mark in own]
                groups.remove(less)
                return


def _with_optional(full: SourceClass, less: SourceClass) -> tuple[str, Lines, dict[str, str | None]] | None:
    """The text of both, the submodule that `less` lacks, and the marks of `less` by those of `full`."""
    extra = [name for name, _ in full.lines.made if name not in dict(less.lines.made)]
    if full.lines.training is not None or less.lines.training is not None:
        return None
    if len(extra) != 1 or full.lines.chain is not None or len(full.lines.made) != len(less.lines.made) + 1:
        return None
    (name,) = extra
    call = re.compile(rf"self\.{name}\((\w+)\)")
    body = [*full.lines.body, f"return {full.lines.result}"]
    found = [(n, call.search(text)) for n, text in enumerate(body) if call.search(text)]
    if len(found) != 1:
        return None
    position, match = found[0]
    assert match is not None
    given = match[1]
    assigned = re.fullmatch(rf"(\w+) = self\.{name}\(\w+\)", body[position])
    if assigned:
        without = [re.sub(rf"\b{assigned[1]}\b", given, text) for n, text in enumerate(body) if n != position]
    else:
        without = [call.sub(given, text) for text in body]
    short = Lines(
        [one for one in full.lines.made if one[0] != name],
        None,
        full.lines.signature,
        without[:-1],
        without[-1].removeprefix("return "),
        [],
    )
    mine, theirs = _marks(short), _marks(less.lines)
    if len(mine) != len(theirs):
        return None
    pairs = dict(zip(mine, theirs, strict=True))
    for one, other in zip(
        [*_texts(short), str(short.signature)], [*_texts(less.lines), str(less.lines.signature)], strict=False
    ):
        if MARK.sub(lambda m: pairs[m[0]], one) != other:
            return None
    choice = f"({given} if self.{name} is None else self.{name}({given}))"
    body[position] = call.sub(lambda _: choice, body[position])
    lines = Lines(
        full.lines.made, None, full.lines.signature, body[:-1], body[-1].removeprefix("return "), full.lines.targets
    )
    return name, lines, {mark: pairs.get(mark) for mark in _marks(full.lines)}


def _find_parameters(group: SourceClass, of: dict[int, SourceClass]) -> None:
    """What differs between the modules of a class; `said` tells what stands at each mark."""
    calls = [one for one in (group.lines, group.lines.training) if one is not None]
    called = {found[0] for one in calls for text in (*one.body, one.result) for found in MARK.finditer(text)}
    if group.optional:
        code = dict(group.lines.made)[group.optional]
        marks = [found[0] for found in MARK.finditer(code)]
        has = [bool(marks) and holes[marks[0]] is not _MISSING for holes in group.holes]
        group.parameters.append(Parameter(group.optional, has))
    for mark in _marks(group.lines):
        column = [holes[mark] for holes in group.holes]
        known = next(one for one in column if one is not _MISSING)
        if isinstance(known, Hole):
            values = [one.value if one is not _MISSING else _MISSING for one in column]
            if known.default and all(v is _MISSING or _equal(v, known.default.default) for v in values):
                group.said[mark] = OMITTED
                continue
            group.said[mark] = _said(group, values, known.hint, stored=mark in called)
        else:
            child = of[id(known)]
            every = [child.values_of(one) if one is not _MISSING else None for one in column]
            plain, named = [], []
            for n, parameter in enumerate(child.parameters):
                values = [one[n] if one is not None else _MISSING for one in every]
                if parameter.positional:
                    plain.append(_said(group, values, parameter.name, stored=False))
                elif not all(one is _MISSING or _equal(one, parameter.default) for one in values):
                    named.append(f"{parameter.name}={_said(group, values, parameter.name, stored=False)}")
            group.said[mark] = f"{child.name}({', '.join([*plain, *named, 'rngs=rngs'])})"


def _said(group: SourceClass, values: list[Any], hint: str, *, stored: bool) -> str:
    """What stands for a constant: itself, an argument, or what is made of one."""
    known = [value for value in values if value is not _MISSING]
    fitting = [one for one in group.parameters if one.name == hint] if len(known) < len(values) else []
    if not fitting and all(_equal(value, known[0]) for value in known):
        return spelled(known[0])
    for parameter, exactly in [(one, exactly) for exactly in (True, False) for one in fitting or group.parameters]:
        if text := _in_terms(parameter, values, stored, exactly):
            parameter.stored = parameter.stored or stored
            parameter.values = [b if a is _MISSING else a for a, b in zip(parameter.values, values, strict=True)]
            return text
    if all(_equal(value, known[0]) for value in known):
        return spelled(known[0])
    taken = {one.name for one in group.parameters} | {name for name, _ in group.lines.made} | {"rngs", "self"}
    parameter = Parameter(_unique(hint or "size", taken), list(values), stored)
    group.parameters.append(parameter)
    return f"self.{parameter.name}" if stored else parameter.name


def _in_terms(parameter: Parameter, values: list[Any], stored: bool, exactly: bool) -> str:
    """A constant as an argument has it, or as a multiple or a part of that."""
    name = f"self.{parameter.name}" if stored else parameter.name
    pairs = [(a, b) for a, b in zip(parameter.values, values, strict=True) if _MISSING not in (a, b)]
    if not pairs or any(a is _MISSING for a in parameter.values):
        return ""
    if all(_equal(a, b) for a, b in pairs):
        return name
    if not exactly and all(type(a) is int and type(b) is int and a > 0 for a, b in pairs):
        factors = {b / a for a, b in pairs}
        if len(factors) == 1 and len({b for _, b in pairs}) > 1:
            factor = factors.pop()
            if factor.is_integer() and factor > 1:
                return f"{int(factor)} * {name}"
            if factor and (1 / factor).is_integer():
                return f"{name} // {int(1 / factor)}"
    return ""


def spelled(value: Constant) -> str:
    """A constant as Python writes it; infinities have no literal."""
    if isinstance(value, tuple):
        inner = ", ".join(map(spelled, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": "jnp.inf", "-inf": "-jnp.inf"}.get(str(value), "jnp.nan")
    return repr(value)


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _unique(name: str, taken: set[str]) -> str:
    return next(one for one in numbered(name) if one not in taken)
