"""What a page's code speaks of without making it: a reader's own networks, pictures and files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def names_of(page: str, folder: Path) -> dict[str, Any]:
    """Names that the blocks of a page find, beside files in a folder."""
    return {"__name__": "page", **MADE[page](folder)} if page in MADE else {"__name__": "page"}


def _own_pictures(folder: Path) -> dict[str, Any]:
    from jaxae.usecases.picture import write_pixels

    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (folder / "my_pictures" / name).mkdir(parents=True)
        for number in range(6):
            write_pixels(
                folder / "my_pictures" / name / f"{number}.png", rng.integers(0, 256, (1, 32, 32, 1), np.uint8)
            )
    return {"images": rng.integers(0, 256, (12, 28, 28), np.uint8), "labels": np.arange(12) % 3}


def _lenet_and_vae(folder: Path) -> dict[str, Any]:
    import torch
    from flax import nnx

    from jaxae import port

    rngs = nnx.Rngs(0)

    class LeNet(nnx.Module):
        def __init__(self) -> None:
            self.conv1 = nnx.Conv(1, 6, (5, 5), padding=2, rngs=rngs)
            self.conv2 = nnx.Conv(6, 16, (5, 5), padding="VALID", rngs=rngs)
            self.fc1 = nnx.Linear(16 * 5 * 5, 10, rngs=rngs)

    class VAE(nnx.Module):
        def __init__(self) -> None:
            self.encoder = nnx.Conv(1, 12, (3, 3), padding=1, rngs=rngs)
            self.fc_mu = nnx.Linear(12 * 3 * 2, 4, rngs=rngs)
            self.decoder_input = nnx.Linear(4, 12 * 3 * 2, rngs=rngs)
            self.decoder = nnx.Conv(12, 1, (3, 3), padding=1, rngs=rngs)

    lenet = {
        "conv1": torch.nn.Conv2d(1, 6, 5, padding=2),
        "conv2": torch.nn.Conv2d(6, 16, 5),
        "fc1": torch.nn.Linear(16 * 5 * 5, 10),
    }
    their_vae = {
        "encoder": torch.nn.Conv2d(1, 12, 3, padding=1),
        "fc_mu": torch.nn.Linear(12 * 3 * 2, 4),
        "decoder_input": torch.nn.Linear(4, 12 * 3 * 2),
        "decoder": torch.nn.Conv2d(12, 1, 3, padding=1),
    }
    return {
        **{"nnx": nnx, "port": port, "rngs": rngs, "net": LeNet(), "lenet": torch.nn.ModuleDict(lenet)},
        **{"vae": VAE(), "their_vae": torch.nn.ModuleDict(their_vae)},
        **{"i": 3, "o_": 4, "k": 3, "s": 2, "p": 1, "o": 1, "d": 1},
    }


def _linen_and_torch(folder: Path) -> dict[str, Any]:
    import jax
    import torch
    from flax import linen, nnx, serialization

    from jaxae import port

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = linen.relu(linen.Conv(4, (3, 3))(x))
            return linen.Dense(5)(x.mean((1, 2)))

    class Torch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.Conv_0, self.Dense_0 = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.Dense_0(torch.relu(self.Conv_0(x)).mean((2, 3)))

    class Flax(nnx.Module):
        def __init__(self) -> None:
            self.Conv_0 = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
            self.Dense_0 = nnx.Linear(4, 5, rngs=nnx.Rngs(1))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.Dense_0(nnx.relu(self.Conv_0(x)).mean((1, 2)))

    x = np.zeros((2, 32, 32, 3), np.float32)
    variables = Net().init(jax.random.key(0), x)
    (folder / "linen.msgpack").write_bytes(serialization.to_bytes(variables))
    bridged = nnx.bridge.ToNNX(Net(), rngs=nnx.Rngs(0)).lazy_init(x)
    names = {"port": port, "ours": Flax(), "theirs": Torch(), "module": Flax()}
    return {**names, "variables": variables, "bridged": bridged, "Net": Net}


MADE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "docs/data.md": _own_pictures,
    "docs/coming-from-pytorch.md": _lenet_and_vae,
    "docs/porting.md": _linen_and_torch,
}
