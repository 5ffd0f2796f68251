"""A printed log of your own: the lines of a notebook in a text file, and the settings that it ran with."""

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxae.bounds import Amount, Checked, Count, CountOrZero, Seed, Widths
from jaxae.cli import Switch, default
from jaxae.config import AUTOENCODER, CONDITIONAL_VAE, DENSE_VAE, Activation, Initialization, Reduction
from jaxae.errors import InputError, brief
from jaxae.parity.published import REPLAYED, Costs, PublishedLog
from jaxae.storage.files import read_bytes

# No two parts that follow each other match the same characters: a line is read in the time of its length.
_LINE = re.compile(
    r"epoch\W*(?P<epoch>\d{1,9})(\s*/\s*\d+)?\W+batch\W*(?P<batch>\d{1,9})(\s*/\s*(?P<batches>\d{1,9}))?"
    r"\W+(cost|loss)(\s*[:=])?\s*(?P<cost>[-+]?(\d+(\.\d+)?|\.\d+)(e[-+]?\d{1,4})?)\s*$",
    re.IGNORECASE,
)
_LARGEST = 1 << 26
_PRESETS = {"ae": AUTOENCODER, "cvae": CONDITIONAL_VAE, "dense-vae": DENSE_VAE}
_EPOCH, _BATCH = (re.compile(rf"\b{word}\b", re.IGNORECASE) for word in ("epoch", "batch"))


@dataclass(frozen=True)
class PrintedLog(Checked):
    """The printed lines of a notebook, and its settings.

    Attributes:
        log: Text file of the lines that a notebook printed, `Epoch: 001/050 | Batch 000/469 | Cost: 0.7114`, among
            others, which are passed over.
        model: The log's network: the plain autoencoder, the convolutional VAE, or the fully connected one.
        hidden: Widths of the layers of a fully connected network from the input to the code.
        activation: Function after every layer of a fully connected network but the last.
        initialization: Layers of the autoencoder that start as N(0, 0.1): linear_1 as the post's code has it,
            linear_1 and linear_2 as it means, or none.
        num_latent: Number of dimensions of the VAE's code.
        num_classes: Number of classes of the VAE's condition; 0 is the plain VAE.
        reconstruct_condition: Whether the VAE reconstructs the planes of the class too (11 channels).
        output_leaky_relu: Whether the VAE applies leaky_relu before the sigmoid, as the post's code does.
        beta: Weight of the KL divergence.
        epochs: Number of the log's epochs to replay.
        batch_size: Number of examples per step.
        learning_rate: Adam's learning rate.
        seed: Seed of torch's stream.
        replay: DataLoader whose order is replayed: that of torch 1.x, or of today.
        reduction: Reduction of the cost: the post's (the autoencoder's mean over batch and pixels, the VAE's sum over
            both), that sum for either, or a sum over pixels and a mean over the batch.
    """

    log: Annotated[Path | None, default("no file", "PATH")] = None
    model: Literal["ae", "cvae", "dense-vae"] = "ae"
    hidden: Annotated[Widths | None, default("the post's", "[INT ...]")] = None
    activation: Annotated[Activation | None, default("the model's", "{leaky_relu,relu,tanh}")] = None
    initialization: Initialization = "post"
    num_latent: Annotated[Count | None, default("the post's", "INT")] = None
    num_classes: Annotated[CountOrZero | None, default("the post's", "INT")] = None
    reconstruct_condition: Switch = False
    output_leaky_relu: bool = True
    beta: Annotated[Amount | None, default("the post's", "FLOAT")] = None
    epochs: Annotated[Count | None, default("all that the log has", "INT")] = None
    batch_size: Annotated[Count | None, default("the post's", "INT")] = None
    learning_rate: Annotated[Amount | None, default("the post's", "FLOAT")] = None
    seed: Annotated[Seed | None, default("the post's", "INT")] = None
    replay: Literal["torch-1", "torch"] = "torch-1"
    reduction: Reduction = "post"

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self._given()
        if given and "log" not in given:
            raise InputError(f"expected --log FILE beside the settings of a log, got {', '.join(given)} alone")

    def read(self) -> PublishedLog:
        """The file's lines, with the settings they were printed under.

        Raises:
            InputError: If the file cannot be read as a log, or a setting is out of range or not the model's.
        """
        assert self.log is not None
        changes = self._given()
        epochs = changes.pop("epochs", None)
        config = _PRESETS[self.model].replace(
            **REPLAYED | {n: v for n, v in changes.items() if n not in {"log", "model"}}
        )
        costs, decimals, batches = read_lines(self.log)
        costs = tuple(line for line in costs if epochs is None or line[0] <= epochs)
        if not costs:
            raise InputError(f"expected lines of the first {epochs} epochs in {self.log}, got none")
        return PublishedLog(self.log.name, config.replace(epochs=costs[-1][0]), costs, decimals, batches)

    def _given(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}


def read_lines(path: Path) -> tuple[Costs, int, int | None]:
    """Epoch (from 1), batch and cost of each line of a printed log; decimals of the costs; batches an epoch, if told.

    Raises:
        InputError: If the file is no text, a line of a batch is malformed or out of order, or there is none.
    """
    try:
        text = read_bytes(path, _LARGEST).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"expected a text file of a log's lines, got {path}: {brief(reason, 200)}") from error
    costs: list[tuple[int, int, float]] = []
    printed, batches = [], []
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.search(line)
        if found is None:
            if _is_meant(line):
                raise InputError(
                    "expected lines like 'Epoch: 001/050 | Batch 000/469 | Cost: 0.7114', "
                    f"got {brief(line)!r} in line {number} of {path}"
                )
            continue
        epoch, batch, cost = int(found["epoch"]), int(found["batch"]), float(found["cost"])
        if costs and (epoch, batch) <= costs[-1][:2]:
            raise InputError(f"expected epochs and batches in order, got {brief(line)!r} in line {number} of {path}")
        if not 0 < cost < math.inf:
            raise InputError(f"expected a finite cost above 0, got {brief(line)!r} in line {number} of {path}")
        costs.append((epoch, batch, cost))
        mantissa, _, exponent = found["cost"].lower().partition("e")
        printed.append(len(mantissa.partition(".")[2]) - int(exponent or 0))
        batches.append(int(found["batches"] or 0))
    if not costs:
        raise InputError(
            f"expected lines like 'Epoch: 001/050 | Batch 000/469 | Cost: 0.7114' in {path}, got none of them"
        )
    # Some count epochs from 0.
    shift = 1 if costs[0][0] == 0 else 0
    return tuple((epoch + shift, batch, cost) for epoch, batch, cost in costs), max(printed), max(batches) or None


def _is_meant(line: str) -> bool:
    """Whether it looks like a line of a batch: others (elapsed time, an epoch's cost) are passed over."""
    epoch = _EPOCH.search(line)
    return epoch is not None and _BATCH.search(line, epoch.end()) is not None
