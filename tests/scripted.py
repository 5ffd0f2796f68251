"""A script's command run to its end in this process."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import NamedTuple
from unittest.mock import patch

import jax
from commands.flags import SCRIPTS, main_of

from jaxae.cli import run


class End(NamedTuple):
    """How a command ended: its status, and what it wrote to both outputs."""

    status: int
    out: str
    err: str


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """What a command sets in JAX for its own process is put back."""
    before = {name: getattr(jax.config, name) for name in ("jax_compilation_cache_dir", "jax_enable_x64")}
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def ended(script: str, *argv: str) -> End:
    """Run a command; an error that it did not mean to raise is raised here."""
    main = main_of(script)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        settings_kept(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", [str(SCRIPTS / f"{script}.py"), *argv]),
    ):
        try:
            run(main)
        except SystemExit as exit:
            status = exit.code if isinstance(exit.code, int) else 1
    return End(status, out.getvalue(), err.getvalue())
