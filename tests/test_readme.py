"""The README's Python runs as it stands, and what it names is there."""

import re

import pytest
from conftest import REPOSITORY

from jaxae.commands.table import COMMANDS

README = (REPOSITORY / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_runs(tmp_path, monkeypatch):
    """All blocks in one namespace: later ones build on earlier ones."""
    pytest.importorskip("torch")  # the porting blocks build torch's twin
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "readme"}
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"README.md, block {number}", "exec"), names)
    assert names["reconstruction"].shape == (8, 28, 28, 1)
    assert names["sevens"].shape == (16, 28, 28, 1)
    assert ((names["sevens"] >= 0) & (names["sevens"] <= 1)).all()


def test_there_is_an_example_to_run():
    assert any("jaxae.fit" in block for block in BLOCKS)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/post.md",
        "docs/coming-from-pytorch.md",
        "docs/performance.md",
        "docs/quirks.md",
        "docs/use-cases.md",
        "docs/data.md",
        "docs/published.md",
        "docs/reliability.md",
        "docs/translating.md",
        "docs/porting.md",
    ],
)
def test_links_and_paths_lead_somewhere(page):
    path = REPOSITORY / page
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{page} links to {target}"
    for name in re.findall(r"\b(?:scripts|tests|jaxae|torch_ref)/[\w/*]+\.py\b", text):
        assert list(REPOSITORY.glob(name)), f"{page} names {name}"


def test_every_format_of_data_has_its_test():
    table = (REPOSITORY / "docs/data.md").read_text().partition("| what | as |")[2].partition("\n\n")[0]
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
    table = (REPOSITORY / "docs/porting.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    for row in rows:
        found = re.search(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert found, row
        assert f"def {found[2]}(" in (REPOSITORY / found[1]).read_text(), row
    assert len(rows) > 20


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_named(command):
    assert f"jaxae {command}" in README


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))])
def test_commands_that_pages_name_are_there(page):
    text = (REPOSITORY / page).read_text()
    known = {*COMMANDS, "train", "completion bash"}
    for words in re.findall(r"(?:`|^|&& |\$\()jaxae ((?:train )?[a-z]+(?:-[a-z]+)?(?: bash)?)", text, re.MULTILINE):
        assert words in known or words.split()[0] in known, f"{page} names jaxae {words}"
