"""From what a network did to the parts of its source: a unit for each module of somebody's own."""

from collections.abc import Callable, Collection

import torch

from jaxae.port.names import join
from jaxae.translation.graph import Body, Graph, Op, Ref, Tree, refs
from jaxae.translation.modes import all_ops, differing, wanted_last
from jaxae.translation.modules import attended, is_container, is_list, is_plain_sequence, is_sequence, ties
from jaxae.translation.places import Places
from jaxae.translation.rules import FUNCTIONS, LayerCode, layer_rule
from jaxae.translation.spelling import as_function, initial, no_layers, shapes_of, size_of, split_call
from jaxae.translation.stubs import stub
from jaxae.translation.units import Unit
from jaxae.translation.writer import TO_LAST, TO_PLAIN, Holes, Out, RefusedError, Tensor, Writer


class Builder:
    """Builds the units of a network.

    Args:
        module: The torch network.
        graph: What it did.
        training: What it did in training mode.
        write_body: Fills a unit with what a call of its module did: `jaxae.translation.body.write_body`.
        keep: Whether images keep torch's axes between layers.
        leaf: Names of classes to be left as stubs.

    Attributes:
        refusals: What could not be written, each with its place.
        units: The modules of somebody's own by their paths.
        last: Which values have torch's axis 1 at the end.
        places: Where the source has each of torch's modules.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        graph: Graph,
        training: Graph | None,
        write_body: Callable[..., None],
        *,
        keep: bool = False,
        leaf: Collection[str] = (),
    ):
        self._write_body = write_body
        self._training = {} if training is None else differing(graph, training)
        if training is not None and self._training:
            graph = Graph(graph.body, [*graph.values, *training.values])
        self.module, self.graph, self._keep, self.leaf = module, graph, keep, set(leaf)
        self.stubs: dict[str, str] = {}
        self.refusals: list[str] = []
        self.units: dict[str, Unit] = {}
        self.last: dict[int, bool] = {}
        self.modules = dict(module.named_modules())
        self.layers: dict[str, LayerCode] = {}
        self._holes = {path: Holes() for path, one in self.modules.items() if not (path and is_container(one))}
        self.chains: dict[str, list[tuple[str, str | None]]] = {}
        self.bodies: dict[str, Body] = {}
        self._used: set[str] = set()
        self.raw: set[str] = set()
        self.places = Places(self.modules, self.chains, self.is_used)
        self._ties = ties(module)
        bodies = [graph.body, *self._training.values()]
        self.wanting = set() if keep else {n for body in bodies for n in wanted_last(body, self._rule_channels)}

    def build(self) -> Unit:
        """The network's own unit; the others are in `units`."""
        body = self.graph.body
        for one in refs(body.inputs):
            self.last[one.index] = False
        for one in (body, *self._training.values()):
            self._collect(one)
        try:
            return self.unit_of(body, root=True)
        except RefusedError as error:  # in a sequence that is the network
            self.refusals.append(str(error))
            return Unit("", type(self.module), self._holes[""])

    def _collect(self, body: Body) -> None:
        for op in body.ops:
            for one in refs(op.arguments):
                if path := self.graph.values[one.index].path:
                    self.raw.add(path)
            if op.module:
                self._used.add(op.target)
                if op.body is not None:
                    self._collect(op.body)

    def is_used(self, path: str) -> bool:
        """Whether anything of a module is called or read."""
        below = f"{path}."
        return path in self._used or any(one.startswith(below) for one in (*self._used, *self.raw))

    def _rule_channels(self, op: Op) -> bool:
        if not op.module:
            rule = FUNCTIONS.get(op.target)
            return rule is not None and rule.channels
        module = self.modules[op.target]
        rule_of = layer_rule(module)
        return rule_of is not None and rule_of(Holes(), module).channels

    def unit_of(self, body: Body, *, root: bool = False) -> Unit:
        """Write the unit of a module from one call of it."""
        module = self.modules[body.path]
        unit = Unit(body.path, type(module), self._holes[body.path])
        self.units[body.path] = unit
        self.bodies[body.path] = body
        if is_sequence(module):
            self._sequence_unit(unit, body, root)
        else:
            self._write_body(self, unit, body, root=root)
            if (twin := self._training.get(body.path)) is not None and twin is not body:
                self._write_training(unit, body, twin, root)
        unit.made = [*self._own_parameters(unit), *self._children(unit), *unit.made, *self._tied(unit)]
        return unit

    def _write_training(self, unit: Unit, body: Body, twin: Body, root: bool) -> None:
        """What a module does in training mode, where that is something else."""
        for one, like in zip(refs(twin.inputs), refs(body.inputs), strict=True):
            self.last[one.index] = False if root else self.last.get(like.index, False)
        unit.training = Unit(unit.path, unit.kind, unit.holes)
        self._write_body(self, unit.training, twin, root=root, training=True)
        unit.made += [*unit.training.made, ("deterministic", "False")]

    def first(self, path: str, training: bool) -> Body:
        """The call of a module for which its source was written."""
        return self._training[path] if training and path in self._training else self.bodies[path]

    def _tied(self, unit: Unit) -> list[tuple[str, str]]:
        """Assignments that make one variable of tensors that are one in torch, where this is the module above both."""
        found = []
        for name, first in self._ties.items():
            holders = [one.rpartition(".")[0] for one in (name, first)]
            if not all(one in self.layers and self.layers[one].new for one in holders):
                continue
            if self._above(*holders) != unit.path:
                continue
            parts = [
                self.layers[one].weights.get(full.rpartition(".")[2], "")
                for one, full in zip(holders, (name, first), strict=True)
            ]
            if not parts[0] or parts[0] != parts[1]:
                self.refusals.append(f"{name} is {first}, and the two layers keep it in other ways")
                continue
            variable = parts[0].format("").lstrip(".").partition("[")[0]
            ours, theirs = (f"{self.places.expression(unit.path, one)}.{variable}" for one in holders)
            found.append((ours.removeprefix("self."), theirs))
        return found

    def _above(self, *paths: str) -> str:
        """The nearest module of somebody's own above several layers."""
        path = paths[0]
        while path:
            path = path.rpartition(".")[0]
            if path in self.units and all(not path or one.startswith(f"{path}.") for one in paths):
                break
        return path

    def attended(self, path: str) -> str:
        """The embedding whose table a linear layer without bias has for its weight; "" for other layers."""
        return attended(self.modules, self._ties, path)

    def _sequence_unit(self, unit: Unit, body: Body, root: bool) -> None:
        elements = self.chain(unit, body)
        (given,), gave = list(refs(body.inputs)), self._one(body.result)
        if root and self.last[gave.index]:
            elements.append((f"lambda x: {TO_PLAIN.format('x')}", None))
            self.last[gave.index] = False
        self.chains[unit.path] = elements
        unit.chain = [code for code, _ in elements]
        unit.parameters = {"x": given}

    def _own_parameters(self, unit: Unit) -> list[tuple[str, str]]:
        module = self.modules[unit.path]
        return [
            (name, self._tensor_made(unit, one, name in module._parameters))
            for name, one in [*module._parameters.items(), *module._buffers.items()]
            if one is not None and join(unit.path, name) in self.raw
        ]

    def _tensor_made(self, unit: Unit, tensor: torch.Tensor, parameter: bool) -> str:
        code = initial(unit.holes, tensor, parameter)
        return f"nnx.Param({code})" if parameter else f"{unit.holes.piece('Buffer')}({code})"

    def _children(self, unit: Unit) -> list[tuple[str, str]]:
        if is_sequence(self.modules[unit.path]) and unit.chain is not None:
            return []
        made = []
        for name, _ in self.modules[unit.path].named_children():
            code = self._made(unit, join(unit.path, name))
            if code:
                made.append((name, code))
        return made

    def _made(self, unit: Unit, path: str) -> str:
        """The expression that makes the submodule at a path; "" where nothing is to be made."""
        module = self.modules[path]
        if not self.is_used(path):
            return ""
        if self.attended(path):
            return ""
        if path in self.units:
            return self._unit_mark(unit, path)
        if path in self.chains:
            return f"nnx.Sequential({', '.join(code for code, _ in self.chains[path])})"
        if is_list(module):
            return f"nnx.List([{', '.join(self._element(unit, one) for one in self.places.listed(path))}])"
        if type(module) is torch.nn.ModuleDict:
            listed = self.places.listed(path)
            inner = ", ".join(f"{one.rpartition('.')[2]!r}: {self._element(unit, one)}" for one in listed)
            return f"nnx.Dict({{{inner}}})"
        if isinstance(module, torch.nn.ParameterList):
            parts = [self._tensor_made(unit, one, True) for one in module]
            return f"nnx.List([{', '.join(parts)}])"
        if (layer := self.layer(path)) is not None:
            return layer.new
        inner_unit = self.units[path] = Unit(path, type(module), self._holes[path])
        inner_unit.made = [*self._own_parameters(inner_unit), *self._children(inner_unit)]
        return self._unit_mark(unit, path)

    def _unit_mark(self, unit: Unit, path: str) -> str:
        unit.holes.units.append(self.units[path])
        return f"__u{len(unit.holes.units) - 1}__"

    def _element(self, unit: Unit, path: str) -> str:
        return self._made(unit, path) or self.function_of(unit, path)

    def function_of(self, unit: Unit, path: str) -> str:
        """A layer that keeps nothing, as a function of one tensor."""
        layer = self.layer(path)
        assert layer is not None
        op = next(one for one in all_ops(self.graph.body) if one.module and one.target == path)
        (given,) = list(refs(op.arguments))
        x = Tensor("x", self.graph.values[given.index], self.last.get(given.index, False))
        w = Writer(unit.holes, lambda size: size_of(size, [x]), no_layers)
        try:
            return as_function(layer.call(w, "__self__", x).code)
        except RefusedError:  # which its call has told
            return "nnx.identity"

    def layer(self, path: str) -> LayerCode | None:
        """The layer of torch's at a path, None where it is somebody's own."""
        if path not in self.layers:
            if type(self.modules[path]).__name__ in self.leaf:
                op = next(one for one in all_ops(self.graph.body) if one.module and one.target == path)
                shapes = (shapes_of(tree, self.graph.values) for tree in (op.arguments[0], op.result))
                kind = self.modules[path]
                self.stubs[type(kind).__name__], self.layers[path] = stub(kind, *shapes)
                return self.layers[path]
            rule = layer_rule(self.modules[path])
            if rule is None:
                return None
            self.layers[path] = rule(self._holes_at(path), self.modules[path])
        return self.layers[path]

    def _holes_at(self, path: str) -> Holes:
        """Where the constants of a layer go: to the nearest module of somebody's own above it."""
        while path:
            path = path.rpartition(".")[0]
            if path in self._holes and layer_rule(self.modules[path]) is None:
                break
        return self._holes[path]

    def chain(self, unit: Unit, body: Body) -> list[tuple[str, str | None]]:
        """What a sequence calls: functions, each with the path of torch's layer; None for what is between."""
        elements: list[tuple[str, str | None]] = []
        for position, op in enumerate(body.ops):
            given = list(refs(op.arguments))
            if len(given) != 1:
                raise RefusedError("a sequence whose layers take several tensors")
            source = given[0].index
            if position == 0 and source in self.wanting and not self.last.get(source):
                elements.append((f"lambda x: {TO_LAST.format('x')}", None))
                self.last[source] = True
            x = Tensor("x", self.graph.values[source], self.last.get(source, False))
            module = self.modules[op.target]
            if op.body is not None and is_plain_sequence(module):
                self.chains[op.target] = inner = self.chain(unit, op.body)
                elements.append((f"nnx.Sequential({', '.join(code for code, _ in inner)})", op.target))
            elif op.body is not None:
                self.unit_of(op.body)
                elements.append((self._unit_mark(unit, op.target), op.target))
            else:
                elements += self._links(unit, op, x)
        return elements

    def _links(self, unit: Unit, op: Op, x: Tensor) -> list[tuple[str, str | None]]:
        layer = self.layer(op.target)
        assert layer is not None
        w = Writer(unit.holes, lambda size: size_of(size, [x]), no_layers)
        try:
            out = layer.call(w, "__self__", x)
        except RefusedError as error:
            name = f"{op.target} ({type(self.modules[op.target]).__name__})"
            self.refusals.append(f"{op.where}: {name} {error}")
            out = Out("x")
        gave = self._one(op.result)
        assert isinstance(out, Out)
        out = self.settled(gave.index, out)
        self.last[gave.index] = out.last
        if "__self__" not in out.code:
            return [(as_function(out.code), op.target)]
        before, given, after = split_call(out.code)
        links: list[tuple[str, str | None]] = [(layer.new, op.target)]
        if given != "x":
            links.insert(0, (as_function(given), None))
        if before or after:
            links.append((as_function(f"{before}x{after}"), None))
        return links

    def _one(self, result: Tree) -> Ref:
        """The one tensor that a layer of a sequence gives."""
        found = list(refs(result))
        if len(found) != 1:
            raise RefusedError("a sequence whose layers give several tensors")
        return found[0]

    def settled(self, index: int, out: Out) -> Out:
        """An expression in the layout that its value is to have: with channels at the end, where layers ask for it."""
        rank = len(self.graph.values[index].shape)
        if self._keep and out.last:
            return Out(TO_PLAIN.format(out.code))
        if index in self.wanting and not out.last and rank >= 3:
            return Out(TO_LAST.format(out.code), last=True)
        return out

    def parameter(self, unit: Unit, path: str) -> str:
        """The expression for a parameter or buffer inside a unit's methods, in torch's layout."""
        holder, _, name = path.rpartition(".")
        if unit.path and holder != unit.path and not holder.startswith(f"{unit.path}."):
            raise RefusedError(f"{path} is read in {unit.path}, which is not above it")
        owner = self.places.expression(unit.path, holder)
        if isinstance(self.modules[holder], torch.nn.ParameterList):
            return f"{owner}[{name}][...]"
        layer = self.layer(holder) if layer_rule(self.modules[holder]) else None
        if layer is None:
            return f"{owner}.{name}[...]"
        self._used.add(holder)
        if name not in layer.weights:
            raise RefusedError(f"{path}, a tensor of a layer, is read outside of it")
        return layer.weights[name].format(owner)
