"""Calls of a network read as a whole: which did the same, in inference and in training, and what layers ask for."""

from collections.abc import Callable, Iterator
from typing import Any

from jaxae.translation.graph import Body, Graph, Op, Ref, Size, Tree, mapped, refs


def alike(one: Body, other: Body) -> bool:
    """Whether two calls of a module did the same, with tensors of whatever batch."""
    if len(one.ops) != len(other.ops):
        return False
    for op, twin in zip(one.ops, other.ops, strict=True):
        if op.target != twin.target or _constants(op.arguments) != _constants(twin.arguments):
            return False
        if op.body and twin.body and not alike(op.body, twin.body):
            return False
    return True


def differing(graph: Graph, training: Graph) -> dict[str, Body]:
    """What modules do in training mode, where it is something else; values are numbered on from inference's."""
    moved = _shifted(training.body, len(graph.values))
    first: dict[str, Body] = {}
    for one in bodies_of(graph.body):
        first.setdefault(one.path, one)
    found: dict[str, Body] = {}
    for one in bodies_of(moved):
        if one.path in first and one.path not in found and not _same_own(first[one.path], one):
            found[one.path] = one
    if found:  # what they call, they call with tensors of that run
        for one in bodies_of(moved):
            found.setdefault(one.path, one)
        same = {path for path, one in found.items() if path in first and _same_own(first[path], one)}
        return {path: one for path, one in found.items() if path not in same}
    return {}


def bodies_of(body: Body) -> Iterator[Body]:
    """A call and all calls within it."""
    yield body
    for op in body.ops:
        if op.body is not None:
            yield from bodies_of(op.body)


def _same_own(one: Body, other: Body) -> bool:
    """Whether a module does the same in both modes, leaving aside what its submodules do, and dropout."""
    if len(one.ops) != len(other.ops):
        return False
    for op, twin in zip(one.ops, other.ops, strict=True):
        if op.target != twin.target:
            return False
        if "dropout" not in op.target and _constants(op.arguments) != _constants(twin.arguments):
            return False
    return _wiring(one) == _wiring(other)


def _wiring(body: Body) -> Tree:
    """Which tensors go where, by the order in which they come up."""
    numbers: dict[int, int] = {}

    def number(leaf: Any) -> Any:
        return numbers.setdefault(leaf.index, len(numbers)) if isinstance(leaf, Ref) else None

    return [mapped(number, part) for op in body.ops for part in (op.arguments[0], op.arguments[1], op.result)] + [
        mapped(number, body.result)
    ]


def _shifted(body: Body, by: int) -> Body:
    def shift(leaf: Any) -> Any:
        return Ref(leaf.index + by) if isinstance(leaf, Ref) else leaf

    ops = [
        Op(
            op.target,
            mapped(shift, op.arguments),
            mapped(shift, op.result),
            op.where,
            op.module,
            _shifted(op.body, by) if op.body is not None else None,
        )
        for op in body.ops
    ]
    return Body(body.path, body.number, mapped(shift, body.inputs), ops, mapped(shift, body.result))


def _constants(tree: Tree) -> Tree:
    return mapped(lambda leaf: "tensor" if isinstance(leaf, Ref) else "size" if isinstance(leaf, Size) else leaf, tree)


def wanted_last(body: Body, channels: Callable[[Op], bool]) -> set[int]:
    """The values that layers take with channels at the end, before anything takes them in torch's axes."""
    first: dict[int, bool] = {}
    for op in all_ops(body):
        if op.body is not None:
            continue
        takes = channels(op)
        for position, one in enumerate(refs(op.arguments)):
            first.setdefault(one.index, takes and position == 0)
    return {index for index, wanted in first.items() if wanted}


def all_ops(body: Body) -> Iterator[Op]:
    """All that was done in a call, in order, also within."""
    for op in body.ops:
        yield op
        if op.body is not None:
            yield from all_ops(op.body)
