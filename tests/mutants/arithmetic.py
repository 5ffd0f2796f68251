"""Small changes of a file's arithmetic and order, of which a sample is taken."""

import ast
import random
from collections.abc import Iterable, Sequence

from .mutant import Edit, Mutant, Source, Walk

ROOMS = ("network", "training", "port", "torch_rng", "storage", "parity")

_OPERATORS: dict[type[ast.operator | ast.cmpop], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}


class _Arithmetic(Walk):
    """Collects changes; what only words a message is left out."""

    def visit_Raise(self, node: ast.Raise) -> None:
        pass

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not any(isinstance(side, ast.JoinedStr) or _is_text(side) for side in (node.left, node.right)):
            self._operator(node, node.left, node.op, node.right)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
            self._operator(node, left, operator, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._change(node, "not", node, "not", "")
        elif isinstance(node.op, ast.USub):
            self._change(node, "operator", node, "-", "+")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        """One more of a whole number; of a real one somewhat less if near 1, or else twice it."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        near = value - 1e-4 if 0.5 < value < 1 else 2 * value or 1e-3
        other = value + 1 if isinstance(value, int) else float(f"{near:.12g}")
        self._change(node, "constant", node, self.told(node), repr(other))

    def visit_Call(self, node: ast.Call) -> None:
        starred = any(isinstance(one, ast.Starred) for one in node.args[:2])
        if len(node.args) > 1 and not starred and ast.unparse(node.func) != "isinstance":
            first, second = (self.source.span(one) for one in node.args[:2])
            texts = self.source.text(*first), self.source.text(*second)
            if texts[0] != texts[1] and "\n" not in texts[0] + texts[1]:
                swapped = Edit(*first, instead=texts[1]), Edit(*second, instead=texts[0])
                self._add(node, "swap", f"{', '.join(texts)} -> {', '.join(texts[::-1])}", swapped)
        self.generic_visit(node)

    def _operator(self, node: ast.expr, left: ast.expr, operator: ast.AST, right: ast.expr) -> None:
        """Change the operator between two sides."""
        for kind, (old, new) in _OPERATORS.items():
            if isinstance(operator, kind):
                gap = self.source.span(left)[1], self.source.span(right)[0]
                self._change(node, "operator", gap, old, new)

    def _change(self, node: ast.expr, kind: str, within: ast.expr | tuple[int, int], old: str, new: str) -> None:
        start, end = within if isinstance(within, tuple) else self.source.span(within)
        text = self.source.text(start, end)
        place = text.find(old)
        if place < 0 or "#" in text[:place]:
            return
        at = start + len(text[:place].encode())
        self._add(node, kind, f"{old} -> {new}", [Edit(at, at + len(old), instead=new)])

    def _add(self, node: ast.expr, kind: str, change: str, out: Sequence[Edit]) -> None:
        line = " ".join(self.source.lines[node.lineno - 1].decode().split())
        noted = self.source.around(node, "(__fired__({}), ", ")[1]")
        self.add(node, kind, f"{line} [{change}]", out, noted)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def find_arithmetic(sources: Iterable[Source], rooms: Iterable[str] = ROOMS) -> list[Mutant]:
    """Every change of arithmetic in some rooms."""
    found = []
    for source in sources:
        walk = _Arithmetic(source)
        walk.visit(source.tree)
        found += [one for one in walk.found if one.room in rooms]
    return found


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Some of the changes, as many of each kind as it goes."""
    chance = random.Random(seed)
    by_kind = {kind: [one for one in mutants if one.kind == kind] for kind in sorted({one.kind for one in mutants})}
    for group in by_kind.values():
        chance.shuffle(group)
    taken: list[Mutant] = []
    while len(taken) < count and any(by_kind.values()):
        taken += [group.pop() for group in by_kind.values() if group]
    return sorted(taken[:count], key=lambda one: (one.path, one.line, one.column))
