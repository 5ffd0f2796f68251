"""What a training's steps are fed: the training set that is on the devices, or chunks of one that is on disk."""

from collections.abc import Generator
from contextlib import closing
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxae.data.reading import Part
from jaxae.data.stream.streamed import StreamedSplit
from jaxae.training.placement import own_places, put_plan, put_shares
from jaxae.training.plan import Plan, part_of
from jaxae.training.program import Program
from jaxae.training.state import Examples
from jaxae.training.trainer import Trainer


class Chunk(NamedTuple):
    """Steps that one call of the compiled program takes.

    Attributes:
        begin: The first of them, counted from the epoch's beginning.
        end: The one after the last.
        plan: Their plan, on the devices.
        examples: The examples that the plan counts; None for the trainer's own.
    """

    begin: int
    end: int
    plan: Plan
    examples: Examples | None


def chunks_in_memory(trainer: Trainer, plan: Plan, begin: int, length: int) -> Generator[Chunk]:
    """An epoch's chunks of so many steps, from a step on, of the training set that the trainer holds."""
    steps = len(plan.order)
    for first in range(begin, steps, length):
        yield Chunk(first, min(first + length, steps), trainer.place(plan, first, length), None)


def chunks_of_stream(program: Program, split: StreamedSplit, plan: Plan, begin: int, length: int) -> Generator[Chunk]:
    """An epoch's chunks of so many steps, from a step on, read from disk: of each batch this process's devices' shares.

    Chunks are made one at a time, while the devices take the steps of the one before. Closing the iterator ends the
    threads that read.

    Raises:
        InputError: If a record is damaged.
    """
    order = np.asarray(plan.order)
    steps, devices = len(order), program.mesh.size
    order = np.pad(order, ((0, 0), (0, -order.shape[1] % devices)), constant_values=-1)
    share, own = order.shape[1] // devices, own_places(program)
    shares = order.reshape(steps, devices, share)[begin:, own]
    with closing(split.batches(shares.reshape(steps - begin, len(own) * share))) as batches:
        for first in range(begin, steps, length):
            end = min(first + length, steps)
            images = np.zeros((len(own), length, share, *split.image_shape), np.uint8)
            labels = np.zeros((len(own), length, share), np.int32)
            for row in range(end - first):
                batch: Part = next(batches)
                images[:, row] = batch.images.reshape(len(own), share, *split.image_shape)
                labels[:, row] = batch.labels.reshape(len(own), share)
            parts = [
                (own_images.reshape(-1, *split.image_shape), own_labels.ravel())
                for own_images, own_labels in zip(images, labels, strict=True)
            ]
            part = part_of(plan, first, length)
            part = part._replace(order=_places(np.asarray(part.order), share))
            yield Chunk(first, end, put_plan(program, part), put_shares(program, parts))


def _places(order: Int[np.ndarray, "steps batch"], share: int) -> Int[np.ndarray, "steps batch"]:
    """An order whose entries are the places of examples among their own device's, step by step."""
    steps, batch = order.shape
    places = np.arange(steps, dtype=np.int32)[:, None] * share + np.arange(batch, dtype=np.int32)[None] % share
    return np.where(order < 0, np.int32(-1), places)
