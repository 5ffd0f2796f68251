"""How much of the parity ladder to run: its settings, which are the script's flags too."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from jaxae.bounds import Checked, Count, Workers, told
from jaxae.cli import Switch, default
from jaxae.errors import InputError
from jaxae.parity.cases import CASES

RUNGS = ("layers", "losses", "initialisation", "model", "step", "trajectory", "run")


@dataclass(frozen=True)
class LadderSettings(Checked):
    """How much of the ladder to run. This file imports neither torch nor JAX.

    Attributes:
        models: Names of the networks.
        rungs: Names of the rungs.
        steps: Number of training steps of each trajectory.
        full: Whether to replay five epochs of MNIST too: about an hour on two cores.
        data_dir: Folder of MNIST's IDX files or of prepared TFDS data.
        mutation: Name of a deliberate mistake, to see rungs fail: perturbed-weight, reshaped-kernel, swapped-axes,
            dropped-kl, averaged-kl, autodiff-bce, eps-inside-root or uncorrected-moments.
        threads: Number of threads of torch in each process.
        devices: Number of JAX's CPU devices in each process, which share each batch of a training.
    """

    models: tuple[str, ...] = tuple(CASES)
    rungs: tuple[str, ...] = RUNGS
    steps: Count = 1000
    full: Switch = False
    data_dir: Annotated[Path | None, default("the package's", "PATH")] = None
    mutation: Annotated[str | None, default("no mistake", "STR")] = None
    threads: Workers = 1
    devices: Workers = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for what, names, known in (("models", self.models, CASES), ("rungs", self.rungs, RUNGS)):
            if not names:
                raise InputError(f"expected {what} out of {'; '.join(known)}, got none")
            for name in names:
                check_name(what, name, known)


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of those known.

    Raises:
        InputError: If it is none of them.
    """
    if name not in known:
        raise InputError(f"expected {what} out of {'; '.join(known)}, got {told(name)}")
