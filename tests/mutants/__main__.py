"""Take out every guard: `python -m tests.mutants [--room NAME ...]`; status 1 if a mutant lives without a reason.

`--within FILE ...` is quicker: it runs test files, each guard that a test comes by switched off in its own process, and
adds what it finds to what earlier runs found (`.mutants/`).
"""

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from .arithmetic import find_arithmetic, sample
from .excused import excuse_of, stale
from .fork import import_libraries
from .guards import find_guards
from .mutant import Mutant, Source
from .named import named_mutants
from .survey import Survey, Verdict, files_of, read_sources
from .switched import Switched, fate


def main() -> None:
    """Record, make each mutant, and print the table of rooms and the survivors."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Take out every guard of jaxae.")
    parser.add_argument("--room", nargs="+", default=[], help="only these rooms, under their own tests alone")
    parser.add_argument("--list", action="store_true", help="print the mutants, and make none")
    parser.add_argument("--arithmetic", type=int, default=0, metavar="N", help="number of changes of arithmetic beside")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample of arithmetic")
    parser.add_argument("--within", nargs="+", default=[], metavar="FILE", help="switch guards off within these tests")
    given = parser.parse_args()
    begun = time.perf_counter()
    sources = read_sources()
    guards, arithmetic = find_guards([*sources.values()]), find_arithmetic(sources.values())
    if given.within:
        raise SystemExit(show_switched(sources, guards, given.within))
    rooms = given.room or sorted({one.room for one in [*guards, *arithmetic]})
    named = {one: file for one, file in named_mutants(sources).items() if one.room in rooms}
    changes = [one for one in arithmetic if one.room in rooms]
    chosen = [one for one in guards if one.room in rooms] + sample(changes, given.arithmetic, given.seed)
    if given.list:
        print("\n".join(f"{one.kind:8s} {one.name}" for one in [*chosen, *named]))
        return
    import_libraries()
    survey = Survey(sources, [*guards, *arithmetic], lambda line: print(line, flush=True))
    survey.record(files_of(given.room))
    verdicts = {one: survey.verdict(one, survey.tests_of(one, named.get(one, ""))) for one in [*chosen, *named]}
    failed = bool(survey.red) | show(verdicts)
    if wrong := survey.control(one.by for one in verdicts.values()):
        failed = True
        print(f"red with no mutant too, so that they show nothing: {', '.join(wrong)}")
    if old := [] if given.room else stale([*guards, *arithmetic]):
        failed = True
        print(f"reasons of no mutant: {old}")
    print(f"{time.perf_counter() - begun:.0f} s")
    raise SystemExit(failed)


def show_switched(sources: Mapping[str, Source], guards: Sequence[Mutant], files: Sequence[str]) -> bool:
    """Switch guards off within test files, and print what is known of all; whether one lives without a reason."""
    switched = Switched(sources, guards, lambda line: print(line, flush=True))
    switched.run(files)
    fates = {one: fate(found) for one, found in switched.found.items()}
    for room in sorted({one.room for one in guards}):
        counts = Counter(fates[one] for one in guards if one.room == room)
        print(f"{room:12s} {counts.total():4d}: {', '.join(f'{count} {name}' for name, count in counts.items())}")
    alive = [one for one in guards if fates[one] != "red" and excuse_of(one) is None]
    for one in alive:
        print(f"{fates[one]} {one.kind} {one.name}")
    return any(fates[one] == "green" for one in alive)


def show(verdicts: dict[Mutant, Verdict]) -> bool:
    """Print what became of the mutants; whether one lives without a reason."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    alive = {one: verdict for one, verdict in verdicts.items() if verdict.fate != "killed"}
    for one, verdict in verdicts.items():
        group = one.kind if one.kind in ("named", "operator", "constant", "not", "swap") else "guards"
        fate = "excused" if one in alive and excuse_of(one) else verdict.fate
        for key in ((one.room, group), ("all", group)):
            counts[key][fate] += 1
    for (room, group), found in sorted(counts.items()):
        told = ", ".join(f"{found[fate]} {fate}" for fate in ("killed", "survived", "unmet", "excused") if found[fate])
        print(f"{room:12s} {group:9s} {found.total():4d}: {told}")
    for one, verdict in alive.items():
        reason = excuse_of(one)
        print(f"{verdict.fate} ({verdict.ran} tests) {one.kind} {one.name}" + (f": {reason.why}" if reason else ""))
    return any(excuse_of(one) is None for one in alive)


if __name__ == "__main__":
    main()
