"""Small files that commands are given: data sets, pictures, weights, and runs that the scripts themselves make."""

import re
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .matrix import Job

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN, TEST = 200, 60


def write_files(root: Path) -> dict[str, str]:
    """Write data sets and pictures out of real digits; paths by the names that commands have in braces."""
    from PIL import Image
    from safetensors.numpy import save_file

    from jaxae.data.dataset import Dataset, Split, load
    from jaxae.data.saving import save_arrays

    full = load("digits")
    train, test = (
        Split(split.images[:count], split.labels[:count]) for split, count in ((full.train, TRAIN), (full.test, TEST))
    )
    root.mkdir(parents=True, exist_ok=True)
    save_arrays(Dataset("tiny", train, test, 10), root / "tiny.npz")
    idx = root / "idx"
    idx.mkdir()
    for name, split in (("train", train), ("t10k", test)):
        _write_idx(idx / f"{name}-images-idx3-ubyte", split.images[..., 0])
        _write_idx(idx / f"{name}-labels-idx1-ubyte", split.labels.astype(np.uint8))
    for split, (images, labels) in (("train", train), ("test", test)):
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            (folder := root / "pictures" / split / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    rows = np.c_[train.labels, train.images.reshape(TRAIN, -1)]
    header = ",".join(["label", *(f"pixel{place}" for place in range(784))])
    np.savetxt(root / "table.csv", np.r_[rows, rows], fmt="%d", delimiter=",", header=header, comments="")
    pictures = test.images[..., 0]
    Image.fromarray(pictures[0]).save(root / "character.png")
    Image.fromarray(np.block([list(pictures[:3]), list(pictures[3:6])])).save(root / "sheet.png")
    np.save(root / "images.npy", pictures[:5])
    random = np.random.default_rng(0)
    shapes = {"front.weight": (2, 1, 3, 3), "front.bias": (2,), "2.weight": (3, 1568), "2.bias": (3,)}
    net = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(net, root / "net.safetensors")
    # Two networks below prefixes, of which one has a layer more, and one less.
    parts = {f"student.{name}": value for name, value in net.items() if not name.startswith("2.")}
    parts |= {"student.pe": net["front.bias"], "teacher.weight": net["2.weight"]}
    save_file(parts, root / "parts.safetensors")
    (root / "folder").mkdir()
    names = ("idx", "pictures", "folder", "ae", "deep", "cvae", "wide", "vae", "dense", "classes", "coded", "nowhere")
    suffixed = (
        "tiny.npz",
        "character.png",
        "sheet.png",
        "images.npy",
        "net.safetensors",
        "parts.safetensors",
        "torch.pt",
    )
    paths = {name: str(root / name) for name in names} | {name.split(".")[0]: str(root / name) for name in suffixed}
    return paths | {
        "npz": paths["tiny"],
        "csv": str(root / "table.csv"),
        "benchmark": str(REPOSITORY / "docs" / "benchmark-cpu.json"),
    }


def _write_idx(path: Path, values: np.ndarray) -> None:
    path.write_bytes(struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes())


BRIEF = ("--data", "{npz}", "--epochs", "1", "--batch-size", "50")
MADE = {
    "ae": Job("train_ae", (*BRIEF, "--run-dir", "{ae}")),
    "deep": Job("train_ae", (*BRIEF, "--hidden", "6", "3", "--run-dir", "{deep}")),
    "cvae": Job("train_cvae", (*BRIEF, "--num-latent", "3", "--run-dir", "{cvae}")),
    "wide": Job("train_cvae", (*BRIEF, "--num-latent", "5", "--run-dir", "{wide}")),
    "vae": Job("train_cvae", (*BRIEF, "--num-latent", "3", "--num-classes", "0", "--run-dir", "{vae}")),
    "dense": Job("train_dense_vae", (*BRIEF, "--num-latent", "3", "--run-dir", "{dense}")),
    "torch": Job("port_weights", ("{cvae}", "{torch}"), writes=("{torch}",)),
    "coded": Job("compress", ("compress", "{sheet}", "{coded}", "--run-dir", "{ae}"), writes=("{coded}",)),
}


def first_jobs(jobs: Iterable[Job]) -> list[Job]:
    """The commands that make what these jobs are given."""
    needed = {name for job in jobs for word in job.argv for name in re.findall(r"{(\w+)}", word)}
    needed |= {"ae"} if needed & {"coded", "classes"} else set()
    needed |= {"cvae"} if "torch" in needed else set()
    return [job for name, job in MADE.items() if name in needed]


def copy_classes(paths: dict[str, str]) -> None:
    """Make a folder of one run for each class, as `scripts/anomaly.py` takes it."""
    for label in range(10 if Path(paths["ae"]).exists() else 0):
        shutil.copytree(paths["ae"], Path(paths["classes"]) / f"class-{label}")
