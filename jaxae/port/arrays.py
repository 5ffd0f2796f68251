"""Arrays: torch tensors to NumPy and back, by copy, with the bits of every float type kept."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.typing import DTypeLike

from jaxae.errors import InputError
from jaxae.port.pickled.inert import Inert, Unread
from jaxae.storage.safetensors import StoredTensor

if TYPE_CHECKING:
    import torch

_PIECE = 1 << 20
FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)


def is_float(dtype: object) -> bool:
    """Whether it is one of the float types that both frameworks train in."""
    return any(dtype == one for one in FLOATS)


def is_torch(value: object) -> TypeGuard["torch.Tensor"]:
    """Whether a value is a torch tensor, asked without importing torch."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def has_nan(array: np.ndarray) -> bool:
    """Whether an array of floats holds a NaN."""
    if not is_float(array.dtype):
        return False
    flat = array.reshape(-1)
    # Piece by piece: whether each element is one takes memory too.
    return any(np.isnan(flat[begin : begin + _PIECE]).any() for begin in range(0, flat.size, _PIECE))


def dtype_name(dtype: object) -> str:
    """The name of torch's or NumPy's dtype, "float32" in either framework."""
    return str(dtype).removeprefix("torch.")


def why_refused(name: str, value: object) -> str | None:
    """Say why a value is no plain array, or None: what cannot be copied to NumPy is refused."""
    if isinstance(value, Unread):
        return f"{name!r} {value.why}"
    if not is_torch(value):
        plain = isinstance(value, np.ndarray | jax.Array | np.generic | StoredTensor)
        kind = value.name if isinstance(value, Inert) else type(value).__name__
        return None if plain else f"{name!r} is no tensor but {kind}"
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
    if math.prod(length or 1 for length in value.shape) >= 1 << 60:
        return f"{name!r} has axes beyond what NumPy counts, and one of none"
    if kind.startswith(("float8", "float4")):
        return f"{name!r} is {kind}, which is not ported"
    return None


def from_tensor(name: str, value: object) -> np.ndarray:
    """A copy of a torch tensor, a JAX or a NumPy array, which must not be refused."""
    why = why_refused(name, value)
    if why:
        raise InputError(f"expected a dense tensor with its data, got another: {why}")
    if isinstance(value, StoredTensor):
        return value.read()
    if not is_torch(value):
        return np.array(value, order="C")
    value = value.detach().cpu().resolve_neg().contiguous()
    if dtype_name(value.dtype) == "bfloat16":
        import torch

        return np.array(value.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.array(value.numpy())


def to_tensor(array: np.ndarray) -> "torch.Tensor":
    """A torch tensor with an array's bits, over the array's memory where it is dense."""
    import torch

    array = np.require(array, requirements=["C", "W", "O"])
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _numpy_dtype(value: Any) -> np.dtype:
    """NumPy's dtype of a torch tensor or an array, which need not be read."""
    return np.dtype(jnp.dtype(dtype_name(value.dtype)))


def cast_dtype(own: np.dtype, dtype: DTypeLike | None) -> np.dtype:
    """The dtype asked for in place of one of floats; any other one, and None, leave it as it is."""
    return own if dtype is None or not is_float(own) else np.dtype(jnp.dtype(dtype))


def cast_floats(array: np.ndarray, dtype: DTypeLike | None) -> np.ndarray:
    """An array of floats in the dtype asked for; any other array, and None, leave it as it is."""
    return array.astype(cast_dtype(array.dtype, dtype), copy=False)


class FlaxCopies(Mapping[str, np.ndarray]):
    """Copies of tensors for Flax, each made when it is asked for, so that no two need be in memory.

    Args:
        tensors: Tensors by name.
        names: Names of those that are wanted.
        dtype: Dtype that floats are cast to; None leaves them.
        problems: List that gets a sentence of each that JAX cannot hold; those are left out.

    Attributes:
        dtypes: Dtypes of the copies.
    """

    def __init__(
        self, tensors: Mapping[str, object], names: Iterable[str], dtype: DTypeLike | None, problems: list[str]
    ):
        self._tensors, self._dtype = tensors, dtype
        self.dtypes: dict[str, np.dtype] = {}
        for name in names:
            why = why_refused(name, tensors[name])
            if why is None:
                cast = cast_dtype(_numpy_dtype(tensors[name]), dtype)
                kept = jax.dtypes.canonicalize_dtype(cast)
                if kept == cast:
                    self.dtypes[name] = cast
                    continue
                why = f"{name!r} is {cast}, which JAX would round: enable x64, or say dtype={str(kept)!r}"
            problems.append(why)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.dtypes:
            raise KeyError(name)
        return cast_floats(from_tensor(name, self._tensors[name]), self._dtype)

    def __contains__(self, name: object) -> bool:
        return name in self.dtypes

    def __iter__(self) -> Iterator[str]:
        return iter(self.dtypes)

    def __len__(self) -> int:
        return len(self.dtypes)


@dataclass(frozen=True)
class Deferred:
    """An array that is made when it is read, and not kept.

    Attributes:
        shape: Shape of the array.
        dtype: Dtype of the array.
        make: Function that makes it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    make: Callable[[], np.ndarray] = field(repr=False)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        made = self.make()
        return made if dtype is None else made.astype(dtype, copy=False)


def copy_for_flax(name: str, value: object, dtype: DTypeLike | None, problems: list[str]) -> np.ndarray | None:
    """A copy of a tensor, cast; None and a sentence among the problems where JAX cannot hold it."""
    return FlaxCopies({name: value}, [name], dtype, problems).get(name)


def tie_key(value: object) -> tuple[int, int, str] | None:
    """Equal for two tensors that are one memory seen whole, None where nothing is known."""
    if isinstance(value, np.ndarray) and value.size and value.base is not None:  # as a file's reader makes them
        return value.__array_interface__["data"][0], value.size, str(value.dtype)
    if not is_torch(value) or value.is_sparse or value.is_meta or value.numel() == 0:
        return None
    try:
        return value.data_ptr(), value.numel(), str(value.dtype)
    except RuntimeError:
        return None
