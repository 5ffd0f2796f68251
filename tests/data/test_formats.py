"""Data of one's own: a tiny data set in every format, with its very pixels and labels."""

import gzip
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jaxae
from jaxae.data.dataset import Dataset, Split, files_of, load
from jaxae.data.saving import save_arrays
from jaxae.errors import InputError
from jaxae.storage import npz

COUNT, TRAIN = 24, 16
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
LABELS = np.arange(COUNT) % 4
COLOURS = RANDOM.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
SPLITS = {"train": slice(TRAIN), "test": slice(TRAIN, COUNT)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no-tfds"))
    (tmp_path / "data").mkdir()
    return tmp_path / "cache"


def check(dataset: Dataset, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS) -> None:
    """The images in their order, split as they were."""
    images = images if images.ndim == 4 else images[..., None]
    for split, chosen in SPLITS.items():
        found = getattr(dataset, split)
        assert (found.images.dtype, found.labels.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(found.images, images[chosen])
        np.testing.assert_array_equal(found.labels, labels[chosen])
    assert dataset.num_classes == labels.max() + 1


def check_divided(dataset: Dataset, images: np.ndarray = IMAGES) -> None:
    """All of the images, a sixth of each class of them to test on."""
    images = images if images.ndim == 4 else images[..., None]
    assert [len(split.labels) for split in (dataset.train, dataset.test)] == [20, 4]
    assert np.bincount(dataset.test.labels).tolist() == [1, 1, 1, 1]
    for split in (dataset.train, dataset.test):
        at = [next(i for i, image in enumerate(images) if np.array_equal(image, one)) for one in split.images]
        assert at == sorted(at)
        np.testing.assert_array_equal(split.labels, LABELS[at])
    assert any("no test set was there: a sixth of each class, 4 of 24" in note for note in dataset.notes)


def refusal(function: Callable[[], object]) -> str:
    with pytest.raises(InputError, match=r"^expected [^\n]*, got [^\n]*$") as caught:
        function()
    assert len(str(caught.value)) < 500
    return str(caught.value)


def arrays(images: str, labels: str, *, column: bool = False) -> dict[str, np.ndarray]:
    found = {}
    for split, chosen in SPLITS.items():
        found[images.format(split)] = IMAGES[chosen]
        found[labels.format(split)] = LABELS[chosen, None] if column else LABELS[chosen]
    return found


class TestArrays:
    def test_keras_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "mnist.npz", allow_pickle=False, **arrays("x_{}", "y_{}"))
        check(load(tmp_path / "mnist.npz"))
        assert load(str(tmp_path / "mnist.npz")).name == "mnist"

    def test_medmnist_npz_whose_validation_set_is_left_out(self, tmp_path: Path) -> None:
        held = arrays("{}_images", "{}_labels", column=True)
        held |= {"val_images": IMAGES[:3], "val_labels": LABELS[:3, None]}
        np.savez(tmp_path / "a.npz", allow_pickle=False, **held)
        dataset = load(tmp_path / "a.npz")
        check(dataset)
        assert dataset.notes == ("the validation set of 3 images is left out",)

    def test_a_validation_set_alone_is_the_test_set(self) -> None:
        held = {name.replace("test", "val"): array for name, array in arrays("x_{}", "y_{}").items()}
        check(load(held))

    @pytest.mark.parametrize("names", [("train_images", "train_labels"), ("x_train", "y_train")])
    def test_npy_pairs_by_their_folder_or_one_of_them(self, tmp_path: Path, names: tuple[str, str]) -> None:
        for name, array in arrays(names[0].replace("train", "{}"), names[1].replace("train", "{}")).items():
            np.save(tmp_path / "data" / f"{name}.npy", array)
        check(load(tmp_path / "data"))
        check(load(tmp_path / "data" / f"{names[0]}.npy"))
        assert len(files_of(str(tmp_path / "data" / f"{names[0]}.npy"))) == 4

    def test_a_pair_of_arrays_is_divided(self) -> None:
        check_divided(load((IMAGES, LABELS)))
        check_divided(load({"images": IMAGES, "labels": LABELS.tolist()}))

    def test_what_keras_load_data_returns(self) -> None:
        pairs = tuple((IMAGES[chosen], LABELS[chosen]) for chosen in SPLITS.values())
        check(load(pairs))

    def test_rows_whole_floats_one_hot_labels_and_names(self) -> None:
        check_divided(load((IMAGES.reshape(COUNT, -1).astype(float), LABELS)))
        check_divided(load((IMAGES.astype(np.int64), np.eye(4)[LABELS])))
        named = load((IMAGES, np.array(["d", "c", "b", "a"])[LABELS]))
        assert named.class_names == ("a", "b", "c", "d")
        np.testing.assert_array_equal(np.bincount(named.test.labels), [1, 1, 1, 1])
        assert named.train.labels[0] == 3 - LABELS[0] or named.test.labels[0] == 3 - LABELS[0]

    def test_colours_stay(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", images=COLOURS, labels=LABELS)
        check_divided(load(tmp_path / "a.npz"), COLOURS)

    def test_names_of_classes_are_saved(self, tmp_path: Path) -> None:
        split = Split(IMAGES[..., None], LABELS.astype(np.int32))
        save_arrays(Dataset("own", split, split, 4, ("a", "b", "c", "d")), tmp_path / "a.npz")
        assert load(tmp_path / "a.npz").class_names == ("a", "b", "c", "d")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"a": IMAGES}, "expected the arrays train_images and train_labels, x_train"),
            ({"images": IMAGES}, "expected labels of train in the arrays, got images alone"),
            ((IMAGES,), "expected images and labels, or two pairs"),
            ((IMAGES[:, None], LABELS), "puts its channels last"),
            ((IMAGES, np.ones((COUNT, 3), int)), "one label for each image"),
            ((IMAGES, LABELS[:5]), "a label for each of 24 images, got 5"),
            ((IMAGES, LABELS - 1), "got -1"),
            ((IMAGES[:1], LABELS[:1]), "expected two images or more"),
            ((IMAGES.astype(np.int64) + 1, LABELS), "got int64"),
        ],
    )
    def test_what_is_no_data_set_is_refused(self, given: Any, message: str) -> None:
        assert message in refusal(lambda: load(given))

    @pytest.mark.usefixtures("unchecked")
    def test_what_is_neither_name_path_nor_arrays_is_refused(self) -> None:
        assert "a name, a path or arrays" in refusal(lambda: load(3))  # pyright: ignore[reportArgumentType]


