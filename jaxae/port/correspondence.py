"""Correspondence: which torch layer each Flax layer is, and in which order its features come, read from both in use.

Both networks are run in float64 on the same inputs, torch's with random parameters. The Flax layers are met in the
order in which they run: what each is given must be what its torch layer is given, in the same order of features or in
another one, which then is read off. So names may differ, and whatever stands between two layers (a flatten, a
reshape, a concatenation) may be written in any way.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from jaxae.port.calls import Call, is_loop
from jaxae.port.fitting import attention_names, choices, fits, own_names, recurrent_names, stack_names
from jaxae.port.flatten import Order, feature_indices
from jaxae.port.names import Names, unwrap
from jaxae.port.networks import Networks, Runs, TorchLayer
from jaxae.port.plan import PortPlan, make_plan
from jaxae.port.relation import Relation, forms, relation
from jaxae.port.structure import Place
from jaxae.port.weights import fill_places

_ATTEMPTS = 200  # correspondences that are tried where several layers are alike
Choice = tuple[TorchLayer, Mapping[str, str]]  # a torch layer, and the names under which it is a Flax one


@dataclass
class Correspondence:
    """How two networks correspond, as `PortOptions` say it.

    Attributes:
        names: torch's path of each Flax layer, as a port takes them.
        flatten: Order of the features that come into layers.
        unflatten: Order of the features that go out of layers.
        kinds: Names of the classes of torch's layers by path.
    """

    names: Names = None
    flatten: dict[str, Order] = field(default_factory=dict)
    unflatten: dict[str, Order] = field(default_factory=dict)
    kinds: Mapping[str, Collection[str]] = field(default_factory=dict)

    def options(self, places: Sequence[Place]) -> dict[str, Any]:
        """The options of a port, where every other layer has torch's order."""
        same: dict[str, Order] = {place.path: "CHW" for place in places}
        flatten, unflatten = same | self.flatten, same | self.unflatten
        return {"names": self.names, "flatten": flatten, "unflatten": unflatten, "kinds": self.kinds}

    def copy(self) -> "Correspondence":
        """A copy that can be added to."""
        return Correspondence(self.names, dict(self.flatten), dict(self.unflatten), self.kinds)


class PartError(Exception):
    """The networks part; the message says where first."""


def correspondences(networks: Networks, given: Correspondence, *, named: bool) -> Iterator[Correspondence]:
    """Correspondences under which every layer is given the same, the likeliest first.

    Args:
        networks: The two networks; the twin is filled on the way.
        given: What the user said.
        named: Whether torch's names are the ones that Flax's paths stand for, by themselves or as the user said.

    Raises:
        PartError: If there is none; it says where the networks part first.
    """
    walk = _Walk(networks, named)
    part: PartError | None = None
    found = False
    waiting = [given] if named else walk.begun(given)
    for _ in range(_ATTEMPTS):
        if not waiting:
            break
        others: list[Correspondence] = []
        try:
            way = walk.follow(waiting.pop(0), others)
        except PartError as error:
            part = part or error
            way = None
        waiting = others[::-1] + waiting  # the last choice is doubted first
        if way is not None:
            found = True
            yield way
    if part is not None and not found:
        raise part


