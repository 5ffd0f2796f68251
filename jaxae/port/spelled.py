"""Options of a port as a command line spells them."""

from collections.abc import Sequence
from pathlib import Path

from jaxae.errors import InputError
from jaxae.port.flatten import Flatten, Order, Permutation
from jaxae.port.options import PortOptions
from jaxae.storage import npz


def spelled_options(flatten: Sequence[str], unflatten: Sequence[str], names: Sequence[str]) -> PortOptions:
    """The options that words say.

    Args:
        flatten: Layers that take a flattened image with torch's order of it: fc1=16,5,5, fc2=CHW, fc1=order.npy; or CHW
            alone.
        unflatten: Layers whose outputs are reshaped to an image, in the same way.
        names: Layers of other names in torch, Flax's name first: encoder.conv=features.0

    Raises:
        InputError: If they say none.
    """
    options = PortOptions()
    if flatten:
        options["flatten"] = _orders("flatten", flatten)
    if unflatten:
        options["unflatten"] = _orders("unflatten", unflatten)
    if names:
        options["names"] = dict(_pair("names", one) for one in names)
    return options


def _orders(flag: str, given: Sequence[str]) -> Flatten:
    if list(given) == ["CHW"]:
        return "CHW"
    return {path: _order(flag, order) for path, order in (_pair(flag, one) for one in given)}


def _pair(flag: str, text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not equals:
        raise InputError(f"expected --{flag} path=value, got {text!r}")
    return left, right


def _order(flag: str, text: str) -> Order:
    if text.endswith(".npy"):
        features = npz.read_npy(Path(text))
        if features.dtype.kind not in "iu":
            raise InputError(f"expected whole numbers in {text}, got {features.dtype}")
        return Permutation(tuple(map(int, features.ravel())))
    try:
        return "CHW" if text == "CHW" else tuple(int(size) for size in text.split(","))
    except ValueError:
        raise InputError(f"expected --{flag} path=channels,height,width, got {text!r}") from None
