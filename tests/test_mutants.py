"""The tool that takes guards out, on guards of every kind; `python -m tests.mutants` takes out jaxae's."""

import ast
import builtins
import json
import os
import subprocess
import sys
import textwrap
import warnings

from conftest import REPOSITORY
from mutants.arithmetic import find_arithmetic, sample
from mutants.excused import stale
from mutants.guards import find_guards
from mutants.hook import NOTES, Recorder
from mutants.mutant import Source
from mutants.named import named_mutants
from mutants.survey import read_sources

SOURCES = read_sources()
GUARDS = find_guards([*SOURCES.values()])

TOY = """
import contextlib
import warnings

def require(condition):
    if not condition:
        raise ValueError(
            "no"
        )

@contextlib.contextmanager
def refuse_missing():
    try:
        yield
    except KeyError as error:
        raise ValueError("no") from error

def in_a_branch(value):
    if value:
        raise ValueError("no")

def of_another(value):
    try:
        {}[value]
    except KeyError as error:
        raise ValueError("no") from error

def swallowed(value):
    try:
        {}[value]
    except (KeyError, TypeError):
        return "fell back"

def called(value):
    require(not value)

def within(value):
    with contextlib.nullcontext(), refuse_missing():
        {}[value]

def namesake(value):
    class other: refuse_missing = staticmethod(str)
    return other.refuse_missing(value)

def suppressed(value):
    with contextlib.suppress(KeyError):
        {}[value]
    return "fell back"

def refuse_reason(value):
    return "no" if value else None

def collected(value):
    class plan: problems = []
    plan.problems.append("no")
    plan.problems += ["no"]
    return plan.problems

def warned(value):
    warnings.warn("no", stacklevel=2)
"""
# What each function of the toy does with and without its guard.
OUTCOMES = {
    ("in_a_branch", "raise"): ("ValueError", "None"),
    ("of_another", "raise"): ("ValueError", "KeyError"),
    ("swallowed", "handler"): ("fell back", "KeyError"),
    ("called", "check"): ("ValueError", "None"),
    ("within", "context"): ("ValueError", "KeyError"),
    ("suppressed", "context"): ("fell back", "KeyError"),
    ("refuse_reason", "reason"): ("no", "None"),
    ("collected", "problem"): ("['no', 'no']", "['no']"),
    ("warned", "warnings"): ("UserWarning", "None"),
}


def outcome(text: str, function: str) -> str:
    space: dict = {}
    exec(compile(text, "toy", "exec"), space)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return str(space[function]("x"))
        except Exception as error:
            return type(error).__name__


def test_a_guard_of_each_kind_is_found_noted_and_taken_out(tmp_path, monkeypatch):
    source = Source("jaxae/toy.py", TOY)
    found = find_guards([source])
    assert {(one.scope, one.kind) for one in found} == {*OUTCOMES, ("require", "raise"), ("refuse_missing", "raise")}
    recorder = Recorder(str(tmp_path / "notes"))
    for name in NOTES:
        monkeypatch.setattr(builtins, f"__{name}__", getattr(recorder, name), raising=False)
    for number, one in enumerate(found, 1):
        if (one.scope, one.kind) not in OUTCOMES:
            continue
        guarded, open_ = OUTCOMES[one.scope, one.kind]
        assert outcome(TOY, one.scope) == guarded
        assert outcome(source.mutated(one), one.scope) == open_
        edit = one.noted[0]
        noted = source.edited([type(edit)(edit.start, edit.end, edit.before.format(number), edit.after)])
        assert source.mutated(one).count("\n") == noted.count("\n") == TOY.count("\n")
        recorder.begin(f"test_{number}")
        assert outcome(noted, one.scope) == guarded
        notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
        assert [number, f"test_{number}"] in notes


def test_every_error_that_jaxae_raises_is_a_guard_of_its_own():
    raised = [
        (path, node.lineno)
        for path, source in SOURCES.items()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Raise) and node.exc is not None
    ]
    assert [(one.path, one.line) for one in GUARDS if one.kind == "raise"] == sorted(raised)
    assert len({(one.path, one.line, one.column) for one in GUARDS}) == len(GUARDS)


