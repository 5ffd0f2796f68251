"""What is written: never in the place of what is read, whole or absent on a full disk, through links, into devices."""

import ast
import gc
import hashlib
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands.files import write_files
from commands.flags import SCRIPTS
from commands.matrix import OUTPUTS, Command, all_commands
from conftest import REPOSITORY
from matplotlib.figure import Figure
from scripted import ended

from jaxae.config import AUTOENCODER
from jaxae.data.dataset import files_of
from jaxae.errors import InputError
from jaxae.port import torch_file
from jaxae.port.file_to_file import port_file
from jaxae.port.source import WeightSource
from jaxae.storage import npz, safetensors
from jaxae.storage.figures import figure_format, save_figure
from jaxae.storage.files import check_writable, whole_or_absent, whole_or_absent_folder, write_text
from jaxae.training.many import ManyResult, save_many
from jaxae.training.run_folder import run_files
from jaxae.training.state import Metrics
from jaxae.usecases.compress.files import compress_file, decompress_file
from jaxae.usecases.denoise_file import denoise_file
from jaxae.usecases.picture import write_pixels

COMMANDS = all_commands(sorted(path.stem for path in SCRIPTS.glob("*.py")))
# What is read: what is typed for each flag, and a file that no output may replace then.
INPUTS = {
    "--data": [("{npz}", "{npz}"), ("{pictures}", "{pictures}/train/3/0.png"), ("{csv}", "{csv}")],
    "--data-dir": [("{idx}", "{idx}/t10k-labels-idx1-ubyte")],
    "--run-dir": [("{run}", "{run}/config.json"), ("{run}", "{run}/weights.safetensors")],
    "run": [("{run}", "{run}/config.json"), ("{run}", "{run}/weights.safetensors")],
    "--also": [("{other}", "{other}/weights.safetensors")],
    "--runs": [("{run} {other}", "{other}/config.json")],
    "--image": [("{character}", "{character}")],
    "--log": [("{log}", "{log}")],
    "--compare": [("{benchmark}", "{benchmark}")],
    "--config": [("{run}/config.json", "{run}/config.json")],
    "--like": [("{net}", "{net}")],
    "--weights": [("{net}", "{net}")],
    "networks": [("{npz} package:make", "{npz}")],
    "source": [("{images}", "{images}")],
    "src": [("{run}", "{run}/weights.safetensors"), ("{run}/weights.safetensors", "{run}/weights.safetensors")],
}
# What some flags are typed with.
BESIDE = {
    "--data-dir": {"--data": "mnist"},
    "--also": {"--run-dir": "{run}"},
    "--image": {"--corruption": "gaussian", "--out": "new.png"},
    "--out": {"--corruption": "gaussian", "--image": "{sheet}"},
}
TOGETHER_REFUSED = {("--json", "--image"), ("--figure", "--image")}  # of a picture no table is made
POSITIONAL = {
    "network": "tests.commands.network:make_torch",
    "source": "{images}",
    "destination": "new",
    "src": "{run}",
    "dst": "new.safetensors",
}
# Of runs that are made, and of traces: as is --run-dir of a training, never one that holds anything.
FOLDERS = {"--keep", "--trace", "folder"}


class Case(NamedTuple):
    """A command that is to replace what it reads."""

    command: Command
    output: str
    read: str
    typed: str
    replaced: str

    def __str__(self) -> str:
        return " ".join((self.command.name, self.output, self.read, Path(self.replaced).name))

    def argv(self, paths: dict[str, str]) -> list[str]:
        """What is typed."""
        values = POSITIONAL | BESIDE.get(self.output, {}) | BESIDE.get(self.read, {})
        values |= {self.read: self.typed, self.output: self.replaced}
        words = self.command.subcommand.split()
        for flag in self.command.flags:
            if flag.name in values:
                words += [flag.name] * flag.name.startswith("--") + values[flag.name].split()
        return [word.format(**paths) for word in words]


