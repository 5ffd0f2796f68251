"""What stands for a pickle's objects, which are not made, and for its tensors that are no plain arrays."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# Objects that checkpoints have beside their weights. No list makes them harmless: that none is made does. What is not
# known is refused since it may be the weights themselves, in a way that is not understood.
_KNOWN = re.compile(
    r"(argparse|types|pathlib|datetime|zoneinfo|decimal|fractions|uuid|enum|typing|collections|copyreg|copy_reg|numpy|"
    r"ml_dtypes|torch|torchvision|torchaudio|torchmetrics|omegaconf|hydra|yacs|easydict|addict|munch|ml_collections|"
    r"pytorch_lightning|lightning\w*|transformers|diffusers|accelerate|deepspeed|apex|timm|fairseq|mmcv|mmengine|"
    r"wandb|__torch__)\..+|"
    r"(builtins|__builtin__)\.(object|type|list|dict|set|frozenset|tuple|int|float|complex|str|bytes|bytearray|bool|"
    r"slice|range|getattr)"
)


@dataclass(eq=False, repr=False)
class Inert:
    """What stands for an object, a class or a function of a pickle, none of which is imported or run.

    Attributes:
        name: Name of the class or the function, with its module.
        arguments: The arguments that it would have been called with.
        attributes: What the object would have kept.
        items: The items that would have been put in: values by keys, or a list.
    """

    name: str
    arguments: Sequence[object] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    items: Mapping[object, object] | Sequence[object] = ()

    def __repr__(self) -> str:
        """The name, and that it was not made."""
        return f"<{self.name}, not made>"


@dataclass(frozen=True, eq=False)
class Unread:
    """A tensor that is no plain array.

    Attributes:
        shape: Its shape.
        dtype: The name of its dtype.
        why: Why it is not ported, in a clause about it.
    """

    shape: tuple[int, ...]
    dtype: str
    why: str


def is_known(name: str, allow: Iterable[str]) -> bool:
    """Whether what has this name may stand as `Inert`: it is known, or it or a module that it is in is allowed."""
    return _KNOWN.fullmatch(name) is not None or is_allowed(name, allow)


def is_allowed(name: str, allow: Iterable[str]) -> bool:
    """Whether a name, or a module that it is in, is among those that are allowed."""
    return any(f"{name}.".startswith(f"{one}.") for one in allow)


def state_dict_of(module: Inert) -> dict[str, object] | None:
    """The tensors of a torch module that was saved whole, or of TorchScript; None of what is no module.

    Such an object keeps them in its attributes, those of its parts in theirs.
    """
    found: dict[str, object] = {}
    waiting: list[tuple[str, Inert]] = [("", module)]
    met = {id(module)}
    while waiting:
        prefix, one = waiting.pop()
        below: list[tuple[str, Inert]] = []
        for name, value in _parts(one):
            if isinstance(value, Inert):
                # A part that two share is met once, which bounds the walk; the second's tensors are tied anyway.
                if id(value) not in met:
                    met.add(id(value))
                    below.append((f"{prefix}{name}.", value))
            elif hasattr(value, "shape"):
                found[f"{prefix}{name}"] = value
        waiting += reversed(below)
    return found or None


def _parts(module: Inert) -> list[tuple[str, object]]:
    held = module.attributes
    if module.name.startswith("__torch__."):
        parts = list(held.items())
    else:
        volatile = held.get("_non_persistent_buffers_set", ())
        parts = [
            (name, value)
            for kind in ("_parameters", "_buffers", "_modules")
            for name, value in _items(held.get(kind))
            if not (kind == "_buffers" and isinstance(volatile, set) and name in volatile)
        ]
    return [(name, value) for name, value in parts if isinstance(name, str)]


def _items(value: object) -> list[tuple[object, object]]:
    return list(value.items()) if isinstance(value, Mapping) else []
