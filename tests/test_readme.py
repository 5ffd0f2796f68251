"""The README's Python runs as it stands, and what it names is there."""

import re

import pytest
from conftest import REPOSITORY

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
        "docs/published.md",
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


def test_every_script_is_named():
    for script in (REPOSITORY / "scripts").glob("*.py"):
        assert f"scripts/{script.name}" in README, f"the README does not name {script.name}"
