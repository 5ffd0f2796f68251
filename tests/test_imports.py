"""The direction in which data flows is the direction of imports, and imports stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "jaxae"

# Each room may import those before it. What stands on one line does not know the others.
ORDER = [
    ["errors"],
    ["bounds", "ending"],
    ["storage", "torch_rng"],
    ["config"],
    ["data"],
    ["network"],
    ["training"],
    ["pretrained"],
    ["cli"],
    ["port"],
    ["parity", "bench"],
    ["usecases", "translation"],
    ["commands"],
    ["__main__"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def module_name(path: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The files of jaxae that a file imports, inside functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    # A package's own file is entered on the way to each of its files, and imports none of them.
    return {name for name in found & set(FILES) if FILES[name].name != "__init__.py"}


IMPORTS = {name: imported(path) for name, path in FILES.items()}


def room_of(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("name", [name for name in FILES if name != "jaxae"])
def test_imports_flow_one_way_between_rooms(name):
    room = room_of(name)
    assert room in LEVEL, f"{room} has no place in the order of imports"
    wrong = [other for other in IMPORTS[name] if room_of(other) != room and LEVEL[room_of(other)] >= LEVEL[room]]
    assert not wrong, f"{name} imports {wrong}, which come after it"


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Files that import each other in a circle, in their order; none where there is no circle."""
    done: set[str] = set()
    way: list[str] = []

    def follow(name: str) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        way.append(name)
        for other in sorted(imports[name]):
            if found := follow(other):
                return found
        done.add(way.pop())
        return []

    return next((found for name in sorted(imports) if (found := follow(name))), [])


def test_files_import_each_other_in_no_circle():
    assert circle(IMPORTS) == []


def test_a_circle_is_found():
    """The search itself: a circle put in is named, from its first file back to it."""
    imports = {"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}
    assert circle(imports) == ["b", "c", "b"]


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


HEAVY = ["torch", "tensorflow", "tensorflow_datasets", "sklearn", "matplotlib", "orbax", "rich"]
HEAVY += ["tyro", "PIL", "skimage", "pandas"]


def test_importing_jaxae_imports_nothing_heavy():
    found = run(f"import jaxae, sys; print([m for m in {['jax', *HEAVY]} if m in sys.modules])")
    assert found == "[]\n"


def test_its_training_imports_no_more_than_flax_does():
    found = run(f"import jaxae, sys; jaxae.fit; print([m for m in {HEAVY} if m in sys.modules])")
    # flax itself imports orbax and rich where they are installed.
    own = run(f"import flax.nnx, optax, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert found == own


def test_public_names_are_all_there():
    code = "import jaxae; print(all(getattr(jaxae, name) for name in jaxae.__all__))"
    assert run(code) == "True\n"


def test_training_imports_neither_torch_nor_tensorflow(tmp_path):
    found = run(
        "import sys, jaxae\n"
        "from jaxae.training.plots import draw_run\n"
        "data = jaxae.load('digits')\n"
        f"config = jaxae.AUTOENCODER.replace(epochs=1, replay='torch')\n"
        f"result = jaxae.fit(config, data, run_dir={str(tmp_path / 'run')!r})\n"
        f"draw_run(__import__('pathlib').Path({str(tmp_path)!r}), *result[::2], data)\n"
        "print([name for name in ('torch', 'tensorflow') if name in sys.modules])"
    )
    assert found == "[]\n"
    assert (tmp_path / "latent_map.png").exists()


def test_no_file_unpickles_by_running():
    """Pickles are walked as data, or left to `torch.load(weights_only=True)`."""
    names = {"pickle", "cloudpickle", "dill", "joblib"}
    for folder in ("jaxae", "torch_ref", "scripts"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                found = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {module}
                assert not names & {name.split(".")[0] for name in found}, path
