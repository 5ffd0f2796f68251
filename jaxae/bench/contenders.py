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
        name: As on the command line and in JSON.
        label: As in the table.
        framework: Whose process it runs in.
        bce: The form of the cross-entropy.
        rewrite: torch only: class planes as a bias, as jaxae has them. A plain autoencoder has no
            planes; there it is the cross-entropy from logits alone.
        compiled: torch only: the step goes through torch.compile.
        feed: Batches are gathered by index from preloaded arrays, or come from a DataLoader.
        graph: torch only: steps are replayed as a CUDA graph.
        lowering: JAX only: how convolutions become XLA operations.
        whole_epoch: JAX only: an epoch is one program; otherwise each step is one call.
        all_devices: JAX only: a batch is shared by all devices; otherwise one device has it.
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
    Contender(
        "torch_rewrite_compile", "torch.compile, rewritten", "torch", rewrite=True, compiled=True
    ),
    Contender("torch_graph", "torch, CUDA graph", "torch", "probabilities", graph=True),
    Contender(
        "torch_rewrite_graph", "torch, CUDA graph, rewritten", "torch", rewrite=True, graph=True
    ),
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
    raise InputError(
        f"expected contenders out of {', '.join(c.name for c in CONTENDERS)}, got {name!r}"
    )


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
