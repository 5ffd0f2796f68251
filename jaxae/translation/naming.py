"""Variables: which expressions get one, and what it is called."""

import keyword
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jaxae.translation.graph import Ref, Tree, Value, refs
from jaxae.translation.spelling import accesses, numbered
from jaxae.translation.units import Statement, Unit
from jaxae.translation.writer import VALUE

_LONGEST = 200  # characters of an expression, above which its parts get variables
# Names that stand for something else in the source.
_TAKEN = frozenset(
    [
        "self",
        "jax",
        "jnp",
        "nnx",
        "rngs",
        "partial",
        "math",
        "lax",
        "abs",
        "all",
        "any",
        "bool",
        "dict",
        "float",
        "int",
        "len",
        "list",
        "max",
        "min",
        "range",
        "sum",
        "tuple",
        "zip",
    ]
)


@dataclass
class Lines:
    """One unit as text, in which constants and submodules are marks still.

    Attributes:
        made: Attributes and what makes them.
        chain: Elements, where it is a sequence and nothing else.
        signature: Arguments of the call, by name: how many tensors each holds, None for one tensor that stands alone.
        body: Assignments.
        result: The expression returned.
        targets: The values assigned by each line of the body.
        training: The call in training mode, where that is something else.
    """

    made: list[tuple[str, str]]
    chain: list[str] | None
    signature: list[tuple[str, str]]
    body: list[str]
    result: str
    targets: list[tuple[int, ...]]
    training: "Lines | None" = None


def lines_of(unit: Unit, values: Sequence[Value], taken: set[str]) -> Lines:
    """A unit as text, with variables named as the torch source names them."""
    statements, returned = _inlined(unit, values)
    codes = [one.code for one in statements]
    last_use: dict[int, int] = {}
    for position, code in enumerate([*codes, returned]):
        for mark in VALUE.findall(code):
            last_use[int(mark)] = position
    held: dict[str, int] = {}  # variables in use, and which value each has
    names: dict[int, str] = {}
    taken = taken | _TAKEN
    signature = []
    for name, tree in unit.parameters.items():
        fitting = _fitting(name, taken)
        signature.append((fitting, _annotation(tree)))
        for access, one in accesses(tree, fitting):
            names[one.index] = access
        held[fitting] = max((last_use.get(one.index, -1) for one in refs(tree)), default=-1)
    body = []
    for position, one in enumerate(statements):
        text = VALUE.sub(lambda mark: names[int(mark[1])], one.code)
        for index in one.targets:
            if len(one.targets) > 1 and index not in last_use:
                names[index] = "_"
                continue
            names[index] = _free(_fitting(values[index].names.get(unit.number, "h"), taken), held, position)
            held[names[index]] = max(last_use.get(index, -1), position)
        targets = ", ".join(names[index] for index in one.targets)
        body.append(f"{targets} = {text}" if targets else text)
    result = VALUE.sub(lambda mark: names[int(mark[1])], returned)
    for name, (_, tree) in zip(dict(signature), unit.parameters.items(), strict=True):
        if isinstance(tree, list | tuple):  # all tensors of an argument, in order, are the argument
            whole = "[" + ", ".join(f"{name}[{n}]" for n in range(len(tree))) + "]"
            body, result = [one.replace(whole, name) for one in body], result.replace(whole, name)
    training = None if unit.training is None else lines_of(unit.training, values, taken)
    return Lines(unit.made, unit.chain, signature, body, result, [one.targets for one in statements], training)


def _needed(unit: Unit) -> list[Statement]:
    """The statements whose results are used, and the calls of submodules, which may keep statistics."""
    used = {int(mark) for mark in VALUE.findall(unit.result)}
    kept = []
    for one in reversed(unit.statements):
        if any(index in used for index in one.targets) or one.code.startswith("self."):
            used |= {int(mark) for mark in VALUE.findall(one.code)}
            kept.append(one)
    return kept[::-1]


def _inlined(unit: Unit, values: Sequence[Value]) -> tuple[list[Statement], str]:
    """The statements and the result, in which what has no name in the torch source and is used once stands in place."""
    statements, result = _needed(unit), unit.result
    uses = Counter(int(mark) for code in (*(one.code for one in statements), result) for mark in VALUE.findall(code))
    inner: dict[int, str] = {}
    kept = []

    def filled(code: str) -> str:
        return VALUE.sub(lambda mark: inner.get(int(mark[1]), mark[0]), code)

    for position, one in enumerate(statements):
        code = filled(one.code)
        index = one.targets[0] if len(one.targets) == 1 else None
        returned = position == len(statements) - 1 and index is not None and result == f"__v{index}__"
        if (
            index is not None
            and uses[index] == 1
            and len(code) < _LONGEST
            and (returned or unit.number not in values[index].names)
        ):
            inner[index] = code
        else:
            kept.append(Statement(one.targets, code))
    return kept, filled(result)


def _fitting(name: str, taken: set[str]) -> str:
    return f"{name}_" if name in taken or keyword.iskeyword(name) or not name.isidentifier() else name


def _free(name: str, held: dict[str, int], position: int) -> str:
    """The name, with a number where its variable is read later on."""
    return next(one for one in numbered(name) if held.get(one, -1) <= position)


def _annotation(tree: Tree) -> str:
    if isinstance(tree, Ref):
        return "jax.Array"
    return "dict" if isinstance(tree, dict) else "list" if isinstance(tree, list) else "tuple"
