"""What CONTRIBUTING asks of the code, held by reading it."""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "jaxae"
FILES = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
SCRIPTS = {path: path.read_text() for path in sorted((REPOSITORY / "scripts").glob("*.py"))}
Found = Iterator[tuple[int, str]]


def formatter_skips(text: str) -> Found:
    """Lines that the formatter is told to leave alone, or lambdas bound to a name."""
    for number, line in enumerate(text.splitlines(), 1):
        if "fmt: skip" in line or "fmt: off" in line or "noqa: E731" in line:
            yield number, line.strip()


def errors_without_expected(text: str) -> Found:
    """InputErrors whose message does not begin with what was expected."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError"):
            continue
        first: ast.AST | None = node.args[0] if node.args else None
        while isinstance(first, ast.BinOp):
            first = first.left
        if isinstance(first, ast.JoinedStr):
            first = first.values[0]
        # What another error says, or a message that is put together elsewhere, begins there.
        if isinstance(first, ast.Constant) and not str(first.value).startswith("expected "):
            yield node.lineno, str(first.value)
        elif isinstance(first, ast.FormattedValue) and not isinstance(first.value, ast.Name):
            yield node.lineno, ast.unparse(first.value)


def undocumented(text: str) -> Found:
    """Public functions, classes and methods without a docstring."""

    def look(body: list[ast.stmt]) -> Found:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node):
                    yield node.lineno, node.name
                if isinstance(node, ast.ClassDef):
                    yield from look(node.body)

    yield from look(ast.parse(text).body)


def bad_sections(text: str) -> Found:
    """Sections of docstrings indented otherwise, and Raises that do not say when."""
    lines = text.splitlines()
    for number, line in enumerate(lines[:-1], 1):
        if not (match := re.fullmatch(r"( *)(Args|Attributes|Raises):", line)):
            continue
        entry = lines[number].removeprefix(match[1] + "    ")
        unindented = entry == lines[number] or entry.startswith(" ")
        silent = match[2] == "Raises" and not re.match(r"\w+: (If|Naming) ", entry)
        if unindented or silent:
            yield number + 1, entry.strip()


def nounless_descriptions(text: str) -> Found:
    """Descriptions of fields and arguments that leave out their noun."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r" {8,12}\w+: (Of |In which|As in |Theirs|Likewise)", line):
            yield number, line.strip()


def too_long(text: str) -> Found:
    """Files of more than 350 lines."""
    if len(text.splitlines()) > 350:
        yield 1, f"{len(text.splitlines())} lines"


def bare_any(text: str) -> Found:
    """Public parameters, results and fields of which nothing is said but `Any`."""

    def is_bare(annotation: ast.expr | None) -> bool:
        if isinstance(annotation, ast.BinOp):
            return is_bare(annotation.left) or is_bare(annotation.right)
        return isinstance(annotation, ast.Name) and annotation.id == "Any"

    def look(body: list[ast.stmt]) -> Found:
        for node in body:
            if isinstance(node, ast.AnnAssign) and is_bare(node.annotation):
                if not (name := ast.unparse(node.target)).startswith("_"):
                    yield node.lineno, name
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield from look(node.body)
            elif isinstance(node, ast.FunctionDef) and not re.match("_(?!_init__|_call__)", node.name):
                arguments = [one for one in ast.walk(node.args) if isinstance(one, ast.arg)]
                named = [(one.arg, one.annotation) for one in arguments] + [("its result", node.returns)]
                for name, annotation in named:
                    if is_bare(annotation) and (node.name, name) not in ANY_ON_PURPOSE:
                        yield node.lineno, f"{node.name}: {name}"

    yield from look(ast.parse(text).body)


# Where the only true type is one for each name of an argument.
ANY_ON_PURPOSE = {
    ("register", "more"),  # fields of `jaxae.port.row.Layer`
    *(("start", "its result"), ("__call__", "carry"), ("__call__", "state")),  # a cell's: an array, or a pair of them
    ("along", "its result"),  # JAX has no name for what `x.at[...]` is
}

CHECKS: dict[Callable[[str], Found], str] = {
    formatter_skips: "x = [1,2]  # fmt: skip",
    errors_without_expected: 'raise InputError(f"{x.name} is no number")',
    undocumented: "class A:\n    '''A.'''\n    def run(self): ...",
    bad_sections: '"""A.\n\nRaises:\n  InputError: the file is bad.\n"""',
    nounless_descriptions: "        rate: Of Adam.",
    bare_any: "class A:\n    def run(self, x: int | Any): ...",
    too_long: "\n" * 351,
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_code_obeys(check):
    files = FILES | (SCRIPTS if check is not too_long else {})
    if check in (undocumented, bare_any):
        # Rules of a translation: each has torch's name, and takes what torch was given.
        files = {path: text for path, text in files.items() if path.parent.name not in ("functions", "layers")}
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {what}"
        for path, text in files.items()
        for number, what in check(text)
    ]
    assert not found, "\n".join([str(check.__doc__), *found])


@pytest.mark.parametrize(("check", "bad"), CHECKS.items(), ids=lambda one: getattr(one, "__name__", ""))
def test_each_check_can_fail(check, bad):
    assert list(check(bad))


def test_a_class_name_stands_once():
    owners = defaultdict(list)
    for path, text in FILES.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].append(str(path.relative_to(PACKAGE)))
    twice = {name: paths for name, paths in owners.items() if len(paths) > 1}
    assert not twice


def test_the_front_hall_is_small():
    entries = [path.name for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))]
    assert len(set(entries) - {"py.typed"}) <= 17


def test_names_are_exported_by_stubs_alone():
    for path in PACKAGE.rglob("__init__.py"):
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert imported <= {"lazy_loader"}, path
        assert path.with_suffix(".pyi").exists() == bool(imported), path
