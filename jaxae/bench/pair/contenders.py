"""Who competes on a pair of one's own: each way to run the same network."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxae.bench.contenders import Framework
from jaxae.errors import InputError

Measure = Literal["step", "gradients", "inference"]
# The training step first: what it does not do alike is not timed at all.
MEASURES: tuple[Measure, ...] = get_args(Measure)
MEASURE_NAMES: dict[str, str] = {"step": "training step", "gradients": "forward and backward", "inference": "inference"}
Mode = Literal["default", "reduce-overhead", "max-autotune"]


@dataclass(frozen=True)
class PairContender:
    """One way to run a network.

    Attributes:
        name: Name on the command line and in JSON.
        label: Label in tables and figures.
        dtype: Dtype of the network's arithmetic; weights and costs stay in float32.
        mode: Mode of torch.compile; None runs eagerly (torch only).
        fullgraph: Whether torch.compile refuses a network that it cannot take as one graph (torch only).
        scan: Whether many steps are one program; otherwise each step is a call (JAX only).
        donated: Whether a step may write into the memory of the state before (JAX only).
        measures: Kinds of steps that it takes.
    """

    name: str
    label: str
    framework: Framework
    dtype: Literal["float32", "bfloat16"] = "float32"
    mode: Mode | None = None
    fullgraph: bool = False
    scan: bool = False
    donated: bool = False
    measures: tuple[Measure, ...] = MEASURES


REFERENCE = "torch_eager"
# Whose program's work is counted, for all.
COUNTED = "jax_jit"
PAIR_CONTENDERS = (
    PairContender(REFERENCE, "torch eager", "torch"),
    PairContender("torch_compile", "torch.compile", "torch", mode="default"),
    PairContender("torch_fullgraph", "torch.compile, fullgraph", "torch", mode="default", fullgraph=True),
    PairContender("torch_reduce_overhead", "torch.compile, reduce-overhead", "torch", mode="reduce-overhead"),
    PairContender("torch_max_autotune", "torch.compile, max-autotune", "torch", mode="max-autotune"),
    PairContender("jax_jit", "JAX, jit", "jax"),
    # Only a training step has a state to give away.
    PairContender("jax_donated", "JAX, jit, donated", "jax", donated=True, measures=("step",)),
    PairContender("jax_scan", "JAX, scan over steps", "jax", scan=True, donated=True),
    PairContender("torch_bfloat16", "torch eager, bfloat16", "torch", dtype="bfloat16"),
    PairContender("torch_compile_bfloat16", "torch.compile, bfloat16", "torch", dtype="bfloat16", mode="default"),
    PairContender("jax_bfloat16", "JAX, jit, bfloat16", "jax", dtype="bfloat16"),
    PairContender("jax_scan_bfloat16", "JAX, scan, bfloat16", "jax", dtype="bfloat16", scan=True, donated=True),
)


def find_one(name: str) -> PairContender:
    """The contender of a name.

    Raises:
        InputError: If there is none.
    """
    for contender in PAIR_CONTENDERS:
        if contender.name == name:
            return contender
    known = ", ".join(contender.name for contender in PAIR_CONTENDERS)
    raise InputError(f"expected contenders of a pair out of {known}, got {name!r}")
