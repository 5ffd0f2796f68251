"""MNIST, which comes with the package: its four IDX files, each checked by its SHA-256."""

import hashlib
from pathlib import Path

from jaxae.data import idx
from jaxae.errors import InputError

FOLDER = Path(__file__).parent / "mnist_idx"
_DIGESTS = {
    "train-images-idx3-ubyte.gz": ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "train-labels-idx1-ubyte.gz": ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte.gz": ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "t10k-labels-idx1-ubyte.gz": ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}


def mnist_files() -> idx.Files:
    """The package's own four files, unchanged since they were published.

    Source: Y. LeCun, C. Cortes, "The MNIST database of handwritten digits"; CC BY-SA 3.0.

    Raises:
        InputError: If a file is missing, or its content is another.
    """
    for name, digest in _DIGESTS.items():
        try:
            content = (FOLDER / name).read_bytes()
        except OSError as error:
            raise InputError(f"expected the package's MNIST files, got {error}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise InputError(f"expected MNIST's own {name}, got other content in {FOLDER}")
    return idx.Files(*(FOLDER / name for name in _DIGESTS))