def test_arithmetic_is_changed_and_compiles():
    source = Source("jaxae/port/toy.py", "def f(a, b):\n    return g(a, b) + 0.999 * (a < 3) - (not b)\n")
    found = find_arithmetic([source])
    texts = [source.mutated(one).splitlines()[1].removeprefix("    return ") for one in found]
    assert sorted(texts) == sorted(
        [
            "g(b, a) + 0.999 * (a < 3) - (not b)",
            "g(a, b) - 0.999 * (a < 3) - (not b)",
            "g(a, b) + 0.9989 * (a < 3) - (not b)",
            "g(a, b) + 0.999 / (a < 3) - (not b)",
            "g(a, b) + 0.999 * (a <= 3) - (not b)",
            "g(a, b) + 0.999 * (a < 4) - (not b)",
            "g(a, b) + 0.999 * (a < 3) + (not b)",
            "g(a, b) + 0.999 * (a < 3) - ( b)",
        ]
    )
    noted = source.edited([edit for one in found for edit in one.noted]).replace("{}", "1")
    assert "(__fired__(1), g(a, b))[1]" in noted
    compile(noted, "toy", "exec")


def test_the_sample_and_the_named_changes_are_of_jaxae_as_it_is():
    arithmetic = find_arithmetic(SOURCES.values())
    chosen = sample(arithmetic, 60, 0)
    assert len(chosen) == 60
    assert chosen == sample(arithmetic, 60, 0)
    assert {one.kind for one in chosen} == {"operator", "constant", "not", "swap"}
    for one in [*chosen, *named_mutants(SOURCES)]:
        SOURCES[one.path].mutated(one)
    assert stale([*GUARDS, *arithmetic]) == []


def test_a_guard_taken_out_turns_a_test_red_and_the_file_stays(tmp_path):
    """The whole way, in a process of its own, as a child is forked: recorded, taken out, in a subprocess too."""
    (tmp_path / "toy.py").write_text(TOY)
    tests = f"""
        import subprocess, sys
        import pytest, toy

        def test_here():
            with pytest.raises(ValueError):
                toy.in_a_branch(1)

        def test_there():
            code = "import toy\\ntoy.in_a_branch(1)"
            done = subprocess.run([sys.executable, "-c", code], cwd={str(tmp_path)!r}, capture_output=True, text=True)
            assert "ValueError" in done.stderr

        def test_beside():
            assert toy.refuse_reason(1)
        """
    (tmp_path / "test_toy.py").write_text(textwrap.dedent(tests))
    code = f"""
        import json, sys
        from pathlib import Path
        sys.path.insert(0, {str(tmp_path)!r})
        from tests.mutants.fork import run_tests
        from tests.mutants.guards import find_guards
        from tests.mutants.mutant import Source

        root = Path({str(tmp_path)!r})
        source = Source("toy.py", (root / "toy.py").read_text())
        guard = next(one for one in find_guards([source]) if one.scope == "in_a_branch")
        edit = guard.noted[0]
        noted = source.edited([type(edit)(edit.start, edit.end, edit.before.format(7), edit.after)])
        for name, text in (("record", noted), ("mutant", source.mutated(guard))):
            job = {{"texts": {{str(root / "toy.py"): text}}, "notes": str(root / "notes") if name == "record" else ""}}
            (root / name).write_text(json.dumps(job))
        ended = [run_tests(["test_toy.py"], root=root)]
        ended += [run_tests(["test_toy.py"], root=root, job=root / name) for name in ("record", "mutant")]
        print(json.dumps([[one.status, sorted(one.seconds), one.red] for one in ended]))
        """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, there, beside = (f"test_toy.py::test_{name}" for name in ("here", "there", "beside"))
    green = [0, sorted([here, there, beside]), []]
    assert json.loads(done.stdout) == [green, green, [1, [beside], [here, there]]]
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    assert notes == [[7, here], [7, there]]
    assert (tmp_path / "toy.py").read_text() == TOY
    assert sorted(path.suffix for path in tmp_path.glob("__pycache__/toy.*.pyc")) == [".pyc"]  # of the first run alone
