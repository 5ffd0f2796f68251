"""What was found of a pair as tables for people."""

from collections.abc import Sequence

from jaxae.bench.pair.contenders import REFERENCE
from jaxae.bench.pair.result import PairedRatio, PairResult, PairRow
from jaxae.bench.report import beside, machine_line, notes, number
from jaxae.storage.tables import format_table

TITLES = (
    *("contender", "compile s", "ms per step", "quartiles", "x eager (95 %)", "x best torch (95 %)"),
    *("paid back after", "% of roofline", "apart", "peak MB"),
)


def print_pair(result: PairResult, earlier: PairResult | None = None) -> None:
    """Print the tables to standard output, one per kind of step; then times beside earlier ones."""
    print("\n".join(pair_heading(result)))
    for title, rows in result.comparisons.items():
        print(f"\n{title}\n{format_table(TITLES, cells_of(rows), right=range(1, len(TITLES)))}")
    print("\n".join(["", *notes(result)]))
    if earlier is not None:
        print(f"\n{beside(result.rows, earlier.rows)}")


def pair_heading(result: PairResult) -> list[str]:
    """On what was measured, and of what the samples are."""
    where, gate = result.environment, result.environment.gate
    narrow = where.settings.bfloat16_tolerance
    batch = ", ".join(next((row.batch for row in result.rows), ()))
    return [
        machine_line(where),
        f"{where.pair}, inputs {batch}; weights {where.proof}",
        f"{where.settings.rounds} rounds; medians, and ratios within rounds with the 95 % interval of their median "
        "(above 1: faster)",
        *_roofline(result),
        f"every contender's first {gate.steps} costs are within {gate.tolerance:.0e} of {gate.reference}'s, "
        f"in bfloat16 within {narrow:.0e}, or it has no time",
    ]


def _roofline(result: PairResult) -> list[str]:
    """What the machine allows for each kind of step, where it was counted."""
    where = result.environment
    counted = {row.case: row for row in result.rows if row.least_ms is not None}
    if not counted:
        return []
    peak, rate = (max(found.values()) for found in (where.matmul_gflops, where.copy_gb_s))
    steps = (
        f"{case} {row.flops:.3g} FLOP and {row.bytes:.3g} bytes, at least {row.least_ms:.2g} ms"
        for case, row in counted.items()
    )
    return [f"roofline: {peak:.0f} GFLOP/s, {rate:.1f} GB/s; by XLA's count {'; '.join(steps)}"]


def cells_of(rows: Sequence[PairRow]) -> list[list[str]]:
    """The cells of a table's rows."""
    return [_cells(row) for row in rows]


def _cells(row: PairRow) -> list[str]:
    memory = row.peak_memory_bytes
    return [
        row.label,
        number(row.compile_s, ".1f"),
        row.status if row.step_ms is None else f"{row.step_ms:.4g}",
        "{:.4g} to {:.4g}".format(*row.quartiles_ms) if row.quartiles_ms else "",
        _ratio(row.times_eager),
        _ratio(row.times_best_torch),
        _paid_back(row),
        number(row.least_ms and row.step_ms and 100 * row.least_ms / row.step_ms, ".2g"),
        number(row.gap, ".0e"),
        number(memory and memory / 1e6, ",.0f"),
    ]


def _paid_back(row: PairRow) -> str:
    if row.measure != "step" or row.step_ms is None or row.times_eager is None or row.contender == REFERENCE:
        return ""
    return "never" if row.paid_back_steps is None else f"{row.paid_back_steps:,} steps"


def _ratio(ratio: PairedRatio | None) -> str:
    return "" if ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(ratio.median, *ratio.interval)
