"""The options of a port: how two networks correspond where names and shapes do not tell."""

from typing import TypedDict

from jaxae.port.flatten import Flatten
from jaxae.port.names import Names


class PortOptions(TypedDict, total=False):
    """How a torch network and an NNX module correspond: keyword arguments that every port takes.

    Attributes:
        names: Paths that differ: a mapping from Flax paths, of layers or whole branches, to torch's, or a function
            from the path that torch would have to torch's. A path with a `*` is a template of the tensors' names,
            'lstm.*_l1'.
        flatten: Order of the features of layers that take a flattened image: torch's (channels, height, width) of it
            where the NNX module flattens channels last, {"fc1": (16, 5, 5)}; "CHW" where it flattens as torch does,
            for one layer or for the whole module.
        unflatten: Order of the features of layers whose outputs are reshaped to an image, said in the same way.
    """

    names: Names
    flatten: Flatten
    unflatten: Flatten