def outputs_of(command: Command) -> list[str]:
    """Flags of files to write; a page is a new folder."""
    return [flag.name for flag in command.flags if flag.name in OUTPUTS and command.script != "explore"]


def cases() -> Iterator[Case]:
    for command in COMMANDS:
        for output in outputs_of(command):
            for flag in command.flags:
                if (output, flag.name) in TOGETHER_REFUSED or (flag.name == "--weights" and not flag.is_path):
                    continue
                for typed, replaced in INPUTS.get(flag.name, ()):
                    yield Case(command, output, flag.name, typed, replaced)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    """Files that commands are given, by the names that the cases have in braces."""
    root = tmp_path_factory.mktemp("files")
    made = write_files(root / "files")
    for name in ("run", "other"):
        made[name] = str(shutil.copytree(REPOSITORY / "jaxae" / "pretrained" / "ae-mnist", root / name))
    for name, source in (("benchmark", made["benchmark"]), ("log", __file__)):
        made[name] = str(shutil.copy(source, root / name))
    return made


def digests(root: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def test_every_path_that_a_script_takes_is_read_or_written():
    """A new flag must be put among the inputs or the outputs, to be held to what is tested below."""
    flags = {flag.name for command in COMMANDS for flag in command.flags if flag.is_path}
    assert flags - {*OUTPUTS} - {*INPUTS} - FOLDERS == set()
    assert len(list(cases())) > 60


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_no_output_replaces_an_input(case, paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = digests(Path(paths["run"]).parent)
    end = ended(case.command.script, *case.argv(paths))
    assert end.status == 2, end
    assert re.fullmatch(r"error: expected another file to write than those to read, got .*\n", end.err), end
    assert end.out == ""
    assert digests(Path(paths["run"]).parent) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["denoise_file", "compress_file", "decompress_file", "port_file"])
@pytest.mark.usefixtures("unchecked")
def test_no_function_replaces_what_it_reads(name, paths, tmp_path):
    """Told before anything is read, by whatever model."""
    file = Path(shutil.copy(f"{paths['run']}/weights.safetensors", tmp_path / "a.safetensors"))
    (tmp_path / "b.safetensors").symlink_to(file)
    source: Any = WeightSource({}, "flax", str(file)) if name == "port_file" else file
    model: Any = None
    write: dict[str, Callable[[Path], object]] = {
        "denoise_file": lambda path: denoise_file(source, path, model, tiles=True),
        "compress_file": lambda path: compress_file(source, path, model, step=4),
        "decompress_file": lambda path: decompress_file(source, path),
        "port_file": lambda path: port_file(source, path, model),
    }
    before = file.read_bytes()
    for path in (file, tmp_path / "b.safetensors"):
        with pytest.raises(InputError, match="expected another file to write than those to read"):
            write[name](path)
    assert file.read_bytes() == before


@pytest.mark.parametrize("command", [one for one in COMMANDS if len(outputs_of(one)) > 1], ids=lambda one: one.name)
def test_no_two_outputs_are_one_file(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    first, second = outputs_of(command)[:2]
    network = [POSITIONAL["network"] for flag in command.flags if flag.name == "network"]
    end = ended(command.script, *command.subcommand.split(), *network, first, "a.png", second, "folder/../a.png")
    assert end.status == 2, end
    assert re.fullmatch(r"error: expected a file for each output, got a\.png and .*\n", end.err), end
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def names_of(file: Path) -> dict[str, Path]:
    """Other names of a file."""
    folder = file.parent
    (folder / "hard").hardlink_to(file)
    (folder / "soft").symlink_to(file.name)
    (folder / "chain").symlink_to("soft")
    (folder / "linked").symlink_to(folder)
    names = {name: folder / name for name in ("hard", "soft", "chain")}
    return names | {"folder": folder / "linked" / file.name, "dots": folder / ".." / folder.name / file.name}


@pytest.mark.parametrize("name", ["hard", "soft", "chain", "folder", "dots"])
def test_a_file_is_known_by_any_name(name, tmp_path):
    file = tmp_path / "a.npz"
    file.write_text("content")
    other = names_of(file)[name]
    for path, read in ((other, file), (file, other)):
        with pytest.raises(InputError, match="expected another file to write"):
            check_writable(path, inputs=[read])
        with pytest.raises(InputError, match="expected a file for each output"):
            check_writable(path, read)
    check_writable(tmp_path / "b.npz", inputs=[file])


def test_a_folder_that_is_read_keeps_its_files_and_takes_others(tmp_path):
    (tmp_path / "data" / "raw").mkdir(parents=True)
    file = tmp_path / "data" / "raw" / "images"
    file.touch()
    with pytest.raises(InputError, match="expected another file to write"):
        check_writable(file, inputs=[tmp_path / "data"])
    check_writable(file.with_name("new"), tmp_path / "new", inputs=[tmp_path / "data", tmp_path / "none"])


def test_names_that_capitals_and_accents_alone_tell_apart_are_one(tmp_path):
    for one, two in (("A.json", "a.json"), ("\u00e9.json", "e\u0301.json")):
        with pytest.raises(InputError, match="expected a file for each output"):
            check_writable(tmp_path / one, tmp_path / two)
    (tmp_path / "folder").mkdir()
    check_writable(tmp_path / "a.json", tmp_path / "folder" / "A.json", tmp_path / "b.json")
    (tmp_path / "C.json").touch()  # where it has one of them alone, the file system does tell them apart
    check_writable(tmp_path / "C.json", tmp_path / "c.json")


def test_what_is_read_of_data_and_runs(tmp_path):
    paths = write_files(tmp_path / "files")
    for name in ("npz", "csv", "pictures"):
        assert files_of(paths[name]) == [Path(paths[name])]
    assert {path.name for path in files_of("mnist", paths["idx"])} == {
        path.name for path in Path(paths["idx"]).iterdir()
    }
    assert files_of("mnist")[0].is_dir()
    assert files_of("digits") == []
    assert files_of("mnist", tmp_path / "none") == []
    for name in ("config.json", "weights.safetensors", "weights-seed-1.safetensors", "costs.png", "codec.npz"):
        for folder in (tmp_path / "runs" / "a", tmp_path / "runs"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    found = {str(path.relative_to(tmp_path / "runs")) for path in run_files(tmp_path / "runs")}
    kept = {"config.json", "weights.safetensors", "weights-seed-1.safetensors", "codec.npz"}
    assert found == kept | {f"a/{name}" for name in kept}


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_stays_and_its_target_is_written(dangling, tmp_path):
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "target"
    (tmp_path / "link").symlink_to("chain")
    (tmp_path / "chain").symlink_to("far/target")
    if not dangling:
        target.write_text("old")
        target.chmod(0o640)
    check_writable(tmp_path / "link")
    write_text(tmp_path / "link", "new")
    assert target.read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "chain").is_symlink()
    assert {path.name for path in (tmp_path / "far").iterdir()} == {"target"}
    if not dangling:
        assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_link_to_nowhere_or_to_itself_is_refused(tmp_path):
    (tmp_path / "lost").symlink_to("none/file")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("lost", "loop"):
        for write in (check_writable, lambda path: write_text(path, "new")):
            with pytest.raises(InputError, match=r"^expected a (file|folder) that can be written"):
                write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop", "lost"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o751])
def test_permissions_stay(mode, tmp_path):
    path = tmp_path / "a"
    path.touch()
    path.chmod(mode)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == mode
    mask = os.umask(0o027)
    try:
        write_text(tmp_path / "b", "new")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o640


def test_a_protected_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda one, mode: one != path)  # root may write anything
    for write in (check_writable, lambda path: write_text(path, "new")):
        with pytest.raises(InputError, match="it is protected"):
            write(path)
    assert path.read_text() == "old"


def test_a_pipe_takes_the_content_and_stays(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_text()))
    check_writable(path)
    reader.start()
    write_text(path, "content")
    reader.join()
    assert got == ["content"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


def test_devices_stay_devices(tmp_path, capfd):
    null = Path(os.devnull)
    check_writable(null, null)
    write_text(null, "content")
    assert stat.S_ISCHR(null.stat().st_mode)
    with pytest.raises(InputError, match="expected a file that can be written, got /dev/full: No space left"):
        write_text(Path("/dev/full"), "content")
    print("before", flush=True)
    write_text(Path("/dev/stdout"), "content\n")
    print("after", flush=True)
    assert capfd.readouterr().out == "before\ncontent\nafter\n"


def test_a_file_that_standard_output_goes_to_holds_both(tmp_path):
    code = (
        "from pathlib import Path; from jaxae.storage.files import write_text\n"
        "print('before'); write_text(Path('log'), 'content\\n'); print('after')"
    )
    with (tmp_path / "log").open("w") as log:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=log, check=True, env=environment)
    assert (tmp_path / "log").read_text() == "before\ncontent\nafter\n"


