"""Folders of pictures: class folders, sizes, colours, EXIF, broken ones; and trainings on them to their end."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxae.config import AUTOENCODER, RunConfig
from jaxae.data.dataset import load
from jaxae.errors import InputError
from jaxae.training.fit import fit
from jaxae.training.run_folder import load_run

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (24, 28, 28), dtype=np.uint8)
COLOURS = RANDOM.integers(0, 256, (24, 20, 30, 3), dtype=np.uint8)
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path, images: np.ndarray = GREY, name: str = "{0}/{1:02}.png", **options: object) -> Path:
    """A picture of each image, whose class is its place's rest."""
    for place, image in enumerate(images):
        path = folder / name.format(CLASSES[place % 3], place, "test" if place >= 18 else "train")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, **options)  # pyright: ignore[reportArgumentType]
    return folder


def refusal(function: Callable[[], object]) -> str:
    with pytest.raises(InputError, match=r"^expected [^\n]*, got [^\n]*$") as caught:
        function()
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_class_folders_below_train_and_test(tmp_path: Path) -> None:
    for number, name in enumerate(("{2}/{0}/{1:02}.png", "inner/{2}/{0}/{1:02}.webp", "{2}/{0}/more/{1:02}.PNG")):
        folder = write(tmp_path / str(number), name=name, lossless=True)
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "readme.txt").write_text("x")
        dataset = load(folder)
        assert dataset.class_names == CLASSES
        for split, first, last in ((dataset.train, 0, 18), (dataset.test, 18, 24)):
            # Sorted by class, as torchvision has them.
            order = sorted(range(first, last), key=lambda place: (place % 3, place))
            np.testing.assert_array_equal(split.images[..., 0], GREY[order])
            np.testing.assert_array_equal(split.labels, np.array(order) % 3)
        assert len(dataset.notes) == 1


def test_a_validation_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", name="{2}/{0}/{1:02}.png")
    (folder / "test").rename(folder / "valid")
    assert load(folder).notes[1:] == ("the validation set of 6 images is the test set",)


def test_class_folders_alone_are_divided_by_class(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "data"))
    assert dataset.num_classes == 3
    assert np.bincount(dataset.test.labels).tolist() == [1, 1, 1]
    assert "a sixth of each class, 3 of 24" in dataset.notes[-1]
    assert len(load(tmp_path / "data", test_share=0.25).test.labels) == 6
    np.testing.assert_array_equal(load(tmp_path / "data").test.images, dataset.test.images)


def test_pictures_without_classes(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "data", name="{1:02}.png"))
    assert (dataset.num_classes, dataset.class_names, set(dataset.train.labels)) == (1, (), {0})
    assert "there are no class folders: all labels are 0" in dataset.notes


@pytest.mark.parametrize("column", ["file_name", "id"])
def test_a_table_beside_them_tells_the_classes(tmp_path: Path, column: str) -> None:
    folder = write(tmp_path / "data", name="train/{1:02}.png")
    name = "train/{:02}.png" if column == "file_name" else "{:02}"
    rows = [f"{name.format(place)},{CLASSES[place % 3]}" for place in range(23)]
    (folder / "labels.csv").write_text("\n".join([f"{column},label", *rows]))
    dataset = load(folder)
    assert dataset.class_names == CLASSES
    assert "1 pictures of no class, or of no split, are left out" in dataset.notes
    for image, label in zip(dataset.train.images, dataset.train.labels, strict=True):
        (place,) = (place for place in range(23) if np.array_equal(GREY[place], image[..., 0]))
        assert label == place % 3
    (folder / "labels.csv").write_text(f"{column},label\nelse,ant\n")
    assert "got none of 24" in refusal(lambda: load(folder))
    (folder / "labels.csv").write_text(f"{column},label\n00,ant\n00,bee\n")
    assert "got two of '00'" in refusal(lambda: load(folder))


