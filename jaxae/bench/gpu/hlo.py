"""The text of a compiled program: bytes that a pass of its loop moves, and loops whose end the host has to ask for."""

import math
import re
from dataclasses import dataclass
from functools import cached_property

_SHAPE = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")
_INSTRUCTION = re.compile(r"^ *(ROOT )?%([\w.\-]+) = (.*?) ([a-z][\w\-]*)\(([^)]*)\)(.*)$", re.MULTILINE)
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
# What names memory and moves none.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "after-all", "partition-id"}
_PARTIAL = {"slice", "dynamic-slice", "gather"}


@dataclass(frozen=True)
class Instruction:
    """An instruction of a computation.

    Attributes:
        name: Name, without the percent sign.
        nbytes: Bytes of its result.
        opcode: What it does, such as "fusion".
        operands: Names of the instructions it is given.
        rest: What the text says after the operands.
    """

    name: str
    nbytes: int
    opcode: str
    operands: tuple[str, ...]
    rest: str

    def called(self, what: str) -> str:
        """Name of the computation that it calls as its `calls`, `body` or `condition`."""
        match = re.search(rf"\b{what}=%([\w.\-]+)", self.rest)
        return match[1] if match else ""

    @property
    def parameter_number(self) -> int:
        """Number of the computation's parameter that it is; -1 if it is none."""
        return int(self.operands[0]) if self.opcode == "parameter" else -1


Computation = dict[str, Instruction]


@dataclass(frozen=True)
class CompiledText:
    """A compiled program as XLA writes it."""

    text: str

    @cached_property
    def computations(self) -> dict[str, Computation]:
        """Its computations by name; the entry under the name "ENTRY"."""
        return {
            "ENTRY" if found[1] else found[2]: {one.name: one for one in map(_instruction, _lines(found[3]))}
            for found in _COMPUTATION.finditer(self.text)
        }

    @cached_property
    def loop(self) -> Instruction | None:
        """The longest of the entry's loops; None if there is none."""
        loops = [one for one in self.computations["ENTRY"].values() if one.opcode == "while"]
        return max(loops, key=lambda one: len(self.computations[one.called("body")]), default=None)

    @property
    def host_reads(self) -> int:
        """Loops in which the host reads before each pass whether there is another: those of no known trip count."""
        every = (one for body in self.computations.values() for one in body.values())
        return sum(one.opcode == "while" and "known_trip_count" not in one.rest for one in every)

    @property
    def moved_bytes(self) -> int:
        """Bytes that kernels read and write in one pass of the loop, or in all of a program without one.

        Of what is sliced, gathered or written into, the part alone. Nothing stays in a cache from kernel to kernel.
        """
        body = self.computations[self.loop.called("body") if self.loop else "ENTRY"]
        return sum(self._moved(one, body) for one in body.values())

    def _moved(self, one: Instruction, body: Computation) -> int:
        if one.opcode in _FREE:
            return 0
        given = [body[name].nbytes for name in one.operands if name in body]
        inner = self.computations.get(one.called("calls"), {}) if one.opcode == "fusion" else {}
        if not inner:
            return one.nbytes + sum(given)
        parameters = sorted(
            (each for each in inner.values() if each.parameter_number >= 0), key=lambda each: each.parameter_number
        )
        read = sum(min(each.nbytes, _read(each, inner)) for each in parameters)
        written = one.nbytes
        for each in inner.values():
            if each.opcode == "dynamic-update-slice":
                written += inner[each.operands[1]].nbytes - each.nbytes
        return read + max(written, 0)


def _lines(body: str) -> list[re.Match[str]]:
    return list(_INSTRUCTION.finditer(body))


def _instruction(line: re.Match[str]) -> Instruction:
    _, name, kind, opcode, operands, rest = line.groups()
    found = tuple(re.findall(r"%([\w.\-]+)", operands)) or (operands,)
    return Instruction(name, _nbytes(kind), opcode, found, rest)


def _nbytes(kind: str) -> int:
    total = 0
    for dtype, sides in _SHAPE.findall(kind):
        bits = 8 if dtype == "pred" else int(re.sub(r"^[a-z]+(\d+).*", r"\1", dtype))
        total += math.prod(int(side) for side in sides.split(",") if side) * bits // 8
    return total


def _read(what: Instruction, computation: Computation) -> int:
    """Bytes of an instruction's result that its users read."""
    total = 0
    for user in computation.values():
        if what.name not in user.operands:
            continue
        first = user.operands[0] == what.name
        if user.opcode == "bitcast":
            total += _read(user, computation)
        elif first and user.opcode in _PARTIAL:
            total += user.nbytes
        elif not (first and user.opcode == "dynamic-update-slice"):
            total += what.nbytes
    return total
