"""Layers: the NNX layers of Linen variables, each of the kind that a run, the user, or names and shapes tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import jax
from flax import linen, nnx

from jaxae.errors import InputError, brief
from jaxae.port.linen.guess import UnsureError, class_named, guess
from jaxae.port.linen.kinds import Shapes, kind_of, make, refused, renamed
from jaxae.port.linen.run import LayerCall
from jaxae.port.linen.variables import Path

_NORMS = (linen.LayerNorm, linen.RMSNorm, linen.InstanceNorm, linen.GroupNorm)
ROOT = "itself"  # where a layer stands in a view that is the whole network


class Branch(nnx.Module):
    """A Linen module that has others below it, or variables of its own."""


@dataclass
class Layers:
    """Makes the layers of a view.

    Attributes:
        variables: The variables by path.
        seen: The first call of each layer by path, where the module was run.
        said: What the user said of layers, by path.
        paths: For each variable's path that of the view's attribute.
        layers: Paths of the layers.
        guessed: View's paths of those that names and shapes told.
        notes: What was taken for granted.
        problems: What stands against a view, a sentence each.
        unsure: Paths of which too little is known, with a sentence each.
    """

    variables: Mapping[Path, nnx.Variable]
    seen: Mapping[Path, LayerCall]
    said: Mapping[Path, linen.Module]
    paths: dict[Path, Path] = field(default_factory=dict)
    layers: dict[Path, None] = field(default_factory=dict)
    guessed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unsure: dict[str, str] = field(default_factory=dict)

    def make(self) -> dict[str, nnx.Module | nnx.Variable]:
        """The attributes of the view.

        Raises:
            InputError: If a layer is not known, or NNX has none like it; it names them all.
        """
        whole = self._layer(())
        made: dict[str, nnx.Module | nnx.Variable] = self._children(()) if whole is None else {ROOT: whole}
        problems = list(self.problems)
        if strange := sorted("/".join(path) for path in set(self.said) - set(self.layers)):
            problems.append(f"layers has {', '.join(map(repr, strange))}, which has no variables")
        if problems:
            raise InputError(f"expected Linen layers that port, got: {'; '.join(problems)}")
        if self.unsure:
            said = "; ".join(f"{path!r}: {why}" for path, why in self.unsure.items())
            remedy = (
                f"say which by layers={{{next(iter(self.unsure))!r}: linen.Conv(...), ...}} of jaxae.port.LinenView"
            )
            raise InputError(
                f"expected to know the kinds of all layers, got {said}; {remedy}, or give module and inputs"
            )
        return made

    def _below(self, path: Path) -> dict[Path, nnx.Variable]:
        return {one[len(path) :]: held for one, held in self.variables.items() if one[: len(path)] == path}

    def _children(self, path: Path) -> dict[str, nnx.Module | nnx.Variable]:
        """What stands below a branch, layers that were run in their order."""
        depth = len(path)
        run = [one for one in self.seen if one[:depth] == path and len(one) > depth and self._matters(one)]
        names = dict.fromkeys(one[depth] for one in (*run, *self.variables) if one[:depth] == path)
        made: dict[str, nnx.Module | nnx.Variable] = {}
        for name in names:
            full = (*path, name)
            if "/" in name:  # which WeightNorm and SpectralNorm write
                self.problems.append(f"{brief('.'.join(full))!r} is refused: it belongs to a layer that wraps another")
            elif full in self.variables:
                made[name] = self.variables[full]
                self.paths[full] = full
            else:
                made[name] = self._layer(full) or self._branch(full)
        return made

    def _matters(self, path: Path) -> bool:
        """Whether a layer that was run has variables, or settings without any, as a norm may."""
        return bool(self._below(path)) or isinstance(self.seen[path].layer, _NORMS)

    def _branch(self, path: Path) -> Branch:
        branch = Branch()
        for name, child in self._children(path).items():
            setattr(branch, name, child)
        return branch

    def _layer(self, path: Path) -> nnx.Module | None:
        """The NNX layer at a path; None for a branch."""
        below = {".".join(one): held for one, held in self._below(path).items()}
        shapes = {name: tuple(held.shape) for name, held in below.items()}
        if path in self.seen:
            shapes = self._unstacked(path, shapes) or {"features": _last_axis(self.seen[path])}
        where = "/".join(path)
        told = "" if path in self.seen or path in self.said or not path else class_named(path[-1])
        if (why := refused(told)) and not any(class_named(one.partition(".")[0]) for one in shapes):
            self.problems.append(f"{where!r} ({told}) is refused: {why}")
            return Branch()
        try:
            layer = self._linen_layer(path, shapes)
        except UnsureError as error:
            self.unsure[where] = str(error)
            layer = None
        if layer is None:
            return None
        self.layers[path] = None
        name = type(layer).__name__
        if why := refused(name):
            self.problems.append(f"{where!r} ({name}) is refused: {why}")
            return Branch()
        try:
            made = make(layer, shapes)
        except InputError as error:
            self.problems.append(f"{where!r}: {error}")
            return Branch()
        return self._filled(path, layer, made, below, shapes)

    def _unstacked(self, path: Path, shapes: Shapes) -> Shapes:
        """The shapes that a layer itself sees of variables, which nn.scan or nn.vmap may have stacked."""
        seen = self.seen[path].shapes
        for name, shape in shapes.items():
            inner = seen.get(name, shape)
            count = len(shape) - len(inner)
            where = "/".join((*path, *name.split(".")))
            if shape[count:] != inner:
                self.problems.append(f"{where!r} {shape} is not stacked along its first axes of layers of {inner}")
            elif count and inner in [(*shape[:one], *shape[one + 1 :]) for one in range(1, len(shape))]:
                self.notes.append(f"{where!r} {shape} is taken to be stacked along its first axis")
        return {name: seen.get(name, shape) for name, shape in shapes.items()}

    def _linen_layer(self, path: Path, shapes: Shapes) -> linen.Module | None:
        if path in self.said:
            return self.said[path]
        if path in self.seen:
            layer = self.seen[path].layer
            known = kind_of(layer) is not None or refused(type(layer).__name__)
            return layer if known else None
        name = path[-1] if path else ""
        layer = guess(name, shapes)
        if layer is not None:
            place = ".".join(path) or ROOT
            self.guessed.append(place)
            if class_named(name) != type(layer).__name__:
                kind = type(layer).__name__
                self.notes.append(f"{place!r} is taken for a {kind}, by the names and shapes of its variables")
        return layer

    def _filled(
        self, path: Path, layer: linen.Module, made: nnx.Module, below: Mapping[str, nnx.Variable], shapes: Shapes
    ) -> nnx.Module:
        """The layer with the variables in it; of the cell of a loop that loop."""
        looped = path in self.seen and self.seen[path].loop
        own = (*(path or (ROOT,)), *(("cell",) if looped else ()))
        for name, held in below.items():
            *above, last = renamed(layer, name).split(".")
            holder: Any = made
            for part in above:
                holder = getattr(holder, part, None)
            before = getattr(holder, last, None)
            if not isinstance(before, nnx.Variable) or tuple(before.shape) != shapes[name]:
                shape = tuple(before.shape) if isinstance(before, nnx.Variable) else "none"
                kind = type(layer).__name__
                self.problems.append(f"{'/'.join(path)!r} ({kind}) has {name!r} {shapes[name]}, not {shape}")
                continue
            setattr(holder, last, held)
            self.paths[(*path, *name.split("."))] = (*own, *above, last)
        if missing := [one for one in _weights(made) if not any(one is held for held in below.values())]:
            self.problems.append(f"{'/'.join(path)!r} ({type(layer).__name__}) lacks {len(missing)} of its variables")
        return nnx.RNN(cast(Any, made), rngs=False) if looped else made


def _weights(layer: nnx.Module) -> list[nnx.Variable]:
    return [one for _, one in nnx.iter_graph(layer) if isinstance(one, nnx.Param | nnx.BatchStat)]


def _last_axis(call: LayerCall) -> tuple[int, ...]:
    arrays = [one for one in jax.tree.leaves(call.arguments) if hasattr(one, "shape")]
    return tuple(arrays[0].shape[-1:])
