"""Tables of text, for terminals and for Markdown."""

from collections.abc import Collection, Sequence
from typing import Literal


def format_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    style: Literal["plain", "markdown"] = "plain",
    right: Collection[int] = (),
) -> str:
    """Format rows of cells under titles, a line each, as wide as their content.

    Args:
        titles: Title of each column.
        rows: Cells of each row, as many as there are titles.
        style: Aligned columns, or a Markdown table.
        right: Numbers of the columns that are aligned to the right.
    """
    # Here and not above: importing rich takes longer than most commands that print no table.
    from io import StringIO

    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    edge = style == "markdown"
    table = Table(box=box.MARKDOWN if edge else None, show_edge=edge, pad_edge=edge, padding=(0, 1))
    for number, title in enumerate(titles):
        table.add_column(Text(title), justify="right" if number in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    file = StringIO()
    width = sum(max(len(cell) for cell in column) + 3 for column in zip(titles, *rows, strict=True))
    Console(file=file, width=width + 10, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines() if line.strip())
