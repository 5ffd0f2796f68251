"""Run the matrix: `python -m tests.commands [SCRIPT ...]`; status 1 if a command does not end as it must."""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from .covering import pairs_of
from .flags import SCRIPTS
from .matrix import all_commands
from .outcome import Outcome
from .runner import Runner


def main() -> None:
    """Run the matrix, and print the faults and what was covered."""
    names = sorted(path.stem for path in SCRIPTS.glob("*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.commands", description="Run every command to its end.")
    parser.add_argument("scripts", nargs="*", choices=[[], *names], help="scripts to run, by default all")
    parser.add_argument("--short", action="store_true", help="every value of each flag, not every pair of values")
    parser.add_argument("--only", choices=("good", "bad"), help="only commands that succeed, or that are refused")
    parser.add_argument("--workers", type=int, default=2, help="number of processes at once")
    parser.add_argument("--times", action="store_true", help="print the processor time of each command")
    given = parser.parse_args()
    begun = time.perf_counter()
    commands = all_commands(given.scripts or names)
    good = [job for one in commands for job in one.good_jobs(whole=not given.short)] if given.only != "bad" else []
    bad = [job for one in commands for job in one.bad_jobs()] if given.only != "good" else []
    wrong = []

    def show(outcome: Outcome) -> None:
        faults = outcome.faults()
        if faults:
            wrong.append(outcome)
        if faults or given.times:
            print(f"{outcome.seconds:6.1f} s  {outcome.job.script}.py {' '.join(outcome.job.argv)}")
        print(end="".join(f"    {line}\n" for fault in faults for line in fault.strip().splitlines()), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), given.workers, follow=not given.short and given.only != "bad", done=show)
        outcomes = runner.run([*good, *bad])
    pairs = sum(len(pairs_of(one.domains, list(one.refused))) for one in commands)
    print(f"{len(outcomes)} commands ({len(bad)} to be refused), {pairs} pairs of values, {len(wrong)} with faults")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, spent = time.perf_counter() - begun, used.ru_utime + used.ru_stime
    print(f"{seconds:.0f} s, {spent:.0f} s of processor time, {runner.peak_kib / 2**20:.2f} GiB in the largest process")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
