"""Order of axes: arrays of torch, channels first, as the Flax layer beside it has them."""

import numpy as np

from jaxae.port.calls import Call

# Those whose arrays have channels on axis 1 in torch, whatever their rank.
_CHANNELS_FIRST = ("Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "Pool", "Upsample", "Pixel")


def align(call: Call, array: np.ndarray, like: np.ndarray | None) -> np.ndarray:
    """An array that a torch layer took or gave, in Flax's layout.

    Convolutions and their kind have channels on axis 1, and last in Flax. For other layers the
    shape decides, and where it fits either way, the values do.
    """
    if array.ndim >= 3 and any(kind in call.kind for kind in _CHANNELS_FIRST):
        return np.moveaxis(array, 1, -1)
    return closest(array, like)


def closest(array: np.ndarray, like: np.ndarray | None) -> np.ndarray:
    """An array, with axis 1 moved to the end where it then has the shape of another, or is nearer to its values."""
    if like is None or array.ndim < 3:
        return array
    fitting = [one for one in (array, np.moveaxis(array, 1, -1)) if one.shape == like.shape]
    return min(fitting, key=lambda one: float(np.abs(one - like).max(initial=0)), default=array)
