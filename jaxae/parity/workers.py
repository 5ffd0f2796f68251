"""Workers: the ladder run by several processes."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from jaxae.bounds import check_fits
from jaxae.ending import deaf_to_interrupts, end_with_parent
from jaxae.errors import InputError
from jaxae.parity.ladder import LadderResult, run_ladder
from jaxae.parity.mutations import mutation_of
from jaxae.parity.settings import LadderSettings

# Rungs that share compiled programs stay together.
_OF_NO_NETWORK = ("layers", "losses")
_TOGETHER = (("initialisation", "model", "step", "run"), ("trajectory",))


def run_in_workers(settings: LadderSettings, workers: int) -> Iterator[LadderResult]:
    """Run the ladder with so many processes; parts of the result in the order of the ladder.

    torch's threads spin while they wait, so a thread a process is faster than many in one.

    Raises:
        InputError: If the mutation is unknown, steps are beyond memory, MNIST cannot be had, or a process is killed.
    """
    if settings.mutation:
        mutation_of(settings.mutation)
    if "trajectory" in settings.rungs:
        check_fits("steps", settings.steps * 16 * 50 * 8)  # noise of the smallest batch
    context = multiprocessing.get_context("spawn")
    parts = list(_divide(settings))
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(settings.threads, settings.devices)
    ) as pool:
        # The longest first, so that none is left to run alone at the end; the last network but one trains thrice.
        longest = sorted(parts, key=lambda part: ("trajectory" not in part.rungs, "11" not in part.models[0]))
        others = multiprocessing.active_children()
        try:
            with deaf_to_interrupts():
                futures = {part: pool.submit(run_ladder, part) for part in longest}
            for part in parts:
                yield futures[part].result()
        except BaseException as error:  # a signal's, too: the parts under way are not waited for
            for child in {*multiprocessing.active_children()} - {*others}:
                child.kill()
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    "expected workers that live, got one that was killed: fewer take less memory"
                ) from None
            raise


def prepare(threads: int = 1, devices: int = 1) -> None:
    """Set up this process: XLA as in training, float64, exact products, threads of torch and devices of JAX."""
    import jax
    import torch

    from jaxae.training.runtime import keep_compiled_programs, set_xla_flags

    set_xla_flags()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_default_matmul_precision", "highest")
    keep_compiled_programs()
    torch.set_num_threads(threads)
    # Left alone for one, which an environment's XLA_FLAGS may have made more.
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)


def _begin(threads: int, devices: int) -> None:
    end_with_parent()
    prepare(threads, devices)


def _divide(settings: LadderSettings) -> Iterator[LadderSettings]:
    if shared := tuple(rung for rung in _OF_NO_NETWORK if rung in settings.rungs):
        yield replace(settings, rungs=shared)
    for group in _TOGETHER:
        if rungs := tuple(rung for rung in group if rung in settings.rungs):
            for name in settings.models:
                yield replace(settings, models=(name,), rungs=rungs)