def write_csv(path: Path, chosen: slice, header: str = "label,{}", label: Callable[[int], str] = str) -> None:
    pixels = ",".join(f"pixel{place}" for place in range(784))
    rows = [
        f"{label(number)},{','.join(map(str, image.ravel()))}"
        for number, image in zip(LABELS[chosen], IMAGES[chosen], strict=True)
    ]
    path.write_text("\n".join([*([header.format(pixels)] if header else []), *rows]) + "\n")


class TestCsv:
    def test_kaggles_pair_in_a_folder(self, tmp_path: Path) -> None:
        for split, chosen in SPLITS.items():
            write_csv(tmp_path / "data" / f"mnist_{split}.csv", chosen)
        check(load(tmp_path / "data"))
        check(load(tmp_path / "data" / "mnist_train.csv"))
        assert len(load(tmp_path / "data" / "mnist_test.csv").test.labels) == 1
        Image.fromarray(IMAGES[0]).save(tmp_path / "data" / "cover.png")
        check(load(tmp_path / "data"))

    @pytest.mark.parametrize("header", ["label,{}", ""])
    def test_one_file_with_a_header_or_none(self, tmp_path: Path, header: str) -> None:
        write_csv(tmp_path / "a.csv", slice(COUNT), header)
        check_divided(load(tmp_path / "a.csv"))

    def test_the_label_may_stand_anywhere_and_be_a_name(self, tmp_path: Path) -> None:
        lines = ["id," + ",".join(f"p{place}" for place in range(784)) + ",class"]
        for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
            lines.append(f'{number},{",".join(map(str, image.ravel()))},"{"abcd"[label]}, or so"')
        (tmp_path / "a.csv").write_text("\r\n".join(lines))
        dataset = load(tmp_path / "a.csv")
        check_divided(dataset)
        assert dataset.class_names[0] in ("a  or so", "a, or so")

    def test_colours_and_whole_floats(self, tmp_path: Path) -> None:
        rows = [
            f"{label}," + ",".join(f"{v}.0" for v in image.ravel())
            for image, label in zip(COLOURS, LABELS, strict=True)
        ]
        (tmp_path / "a.csv").write_text("\n".join(rows))
        check_divided(load(tmp_path / "a.csv"), COLOURS)

    def test_a_test_table_without_labels_is_left_out(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "data" / "train.csv", slice(COUNT))
        write_csv(tmp_path / "data" / "test.csv", slice(3), header="{}", label=lambda label: "")
        text = (tmp_path / "data" / "test.csv").read_text().replace("\n,", "\n")
        (tmp_path / "data" / "test.csv").write_text(text)
        dataset = load(tmp_path / "data")
        check_divided(dataset)
        assert any("has no labels, and is left out" in note for note in dataset.notes)

    def test_it_is_kept_by_its_content(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_csv(tmp_path / "a.csv", slice(COUNT))
        first = load(tmp_path / "a.csv")
        monkeypatch.setattr("jaxae.data.formats.csv_table._rows", None)
        again = load(tmp_path / "a.csv")
        assert again.notes == first.notes
        np.testing.assert_array_equal(again.train.images, first.train.images)
        monkeypatch.undo()
        monkeypatch.setenv("JAXAE_CACHE", str(cache))
        write_csv(tmp_path / "a.csv", slice(COUNT), label=lambda label: str(label + 1))
        assert load(tmp_path / "a.csv").num_classes == 5

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "got 0 columns"),
            ("a,b,c\n1,2,3\n", "expected a column called label, labels"),
            ("label,p0,p1\n1,2,3\n", "a column for each pixel of square images"),
            ("label,p0\n1\n", "expected 2 columns in line 2 of"),
            ("label,p0\n", "expected rows of pixels"),
            ("label,p0\n1,256\n2,3\n", "whole numbers from 0 to 255"),
            ("label,p0\n1,0.5\n2,3\n", "whole numbers from 0 to 255"),
            ("label,p0\n1,nan\n2,3\n", "whole numbers from 0 to 255"),
            ("label,p0\n1,x\n2,3\n", "pixels that are numbers"),
            ("label,p0\n1,\n2,3\n", "pixels that are numbers"),
            ("label,p0\n-1,3\n2,3\n", "got -1"),
        ],
    )
    def test_what_is_no_table_of_images_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "a.csv").write_text(text)
        told = refusal(lambda: load(tmp_path / "a.csv"))
        assert message in told
        assert "a.csv" in told


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


