"""Shuffled batches: torch's own DataLoader, and two replays of the stream that it consumes."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from .data import Split, to_float

Replay = Literal["torch-1", "torch"]


class ImageDataset(torch.utils.data.Dataset):
    """One example an index, as torchvision's MNIST with ToTensor: float32 [1, 28, 28], label."""

    def __init__(self, split: Split):
        self.images, self.labels = split

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_float(self.images[index]), int(self.labels[index])


class ReplayedBatches:
    """Batches in the order that `DataLoader(shuffle=True)` would draw from the global generator.

    Each pass is one epoch: it leaves the generator where the DataLoader would, and gives features
    float32 [B, 1, 28, 28] with labels int64 [B]; the last batch may be smaller.
    """

    def __init__(self, split: Split, batch_size: int, replay: Replay):
        self.images, self.labels = split
        self.batch_size = batch_size
        self.replay: Replay = replay

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = epoch_order(len(self.labels), self.replay)
        for indices in order.split(self.batch_size):
            yield to_float(self.images[indices]), self.labels[indices]


def epoch_order(size: int, replay: Replay) -> Tensor:
    """One epoch's permutation, int64 [size], drawn from torch's global generator.

    `torch-1` is the order of torch 1.x before RandomSampler had a generator of its own, `torch`
    today's. Both draw the seed of the workers first, although there are none.
    """
    torch.empty((), dtype=torch.int64).random_()
    if replay == "torch-1":
        return torch.randperm(size)
    generator = torch.Generator()
    generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
    return torch.randperm(size, generator=generator)


def shuffled_batches(split: Split, batch_size: int, replay: Replay | None = None) -> DataLoader | ReplayedBatches:
    """The post's DataLoader, example by example, or a replay of it, batch by batch."""
    if replay is None:
        return DataLoader(ImageDataset(split), batch_size=batch_size, shuffle=True)
    return ReplayedBatches(split, batch_size, replay)
