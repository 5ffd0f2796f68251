"""The flags of the scripts, read from the annotations that the command lines are made of."""

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@dataclass(frozen=True)
class Flag:
    """A flag of a script.

    Attributes:
        name: Name as it is typed, "--batch-size"; a positional argument's is its own, "src".
        choices: What can be typed for it, where that is a closed set; "" leaves it out.
        number: Kind of the numbers that it takes, "int" or "float"; "" if it takes none.
        is_path: Whether it takes paths.
    """

    name: str
    choices: tuple[str, ...]
    number: str
    is_path: bool


@cache
def main_of(script: str) -> Callable[..., None]:
    """The function whose arguments are a script's flags."""
    spec = importlib.util.spec_from_file_location(f"script_{script}", SCRIPTS / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@cache
def commands_of(script: str) -> dict[str, tuple[Flag, ...]]:
    """Flags of each subcommand of a script; one without any has a single one, ""."""
    main = main_of(script)
    hints = get_type_hints(main, include_extras=True)
    found: dict[str, tuple[Flag, ...]] = {}
    own: list[Flag] = []
    for name in inspect.signature(main).parameters:
        kind, _ = _bare(hints[name])
        variants = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
        if variants and all(dataclasses.is_dataclass(_bare(one)[0]) for one in variants):
            for one in variants:
                settings, notes = _bare(one)
                (subcommand,) = (note.name for note in notes if hasattr(note, "name"))
                found[subcommand] = tuple(_fields(settings))
        elif dataclasses.is_dataclass(kind):
            own += _fields(kind)
        else:
            own.append(_flag(name, hints[name]))
    return found or {"": tuple(own)}


def _fields(settings: Any) -> Iterator[Flag]:
    hints = get_type_hints(settings, include_extras=True)
    return (_flag(field.name, hints[field.name]) for field in dataclasses.fields(settings))


def _bare(hint: Any) -> tuple[Any, list[Any]]:
    """A type without its annotations, and those."""
    notes: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *own = get_args(hint)
        notes += own
    return hint, notes


def _flag(name: str, hint: Any) -> Flag:
    kind, notes = _bare(hint)
    typed = name if tyro.conf.Positional in notes else f"--{name.replace('_', '-')}"
    kinds = {_bare(one)[0] for one in (kind, *get_args(kind))} - {type(None), Ellipsis}
    kinds |= {_bare(member)[0] for one in kinds for member in get_args(one)}
    number = "float" if float in kinds else "int" if int in kinds else ""
    choices = tuple(_choices(typed, kind, tyro.conf.FlagCreatePairsOff in notes))
    return Flag(typed, choices, number, Path in kinds)


def _choices(name: str, kind: Any, switch: bool) -> Iterator[str]:
    if kind is bool:
        yield "" if switch else f"--no-{name.removeprefix('--')}"
        yield name
    elif get_origin(kind) is Literal:
        yield from (f"{name} {value}" for value in get_args(kind))
    elif get_origin(kind) in (Union, UnionType):
        closed = [choice for one in get_args(kind) for choice in _choices(name, one, switch)]
        yield from ("", *closed) if closed else ()
    elif get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal:
        values = get_args(get_args(kind)[0])
        yield from (f"{name} {value}" for value in (*values, " ".join(values)))
