"""Every setting of every dataclass and script has bounds; what is beyond them is one line, before anything is done."""

import dataclasses
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from commands.flags import SCRIPTS, main_of

import jaxae
from jaxae import AUTOENCODER, InputError, bounds
from jaxae.bounds import Checked, Count, Range, Seed, Workers, check, check_fits, host_memory, kinds_of, told
from jaxae.cli import TrainFlags, run
from jaxae.data.cache import cached
from jaxae.training.checks import check_training
from jaxae.training.runtime import keep_compiled_programs, make_mesh
from jaxae.usecases import corruption

MAINS = {path.stem: main_of(path.stem) for path in sorted(SCRIPTS.glob("*.py"))}  # which import all settings
ABSTRACT = {"VAEConfig"}


def checked_classes(owner: type) -> Iterator[type]:
    for one in owner.__subclasses__():
        if one.__module__.startswith("jaxae.") and one.__name__ not in ABSTRACT:
            yield one
        yield from checked_classes(one)


CLASSES = {one.__name__: one for one in checked_classes(Checked)}
REQUIRED: dict[str, dict[str, Any]] = {
    "TrainConfig": dataclasses.asdict(AUTOENCODER.train),
    "TrainFlags": {
        field.name: getattr(TrainFlags.of(AUTOENCODER), field.name) for field in dataclasses.fields(TrainFlags)
    },
    "RunConfig": {"model": AUTOENCODER.model, "train": AUTOENCODER.train},
    "CompressSettings": {"source": Path("a"), "destination": Path("b")},
    "DecompressSettings": {"source": Path("a"), "destination": Path("b")},
}
FIELDS = [(name, field, kind) for name, owner in CLASSES.items() for field, kind in kinds_of(owner).items()]
FLAGS = [
    (name, flag, kind)
    for name, main in MAINS.items()
    for flag, kind in get_type_hints(main, include_extras=True).items()
]


def leaves(kind: Any, ranges: int = 0) -> Iterator[tuple[Any, int]]:
    """The plain types in an annotation, each with the number of ranges that are said of it."""
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        yield from leaves(kind, sum(isinstance(note, Range) for note in notes))
    elif get_origin(kind) in (Union, UnionType, tuple):
        for one in get_args(kind):
            yield from leaves(one)
    else:
        yield kind, ranges


def unbounded(fields: list[tuple[str, str, Any]]) -> list[str]:
    """Numbers of which it is not said how small and how large they may be."""
    found = [(f"{owner}.{name}", leaf, ranges) for owner, name, kind in fields for leaf, ranges in leaves(kind)]
    return [name for name, leaf, ranges in found if leaf in (int, float) and ranges != 1]


def test_every_number_has_its_range():
    assert len(CLASSES) > 20
    assert not unbounded(FIELDS + FLAGS)
    assert unbounded([("A", "b", int | None), ("A", "c", tuple[float, ...]), ("A", "d", Count)]) == ["A.b", "A.c"]


def test_every_settings_class_of_a_script_is_checked():
    types = {leaf for _, _, kind in FLAGS for leaf, _ in leaves(kind) if isinstance(leaf, type)}
    owners = [one for one in types if dataclasses.is_dataclass(one)]
    assert len(owners) > 10
    assert not [owner for owner in owners if not issubclass(owner, Checked)]


NUMBERS = (-1, 0, 10**9, 10**18, 2**63, 2**64, -(10**18), 10**5000, 1e-300, 1e300, 1e400, -math.inf, math.nan)
TEXTS = ("a\0b", "a" * 300, "a/" * 3000, "\ud800", "a" * 100_000)
NO_NUMBERS = (True, "1", "", b"1", [], {}, 1j, "\n", np.array([1, 2]))


