"""Who competes: each way to train the same model on the same batches."""

from dataclasses import dataclass
from typing import Literal

from jaxae.errors import InputError

Framework = Literal["torch", "jax"]
CrossEntropy = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class Contender:
    """One way to take a training step.

    Attributes:
        name: Name on the command line and in JSON.
        label: Label in tables and figures.
        bce: Form of the cross-entropy.
        rewrite: Whether class planes are a bias, as jaxae has them (torch only). A plain
            autoencoder has no planes; there it is the cross-entropy from logits alone.
        compiled: Whether the step goes through torch.compile (torch only).
        feed: Source of the batches: gathered by index from preloaded arrays, or a DataLoader.
        graph: Whether steps are replayed as a CUDA graph (torch only).
        lowering: Form of the convolutions as XLA operations (JAX only).
        whole_epoch: Whether an epoch is one program; otherwise each step is a call (JAX only).
        all_devices: Whether all devices share a batch; otherwise one device has it (JAX only).
    """

    name: str
    label: str
    framework: Framework
    bce: CrossEntropy = "logits"
    rewrite: bool = False
    compiled: bool = False
    feed: Literal["index", "loader"] = "index"
    graph: bool = False
    lowering: Literal["auto", "plain"] = "auto"
    whole_epoch: bool = False
    all_devices: bool = False


CONTENDERS = (
    Contender("torch_loader", "torch, DataLoader", "torch", "probabilities", feed="loader"),
    Contender("torch_eager", "torch eager", "torch", "probabilities"),
    Contender("torch_compile", "torch.compile", "torch", "probabilities", compiled=True),
    Contender("torch_rewrite", "torch, rewritten", "torch", rewrite=True),
    Contender("torch_rewrite_compile", "torch.compile, rewritten", "torch", rewrite=True, compiled=True),
    Contender("torch_graph", "torch, CUDA graph", "torch", "probabilities", graph=True),
    Contender("torch_rewrite_graph", "torch, CUDA graph, rewritten", "torch", rewrite=True, graph=True),
    Contender("jax_plain", "JAX step by step, plain", "jax", lowering="plain"),
    Contender("jax_step", "JAX step by step", "jax"),
    Contender("jax_epoch", "JAX epoch, one device", "jax", whole_epoch=True),
    Contender("jax_epoch_all", "JAX epoch, all devices", "jax", whole_epoch=True, all_devices=True),
)
EAGER = "torch_eager"
# What a sweep takes unless told otherwise: eager torch, the strongest torch, and jaxae.
SWEEP = ("torch_eager", "torch_rewrite_compile", "jax_epoch", "jax_epoch_all")


def find(name: str) -> Contender:
    """The contender of a name.

    Raises:
        InputError: If there is none.
    """
    for contender in CONTENDERS:
        if contender.name == name:
            return contender
    raise InputError(f"expected contenders out of {', '.join(c.name for c in CONTENDERS)}, got {name!r}")


def select(names: tuple[str, ...] | None, device: Literal["cpu", "gpu"]) -> list[Contender]:
    """The contenders of these names, in the table's order; of no names, all the device can run.

    Raises:
        InputError: If a name is unknown, or stands for what the device cannot run.
    """
    wanted = [c for c in CONTENDERS if device == "gpu" or not c.graph]
    if names is None:
        return wanted
    for name in names:
        if find(name) not in wanted:
            raise InputError(f"expected contenders for a {device}, got {name}, which needs a gpu")
    return [contender for contender in wanted if contender.name in names]
