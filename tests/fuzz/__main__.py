"""Run the fuzzer: `python -m tests.fuzz [--count N] [--reader NAME ...] [--seed N]`; status 1 if a file is a stray."""

import argparse
import tempfile
import time
from pathlib import Path

from jaxae.storage.tables import format_table

from .readers import READERS
from .runner import Runner, shares
from .samples import write_samples


def main() -> None:
    """Read altered files, and print how many were refused, were sound, and strayed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Read altered files of every kind.")
    parser.add_argument("--count", type=int, default=10_000, help="number of altered files, of all readers together")
    parser.add_argument("--reader", nargs="+", choices=list(READERS), default=list(READERS), help="by default all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the alterations")
    parser.add_argument("--workers", type=int, default=1, help="number of processes at once")
    parser.add_argument("--strays", type=Path, default=Path("strays"), help="folder that strays are kept in")
    given = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder), given.reader)
        tallies = Runner(Path(folder), given.strays, given.seed, given.workers).run(shares(given.reader, given.count))
    rows = []
    for name, tally in tallies.items():
        counts = [f"{count:,}" for count in (sum(tally.counts.values()), *tally.counts.values())]
        rows.append((name, *counts, f"{tally.slowest:.2f}", f"{tally.largest / 1e6:.0f}"))
    titles = ("reader", "files", "refused", "sound", "strays", "slowest, s", "largest, MB")
    print(format_table(titles, rows, style="markdown", right=range(1, 7)))
    strays = [path for tally in tallies.values() for path in tally.strays]
    files = sum(sum(tally.counts.values()) for tally in tallies.values())
    print(f"{files:,} files in {time.perf_counter() - begun:.0f} s, {len(strays)} strays")
    print(end="".join(f"{path}\n" for path in strays[:20]))
    raise SystemExit(bool(strays))


if __name__ == "__main__":
    main()
