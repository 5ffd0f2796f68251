"""Arrays: torch tensors to NumPy and back, by copy, with the bits of every float type kept."""

from typing import Any

import jax
import ml_dtypes
import numpy as np

from jaxae.errors import InputError

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


def is_float(dtype: Any) -> bool:
    """Whether it is one of the float types that both frameworks train in."""
    return any(dtype == one for one in FLOATS)


def is_torch(value: Any) -> bool:
    """Whether a value is a torch tensor, asked without importing torch."""
    return any(
        base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__
    )


def from_tensor(name: str, value: Any) -> np.ndarray:
    """A copy of a torch tensor, a JAX or a NumPy array.

    Raises:
        InputError: If it holds no plain array: sparse, quantised, complex, without data, or one
            that claims more elements than it stores.
    """
    if not is_torch(value):
        if not isinstance(value, np.ndarray | jax.Array | np.generic):
            raise InputError(f"{name!r} is no tensor but {type(value).__name__}")
        return np.array(value, order="C")
    import torch

    kind = str(value.dtype).removeprefix("torch.")
    if hasattr(value, "materialize"):
        raise InputError(f"{name!r} has no shape yet (a lazy layer that saw no input)")
    if value.layout != torch.strided:
        layout = str(value.layout).removeprefix("torch.")
        raise InputError(f"{name!r} is sparse ({layout}); convert it with .to_dense()")
    if value.is_quantized:
        raise InputError(f"{name!r} is quantised ({kind}); convert it with .dequantize()")
    if value.is_meta:
        raise InputError(f"{name!r} has no data (it is on torch's meta device)")
    if value.is_complex():
        raise InputError(f"{name!r} is complex ({kind}), which no layer of the table is")
    stored = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > stored:
        raise InputError(f"{name!r} claims {value.numel()} elements of {kind} over {stored} bytes")
    value = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        return np.array(value.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    if kind.startswith("float8") or kind.startswith("float4"):
        raise InputError(f"{name!r} is {kind}, which is not ported")
    return np.array(value.numpy())


def to_tensor(array: np.ndarray) -> Any:
    """A new torch tensor with an array's bits."""
    import torch

    array = np.array(array, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def tie_key(value: Any) -> tuple | None:
    """Equal for two tensors that are one memory seen whole, None where nothing is known."""
    if not is_torch(value) or value.is_sparse or value.is_meta or value.numel() == 0:
        return None
    try:
        return value.data_ptr(), value.numel(), str(value.dtype)
    except RuntimeError:
        return None