def write_idx(folder: Path, name: str = "{}-{}", names: tuple[str, str] = ("train", "t10k")) -> None:
    for split, chosen in zip(names, SPLITS.values(), strict=True):
        for kind, values in (("images.idx3-ubyte", IMAGES[chosen]), ("labels.idx1-ubyte", LABELS[chosen])):
            path = folder / name.format(split, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(idx_bytes(values))


class TestIdx:
    @pytest.mark.parametrize("name", ["{}-{}", "{0}-{1}/{0}-{1}", "raw/my_{}_{}", "{}/{}"])
    def test_files_of_any_name(self, tmp_path: Path, name: str) -> None:
        write_idx(tmp_path / "data", name)
        check(load(tmp_path / "data"))

    def test_one_of_the_files_stands_for_all(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "data")
        (tmp_path / "data" / "notes.txt").write_text("none of them")
        check(load(str(tmp_path / "data" / "train-images.idx3-ubyte")))
        assert len(files_of(str(tmp_path / "data" / "train-images.idx3-ubyte"))) == 4

    def test_one_in_a_folder_of_its_own_stands_for_all(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "data", "{0}-{1}/{0}-{1}")
        check(load(tmp_path / "data" / "train-images.idx3-ubyte" / "train-images.idx3-ubyte"))

    def test_twins_are_one_and_gzip_is_unpacked(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "data")
        for path in list((tmp_path / "data").iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            if "labels" in path.name:
                path.unlink()
        check(load(tmp_path / "data"))

    def test_emnist_is_turned_upright_when_asked(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "data", "emnist-digits-{}-{}", ("train", "test"))
        lying = load(tmp_path / "data")
        check(lying)
        assert any("--upright" in note for note in lying.notes)
        turned = IMAGES.transpose(0, 2, 1)
        check(load(tmp_path / "data", upright=True), turned)
        named = load("emnist/digits", tmp_path / "data", upright=True)
        np.testing.assert_array_equal(named.train.images[..., 0], turned[:TRAIN])
        assert "for EMNIST alone" in refusal(lambda: load("digits", upright=True))

    def test_two_sets_of_the_same_names_are_told_apart(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "data" / "MNIST" / "raw")
        write_idx(tmp_path / "data" / "copy")
        check(load(tmp_path / "data"))
        (tmp_path / "data" / "copy" / "t10k-labels.idx1-ubyte").write_bytes(idx_bytes(LABELS[TRAIN:] + 1))
        assert "t10k-labels.idx1-ubyte: name a file" in refusal(lambda: load(tmp_path / "data"))
        check(load(tmp_path / "data" / "MNIST" / "raw"))

    def test_several_sets_and_missing_files_are_named(self, tmp_path: Path) -> None:
        write_idx(tmp_path / "data", "emnist-digits-{}-{}", ("train", "test"))
        write_idx(tmp_path / "data", "emnist-letters-{}-{}", ("train", "test"))
        told = refusal(lambda: load(tmp_path / "data"))
        assert "'emnist-digits', 'emnist-letters'" in told
        check(load(tmp_path / "data" / "emnist-letters-train-images.idx3-ubyte"))
        (tmp_path / "data" / "emnist-letters-test-labels.idx1-ubyte").unlink()
        told = refusal(lambda: load(tmp_path / "data" / "emnist-letters-train-images.idx3-ubyte"))
        assert "expected an IDX file of test labels" in told


def write_cifar(folder: Path, pack: Callable[[np.ndarray, np.ndarray], bytes], ending: str) -> None:
    rows = COLOURS.transpose(0, 3, 1, 2).reshape(COUNT, -1)
    for number in range(1, 5):
        chosen = slice(4 * number - 4, 4 * number)
        (folder / f"data_batch_{number}{ending}").write_bytes(pack(rows[chosen], LABELS[chosen]))
    (folder / f"test_batch{ending}").write_bytes(pack(rows[TRAIN:], LABELS[TRAIN:]))


NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def check_cifar(dataset: Dataset) -> None:
    assert dataset.num_classes == 10
    assert dataset.class_names == tuple(NAMES)
    np.testing.assert_array_equal(dataset.train.images, COLOURS[:TRAIN])
    np.testing.assert_array_equal(dataset.test.images, COLOURS[TRAIN:])
    np.testing.assert_array_equal(dataset.train.labels, LABELS[:TRAIN])


def python_2(rows: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch as Python 2 pickled CIFAR-10, operation by operation."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR(K\x01("
    array += number(len(rows)) + number(3072) + b"t" + dtype + b"\x89" + text(rows.tobytes()) + b"tb"
    listed = b"](" + b"".join(map(number, map(int, labels))) + b"e"
    items = text(b"batch_label") + text(b"training batch") + text(b"labels") + listed + text(b"data") + array
    return b"\x80\x02}(" + items + b"u."


def python_3(rows: np.ndarray, labels: np.ndarray) -> bytes:
    return pickle.dumps({b"data": rows, b"labels": labels.tolist(), b"filenames": [b"a.png"]}, protocol=4)


class TestCifar:
    def test_binary_batches(self, tmp_path: Path) -> None:
        folder = tmp_path / "data" / "cifar-10-batches-bin"
        folder.mkdir()
        write_cifar(folder, lambda rows, labels: np.c_[labels.astype(np.uint8), rows].tobytes(), ".bin")
        (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
        for path in (folder, folder.parent, folder / "test_batch.bin"):
            check_cifar(load(path))
        assert any("4 of 5 batches" in note for note in load(folder).notes)

    def test_the_hundreds_binary_files_have_the_fine_label_second(self, tmp_path: Path) -> None:
        rows = COLOURS.transpose(0, 3, 1, 2).reshape(COUNT, -1)
        for split, chosen in SPLITS.items():
            coarse = np.full(len(LABELS[chosen]), 19, np.uint8)
            packed = np.c_[coarse, LABELS[chosen].astype(np.uint8) + 90, rows[chosen]]
            (tmp_path / "data" / f"{split}.bin").write_bytes(packed.tobytes())
        dataset = load(tmp_path / "data")
        assert dataset.num_classes == 100
        np.testing.assert_array_equal(dataset.train.labels, LABELS[:TRAIN] + 90)
        np.testing.assert_array_equal(dataset.train.images, COLOURS[:TRAIN])

    @pytest.mark.parametrize("pack", [python_2, python_3])
    def test_pickled_batches(self, tmp_path: Path, pack: Callable[[np.ndarray, np.ndarray], bytes]) -> None:
        write_cifar(tmp_path / "data", pack, "")
        (tmp_path / "data" / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}, protocol=2))
        check_cifar(load(tmp_path / "data"))

    def test_nothing_of_a_pickle_is_run(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str, str]]:
                return (Path.write_text, (str(tmp_path / "run"), "x"))

        write_cifar(tmp_path / "data", lambda rows, labels: pickle.dumps({b"data": Evil(), b"labels": [1]}), "")
        assert "data_batch_1" in refusal(lambda: load(tmp_path / "data"))
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        "batch",
        [
            {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]},
            {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, -2]},
            {b"data": np.zeros((2, 3072), np.float32), b"labels": [1, 2]},
            {b"data": np.zeros((2, 7), np.uint8), b"labels": [1, 2]},
            {b"labels": [1, 2]},
            [1, 2],
        ],
    )
    def test_other_pickles_are_refused(self, tmp_path: Path, batch: object) -> None:
        write_cifar(tmp_path / "data", lambda rows, labels: pickle.dumps(batch), "")
        assert "data_batch_1" in refusal(lambda: load(tmp_path / "data"))


