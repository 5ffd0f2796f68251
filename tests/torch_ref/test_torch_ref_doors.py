"""Files and tensors that torch_ref is not to be given: one line each, no pickle run, nothing waited for."""

import gzip
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

import torch_ref
from torch_ref.train import main

IMAGES = np.zeros((3, 28, 28, 1), np.uint8)
LABELS = np.arange(3, dtype=np.int32)
ARRAYS = {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}


def npy(header: str, payload: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H", len(text)) if version[:1] == b"\x01" else struct.pack("<I", len(text))
    return b"\x93NUMPY" + version + length + text + payload


def archive(member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An .npz whose first array is these bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("train_images.npy", member)
        for name in ("train_labels", "test_images", "test_labels"):
            content = io.BytesIO()
            np.save(content, ARRAYS[name])
            made.writestr(f"{name}.npy", content.getvalue())
    return file.getvalue()


class Trap:
    def __reduce__(self) -> tuple:
        return os.system, ("touch pickle-was-run",)


def header(shape: object, dtype: str = "|u1") -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


BAD_NPZ = {
    "empty": b"",
    "text": b"PK, but no archive",
    "pickle": pickle.dumps(Trap()),
    "a pickle as a member": archive(pickle.dumps(Trap())),
    "objects": archive(npy(header("(1,)", "|O"), pickle.dumps([Trap()]))),
    "a long shape": archive(npy(header("(4294967295, 4294967295, 0, 1)"))),
    "a shape beyond the file": archive(npy(header("(1000000000000, 28, 28, 1)"), bytes(100))),
    "a negative shape": archive(npy(header("(-1, 28, 28, 1)"), bytes(100))),
    "no shape": archive(npy(header("None"), bytes(100))),
    "a header of code": archive(npy("__import__('os').system('touch pickle-was-run')")),
    "a header without end": archive(npy("{" * 60_000)),
    "an unknown version": archive(npy(header("(1,)"), version=b"\x09\x00")),
    "truncated": archive(npy(header("(3, 28, 28, 1)"), bytes(28 * 28))),
    "cut off": archive(npy(header("(3, 28, 28, 1)"), bytes(3 * 28 * 28)))[:-200],
    "a bomb": archive(npy(header("(2000000, 28, 28, 1)"), bytes((1 << 30) + 1)), zipfile.ZIP_DEFLATED),
}
BAD_IDX = {
    "empty": b"",
    "another magic": struct.pack(">BBBBIII", 1, 2, 8, 3, 3, 28, 28) + bytes(3 * 784),
    "floats": struct.pack(">BBBBIII", 0, 0, 13, 3, 3, 28, 28) + bytes(3 * 784),
    "two dimensions": struct.pack(">BBBBII", 0, 0, 8, 2, 3, 784) + bytes(3 * 784),
    "a header cut off": struct.pack(">BBBBII", 0, 0, 8, 3, 3, 28),
    "a truncated file": struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 28, 28) + bytes(784),
    "a longer file": struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 28, 28) + bytes(4 * 784),
    "all there can be": struct.pack(">BBBBIII", 0, 0, 8, 3, *[2**32 - 1] * 3),
    "all there can be, of nothing": struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 0),
    "no images": struct.pack(">BBBBIII", 0, 0, 8, 3, 0, 28, 28),
    "no pixels": struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 0, 28),
    "gzip inside": gzip.compress(struct.pack(">BBBBIII", 0, 0, 8, 3, 3, 28, 28) + bytes(3 * 784)),
}


