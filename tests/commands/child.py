"""A process that runs commands one after another, with JAX started once: jobs on standard input, outcomes on output."""

import contextlib
import importlib
import io
import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from .flags import SCRIPTS, main_of

RESTING_KIB = 1_200_000  # resident memory above which compiled programs are dropped


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Run a command in its folder: its status, what it wrote to both outputs, its traceback and its seconds."""
    from jaxae.cli import run

    Path(job["folder"]).mkdir(parents=True, exist_ok=True)
    os.chdir(job["folder"])
    sys.argv = [str(SCRIPTS / f"{job['script']}.py"), *job["argv"]]
    out, err, broken, status = io.StringIO(), io.StringIO(), "", 0
    begun = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        try:
            run(main_of(job["script"]))
        except SystemExit as exit:
            status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        except BaseException:
            broken, status = traceback.format_exc(), 1
    spent = time.process_time() - begun
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "broken": broken, "seconds": spent}


def main() -> None:
    """Run the jobs, a line of JSON for each outcome."""
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(run_job(json.loads(line))), file=answers, flush=True)
        if _resident_kib() > RESTING_KIB and "jax" in sys.modules:
            importlib.import_module("jax").clear_caches()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_kib": peak}), file=answers, flush=True)


def _resident_kib() -> int:
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
