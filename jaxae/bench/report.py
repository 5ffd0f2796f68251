"""A benchmark's document as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

Row = dict[str, Any]

_COLUMNS = (
    "contender",
    "BCE",
    "compile s",
    "ms a step",
    "quartiles",
    "images/s",
    "x eager",
    "x best torch",
    "% matmul peak",
    "peak MB",
    "final cost",
)


def print_report(document: Mapping[str, Any], earlier: Mapping[str, Any] | None = None) -> None:
    """Print the tables to standard output: one a model, or one a model of a sweep.

    Args:
        document: What `run` returns.
        earlier: Another such document, to be put beside it.
    """
    from rich.console import Console
    from rich.table import Table

    # As wide as its content where the output is no terminal: nothing is to be cut off in a file.
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=220)
    sweep = document["environment"]["settings"]["sweep"]
    console.print("\n".join(heading(document)))
    for title, rows in _groups(document["rows"], sweep).items():
        header, *body = _sweep_lines(rows, sweep) if sweep else [_COLUMNS, *map(_line, rows)]
        table = Table(title=title, title_justify="left")
        for number, name in enumerate(header):
            table.add_column(name, justify="left" if number < 1 else "right", no_wrap=True)
        for line in body:
            table.add_row(*line)
        console.print(table)
    for line in notes(document):
        console.print(line)
    if earlier is not None:
        table = Table(title="beside the earlier run", title_justify="left")
        for number, name in enumerate(("case", "contender", "ms before", "ms now", "x faster")):
            table.add_column(name, justify="left" if number < 2 else "right", no_wrap=True)
        for line in _compared(document["rows"], earlier["rows"]):
            table.add_row(*line)
        console.print(table)


def heading(document: Mapping[str, Any]) -> list[str]:
    """On what was measured, and of what the samples are."""
    where, settings = document["environment"], document["environment"]["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    gate = where["gate"]
    peaks = [f"{name} {peak:.0f}" for name, peak in where["matmul_gflops"].items()]
    return [
        f"{where['gpu'] or where['cpu']}, {where['threads']} CPU threads; {settings['dtype']}; "
        f"Python {where['python']}, {versions}; commit {where['commit'] or 'unknown'}",
        f"{settings['rounds']} rounds; medians, and ratios within rounds (above 1: faster); "
        f"matrix products at {' and '.join(peaks) or 'unknown'} GFLOP/s",
        f"every contender's first {gate['steps']} costs are within {gate['tolerance']:.0e} "
        f"of {gate['reference']}'s, or it has no time",
    ]


def notes(document: Mapping[str, Any]) -> list[str]:
    """What a reader must know of single rows, and of the machine's other load."""
    where = document["environment"]
    lines = [f"left out: {one['contender']} ({one['reason']})" for one in document["left_out"]]
    if document.get("interrupted"):
        lines.append("interrupted: further comparisons were not measured")
    for row in document["rows"]:
        if row["reason"]:
            lines.append(f"{_case(row)}, {row['label']}: {row['status']}: {row['reason']}")
        if (row["idle_cpu"] or 0) > 0.05:
            lines.append(
                f"{_case(row)}, {row['label']}: used {row['idle_cpu']:.0%} of a core while others "
                "had their turns"
            )
    if (where["load_before"] or 0) > 0.5:
        lines.append(
            f"the load average was {where['load_before']:.1f} before the start: other work was "
            "running, and these figures are provisional"
        )
    return lines


def _groups(rows: Sequence[Row], sweep: str | None) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["model"] if sweep else _case(row), []).append(row)
    unit = {"batch": "batch size", "models": "models trained at once"}
    if sweep is None:
        return groups
    return {f"{model}: images/s by {unit[sweep]}": own for model, own in groups.items()}


def _case(row: Row) -> str:
    models = f", {row['models']} models" if row["models"] > 1 else ""
    return f"{row['model']}, batch {row['batch_size']}{models}"


def _label(row: Row) -> str:
    if row["framework"] == "jax" and (row["devices"] or 1) > 1:
        return f"{row['label']} ({row['devices']})"
    return row["label"]


def _line(row: Row) -> tuple[str, ...]:
    low, high = row["quartiles_ms"] or (None, None)
    memory = row["peak_memory_bytes"]
    return (
        _label(row),
        row["bce"],
        _number(row["compile_s"], ".1f"),
        row["status"] if row["step_ms"] is None else f"{row['step_ms']:.3f}",
        "" if low is None else f"{low:.3f} to {high:.3f}",
        _number(row["images_per_s"], ",.0f"),
        _ratio(row["times_eager"]),
        _ratio(row["times_best_torch"]),
        _number(row["matmul_share"] and 100 * row["matmul_share"], ".1f"),
        _number(memory and memory / 1e6, ",.0f"),
        _number(row["final_cost"], ".6g"),
    )


def _sweep_lines(rows: Sequence[Row], sweep: str) -> list[tuple[str, ...]]:
    """A line a contender, a column a size, and the header."""
    field = "batch_size" if sweep == "batch" else "models"
    sizes = sorted({row[field] for row in rows})
    cells: dict[str, dict[int, str]] = {}
    for row in rows:
        cell = row["status"] if row["step_ms"] is None else f"{row['images_per_s']:,.0f}"
        cells.setdefault(row["label"], {})[row[field]] = cell
    lines = [(label, *(own.get(size, "") for size in sizes)) for label, own in cells.items()]
    return [("contender", *map(str, sizes)), *lines]


def _compared(rows: Sequence[Row], earlier: Sequence[Row]) -> list[tuple[str, ...]]:
    key = ("model", "batch_size", "models", "dtype", "device", "contender")
    before = {tuple(row.get(name) for name in key): row for row in earlier}
    lines = []
    for row in rows:
        old = before.pop(tuple(row.get(name) for name in key), None)
        old_ms, new_ms = None if old is None else old["step_ms"], row["step_ms"]
        faster = f"{old_ms / new_ms:.2f}" if old_ms and new_ms else ""
        lines.append(
            (_case(row), row["label"], _number(old_ms, ".3f"), _number(new_ms, ".3f"), faster)
        )
    for old in before.values():
        lines.append((_case(old), old["label"], _number(old["step_ms"], ".3f"), "", ""))
    return lines


def _ratio(spread: Sequence[float] | None) -> str:
    return "" if spread is None else f"{spread[0]:.2f} ({spread[1]:.2f} to {spread[2]:.2f})"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
