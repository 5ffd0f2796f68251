"""Shapes and types written down are checked as the tests run: import this before anything of jaxae.

What `jaxae.config` and `jaxae.cli` refuse with a message of their own is theirs to check.
"""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ForwardRef, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, install_import_hook
from jaxtyping import config as jaxtyping_config

# Not bench: it runs in processes of its own.
ROOMS = ("data", "network", "parity", "port", "storage", "torch_rng", "training", "usecases")

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int where a float is asked for
_with_shapes: Callable[..., Any] = jaxtyping.jaxtyped


def _tells_a_shape(annotation: Any) -> bool:
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return True
    # A name in quotes may stand for anything.
    return isinstance(annotation, str | ForwardRef) or any(_tells_a_shape(one) for one in get_args(annotation))


def _without_shapes(function: Any) -> Any:
    """Beartype alone: binding arguments to compare their shapes takes some 30 us a call, a fifth of the tests."""
    typed = checked(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (function if jaxtyping_config.jaxtyping_disable else typed)(*args, **kwargs)

    return call


def _jaxtyped(target: Any = None, *, typechecker: Any) -> Any:
    """jaxtyping's decorator, which its hook puts on everything, where shapes are written."""
    if target is None:
        return partial(_jaxtyped, typechecker=typechecker)
    if inspect.isfunction(target) and not any(map(_tells_a_shape, target.__annotations__.values())):
        return _without_shapes(target)
    if inspect.isclass(target) and dataclasses.is_dataclass(target):
        made = vars(target).get("__init__")
        if inspect.isfunction(made) and not any(map(_tells_a_shape, made.__annotations__.values())):
            target.__init__ = _without_shapes(made)
            return target
    return _with_shapes(target, typechecker=typechecker)


jaxtyping.jaxtyped = _jaxtyped
install_import_hook([f"jaxae.{room}" for room in ROOMS], "checked_types.checked")
