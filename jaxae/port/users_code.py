"""Functions of a user's own: those that make a network, or a loss."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxae.bounds import expanded
from jaxae.errors import InputError, brief


def call_factory(factory: str) -> object:
    """What a user's factory makes, package.module:factory or FILE.py:factory.

    Raises:
        InputError: If there is none of that name, it takes arguments, or it raises an error.
    """
    make = named(factory)
    with _running(f"package.module:factory, got {factory}"):
        return make()


def named(name: str) -> Callable[..., Any]:
    """A user's function, package.module:function of the folder that this runs in too, or FILE.py:function.

    Raises:
        InputError: If there is none of that name, or its module does not run.
    """
    package, _, function = name.rpartition(":") if ":" in name else (name, "", "")
    if package.endswith(".py"):
        module = module_of(expanded(package))
        found = getattr(module, function, None)
        if not callable(found):
            own = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
            own = [one for one in own if getattr(vars(module)[one], "__module__", "") == module.__name__]
            there = f"{package} with {', '.join(own[:8]) or 'no function'}"
            raise InputError(f"expected a function {function or 'said after a colon'} in {package}, got {there}")
        return found
    _search_first(Path.cwd())
    with _running(f"package.module:factory, got {name}"):
        found = getattr(importlib.import_module(package), function)
    if not callable(found):
        raise InputError(f"expected package.module:factory, got {name}: it is {type(found).__name__}")
    return found


def module_of(path: Path) -> ModuleType:
    """The module of a file, run once; its neighbours can be imported by it, as by a script.

    Raises:
        InputError: If there is no such file, or it does not run.
    """
    if not path.is_file():
        raise InputError(f"expected a Python file, got no {path}")
    path = path.resolve()
    name = f"jaxae_users_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _search_first(path.parent)
    sys.modules[name] = module
    try:
        with _running(f"a Python file that runs, got {path}"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _running(told: str) -> Iterator[None]:
    """Refuse in one line whatever the user's code in the block raises; its end of the process too, which says nothing.

    Raises:
        InputError: If it raises anything but an interruption, or an error of output that nobody reads.
    """
    try:
        yield
    except (InputError, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"expected {told}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """An error's kind, its text, and the line of the user's that raised it."""
    told = f"{type(error).__name__}: {brief(error, 200)}".removesuffix(": ")
    last = traceback.extract_tb(error.__traceback__)[-1]
    own = last.filename != __file__ and not last.filename.startswith("<frozen ")
    return f"{told} ({Path(last.filename).name}, line {last.lineno})" if own else told


def _search_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
