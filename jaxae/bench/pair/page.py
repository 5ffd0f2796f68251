"""What was found of a pair as one HTML page, which needs no other file."""

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jaxae.bench.pair.figure import pair_figure
from jaxae.bench.pair.report import TITLES, cells_of, pair_heading
from jaxae.bench.pair.result import PairResult
from jaxae.bench.report import notes
from jaxae.storage.files import write_text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 92rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 0 0 2rem; display: block; overflow-x: auto }
th, td { padding: .2rem .6rem; font-size: 13px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
svg { max-width: 100%; height: auto }
pre { overflow: auto; max-height: 20rem; background: #f6f6f6; padding: 1rem; white-space: pre-wrap }
"""


def write_page(result: PairResult, path: Path) -> None:
    """Write the page, whole or absent: tables, figures, and the result as JSON.

    Raises:
        InputError: If it cannot be written.
    """
    title = f"{result.environment.pair} in torch and JAX"
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in pair_heading(result))]
    for name, rows in result.comparisons.items():
        parts += [f"<h2>{escape(name)}</h2>", _table(TITLES, cells_of(rows))]
    parts += [f"<p>{escape(line)}</p>" for line in notes(result)]
    parts += ["<h2>figures</h2>", _drawn(result)]
    parts += ["<h2>the whole result</h2>", f"<pre>{escape(result.to_json())}</pre>"]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    write_text(path, f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _drawn(result: PairResult) -> str:
    """The figures as an element of the page."""
    file = io.StringIO()
    pair_figure(result).savefig(file, format="svg")
    return file.getvalue()[file.getvalue().index("<svg") :]