class TestSvhn:
    def test_mat_files(self, tmp_path: Path) -> None:
        from scipy.io import savemat

        for split, chosen in SPLITS.items():
            labels = np.where(LABELS[chosen] == 0, 10, LABELS[chosen]).astype(np.uint8)[:, None]
            held = {"X": COLOURS[chosen].transpose(1, 2, 3, 0), "y": labels}
            savemat(tmp_path / "data" / f"{split}_32x32.mat", held, do_compression=split == "train")
        dataset = load(tmp_path / "data")
        assert dataset.num_classes == 10
        np.testing.assert_array_equal(dataset.train.images, COLOURS[:TRAIN])
        np.testing.assert_array_equal(dataset.test.labels, LABELS[TRAIN:])
        assert len(load(tmp_path / "data" / "train_32x32.mat").train.labels) == TRAIN
        assert len(load(tmp_path / "data" / "test_32x32.mat").train.labels) < COUNT - TRAIN

    def test_other_mat_files_are_refused(self, tmp_path: Path) -> None:
        from scipy.io import savemat

        path = tmp_path / "a.mat"
        savemat(path, {"z": np.zeros(3)})
        assert "expected X and y of SVHN" in refusal(lambda: load(path))
        savemat(path, {"X": np.zeros((3, 3)), "y": np.zeros(3)})
        assert "expected uint8 X" in refusal(lambda: load(path))
        path.write_bytes(b"nonsense")
        assert "expected a .mat file of SVHN" in refusal(lambda: load(path))


