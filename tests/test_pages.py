"""What the README and the pages of docs/ show runs as it stands, and what they name is there."""

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from page_names import names_of

from jaxae.cli import bind
from jaxae.commands.table import COMMANDS, command_of, main_of
from jaxae.config import CONDITIONAL_VAE

DOCS = REPOSITORY / "docs"
# Notebooks run as the site is built; what is translated is an output.
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]
PAGES = [path for path in PAGES if not {"notebooks", "_build"} & {*path.parts}]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.md"))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def commands(path: Path) -> list[str]:
    """The commands of jaxae in a page's blocks, as one line each, without what a shell does around them."""
    lines = [
        line for block in (*blocks(path, "sh"), *blocks(path, "")) for line in block.replace("\\\n", " ").splitlines()
    ]
    found = [part.strip() for line in lines for part in re.split(r"&&|\$ ", line.partition("  #")[0])]
    return [part for part in found if part.startswith("jaxae ")]


@pytest.mark.parametrize("path", [path for path in PAGES if blocks(path, "python")], ids=name_of)
def test_the_python_of_a_page_runs(path, tmp_path, monkeypatch):
    """All blocks in one namespace: later ones build on earlier ones."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = names_of(name_of(path), tmp_path)
    for number, block in enumerate(blocks(path, "python"), 1):
        exec(compile(block, f"{name_of(path)}, block {number}", "exec"), names)
    if path.name == "README.md":
        assert names["reconstruction"].shape == (8, 28, 28, 1)
        assert names["sevens"].shape == (16, 28, 28, 1)
        assert ((names["sevens"] >= 0) & (names["sevens"] <= 1)).all()


@pytest.mark.parametrize(
    ("path", "line"),
    [pytest.param(path, line, id=f"{name_of(path)}: {line}") for path in PAGES for line in commands(path)],
)
def test_a_command_of_a_page_is_one_that_is_understood(path, line, tmp_path, monkeypatch):
    words = shlex.split(line)[1:]
    if words[0] in ("--help", "--version", "completion"):
        return
    command = command_of(words)
    assert command in COMMANDS, f"{path.name} has jaxae {' '.join(words)}"
    if "--config" in words:  # of a run that the reader has: read with the command line
        run = tmp_path / words[words.index("--config") + 1]
        run.parent.mkdir(parents=True)
        run.write_text(json.dumps(CONDITIONAL_VAE.to_json()))
        monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"jaxae {command}", *words[len(command.split()) :]])
    assert callable(bind(main_of(command)))


def test_there_are_examples():
    assert any("jaxae.fit" in block for block in blocks(REPOSITORY / "README.md", "python"))
    assert sum(len(commands(path)) for path in PAGES) > 30


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=name_of)
def test_links_and_paths_lead_somewhere(path):
    text = re.sub(r"^```\{code-cell.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{name_of(path)} links to {target}"
    for name in re.findall(r"\b(?:scripts|tests|jaxae|torch_ref)/[\w/*]+\.py\b", text):
        assert list(REPOSITORY.glob(name)), f"{name_of(path)} names {name}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_named(command):
    readme = (REPOSITORY / "README.md").read_text()
    assert f"jaxae {command}" in readme or f"`{command}`" in readme


@pytest.mark.parametrize("path", PAGES + NOTEBOOKS, ids=name_of)
def test_commands_that_pages_name_are_there(path):
    known = {*COMMANDS, "train", "completion bash"}
    for words in re.findall(r"(?:`|^|&& |\$\()jaxae ((?:train )?[a-z]+(?:-[a-z]+)?(?: bash)?)", path.read_text(), re.M):
        assert words in known or words.split()[0] in known, f"{path.name} names jaxae {words}"


@pytest.mark.parametrize("room", ["", ".port", ".parity", ".bench"])
def test_every_public_name_is_in_the_reference(room):
    stub = REPOSITORY / "jaxae" / room.lstrip(".") / "__init__.pyi"
    names = {
        alias.asname
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    reference = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    missing = [name for name in names if not re.search(rf"::? jaxae{re.escape(room)}\.{name}\b", reference)]
    rooms = {"bench", "parity", "port"} if not room else set()  # pages of their own
    assert names
    assert {*missing} - rooms == set()


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text()
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    assert [page for page in pages - {"index"} if page not in index] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_and_its_twin_hold_the_same(path):
    jupytext = pytest.importorskip("jupytext")
    ours, twin = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
    assert [(cell.cell_type, cell.source) for cell in ours.cells] == [
        (cell.cell_type, cell.source) for cell in twin.cells
    ]
    assert not any(cell.get("outputs") for cell in twin.cells)


def test_every_format_of_data_has_its_test():
    table = (DOCS / "data.md").read_text().partition("| what | as |")[2].partition("\n\n")[0]
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests" / "data").glob("test_*.py"))
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    for row in rows:
        named = re.findall(r"\b(?:Test\w+|test_\w+)(?!\w*\.py)\b", row[-1])
        files = re.findall(r"\btest_\w+\.py", row[-1])
        assert named or files, row
        assert all(re.search(rf"(class|def) {name}\b", tests) for name in named), row
        assert all((REPOSITORY / "tests" / "data" / name).exists() for name in files), row
        assert all((REPOSITORY / "jaxae" / "data" / name).exists() for name in re.findall(r"`([\w/]+\.py)`", row[-2]))
    assert len(rows) > 10


def test_every_row_of_what_ports_has_its_test():
    table = (DOCS / "porting.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    for row in rows:
        found = re.search(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert found, row
        assert f"def {found[2]}(" in (REPOSITORY / found[1]).read_text(), row
    assert len(rows) > 20
