"""Sound files of every kind that is read, small, made once; altered ones are made of them."""

import argparse
import collections
import datetime
import gzip
import io
import json
import pickle
import struct
import tempfile
import types
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
BEFORE = REPOSITORY / "tests" / "usecases" / "compressed_before"
EPOCHS, ROWS, TESTED = 2, 64, 20

Samples = dict[str, bytes]  # by the path below the reader's folder


def write_samples(root: Path, readers: Iterable[str]) -> None:
    """Write a folder of sound files for each of these readers."""
    for name in readers:
        for path, content in _MAKERS[name]().items():
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).write_bytes(content)


def torch_net() -> Any:
    """A small torch network."""
    import torch

    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def training_config(epochs: int = EPOCHS) -> Any:
    """Settings of the run that is kept as a sample, and gone on with."""
    from jaxae.config import AUTOENCODER

    return AUTOENCODER.replace(epochs=epochs, batch_size=32, hidden=(3,))


def training_data() -> Any:
    """The few digits that it is trained on."""
    import jaxae
    from jaxae.data.dataset import Dataset, Split

    digits = jaxae.load("digits")
    train, test = (Split(*(a[:count] for a in split)) for split, count in ((digits.train, ROWS), (digits.test, TESTED)))
    return Dataset("digits", train, test, 10)


def _saved(save: Any, *arguments: Any, **keywords: Any) -> bytes:
    """What a function writes into a binary file."""
    file = io.BytesIO()
    save(*(file if one is None else one for one in arguments), **keywords)
    return file.getvalue()


def _objects() -> dict[str, Any]:
    """What checkpoints have beside their weights; two objects refer to each other."""
    first = argparse.Namespace(rate=0.1, path=PurePosixPath("x"))
    first.other = types.SimpleNamespace(first=first)
    return {
        "args": first,
        "best": np.float64(0.9),
        "losses": np.arange(6.0).reshape(2, 3).T,
        "texts": np.array(["a", "bc"]),
        "counts": collections.Counter("aab"),
        "lists": collections.defaultdict(list, {1: [2]}),
        "last": collections.deque([1]),
        "when": datetime.datetime(2020, 1, 1),
        "complex": 1 + 2j,
    }


def _pickles() -> Samples:
    tensors = torch_net().state_dict()
    weights = {"0.weight": np.zeros((4, 3), np.float32), "0.bias": np.zeros(4, np.float32)}
    made = {f"tensors-{protocol}.pkl": pickle.dumps(tensors, protocol=protocol) for protocol in (2, 4)}
    return made | {
        f"weights-{protocol}.pkl": pickle.dumps({"model": weights, **_objects()}, protocol=protocol)
        for protocol in (2, 4, 5)
    }


def _torch(new: bool = True) -> Samples:
    import torch

    from jaxae.config import AutoencoderConfig
    from jaxae.network.models import build
    from jaxae.port import save

    torch.manual_seed(0)
    net = torch_net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    weights = net.state_dict()
    contents = {
        "net.pt": weights,
        "objects.pt": {"model": weights, "rule": torch.nn.ReLU, **_objects()},
        "whole.pt": {"model": net},
        "averaged.pt": torch.optim.swa_utils.AveragedModel(net).state_dict(),
        "checkpoint.pt": {"epoch": 3, "model_state_dict": weights, "optimizer": optimizer.state_dict(), "note": "x"},
        "odd.pt": {
            "half": torch.zeros(2).half(),
            "bf16": torch.zeros(2).bfloat16(),
            "long": torch.zeros(2, dtype=torch.long),
            "part": torch.arange(12.0).reshape(3, 4).T[1:, ::2],
            "scalar": torch.tensor(1.0),
            "none": torch.zeros(0, 3),
            "parameter": torch.nn.Parameter(torch.zeros(2)),
            "sparse": torch.eye(2).to_sparse(),
            "bytes": b"ab",
            "names": {"a"},
            "size": torch.Size([2]),
            # Which torch itself reads from the new container alone.
            **({"uint16": torch.zeros(2, dtype=torch.uint16)} if new else {}),
        },
    }
    made = {
        name: _saved(torch.save, content, None, _use_new_zipfile_serialization=new)
        for name, content in contents.items()
    }
    if new:
        with tempfile.TemporaryDirectory() as folder:
            from flax import nnx

            save(Path(folder) / "own.pt", build(AutoencoderConfig(4, (3,)), rngs=nnx.Rngs(0)), model={"hidden": [3]})
            made["own.pt"] = (Path(folder) / "own.pt").read_bytes()
        with warnings.catch_warnings(action="ignore"):  # of what is on its way out
            made["program.pt"] = _saved(torch.jit.save, torch.jit.script(net), None)
    return made


