"""The process and its devices: the mesh that shares a batch, and compiled programs on disk."""

import contextlib
import math
import os
import warnings

import jax
from jax.sharding import AxisType, Mesh

from jaxae.bounds import Workers, check, usable_cores
from jaxae.config import ComputeDtype
from jaxae.data.cache import cache_folder
from jaxae.errors import InputError
from jaxae.network.fork import check_not_forked
from jaxae.training.processes import process_count

DATA_AXIS, MODEL_AXIS = "data", "model"


def default_device_count(batch_size: int, available: int, models: int = 1) -> int:
    """Devices worth training on: each that shares a batch should have at least 32 examples of it.

    Of many models, devices take whole ones first: see `divide_by_models`.
    """
    share = max(1, batch_size // 32)
    counts = range(1, available + 1)
    return max((count for count in counts if count <= share * math.gcd(count, models)), default=1)


def configure(
    *, device: str = "auto", devices: int | None = None, batch_size: int, models: int = 1, dtype: ComputeDtype
) -> Mesh:
    """Set up JAX for a script, before its first operation, and make the mesh to train on.

    A CPU process makes as many host devices as share a batch. Compiled programs are kept on disk. Of processes that
    train together each has so many devices.

    Raises:
        InputError: If the device or so many of them are not there.
    """
    if device not in {"auto", "cpu", "gpu"}:
        raise InputError(f"expected a device of auto, cpu or gpu, got {device!r}")
    check("devices", devices, Workers | None)
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    set_xla_flags()
    wanted = devices or default_device_count(-(-batch_size // process_count()), usable_cores(), models)
    # Where the process has used JAX already, make_mesh tells whether its devices suffice.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", wanted)
    keep_compiled_programs()
    return make_mesh(device=device, devices=devices, batch_size=batch_size, models=models)


def set_xla_flags() -> None:
    """Set what XLA's CPU backend reads once, when it starts, and takes as no option of jit.

    No unrolling of loops before LLVM vectorises them: at 32 examples per device, LLVM unrolls an inner loop of 32 whole
    and then does not vectorise it (26 us per pass become 5). Names that a version of XLA does not know, it ignores.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options=xla_cpu_disable_loop_unrolling".strip()


def make_mesh(*, device: str = "auto", devices: int | None = None, batch_size: int = 1 << 30, models: int = 1) -> Mesh:
    """A one-dimensional mesh, named "data", of the devices that share a batch.

    Of processes that train together it has so many devices of each.

    Raises:
        InputError: If the device or so many of them are not there, or this process was forked from one in which JAX
            had started.
    """
    check("devices", devices, Workers | None)
    check_not_forked()
    try:
        present = jax.devices(None if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a platform named to it is one that it has
        with contextlib.suppress(RuntimeError, AssertionError):
            kinds = ", ".join(sorted({d.platform for d in jax.devices()}))
            how = "; pip install 'jaxae[cuda]' brings what an NVIDIA GPU takes" if device == "gpu" else ""
            raise InputError(f"expected a {device} that JAX can use, got only: {kinds}{how}") from None
        platforms = f"JAX_PLATFORMS is {jax.config.values['jax_platforms']!r}"
        raise InputError(
            f"expected a device that JAX can use, got none, as {platforms}: {str(error) or 'it has no such platform'}"
        ) from error
    own = [[device for device in present if device.process_index == index] for index in range(process_count())]
    least = min(map(len, own))
    count = devices or default_device_count(-(-batch_size // len(own)), least, models)
    if count > least:
        of_each = " in each process" if len(own) > 1 else ""
        raise InputError(f"expected {count} {present[0].platform} devices{of_each}, got {least} present")
    taken = [device for group in own for device in group[:count]]
    return Mesh(taken, (DATA_AXIS,), axis_types=(AxisType.Auto,))


def divide_by_models(mesh: Mesh, models: int) -> Mesh:
    """The same devices in as many equal groups as the models divide into, axes "model" and "data".

    Each group trains its own models, which takes no word from another; within a group the devices share each batch.
    """
    groups = math.gcd(mesh.size, models)
    axes = (AxisType.Auto, AxisType.Auto)
    return Mesh(mesh.devices.reshape(groups, -1), (MODEL_AXIS, DATA_AXIS), axis_types=axes)


def keep_compiled_programs() -> None:
    """Keep compiled programs in a folder on disk, for the next start to reuse.

    A folder that cannot be written is a warning, and nothing is kept.
    """
    try:
        folder = cache_folder() / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")
    except OSError as error:
        warnings.warn(f"compiled programs are not kept: {error}", stacklevel=2)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    # Otherwise the folder's own path would be part of each program's key.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
