"""Comparisons: a table for people, and the same figures as JSON for programs."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from jaxae.errors import InputError
from jaxae.storage.files import write_text


@dataclass(frozen=True)
class Column:
    """A column of figures.

    Attributes:
        key: Under which rows hold the figure.
        title: With its unit, if it has one.
        better: Which figure wins; None for a column that is no contest.
        digits: Decimals shown.
    """

    key: str
    title: str
    better: Literal["higher", "lower"] | None = None
    digits: int = 4


@dataclass(frozen=True)
class Comparison:
    """Methods side by side: rows of figures, and how they came about.

    Attributes:
        title: Of the table.
        columns: What is shown, in order; rows may hold more, which only the JSON has.
        rows: One a method. A figure that is missing or None was not measured.
        settings: Sizes, seeds and the like, by name.
        notes: In sentences: what was tuned, and on what.
        group: Key of the rows within which figures compete; None puts all in one contest.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[dict[str, Any], ...]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    group: str | None = None

    def wins(self, row: dict[str, Any], column: Column) -> bool:
        """Whether no rival's figure is better, as shown to the column's decimals."""
        if column.better is None or row.get(column.key) is None:
            return False
        rivals = [
            round(rival[column.key], column.digits)
            for rival in self.rows
            if rival.get(column.key) is not None
            and (self.group is None or rival[self.group] == row[self.group])
        ]
        best = max(rivals) if column.better == "higher" else min(rivals)
        return len(rivals) > 1 and round(row[column.key], column.digits) == best

    def show(self, file: TextIO | None = None) -> None:
        """Print title, table (as Markdown; * marks the best of a column), settings and notes."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        out: TextIO = file or sys.stdout
        console = Console(file=out, width=None if out.isatty() else 240, highlight=False)
        table = Table(box=box.MARKDOWN)
        for column in self.columns:
            table.add_column(
                Text(column.title), justify="right" if self._is_numeric(column) else "left"
            )
        for row in self.rows:
            table.add_row(*(Text(self._cell(row, column)) for column in self.columns))
        console.print(self.title, style="bold", markup=False)
        console.print(table)
        if any(column.better for column in self.columns):
            within = f" of each {self.group}" if self.group else ""
            console.print(f"* best{within} in its column", markup=False)
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        for line in (settings, *self.notes):
            if line:
                console.print(line, markup=False)

    def write(self, path: Path) -> None:
        """Write title, settings, notes and all rows as JSON, whole or absent.

        Raises:
            InputError: If the file cannot be written.
        """
        document = {
            "title": self.title,
            "settings": self.settings,
            "notes": list(self.notes),
            "rows": list(self.rows),
        }
        try:
            write_text(path, json.dumps(document, indent=2, default=float) + "\n")
        except OSError as error:
            raise InputError(f"expected a file that can be written, got {error}") from error

    def publish(self, json_path: Path | None) -> None:
        """Show on standard output, and write to the file if one is named."""
        self.show()
        if json_path is not None:
            self.write(json_path)

    def _is_numeric(self, column: Column) -> bool:
        return any(isinstance(row.get(column.key), int | float) for row in self.rows)

    def _cell(self, row: dict[str, Any], column: Column) -> str:
        value = row.get(column.key)
        if value is None:
            return "-"
        shown = str(value) if isinstance(value, str | int) else f"{value:.{column.digits}f}"
        return f"{shown} *" if self.wins(row, column) else shown


def check_destination(path: Path) -> None:
    """Refuse a file to write whose folder is missing or cannot be written to.

    Raises:
        InputError: Then, or if the path is a folder.
    """
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"expected a file in a folder that can be written to, got {path}")
