"""The one command: `jaxae`, `python -m jaxae`, and the doors in scripts/."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from commands.flags import SCRIPTS
from commands.flags import main_of as main_of_script
from conftest import REPOSITORY

from jaxae.commands import table
from jaxae.errors import InputError

FOLDER = Path(table.__file__).parent


def jaxae(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", f"import sys; sys.argv[0] = 'jaxae'; from jaxae.commands.table import main; main(); {code}"]
    return subprocess.run([sys.executable, *start, *words], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_is_a_door_to_a_command(path):
    mains = {table.main_of(command) for command in table.COMMANDS}
    assert main_of_script(path.stem) in mains


def test_every_command_has_its_door_and_every_file_its_row():
    doors = {main_of_script(path.stem) for path in SCRIPTS.glob("*.py")}
    assert {table.main_of(command) for command in table.COMMANDS} == doors
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "table", "training"}
    assert sorted(table.COMMANDS.values()) == sorted(files)


def test_help_lists_every_command_and_imports_nothing_heavy():
    heavy = ("jax", "numpy", "tyro", "rich", "flax")
    done = jaxae("--help", code=f"print([name for name in {heavy} if name in sys.modules])")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"
    assert [name for name in table.COMMANDS if f"  {name}  " not in done.stdout] == []
    assert jaxae().stdout == jaxae("--help").stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["genrate"], "expected jaxae generate.*, got jaxae genrate"),
        (["train"], "expected jaxae train ae or jaxae train cvae or .*dense-vae, got jaxae train"),
        (["train", "vae"], "expected jaxae train ae or .*, got jaxae train vae"),
        (["zzz"], "expected a command that jaxae --help lists, got jaxae zzz"),
        (["--verbose"], "expected a command that jaxae --help lists, got jaxae --verbose"),
    ],
)
def test_unknown_commands_are_told_what_could_be_meant(words, meant):
    with pytest.raises(InputError, match=meant):
        table.refuse(words)
    assert table.command_of(words) not in table.COMMANDS


def test_a_command_line_is_refused_under_the_commands_own_name():
    done = jaxae("train", "ae", "--epochs", "many")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: expected what jaxae train ae --help lists, got ")


def test_the_words_after_a_command_are_its_own(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxae", "compress", "rate", "--help"])
    monkeypatch.setattr("jaxae.commands.table.watch", lambda: None)
    with pytest.raises(SystemExit) as ended:
        table.main()
    assert not ended.value.code
    assert "usage: jaxae compress rate" in capsys.readouterr().out


def test_versions_and_devices():
    done = jaxae("--version")
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert lines.keys() == {"jaxae", "jax", "flax", "devices:"}
    assert lines["devices:"].startswith("cpu:0")


def test_a_shell_completes_commands_and_flags(capsys):
    with pytest.raises(SystemExit):
        table.print_completion(["bash"])
    script = capsys.readouterr().out

    def completed(*words: str) -> set[str]:
        typed = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}"
        asked = f"{script}\n{typed}; _tyro_jaxae; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, timeout=60)
        return {*done.stdout.split()}

    assert completed("jaxae", "") >= {name.split()[0] for name in table.COMMANDS}
    assert completed("jaxae", "train", "") >= {"ae", "cvae", "dense-vae"}
    assert completed("jaxae", "train", "ae", "--learn") == {"--learning-rate"}
    with pytest.raises(InputError, match=r"expected jaxae completion bash\|zsh\|tcsh, got none"):
        table.print_completion([])


def test_the_wheel_alone_trains_in_another_folder(tmp_path):
    """Built, and installed where nothing of the repository is: what it stands on comes from this environment."""
    pytest.importorskip("hatchling")
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(built, cwd=REPOSITORY, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (purelib,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(tmp_path / "env"), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    # A path in a .pth file is searched, and the .pth files in it are not read: no editable jaxae.
    (purelib / "of-this-environment.pth").write_text(sysconfig.get_path("purelib"))
    command = tmp_path / "env" / "bin" / "jaxae"
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = subprocess.run(
        [command.with_name("python"), "-c", "import jaxae, torch_ref; print(jaxae.__file__, torch_ref.__file__)"],
        **(options := {"capture_output": True, "text": True, "cwd": tmp_path, "timeout": 120, "env": bare}),
    )
    assert all(Path(found).is_relative_to(tmp_path) for found in where.stdout.split()), where
    flags = ["--data", "digits", "--epochs", "1", "--batch-size", "512", "--devices", "1", "--run-dir", "run"]
    done = subprocess.run([command, "train", "ae", *flags], **options)
    assert done.returncode == 0, done.stderr
    assert "Epoch: 001/001" in done.stdout
    assert (tmp_path / "run" / "weights.safetensors").exists()
    assert "jaxae reduce --run-dir run" in done.stderr
    assert shutil.which("jaxae", path=str(command.parent))
