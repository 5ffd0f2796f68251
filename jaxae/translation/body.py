"""The call of a unit: its statements, from what the module did."""

import re
from collections.abc import Callable
from typing import Any

from jaxae.translation.build import Builder
from jaxae.translation.graph import Body, Dtype, Op, Ref, Size, Tree, Value, mapped, refs
from jaxae.translation.modes import alike
from jaxae.translation.modules import is_plain_sequence
from jaxae.translation.rules import FUNCTIONS
from jaxae.translation.spelling import accesses, size_of
from jaxae.translation.units import Statement, Unit
from jaxae.translation.writer import TO_LAST, VALUE, Out, RefusedError, Tensor, Writer

# What says where a tensor lies in torch, and nothing of what is computed.
_PLACES = {"device", "memory_format", "non_blocking", "layout", "requires_grad", "pin_memory", "out", "generator"}


def write_body(builder: Builder, unit: Unit, body: Body, *, root: bool = False, training: bool = False) -> None:
    """Fill a unit with what a call of its module did."""
    BodyWriter(builder, unit, body, root, training).write()


class BodyWriter:
    """Writes the call of one unit."""

    def __init__(self, builder: Builder, unit: Unit, body: Body, root: bool, training: bool = False):
        self.builder, self.unit, self.body, self.root, self.training = builder, unit, body, root, training
        self.values, self.last = builder.graph.values, builder.last
        self._op: Op | None = None
        self._seen: list[int] = [one.index for one in refs(body.inputs)]
        self._given_here = set() if root else set(self._seen)  # a parameter that is an argument is read as such
        self._alias: dict[int, str] = {}
        self.writer = Writer(unit.holes, self._size, self._make, training)

    def write(self) -> None:
        """Fill the unit."""
        unit, body = self.unit, self.body
        unit.number = body.number
        unit.parameters = {name: tree for name, tree in body.inputs.items() if list(refs(tree))}
        if self.root:
            for one in refs(body.inputs):
                if one.index in self.builder.wanting and len(self.values[one.index].shape) >= 3:
                    self._renamed(one.index, TO_LAST.format(f"__v{one.index}__"))
                    self.last[one.index] = True
        for op in body.ops:
            self._op = op
            try:
                self._submodule(op) if op.module else self._function(op)
            except RefusedError as error:
                self._refuse(op, str(error))
        self._op = None
        unit.result = self._returned(body.result)

    def _refuse(self, op: Op, why: str) -> None:
        name = f"{op.target} ({type(self.builder.modules[op.target]).__name__}) " if op.module else f"{op.target} "
        self.builder.refusals.append(f"{op.where}: {name}{why}")
        for one in refs(op.result):
            self._define((one.index,), "None", (False,))

    def _function(self, op: Op) -> None:
        rule = FUNCTIONS.get(op.target)
        if rule is None:
            raise RefusedError("is an operation without a rule")
        args, kwargs = mapped(self._operand, op.arguments)
        kwargs = {key: value for key, value in kwargs.items() if key not in _PLACES}
        self._results(op.result, self._written(rule.write, "", *args, **kwargs))

    def _submodule(self, op: Op) -> None:
        builder, module = self.builder, self.builder.modules[op.target]
        if attended := builder.attended(op.target):
            (x,) = mapped(self._operand, op.arguments[0])
            table = builder.places.expression(self.unit.path, attended)
            self._results(op.result, Out(f"{table}.attend({self.writer.plain(x)})"))
            return
        if op.body is None:
            layer, here = builder.layer(op.target), builder.places.expression(self.unit.path, op.target)
            assert layer is not None
            args, kwargs = mapped(self._operand, op.arguments)
            self._results(op.result, self._written(layer.call, f"{type(module).__name__} ", here, *args, **kwargs))
            return
        if is_plain_sequence(module):
            self._sequence(op)
            return
        if op.target not in builder.bodies:
            builder.unit_of(op.body)
        given = [self._given(tree, like) for tree, like in self._arguments(op)]
        self._called(op, f"{builder.places.expression(self.unit.path, op.target)}({', '.join(given)})")

    def _written(self, write: Callable[..., Any], who: str, *args: Any, **kwargs: Any) -> Any:
        """What a rule writes of torch's arguments, which it takes by torch's names."""
        try:
            return write(self.writer, *args, **kwargs)
        except TypeError as error:
            said = re.sub(r"^\w+\(\) ", "", str(error))
            raise RefusedError(f"{who}has arguments without a rule: {said}") from None

    def _sequence(self, op: Op) -> None:
        builder = self.builder
        assert op.body is not None
        if op.target not in builder.chains:
            builder.bodies[op.target] = op.body
            builder.chains[op.target] = builder.chain(self.unit, op.body)
        code = f"{builder.places.expression(self.unit.path, op.target)}({self._given(*self._arguments(op)[0])})"
        self._called(op, code)

    def _arguments(self, op: Op) -> list[tuple[Tree, Tree]]:
        """What is given to a submodule, each beside what its first call was given."""
        assert op.body is not None
        first = self.builder.first(op.target, self.training)
        if op.body is not first and not alike(first, op.body):
            raise RefusedError(f"calls {op.target} once more, for which it does other things")
        first = self.builder.bodies[op.target]
        pairs = zip(op.body.inputs.values(), first.inputs.values(), strict=True)
        return [(tree, like) for tree, like in pairs if list(refs(tree))]

    def _given(self, tree: Tree, like: Tree) -> str:
        """An argument in the layout that the submodule was written for."""
        for one, first in zip(refs(tree), refs(like), strict=True):
            if self.last.get(one.index, False) != self.last.get(first.index, False):
                x = self._tensor(one)
                if not isinstance(tree, Ref):
                    raise RefusedError("is given tensors in another layout than before")
                return self.writer.last(x) if self.last.get(first.index) else self.writer.plain(x)
        return self._tree_code(tree)

    def _called(self, op: Op, code: str) -> None:
        assert op.body is not None
        first = self.builder.first(op.target, self.training)
        for one, like in zip(refs(op.result), refs(first.result), strict=True):
            if one.index != like.index:
                self.last[one.index] = self.last.get(like.index, False)
        fresh = [one.index for one in refs(op.result)]
        if isinstance(op.result, Ref):
            if fresh[0] in self._seen:  # the module gave back what it was given
                return
            self._define((fresh[0],), code, (self.last.get(fresh[0], False),), settle=False)
        elif isinstance(op.result, tuple | list) and all(isinstance(one, Ref) for one in op.result):
            lasts = tuple(self.last.get(one, False) for one in fresh)
            self._define(tuple(fresh), code, lasts, settle=False)
        else:
            self._nested(op.result, code)

    def _nested(self, tree: Tree, code: str) -> None:
        """Results in a tree: the tree gets a variable, each tensor is read out of it."""
        index = len(self.values)
        self.values.append(Value((), Dtype(("float32",)), {self.body.number: "out"}))
        self.unit.statements.append(Statement((index,), code))
        for access, one in accesses(tree):
            self._alias[one.index] = f"__v{index}__{access}"
            self._seen.append(one.index)

    def _results(self, result: Tree, out: Any) -> None:
        """Define what an operation gave."""
        if isinstance(result, Ref):
            assert isinstance(out, Out)
            self._define((result.index,), out.code, (out.last,))
            return
        several = list(refs(result))
        if isinstance(out, Out) and any(isinstance(one, tuple | list | dict) for one in result):
            self._nested(result, out.code)
        elif isinstance(out, Out):
            self._define(tuple(one.index for one in several), out.code, (out.last,) * len(several), settle=False)
        elif isinstance(out, tuple | list) and len(out) == 2 and isinstance(out[1], list):
            code, lasts = out
            self._define(tuple(one.index for one in several), code, tuple(lasts), settle=False)
        else:
            for one, each in zip(several, out, strict=True):
                self._define((one.index,), each.code, (each.last,))

    def _define(self, targets: tuple[int, ...], code: str, lasts: tuple[bool, ...], *, settle: bool = True) -> None:
        for index, last in zip(targets, lasts, strict=True):
            self.last[index] = last
        if settle and len(targets) == 1:
            out = self.builder.settled(targets[0], Out(code, lasts[0]))
            code, self.last[targets[0]] = out.code, out.last
        self._seen += targets
        if len(targets) == 1 and VALUE.fullmatch(code):
            self._alias[targets[0]] = code
            return
        self.unit.statements.append(Statement(targets, code))

    def _returned(self, tree: Tree) -> str:
        if self.root:
            for one in refs(tree):
                if self.last.get(one.index):
                    self._renamed(one.index, self.writer.plain(self._tensor(one)))
        return self._tree_code(tree)

    def _renamed(self, index: int, code: str) -> None:
        """Give a value another expression from here on, under its own name."""
        fresh = len(self.values)
        self.values.append(self.values[index])
        self.unit.statements.append(Statement((fresh,), code))
        self._alias[index] = f"__v{fresh}__"
        self.last[fresh] = code.endswith("1, -1)")

    def _tree_code(self, tree: Tree) -> str:
        if isinstance(tree, Ref):
            return self._tensor(tree).code
        if isinstance(tree, dict):
            return "{" + ", ".join(f"{k!r}: {self._tree_code(v)}" for k, v in tree.items() if v is not None) + "}"
        if isinstance(tree, list):
            return f"[{', '.join(map(self._tree_code, tree))}]"
        if isinstance(tree, tuple):
            inner = ", ".join(map(self._tree_code, tree))
            return f"({inner},)" if len(tree) == 1 else f"({inner})"
        return self.writer.literal(tree)

    def _operand(self, leaf: Any) -> Any:
        return self._tensor(leaf) if isinstance(leaf, Ref) else leaf

    def _tensor(self, ref: Ref) -> Tensor:
        value = self.values[ref.index]
        if value.path and ref.index not in self._given_here:
            return Tensor(self.builder.parameter(self.unit, value.path), value)
        if value.constant is not None:
            return Tensor(f"jnp.array({self.writer.literal(value.constant)})", value)
        if ref.index not in self._seen:
            raise RefusedError(
                f"takes a tensor ({next(iter(value.names.values()), 'unnamed')}) that another module computed"
            )
        code = f"__v{ref.index}__"
        while (mark := VALUE.fullmatch(code)) and int(mark[1]) in self._alias:
            code = self._alias[int(mark[1])]
        return Tensor(code, value, self.last.get(ref.index, False))

    def _size(self, size: Size) -> str | None:
        """An expression for a size: of what the operation is given by name, of an argument, of whatever there is."""
        op, number = self._op, self.body.number
        near = [] if op is None else [one.index for one in refs(op.arguments) if number in self.values[one.index].names]
        inputs = [one.index for one in refs(self.body.inputs)]
        order = [
            *near,
            *inputs,
            *(n for n in reversed(self._seen) if number in self.values[n].names),
            *self._seen[::-1],
        ]
        seen = set(self._seen)
        return size_of(size, [self._tensor(Ref(n)) for n in dict.fromkeys(order) if n in seen])

    def _make(self, name: str, code: str) -> str:
        taken = {attribute for attribute, _ in self.unit.made} | set(vars(self.builder.modules[self.unit.path]))
        taken |= {child for child, _ in self.builder.modules[self.unit.path].named_children()}
        unique = next(one for one in (name, *(f"{name}_{n}" for n in range(2, 999))) if one not in taken)
        self.unit.made.append((unique, code))
        return f"self.{unique}"
