"""A recording: what one network, of torch or of Flax, did on given inputs. It imports no torch.

Two recordings compare without either network at hand, in another process or on another machine: layers, weights and
gradients have torch's names and axes in both. Arrays that layers took and gave stay in the framework's own layout.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from .calls import Call

FORMAT = "recording 1"
FRAMEWORKS = {"torch": "torch", "nnx": "NNX"}
Dtype = Literal["float64", "float32", "bfloat16"]
Optimizer = Literal["adam", "sgd"]


@dataclass(frozen=True)
class Conditions:
    """What a network was asked to do; two recordings compare where it is the same.

    Attributes:
        train: Whether it ran in training mode, with the statistics of the batch and without dropout.
        steps: Number of steps of the optimizer.
        optimizer: Optimizer, with torch's defaults.
        learning_rate: Learning rate of the optimizer.
        loss: What gradients are of: "" is the sum of all results, weighted as by `weighting`.
        gradients: Whether gradients were taken.
    """

    train: bool = False
    steps: int = 0
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    loss: str = ""
    gradients: bool = True


@dataclass(frozen=True)
class Recording:
    """What one network did.

    Attributes:
        framework: "torch" or "nnx".
        network: Factory or class of the network.
        dtype: Dtype that it computed in.
        device: Device that it ran on, "cpu" or "gpu" and its name.
        versions: Versions of the packages at work.
        precision: Settings of the precision of float32 matrix products in force, by their names.
        asked: What it was asked to do.
        inputs: Arrays that it was asked to take, torch's, before they were put into another dtype or layout.
        results: Arrays of the result, by their places in it.
        calls: Calls of its layers, as they ended.
        weights: Parameters and buffers before the first step, by torch's names and in torch's axes.
        trained: Names of those that an optimizer moves.
        gradients: Gradients of parameters, alike.
        input_gradients: Gradients of the float inputs, by number, in torch's layout.
        after: Parameters after the last step, and buffers after the first pass.
        costs: Value that gradients are of, before each step and after the last; empty without gradients.
        sums: Tensors of torch that are one variable in Flax, which is their sum.
        dropout: Rate of each dropout layer, by path, in training mode.
        notes: What whoever reads a comparison must know.
    """

    framework: str
    network: str
    dtype: str
    device: str
    versions: Mapping[str, str]
    precision: Mapping[str, str]
    asked: Conditions
    inputs: Sequence[np.ndarray]
    results: Mapping[str, np.ndarray]
    calls: Sequence[Call]
    weights: Mapping[str, np.ndarray]
    trained: frozenset[str]
    gradients: Mapping[str, np.ndarray]
    input_gradients: Mapping[int, np.ndarray]
    after: Mapping[str, np.ndarray]
    costs: Sequence[float]
    sums: Sequence[Sequence[str]] = ()
    dropout: Mapping[str, float] | None = None
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """Who computed, in which precision."""
        versions, precision = (", ".join(f"{n} {v}" for n, v in s.items()) for s in (self.versions, self.precision))
        who = f"{FRAMEWORKS[self.framework]}: {self.network} in {self.dtype} on {self.device}, {versions}"
        return f"{who}; precision of float32 products in force: {precision}"

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Arrays by name, as a file holds them."""
        arrays = {f"inputs/{index}": array for index, array in enumerate(self.inputs)}
        arrays |= {f"results/{index}": array for index, array in enumerate(self.results.values())}
        for number, call in enumerate(self.calls):
            for what, several in (("inputs", call.inputs), ("outputs", call.outputs)):
                arrays |= {f"calls/{number}/{what}/{index}": array for index, array in enumerate(several)}
        for what in ("weights", "gradients", "input_gradients", "after"):
            arrays |= {f"{what}/{name}": array for name, array in getattr(self, what).items()}
        arrays["costs"] = np.array(self.costs, np.float64)
        about: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        about |= {name: dict(getattr(self, name)) for name in ("versions", "precision")}
        about |= {"format": FORMAT, "asked": asdict(self.asked), "results": list(self.results)}
        about["inputs"] = len(self.inputs)
        about["calls"] = [
            [call.path, call.kind, len(call.inputs), len(call.outputs), call.dtype] for call in self.calls
        ]
        about |= {"trained": sorted(self.trained), "sums": [list(one) for one in self.sums], "notes": list(self.notes)}
        about["dropout"] = dict(self.dropout or {})
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        return arrays