def refused_values(kind: Any) -> Iterator[object]:
    """Values that an annotation does not allow."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        (bounds,) = [note for note in arguments[1:] if isinstance(note, Range)] or [None]
        for value in refused_values(arguments[0]):
            yield value
        if get_origin(arguments[0]) is tuple and bounds is not None:
            yield from ((), (1,) * 1001)
        elif bounds is not None:
            numbers = (one for one in NUMBERS if isinstance(one, int) or arguments[0] is float)
            yield from (one for one in numbers if one not in bounds)
    elif origin in (Union, UnionType):
        options = [one for one in arguments if one is not NoneType]
        allowed_none = len(options) < len(arguments)
        for value in refused_values(options[0]) if len(options) == 1 else (None, 1, {}, "x"):
            if value is not None or not allowed_none:
                yield value
    elif origin is tuple:
        yield from ((one,) for one in refused_values(arguments[0]))
        yield from (None, 1, {}, "12", {1}, np.array([1, 2]))
    elif origin is Literal:
        yield from (None, 1, "", "nonsense", [arguments[0]], np.array(["a", "b"]), "a" * 100_000)
    elif kind is int:
        yield from (None, 0.5, 1e400, math.nan, *NO_NUMBERS)
    elif kind is float:
        yield from (None, *NO_NUMBERS)
    elif kind is bool:
        yield from (None, 0, 1, "True", np.array([True, False]))
    elif kind in (str, Path):
        yield from (None, 1, b"a", [], *TEXTS)
    else:
        assert dataclasses.is_dataclass(kind)
        yield from (None, 1, {}, "x")


def is_one_line(error: BaseException) -> bool:
    text = str(error)
    return text.startswith("expected ") and ", got " in text and "\n" not in text and len(text) < 500


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("owner", CLASSES)
def test_what_a_field_does_not_hold_is_refused_in_one_line(owner):
    usual = REQUIRED.get(owner, {})
    CLASSES[owner](**usual)
    for field, kind in kinds_of(CLASSES[owner]).items():
        values = list(refused_values(kind))
        assert len(values) > 2
        for value in values:
            with pytest.raises(InputError) as refused:
                CLASSES[owner](**(usual | {field: value}))
            assert is_one_line(refused.value), (field, told(value), str(refused.value)[:600])


def test_the_ends_of_a_range_are_allowed():
    for seed in (0, 2**32 - 1):
        assert AUTOENCODER.replace(seed=seed).train.seed == seed
    assert AUTOENCODER.replace(epochs=np.int64(2**31 - 1), batch_size=1).train.epochs == 2**31 - 1
    check("threads", 1024, Workers)
    for share in (0.0, 1.0):
        with pytest.raises(InputError, match="expected share above 0 and below 1, got"):
            corruption.SaltAndPepper(share)


def test_a_seed_is_what_all_libraries_take():
    """None of them fails at the largest, and none makes it the same as a smaller one."""
    import jax
    from sklearn.utils import check_random_state

    largest = 2**32 - 1
    check("seed", largest, Seed)
    check_random_state(largest)
    np.random.default_rng(largest)
    keys = {tuple(jax.random.key_data(jax.random.key(seed)).tolist()) for seed in (0, largest, 2**31)}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--seed", "4294967295", "--seeds", "2"], "the last of the seeds from 0 to 4294967295, got 4294967296"),
        (["--seed", "0", "--seeds", "4294967297"], "seeds from 1 to 2147483647, got 4294967297"),
    ],
)
def test_the_last_of_many_seeds_is_a_seed_too(flags, line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train_ae.py", *flags])
    with pytest.raises(SystemExit) as ended:
        run(MAINS["train_ae"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: expected {line}\n"


# What a command line gives that is beyond all memory, or beyond what a library takes, and where it is told.
REFUSED = {
    "train_ae --hidden 99999999": "expected a model within .* GB of memory",
    "train_ae --hidden 2147483647 2147483647": "expected a model within",
    "train_ae --devices 100000000": "expected devices from 1 to 1024",
    "train_ae --seeds 100000000": "expected 100000000 models within",
    "train_ae --batch-size 1000000000000": "expected batch_size from 1 to",
    "train_ae --epochs 1000000000000000000": "expected epochs from 0 to",
    "train_ae --epochs 2000000000": "expected the number of steps of 2000000000 epochs",
    "train_ae --learning-rate 1e400": "expected learning_rate from 0 to",
    "train_ae --checkpoint-seconds nan": "expected checkpoint_seconds from 0 to",
    "train_cvae --num-latent 1000000000": "expected a model within",
    "train_dense_vae --hidden 99999999": "expected a model within",
    "generate --count 1000000000": "expected samples within",
    "generate --count 1000000000 --out out.png": "expected samples within",
    "generate --seed -1": "expected seed from 0 to 4294967295, got -1",
    "reduce --seed 99999999999": "expected seed from 0 to 4294967295, got 99999999999",
    "reduce --hidden 99999999": "expected a model within",
    "reduce --sizes 2 785": "expected a code of at most 784 dimensions",
    "anomaly --hidden 99999999 --data digits": "expected a model within",
    "anomaly --num-latent 1000000000": "expected a model within",
    "denoise --blocks 1000000000": "expected blocks from 1 to 784",
    "denoise --side 29": "expected side from 1 to 28",
    "denoise --hidden 99999999": "expected a model within",
    "features --trees 1000000000": "expected trees from 1 to",
    "pretrain --learning-rates nan": "expected learning_rates above 0",
    "pretrain --steps 1000000000": "expected steps within",
    "pretrain --seeds 1000000000 --steps 1": "expected .* within",
    "published --samples 1000000000": "expected samples within",
    "published --seeds 1000000000 --parts forest": "expected 1000000000 models within",
    "benchmark --devices 100000": "expected devices from 1 to 1024",
    "benchmark --threads 0": "expected threads from 1 to 1024",
    "benchmark --threads 1000000000": "expected threads from 1 to 1024",
    "benchmark --examples 1000000000": "expected examples within",
    "benchmark --sweep models --sizes 1000000000": "expected 1000000000 models within",
    "benchmark --turn-seconds nan": "expected turn_seconds above 0 and below 600",
    "check_parity --threads -1": "expected threads from 1 to 1024",
    "check_parity --steps 1000000000": "expected steps within",
    "check_parity --workers 1000000000": "expected workers from 1 to 1024",
    "compress rate --steps nan": "expected .*: expected steps from 1e-09 to 4096",
    f"train_ae --data {'a' * 5000}": "expected data that a file can be called",
    f"train_ae --data-dir {'a' * 5000}": "expected data_dir that a file can be called",
    f"train_ae --run-dir {'a' * 300}": "expected run_dir that a file can be called",
    f"train_ae --epochs {'9' * 5000}": "expected what train_ae.py --help lists",
    f"port_weights {'a' * 300} out.pt": "expected a file of weights that a file can be called",
    "train_ae --data ~nobody-of-that-name/x.npz": "expected a home folder for",
    "train_ae --data-dir ~nobody-of-that-name": "expected a home folder for",
}


@pytest.mark.parametrize("command", REFUSED, ids=lambda one: one[:60])
def test_a_command_beyond_its_bounds_is_refused_before_anything_is_done(command, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    script, *argv = command.split()
    if "check_parity --steps" in command:
        pytest.importorskip("torch")
    monkeypatch.setattr("sys.argv", [f"{script}.py", *argv])
    monkeypatch.setattr(bounds, "host_memory", lambda: 10**11)
    with pytest.raises(SystemExit) as ended:
        run(MAINS[script])
    told = capsys.readouterr()
    assert ended.value.code == 2, told.err
    assert re.fullmatch(f"error: {REFUSED[command]}.*\n", told.err), told.err
    assert ", got " in told.err
    assert len(told.err) < 500
    assert not told.out
    assert not list(tmp_path.iterdir())


def test_memory_is_what_the_machine_has():
    there = host_memory()
    assert 1 << 28 < there < 1 << 50
    check_fits("bytes", there)
    with pytest.raises(InputError, match=r"expected bytes within .* GB of memory, got .* GB"):
        check_fits("bytes", there + 1)


def test_memory_that_a_training_needs_counts_models_moments_and_batch(monkeypatch):
    digits, mesh = jaxae.load("digits"), make_mesh(devices=1)
    asked: list[int] = []
    monkeypatch.setattr("jaxae.training.checks.check_fits", lambda what, nbytes, there: asked.append(nbytes))
    check_training(AUTOENCODER, digits, mesh)
    parameters, outputs = 784 * 32 * 2 + 32 + 784, 32 + 784
    data = sum(array.nbytes for split in (digits.train, digits.test) for array in split)
    assert asked.pop() == 4 * (3 * parameters + 256 * outputs) + data
    check_training(AUTOENCODER.replace(dtype="float64"), digits, make_mesh(devices=2), models=3)
    assert asked.pop() == 8 * (3 * 3 * parameters + 128 * outputs) * 2 + data


@pytest.mark.parametrize("platform", ["foo", "cuda"])
def test_a_platform_that_is_not_there_is_one_line(platform, tmp_path):
    command = [sys.executable, str(SCRIPTS / "train_ae.py"), "--data", "digits"]
    environment = os.environ | {"JAX_PLATFORMS": platform}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2
    wanted = f"error: expected a device that JAX can use, got none, as JAX_PLATFORMS is '{platform}'.*\n"
    assert re.fullmatch(wanted, done.stderr), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", ["train_ae", "reduce"])  # which import JAX at work, and before
def test_a_variable_that_jax_does_not_take_is_one_line(script, tmp_path):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "many"}
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), "--data", "digits"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error: expected variables of JAX .*, got .*many.*\n", done.stderr), done.stderr


@pytest.mark.parametrize("folder", ["/dev/null/x", "~nobody-of-that-name/x", "a" * 300])
def test_a_cache_that_cannot_be_is_a_warning(folder, monkeypatch, caplog):
    monkeypatch.setenv("JAXAE_CACHE", folder)
    with pytest.warns(UserWarning, match="compiled programs are not kept: "):
        keep_compiled_programs()
    assert cached("none", lambda: {"a": np.zeros(2)}, dict).keys() == {"a"}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_paths_of_no_home_and_no_name():
    with pytest.raises(InputError, match="expected a home folder for '~nobody-of-that-name/x', got none"):
        bounds.expanded(Path("~nobody-of-that-name/x"))
    with pytest.raises(InputError, match="expected a path that a file can be called"):
        bounds.expanded(Path("a\0b"))


def test_memory_is_known_without_files_that_tell_of_it(monkeypatch):
    def refuse(*_: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert bounds.host_memory() > 1 << 28
