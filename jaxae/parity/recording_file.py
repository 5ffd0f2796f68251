"""Recordings on disk: whole or absent, and nothing of a stranger's file believed when read."""

from pathlib import Path

from jaxae.errors import InputError, brief
from jaxae.storage import npz
from torch_ref.recording import Recording, from_arrays


def read_recording(path: Path) -> Recording:
    """Read a recording of either framework.

    Raises:
        InputError: If it cannot be read, is damaged or no recording.
    """
    arrays = npz.read(path)
    try:
        return from_arrays(arrays)
    except ValueError as error:
        raise InputError(f"expected a recording, got {path}: {brief(error, 200)}") from error


def write_recording(path: Path, recording: Recording) -> None:
    """Write a recording, whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    npz.write(path, recording.to_arrays())
