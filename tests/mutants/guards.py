"""The guards of a file: what refuses, warns, or goes on after an error."""

import ast
import re
from collections.abc import Iterable, Sequence

from .mutant import Mutant, Source, Walk

_CHECK = re.compile(r"_*(checks?|refuse|require|raise)(_|$)")
_NOTHING = '__import__("contextlib").nullcontext()'


def dotted(node: ast.expr) -> list[str]:
    """The parts of a name, `["self", "_manager", "save"]`; what is no name among them left out."""
    if isinstance(node, ast.Attribute):
        return [*dotted(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else []


def refusing_contexts(sources: Iterable[Source]) -> set[str]:
    """Names of functions whose result, in a `with`, makes one error of another; `suppress` makes none of it."""
    functions = [node for one in sources for node in ast.walk(one.tree) if isinstance(node, ast.FunctionDef)]
    found = {"suppress", *(function.name for function in functions if any(map(_turns, ast.walk(function))))}
    for function in functions:  # that return such a one's
        end = function.body[-1]
        if (
            isinstance(end, ast.Return)
            and isinstance(end.value, ast.Call)
            and found.intersection(dotted(end.value.func))
        ):
            found.add(function.name)
    return found


def _turns(node: ast.AST) -> bool:
    """Whether it gives way to a block, for nothing, and makes another error of the block's."""
    if not isinstance(node, ast.Try):
        return False
    gives = [one for part in node.body for one in ast.walk(part) if isinstance(one, ast.Yield)]
    raised = [one for part in node.handlers for one in ast.walk(part) if isinstance(one, ast.Raise)]
    return any(one.value is None for one in gives) and any(one.exc for one in raised)


class _Guards(Walk):
    def __init__(self, source: Source, contexts: set[str]):
        super().__init__(source)
        self._contexts = contexts
        self._handling = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        handling, self._handling = self._handling, False
        super().visit_FunctionDef(node)
        self._handling = handling

    def visit_Raise(self, node: ast.Raise) -> None:
        """Taken out, what follows goes on; in a handler, the error that was caught goes its way."""
        if node.exc is not None:
            self._statement(node, "raise", "raise" if self._handling else "pass")
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """A handler that refuses is its `raise`; one that goes on, or passes the error on, is made to catch nothing."""
        end = node.body[-1]
        if node.type is not None and not (isinstance(end, ast.Raise) and end.exc):
            noted = self.source.around(node.type, "__caught__({}, ", ")")
            what = f"except {self.told(node.type)}"
            self.add(node.type, "handler", what, [self.source.instead(node.type, "()")], noted)
        handling, self._handling = self._handling, True
        self.generic_visit(node)
        self._handling = handling

    def visit_Expr(self, node: ast.Expr) -> None:
        """Calls of which nothing is kept: checks, warnings, problems that are collected."""
        name = dotted(node.value.func) if isinstance(node.value, ast.Call) else []
        if name[-2:] == ["problems", "append"] or name == ["warnings", "warn"]:
            self._statement(node, name[0] if name[-1] == "warn" else "problem", "pass")
        elif isinstance(node.value, ast.Call) and any(map(_CHECK.match, name)):
            noted = self.source.around(node.value.func, "__called__({}, ", ")")
            self.add(node, "check", self.told(node), [self.source.instead(node, "pass")], noted)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if dotted(node.target)[-1:] == ["problems"]:
            noted = self.source.around(node.value, "__added__({}, ", ")")
            self.add(node, "problem", self.told(node), [self.source.instead(node, "pass")], noted)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        """Reasons that functions named so give to refuse something."""
        if self._scope and re.match("_*refuse", self._scope[-1]) and self._scope[-1] not in self._contexts:
            self._reason(node.value)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg and node.arg.startswith("refuse") and isinstance(node.value, ast.Lambda):
            self._functions += 1
            self._reason(node.value.body)
            self._functions -= 1
        self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self._context(item.context_expr)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if dotted(node.func)[-1:] == ["enter_context"]:
            self._context(node.args[0])
        self.generic_visit(node)

    def _context(self, node: ast.expr) -> None:
        """A call whose result is entered: another function may have such a one's name."""
        if isinstance(node, ast.Call) and self._contexts.intersection(dotted(node.func)[-1:]):
            noted = self.source.around(node, "__around__({}, ", ")")
            self.add(node, "context", self.told(node), [self.source.instead(node, _NOTHING)], noted)

    def _statement(self, node: ast.stmt, kind: str, instead: str) -> None:
        noted = self.source.around(node, f"if __{'passed' if instead == 'raise' else 'fired'}__({{}}): ")
        self.add(node, kind, self.told(node), [self.source.instead(node, instead)], noted)

    def _reason(self, node: ast.expr | None) -> None:
        if node is not None and ast.unparse(node) != "None":
            noted = self.source.around(node, "__some__({}, ", ")")
            self.add(node, "reason", self.told(node), [self.source.instead(node, "None")], noted)


def find_guards(sources: Sequence[Source]) -> list[Mutant]:
    """The guards of all files, each taken out."""
    contexts = refusing_contexts(sources)
    found = []
    for source in sources:
        walk = _Guards(source, contexts)
        walk.visit(source.tree)
        found += walk.found
    return found
