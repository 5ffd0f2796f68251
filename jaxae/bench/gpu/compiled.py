"""A program compiled for a GPU that is only described: what it launches, moves and multiplies."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jax
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.extend.core import ClosedJaxpr
from jax.sharding import AxisType, Mesh
from jax.stages import Lowered

from jaxae.bench.gpu.description import GPUDescription
from jaxae.bench.gpu.hlo import CompiledText
from jaxae.bench.gpu.products import product_flops
from jaxae.bench.gpu.thunks import Launches, count, outermost_loop, read_thunks
from jaxae.config import ComputeDtype
from jaxae.errors import InputError
from jaxae.training.runtime import DATA_AXIS

WHEELS = "jax-cuda13-pjrt, nvidia-cuda-nvcc and nvidia-nvvm"


class Traced(Protocol):
    """A program that is traced: `jax.stages.Traced`, in what is asked of it here."""

    @property
    def jaxpr(self) -> ClosedJaxpr:
        """What it computes."""
        ...

    def lower(self) -> Lowered:
        """As it goes to the compiler."""
        ...


@dataclass(frozen=True)
class CompiledProgram:
    """What is known of a compiled program; where it has a loop, of one pass of it.

    Attributes:
        name: Name of the program.
        dtype: Dtype of its arithmetic.
        launches: What is launched.
        around: Launches before and after the loop.
        host_reads: Times that the host waits for the GPU, to read whether the loop goes on.
        moved_bytes: Bytes that kernels read and write, if nothing stayed in a cache.
        temporary_bytes: Bytes of memory beside arguments and results.
        flops: Multiplications and additions in products and convolutions.
    """

    name: str
    dtype: ComputeDtype
    launches: Launches
    around: int
    host_reads: int
    moved_bytes: int
    temporary_bytes: int
    flops: int


def described_mesh(gpu: GPUDescription) -> Mesh:
    """A mesh of one such GPU, which programs can be compiled for, not run on.

    Raises:
        InputError: If the packages that compile for a GPU are not installed.
    """
    try:
        topology = topologies.get_topology_desc("", platform="cuda", target_config=gpu.target, topology="1x1x1")
    except NotImplementedError:
        version = jax.__version__
        raise InputError(
            f"expected {WHEELS}, which compile for a GPU, got none: pip install --no-deps --target cuda "
            f"jax-cuda13-pjrt=={version} nvidia-cuda-nvcc nvidia-nvvm, and PYTHONPATH=cuda"
        ) from None
    return Mesh(topology.devices[:1], (DATA_AXIS,), axis_types=(AxisType.Auto,))


@contextmanager
def _compiled_anew() -> Iterator[None]:
    """Nothing is taken from JAX's cache of compiled programs meanwhile: the compiler would dump nothing of it."""
    kept = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
        compilation_cache.reset_cache()


def compile_program(name: str, traced: Traced, dtype: ComputeDtype = "float32") -> CompiledProgram:
    """Compile a program that was traced for a described mesh, and tell what has become of it."""
    with tempfile.TemporaryDirectory() as folder, _compiled_anew():
        options = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
        compiled = traced.lower().compile(compiler_options=options)
        # After XLA's passes over thunks, where these changed anything: they make the CUDA graphs.
        files = sorted(Path(folder).glob("*.thunk_sequence*.txt"), key=lambda path: len(path.name))
        thunks = read_thunks(files[-1].read_text())
    text = CompiledText(compiled.as_text() or "")
    memory = compiled.memory_analysis()
    assert memory is not None
    loop = outermost_loop(thunks)
    return CompiledProgram(
        name,
        dtype,
        count(thunks if loop is None else loop.inner),
        0 if loop is None else count([one for one in thunks if one is not loop]).total,
        text.host_reads,
        text.moved_bytes,
        memory.temp_size_in_bytes,
        product_flops(traced.jaxpr.jaxpr),
    )