def result_gap(networks: Networks, way: Correspondence) -> float:
    """Largest difference of a result under a correspondence, relative to its largest element; infinite without one."""
    tensors = networks.tensors()
    fill_places(make_plan(networks.twin, tensors, **way.options(networks.places)), tensors)
    gaps = [0.0]
    for (ours, _), (theirs, _) in zip(networks.nnx_runs(), networks.torch_runs(), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            fitting = [form(other) for form in forms(other, "") if form(other).shape == one.shape]
            scale = max(float(np.abs(other).max(initial=0)), 1e-300)
            gaps.append(min((float(np.abs(one - form).max(initial=0)) / scale for form in fitting), default=np.inf))
    return max(gaps)


class _Walk:
    """Meets the Flax layers in the order in which they run."""

    def __init__(self, networks: Networks, named: bool):
        self._networks, self._named = networks, named
        self._theirs = networks.torch_runs()
        self._layers = networks.layers(self._theirs[0][1])
        self._composites = networks.composites(self._theirs[0][1])
        self._tensors = networks.tensors()

    def follow(self, way: Correspondence, others: list[Correspondence]) -> Correspondence:
        """The correspondence from here on; others that part from it where torch layers are alike are added to a list.

        Raises:
            PartError: If the results differ; it says where the networks part first.
        """
        way = way.copy()
        runs, plan = self._run(way, few=not self._named)
        done: set[str] = set()
        met: list[Place] = []
        # A difference before the end is no fault by itself: padding may stand before a layer, or in it.
        first = ""
        while (step := self._next(plan, runs, done)) is not None:
            call, places = step
            done.add(call.path)
            if isinstance(way.names, Mapping) and all("*" in way.names.get(place.path, "") for place in places):
                met += places  # cells of one recurrent network: only what becomes of them can be compared
                continue
            choices = self._choices(call, places, way)
            if not choices:
                first = first or f"no torch layer that runs has the kind and the shapes of {call.path!r} ({call.kind})"
                continue
            (layer, names), how, alike = self._nearest(call.path, choices, runs)
            if (how is None or how.rank) and len(runs) < len(self._theirs):  # all are needed to tell features apart
                runs, plan = self._run(way)
                (layer, names), how, alike = self._nearest(call.path, choices, runs)
            if how is None:
                first = first or self._given(call, layer)
            others += [_with_names(way, other) for one, other in alike if one.path != layer.path]
            ways_within = []  # in which layers below the same torch module stand for parts of this one
            if not self._named:
                ways_within = [_with_names(way, other) for one, other in alike if one.path == layer.path]
                way = _with_names(way, names)
            reordered = self._reorder(way, how, places, met)
            if reordered or not self._named:
                runs, plan = self._run(way, few=not reordered)
            met += places
            if not self._relate(call.path, layer, runs, "outputs"):
                others += ways_within
                first = (
                    first
                    or f"{call.path!r} ({call.kind}) gives other numbers than {layer.path!r} in torch, given the same"
                )
                if ways_within:
                    raise PartError(first)
        self._end(way, met, first)
        return way

    def begun(self, way: Correspondence) -> list[Correspondence]:
        """Ways to name what no call of a layer tells apart: stacks, variables of no layer, cells of one network."""
        runs, plan = self._run(way, few=True)
        loops = [call.path for call in runs[0][1] if is_loop(call)]
        called = list(dict.fromkeys(call.path.partition("#")[0] for call in self._theirs[0][1]))
        modules = dict(self._networks.module.named_modules())
        way = _with_names(way, recurrent_names(plan, loops, modules, called))
        stacks = stack_names(plan, self._layers, way.names)
        own = own_names(plan, self._networks.twin, self._free(), way.names)
        return [_with_names(way, names) for names in choices({**stacks, **own})]

    def _free(self) -> dict[str, np.ndarray]:
        """Tensors that are in no layer of torch's own."""
        layers = [layer.path for layer in self._layers if not layer.own]
        return {
            name: array
            for name, array in self._tensors.items()
            if not any(name.startswith(f"{path}." if path else "") for path in layers)
        }

    def _nearest(self, path: str, choices: list[Choice], runs: Runs) -> tuple[Choice, Relation | None, list[Choice]]:
        """The torch layer that is given what is the most alike, the first of several; and those others."""
        related = [(one, how) for one in choices if (how := self._relate(path, one[0], runs, "inputs"))]
        if not related:
            return choices[0], None, []
        choice, how = min(related, key=lambda one: one[1].rank)
        return choice, how, [one for one, other in related if other.rank == how.rank and one is not choice]

    def _run(self, way: Correspondence, *, few: bool = False) -> tuple[Runs, PortPlan]:
        twin = self._networks.twin
        plan = make_plan(twin, self._tensors, **way.options(self._networks.places))
        fill_places(plan, self._tensors)
        return self._networks.nnx_runs(1 if few else len(self._theirs)), plan

    @staticmethod
    def _next(plan: PortPlan, runs: Runs, done: set[str]) -> tuple[Call, list[Place]] | None:
        for call in runs[0][1]:
            if call.path in done or "#" in call.path:
                continue
            below = [
                p
                for p in plan.places
                if not p.index and (p.path == call.path or (is_loop(call) and p.path.startswith(f"{call.path}.")))
            ]
            if below:
                return call, below
        return None

    def _choices(self, call: Call, places: list[Place], way: Correspondence) -> list[Choice]:
        """Torch layers that may be this one: the one of its name, or all of its kind and shapes that are not taken."""
        if self._named:
            paths = {place.template.partition("*")[0].rstrip(".") for place in places}
            known = [one for one in (*self._layers, *self._composites) if next(iter(unwrap([one.path])), "") in paths]
            return [(one, {}) for one in known]
        said = way.names if isinstance(way.names, Mapping) else {}
        if call.path in said:
            known = [one for one in (*self._layers, *self._composites) if one.path == said[call.path]]
            return [(one, {}) for one in known]
        taken = set(said.values())
        free = [one for one in self._layers if one.path not in taken]
        found: list[Choice] = [(one, {call.path: one.path}) for one in free if all(fits(p, one) for p in places)]
        for one in self._composites if len(places) == 1 else ():
            if one.path not in taken:
                found += [(one, names) for names in attention_names(places[0], one)]
        return found

    def _relate(self, path: str, layer: TorchLayer, runs: Runs, what: Literal["inputs", "outputs"]) -> Relation | None:
        ours = [_call(calls, path) for _, calls in runs]
        theirs = [_call(calls, layer.path) for _, calls in self._theirs[: len(runs)]]
        pairs = [(getattr(o, what), getattr(t, what)) for o, t in zip(ours, theirs, strict=True) if o and t]
        if not all(o and t for o, t in pairs):
            return Relation(0, None)  # of whole numbers alone: an embedding's
        return relation([(o[0], t[0]) for o, t in pairs], layer.kind[0], self._networks.tolerance)

    def _reorder(self, way: Correspondence, how: Relation | None, places: list[Place], met: list[Place]) -> bool:
        """Take down another order of features: of this layer's, or of the one before that gives them."""
        if how is None or how.order is None:
            return False
        if not how.outputs:
            way.flatten |= {place.path: how.order for place in places}
            return True
        indices = feature_indices(how.order)
        assert indices is not None
        said: dict[str, Order] = {}
        for place in reversed(met):
            if place.rule.spatial or place.widths[1] != len(indices):
                continue
            if place.is_norm:
                said[place.path] = how.order
                continue
            way.flatten |= said
            way.unflatten[place.path] = how.order
            return True
        return False

    def _end(self, way: Correspondence, met: list[Place], first: str) -> None:
        """Hold the results against each other: the last of them may be an image made of features."""
        runs, _ = self._run(way)
        counts = len(runs[0][0]), len(self._theirs[0][0])
        if counts[0] != counts[1]:
            raise PartError(f"Flax's result has {counts[0]} arrays, torch's {counts[1]}")
        for index in range(counts[0]):
            how = self._results(runs, index)
            if how is not None and how.outputs and self._reorder(way, how, [], met):
                runs, _ = self._run(way)
                how = self._results(runs, index)
            if how is None or how.order is not None:
                raise PartError(first or f"result {index} differs, after layers that agree")

    def _results(self, runs: Runs, index: int) -> Relation | None:
        pairs = [(a[index], b[index]) for (a, _), (b, _) in zip(runs, self._theirs, strict=True)]
        return relation(pairs, "", self._networks.tolerance)

    def _given(self, call: Call, layer: TorchLayer) -> str:
        theirs = _call(self._theirs[0][1], layer.path)
        shapes = tuple(call.inputs[0].shape), tuple(theirs.inputs[0].shape) if theirs and theirs.inputs else ()
        return (
            f"{call.path!r} ({call.kind}) is given other numbers {shapes[0]} than {layer.path!r} {shapes[1]} in torch: "
            "another operation stands before it, or a layer before it has other settings"
        )


def _with_names(way: Correspondence, names: Mapping[str, str]) -> Correspondence:
    if not names:
        return way
    other = way.copy()
    other.names = {**(other.names if isinstance(other.names, Mapping) else {}), **names}
    return other


def _call(calls: Sequence[Call], path: str) -> Call | None:
    return next((call for call in calls if call.path == path), None)
