"""The same noise for both frameworks: what they draw is replaced by numbers that depend on the shape alone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.overrides import TorchFunctionMode, resolve_name


@contextmanager
def same_noise(*, dropout: bool = False) -> Iterator[None]:
    """Draw the same numbers in torch and in JAX, whatever the seeds and keys.

    Args:
        dropout: Whether torch's functions of dropout give back what they are given.
    """
    drawn: dict[str, Callable[..., Any]] = {
        "normal": lambda key, shape=(), dtype=float: jnp.asarray(_normal(shape), dtype),
        "uniform": lambda key, shape=(), dtype=float, minval=0.0, maxval=1.0: (
            jnp.asarray(_uniform(shape), dtype) * (maxval - minval) + minval
        ),
        "bernoulli": lambda key, p=0.5, shape=None: _uniform(np.shape(p) if shape is None else shape) < p,
        "randint": lambda key, shape, minval, maxval, dtype=int: jnp.asarray(
            np.floor(_uniform(shape) * (maxval - minval)) + minval, dtype
        ),
    }
    with ExitStack() as stack:
        for name, draw in drawn.items():
            stack.enter_context(mock.patch.object(jax.random, name, draw))
        stack.enter_context(_Drawn(dropout))
        yield


class Widened(TorchFunctionMode):
    """Computes in float64 what a network would round to float32: its own widening of narrower floats, RMSNorm's say."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch in place of each of its functions."""
        if func is torch.Tensor.float:
            return args[0].double()
        wide = [torch.float64 if one is torch.float32 else one for one in args]
        named = {key: torch.float64 if one is torch.float32 else one for key, one in (kwargs or {}).items()}
        return func(*wide, **named)


class _Drawn(TorchFunctionMode):
    """Replaces what torch draws."""

    def __init__(self, dropout: bool):
        super().__init__()
        self._dropout = dropout

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = (resolve_name(func) or "").rpartition(".")[2]
        if self._dropout and name == "scaled_dot_product_attention":
            args = (*args[:4], *[0.0 for _ in args[4:5]], *args[5:])
            kwargs = {key: 0.0 if key == "dropout_p" else value for key, value in (kwargs or {}).items()}
        if self._dropout and "dropout" in name:
            return args[0] if args else (kwargs or {})["input"]
        result = func(*args, **(kwargs or {}))
        if name in ("randn", "randn_like", "normal_", "normal"):
            moved = name in ("normal_", "normal") and len(args) > 1
            return _put(
                result,
                _normal(result.shape) * (args[2] if moved and len(args) > 2 else 1.0)
                + (args[1] if moved and not torch.is_tensor(args[1]) else 0.0),
            )
        if name in ("rand", "rand_like", "uniform_"):
            return _put(result, _uniform(result.shape))
        if name == "bernoulli":
            return _put(result, _uniform(result.shape) < args[0].detach().numpy())
        if name in ("randint", "randint_like"):
            low, high = (0, args[0]) if not isinstance(args[1], int) else args[:2]
            return _put(result, np.floor(_uniform(result.shape) * (high - low)) + low)
        return result


def _put(tensor: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return tensor.copy_(torch.from_numpy(np.asarray(values)))


def _normal(shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng([3, *shape]).standard_normal(tuple(shape))


def _uniform(shape: Sequence[int]) -> np.ndarray:
    return np.random.default_rng([5, *shape]).random(tuple(shape))
