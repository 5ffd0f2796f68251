"""`jaxae.translate`, which imports torch at its call: whoever has none keeps the rest of the package."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from jaxae.port.trial import Inputs
from jaxae.translation.result import Asked, Translation

if TYPE_CHECKING:
    import torch


def translate(
    module: "torch.nn.Module",
    inputs: Inputs,
    *,
    keywords: Mapping[str, ArrayLike] | None = None,
    keep_nchw: bool = False,
    leaf: Collection[str] = (),
    steps: int | None = None,
    unproven: bool = False,
) -> Translation:
    """Write a torch network as Flax NNX source, and prove that both do the same.

    The network is run on the inputs, with another size of its batch and in another precision, and what it asks torch
    for is written as a person would write it: a class for each of torch's, channels last between layers. The result
    takes what the torch network takes, images with channels first.

    Args:
        module: The torch network, which is left alone.
        inputs: Its argument or a tuple of them: arrays, or shapes of arrays of floats.
        keywords: Arguments of the torch network by name, beside the inputs: the source takes them after those.
        keep_nchw: Whether images keep channels first between layers too.
        leaf: Names of classes that are left as stubs, for a person to write.
        steps: Steps of Adam to take in the proof; by default 20, of a large network 3.
        unproven: Whether to give a translation that fails its proof too.

    Raises:
        InputError: If the network does not run on the inputs; or parts of it cannot be written, and it names them all;
            or the translation fails its proof, and where first.
    """
    from jaxae.translation.translate import run

    return run(module, inputs, Asked(keywords or {}, keep_nchw, leaf, steps, unproven))