@pytest.mark.parametrize("name", ["", "folder", "none/file", "file/under", "x" * 300, "a\0b"])
def test_what_cannot_be_written_is_refused(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    for write in (check_writable, lambda path: write_text(path, "new")):
        with pytest.raises(InputError, match=r"^expected ") as caught:
            write(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), whole_or_absent(path) as temporary:
        fail(temporary.parent)
    (tmp_path / "half").unlink()
    with pytest.raises(KeyboardInterrupt), whole_or_absent_folder(tmp_path / "new" / "run") as folder:
        fail(folder)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"
    with pytest.raises(InputError, match="expected the name of a new folder"), whole_or_absent_folder(path):
        pass
    with whole_or_absent_folder(tmp_path / "new" / "run") as folder:
        (folder / "whole").touch()
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["run"]
    assert (tmp_path / "new" / "run" / "whole").exists()


def test_a_figure_has_the_format_of_its_name():
    endings = {"a.png": "png", "a.PDF": "pdf", "a": "png", os.devnull: "png", "a.b.svg": "svg"}
    assert {name: figure_format(Path(name)) for name in endings} == endings
    with pytest.raises(InputError, match=r"expected a figure's name that ends in \.png, .*, got a\.xyz"):
        figure_format(Path("a.xyz"))


ZEROS, NOISE = np.zeros(100_000), np.random.default_rng(0).integers(0, 256, (1, 300, 300), np.uint8)


def save_runs(path: Path) -> None:
    none = Metrics(*[np.zeros((2, 0), np.float32)] * len(Metrics._fields))
    weights = {"linear_1": {"kernel": np.zeros((2, 784, 32), np.float32)}}
    save_many(path / "new" / "runs", ManyResult(AUTOENCODER, weights, none, none), [0, 1])


def save_torch_ref(path: Path) -> None:
    torch_ref, optim = pytest.importorskip("torch_ref.checkpoint"), pytest.importorskip("torch.optim")
    net = pytest.importorskip("torch_ref.models").Autoencoder(784, [32])
    torch_ref.save_checkpoint(path / "a.pt", net, optim.Adam(net.parameters()), epoch=1, loss=None)


def save_torch(path: Path) -> None:
    torch_file.write(path / "a.pt", {"a": pytest.importorskip("torch").zeros(100_000)})


WRITERS: dict[str, Callable[[Path], None]] = {
    "npz": lambda folder: npz.write(folder / "a.npz", {"a": ZEROS, "b": ZEROS}),
    "safetensors": lambda folder: safetensors.write(folder / "a.safetensors", {"a": ZEROS}, {}),
    "torch": save_torch,
    "torch_ref": save_torch_ref,
    "figure": lambda folder: save_figure(Figure(), folder / "a.png", dpi=1000),
    "pdf": lambda folder: save_figure(Figure(), folder / "a.pdf"),
    "picture": lambda folder: write_pixels(folder / "a.png", NOISE),
    "array": lambda folder: write_pixels(folder / "a.npy", NOISE),
    "text": lambda folder: write_text(folder / "a", "x" * 400_000),
    "runs": save_runs,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_on_a_full_disk_every_writer_leaves_what_was_there(write, tmp_path, capfd):
    """Files may grow to a limit and no further, as on a full disk."""
    for name in ("a", "a.npz", "a.safetensors", "a.pt", "a.png", "a.npy", "a.pdf"):
        (tmp_path / name).write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"File too large|os error 27") as caught:
            write(tmp_path)
        gc.collect()  # what a writer left open would complain now
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert type(caught.value).__name__ == "InputError"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert re.search(
        r"(got|cannot write) \S+/(a(\.\w+)?|runs/config\.json|runs/weights-seed-0\.safetensors): ", str(caught.value)
    )
    assert capfd.readouterr() == ("", "")
    assert len(list(tmp_path.rglob("*"))) == 7
    assert all(path.read_text() == "old" for path in tmp_path.iterdir())


# Where something is written in another way, and why.
OTHERWISE = {
    "jaxae/storage/files.py: write_bytes": "the temporary file",
    "jaxae/storage/files.py: open": "the temporary file, a device or a standard stream",
    "jaxae/storage/npz.py: savez": "into a temporary file",
    "jaxae/storage/figures.py: savefig": "into a temporary file",
    "jaxae/storage/safetensors.py: open": "the file that is read",
    "jaxae/port/torch_file.py: save": "into a temporary file",
    "jaxae/training/run_folder.py: open": "metrics.jsonl, which alone is appended to",
    "jaxae/data/formats/picture_folder.py: open": "a temporary folder's file, pixel by pixel",
    "jaxae/data/stream/writing.py: open": "into a folder that is whole or absent",
    "jaxae/cli/command_line.py: open": "the null device",
    "jaxae/bench/worker.py: open": "the pipe to the process that asked",
    "jaxae/bench/pair/page.py: savefig": "into memory",
    "jaxae/training/native_lines.py: open": "a descriptor of its own to a standard stream",
    "torch_ref/record.py: savez": "into memory",
    "torch_ref/checkpoint.py: save": "into memory",
    "torch_ref/checkpoint.py: open": "the temporary file, or a device",
}


def writes(text: str) -> Iterator[str]:
    """Calls that write a file, outside of a block that gives the file to write to."""

    def look(node: ast.AST, temporary: bool) -> Iterator[str]:
        if isinstance(node, ast.With):
            temporary |= any("whole_or_absent" in ast.unparse(item) for item in node.items)
        if isinstance(node, ast.Call) and not temporary:
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            modes = [
                one.value
                for one in (*node.args, *(word.value for word in node.keywords))
                if isinstance(one, ast.Constant)
            ]
            opens = name in ("open", "fdopen") and any(
                str(mode)[:1] in "wax" for mode in modes if isinstance(mode, str) and mode
            )
            saves = name in ("savez", "savez_compressed", "savefig", "write_text", "write_bytes", "save_file", "dump")
            saves |= called in ("np.save", "torch.save", "picture.save", "result.save", "shutil.copy", "os.replace")
            saves &= not (name.startswith("write_") and "." not in called)
            if opens or saves:
                yield "open" if opens else name
        for child in ast.iter_child_nodes(node):
            yield from look(child, temporary)

    yield from look(ast.parse(text), False)


def test_all_is_written_by_the_one_writer():
    found = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for folder in ("jaxae", "torch_ref", "scripts")
        for path in (REPOSITORY / folder).rglob("*.py")
        for name in writes(path.read_text())
    }
    assert found - set(OTHERWISE) == set()


@pytest.mark.parametrize(
    "code",
    ["path.open('w')", "open(path, mode='ab')", "np.save(path, a)", "figure.savefig(path)", "path.write_text('')"],
)
def test_another_writer_is_found(code):
    assert list(writes(code))
    assert not list(writes(f"with whole_or_absent(path) as beside:\n    {code}"))