def write_parquet(folder: Path, *, names: bool = True) -> None:
    import io
    import json

    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for split, chosen in SPLITS.items():
        rows = []
        for image in IMAGES[chosen]:
            Image.fromarray(image).save(file := io.BytesIO(), "PNG")
            rows.append({"bytes": file.getvalue(), "path": None})
        features = {"label": {"names": ["zero", "one", "two", "three"], "_type": "ClassLabel"}}
        note = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"image": pa.array(rows, kind), "label": LABELS[chosen]}).replace_schema_metadata(note)
        half = len(rows) // 2
        folder.mkdir(exist_ok=True)
        for shard, part in enumerate((table.slice(0, half), table.slice(half))):
            pq.write_table(part, folder / f"{split}-0000{shard}-of-00002.parquet")


def use_hub(monkeypatch: pytest.MonkeyPatch, download: Callable[..., str]) -> None:
    hub = ModuleType("huggingface_hub")
    vars(hub)["snapshot_download"] = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)


class TestHuggingFace:
    def test_parquet_in_shards(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "data" / "mnist")
        dataset = load(tmp_path / "data")
        check(dataset)
        assert dataset.class_names == ("zero", "one", "two", "three")

    def test_arrow_files_that_save_to_disk_leaves(self, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        pq = pytest.importorskip("pyarrow.parquet")
        write_parquet(tmp_path / "parquet", names=False)
        for split in SPLITS:
            folder = tmp_path / "data" / split
            folder.mkdir()
            (folder / "state.json").write_text("{}")
            table = pq.read_table(sorted((tmp_path / "parquet").glob(f"{split}*")))
            with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
                stream.write_table(table)
        check(load(tmp_path / "data"))

    def test_the_hub_is_asked_for_parquet_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_parquet(tmp_path / "data" / "mnist")
        (tmp_path / "empty").mkdir()
        asked: list[Any] = []

        def download(repository: str, *, revision: str | None, **given: Any) -> str:
            asked.append((repository, revision, given["allow_patterns"]))
            return str(tmp_path / "data" if revision else tmp_path / "empty")

        use_hub(monkeypatch, download)
        dataset = load("hf:ylecun/mnist")
        check(dataset)
        assert dataset.name == "ylecun/mnist"
        assert [one[:2] for one in asked] == [("ylecun/mnist", None), ("ylecun/mnist", "refs/convert/parquet")]
        assert files_of("hf:ylecun/mnist") == []

        def fail(*_: Any, **__: Any) -> str:
            raise OSError("no net\nat all")

        use_hub(monkeypatch, fail)
        assert "no net at all" in refusal(lambda: load("hf:ylecun/mnist"))

    @pytest.mark.parametrize("package", ["pyarrow", "huggingface_hub"])
    def test_what_is_to_be_installed_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        monkeypatch.setitem(sys.modules, package, None)
        name = {"pyarrow": str(tmp_path / "a.parquet"), "huggingface_hub": "hf:a/b"}[package]
        assert "pip install 'jaxae[hf]'" in refusal(lambda: load(name))

    def test_other_tables_are_refused(self, tmp_path: Path) -> None:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "a.parquet")
        assert "expected a column of images and one called label" in refusal(lambda: load(tmp_path / "a.parquet"))
        (tmp_path / "a.parquet").write_bytes(b"PAR1nonsense")
        assert "a.parquet" in refusal(lambda: load(tmp_path / "a.parquet"))


