"""The pieces: functions and classes that are copied into the sources that use them, by name."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import Any

from jaxae.translation import pieces


def files_of(package: ModuleType) -> list[ModuleType]:
    """The files of a package, imported."""
    found = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [importlib.import_module(one.name) for one in found]


@cache
def catalogue() -> dict[str, Any]:
    """All pieces by name: what the files of `jaxae.translation.pieces` define."""
    found: dict[str, Any] = {}
    for file in files_of(pieces):
        found |= {name: one for name, one in vars(file).items() if getattr(one, "__module__", "") == file.__name__}
    return found


def with_needs(names: Iterable[str]) -> list[str]:
    """Names of pieces and of those that they use, each after what it uses."""
    ordered: list[str] = []

    def add(name: str) -> None:
        if name in ordered:
            return
        tree = ast.parse(inspect.getsource(catalogue()[name]))
        for other in sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(catalogue())):
            if other != name:
                add(other)
        ordered.append(name)

    for name in sorted(names):
        add(name)
    return ordered


def source_of_piece(name: str) -> str:
    """The source of a piece."""
    return inspect.getsource(catalogue()[name]).rstrip()
