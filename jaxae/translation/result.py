"""What is asked of a translation, and what it gives. It imports no torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flax import nnx
from numpy.typing import ArrayLike

from jaxae.storage.documents import JSONValue

if TYPE_CHECKING:
    from jaxae.translation.proof import TranslationProof


@dataclass(frozen=True)
class Asked:
    """Arguments of `jaxae.translate` beside network and inputs, as that says."""

    keywords: Mapping[str, ArrayLike]
    keep_nchw: bool
    leaf: Collection[str]
    steps: int | None
    unproven: bool


@dataclass(frozen=True)
class Translation:
    """A torch network as Flax source.

    Attributes:
        source: The source: a Python module that needs Flax and JAX alone.
        name: Its class of the whole network, made by `Name(rngs=nnx.Rngs(0))`.
        module: The network with torch's weights.
        proof: What was held together, and how far apart it is.
        names: torch's paths of layers and tensors by the source's: `names` of `jaxae.port.from_torch`.
        operations: Number of torch's functions and layers that it calls.
        notes: What a user should know.
    """

    source: str
    name: str
    module: nnx.Module
    proof: "TranslationProof"
    names: dict[str, str]
    operations: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSONValue]:
        """The proof, and what whoever ports other weights must know."""
        proof = self.proof.to_json()
        return {"class": self.name, "proof": proof, "names": {**self.names}, "notes": list(self.notes)}
