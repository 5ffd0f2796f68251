"""Guesses: what a Linen layer is by its names and the shapes of its variables, where its module was not run.

Linen's own names tell the class (`ConvTranspose_0`); other names with a kernel of two axes are a dense layer's. What
may be one of several layers with other axes in torch is not guessed, but asked for.
"""

import re
from collections.abc import Callable
from typing import Any

from flax import linen

from jaxae.port.linen.kinds import KINDS, Shapes, refused

_NAMED = re.compile(r"(\w+?)_\d+")
_ATTENTION = {"query", "key", "value", "out"}
_LSTM = {f"{side}{gate}" for side in "ih" for gate in "ifgo"}
_GRU = {f"{side}{gate}" for side in "ih" for gate in "rzn"}


class UnsureError(Exception):
    """Names and shapes leave it open which layer it is; the message says between what."""


def class_named(name: str) -> str:
    """The Linen class that a name like `Conv_0` tells, else nothing."""
    found = _NAMED.fullmatch(name)
    return found[1] if found and (found[1] in KINDS or refused(found[1])) else ""


def guess(name: str, shapes: Shapes) -> linen.Module | None:
    """A Linen layer of the kind that has variables of this name and these shapes, with its defaults.

    None where they are no layer's of the table: a branch with layers below it, or variables of one's own.

    Raises:
        UnsureError: If they may be those of several layers.
    """
    told = class_named(name)
    try:
        if told:
            return _MADE.get(told, lambda _: KINDS[told]())(shapes)
    except KeyError:  # a class of one's own that has the name of Linen's
        pass
    own = {path for path in shapes if "." not in path}
    parts = {path.partition(".")[0] for path in shapes}
    if parts == _ATTENTION and not own and len(shapes.get("query.kernel", ())) == 3:
        return _attention(shapes)
    if parts == _LSTM and not own:
        return linen.LSTMCell(shapes["hi.kernel"][-1])
    if parts == _GRU and not own:
        return linen.GRUCell(shapes["hn.kernel"][-1])
    if own != set(shapes):
        return None
    if own <= {"kernel", "bias"} and "kernel" in own:
        return _of_kernel(shapes)
    if own <= {"scale", "bias", "mean", "var"} and {"mean", "var"} <= own:
        return _norm(linen.BatchNorm, shapes)
    if own == {"scale", "bias"}:
        return linen.LayerNorm()
    if own == {"scale"}:
        return linen.RMSNorm()
    if own == {"embedding"}:
        return _embed(shapes)
    return linen.PReLU() if own == {"negative_slope"} else None


def _embed(shapes: Shapes) -> linen.Module:
    rows, features = shapes["embedding"][-2:]
    return linen.Embed(rows, features)


def _of_kernel(shapes: Shapes) -> linen.Module:
    kernel = shapes["kernel"]
    if len(kernel) == 2:
        return linen.Dense(kernel[1])
    if len(kernel) < 2:
        raise UnsureError(f"its kernel {kernel} is that of no layer")
    size = kernel[1:-2] if len(kernel) > 5 else kernel[:-2]
    may = f"linen.Conv({kernel[-1]}, {size}), linen.ConvTranspose({kernel[-1]}, {size})"
    bias = shapes.get("bias", kernel[-1:])
    general = f", linen.DenseGeneral({bias if len(bias) > 1 else kernel[-1]}, ...)"
    raise UnsureError(f"its kernel {kernel} may be that of {may}{general}")


def _norm(kind: Any, shapes: Shapes) -> linen.Module:
    return kind(use_scale="scale" in shapes, use_bias="bias" in shapes)


def _conv_transpose(shapes: Shapes) -> linen.Module:
    kernel, bias = shapes["kernel"], shapes.get("bias")
    one, two = kernel[-2:]
    out = None if bias is None else bias[-1]
    if one == two or out is None:
        size = kernel[:-2]
        said = f"linen.ConvTranspose({two}, {size}) and linen.ConvTranspose({one}, {size}, transpose_kernel=True)"
        raise UnsureError(f"its kernel {kernel} may be that of {said}")
    return linen.ConvTranspose(out, kernel[:-2], transpose_kernel=out == one)


def _dense_general(shapes: Shapes) -> linen.Module:
    kernel, bias = shapes["kernel"], shapes.get("bias")
    if bias is None and len(kernel) > 2:
        raise UnsureError(f"its kernel {kernel} may be that of linen.DenseGeneral with one axis or several")
    outputs = 1 if bias is None else len(bias)
    axes = tuple(range(outputs - len(kernel), 0))
    return linen.DenseGeneral(kernel[len(kernel) - outputs :], axis=axes)


def _einsum(shapes: Shapes) -> linen.Module:
    kernel = shapes["kernel"]
    raise UnsureError(f"its equation is not known: linen.Einsum({kernel}, '...a,ab->...b') say")


def _attention(shapes: Shapes) -> linen.Module:
    return linen.MultiHeadDotProductAttention(num_heads=shapes["query.kernel"][-2])


def _group_norm(shapes: Shapes) -> linen.Module:
    (features,) = shapes.get("scale", shapes.get("bias", (1,)))[-1:]
    return linen.GroupNorm(num_groups=None, group_size=features, use_scale="scale" in shapes, use_bias="bias" in shapes)


# How to make those that have no defaults, and those of which variables tell more than the name.
_MADE: dict[str, Callable[[Shapes], linen.Module]] = {
    "Dense": lambda shapes: linen.Dense(shapes["kernel"][-1]),
    "Conv": lambda shapes: linen.Conv(shapes["kernel"][-1], shapes["kernel"][:-2]),
    "ConvTranspose": _conv_transpose,
    "BatchNorm": lambda shapes: _norm(linen.BatchNorm, shapes),
    "LayerNorm": lambda shapes: _norm(linen.LayerNorm, shapes),
    "InstanceNorm": lambda shapes: _norm(linen.InstanceNorm, shapes),
    "GroupNorm": _group_norm,
    "Embed": _embed,
    **dict.fromkeys(("MultiHeadDotProductAttention", "MultiHeadAttention", "SelfAttention"), _attention),
    "DenseGeneral": _dense_general,
    "Einsum": _einsum,
    "LSTMCell": lambda shapes: linen.LSTMCell(shapes["hi.kernel"][-1]),
    "OptimizedLSTMCell": lambda shapes: linen.OptimizedLSTMCell(shapes["hi.kernel"][-1]),
    "SimpleCell": lambda shapes: linen.SimpleCell(shapes["h.kernel"][-1]),
    "GRUCell": lambda shapes: linen.GRUCell(shapes["hn.kernel"][-1]),
}
