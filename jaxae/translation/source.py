"""The text of a translation: classes as a person would write them, formatted."""

import ast
import keyword
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from jaxae.translation.catalogue import source_of_piece, with_needs
from jaxae.translation.classes import OMITTED, SourceClass, spelled
from jaxae.translation.graph import Size, Value
from jaxae.translation.naming import Lines
from jaxae.translation.writer import MARK

_WIDTH = 88  # of ruff's own style
_MOVES = re.compile(r"reshape|moveaxis|transpose|concatenate|stack|flatten")


def source_of(
    groups: Sequence[SourceClass],
    values: Sequence[Value],
    last: dict[int, bool],
    needed: set[str],
    stubs: Collection[str],
    title: str,
) -> str:
    """The source of all classes, the network's last.

    Args:
        groups: The classes, each after those that it makes.
        values: Tensors, whose shapes comments tell.
        last: Which of them have channels at the end.
        needed: Names of functions and classes that are copied into the source.
        stubs: Classes that are left to be written.
        title: Text of the module's docstring.
    """
    classes = [_class(group, values, last) for group in groups]
    used = {node.id for one in classes for node in ast.walk(ast.parse(one)) if isinstance(node, ast.Name)}
    parts = [*(source_of_piece(name) for name in with_needs(needed & used)), *stubs, *classes]
    text = "\n\n\n".join(parts)
    return formatted(f'"""{title}\n"""\n\n{_imports(text)}\n\n\n{text}\n')


def formatted(text: str) -> str:
    """The text in ruff's format; as it is where ruff is not installed."""
    ruff = shutil.which("ruff", path=f"{sys.prefix}/bin") or shutil.which("ruff")
    if ruff is None:
        return text
    command = [ruff, "format", "--isolated", "--stdin-filename", "net.py", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else text


def marked(source: str, groups: Sequence[SourceClass], path: str, why: str) -> str:
    """The source with a comment where it parts from torch: where the layer of a path is called, or in the whole's."""
    above, _, name = path.rpartition(".")
    group = next((one for one in groups if any(unit.path == above for unit in one.units)), groups[-1])
    lines = source.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"class {group.name}("))
    call = next((n for n in range(start, len(lines)) if "def __call__" in lines[n]), start)
    place = next((n for n in range(call + 1, len(lines)) if re.search(rf"self\.{re.escape(name)}\b", lines[n])), call)
    indent = re.match(r" *", lines[place])
    lines.insert(place, f"{indent[0] if indent else ''}# NOT PROVEN: {why}")
    return formatted("\n".join(lines) + "\n")


def _imports(text: str) -> str:
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    standard = [f"import {one}" for one in ("itertools", "math") if one in names]
    abstract = sorted(names & {"Callable", "Iterator", "Mapping", "Sequence"})
    standard += [f"from collections.abc import {', '.join(abstract)}"] if abstract else []
    standard += ["from functools import partial"] if "partial" in names else []
    typing = sorted(names & {"Any"})
    standard += [f"from typing import {', '.join(typing)}"] if typing else []
    third = ["import jax"] if "jax" in names else []
    third += ["import jax.numpy as jnp"] if "jnp" in names else []
    third += ["import numpy as np"] if "np" in names else []
    third += ["from flax import nnx"]
    third += ["from jax import lax"] if "lax" in names else []
    return "\n".join([*standard, *([""] if standard else []), *third])


def _class(group: SourceClass, values: Sequence[Value], last: dict[int, bool]) -> str:
    lines = group.lines = _without_twin(group, values, last)
    chain = lines.chain is not None
    base = "nnx.Sequential" if chain else "nnx.Module"
    where = group.kind.__module__
    text = [f"class {group.name}({base}):", f'    """`{group.kind.__qualname__}` of {where}."""', ""]
    text += [f"    {one}" for one in _constructor(group)]
    if not chain and (lines.body or lines.result):
        text += ["", *(f"    {one}" for one in _call(group, values, last))]
    return "\n".join(text)


def _without_twin(group: SourceClass, values: Sequence[Value], last: dict[int, bool]) -> Lines:
    """The text of a class, without what it does in training where that turns out to be the same."""
    lines = group.lines
    if lines.training is None or _mode(group, lines, values, last) != _mode(group, lines.training, values, last):
        return lines
    made = [one for one in lines.made if one[0] != "deterministic"]
    return replace(lines, made=made, training=None)


