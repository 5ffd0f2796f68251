"""The options of a port: how two networks correspond where names and shapes do not tell."""

from collections.abc import Collection, Iterable, Mapping
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
        kinds: Names of torch layers' classes by their paths, where neither a torch module nor shapes tell them:
            {"h.0.mlp.c_fc": ["Conv1D"]} for a square weight that GPT-2 keeps transposed.
    """

    names: Names
    flatten: Flatten
    unflatten: Flatten
    kinds: Mapping[str, Collection[str]]


class SourceOptions(TypedDict, total=False):
    """Which of a source's tensors are the weights: keyword arguments of everything that reads one.

    Attributes:
        weights: The state_dict that is meant, where a checkpoint holds several: its key, or keys joined by dots.
        prefix: What the names of the tensors that are meant begin with, "student"; the others are left aside.
        allow: Names of classes, functions or modules whose objects in a torch file may be left aside, beside those
            that are known to be harmless. Nothing is run either way.
    """

    weights: str | None
    prefix: str
    allow: Iterable[str]
