"""Several runs of one network, with batches of other sizes and in another precision, read as one graph."""

from collections.abc import Sequence
from typing import Any

from jaxae.translation.graph import Body, Dtype, Graph, Op, Ref, Size, Tree, Value


class DifferError(Exception):
    """Two runs that did other things, and where they part."""


def align(graphs: Sequence[Graph]) -> Graph:
    """The one graph of two runs, in which numbers that follow the batch are `Size`.

    Raises:
        DifferError: If the runs did other things.
    """
    first, second = graphs
    body = _body(first.body, second.body)
    if len(first.values) != len(second.values):
        raise DifferError("another number of tensors")
    values = [_value(one, other) for one, other in zip(first.values, second.values, strict=True)]
    return Graph(body, values)


def _value(one: Value, other: Value) -> Value:
    shape: Any = _tree(one.shape, other.shape, "a tensor's axes")
    dtype: Any = _tree(one.dtype, other.dtype, "a tensor's dtype")
    return Value(shape, dtype, one.names, one.path, one.constant, one.data)


def _body(one: Body, other: Body) -> Body:
    for index, (op, twin) in enumerate(zip(one.ops, other.ops, strict=False)):
        if op.target != twin.target or op.module != twin.module:
            raise DifferError(
                f"{op.where}: {op.target} once, {twin.target} then (operation {index} of {one.path or 'it'})"
            )
    if len(one.ops) != len(other.ops):
        longer = max(one.ops, other.ops, key=len)
        at = longer[min(len(one.ops), len(other.ops))].where
        raise DifferError(f"{at}: it runs more often in one of the runs")
    ops = [_op(op, twin) for op, twin in zip(one.ops, other.ops, strict=True)]
    where = one.path or "the network"
    return Body(
        one.path, one.number, _tree(one.inputs, other.inputs, where), ops, _tree(one.result, other.result, where)
    )


def _op(one: Op, other: Op) -> Op:
    arguments: Any = _tree(one.arguments, other.arguments, one.where)
    body = _body(one.body, other.body) if one.body and other.body else None
    return Op(one.target, arguments, _tree(one.result, other.result, one.where), one.where, one.module, body)


def _tree(one: Tree, other: Tree, where: object) -> Tree:
    if isinstance(one, dict) and isinstance(other, dict) and list(one) == list(other):
        return {key: _tree(one[key], other[key], where) for key in one}
    if isinstance(one, tuple | list) and type(one) is type(other) and len(one) == len(other):
        return type(one)(_tree(a, b, where) for a, b in zip(one, other, strict=True))
    if isinstance(one, slice) and isinstance(other, slice):
        parts = [(one.start, other.start), (one.stop, other.stop), (one.step, other.step)]
        return slice(*(_tree(a, b, where) for a, b in parts))
    if isinstance(one, Dtype) and isinstance(other, Dtype):
        return Dtype(one.each + other.each)
    if type(one) is int and type(other) is int and one != other:
        return Size((one, other))
    if isinstance(one, Ref) or type(one) is not type(other) or not _same(one, other):
        if isinstance(one, Ref) and one == other:
            return one
        raise DifferError(f"{where}: {one!r} once, {other!r} then")
    return one


def _same(one: object, other: object) -> bool:
    return one is other or bool(one == other) or (one != one and other != other)