class TestNames:
    def test_an_unknown_name_is_told_what_is_close_and_what_loads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "my_pictures").mkdir()
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        for name in ("my_picture", "./my_picture", Path("my_picture")):
            told = refusal(lambda name=name: load(name))
            assert "did you mean 'my_pictures'?" in told
            assert "class folders" in told
        assert "did you mean 'mnist'?" in refusal(lambda: load("mnits"))
        assert "expected a data set in" in refusal(lambda: load("my_pictures"))
        told = refusal(lambda: load("kmnist"))
        assert told.index("IDX files") < told.index("pip install")

    def test_a_path_takes_no_data_dir(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
        assert "expected no data_dir" in refusal(lambda: load(tmp_path / "a.npz", tmp_path))

    def test_a_test_set_is_drawn_where_there_is_none(self, tmp_path: Path) -> None:
        data = load((IMAGES, LABELS), test_share=0.5)
        assert len(data.test.labels) == 12
        assert "0.5 of each class, 12 of 24, drawn with seed 0" in data.notes[-1]
        np.savez(tmp_path / "a.npz", allow_pickle=False, **arrays("x_{}", "y_{}"))
        assert "which has one" in refusal(lambda: load(tmp_path / "a.npz", test_share=0.5))
        assert "test_share above 0 and below 1" in refusal(lambda: load((IMAGES, LABELS), test_share=1.0))

    def test_damaged_kept_arrays_are_read_anew(self, tmp_path: Path, cache: Path) -> None:
        write_csv(tmp_path / "a.csv", slice(COUNT))
        first = load(tmp_path / "a.csv")
        (kept,) = (cache / "data").iterdir()
        npz.write(kept, {**npz.read(kept), "train_images": np.zeros((3, 28, 28, 1), np.uint8)})
        np.testing.assert_array_equal(jaxae.load(tmp_path / "a.csv").train.images, first.train.images)


def test_splits_of_two_shapes_are_refused_by_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:4, :14], y_test=LABELS[:4])
    with pytest.raises(InputError, match=r"got 4x14x28x1 in the test split of .*two"):
        load(path)
