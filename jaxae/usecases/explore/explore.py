"""A trained model as a static page: a map of its codes, and its decoder and encoder at work in the browser.

The networks run in plain JavaScript, from the model's own list of operations: a runtime of WebAssembly would be larger
than the whole page is allowed to be.
"""

import base64
import functools
import http.server
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from jaxae.bounds import Count, Range
from jaxae.cli import DataFlags, Switch, default
from jaxae.config import RunConfig
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import decode, encode
from jaxae.network.models import Model
from jaxae.network.operations import Operation, Operations, operations_of
from jaxae.pretrained.card import model_card
from jaxae.training.run_folder import load_run
from jaxae.usecases.explore.folder import BEGINNING, FILES, MODEL, check_page_folder, whole_or_absent_page

Port = Annotated[int, Range(0, 65_535)]

_LARGEST = 6_000_000  # bytes of a page
_OF_IMAGES = 2_500_000  # bytes of the images in it
_DIRECTIONS = 8  # principal directions to move along


@dataclass(frozen=True, kw_only=True)
class ExploreSettings(DataFlags):
    """What is explored, and where the page is written.

    Attributes:
        run_dir: Folder of a finished run.
        pretrained: Name of a trained model that comes with the package, in place of a run.
        out: Folder to write the page to: new, empty, or of an earlier page, which is replaced.
        images: Number of test images on the map; fewer where they would make the page large.
        serve: Whether to serve the page on this machine until Ctrl-C.
        port: Port to serve it at.
    """

    run_dir: Annotated[Path | None, default("none", "PATH")] = None
    pretrained: Annotated[str | None, default("none", "STR")] = None
    out: Path = Path("page")
    images: Count = 1000
    serve: Switch = False
    port: Port = 8000

    def folder(self) -> Path:
        """Folder of the run or of the pretrained model.

        Raises:
            InputError: If both are named or neither, or there is no pretrained model of that name.
        """
        if (self.run_dir is None) == (self.pretrained is None):
            raise InputError("expected --run-dir or --pretrained, got both or neither")
        return self.run_dir if self.run_dir is not None else model_card(str(self.pretrained)).folder


@dataclass(frozen=True)
class ExploreResult:
    """What was written.

    Attributes:
        folder: Folder of the page.
        size: Bytes of all its files.
        images: Number of test images on the map.
    """

    folder: Path
    size: int
    images: int

    def __str__(self) -> str:
        """Where the page is."""
        return f"{self.folder / 'index.html'}: {self.size / 1e6:.1f} MB, {self.images} test images on the map"


def run(settings: ExploreSettings) -> ExploreResult:
    """Write the page of a model, whole or not at all.

    Raises:
        InputError: If the run is not there or not of the data, the folder holds other files than an earlier page's,
            the page would be larger than 6 MB, or the model computes no finite numbers.
    """
    check_page_folder(settings.out)
    folder = settings.folder()
    settings.configure(batch_size=128)
    config, model = load_run(folder)
    _check_size(_encoded_size(model))  # before data are read
    dataset = settings.load()
    name = settings.pretrained or folder.resolve().name
    count = max(1, min(settings.images, len(dataset.test.labels), _OF_IMAGES // dataset.num_features))
    content = BEGINNING + json.dumps(page_of(name, config, model, dataset, count)) + ";\n"
    page = resources.files("jaxae.usecases.explore") / "page"
    files = {file: (page / file).read_text() for file in FILES} | {MODEL: content}
    size = sum(len(text.encode()) for text in files.values())
    _check_size(size)
    with whole_or_absent_page(settings.out) as temporary:
        for file, text in files.items():
            (temporary / file).write_text(text)
    return ExploreResult(settings.out, size, count)


def page_of(name: str, config: RunConfig, model: Model, dataset: Dataset, count: int) -> dict[str, Any]:
    """What a page knows of a model, as JSON values; arrays as base64 of their little-endian bytes.

    Args:
        name: Name of the model.
        config: Settings of its run.
        model: The model.
        dataset: Data set whose first test images are on the map.
        count: Number of them.

    Raises:
        InputError: If the images are not the model's, or its codes or costs are not finite.
    """
    images, labels = dataset.test.images[:count], dataset.test.labels[:count]
    codes = encode(model, images, labels)
    pixels = as_unit_float(images).reshape(count, -1)
    again = np.clip(decode(model, codes, labels).reshape(count, -1), 1e-7, 1 - 1e-7)
    costs = -(pixels * np.log(again) + (1 - pixels) * np.log1p(-again)).sum(1)
    if not np.isfinite(costs).all():
        raise InputError(f"expected a model whose reconstructions are finite, got NaN from {name}")
    operations = operations_of(model)
    weights: list[np.ndarray] = []
    return {
        "title": f"{name} on {dataset.name}",
        "about": f"{type(model).__name__}, codes of {operations.latent} dimensions; {count} test images on the map.",
        "shape": list(dataset.image_shape),
        "latent": operations.latent,
        "classes": operations.classes,
        "class_names": list(dataset.class_names),
        "encoder": _spelled(_encoder(operations), weights),
        "decoder": _spelled(operations.decoder, weights),
        "weights": _base64(np.concatenate([one.ravel() for one in weights])),
        "images": _base64(images),
        "labels": labels.tolist(),
        "codes": _base64(codes),
        "costs": _base64(costs),
        "mean": _base64(codes.mean(0)),
        "components": _base64(_directions(codes)),
    }


def _encoder(operations: Operations) -> list[Operation]:
    """From images to the code, of a VAE to the posterior's mean."""
    return [*operations.encoder, *operations.heads.get("mean", operations.heads.get("code", []))]


def _encoded_size(model: Model) -> int:
    """Bytes of a model's weights in base64."""
    operations = operations_of(model)
    arrays = [array for one in [*_encoder(operations), *operations.decoder] for array in (one.weight, one.bias)]
    return sum(array.nbytes for array in arrays if array is not None) * 4 // 3


def _check_size(size: int) -> None:
    if size > _LARGEST:
        raise InputError(
            f"expected a page of at most 6 MB, got {size / 1e6:.1f} MB: fewer --images, or a smaller model"
        )


def _directions(codes: np.ndarray) -> np.ndarray:
    """The principal directions of codes [n, code], at most eight, as rows."""
    centred = codes - codes.mean(0, keepdims=True)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors.T[::-1][:_DIRECTIONS]


def _spelled(operations: Sequence[Operation], weights: list[np.ndarray]) -> list[dict[str, Any]]:
    """Operations as JSON values, their arrays as start and length in those of all."""
    spelled = []
    for operation in operations:
        one: dict[str, Any] = {"kind": operation.kind, **operation.settings}
        if operation.weight is not None:
            one["shape"] = list(operation.weight.shape)
        for name, array in (("weight", operation.weight), ("bias", operation.bias)):
            if array is not None:
                one[name] = [sum(known.size for known in weights), array.size]
                weights.append(array)
        spelled.append(one)
    return spelled


def _base64(array: np.ndarray) -> str:
    kind = "<f4" if np.issubdtype(array.dtype, np.floating) else "u1"
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode()


def serve(folder: Path, port: int) -> None:
    """Serve a page on this machine, until Ctrl-C.

    Raises:
        InputError: If the port is taken.
    """
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(f"expected a port that is free, got {port}: {error.strerror}") from error
    with server:
        print(f"http://127.0.0.1:{server.server_port}/ until Ctrl-C", flush=True)
        server.serve_forever()