def _safetensors() -> Samples:
    import ml_dtypes

    from jaxae.storage import safetensors

    arrays = {
        "linear_1.kernel": np.zeros((4, 3), np.float32),
        "linear_1.bias": np.zeros(3, np.float32),
        "linear_2.kernel": np.zeros((3, 4), np.float32),
        "linear_2.bias": np.zeros(4, np.float32),
    }
    odd = {
        "a": np.zeros(2, ml_dtypes.bfloat16),
        "none": np.zeros((0, 3)),
        "flags": np.array([True]),
        "b": np.zeros((), "i8"),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        safetensors.write(path, arrays, {"layout": "flax", "model": json.dumps({"hidden": [3]})})
        own = path.read_bytes()
        safetensors.write(path, odd, {"format": "pt"})
        return {"own.safetensors": own, "odd.safetensors": path.read_bytes()}


def _msgpack() -> Samples:
    import ml_dtypes
    from flax.serialization import msgpack_serialize

    linear = {"kernel": np.zeros((4, 3), np.float32), "bias": np.zeros(3, ml_dtypes.bfloat16)}
    count = {"count": np.int32(3), "z": 1 + 2j}
    chunks = {
        "__msgpack_chunked_array__": True,
        "shape": {"0": 2, "1": 2},
        "chunks": {"0": np.zeros(3), "1": np.zeros(1)},
    }
    trees = {
        "variables.msgpack": {"params": {"dense": linear}, "batch_stats": {"norm": {"mean": np.zeros(3)}}},
        "state.msgpack": {"step": 3, "params": {"dense": linear}, "opt_state": {"0": count, "1": None}},
        "params.msgpack": {"dense": linear, "own": {"embedding": chunks}},
    }
    return {name: msgpack_serialize(tree) for name, tree in trees.items()}


def _arrays() -> dict[str, np.ndarray]:
    data = training_data()
    return {
        **{f"train_{name}": array[:6] for name, array in zip(("images", "labels"), data.train, strict=True)},
        **{f"test_{name}": array[:4] for name, array in zip(("images", "labels"), data.test, strict=True)},
        "num_classes": np.array(10, np.int32),
    }


def _npz() -> Samples:
    odd = {
        "a": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["one", "three"]),
        "none": np.zeros((0, 4)),
    }
    return {
        "data.npz": _saved(np.savez, None, **_arrays()),
        "packed.npz": _saved(np.savez_compressed, None, **_arrays()),
        "odd.npz": _saved(np.savez, None, **odd),
    }


def _npy() -> Samples:
    dated = np.array(["2020-01-01"], "M8[D]")
    parts = np.zeros(2, [("a", "<f4"), ("b", "u1", (2,))])
    kinds = {"images": _arrays()["test_images"], "scalar": np.array(3), "dated": dated, "parts": parts}
    return {f"{name}.npy": _saved(np.save, None, array) for name, array in kinds.items()}


def _idx() -> Samples:
    made: Samples = {}
    arrays = _arrays()
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = arrays[f"{split}_images"][..., 0], arrays[f"{split}_labels"].astype(np.uint8)
        for array, kind in ((images, "images-idx3"), (labels, "labels-idx1")):
            content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            packed = split == "test"
            made[f"{name}-{kind}-ubyte{'.gz' * packed}"] = gzip.compress(content, mtime=0) if packed else content
    return made


def _csv() -> Samples:
    arrays = _arrays()
    images = arrays["train_images"][:, ::4, ::4].reshape(6, -1)
    rows = [f"{label},{','.join(map(str, image))}" for label, image in zip(arrays["train_labels"], images, strict=True)]
    header = ",".join(["label", *(f"pixel{place}" for place in range(49))])
    named = [header, *(f'"class {row[0]}"{row[1:]}' for row in rows)]
    return {"bare.csv": "\n".join(rows).encode(), "named.csv": "\r\n".join(named).encode()}


def _picture_folder() -> Samples:
    small = {name: content for name, content in _pictures().items() if name in ("a.png", "h.jpg", "i.webp")}
    return {f"{kind}/{name}": content for kind in ("one", "two") for name, content in small.items()}


def _cifar(pickled: bool) -> Samples:
    rows, labels = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8).reshape(2, -1), np.array([3, 9], np.uint8)
    names = [*(f"data_batch_{number}" for number in (1, 2)), "test_batch"]
    if not pickled:
        return {f"{name}.bin": np.c_[labels, rows].tobytes() for name in names}
    batches = {name: pickle.dumps({b"data": rows, b"labels": labels.tolist()}, 4) for name in names}
    return batches | {"batches.meta": pickle.dumps({"label_names": [f"class {label}" for label in range(10)]}, 2)}


def _mat() -> Samples:
    from scipy.io import savemat

    images = np.arange(8 * 8 * 3 * 4, dtype=np.uint32).astype(np.uint8).reshape(8, 8, 3, 4)
    held = {"X": images, "y": np.array([[10], [1], [2], [3]], np.uint8)}
    return {f"{packed}.mat": _saved(savemat, None, held, do_compression=packed) for packed in (False, True)}


def _parquet() -> Samples:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:  # of an extra
        return {"a.parquet": b"PAR1"}
    content = _pictures()["a.png"]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": content, "path": None}] * 4, kind)
    table = pa.table({"image": images, "label": [0, 1, 0, 1]})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return {"a.parquet": _saved(lambda file: pq.write_table(table, file), None), "b.arrow": stream.getvalue()}


