"""Arrays: torch tensors to NumPy and back, by copy, with the bits of every float type kept."""

from typing import TYPE_CHECKING, TypeGuard

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.typing import DTypeLike

from jaxae.errors import InputError

if TYPE_CHECKING:
    import torch

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


def is_float(dtype: object) -> bool:
    """Whether it is one of the float types that both frameworks train in."""
    return any(dtype == one for one in FLOATS)


def is_torch(value: object) -> TypeGuard["torch.Tensor"]:
    """Whether a value is a torch tensor, asked without importing torch."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def has_nan(array: np.ndarray) -> bool:
    """Whether an array of floats holds a NaN."""
    return is_float(array.dtype) and bool(np.isnan(array).any())


def dtype_name(dtype: object) -> str:
    """The name of torch's or NumPy's dtype, "float32" in either framework."""
    return str(dtype).removeprefix("torch.")


def why_refused(name: str, value: object) -> str | None:
    """Say why a value is no plain array, or None: what cannot be copied to NumPy is refused."""
    if not is_torch(value):
        plain = isinstance(value, np.ndarray | jax.Array | np.generic)
        return None if plain else f"{name!r} is no tensor but {type(value).__name__}"
    if hasattr(value, "materialize"):
        return f"{name!r} has no shape yet (a lazy layer that saw no input)"
    kind = dtype_name(value.dtype)
    layout = str(value.layout).removeprefix("torch.")
    if layout != "strided":
        return f"{name!r} is sparse ({layout}); convert it with .to_dense()"
    if value.is_quantized:
        return f"{name!r} is quantised ({kind}); convert it with .dequantize()"
    if value.is_meta:
        return f"{name!r} has no data (it is on torch's meta device)"
    if value.is_complex():
        return f"{name!r} is complex ({kind}), which no layer of the table is"
    stored = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > stored:
        return f"{name!r} claims {value.numel()} elements of {kind} over {stored} bytes"
    if kind.startswith(("float8", "float4")):
        return f"{name!r} is {kind}, which is not ported"
    return None


def from_tensor(name: str, value: object) -> np.ndarray:
    """A copy of a torch tensor, a JAX or a NumPy array, which must not be refused."""
    why = why_refused(name, value)
    if why:
        raise InputError(f"expected a dense tensor with its data, got another: {why}")
    if not is_torch(value):
        return np.array(value, order="C")
    value = value.detach().cpu().contiguous()
    if dtype_name(value.dtype) == "bfloat16":
        import torch

        return np.array(value.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.array(value.numpy())


def to_tensor(array: np.ndarray) -> "torch.Tensor":
    """A new torch tensor with an array's bits."""
    import torch

    array = np.array(array, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def cast_floats(array: np.ndarray, dtype: DTypeLike | None) -> np.ndarray:
    """An array of floats in the dtype asked for; any other array, and None, leave it as it is."""
    return array if dtype is None or not is_float(array.dtype) else array.astype(jnp.dtype(dtype))


def copy_for_flax(name: str, value: object, dtype: DTypeLike | None, problems: list[str]) -> np.ndarray | None:
    """A copy of a tensor, cast; None and a sentence among the problems where JAX cannot hold it."""
    why = why_refused(name, value)
    if why is None:
        array = cast_floats(from_tensor(name, value), dtype)
        kept = jax.dtypes.canonicalize_dtype(array.dtype)
        if kept == array.dtype:
            return array
        why = f"{name!r} is {array.dtype}, which JAX would round: enable x64, or say dtype={str(kept)!r}"
    problems.append(why)
    return None


def tie_key(value: object) -> tuple[int, int, str] | None:
    """Equal for two tensors that are one memory seen whole, None where nothing is known."""
    if not is_torch(value) or value.is_sparse or value.is_meta or value.numel() == 0:
        return None
    try:
        return value.data_ptr(), value.numel(), str(value.dtype)
    except RuntimeError:
        return None
