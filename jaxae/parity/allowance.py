"""How far two recordings may be apart: relative to the largest magnitude beside it, by dtype and device."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch_ref.recording import Recording


@dataclass(frozen=True)
class Allowance:
    """How far apart numbers may be that were computed in a certain way.

    Attributes:
        forward: Largest gap of what layers take and give, of results, costs and weights.
        gradient: Largest gap of gradients.
        moved: Largest gap of how far an optimizer moved the weights, and a pass the statistics.
        reason: Why that much.
    """

    forward: float
    gradient: float
    moved: float
    reason: str

    def __str__(self) -> str:
        each = f"{self.forward:.0e} forward, {self.gradient:.0e} gradients, {self.moved:.0e} steps"
        return f"{each}: {self.reason}"


# Measured on a CPU, on 13 convolutions with batch norms in training mode and on three blocks of attention, largest gaps
# of forward, gradients and steps: float64 5e-15, 1e-14, 4e-7; float32 1e-6, 1e-5, 6e-4; bfloat16 2e-2, 2e-1 where no
# long sum stalls.
ALLOWANCES = {
    "float64": Allowance(1e-10, 1e-9, 1e-6, "rounding leaves 1e-13; a wrong formula is far above"),
    "float32": Allowance(1e-4, 1e-3, 1e-2, "rounding of sums, in another order in each framework"),
    "TF32": Allowance(1e-2, 3e-2, 1e-1, "float32 on a GPU that may round the factors of products to 10 bits"),
    "float16": Allowance(5e-3, 2e-2, 1e-1, "10 bits in every layer's result"),
    "bfloat16": Allowance(5e-2, 3e-1, 1e-1, "7 bits in every result, of which batch norm's gradient is a difference"),
}
_COARSER = list(ALLOWANCES)


def way(recordings: Iterable[Recording]) -> str:
    """The coarsest way in which any of them computed, a name of `ALLOWANCES`."""
    return coarsest(*(_own(one) for one in recordings))


def coarsest(*ways: str) -> str:
    """The coarsest of some ways; what is none of them is left aside."""
    return max((one for one in ways if one in ALLOWANCES), key=_COARSER.index, default="float64")


def _own(one: Recording) -> str:
    rounds = one.dtype == "float32" and not one.device.startswith("cpu") and not _is_exact(one)
    return "TF32" if rounds else one.dtype


def _is_exact(one: Recording) -> bool:
    """Whether float32 products are computed in float32 on a GPU, by the settings in force."""
    if one.framework == "nnx":
        return one.precision.get("jax_default_matmul_precision") in ("highest", "float32")
    return all(value in ("highest", "False") for value in one.precision.values())
