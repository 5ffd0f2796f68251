"""The report of a port: what became what, what was assumed, what did not survive."""

from dataclasses import dataclass, field

import numpy as np

from jaxae.storage.tables import format_table


@dataclass(frozen=True)
class PortRow:
    """One torch tensor and its Flax variable; several on one side are joined by " + "."""

    torch: str
    torch_shape: tuple[int, ...]
    pattern: str
    flax: str
    flax_shape: tuple[int, ...]
    dtype: str


@dataclass
class PortReport:
    """What a port did, or would do.

    Attributes:
        rows: The table of what becomes what.
        assumed: Settings that no state_dict holds, as Flax has them; torch's must agree.
        notes: What else a user should know: layers paired in order, tensors left aside because they were named in
            `ignore`, tied names, NaN weights.
        forward_only: Layers of which the outputs port, but not the training.
        carried: torch's counters, which Flax has no place for: give them to `to_torch` again.
        proof: What running both networks showed; empty if they were not run.
    """

    rows: list[PortRow] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    forward_only: list[str] = field(default_factory=list)
    carried: dict[str, np.ndarray] = field(default_factory=dict)
    proof: str = ""

    def __str__(self) -> str:
        """The table and the remarks below it, as text."""
        titles = ("torch", "shape", "pattern", "flax", "shape", "dtype")
        lines = [
            (r.torch, size_text(r.torch_shape), r.pattern, r.flax, size_text(r.flax_shape), r.dtype) for r in self.rows
        ]
        remarks = [
            *(f"assumed: {one}" for one in self.assumed),
            *(f"forward-only: {one}" for one in self.forward_only),
            *(f"note: {one}" for one in self.notes),
        ]
        if self.proof:
            remarks.append(self.proof)
        if self.carried:
            remarks.append(f"carried beside the module: {', '.join(self.carried)}")
        return "\n".join([format_table(titles, lines), *remarks])


def size_text(shape: tuple[int, ...]) -> str:
    """A shape as a table has it, 2x3."""
    return "x".join(map(str, shape)) or "scalar"