def _filled(group: SourceClass, code: str) -> str:
    """An expression with its constants, in Python's own spelling."""
    tree = ast.parse(MARK.sub(lambda mark: group.said[mark[0]], code))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [one for one in node.keywords if getattr(one.value, "id", "") != OMITTED]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Subscript):  # variable[...][index]
            inner = node.value
            if isinstance(inner.slice, ast.Constant) and inner.slice.value is Ellipsis:
                node.value = inner.value
    return ast.unparse(tree)


def _constructor(group: SourceClass) -> list[str]:
    lines = group.lines
    plain = [f"{one.name}: {_type(one.values)}" for one in group.parameters if one.positional]
    named = [
        f"{one.name}: {_type(one.values)}" + ("" if one.default is None else f" = {spelled(one.default)}")
        for one in group.parameters
        if not one.positional
    ]
    text = [f"def __init__(self, {', '.join([*plain, '*', *named, 'rngs: nnx.Rngs'])}):"]
    text += [f"    self.{one.name} = {one.name}" for one in group.parameters if one.stored]
    if lines.chain is not None:
        elements = _repeated([_filled(group, code) for code in lines.chain])
        return [*text, f"    super().__init__({', '.join(elements)})"]
    for name, code in lines.made:
        made = _lists_rolled(_filled(group, code))
        if name == group.optional:
            made = f"{made} if {name} else None"
        kind = ": nnx.Dict[Any]" if made.startswith("nnx.Dict(") else ""  # of modules of several kinds
        text.append(f"    self.{name}{kind} = {made}")
    return text if len(text) > 1 else [*text, "    pass"]


def _type(values: Sequence[Any]) -> str:
    kinds = {_kind(value) for value in values}
    return " | ".join(sorted(kinds, key=lambda one: one == "None"))


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple):
        inner = sorted({_kind(one) for one in value})
        return f"tuple[{' | '.join(inner)}, ...]"
    return type(value).__name__ if type(value) in (int, float, bool, str) else "Any"


