"""The parts of a source: a unit for each module of somebody's own, with its statements."""

from dataclasses import dataclass, field

from jaxae.translation.graph import Tree
from jaxae.translation.writer import Holes


@dataclass
class Statement:
    """An assignment.

    Attributes:
        targets: Numbers of the values assigned; none for a call whose result nothing takes.
        code: The expression.
    """

    targets: tuple[int, ...]
    code: str


@dataclass
class Unit:
    """One module of somebody's own: what makes it, and what it does.

    Attributes:
        path: Its path in the torch network.
        kind: Its class.
        holes: Constants in its source.
        made: Attributes and what makes them, in order.
        chain: Elements, where it is a sequence and nothing else.
        parameters: Arguments of its call, each a tree of values.
        statements: Assignments in order.
        result: The expression that it returns.
        number: Which call of a module it was written from.
        training: What it does in training mode, where that is something else.
    """

    path: str
    kind: type
    holes: Holes
    made: list[tuple[str, str]] = field(default_factory=list)
    chain: list[str] | None = None
    parameters: dict[str, Tree] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    result: str = ""
    number: int = 0
    training: "Unit | None" = None
