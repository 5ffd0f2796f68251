"""Damage to what a run keeps: resuming goes on to the same bits from an older checkpoint, or refuses, and says so."""

import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import jaxae
from jaxae.config import AUTOENCODER, read_config
from jaxae.data.dataset import Dataset, Split
from jaxae.errors import InputError
from jaxae.network.parameters import named_leaves
from jaxae.training import checkpoint
from jaxae.training.placement import init_state
from jaxae.training.program import program_of
from jaxae.training.run_folder import RunFolder, load_weights
from jaxae.training.runtime import make_mesh
from jaxae.training.schedule import make_schedule

CONFIG = AUTOENCODER.replace(epochs=2, batch_size=32, hidden=(3,))
LONGER = CONFIG.replace(epochs=3)


@pytest.fixture(scope="module")
def data() -> Dataset:
    digits = jaxae.load("digits")
    return Dataset("digits", Split(*(a[:64] for a in digits.train)), Split(*(a[:20] for a in digits.test)), 10)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A run of two epochs, with a checkpoint of each."""
    path = tmp_path_factory.mktemp("damage") / "run"
    jaxae.fit(CONFIG, data, run_dir=path, checkpoint_seconds=0)
    return path


@pytest.fixture(scope="module")
def expected(run, data) -> dict[str, np.ndarray]:
    """The weights of the run that was resumed undamaged."""
    return resumed(shutil.copytree(run, run.with_name("undamaged")), data)


def resumed(path: Path, data: Dataset) -> dict[str, np.ndarray]:
    jaxae.fit(LONGER, data, run_dir=path, resume=True, checkpoint_seconds=0)
    assert len(RunFolder(path).metrics_file.read_text().splitlines()) == 6  # a chunk and a test set an epoch
    return named_leaves(load_weights(RunFolder(path).weights_file, LONGER.model))


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(found[name], array) for name, array in expected.items())


def newest(path: Path) -> Path:
    return max((path / "checkpoints").iterdir(), key=lambda step: int(step.name))


def damages(content: bytes) -> Iterator[bytes | None]:
    """The ways in which a file comes to harm: gone, empty, cut, a bit here and there, JSON of another type."""
    yield from (None, b"", content[: len(content) // 2])
    for place in np.random.default_rng(len(content)).integers(0, len(content), 2):
        yield content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]
    if content[:1] in b"{[":
        yield from (b"[1, 2]", b"null", b"3")


def damaged(run: Path, relative: Path, tmp_path: Path, what: bytes | None) -> Path:
    path = shutil.copytree(run, tmp_path / "run", dirs_exist_ok=True)
    (path / relative).unlink() if what is None else (path / relative).write_bytes(what)
    return path


def restored(path: Path) -> tuple[int, dict[str, np.ndarray], list[str]]:
    """The step and the state that a run folder's checkpoints give, and what was warned of."""
    initial = make_schedule(CONFIG, 64).init_parameters()
    with warnings.catch_warnings(record=True) as caught, checkpoint.Checkpoints(path / "checkpoints") as checkpoints:
        warnings.simplefilter("always")
        found = checkpoints.restore(init_state(program_of(CONFIG, make_mesh(devices=1)), initial))
    assert found is not None
    return int(found.state.step), named_leaves(found.state), [str(one.message) for one in caught]


def test_any_damage_to_the_newest_checkpoint_falls_back_to_the_one_before(run, data, expected, tmp_path, capfd):
    files = [path.relative_to(run) for path in sorted(newest(run).rglob("*")) if path.is_file()]
    assert len(files) > 5
    whole = restored(run)[1]
    older = shutil.copytree(run, tmp_path / "older")
    shutil.rmtree(newest(older))
    before = restored(older)[1]
    for number, relative in enumerate(files):
        for kind, what in enumerate(damages((run / relative).read_bytes())):
            path = damaged(run, relative, tmp_path / f"{number}-{kind}", what)
            step, state, told = restored(path)
            if relative.name == "sha256.json" and what is None:
                # Without its sums a checkpoint is whole all the same.
                assert step == 4
                assert same(state, whole)
                assert not told
                continue
            assert step == 2, f"{relative}, damage {kind}"
            assert same(state, before)
            assert len(told) == 1
            assert "checkpoints/4 is damaged and not used" in told[0]
            assert not (path / "checkpoints" / "4").exists()
    path = damaged(run, files[0], tmp_path / "run", b"")
    with pytest.warns(UserWarning, match="is damaged and not used"):
        assert same(resumed(path, data), expected)
    assert "Traceback" not in capfd.readouterr().err