def test_a_test_folder_without_classes_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", name="train/{0}/{1:02}.png")
    write(folder, GREY[:2], "test/{1:02}.png")
    dataset = load(folder)
    assert len(dataset.train.labels) + len(dataset.test.labels) == 24
    assert "2 pictures of no class, or of no split, are left out" in dataset.notes


def test_colours_stay_and_are_made_grey_when_asked(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", COLOURS, "{2}/{1:02}.png")
    np.testing.assert_array_equal(load(folder).train.images, COLOURS[:18])
    dataset = load(folder, grey=True)
    wanted = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOURS[:18]])
    np.testing.assert_array_equal(dataset.train.images[..., 0], wanted)
    assert any("luminance" in note for note in dataset.notes)
    labels = np.zeros(24, int)
    colours, grey = load((COLOURS, labels)).train.images, load((COLOURS, labels), grey=True).train.images
    wanted = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in colours])
    np.testing.assert_array_equal(grey[..., 0], wanted)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_pictures_are_cropped_or_padded_then_resampled(tmp_path: Path, fit: str) -> None:
    folder = write(tmp_path / "data", COLOURS, "{2}/{1:02}.png")
    dataset = load(folder, size=14, fit=fit)  # pyright: ignore[reportArgumentType]
    square = COLOURS[0][:, 5:25] if fit == "crop" else np.pad(COLOURS[0], ((5, 5), (0, 0), (0, 0)))
    wanted = np.asarray(Image.fromarray(square).resize((14, 14), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(dataset.train.images[0], wanted)
    told = "cropped to their middle" if fit == "crop" else "padded to squares"
    assert any(told in note and "14x14" in note for note in dataset.notes)


def test_a_named_set_and_arrays_are_resampled_too() -> None:
    digits, small = load("digits"), load("digits", size=14)
    assert small.train.images.shape == (1437, 14, 14, 1)
    image = Image.fromarray(digits.train.images[5, ..., 0]).resize((14, 14), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small.train.images[5, ..., 0], np.asarray(image))
    assert small.notes == ("images of 28x28 are resampled to 14x14",)
    assert load("digits", size=28, grey=True).notes == ()


def test_orientation_palettes_transparency_and_grey_kept_in_colours(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    first = Image.fromarray(COLOURS[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees, clockwise
    first.save(folder / "0.png", exif=exif)
    np.testing.assert_array_equal(read_one(folder), np.rot90(COLOURS[0], -1))
    transparent = np.dstack([COLOURS[0], np.full((20, 30), 255, np.uint8)])
    transparent[:5, ..., 3] = 0
    Image.fromarray(transparent).save(folder / "0.png")
    np.testing.assert_array_equal(read_one(folder), np.where(transparent[..., 3:] == 0, 0, COLOURS[0]))
    Image.fromarray(GREY[0]).convert("RGB").save(folder / "0.png")
    np.testing.assert_array_equal(read_one(folder)[..., 0], GREY[0])
    Image.fromarray(GREY[0]).convert("P").save(folder / "0.png")
    np.testing.assert_array_equal(read_one(folder)[..., 0], GREY[0])
    Image.fromarray(GREY[0].astype(np.uint16) * 257).save(folder / "0.png")
    assert "expected 8 bits per pixel and channel" in refusal(lambda: read_one(folder))


def read_one(folder: Path) -> np.ndarray:
    """The picture 0.png, which stands beside its copy."""
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
    return load(folder).train.images[0]


def test_several_sizes_are_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    Image.fromarray(COLOURS[0]).save(folder / "bee" / "z.png")
    told = refusal(lambda: load(folder))
    assert "got 30x20 in" in told
    assert "bee/z.png" in told
    assert "--size 28" in told
    assert load(folder, size=28, grey=True).train.images.shape[1:] == (28, 28, 1)
    assert load(folder, size=28).train.images.shape[1:] == (28, 28, 3)


def test_a_broken_picture_is_named_or_skipped_and_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    broken = folder / "bee" / "01.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (folder / "cat" / "empty.jpg").touch()
    told = refusal(lambda: load(folder))
    assert f"got {broken}" in told
    assert "--skip-broken" in told
    dataset = load(folder, skip_broken=True)
    assert len(dataset.train.labels) + len(dataset.test.labels) == 23
    assert any(note.startswith("2 broken pictures are left out: ") and "01.png" in note for note in dataset.notes)
    (tmp_path / "worse").mkdir()
    (tmp_path / "worse" / "a.png").touch()
    assert "got none of 1" in refusal(lambda: load(tmp_path / "worse", skip_broken=True))


def test_odd_trees_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", name="{2}/{0}/{1:02}.png")
    (folder / "test" / "dog").mkdir()
    Image.fromarray(GREY[0]).save(folder / "test" / "dog" / "a.png")
    assert "got 'dog'" in refusal(lambda: load(folder))
    Image.fromarray(GREY[0]).save(folder / "train" / "a.png")
    assert "got both" in refusal(lambda: load(folder))
    assert "expected a folder of pictures" in refusal(lambda: load(folder / "train" / "a.png"))


def test_they_are_kept_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "data")
    first = load(folder)
    with monkeypatch.context() as patched:
        patched.setattr("jaxae.data.formats.picture_folder.decode", None)
        np.testing.assert_array_equal(load(folder).train.images, first.train.images)
        folder.rename(tmp_path / "moved")
        assert load(tmp_path / "moved").name == "moved"
    Image.fromarray(GREY[1]).save(tmp_path / "moved" / "ant" / "00.png")
    assert not np.array_equal(load(tmp_path / "moved").train.images, first.train.images)


def test_names_of_classes_are_kept_in_the_run_and_old_runs_load(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "data"))
    config = AUTOENCODER.replace(hidden=(2,), epochs=0, batch_size=8)
    fit(config, dataset, run_dir=tmp_path / "run")
    kept, _ = load_run(tmp_path / "run")
    assert kept.class_names == CLASSES
    document = json.loads((tmp_path / "run" / "config.json").read_text())
    assert document.pop("class_names") == list(CLASSES)
    assert RunConfig.from_json(document).class_names == ()
    assert "class_names" not in config.to_json()


def test_a_training_goes_from_pictures_to_its_end(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data", COLOURS, "{0}/{1:02}.jpg")
    given = ("--epochs", 1, "--batch-size", 8, "--hidden", 2, "--run-dir", "run")
    refused = command("train_cvae.py", "--data", "data/", "--epochs", 1, "--batch-size", 8, "--run-dir", "run")
    assert refused.status == 2
    assert "--size 28 --grey" in refused.err.splitlines()[-1]
    coloured = command("train_ae.py", "--data", "data/", *given[:-1], "coloured")
    assert coloured.status == 0, coloured.err
    ended = command("train_ae.py", "--data", "data/", "--size", 28, "--grey", *given)
    assert ended.status == 0, ended.err
    assert "note: pictures of data: 21 images to train on and 3 to test on, 3 classes, 28x28 grey" in ended.err
    assert "--data data/ --size 28 --grey" in ended.err
    assert load_run("run")[0].class_names == CLASSES


def test_a_training_goes_from_arrays_of_keras_to_its_end(tmp_path: Path, command) -> None:
    labels = np.arange(24) % 3
    np.savez(tmp_path / "m.npz", x_train=GREY[:18], y_train=labels[:18], x_test=GREY[18:], y_test=labels[18:])
    flags = ("--data", tmp_path / "m.npz", "--epochs", 1, "--batch-size", 8, "--hidden", 2)
    ended = command("train_ae.py", *flags, "--run-dir", tmp_path / "run")
    assert ended.status == 0, ended.err
    assert (tmp_path / "run" / "weights.safetensors").exists()
