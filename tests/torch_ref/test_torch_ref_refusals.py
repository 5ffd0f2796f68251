"""What torch_ref is not to be given, and files that lie to its reader of pickles, each with what is said of it."""

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import torch_ref
from torch_ref import checkpoint, data, loops
from torch_ref.declared import check_declared
from torch_ref.pickle_calls import RefusedPickleError
from torch_ref.pickle_walk import walk

IMAGES = torch.zeros((3, 1, 28, 28), dtype=torch.uint8)


def model() -> torch_ref.Autoencoder:
    return torch_ref.Autoencoder(784, 2)


def test_a_name_that_there_is_not():
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        torch_ref.nonesuch  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


REFUSED: dict[str, tuple[Any, str]] = {
    "no batch": (lambda: torch_ref.evaluate(model(), IMAGES, batch_size=0), "batches of 1 or more and a finite beta"),
    "beta of NaN": (lambda: torch_ref.evaluate(model(), IMAGES, beta=float("nan")), "a finite beta, got 1000 and nan"),
    "fewer labels": (
        lambda: torch_ref.evaluate(model(), IMAGES, torch.zeros(2, dtype=torch.int64)),
        r"expected 3 labels, got \(2,\)",
    ),
    "initial weights": (
        lambda: torch_ref.Autoencoder(784, 2, initialization="none"),
        "expected an initialization out of .*, got 'none'",
    ),
    "pixels": (lambda: torch_ref.ConditionalVariationalAutoencoder(783, 2, 10), "expected 784 features .*, got 783"),
    "fewer than no classes": (
        lambda: torch_ref.ConditionalVariationalAutoencoder(784, 2, -1),
        "expected zero or more classes, got -1",
    ),
    "no code": (
        lambda: torch_ref.ConditionalVariationalAutoencoder(784, 0, 10),
        "expected at least one latent dimension, got 0",
    ),
    "labels of floats": (
        lambda: torch_ref.ConditionalVariationalAutoencoder(784, 2, 10)(IMAGES / 255, torch.zeros(3)),
        r"expected integer labels \(B,\), got torch.float32 \(3,\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_out_of_range_are_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(torch_ref.InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("cost", "weight", "message"), [(float("nan"), 0.0, "epoch"), (1.0, float("inf"), "the last step left parameters")]
)
def test_a_training_that_diverges_is_told(cost, weight, message):
    net = model()

    def step(features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        next(net.parameters()).data.fill_(weight)
        return torch.tensor(cost)

    batches: Any = [(torch.zeros(1, 784), torch.zeros(1))]
    with pytest.raises(torch_ref.InputError, match=message):
        loops._train(step, net, batches, 1, 1, lambda line: None)


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    tries = {
        "/dev/full": lambda path: checkpoint.write_whole(path, io.BytesIO(b"x")),
        "/proc/x": checkpoint.check_writable,
    }
    for path, write in tries.items():
        if Path(path).parent.is_dir():
            with pytest.raises(torch_ref.InputError, match=f"cannot write {path}: "):
                write(path)
    (tmp_path / "x.pt").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(torch_ref.InputError, match="it is protected"):
        checkpoint.check_writable(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_program_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), tmp_path / "x.pt")
    with pytest.raises(RefusedPickleError, match="it is TorchScript, a program"):
        check_declared(tmp_path / "x.pt")


def test_a_storage_that_is_shorter_than_declared_is_refused(tmp_path):
    torch.save({"a": torch.zeros(5)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as old, zipfile.ZipFile(tmp_path / "y.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"" if name.endswith("/data/0") else old.read(name))
    with pytest.raises(RefusedPickleError, match="it declares 20 bytes of the storage '0', but has 0"):
        check_declared(tmp_path / "y.pt")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(kind: str, items: int) -> bytes:
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}Storage\n".encode()
        + text("0")
        + text("cpu")
        + bytes([75, items])
        + b"tQ"
    )


def call(name: str, given: bytes) -> bytes:
    return f"ctorch._utils\n_rebuild_{name}\n".encode() + b"(" + given + b"tR"


LIES = {
    "a sparse tensor of nothing": (call("sparse_tensor", b"NN"), "a sparse tensor of what is no tensor"),
    "a tensor of a number": (call("tensor_v2", b"K\x01"), "a tensor without a storage, a shape and strides"),
    "no dtype": (
        call("tensor_v3", storage("Byte", 4) + b"K\x00K\x02\x85K\x01\x85\x89N"),
        "it has a tensor without a dtype",
    ),
    "a quantised tensor larger than its storage": (
        call("qtensor", storage("QInt8", 2) + b"K\x00K\x64\x85K\x00\x85NN"),
        "it has a tensor of 100 bytes in a storage of 2",
    ),
    "a storage of two sizes": (
        storage("Byte", 4) + storage("Byte", 5) + b"\x86",
        "it declares the storage '0' twice, as two",
    ),
}


@pytest.mark.parametrize(("made", "why"), LIES.values(), ids=LIES)
def test_tensors_that_lie(made, why):
    with pytest.raises(RefusedPickleError, match=why):
        walk(io.BytesIO(b"\x80\x02" + made + b"."))


def test_what_is_taken_from_nothing():
    with pytest.raises(IndexError, match="its stack is empty"):
        walk(io.BytesIO(b"\x80\x02\x85."))


def test_compressed_records_are_refused(tmp_path):
    torch.save({"a": torch.zeros(5)}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as old,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(RefusedPickleError, match="it has compressed records, which torch does not write"):
        check_declared(tmp_path / "y.pt")


def test_an_archive_is_told_for_what_it_is(tmp_path, monkeypatch):
    (tmp_path / "text.npz").write_text("no archive")
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28, 1), }\n"
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as made:
        made.writestr("train_images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(9))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("train_images.npy", bytes(9 << 20))
    monkeypatch.setattr(data, "SMALL", 1 << 20)
    for name, told in {
        "text": r"text\.npz is no \.npz archive",
        "short": r"short\.npz is too short for the shape",
        "bomb": r"bomb\.npz unpacks to far more than its size",
    }.items():
        with pytest.raises(torch_ref.InputError, match=rf"^(?!cannot read).*{told}"):
            torch_ref.load_arrays(tmp_path / f"{name}.npz")


def test_checkpoints_of_other_models_and_kinds(tmp_path):
    sound = {"epoch": 1, "loss": 0.5, "model": "Autoencoder", "settings": {}, "model_state_dict": {}}
    sound["optimizer_state_dict"] = {"state": {}}
    for other, told in (
        ({"model": "GAN"}, "expected a model out of "),
        ({"model_state_dict": {"a": torch.zeros(1).expand(10**12)}}, "a tensor claims more than the file holds"),
        ({"model_state_dict": {"a": torch.zeros(1, dtype=torch.int64)}}, "weights of torch.int64"),
    ):
        torch.save(sound | other, tmp_path / "x.pt")
        with pytest.raises(torch_ref.InputError, match=told):
            torch_ref.load_checkpoint(tmp_path / "x.pt")


def test_a_disk_that_refuses_is_told_with_the_path(tmp_path, monkeypatch):
    def refuse(*_: object) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(torch_ref.InputError, match=r"cannot write .*x\.pt: Input/output error"):
        checkpoint.write_whole(tmp_path / "x.pt", io.BytesIO(b"x"))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(torch_ref.InputError, match=r"cannot read x\.\.\.: Input/output error"):
        torch_ref.load_idx("x")
