"""Guidance where a port fails: every tensor beside its variable, what has no partner, and what might be it."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Unpack

from jaxae.port import asides
from jaxae.port.linen.view import FlaxNetwork
from jaxae.port.options import PortOptions
from jaxae.port.plan import make_plan
from jaxae.port.report import size_text
from jaxae.port.source import Weights, read_torch_layout
from jaxae.storage.tables import format_table

Shape = tuple[int, ...]
_TITLES = ("torch", "shape", "flax", "shape", "", "candidates")
_MOST = 3  # candidates of a tensor or a variable


def guide(
    module: FlaxNetwork,
    source: Weights,
    *,
    ignore: Iterable[str] = (),
    missing: Iterable[str] = (),
    **options: Unpack[PortOptions],
) -> str:
    """A table of all of torch's tensors and Flax's variables, also where they do not port.

    Candidates are those without a partner: of the same shape first, then of similar names.

    Args:
        module: The NNX module, or Linen variables.
        source: The weights, in torch's layout.
        ignore: Patterns of torch tensors that are left aside.
        missing: Patterns of NNX variables that torch lacks.
        **options: Names, flatten and unflatten of `PortOptions`.

    Raises:
        InputError: If the weights cannot be read.
    """
    weights = read_torch_layout(source)
    plan = make_plan(module, weights.tensors, **options)
    tensors = {short: tuple(getattr(weights.tensors[full], "shape", ())) for short, full in plan.names.items()}
    for name in asides.ignored(plan, tensors, ignore):
        del tensors[name]
    asides.keep(plan, tensors, missing)
    wanted = {name: one for one in plan.transfers for name in one.torch}
    lacking = {name: one.torch_shape for name, one in wanted.items() if name not in tensors and name not in plan.absent}
    extra = {name: shape for name, shape in tensors.items() if name not in wanted and name not in plan.counters}
    lines: list[Sequence[str]] = []
    for name, one in wanted.items():
        flax = (" + ".join(one.flax), size_text(one.flax_shape))
        if name in lacking:
            found = candidates(name, one.torch_shape, extra)
            lines.append((name, size_text(one.torch_shape), *flax, "missing", ", ".join(found)))
        elif name in tensors:
            state = "" if tensors[name] == one.torch_shape else f"mis-shaped: {size_text(one.torch_shape)} expected"
            lines.append((name, size_text(tensors[name]), *flax, state, ""))
    for name, shape in extra.items():
        flax = [" + ".join(wanted[one].flax) for one in candidates(name, shape, lacking)]
        lines.append((name, size_text(shape), "", "", "unexpected", ", ".join(flax)))
    return format_table(_TITLES, lines)


def candidates(name: str, shape: Shape, others: Mapping[str, Shape]) -> list[str]:
    """Names that may be meant by a name: those of the same shape, then similar ones; the most similar first."""

    def likeness(other: str) -> float:
        return difflib.SequenceMatcher(None, name, other).ratio()

    same = sorted((one for one, its in others.items() if its == shape), key=likeness, reverse=True)
    similar = [one for one in difflib.get_close_matches(name, list(others), n=_MOST) if one not in same]
    return (same or similar)[:_MOST]