_TEXTS = ("framework", "network", "dtype", "device")


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Recording:
    """The recording that a file holds; nothing in it is believed that was not looked at.

    Raises:
        ValueError: If it is no recording.
    """
    left = dict(arrays)
    about = _read_about(left)
    texts = {name: _text(about, name) for name in _TEXTS}
    if texts["framework"] not in FRAMEWORKS:
        raise ValueError(f"its framework is {texts['framework'][:40]!r}")
    calls = []
    for number, entry in enumerate(_list(about, "calls")):
        match entry:
            case [str(path), str(kind), int(inputs), int(outputs), str(dtype)]:
                given, gave = (
                    _take(left, f"calls/{number}/{what}", count)
                    for what, count in (("inputs", inputs), ("outputs", outputs))
                )
                calls.append(Call(path, kind, given, gave, dtype))
            case _:
                raise ValueError(f"its call {number} is no path, kind, counts and dtype")
    inputs, results = about.get("inputs"), _texts(about, "results")
    if type(inputs) is not int or len(set(results)) < len(results):
        raise ValueError("its inputs are not counted, or two results have one name")
    costs = left.pop("costs", np.zeros(0))
    sums = [_texts({"sums": one}, "sums") for one in _list(about, "sums")]
    found = Recording(
        **texts,
        versions=_mapping(about, "versions", str),
        precision=_mapping(about, "precision", str),
        asked=_asked(about.get("asked")),
        inputs=_take(left, "inputs", inputs),
        results=dict(zip(results, _take(left, "results", len(results)), strict=True)),
        calls=calls,
        weights=_below(left, "weights"),
        trained=frozenset(_texts(about, "trained")),
        gradients=_below(left, "gradients"),
        input_gradients={int(name): array for name, array in _below(left, "input_gradients").items()},
        after=_below(left, "after"),
        costs=[float(one) for one in np.asarray(costs, np.float64).ravel()],
        sums=sums,
        dropout=_mapping(about, "dropout", float),
        notes=_texts(about, "notes"),
    )
    _check_shapes(found)
    if left:
        raise ValueError(f"it holds {next(iter(left))[:80]!r}, which no recording has")
    return found


def weighting(shape: Sequence[int]) -> np.ndarray:
    """Fixed random weights of a result's elements, the same wherever its axes stand.

    They have one sign, so that gradients are no small remainders of large sums. An element's weight is a product of one
    for its place along each axis, which depends on that axis's length alone: so a result with its channels last is
    weighted as the one with its channels first.
    """
    whole = np.ones(())
    for size in shape:
        rng = np.random.default_rng(size)
        along = rng.uniform(0.5, 1.5, size)
        whole = whole[..., None] * along
    return whole


def draw(shapes: Iterable[Sequence[int]]) -> list[np.ndarray]:
    """Normal random numbers of these shapes, the same everywhere."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(tuple(shape)) for shape in shapes]


def shape_of(text: str) -> tuple[int, ...] | None:
    """The shape that is written as 2x3x32x32; None where it is none, or of more elements than a test takes."""
    parts = text.split("x")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 and int(part) > 0 for part in parts):
        return None
    shape = tuple(map(int, parts))
    return shape if math.prod(shape) < 1 << 28 else None


def _check_shapes(found: Recording) -> None:
    for name, array in (*found.gradients.items(), *found.after.items()):
        if name not in found.weights or found.weights[name].shape != array.shape:
            raise ValueError(f"its {name[:80]!r} is no weight, or has another shape than that")
    for index, array in found.input_gradients.items():
        if not 0 <= index < len(found.inputs) or found.inputs[index].shape != array.shape:
            raise ValueError(f"its gradient of input {index} is that of none")


def _read_about(left: dict[str, np.ndarray]) -> dict[str, Any]:
    text = left.pop("about", None)
    if text is None or text.dtype != np.uint8 or text.size > 1 << 26:
        raise ValueError("it says nothing of a recording")
    try:
        about = json.loads(text.tobytes())
    except RecursionError:
        raise ValueError("what it says nests beyond Python's recursion") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"it is no {FORMAT}")
    for name, array in left.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"its {name[:80]!r} holds no numbers")
    return about


def _take(left: dict[str, np.ndarray], name: str, count: int) -> list[np.ndarray]:
    """So many arrays of a name; one that is missing ends it, whatever the count."""
    taken = []
    for index in range(count):
        if (array := left.pop(f"{name}/{index}", None)) is None:
            raise ValueError(f"it lacks {name}/{index}")
        taken.append(array)
    return taken


def _below(left: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    names = [one for one in left if one.startswith(f"{name}/")]
    return {one.removeprefix(f"{name}/"): left.pop(one) for one in names}


def _asked(found: object) -> Conditions:
    kinds = {field.name: type(field.default) for field in fields(Conditions)}
    if not isinstance(found, dict) or {name: type(value) for name, value in found.items()} != kinds:
        raise ValueError("what its network was asked to do is not said")
    return Conditions(**found)


def _text(about: Mapping[str, Any], name: str) -> str:
    if not isinstance(about.get(name), str):
        raise ValueError(f"its {name} is no text")
    return about[name]


def _list(about: Mapping[str, Any], name: str) -> list[Any]:
    if not isinstance(about.get(name), list):
        raise ValueError(f"its {name} are no list")
    return about[name]


def _texts(about: Mapping[str, Any], name: str) -> list[str]:
    found = _list(about, name)
    if not all(isinstance(one, str) for one in found):
        raise ValueError(f"its {name} are no texts")
    return found


def _mapping(about: Mapping[str, Any], name: str, kind: type) -> dict[str, Any]:
    found = about.get(name)
    if not isinstance(found, dict) or not all(isinstance(one, kind) for one in found.values()):
        raise ValueError(f"its {name} is no mapping")
    return found
