"""How a command line becomes a call, and whatever ends it one line."""

import argparse
import contextlib
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxae.bounds import kinds_of
from jaxae.cli.training_flags import KLFlags, LikelihoodFlags, TrainFlags
from jaxae.config import read_config
from jaxae.ending import carry_out
from jaxae.errors import InputError

if TYPE_CHECKING:
    pass


def run(main: Callable[..., None]) -> None:
    """Parse the command line for a function, and call it; what ends it before its time is told in one line.

    Its docstring and arguments make the help. A command line that does not parse is an InputError; the other ends and
    their statuses are those of `jaxae.ending.carry_out`; warnings are one line each.
    """
    warnings.showwarning = _show_warning
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  it is open as long as the process
    carry_out(lambda: bind(main)())


def bind(main: Callable[..., None]) -> Callable[[], None]:
    """The function with its arguments from the command line, to be called.

    Raises:
        InputError: If the command line does not parse, or names a `config.json` that is none.
    """

    @wraps(main)
    def bound(*args: Any, **keywords: Any) -> Callable[[], None]:
        return partial(main, *args, **keywords)

    prog, said = Path(sys.argv[0]).name, io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(partial(bound, **_defaults_of_file(main)), prog=prog)
    except SystemExit as exit:
        if not exit.code:
            raise
    # tyro draws a box: a title, then sections between rules, the last ones on help.
    title, _, box = re.sub("[╭╮╰╯│]", " ", said.getvalue()).strip("─- \n").partition("\n")
    sections = [" ".join(section.split()) for section in re.split("[─-]{5,}", box)]
    told = "; ".join(one for one in sections if one and not re.match("(For full|Argument) helptext", one))
    title = title.strip("─- ").lower()
    told = re.sub(f"^{title}:? ", "", told, flags=re.IGNORECASE)
    raise InputError(f"expected what {prog} --help lists, got {title}: {told}")


def _defaults_of_file(main: Callable[..., None]) -> dict[str, Any]:
    """Defaults of a training's arguments that come from the file that --config names; those that it says."""
    usual = {name: one.default for name, one in inspect.signature(main).parameters.items()}
    if not any(isinstance(value, TrainFlags) for value in usual.values()):
        return {}
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", nargs="?")
    named = finder.parse_known_args()[0].config
    if named is None:
        return {}
    path = Path(named)
    config = read_config(path)
    found: dict[str, Any] = {}
    for name, value in usual.items():
        if isinstance(value, TrainFlags):
            found[name] = TrainFlags.of_file(path, config)
        elif isinstance(value, KLFlags):
            found[name] = KLFlags(**{one: getattr(config.train, one) for one in kinds_of(KLFlags)})
        elif isinstance(value, LikelihoodFlags):
            found[name] = LikelihoodFlags(
                **{one: getattr(config.model, one, getattr(value, one)) for one in kinds_of(LikelihoodFlags)}
            )
        else:  # of another model it may have no such setting, which the training then refuses
            found[name] = getattr(config.model, name, value)
    return found


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)
