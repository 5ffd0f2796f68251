"""Files that fill the memory: one tensor at a time, each straight to where it is to lie."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import REPOSITORY
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from jaxae import port
from jaxae.storage import safetensors

# Prints the most bytes above what the process took before, on the way in and on the way out.
MEASURE = """
import gc, re, sys
from pathlib import Path
import jax, jax.numpy as jnp
from flax import nnx
from jaxae import port

def now(field):
    return 1024 * int(re.search(rf"^{field}:\\s+(\\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])

class Net(nnx.Module):
    def __init__(self, width, depth, rngs):
        self.layers = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(depth)])

source, target, width, depth, dtype = *sys.argv[1:3], *map(int, sys.argv[3:5]), sys.argv[5]
ours = nnx.eval_shape(lambda: Net(width, depth, nnx.Rngs(0)))
small = Net(2, 1, nnx.Rngs(0))  # what is imported and set up once
port.save(target, small, layout="torch")
port.load(small, target, dtype=dtype)
gc.collect()
before = now("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
port.load(ours, source, dtype=dtype)
gc.collect()
print(now("VmHWM") - before)
before = now("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
port.save(target, ours, layout="torch")
print(now("VmHWM") - before)
"""
WIDTH, DEPTH = 4000, 5


def peaks(tmp_path, dtype: str) -> tuple[float, float]:
    """Peaks of memory in units of one tensor of the result, or of the file."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((WIDTH, WIDTH)).astype(np.float32)
    tensors = {f"layers.{n}.weight": kernel for n in range(DEPTH)}
    tensors |= {f"layers.{n}.bias": kernel[0] for n in range(DEPTH)}
    source, target = tmp_path / "in.safetensors", tmp_path / "out.safetensors"
    safetensors.write(source, tensors, {"format": "pt"})
    arguments = [str(source), str(target), str(WIDTH), str(DEPTH), dtype]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    written = safetensors.read(target).arrays
    np.testing.assert_array_equal(written["layers.3.weight"], kernel.astype(jnp.dtype(dtype)))
    into, out = map(int, done.stdout.split())
    return into / kernel.nbytes, out / kernel.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_port_takes_the_result_and_about_one_tensor(tmp_path):
    into, out = peaks(tmp_path, "float32")
    assert into < DEPTH + 1.2
    assert out < 1.2


class Net(nnx.Module):
    def __init__(self, rngs):
        self.fc = nnx.Linear(8, 4, rngs=rngs)


def test_each_variable_goes_to_its_sharding(tmp_path):
    mesh = jax.make_mesh((4,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    placed = {
        "kernel": NamedSharding(mesh, PartitionSpec("model", None)),
        "bias": NamedSharding(mesh, PartitionSpec("model")),
    }
    theirs = {"fc.weight": np.arange(32.0, dtype=np.float32).reshape(4, 8), "fc.bias": np.ones(4, np.float32)}
    safetensors.write(tmp_path / "a.safetensors", theirs, {"format": "pt"})
    ours = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    for name, sharding in placed.items():
        held = getattr(ours.fc, name)
        held.set_value(jax.ShapeDtypeStruct(held.shape, held.dtype, sharding=sharding))
    port.load(ours, tmp_path / "a.safetensors", dtype="bfloat16")
    for name, sharding in placed.items():
        assert getattr(ours.fc, name)[...].sharding == sharding
        assert getattr(ours.fc, name)[...].dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours.fc.kernel[...].astype(np.float32), theirs["fc.weight"].T)
