"""Methods side by side: a table for people, and the same figures as JSON for programs."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Protocol, TextIO, TypeVar, get_type_hints, runtime_checkable

from jaxae.storage.files import write_text
from jaxae.storage.tables import format_table

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        key: Name of the rows' field that holds the figure.
        title: Title of the column, with the figures' unit.
        better: Which figure wins; None for a column that is no contest.
        digits: Number of decimals shown.
    """

    key: str
    title: str
    better: Literal["higher", "lower"] | None = None
    digits: int = 4


class Shown(NamedTuple):
    """Annotation of a row's field that the table shows: as `Column`, whose key is the field's name."""

    title: str
    better: Literal["higher", "lower"] | None = None
    digits: int = 4


def columns_of(row: type, **titles: str) -> tuple[Column, ...]:
    """Columns of the fields of a row that are annotated with `Shown`; `titles` replaces theirs, by field."""
    hints = get_type_hints(row, include_extras=True)
    notes = {key: getattr(hint, "__metadata__", (None,))[0] for key, hint in hints.items()}
    shown = {key: note for key, note in notes.items() if isinstance(note, Shown)}
    return tuple(Column(key, titles.get(key, note.title), *note[1:]) for key, note in shown.items())


@dataclass(frozen=True)
class MethodTable(Generic[Row]):
    """Methods side by side: rows of figures, and how they came about.

    Attributes:
        title: Title of the table.
        columns: Columns shown, in order; rows may hold more, which only the JSON has.
        rows: A frozen dataclass for each method. A figure of None was not measured.
        settings: Sizes, seeds and the like, by name.
        notes: Sentences on what was tuned, and on what.
        group: Name of the rows' field within which figures compete; None makes one contest of all.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    group: str | None = None

    def wins(self, row: Row, column: Column) -> bool:
        """Whether no rival's figure is better, as shown to the column's decimals."""
        own = getattr(row, column.key)
        if column.better is None or own is None:
            return False
        rivals = [
            round(getattr(rival, column.key), column.digits)
            for rival in self.rows
            if getattr(rival, column.key) is not None
            and (self.group is None or getattr(rival, self.group) == getattr(row, self.group))
        ]
        best = max(rivals) if column.better == "higher" else min(rivals)
        return len(rivals) > 1 and round(own, column.digits) == best

    def show(self, file: TextIO | None = None) -> None:
        """Print title, table (as Markdown; * marks the best of a column), settings and notes."""
        titles = [column.title for column in self.columns]
        cells = [[self._cell(row, column) for column in self.columns] for row in self.rows]
        right = {number for number, one in enumerate(self.columns) if self._is_numeric(one)}
        lines = [self.title, "", format_table(titles, cells, style="markdown", right=right), ""]
        if any(column.better for column in self.columns):
            lines.append(f"* best{f' of each {self.group}' if self.group else ''} in its column")
        lines.append(", ".join(f"{name} {value}" for name, value in self.settings.items()))
        print("\n".join([*lines[:4], *filter(None, lines[4:]), *self.notes]), file=file)

    def write(self, path: Path) -> None:
        """Write title, settings, notes and all rows as JSON, whole or absent.

        Raises:
            InputError: If the file cannot be written.
        """
        document = {
            "title": self.title,
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "rows": [dataclasses.asdict(row) for row in self.rows],  # pyright: ignore[reportArgumentType]
        }
        write_text(path, json.dumps(document, indent=2, default=float) + "\n")

    def _is_numeric(self, column: Column) -> bool:
        return any(isinstance(getattr(row, column.key), int | float) for row in self.rows)

    def _cell(self, row: Row, column: Column) -> str:
        value = getattr(row, column.key)
        if value is None:
            return "-"
        shown = str(value) if isinstance(value, str | int) else f"{value:.{column.digits}f}"
        return f"{shown} *" if self.wins(row, column) else shown


@runtime_checkable
class UseCaseResult(Protocol):
    """What a use case gives: a table, and a figure of it."""

    @property
    def table(self) -> MethodTable[Any]:
        """The methods side by side."""
        ...

    def draw(self, path: Path) -> None:
        """Draw the figure to a PNG file."""
        ...


def publish(result: UseCaseResult, json_path: Path | None, figure: Path | None) -> None:
    """Write the files that are asked for, and show a result's table on standard output.

    Raises:
        InputError: If a file cannot be written.
    """
    # A reader who leaves early loses no file, a disk that is full no table.
    try:
        if json_path is not None:
            result.table.write(json_path)
        if figure is not None:
            result.draw(figure)
    finally:
        result.table.show()


def tell(line: str) -> None:
    """Print a line on progress to standard error."""
    print(line, file=sys.stderr, flush=True)