def _pictures() -> Samples:
    from PIL import Image

    grey = _arrays()["test_images"][0, ..., 0]
    picture = Image.fromarray(grey)
    kinds = {"a.png": picture, "b.bmp": picture, "c.tif": picture, "d.pgm": picture, "e.gif": picture}
    kinds |= {"f.png": picture.convert("RGBA"), "g.png": picture.convert("P"), "h.jpg": picture, "i.webp": picture}
    made: Samples = {}
    for name, one in kinds.items():
        file = io.BytesIO()
        one.save(file, {"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(name[2:], name[2:].upper()), lossless=True)
        made[name] = file.getvalue()
    return made


@cache
def _run() -> Samples:
    import jaxae

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        jaxae.fit(training_config(), training_data(), run_dir=path, checkpoint_seconds=0)
        return _tree(path)


def _tree(folder: Path) -> Samples:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _records() -> Samples:
    from jaxae.data.stream.writing import write_stream

    arrays = _arrays()
    train, test = ((arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test"))
    with tempfile.TemporaryDirectory() as folder:
        write_stream(Path(folder) / "records", [train], [test], num_classes=10, notes=["a note"])
        return _tree(Path(folder) / "records")


def _many() -> Samples:
    kept = _run()
    seeds = {f"weights-seed-{seed}.safetensors": kept["weights.safetensors"] for seed in (0, 1)}
    return {"config.json": kept["config.json"], **seeds}


def _log() -> Samples:
    from jaxae.parity.published import published_logs

    (log, *_) = published_logs()
    lines = [f"Epoch: {e:03d}/005 | Batch {b:03d}/234 | Cost: {cost:.4f}" for e, b, cost in log.costs]
    other = "  epoch: 1/2 | batch: 0/234 | loss: 1.24e-1\nTime elapsed: 0.21 min\nepoch 2 batch 000 cost = .5\n"
    return {"notebook.txt": ("\n".join(lines) + "\n").encode(), "other.txt": other.encode()}


def _torch_ref() -> Samples:
    import torch

    import torch_ref

    torch.manual_seed(0)
    made: Samples = {}
    models = {"ae.pt": torch_ref.Autoencoder(6, [3]), "dense.pt": torch_ref.DenseVariationalAutoencoder(2, 0, [3])}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models.items():
            optimizer = torch.optim.Adam(model.parameters())
            if name == "ae.pt":
                model(torch.ones(2, 6)).sum().backward()
                optimizer.step()
            torch_ref.save_checkpoint(Path(folder) / name, model, optimizer, epoch=2, loss=0.5)
            made[name] = (Path(folder) / name).read_bytes()
    return made


_CARD = REPOSITORY / "jaxae" / "pretrained" / "ae-mnist"


def _recording() -> Samples:
    from torch_ref.calls import Call
    from torch_ref.recording import Conditions, Recording

    one, two = np.ones((2, 3)), np.arange(4.0).reshape(2, 2)
    weights = {"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2, np.float32)}
    found = Recording(
        framework="nnx",
        network="package:net",
        dtype="float64",
        device="cpu",
        versions={"jax": "1"},
        precision={"jax_default_matmul_precision": "default"},
        asked=Conditions(train=True, steps=1),
        inputs=[one, np.array([1, 2])],
        results={"a": two},
        calls=[Call("fc", "Linear", [one], [two], "float64")],
        weights=weights,
        trained=frozenset(weights),
        gradients=weights,
        input_gradients={0: one},
        after={name: 2 * array for name, array in weights.items()},
        costs=[1.0, 0.5],
        dropout={"drop": 0.5},
        notes=["a note"],
    )
    return {"a.npz": _saved(np.savez, None, **found.to_arrays())}


_MAKERS = {
    "torch": _torch,
    "torch-old": lambda: _torch(new=False),
    "pickle": _pickles,
    "safetensors": _safetensors,
    "msgpack": _msgpack,
    "npz": _npz,
    "recording": _recording,
    "npy": _npy,
    "dataset": lambda: {name: content for name, content in _npz().items() if name != "odd.npz"},
    "idx": _idx,
    "idx-folder": _idx,
    "csv": _csv,
    "pictures": _picture_folder,
    "cifar": lambda: _cifar(pickled=False),
    "cifar-pickled": lambda: _cifar(pickled=True),
    "mat": _mat,
    "parquet": _parquet,
    "records": _records,
    "picture": _pictures,
    "compressed": lambda: {"six.jxae": (BEFORE / "six.jxae").read_bytes()},
    "codec": lambda: _tree(BEFORE),
    "config": lambda: {"config.json": (_CARD / "config.json").read_bytes()},
    "metrics": lambda: {"metrics.jsonl": _run()["metrics.jsonl"]},
    "run": _run,
    "run-unsummed": _run,
    "many": _many,
    "benchmark": lambda: {"cpu.json": (REPOSITORY / "docs" / "benchmark-cpu.json").read_bytes()},
    "log": _log,
    "card": lambda: {"card.json": (_CARD / "card.json").read_bytes()},
    "torch_ref-checkpoint": _torch_ref,
    "torch_ref-idx": _idx,
    "torch_ref-arrays": lambda: {name: content for name, content in _npz().items() if name != "odd.npz"},
}
