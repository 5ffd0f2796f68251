"""Packages of extras, imported where they are used."""

from importlib import import_module
from types import ModuleType

from jaxae.errors import InputError


def extra(module: str, package: str, name: str = "usecases") -> ModuleType:
    """A module of an optional package, such as PIL.Image of pillow, which the extra of this name installs.

    Raises:
        InputError: If the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise InputError(f"expected the package {package}, got none: pip install 'jaxae[{name}]'") from None
