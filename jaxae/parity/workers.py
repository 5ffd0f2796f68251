"""Workers: the ladder climbed by several processes, each with one thread of each framework."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from jaxae.parity.ladder import Plan, Report, climb

# Rungs that share compiled programs stay together.
_TOGETHER = (("layers", "losses"), ("initialisation", "model", "step", "run"), ("trajectory",))


def climb_together(plan: Plan, workers: int) -> Iterator[Report]:
    """Climb the ladder with so many processes; parts of the report in the order of the ladder.

    torch's threads spin while they wait, so a thread a process is faster than many in one.
    """
    context = multiprocessing.get_context("spawn")
    plans = list(_divide(plan))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare) as pool:
        # The longest first, so that none is left to run alone at the end.
        longest = sorted(plans, key=lambda part: "trajectory" not in part.rungs)
        futures = {id(part): pool.submit(climb, part) for part in longest}
        try:
            for part in plans:
                yield futures[id(part)].result()
        finally:
            pool.shutdown(cancel_futures=True)


def prepare() -> None:
    """Set up this process: XLA as in training, float64, exact products, one thread of torch."""
    import jax
    import torch

    from jaxae.training.runtime import keep_compiled_programs, set_xla_flags

    set_xla_flags()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    keep_compiled_programs()
    torch.set_num_threads(1)


def _divide(plan: Plan) -> Iterator[Plan]:
    shared, *others = (tuple(rung for rung in group if rung in plan.rungs) for group in _TOGETHER)
    if shared:
        yield replace(plan, models=(), rungs=shared)
    for rungs in others:
        if rungs:
            for name in plan.models:
                yield replace(plan, models=(name,), rungs=rungs)
