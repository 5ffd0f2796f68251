"""What a source has to do with its torch network: names, and what the proof must know."""

from jaxae.translation.build import Builder
from jaxae.translation.modes import all_ops
from jaxae.translation.proof import Counterparts
from jaxae.translation.rules import layer_rule

_COARSE = ("hardsigmoid", "hardswish", "celu")  # of which a constant is float32's in the backward pass


def tensor_names(builder: Builder) -> dict[str, str]:
    """Torch's paths of layers and raw tensors by their paths in the source."""
    layers = [
        path
        for path, layer in builder.layers.items()
        if layer.new and builder.is_used(path) and not builder.attended(path) and _has_tensors(builder, path)
    ]
    raw = [path for path in builder.raw if layer_rule(builder.modules[path.rpartition(".")[0]]) is None]
    names = {".".join(map(str, builder.places.steps(path))): path for path in layers}
    for path in raw:
        holder, _, name = path.rpartition(".")
        names[".".join([*map(str, builder.places.steps(holder)), name])] = path
    return names


def _has_tensors(builder: Builder, path: str) -> bool:
    return bool(builder.modules[path].state_dict()) and type(builder.modules[path]).__name__ not in builder.leaf


def operations(builder: Builder) -> int:
    """Number of torch's functions and layers that the network calls in inference mode."""
    return sum(op.body is None for op in all_ops(builder.graph.body))


def coarse(builder: Builder) -> list[str]:
    """What the network uses that torch takes the derivative of with constants in float32."""
    used = {type(builder.modules[op.target]).__name__ if op.module else op.target for op in all_ops(builder.graph.body)}
    return [one for one in _COARSE if used & {one, one.capitalize()}]


def correspondence(builder: Builder) -> Counterparts:
    """How the source corresponds to the torch network."""
    names = tensor_names(builder)
    steps = {path: ".".join(map(str, builder.places.steps(path))) for path in builder.modules if builder.is_used(path)}
    covered = tuple(names.values())
    constants = [
        name
        for name in builder.module.state_dict()
        if not any(name == one or name.startswith(f"{one}.") for one in covered)
    ]
    return Counterparts(names, {there: path for path, there in steps.items() if path}, constants)
