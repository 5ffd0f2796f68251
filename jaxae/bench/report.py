"""A benchmark's result as tables for people."""

from collections.abc import Sequence
from typing import TypeVar

from jaxae.bench.pair.result import PairResult, PairRow
from jaxae.bench.result import BenchmarkResult, ContenderResult, Machine
from jaxae.bench.settings import SWEPT, Sweep
from jaxae.bench.statistics import Spread, interval_over_runs
from jaxae.storage.tables import format_table

Row = TypeVar("Row", ContenderResult, PairRow)


def print_report(result: BenchmarkResult, earlier: BenchmarkResult | None = None) -> None:
    """Print the tables to standard output, one per case or per model of a sweep; then times beside earlier ones."""
    sweep = result.environment.settings.sweep
    print("\n".join(heading(result)))
    for title, rows in result.comparisons.items():
        if sweep is None:
            print(f"\n{title}\n{_case_table(rows)}")
        else:
            print(f"\n{title}: images/s by {SWEPT[sweep]}\n{_sweep_table(rows, sweep)}")
    print("\n".join(["", *notes(result)]))
    if earlier is not None:
        print(f"\n{beside(result.rows, earlier.rows)}")


def heading(result: BenchmarkResult) -> list[str]:
    """On what was measured, and of what the samples are."""
    where, gate = result.environment, result.environment.gate
    peaks = [f"{name} {peak:.0f}" for name, peak in where.matmul_gflops.items()]
    return [
        machine_line(where, where.settings.dtype),
        f"{where.settings.rounds} rounds; medians, and ratios within rounds (above 1: faster); "
        f"matrix products at {' and '.join(peaks) or 'unknown'} GFLOP/s",
        f"every contender's first {gate.steps} costs are within {gate.tolerance:.0e} "
        f"of {gate.reference}'s, or it has no time",
    ]


def machine_line(machine: Machine, *more: str) -> str:
    """The machine and versions as one line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    where = f"{machine.gpu or machine.cpu}, {machine.threads} CPU threads"
    return "; ".join((where, *more, f"Python {machine.python}, {versions}", f"commit {machine.commit or 'unknown'}"))


def notes(result: BenchmarkResult | PairResult) -> list[str]:
    """What a reader must know of single rows, and of the machine's other load."""
    of_pair = isinstance(result, PairResult)
    left_out = () if of_pair else result.left_out
    lines = [f"left out: {one.contender} ({one.reason})" for one in left_out]
    if result.interrupted:
        lines.append("interrupted: further comparisons were not measured")
    if of_pair and result.in_one_process:
        lines.append(
            "measured in one process: no peak memory is told, compile caches may have been warm, and idle threads of "
            "one framework share the cores with the other; jaxae bench --pair gives each contender a process"
        )
    told = set()
    for row in result.rows:
        # What trains otherwise has no time of any kind of step of a pair, for the one reason.
        if row.reason and not (of_pair and row.status == "differs" and (row.label, row.reason) in told):
            lines.append(f"{row.case}, {row.label}: {row.status}: {row.reason}")
            told.add((row.label, row.reason))
        if (row.idle_cpu or 0) > 0.05:
            lines.append(f"{row.case}, {row.label}: used {row.idle_cpu:.0%} of a core while others had their turns")
    for case, row in {row.case: row for row in result.rows if row.repeated_rounds + row.disturbed_rounds}.items():
        kept = f"of {len(row.samples_ms)} that count {row.disturbed_rounds} were disturbed too"
        lines.append(f"{case}: other work disturbed {row.repeated_rounds} rounds, which were taken again; {kept}")
    if (load := result.environment.load_before or 0) > 0.5:
        told = "other work was running, and these figures are provisional"
        lines.append(f"the load average was {load:.1f} before the start: {told}")
    return lines


def _case_table(rows: Sequence[ContenderResult]) -> str:
    """A line a contender."""
    cells = [_cells(row) for row in rows]
    return format_table(list(cells[0]), [list(one.values()) for one in cells], right=range(2, len(cells[0])))


def _cells(row: ContenderResult) -> dict[str, str]:
    shared = row.framework == "jax" and (row.devices or 1) > 1
    memory = row.peak_memory_bytes
    return {
        "contender": f"{row.label} ({row.devices})" if shared else row.label,
        "BCE": row.bce,
        "compile s": number(row.compile_s, ".1f"),
        "ms per step": row.status if row.step_ms is None else f"{row.step_ms:.3f}",
        "quartiles": "{:.3f} to {:.3f}".format(*row.quartiles_ms) if row.quartiles_ms else "",
        "images/s": number(row.images_per_s, ",.0f"),
        "x eager": _ratio(row.times_eager),
        "x best torch": _ratio(row.times_best_torch),
        "% matmul peak": number(row.matmul_share and 100 * row.matmul_share, ".1f"),
        "peak MB": number(memory and memory / 1e6, ",.0f"),
        "final cost": number(row.final_cost, ".6g"),
    }


def _sweep_table(rows: Sequence[ContenderResult], sweep: Sweep) -> str:
    """A line a contender with a cell for each size."""
    sizes = sorted({row.size(sweep) for row in rows})
    lines = {row.label: [row.label, *[""] * len(sizes)] for row in rows}
    for row in rows:
        cell = row.status if row.step_ms is None else f"{row.images_per_s:,.0f}"
        lines[row.label][1 + sizes.index(row.size(sweep))] = cell
    return format_table(["contender", *map(str, sizes)], list(lines.values()), right=range(1, 1 + len(sizes)))


def beside(rows: Sequence[Row], earlier: Sequence[Row]) -> str:
    """A table of rows beside those of an earlier run, with the 95 % interval of how many times faster they are."""
    before, now = ({row.measured: row for row in side} for side in (earlier, rows))
    lines = []
    for one, row in (now | {one: row for one, row in before.items() if one not in now}).items():
        old, new = before.get(one), now.get(one)
        times = [number(side and side.step_ms, ".4g") for side in (old, new)]
        lines.append((row.case, row.label, *times, *(_change(old, new) if old and new else ("", ""))))
    titles = ("case", "contender", "ms before", "ms now", "x faster (95 %)", "")
    return f"beside the earlier run\n{format_table(titles, lines, right=range(2, 5))}"


def _change(old: Row, new: Row) -> tuple[str, str]:
    """How many times faster, with its interval, and whether that shows a difference."""
    if not (old.samples_ms and new.samples_ms and old.step_ms and new.step_ms):
        return "", ""
    low, high = interval_over_runs(new.samples_ms, old.samples_ms)
    verdict = "faster" if low > 1 else "slower" if high < 1 else "no difference shown"
    return f"{old.step_ms / new.step_ms:.2f} ({low:.2f} to {high:.2f})", verdict


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def number(value: float | None, form: str) -> str:
    """A number as a cell; none is empty."""
    return "" if value is None else format(value, form)
