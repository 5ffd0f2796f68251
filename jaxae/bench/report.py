"""A benchmark's result as tables for people."""

from collections.abc import Sequence

from jaxae.bench.result import BenchmarkResult, ContenderResult
from jaxae.bench.settings import Sweep
from jaxae.bench.statistics import Spread
from jaxae.tables import format_table

_COLUMNS = (
    "contender",
    "BCE",
    "compile s",
    "ms per step",
    "quartiles",
    "images/s",
    "x eager",
    "x best torch",
    "% matmul peak",
    "peak MB",
    "final cost",
)
_NUMBERS = range(2, len(_COLUMNS))


def print_report(result: BenchmarkResult, earlier: BenchmarkResult | None = None) -> None:
    """Print the tables to standard output: one a case, or one a model of a sweep.

    Args:
        result: Result to print.
        earlier: Another result, to be put beside it.
    """
    sweep = result.environment.settings.sweep
    print("\n".join(heading(result)))
    for title, rows in _groups(result.rows, sweep).items():
        if sweep is None:
            table = format_table(_COLUMNS, [_cells(row) for row in rows], right=_NUMBERS)
        else:
            titles, cells = _sweep_cells(rows, sweep)
            table = format_table(titles, cells, right=range(1, len(titles)))
        print(f"\n{title}\n{table}")
    print("\n".join(["", *notes(result)]))
    if earlier is not None:
        titles = ("case", "contender", "ms before", "ms now", "x faster")
        table = format_table(titles, _compared(result.rows, earlier.rows), right=range(2, 5))
        print(f"\nbeside the earlier run\n{table}")


def heading(result: BenchmarkResult) -> list[str]:
    """On what was measured, and of what the samples are."""
    where, gate = result.environment, result.environment.gate
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    peaks = [f"{name} {peak:.0f}" for name, peak in where.matmul_gflops.items()]
    return [
        f"{where.gpu or where.cpu}, {where.threads} CPU threads; {where.settings.dtype}; "
        f"Python {where.python}, {versions}; commit {where.commit or 'unknown'}",
        f"{where.settings.rounds} rounds; medians, and ratios within rounds (above 1: faster); "
        f"matrix products at {' and '.join(peaks) or 'unknown'} GFLOP/s",
        f"every contender's first {gate.steps} costs are within {gate.tolerance:.0e} "
        f"of {gate.reference}'s, or it has no time",
    ]


def notes(result: BenchmarkResult) -> list[str]:
    """What a reader must know of single rows, and of the machine's other load."""
    lines = [f"left out: {one.contender} ({one.reason})" for one in result.left_out]
    if result.interrupted:
        lines.append("interrupted: further comparisons were not measured")
    for row in result.rows:
        if row.reason:
            lines.append(f"{row.case}, {row.label}: {row.status}: {row.reason}")
        if (row.idle_cpu or 0) > 0.05:
            lines.append(f"{row.case}, {row.label}: used {row.idle_cpu:.0%} of a core while others had their turns")
    if (load := result.environment.load_before or 0) > 0.5:
        lines.append(
            f"the load average was {load:.1f} before the start: other work was "
            "running, and these figures are provisional"
        )
    return lines


def _groups(rows: Sequence[ContenderResult], sweep: Sweep | None) -> dict[str, list[ContenderResult]]:
    unit = {"batch": "batch size", "models": "number of models trained at once"}
    groups: dict[str, list[ContenderResult]] = {}
    for row in rows:
        title = f"{row.model}: images/s by {unit[sweep]}" if sweep else row.case
        groups.setdefault(title, []).append(row)
    return groups


def _label(row: ContenderResult) -> str:
    shared = row.framework == "jax" and (row.devices or 1) > 1
    return f"{row.label} ({row.devices})" if shared else row.label


def _cells(row: ContenderResult) -> tuple[str, ...]:
    low, high = row.quartiles_ms or (None, None)
    memory = row.peak_memory_bytes
    return (
        _label(row),
        row.bce,
        _number(row.compile_s, ".1f"),
        row.status if row.step_ms is None else f"{row.step_ms:.3f}",
        "" if low is None else f"{low:.3f} to {high:.3f}",
        _number(row.images_per_s, ",.0f"),
        _ratio(row.times_eager),
        _ratio(row.times_best_torch),
        _number(row.matmul_share and 100 * row.matmul_share, ".1f"),
        _number(memory and memory / 1e6, ",.0f"),
        _number(row.final_cost, ".6g"),
    )


def _sweep_cells(rows: Sequence[ContenderResult], sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """Titles, and a line a contender with a cell for each size."""
    sizes = sorted({row.size(sweep) for row in rows})
    cells: dict[str, dict[int, str]] = {}
    for row in rows:
        cell = row.status if row.step_ms is None else f"{row.images_per_s:,.0f}"
        cells.setdefault(row.label, {})[row.size(sweep)] = cell
    lines = [[label, *(own.get(size, "") for size in sizes)] for label, own in cells.items()]
    return ["contender", *map(str, sizes)], lines


def _compared(rows: Sequence[ContenderResult], earlier: Sequence[ContenderResult]) -> list[tuple[str, ...]]:
    def key(row: ContenderResult) -> tuple[object, ...]:
        return row.model, row.batch_size, row.models, row.dtype, row.device, row.contender

    before = {key(row): row for row in earlier}
    lines = []
    for row in rows:
        old = before.pop(key(row), None)
        old_ms, new_ms = None if old is None else old.step_ms, row.step_ms
        faster = f"{old_ms / new_ms:.2f}" if old_ms and new_ms else ""
        lines.append((row.case, row.label, _number(old_ms, ".3f"), _number(new_ms, ".3f"), faster))
    for old in before.values():
        lines.append((old.case, old.label, _number(old.step_ms, ".3f"), "", ""))
    return lines


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
