"""Folders of records: what is written is read, in any order; what is damaged or has changed is named in one line."""

import json
import re
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxae import Dataset, InputError, Split, load, stream, write_stream
from jaxae.config import Reading
from jaxae.data.stream import streamed, writing
from jaxae.data.stream.converting import convert
from jaxae.data.stream.streamed import digest_of, is_to_stream

RANDOM = np.random.default_rng(0)
TRAIN = Split(RANDOM.integers(0, 256, (50, 5, 3, 3), np.uint8), RANDOM.integers(0, 4, 50).astype(np.int32))
TEST = Split(TRAIN.images[:7, ::-1].copy(), TRAIN.labels[:7])
DATA = Dataset("noise", TRAIN, TEST, 4, ("a", "b", "c", "d"))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The data in records of three shards."""
    monkeypatch.setattr(writing, "_MEGABYTE", 1000)
    write_stream(
        tmp_path / "records",
        [(TRAIN.images[:20], TRAIN.labels[:20]), (TRAIN.images[20:], TRAIN.labels[20:])],
        [TEST],
        num_classes=4,
        class_names=DATA.class_names,
        notes=["as they were"],
        shard_megabytes=1,
    )
    return tmp_path / "records"


def edit(folder: Path, **changes: object) -> None:
    file = folder / "stream.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def read_all(folder: Path) -> None:
    stream(folder).train.shards.read(np.arange(50))


def test_records_are_what_was_written_in_any_order_over_shards(folder):
    shards = sorted(path.name for path in folder.glob("train*.array_record"))
    assert shards == ["train-00000.array_record", "train-00001.array_record", "train-00002.array_record"]
    found = stream(folder)
    assert (found.name, found.num_classes, found.class_names) == ("records", 4, DATA.class_names)
    assert found.notes == ("as they were",)
    assert found.image_shape == found.train.image_shape == (5, 3, 3)
    assert len(found.train) == 50
    assert found.digest == digest_of(DATA)
    order = np.random.default_rng(1).permutation(50)
    images, labels = found.train.shards.read(order)
    np.testing.assert_array_equal(images, TRAIN.images[order])
    np.testing.assert_array_equal(labels, TRAIN.labels[order])
    assert (images.dtype, labels.dtype) == (np.uint8, np.int32)
    for split, wanted in ((found.test, TEST), (found.train.shards.read_all(), TRAIN)):
        for array, own in zip(split, wanted, strict=True):
            np.testing.assert_array_equal(array, own)


def test_batches_are_those_of_an_order_and_zero_where_it_has_none(folder):
    order = np.array([[3, 49, 20], [7, -1, 7], [-1, -1, -1]], np.int32)
    images = np.concatenate([TRAIN.images, np.zeros((1, 5, 3, 3), np.uint8)])
    labels = np.append(TRAIN.labels, 0)
    for row, batch in zip(order, stream(folder).train.batches(order), strict=True):
        np.testing.assert_array_equal(batch.images, images[row])
        np.testing.assert_array_equal(batch.labels, labels[row])


def test_an_iterator_is_written_a_batch_at_a_time(tmp_path):
    alive: list[int] = []

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for label in range(3):
            alive.append(label)
            yield np.full((2, 4, 4, 1), label, np.uint8), np.full(2, label)

    write_stream(tmp_path / "made", batches(), batches())
    found = stream(tmp_path / "made")
    assert alive == 2 * [0, 1, 2]
    assert (len(found.train), found.num_classes, found.class_names) == (6, 3, ())
    assert found.train.shards.read(np.array([5, 0])).labels.tolist() == [2, 0]


def flip_a_pixel(folder: Path) -> None:
    file = folder / "train-00001.array_record"
    content = bytearray(file.read_bytes())
    place = next(content.find(image.tobytes()) for image in TRAIN.images[20:] if content.find(image.tobytes()) >= 0)
    content[place + 3] ^= 4
    file.write_bytes(content)


def exchange_shards(folder: Path) -> None:
    first, second = (folder / f"train-0000{number}.array_record" for number in range(2))
    first.rename(folder / "kept")
    second.rename(first)
    (folder / "kept").rename(second)


def cut(folder: Path) -> None:
    file = folder / "train-00002.array_record"
    file.write_bytes(file.read_bytes()[:-1])


def empty_out(folder: Path) -> None:
    file = folder / "train-00002.array_record"
    file.write_bytes(bytes(file.stat().st_size))


def alter_sums(folder: Path) -> None:
    file = folder / "train.sums"
    file.write_bytes(file.read_bytes()[::-1])


DAMAGES = {
    "a record": (flip_a_pixel, r"expected a sound record, got a damaged one in record \d+ of .*train-00001.array_rec"),
    "exchanged shards": (exchange_shards, r"expected a record as it was written, got another in record 0 of .*-00000"),
    "a cut shard": (cut, r"expected \d+ bytes of the shard .*-00002.array_record, got \d+: it has changed since"),
    "a missing shard": (lambda folder: (folder / "train-00000.array_record").unlink(), "the shard .*-00000.*got none"),
    "an empty shard": (empty_out, r"expected \d+ records of the shard .*-00002.array_record, got 0 that can be read"),
    "other sums": (alter_sums, "expected the sums of the records as they were written, got others in .*train.sums"),
    "no sums": (lambda folder: (folder / "train.sums").unlink(), "expected the sums of 50 records in .*train.sums"),
    "no document": (lambda folder: (folder / "stream.json").unlink(), "expected a folder that jaxae convert wrote"),
    "another shape": (lambda folder: edit(folder, image_shape=[5, 3, 1]), "expected 19 bytes of a label and an image"),
    "fewer classes": (
        lambda folder: edit(folder, num_classes=2, class_names=[]),
        r"expected labels from 0 to 1, got [23] in record \d+ of .*test-00000",
    ),
    "another version": (lambda folder: edit(folder, version=2), "got .*stream.json: its version is 2, not 1"),
    "a shard elsewhere": (
        lambda folder: edit(folder, train={"shards": [{"file": "../a", "records": 1, "size": 1}], "sums": ""}),
        "a split of no shards, or of shards elsewhere",
    ),
    "no number": (lambda folder: edit(folder, num_classes=True), "True where a number from 1 to"),
    "no text": (lambda folder: edit(folder, digest=3), "3 where a text was expected"),
    "two sides": (lambda folder: edit(folder, image_shape=[5, 3]), "other than three sides of an image"),
    "no splits": (lambda folder: edit(folder, train=None), "expected the stream.json that jaxae convert writes"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_in_one_line(name, folder):
    read_all(folder)
    damage, refusal = DAMAGES[name]
    damage(folder)
    with pytest.raises(InputError, match=refusal) as refused:
        read_all(folder)
    assert "\n" not in str(refused.value)


def test_the_damaged_record_is_named_among_many(folder):
    """The one whose pixel was altered: every other one of its shard is read."""
    flip_a_pixel(folder)
    shards = stream(folder).train.shards
    with pytest.raises(InputError, match="damaged one in record") as refused:
        shards.read(np.arange(50))
    (within,) = re.findall(r"record (\d+) of", str(refused.value))
    first = json.loads((folder / "stream.json").read_text())["train"]["shards"][0]["records"]
    shards.read(np.delete(np.arange(50), first + int(within)))


@pytest.mark.parametrize(
    ("train", "settings", "refusal"),
    [
        ([(TRAIN.images / 255, TRAIN.labels)], {}, r"expected uint8 images .*, got float64 .* in the train split"),
        ([(TRAIN.images[..., 0], TRAIN.labels)], {}, r"expected uint8 images .*, got uint8 of 3 axes"),
        ([TRAIN, (TRAIN.images[:, :4], TRAIN.labels)], {}, "expected images of shape Nx5x3x3, got 50x4x3x3"),
        ([(TRAIN.images, TRAIN.labels[:9])], {}, "expected a label for each of 50 images, got 9"),
        ([TRAIN], {"num_classes": 3}, "expected labels from 0 to 2, got 3"),
        ([], {}, "expected at least one image, got none in the train split"),
        ([TRAIN], {"class_names": ["a"]}, "expected names of 4 classes, got 1"),
        ([TRAIN], {"shard_megabytes": 0}, "expected shard_megabytes"),
    ],
)
def test_what_is_no_data_set_is_not_written(train, settings, refusal, tmp_path):
    with pytest.raises(InputError, match=refusal):
        write_stream(tmp_path / "records", train, [TEST], **settings)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_kept(folder):
    with pytest.raises(InputError, match="records"):
        write_stream(folder, [TRAIN], [TEST])
    read_all(folder)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit of a file's size")
def test_a_full_disk_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    images = np.zeros((200, 100, 100, 1), np.uint8)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"expected room for records, got .*File too large"):
            write_stream(tmp_path / "records", [(images, np.zeros(200, int))], [TEST])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("module", "package"), [("grain", "grain"), ("array_record.python", "array_record")])
def test_without_its_packages_the_extra_is_named(module, package, folder, monkeypatch):
    for name in [name for name in sys.modules if name == module or name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"expected the package {package}, got none: pip install 'jaxae\[stream\]'"):
        stream(folder)


def test_a_test_set_beyond_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr("jaxae.bounds.host_memory", lambda: 100)
    with pytest.raises(InputError, match="expected 7 images of 5x3x3 within"):
        stream(folder)


def test_digits_are_the_same_bits_from_disk(tmp_path):
    digits = load("digits")
    write_stream(tmp_path / "digits", [digits.train], [digits.test], num_classes=10)
    assert stream(tmp_path / "digits").digest == digest_of(digits)


def test_records_are_loaded_whole_too(folder):
    found = load(folder, grey=True)
    assert found.image_shape == (5, 3, 1)
    assert found.class_names == DATA.class_names
    assert found.notes[-2:] == ("as they were", "colours are made grey by their luminance")
    found = load(folder)
    assert digest_of(found) == digest_of(DATA)


@pytest.mark.parametrize(("asked", "room", "streams"), [("yes", 2, True), ("auto", 2, False), ("auto", 0.5, True)])
def test_auto_streams_what_would_take_half_of_memory(asked, room, streams, folder, monkeypatch):
    """57 images of 45 bytes, which a training in memory has twice."""
    monkeypatch.setattr(streamed, "host_memory", lambda: int(room * 4 * 57 * 45))
    assert is_to_stream(folder, asked) == streams
    assert not is_to_stream(folder, "no")
    assert not is_to_stream("mnist", "auto")


def draw(folder: Path, *, coloured: bool, tests: bool) -> None:
    """Pictures of two classes, of which the last is in colours or none is; and with a test set or without."""
    for split in ("train", "test")[: 1 + tests]:
        for label in "ab":
            place = folder / split / label if tests else folder / label
            place.mkdir(parents=True)
            for number in range(4):
                pixels = RANDOM.integers(0, 256, (6, 5), np.uint8)
                picture = np.stack([pixels, pixels + 1, pixels], -1) if coloured and number == 3 else pixels
                Image.fromarray(picture).save(place / f"{number}.png")


@pytest.mark.parametrize("settings", [{}, {"size": 4}, {"grey": True}])
@pytest.mark.parametrize(("coloured", "tests"), [(True, True), (False, False)])
def test_pictures_are_converted_one_at_a_time_to_what_load_has(settings, coloured, tests, tmp_path, monkeypatch):
    draw(tmp_path / "pictures", coloured=coloured, tests=tests)
    loaded = load(tmp_path / "pictures", **settings)
    monkeypatch.setattr("jaxae.bounds.host_memory", lambda: 200)  # which a picture has, all together have not
    notes = convert(str(tmp_path / "pictures"), tmp_path / "records", Reading(**settings))
    assert notes == loaded.notes[1:]  # the first counts them
    monkeypatch.undo()
    found = stream(tmp_path / "records")
    assert found.digest == digest_of(loaded)
    assert (found.class_names, found.image_shape) == (("a", "b"), loaded.image_shape)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "records"]


def test_pictures_that_are_refused_leave_nothing(tmp_path):
    draw(tmp_path / "pictures", coloured=False, tests=True)
    (tmp_path / "pictures" / "train" / "a" / "2.png").write_bytes(b"none")
    for reading, refusal in (
        (Reading(), "expected an image"),
        (Reading(skip_broken=True, test_share=0.2), "expected a test_share of data that have no test set"),
    ):
        with pytest.raises(InputError, match=refusal):
            convert(str(tmp_path / "pictures"), tmp_path / "records", reading)
        assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
    convert(str(tmp_path / "pictures"), tmp_path / "records", Reading(skip_broken=True))
    assert len(stream(tmp_path / "records").train) == 7


def test_parquet_is_converted_to_what_load_has(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    draw(tmp_path / "pictures", coloured=True, tests=False)
    content = [path.read_bytes() for path in sorted((tmp_path / "pictures" / "a").iterdir())]
    table = arrow.table({"image": [{"bytes": one, "path": None} for one in content], "label": [0, 1, 1, 0]})
    parquet.write_table(table, tmp_path / "train.parquet")
    convert(str(tmp_path / "train.parquet"), tmp_path / "records", Reading())
    assert stream(tmp_path / "records").digest == digest_of(load(tmp_path / "train.parquet"))
