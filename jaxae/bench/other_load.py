"""How busy others keep the processor cores that this process may use."""

import os
import time
from pathlib import Path
from typing import NamedTuple

TABLE = Path("/proc/stat")
# A turn in which others had more of a core than this is disturbed.
MOST = 0.25
# The system counts in hundredths of a second: shares of a shorter time mean little.
_LEAST_SECONDS = 0.2


class Used(NamedTuple):
    """Seconds so far: on the clock, of the cores by whomever, and of this process."""

    wall: float
    cores: float
    own: float


def used() -> Used | None:
    """What has been used of the cores that this process may use, a hypervisor's steal counted; None if untold."""
    if not TABLE.exists() or not hasattr(os, "sched_getaffinity"):
        return None
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in TABLE.read_text().splitlines())
    # User, nice, system, (idle, waiting for a disk,) interrupts, soft interrupts, steal.
    ticks = sum(int(one[at]) for one in lines if one and one[0] in cores for at in (1, 2, 3, 6, 7, 8))
    return Used(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def share_of_others(before: Used | None, after: Used | None) -> float | None:
    """Cores that others kept busy between two moments: 0.5 is half of one; None if untold, or in so short a time."""
    if before is None or after is None or after.wall - before.wall < _LEAST_SECONDS:
        return None
    others = (after.cores - before.cores) - (after.own - before.own)
    return max(0.0, others / (after.wall - before.wall))
