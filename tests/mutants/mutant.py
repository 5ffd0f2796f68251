"""What a mutant is: a place in a file, the text that stands there instead, and the text that notes who comes by."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Edit:
    """Bytes of a file from `start` to `end`: put between two texts, or replaced by one.

    Attributes:
        instead: What replaces them; None leaves them.
    """

    start: int
    end: int
    before: str = ""
    after: str = ""
    instead: str | None = None


@dataclass(frozen=True)
class Mutant:
    """A change of one place of a file.

    Attributes:
        path: File, from the repository on.
        line: Its line, from 1.
        column: Its byte in the line, from 0.
        kind: What is changed: "raise", "handler", "constant", ...
        scope: Qualified name of the function or class that it stands in.
        imported: Whether it runs as its file is imported, and not in a test.
        what: The text that is changed, on one line; for arithmetic, its line and the change.
        out: Edits that make the change.
        noted: Edits that leave it, and note that a test came by; `{}` in them is the mutant's number.
    """

    path: str
    line: int
    column: int
    kind: str
    scope: str
    imported: bool
    what: str
    out: tuple[Edit, ...]
    noted: tuple[Edit, ...] = ()

    @property
    def room(self) -> str:
        """The folder of jaxae, or the file in its front hall, that it stands in; or torch_ref."""
        package, *inside = self.path.split("/")
        return inside[0].removesuffix(".py") if package == "jaxae" else package

    @property
    def name(self) -> str:
        """The place and the change."""
        return f"{self.path}:{self.line}: {self.what}"


class Source:
    """A file's text and its syntax tree, whose nodes are found in the text."""

    def __init__(self, path: str, text: str):
        self.path = path
        self.content = text.encode()
        self.lines = self.content.splitlines(keepends=True)
        self.tree = ast.parse(text)
        self._starts = [0, *accumulate(map(len, self.lines))]

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """The bytes of a node, from and to."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, start: int, end: int) -> str:
        """The text of some bytes."""
        return self.content[start:end].decode()

    def instead(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        """The edit that puts a text in place of a node."""
        return Edit(*self.span(node), instead=text)

    def around(self, node: ast.expr | ast.stmt, before: str, after: str = "") -> Edit:
        """The edit that puts a node between two texts."""
        return Edit(*self.span(node), before, after)

    def edited(self, edits: Sequence[Edit]) -> str:
        """The text after all edits, every line where it was: those around others nest, those instead stand apart."""
        pieces: list[tuple[int, int, int, int, int, str]] = []
        for number, edit in enumerate(edits):
            if edit.instead is not None:
                gone = self.text(edit.start, edit.end).count("\n") - edit.instead.count("\n")
                pieces.append((edit.start, 1, 0, number, edit.end, edit.instead + "\n" * gone))
                continue
            pieces.append((edit.start, 1, -edit.end, number, edit.start, edit.before))
            pieces.append((edit.end, 0, -edit.start, -number, edit.end, edit.after))
        place, parts = 0, []
        for start, *_, end, text in sorted(pieces):
            parts += [self.text(place, start), text]
            place = end
        return "".join([*parts, self.text(place, len(self.content))])

    def mutated(self, mutant: Mutant) -> str:
        """The text with one mutant.

        Raises:
            SyntaxError: If that is no Python, which would be red whatever the tests are.
        """
        text = self.edited(mutant.out)
        compile(text, self.path, "exec", dont_inherit=True)
        return text


class Walk(ast.NodeVisitor):
    """Goes through a file and collects mutants; leaves out annotations, patterns and f-strings."""

    def __init__(self, source: Source):
        self.source = source
        self.found: list[Mutant] = []
        self._scope: list[str] = []
        self._functions = 0

    def add(self, node: ast.expr | ast.stmt, kind: str, what: str, out: Sequence[Edit], *noted: Edit) -> None:
        """Collect a mutant of a node."""
        place = node.lineno, node.col_offset
        scope, imported = ".".join(self._scope), not self._functions
        self.found.append(Mutant(self.source.path, *place, kind, scope, imported, what, tuple(out), noted))

    def told(self, node: ast.expr | ast.stmt) -> str:
        """A node's text on one line."""
        return " ".join(self.source.text(*self.source.span(node)).split())

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for outside in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(outside)
        self._inside(node, 1)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside(node, 0)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._functions += 1
        self.visit(node.body)
        self._functions -= 1

    def _inside(self, node: ast.FunctionDef | ast.ClassDef, functions: int) -> None:
        self._scope.append(node.name)
        self._functions += functions
        for statement in node.body:
            self.visit(statement)
        self._functions -= functions
        self._scope.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_match_case(self, node: ast.match_case) -> None:
        for inside in (*filter(None, [node.guard]), *node.body):
            self.visit(inside)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass
