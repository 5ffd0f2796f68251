"""A codec of images: quantised codes of an autoencoder, entropy-coded with integer tables."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Float, UInt8

from jaxae.config import ModelConfig, RunConfig
from jaxae.data.dataset import Dataset
from jaxae.data.pixels import as_unit_float
from jaxae.errors import InputError
from jaxae.network.apply import check_unconditional, decode, encode
from jaxae.network.models import Model, with_parameters
from jaxae.network.parameters import Parameters, parameters_of
from jaxae.storage import npz
from jaxae.training.run_folder import load_run
from jaxae.usecases.compress.code_tables import CodeTables, DamagedPayloadError, bins_of
from jaxae.usecases.compress.container import MODEL_BYTES, Container, pack, unpack
from jaxae.usecases.picture import holds_images

CODEC_FILE = "codec.npz"
SIDE = 28

_PROBED = 256
_PART = 1 << 14  # images


@dataclass(frozen=True, eq=False)
class Codec:
    """Compresses uint8 images to bytes and back, 28 by 28 pixels at a time.

    Decoding the same file on two machines gives the same codes; the pixels that a network makes of them may differ by
    a grey level where float arithmetic differs in its last bits.

    Attributes:
        encode: Codes of images in [0, 1].
        decode: Images in [0, 1] of codes.
        tables: How codes are quantised, and how often each symbol occurs.
        identity: What a file names its model by.
        num_bytes: Size of the model's weights and tables.
    """

    encode: Callable[[Float[np.ndarray, "n 28 28 1"]], Float[np.ndarray, "n code"]]
    decode: Callable[[Float[np.ndarray, "n code"]], Float[np.ndarray, "n 28 28 1"]]
    tables: CodeTables
    identity: bytes
    num_bytes: int = 0

    @classmethod
    def of(cls, config: RunConfig, model: Model, tables: CodeTables) -> "Codec":
        """The codec of a trained autoencoder or plain VAE (its means).

        Raises:
            InputError: If the model is conditional.
        """
        check_unconditional(model)
        arrays = _arrays(model, tables)
        num_bytes = sum(array.nbytes for array in arrays.values())
        return cls(partial(encode, model), partial(_decode_tiles, model), tables, _identity(config, arrays), num_bytes)

    def compress(self, pixels: UInt8[np.ndarray, "..."], step: float) -> bytes:
        """A compressed file of an image [h, w], or of images [n, 28, 28] or [n, 28, 28, 1].

        Args:
            pixels: 0 black, 255 white. An image of another size is cut into tiles.
            step: Quantisation step in grey levels of 255: by how much, root mean square, one step of one dimension
                changes the image. The smaller, the better and the longer.
        """
        bins = bins_of(step)
        symbols = self.tables.quantise(self.encode(as_unit_float(_tiles(pixels))), bins)
        return pack(Container(self.identity, bins, pixels.shape, self.tables.encode(symbols, bins)))

    def decompress(self, content: bytes, name: str = "the file") -> UInt8[np.ndarray, "..."]:
        """The images of a compressed file, in their shape.

        Raises:
            InputError: If it is not such a file, is truncated or altered, or is another model's; `name` is what the
                message calls it.
        """
        container = unpack(content, name)
        if container.model != self.identity:
            made = f"made with the model {container.model.hex()}"
            raise InputError(f"expected a file of the model {self.identity.hex()}, got {name}, {made}")
        shape = container.shape
        count = shape[0] if len(shape) > 2 else math.prod(_tile_grid(shape))
        try:
            symbols = self.tables.decode(container.payload, count, container.step)
        except DamagedPayloadError as error:
            raise InputError(f"expected the file as it was written, got {name}, which is altered: {error}") from error
        codes = self.tables.dequantise(symbols, container.step)
        # By parts: floats of all images at once would take four times their memory.
        parts = [to_bytes(self.decode(codes[begin : begin + _PART])) for begin in range(0, count, _PART)]
        return _untiled(np.concatenate(parts), shape)


def prepare(config: RunConfig, model: Model, dataset: Dataset) -> Codec:
    """Make the codec of a model: count the codes of a training set.

    Raises:
        InputError: If the model is conditional or of other images than grey ones of 28 by 28, or its codes are not
            finite.
    """
    if dataset.image_shape != (SIDE, SIDE, 1):
        came = "x".join(map(str, dataset.image_shape))
        raise InputError(f"expected data of grey images of {SIDE}x{SIDE}, in which files are cut, got {came}")
    codes = encode(model, dataset.train.images)
    return Codec.of(config, model, CodeTables.of(codes, _sensitivity(model, codes[:_PROBED])))


def save_codec(codec: Codec, run_dir: Path) -> None:
    """Keep a codec's tables in the run directory of its model.

    Raises:
        InputError: If it cannot be written to.
    """
    npz.write(run_dir / CODEC_FILE, codec.tables.to_arrays())


def load_codec(run_dir: Path) -> Codec:
    """The codec in a run directory.

    Raises:
        InputError: If there is no finished run, or no tables, or either is damaged.
    """
    config, model = load_run(run_dir)
    path = run_dir / CODEC_FILE
    if not path.exists():
        raise InputError(f"expected a codec's tables, got no {path}")
    try:
        tables = CodeTables.from_arrays(npz.read(path), model.config.code_size)
    except InputError as error:
        raise InputError(f"{error} in {path}") from error
    return Codec.of(config, model, tables)


def to_bytes(images: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Round pixels in [0, 1] to the nearest of 256 grey levels."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def _decode_tiles(model: Model, codes: Float[np.ndarray, "n code"]) -> Float[np.ndarray, "n 28 28 1"]:
    return decode(model, codes).reshape(-1, SIDE, SIDE, 1)


def _sensitivity(model: Model, codes: Float[np.ndarray, "n code"]) -> Float[np.ndarray, " code"]:
    """Root mean square change of a pixel per unit of each dimension, over these codes.

    By central differences of a tenth of the dimension's standard deviation to either side: the layers have no
    forward-mode derivative.
    """
    reach = np.maximum(0.1 * codes.std(0), 1e-6).astype(np.float32)
    return np.asarray(_changes(model.config, parameters_of(model), codes, np.diag(reach)))


@partial(jax.jit, static_argnums=0)
def _changes(config: ModelConfig, parameters: Parameters, points: Array, moves: Array) -> Array:
    model: Any = with_parameters(config, parameters)

    def along(move: Array) -> Array:
        change = model.decode(points + move[None]) - model.decode(points - move[None])
        return jnp.sqrt(jnp.mean(change**2)) / (2 * jnp.abs(move).sum())

    return jax.lax.map(along, moves)


def _arrays(model: Model, tables: CodeTables) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(parameters_of(model))
    weights = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}
    return dict(sorted({**weights, **tables.to_arrays()}.items()))


def _identity(config: RunConfig, arrays: dict[str, np.ndarray]) -> bytes:
    # How weights were first drawn is nothing of a trained model; files were written before it was a setting.
    settings = {name: value for name, value in config.to_json()["model"].items() if name != "initialization"}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, array in arrays.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape}".encode())
        digest.update(little.tobytes())
    return digest.digest()[:MODEL_BYTES]


def _tile_grid(shape: tuple[int, ...]) -> tuple[int, int]:
    return -(-shape[0] // SIDE), -(-shape[1] // SIDE)


def _tiles(pixels: UInt8[np.ndarray, "..."]) -> UInt8[np.ndarray, "n 28 28 1"]:
    if pixels.dtype != np.uint8 or pixels.size == 0:
        raise InputError(f"expected uint8 pixels, got {pixels.dtype} of {list(pixels.shape)}")
    if not holds_images(pixels.shape):
        raise InputError(f"expected an image [h, w] or images [n, 28, 28(, 1)], got {list(pixels.shape)}")
    if pixels.ndim != 2:
        return pixels.reshape(-1, SIDE, SIDE, 1)
    height, width = pixels.shape
    whole = np.pad(pixels, ((0, -height % SIDE), (0, -width % SIDE)), mode="edge")
    return rearrange(whole, "(row h) (column w) -> (row column) h w 1", h=SIDE, w=SIDE)


def _untiled(tiles: UInt8[np.ndarray, "n 28 28 1"], shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    if len(shape) != 2:
        return tiles.reshape(shape)
    whole = rearrange(tiles, "(row column) h w 1 -> (row h) (column w)", row=_tile_grid(shape)[0])
    return np.ascontiguousarray(whole[: shape[0], : shape[1]])
