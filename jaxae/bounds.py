"""Bounds: what a setting may be, said by its annotation and held in one place; and what fits into memory."""

import dataclasses
import os
import re
from collections.abc import Iterable
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxae.errors import InputError, brief


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from one to another, of which NaN is none; for a tuple, the numbers of members that it may have.

    Attributes:
        least: Least number.
        most: Largest number.
        inner: Whether both ends are left out.
    """

    least: float
    most: float
    inner: bool = False

    def __contains__(self, number: float) -> bool:
        return self.least < number < self.most if self.inner else self.least <= number <= self.most

    def __str__(self) -> str:
        least, most = (str(end) if isinstance(end, int) else f"{end:g}" for end in (self.least, self.most))
        return f"above {least} and below {most}" if self.inner else f"from {least} to {most}"


_LARGEST_FLOAT = 3.4028234663852886e38  # in float32
# Compiled programs count in int32.
Count = Annotated[int, Range(1, 2**31 - 1)]
CountOrZero = Annotated[int, Range(0, 2**31 - 1)]
# What NumPy, torch, JAX and scikit-learn all take. JAX keeps 32 bits of a larger one, torch's generator too: it would
# repeat a smaller one without a word.
Seed = Annotated[int, Range(0, 2**32 - 1)]
# Devices, threads and processes side by side: more than machines have cores.
Workers = Annotated[int, Range(1, 1024)]
Amount = Annotated[float, Range(0, _LARGEST_FLOAT)]
PositiveAmount = Annotated[float, Range(0, _LARGEST_FLOAT, inner=True)]
Share = Annotated[float, Range(0, 1, inner=True)]
SOME = Range(1, 1000)
Widths = Annotated[tuple[Count, ...], SOME]


class Checked:
    """A frozen dataclass whose fields are what their annotations say, whoever gave them.

    Its `__post_init__` makes a NumPy integer an int, a list a tuple, a string a path.

    Raises:
        InputError: If a field is of another type, or out of its type's range.
    """

    def __post_init__(self) -> None:
        for name, kind in kinds_of(type(self)).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), kind))


@cache
def kinds_of(owner: type) -> dict[str, object]:
    """The annotations of a dataclass's fields, by name."""
    hints = get_type_hints(owner, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(owner)}  # pyright: ignore[reportArgumentType]


def check(name: str, value: object, kind: object) -> None:
    """Hold an argument against a type with its range, such as `Count`; `name` is what the message calls it.

    Raises:
        InputError: If it is of another type, or out of the type's range.
    """
    _checked(name, value, kind)


def require(condition: bool, what: str, came: object) -> None:
    """Refuse what does not meet a condition.

    Raises:
        InputError: If it does not.
    """
    if not condition:
        raise InputError(f"expected {what}, got {told(came)}")


def expanded(path: str | Path) -> Path:
    """A path with its ~ replaced by a home folder.

    Raises:
        InputError: If no file can be called so, or there is no such home.
    """
    check("a path", path, Path)
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"expected a home folder for {told(str(path))}, got none") from None


def told(value: object) -> str:
    """A value as a message shows it."""
    try:
        text = repr(str(value) if isinstance(value, Path) else value)
    except ValueError:  # an integer of more digits than Python turns into text
        return "an integer of thousands of digits"
    return brief(text, 100)


def _checked(name: str, value: Any, kind: Any) -> Any:
    """A value as its type has it."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = _checked(name, value, arguments[0])
        for bounds in (note for note in arguments[1:] if isinstance(note, Range)):
            if isinstance(value, tuple):
                require(len(value) in bounds, f"{name} of {bounds.least} to {bounds.most} members", value)
            else:
                require(value in bounds, f"{name} {bounds}", value)
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        (kind, *others) = (one for one in arguments if one is not NoneType)
        if not others:
            return _checked(name, value, kind)
        require(isinstance(value, (kind, *others)), f"{name} to be a {_named(kind, *others)}", value)
        return value
    if origin is Literal:
        require(isinstance(value, str) and value in arguments, f"{name} to be one of {', '.join(arguments)}", value)
        return value
    if origin is tuple:
        require(isinstance(value, tuple | list), f"{name} to be a tuple", value)
        return tuple(_checked(name, one, arguments[0]) for one in value)
    if kind is int:
        require(isinstance(value, Integral) and not isinstance(value, bool), f"{name} to be a whole number", value)
        return int(value)
    if kind is float:
        # Python counts True among the numbers.
        require(isinstance(value, Real) and not isinstance(value, bool), f"{name} to be a number", value)
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    if kind is Path and isinstance(value, str):
        value = Path(value)
    require(isinstance(value, kind), f"{name} to be a {_named(kind)}", value)
    if isinstance(value, str | Path):
        require(_can_name(str(value)), f"{name} that a file can be called (255 bytes a part, no NUL)", value)
    return value


def _named(*kinds: type) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _can_name(text: str) -> bool:
    """Whether a system takes it for a path; beyond that it raises errors of many kinds, of whichever call."""
    try:
        path = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return b"\0" not in path and len(path) < 4096 and max(map(len, path.split(b"/"))) <= 255


def check_fits(what: str, nbytes: int, there: int | None = None) -> None:
    """Refuse what certainly does not fit into memory.

    Args:
        what: What needs it, for the message.
        nbytes: Bytes that it needs at the least.
        there: Bytes that there are; None asks for the host's.

    Raises:
        InputError: If they are more than there are.
    """
    there = host_memory() if there is None else there
    if nbytes > there:
        raise InputError(f"expected {what} within {there / 1e9:,.1f} GB of memory, got {nbytes / 1e9:,.1f} GB")


def host_memory() -> int:
    """Bytes of memory that this process can ever have: the machine's with its swap, or its control group's limit."""
    try:
        text = Path("/proc/meminfo").read_text()
        whole = 1024 * sum(int(size) for size in re.findall(r"^(?:MemTotal|SwapTotal): *(\d+) kB", text, re.MULTILINE))
    except OSError:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_group_limits()])


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _group_limits() -> Iterable[int]:
    """Limits of this process's control group, of version 2 and 1, where there are any."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            yield int((Path("/sys/fs/cgroup") / name).read_text())
        except (OSError, ValueError):  # none, or "max"
            continue
