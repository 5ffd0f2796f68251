"""What a flag of a command line is: how it is told, and how a switch is written."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

if TYPE_CHECKING:
    pass

Given = TypeVar("Given")
# A dataclass whose fields are flags of the command line, without a prefix.
Flags = Annotated[Given, tyro.conf.arg(name="")]
# A flag that is given or not, without a --no- twin.
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def default(told: str, metavar: str | None = None) -> object:
    """Say in the help what a flag whose default is None stands for, and what it takes beside None."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {told})", metavar=metavar)
