"""A process that reads altered files one after another: `python -m tests.fuzz.child SAMPLES READER SEED FIRST COUNT`.

It tells of each file on standard output as it ends; its standard error is a file, in which its parent and it itself
look for what was printed.
"""

import dataclasses
import faulthandler
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .mutants import Mutant, mutant
from .outcome import Outcome, read
from .readers import READERS, Reader

USELESS = 3  # exit status where a sound file is not read
# Seconds of processor time, and by the clock, after which Python's stacks are shown and the process ends: it may wait
# long for a processor, but not for what never comes.
_SLOWEST, _LONGEST = 30, 900
_ROOM = 8 << 30  # bytes of address space beyond those that the sound files took


def main() -> None:
    """Read the sound files, then the altered ones; a line of JSON for each of the latter."""
    samples, name, seed, first, count = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6])
    reader = READERS[name]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.register(signal.SIGPROF, chain=True)  # which ends the process then
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "folder"
        if reader.whole:
            shutil.copytree(samples, folder.with_name("sound"))
        for path in sorted(path for path in samples.rglob("*") if path.is_file()):
            sound = Mutant(str(path.relative_to(samples)), path.read_bytes())
            outcome = _read(reader, sound, samples, folder)
            if outcome.kind != "sound" and not outcome.slow:  # the first may compile programs
                print(f"expected {name} to read the sound {sound.name}, got {outcome.reason}", file=sys.stderr)
                raise SystemExit(USELESS)
        _limit_memory()
        for number in range(first, first + count):
            outcome = _read(reader, mutant(samples, name, seed, number), samples, folder)
            print(json.dumps(dataclasses.asdict(outcome)), file=answers, flush=True)


def _read(reader: Reader, altered: Mutant, samples: Path, folder: Path) -> Outcome:
    path = altered.place(samples, folder, whole=reader.whole)
    signal.setitimer(signal.ITIMER_PROF, _SLOWEST)
    faulthandler.dump_traceback_later(_LONGEST, exit=True)
    told = os.fstat(2).st_size
    outcome = read(reader, path)
    sys.stderr.flush()
    said = os.pread(2, 1 << 20, told).decode(errors="replace")
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_PROF, 0)
    shutil.rmtree(folder)
    said = re.sub(reader.noise, "", said) if reader.noise else said
    if "Traceback" in said or "panicked" in said:
        return dataclasses.replace(outcome, kind="stray", reason=f"it printed {said[-2000:]}")
    return outcome


def _limit_memory() -> None:
    """Let a reader that asks for memory without end fail, and not the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    if pages is not None:
        most = pages * resource.getpagesize() + _ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