def refused(capsys, *flags: object) -> str:
    """The one line of a command that must be refused."""
    assert main(["ae", "--epochs", "0", "--hidden", "1", "--batch-size", "1", *map(str, flags)]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert len(told.err) <= 500
    return told.err


@pytest.mark.parametrize("case", BAD_NPZ)
def test_an_archive_that_is_none_is_one_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.npz").write_bytes(BAD_NPZ[case])
    with pytest.raises(torch_ref.InputError):
        torch_ref.load_arrays("data.npz")
    refused(capsys, "--arrays", "data.npz")
    assert not (tmp_path / "pickle-was-run").exists()


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("case", BAD_IDX)
def test_an_idx_file_that_is_none_is_one_line(case, zipped, tmp_path, capsys):
    ending = ".gz" if zipped else ""
    pack = gzip.compress if zipped else bytes
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte{ending}").write_bytes(pack(BAD_IDX[case]))
        labels = struct.pack(">BBBBI", 0, 0, 8, 1, 3) + bytes(3)
        (tmp_path / f"{prefix}-labels-idx1-ubyte{ending}").write_bytes(pack(labels))
    refused(capsys, "--data-dir", tmp_path)


def test_pipes_devices_folders_and_long_names_are_one_line(tmp_path, capsys):
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    os.mkfifo(tmp_path / "data.npz")
    os.mkfifo(tmp_path / "data.pt")
    refused(capsys, "--data-dir", tmp_path)
    for path in (tmp_path / "data.npz", "/dev/zero", tmp_path, "a" * 300, "a/" * 3000, tmp_path / "none.npz"):
        refused(capsys, "--arrays", path)
        refused(capsys, "--data-dir", f"{path}/x")
    for path in (tmp_path, "a" * 300, "a/" * 3000):  # a pipe or a device takes what is written
        refused(capsys, "--save", path)
    for path in (tmp_path / "data.pt", "/dev/zero", tmp_path, "a" * 300, "a\0b"):
        with pytest.raises(torch_ref.InputError):
            torch_ref.load_checkpoint(path)


@pytest.mark.parametrize(
    "flags",
    [
        *(["--epochs", value] for value in ("-1", "1000000000000000000", "nan", "", "9" * 4000)),
        *(["--threads", value] for value in ("0", "-1", "1000000000")),
        *(["--learning-rate", value] for value in ("-1", "nan", "inf", "1e400")),
        *(["--seed", value] for value in ("-1", str(2**64))),
        *(["--hidden", value] for value in ("0", "-1", str(10**18), str(2**63), str(2**64))),
        *(["--batch-size", value] for value in ("0", "1000000000000")),
        ["--log-every", "0"],
        ["--device", "nonsense"],
        ["--device", "cuda:99"],
    ],
    ids=lambda flags: " ".join(flags)[:40],
)
def test_numbers_out_of_range_are_one_line(flags, capsys):
    refused(capsys, *flags)


@pytest.mark.parametrize("wrong", [torch.ones(2, 1, 28, 28, dtype=torch.uint8), torch.full((2, 1, 28, 28), 255.0)])
def test_features_that_are_no_pixels_are_refused(wrong):
    model = torch_ref.Autoencoder(784, 4)
    optimizer = torch.optim.Adam(model.parameters())
    batches = [(wrong, torch.zeros(2, dtype=torch.int64))]
    with pytest.raises(torch_ref.InputError, match=r"^expected features (of floats )?in \[0, 1\], got"):
        torch_ref.train_autoencoder(model, optimizer, batches, num_epochs=1, log=lambda line: None)


VAES = [
    torch_ref.ConditionalVariationalAutoencoder(784, 3, 10),
    torch_ref.ConditionalVariationalAutoencoder(784, 3, 10, reconstruct_condition=True),
    torch_ref.DenseVariationalAutoencoder(3, 10, (4,)),
]
WRONG_LABELS = {
    "99": torch.tensor([0, 99]),
    "-1": torch.tensor([0, -1]),
    "floats": torch.tensor([0.0, 1.0]),
    "fewer": torch.tensor([0]),
    "one-hot": torch.eye(10, dtype=torch.int64)[:2],
}


@pytest.mark.parametrize("model", VAES, ids=lambda model: f"{type(model).__name__}-{model.reconstruct_condition}")
@pytest.mark.parametrize("case", WRONG_LABELS)
def test_labels_of_no_class_are_refused_by_models_and_loops(model, case):
    labels, pixels = WRONG_LABELS[case], torch.zeros(2, 1, 28, 28)
    optimizer = torch.optim.Adam(model.parameters())
    for call in (
        lambda: model(pixels, labels),
        lambda: model.decoder(torch.zeros(2, 3), labels),
        lambda: torch_ref.train_step_cvae(model, optimizer, pixels, labels),
        lambda: torch_ref.train_cvae(model, optimizer, [(pixels, labels)], num_epochs=1, log=lambda line: None),
        lambda: torch_ref.evaluate(model, pixels.to(torch.uint8), labels),
    ):
        with pytest.raises(torch_ref.InputError, match=r"^expected [^\n]*, got [^\n]*$"):
            call()