def test_flipped_weights_are_found_without_the_sums_of_files(run, data, expected, tmp_path):
    """A process may die between a checkpoint and its sums; Orbax itself restores flipped bits."""
    file = max((path for path in newest(run).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    relative, content = file.relative_to(run), file.read_bytes()
    whole = restored(run)[1]
    outcomes = []
    for place in np.linspace(100, len(content) - 100, 12).astype(int):
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        path = damaged(run, relative, tmp_path / str(place), flipped)
        (newest(path) / "sha256.json").unlink()
        step, state, told = restored(path)
        assert step == 2 or same(state, whole)
        outcomes += told
    assert any("expected the content that was saved, got other bytes" in one for one in outcomes)


def test_only_damaged_checkpoints_are_refused(run, data, tmp_path):
    path = shutil.copytree(run, tmp_path / "run")
    for step in (path / "checkpoints").iterdir():
        (step / "sha256.json").write_text("{}")
    before = RunFolder(path).metrics_file.read_bytes()
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(InputError, match="expected a usable checkpoint"):
        jaxae.fit(LONGER, data, run_dir=path, resume=True)
    assert RunFolder(path).metrics_file.read_bytes() == before


def test_damaged_metrics_are_refused_and_left_as_they_are(run, data, expected, tmp_path):
    content = RunFolder(run).metrics_file.read_bytes()
    first, rest = content.split(b"\n", 1)
    bad = {
        "gone": None,
        "empty": b"",
        "cut": content[:-30],
        "a line short": content[: content[:-1].rindex(b"\n") + 1],
        "no end": content[:-1],
        "no JSON": b"{" + content,
        "no text": b"\xff" + content,
        "a list": b"[1, 2]\n" + rest,
        "no mapping of numbers": first.replace(b'"step"', b'"stop"') + b"\n" + rest,
        "no number": re.sub(rb'"cost": [^,]+', b'"cost": NaN', content, count=1),
        "beyond floats": re.sub(rb'"cost": [^,]+', b'"cost": ' + 400 * b"9", content, count=1),
        "deep": b"[" * 100_000 + b"\n" + rest,
    }
    for name, what in bad.items():
        path = damaged(run, Path("metrics.jsonl"), tmp_path / name, what)
        with pytest.raises(InputError, match="lines of metrics that the checkpoint counts, got") as caught:
            jaxae.fit(LONGER, data, run_dir=path, resume=True)
        assert "\n" not in str(caught.value)
        assert (RunFolder(path).metrics_file.read_bytes() if what is not None else None) == what
        assert RunFolder(path).config_file.read_bytes() == RunFolder(run).config_file.read_bytes()
    # Lines after those that the checkpoint counts are those of steps that are taken again.
    path = damaged(run, Path("metrics.jsonl"), tmp_path / "more", content + b'{"epoch": 3, "st')
    assert same(resumed(path, data), expected)
    assert read_config(RunFolder(path).config_file).train == LONGER.train


def test_checkpoints_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"expected a folder of checkpoints that can be written, got .*checkpoints: Not a directory"
    ):
        checkpoint.Checkpoints(tmp_path / "file" / "checkpoints")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_text", full)
    state = init_state(program_of(CONFIG, make_mesh(devices=1)), make_schedule(CONFIG, 64).init_parameters())
    with (
        checkpoint.Checkpoints(tmp_path / "checkpoints") as checkpoints,
        pytest.raises(InputError, match=r"expected to write the checkpoint .*0, got .*No space left on device: with"),
    ):
        checkpoints.save(state, {})


def test_a_checkpoint_of_another_model_is_refused(run):
    other = CONFIG.replace(hidden=(4,))
    state = init_state(program_of(other, make_mesh(devices=1)), make_schedule(other, 64).init_parameters())
    with (
        checkpoint.Checkpoints(run / "checkpoints") as checkpoints,
        pytest.raises(InputError, match=r"expected the model and optimizer that .* was saved with, got others: "),
    ):
        checkpoints.restore(state)