def _lists_rolled(code: str) -> str:
    """Equal elements of lists and sequences as one comprehension."""
    tree = ast.parse(code, mode="eval")

    class Roll(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            name = ast.unparse(node.func)
            if name == "nnx.Sequential":
                return _expression(f"{name}({', '.join(_repeated(list(map(ast.unparse, node.args))))})")
            if name == "nnx.List" and isinstance(node.args[0], ast.List):
                parts = _repeated(list(map(ast.unparse, node.args[0].elts)))
                alone = len(parts) == 1 and parts[0].startswith("*")
                inner = parts[0][1:] if alone else f"[{', '.join(parts)}]"
                return _expression(f"nnx.List({inner})")
            return node

    return ast.unparse(Roll().visit(tree))


def _expression(code: str) -> ast.expr:
    return ast.parse(code, mode="eval").body


def _repeated(elements: list[str]) -> list[str]:
    """Elements of a list, those that follow each other and are equal in one."""
    parts: list[str] = []
    position = 0
    while position < len(elements):
        count = 1
        while position + count < len(elements) and elements[position + count] == elements[position]:
            count += 1
        one = elements[position]
        if count > 1 and "rngs=rngs" in one:
            parts.append(f"*[{one} for _ in range({count})]")
        else:
            parts += [one] * count
        position += count
    return parts


def _call(group: SourceClass, values: Sequence[Value], last: dict[int, bool]) -> list[str]:
    lines = group.lines
    arguments = ", ".join(f"{name}: {kind}" for name, kind in lines.signature)
    own, result = _mode(group, lines, values, last)
    if lines.training is None:
        return [f"def __call__(self, {arguments}) -> {_returned(result)}:", *(f"    {one}" for one in own)]
    other, gives = _mode(group, lines.training, values, last)
    common = next(n for n, (a, b) in enumerate(zip(own, other, strict=False)) if a != b)
    shared, own, other = own[:common], own[common:], other[common:]
    kinds = dict.fromkeys([_returned(gives), _returned(result)])
    return [
        f"def __call__(self, {arguments}) -> {' | '.join(kinds)}:",
        *(f"    {one}" for one in shared),
        "    if self.deterministic:",
        *(f"        {one}" for one in own),
        *(f"    {one}" for one in other),
    ]


def _mode(group: SourceClass, lines: Lines, values: Sequence[Value], last: dict[int, bool]) -> tuple[list[str], str]:
    """The statements of a call with its return, and the expression returned."""
    single = len(group.units) == 1
    body = [_filled(group, code) for code in lines.body]
    notes = [
        _shape_note(targets, text, values, last) if single else ""
        for targets, text in zip(lines.targets, body, strict=True)
    ]
    result = _filled(group, lines.result) if lines.result else "None"
    body, notes, result = _chained(body, notes, result)
    returned = result.removeprefix("(").removesuffix(")") if _is_tuple(result) else result
    return [*_loops(body, notes), f"return {returned}"], result


def _is_tuple(code: str) -> bool:
    return isinstance(ast.parse(code, mode="eval").body, ast.Tuple) and code.startswith("(") and code != "()"


def _returned(code: str) -> str:
    node = ast.parse(code, mode="eval").body
    if isinstance(node, ast.Tuple):
        return f"tuple[{', '.join('jax.Array' if not isinstance(one, ast.Tuple) else 'tuple' for one in node.elts)}]"
    return "dict" if isinstance(node, ast.Dict) else "list" if isinstance(node, ast.List) else "jax.Array"


def _shape_note(targets: tuple[int, ...], text: str, values: Sequence[Value], last: dict[int, bool]) -> str:
    if len(targets) != 1 or not _MOVES.search(text):
        return ""
    shape = list(values[targets[0]].shape)
    if last.get(targets[0]) and len(shape) >= 3:
        shape = [shape[0], *shape[2:], shape[1]]
    inner = ", ".join("n" if isinstance(one, Size) else str(one) for one in shape)
    return f"({inner})"


_INDEX = re.compile(r"\b(self(?:\.\w+|\['\w+'\])+)\[(\d+)\]")


def _chained(body: list[str], notes: list[str], result: str) -> tuple[list[str], list[str], str]:
    """Statements and result, with one variable through a list whose layers are called in turn: a loop, maybe."""
    link = re.compile(rf"(?:(\w+) = )?{_INDEX.pattern}\((\w+)\)")
    last = link.fullmatch(body[-1]) if body else None
    final = link.fullmatch(result)
    if last and final and final[4] == last[1] and final[2] == last[2] and int(final[3]) == int(last[3]) + 1:
        body, notes, result = [*body, f"{last[1]} = {result}"], [*notes, ""], last[1]
    text, told = [], []
    for position, (line, note) in enumerate(zip(body, notes, strict=True)):
        found = link.fullmatch(line)
        after = link.fullmatch(body[position + 1]) if position + 1 < len(body) else None
        begins = found and after and found[3] == "0" and after[3] == "1" and found[2] == after[2]
        if begins and found and after and after[1] == after[4] == found[1] != found[4]:
            text += [f"{found[1]} = {found[4]}", f"{found[1]} = {found[2]}[0]({found[1]})"]
            told += ["", note]
        else:
            text.append(line)
            told.append(note)
    return text, told, result


def _loops(body: list[str], notes: list[str]) -> list[str]:
    """Statements with those that go through a list in turn as one loop, and comments."""
    text: list[str] = []
    position = 0
    while position < len(body):
        length, times, names = _loop_at(body, position)
        if times > 1:
            lists = list(dict.fromkeys(names))
            items = [_singular(name, lists) for name in lists]
            through = ", ".join(lists)
            head = f"for {', '.join(items)} in {f'zip({through})' if len(lists) > 1 else through}:"
            text.append(head)
            for line in body[position : position + length]:
                text.append("    " + _INDEX.sub(lambda m, names=lists, one=items: one[names.index(m[1])], line))
            position += length * times
            continue
        note = notes[position]
        line = body[position]
        text.append(f"{line}  # {note}" if note and len(line) + len(note) + 14 <= _WIDTH else line)
        position += 1
    return text


def _loop_at(body: list[str], start: int) -> tuple[int, int, list[str]]:
    """How many statements from `start` on are repeated, how often, and the lists that they go through."""
    for length in range(1, 9):
        block = body[start : start + length]
        if len(block) < length:
            break
        found = [match for line in block for match in _INDEX.finditer(line)]
        if not found or any(match[2] != "0" for match in found):
            continue
        times = 1
        while body[start + times * length : start + (times + 1) * length] == [
            _INDEX.sub(lambda m, n=times: f"{m[1]}[{n}]", line) for line in block
        ]:
            times += 1
        names = [match[1] for match in found]
        beyond = [line for line in body[start + times * length :] for m in _INDEX.finditer(line) if m[1] in names]
        if times > 1 and not beyond:
            return length, times, names
    return 0, 1, []


def _singular(name: str, lists: list[str]) -> str:
    """A variable for an element of a list, other ones for several lists."""
    last = re.findall(r"\w+", name)[-1]
    one = last[:-1] if last.endswith("s") and len(last) > 2 else "block" if len(lists) == 1 else last
    return f"{one}_" if keyword.iskeyword(one) else one
