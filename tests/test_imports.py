"""The direction in which data flows is the direction of imports, and imports stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

# Each file or room may import those before it. What stands on one line does not know the others.
ORDER = [
    ["errors"],
    ["files", "multiply_add", "config", "pixels", "parts", "fence"],
    ["feature_major", "box_muller", "npz", "safetensors", "digits", "idx", "progress"],
    ["torch_rng", "cache", "convolution"],
    ["tfds", "layers", "runtime"],
    ["data", "models", "losses"],
    ["schedule"],
    ["step"],
    ["checkpoint"],
    ["fit", "likelihood"],
    ["many"],
    ["plots"],
    ["cli"],
    ["port"],
    ["parity", "bench"],
    ["usecases"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
PACKAGE = REPOSITORY / "jaxae"


def imported(path: Path) -> set[str]:
    """The rooms of jaxae that a file imports, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts = [name.split(".") for name in names]
        rooms |= {part[1] for part in parts if part[0] == "jaxae" and len(part) > 1}
    return rooms & set(LEVEL)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_imports_flow_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    assert room in LEVEL, f"{room} has no place in the order of imports"
    wrong = [name for name in imported(path) if name != room and LEVEL[name] >= LEVEL[room]]
    assert not wrong, f"{path} imports {wrong}, which come after it"


def test_torch_ref_stands_alone():
    for path in (REPOSITORY / "torch_ref").glob("*.py"):
        assert "jaxae" not in {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
        }, path


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_jaxae_imports_nothing_heavy():
    heavy = ["torch", "tensorflow", "tensorflow_datasets", "sklearn", "matplotlib", "orbax",
             "rich", "tyro", "safetensors", "PIL", "skimage", "pandas"]  # fmt: skip
    found = run(f"import jaxae, sys; print([m for m in {heavy} if m in sys.modules])")
    # flax itself imports orbax and rich where they are installed.
    own = run(f"import flax.nnx, optax, sys; print([m for m in {heavy} if m in sys.modules])")
    assert found == own


def test_training_imports_neither_torch_nor_tensorflow(tmp_path):
    found = run(
        "import sys, jaxae\n"
        "from jaxae.plots import draw_run\n"
        "data = jaxae.load('digits')\n"
        f"config = jaxae.AUTOENCODER.replace(epochs=1, replay='torch')\n"
        f"result = jaxae.fit(config, data, run_dir={str(tmp_path / 'run')!r})\n"
        f"draw_run(__import__('pathlib').Path({str(tmp_path)!r}), *result[::2], data)\n"
        "print([name for name in ('torch', 'tensorflow') if name in sys.modules])"
    )
    assert found == "[]\n"
    assert (tmp_path / "latent_map.png").exists()
