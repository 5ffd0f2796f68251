"""What `test_processes.py` has several processes do: `python together.py FOLDER ADDRESS COUNT INDEX`.

Each is a process of one training; the first writes what the test looks at.
"""

import contextlib
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from together_data import AE, DATA, REPLAY, VAE

from jaxae import InputError, StreamedDataset, fit, stream
from jaxae.ending import carry_out
from jaxae.errors import StoppedError
from jaxae.network.parameters import named_leaves
from jaxae.training.joining import joined
from jaxae.training.runtime import configure


def main(folder: Path, address: str, count: int, index: int) -> None:
    warnings.simplefilter("ignore")  # of a resume in another number of processes
    with joined(address, count, index):
        mesh = configure(device="cpu", devices=1, batch_size=15, dtype="float64")
        found: dict[str, Any] = {"devices": mesh.size}

        def train(name: str, **settings: Any) -> None:
            result = fit(settings.pop("config"), settings.pop("data", DATA), mesh=mesh, **settings)
            weights = named_leaves(jax.tree.map(np.asarray, result.state.parameters))
            np.savez(folder / f"{name}-{index}.npz", **weights)
            costs = [line["test_cost"] for line in result.metrics if "test_cost" in line]
            found[name] = {"costs": costs, "lines": len(result.metrics)}

        told: list[str] = []
        train("ae", config=AE, run_dir=folder / "ae", log_every=4, log=told.append)
        found["told"] = len(told)
        train("vae", config=VAE)
        train("replay", config=REPLAY)
        data = stream(folder / "records")
        numbers = numbers_read(data)
        train("streamed", config=REPLAY, data=data)
        found["read"] = [int(number) for number in numbers]
        train("ended", config=AE, callbacks=[lambda moment: moment.ends_epoch and moment.epoch == 2])
        train("resumed-from-one", config=AE, run_dir=folder / "half", log_every=4, resume=True)

        # The last process is asked to stop in the middle of an epoch, and all do.
        with contextlib.suppress(StoppedError):
            if index == count - 1:
                signal_at(30)
            try:
                fit(AE, DATA, mesh=mesh, run_dir=folder / "stopped", log_every=4, checkpoint_seconds=60)
            except StoppedError as error:
                found["stopped"] = [error.signal_number, str(error)]
                raise
        with contextlib.suppress(InputError):
            try:
                rate = 0.01 + 0.01 * (index == count - 1)
                fit(AE.replace(learning_rate=rate), DATA, mesh=mesh)
            except InputError as error:
                found["unlike"] = str(error)
                raise
        with contextlib.suppress(InputError):
            try:
                fit(AE, data if index == count - 1 else DATA, mesh=mesh)
            except InputError as error:
                found["unlike data"] = str(error)
                raise
        (folder / f"found-{index}.json").write_text(json.dumps(found))

        # The last one is killed; the others are to end.
        if index == count - 1:
            signal_at(30, signal.SIGKILL)
        fit(AE, DATA, mesh=mesh, run_dir=folder / "lost", log_every=4, checkpoint_seconds=0)


def numbers_read(data: StreamedDataset) -> list[int]:
    """The numbers of the records that are read of a data set from now on."""
    numbers: list[int] = []
    kind: Any = type(data.train.shards)
    read = kind.read

    def noted(self: Any, some: Any) -> Any:
        numbers.extend(some)
        return read(self, some)

    kind.read = noted
    return numbers


def signal_at(takes: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal as it takes so many chunks of steps."""
    from jaxae.training import trainer

    kind: Any = trainer.Trainer
    take, left = kind.take, [takes]

    def counted(self: Any, *args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            kind.take = take
            os.kill(os.getpid(), number)
        return take(self, *args)

    kind.take = counted


if __name__ == "__main__":
    carry_out(lambda: main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
