import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from jaxae.training.runtime import set_xla_flags

set_xla_flags()  # before the backend starts: what is tested is what the scripts run
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 in JAX for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the four real MNIST IDX files, or a skip that says where it was sought."""
    named = os.environ.get("JAXAE_TEST_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data" / "mnist"
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"no MNIST IDX files in {folder}; set JAXAE_TEST_DATA to a folder of them")
    return folder
