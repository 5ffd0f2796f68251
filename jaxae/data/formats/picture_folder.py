"""Folders of pictures: a folder for each class, below train and test or not, as torchvision's ImageFolder has them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxae.bounds import check_fits
from jaxae.config import Reading
from jaxae.data.fitting import decode
from jaxae.data.formats.arrays import TESTS, TRAININGS, VALIDATIONS, found_of
from jaxae.data.formats.label_table import label_of, read_labels
from jaxae.data.reading import Found, Part
from jaxae.errors import InputError, brief
from jaxae.storage.files import refuse_unwritable
from jaxae.storage.pictures import open_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_SPLITS = {**dict.fromkeys(TRAININGS, "train"), **dict.fromkeys(TESTS, "test"), **dict.fromkeys(VALIDATIONS, "val")}

# Pictures of each class, by split; a split without class folders has one class, "".
Tree = Mapping[str, Mapping[str, Sequence[Path]]]


def is_hidden(name: str) -> bool:
    """Whether a file or a folder is none of the user's: hidden, or what macOS leaves in archives."""
    return name.startswith((".", "__MACOSX"))


def tree_of(folder: Path, files: Sequence[Path], labels: Mapping[str, str]) -> Tree:
    """The pictures of a folder by split and class, as the folders between them and it say, or else a table of labels.

    Those of no split, and of a split without classes where others have them, are left out.

    Raises:
        InputError: If some lie in class folders and some beside them, or a class has none to train on.
    """
    folder = _inner(folder, files)
    relative = [(path, path.relative_to(folder).parts) for path in files]
    tops = {parts[0].lower() for _, parts in relative if len(parts) > 1}
    if "train" in {_SPLITS.get(top) for top in tops}:
        placed = [(_SPLITS.get(parts[0].lower()), path, parts[1:]) for path, parts in relative]
    else:
        placed = [("train", path, parts) for path, parts in relative]
    tree: dict[str, dict[str, list[Path]]] = {}
    for split, path, parts in placed:
        if split is not None and parts:
            tree.setdefault(split, {}).setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    for split, classes in tree.items():
        if [*classes] == [""] and labels:
            tree[split] = named = {}
            for path in classes[""]:
                if (name := label_of(path, labels)) is not None:
                    named.setdefault(name, []).append(path)
    tree = {split: classes for split, classes in tree.items() if classes}
    if "train" not in tree:
        raise InputError(f"expected pictures whose names the CSV files in {folder} have, got none of {len(files)}")
    if "" not in tree["train"]:
        tree = {split: classes for split, classes in tree.items() if [*classes] != [""]}
    for classes in tree.values():
        if "" in classes and len(classes) > 1:
            raise InputError(f"expected pictures in class folders or beside each other, got both, {classes[''][0]}")
    if odd := sorted({*_names(tree)} - {*tree["train"]}):
        raise InputError(f"expected classes that there are pictures of to train on in {folder}, got {brief(odd[0])!r}")
    return tree


def read_folder(
    folder: Path, files: Sequence[Path], tables: Sequence[Path], reading: Reading, scratch: Path | None = None
) -> Found:
    """A data set of pictures; their classes are numbered as their folders' names are sorted.

    With a scratch folder, images are kept there rather than in memory.

    Raises:
        InputError: If a picture is broken, and is not to be skipped; or if they are of several sizes, and no size is
            asked for; or if folders or tables tell no classes of all.
    """
    tree = tree_of(folder, files, read_labels(tables))
    names = _names(tree)
    count = sum(len(paths) for classes in tree.values() for paths in classes.values())
    pictures = Pictures(reading, count, scratch)
    labels: dict[str, list[int]] = {}
    for split, classes in tree.items():
        for name in sorted(classes):
            for path in sorted(classes[name]):
                if pictures.add(split, path, str(path)):
                    labels.setdefault(split, []).append(names.index(name))
    parts = {split: Part(images, np.array(labels[split], np.int32)) for split, images in pictures.stacked().items()}
    notes = list(pictures.notes())
    if names == [""]:
        notes.append("there are no class folders: all labels are 0")
    if len(files) > pictures.count:
        notes.append(f"{len(files) - pictures.count} pictures of no class, or of no split, are left out")
    class_names = () if names == [""] else tuple(names)
    return found_of(parts, num_classes=len(names), class_names=class_names, notes=tuple(notes))


@dataclass
class Pictures:
    """Pictures that are read one by one, and made one shape.

    Attributes:
        reading: How they are read.
        count: Number of them.
        scratch: Folder that they are kept in meanwhile; None keeps them in memory.
    """

    reading: Reading
    count: int
    scratch: Path | None = None
    _splits: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _broken: list[str] = field(default_factory=list)
    _first: tuple[str, tuple[int, ...]] | None = None
    _sizes: set[tuple[int, ...]] = field(default_factory=set)
    _coloured: bool = False
    _grey: bool = True

    def add(self, split: str, source: Path | bytes, name: str) -> bool:
        """Read one more; whether it was not left out for being broken.

        Raises:
            InputError: If it is broken and not to be skipped, or of another size than the first.
        """
        try:
            with open_picture(source, name) as picture:
                self._sizes.add(picture.size)
                self._coloured |= picture.mode not in {"1", "L", "LA"}
                pixels = decode(picture, name, self.reading)
        except InputError as error:
            if isinstance(error.__cause__, MemoryError):
                raise
            if not self.reading.skip_broken:
                raise InputError(f"{error}; --skip-broken (skip_broken=True) leaves such out") from error
            self._broken.append(name)
            return False
        if self._first is None:
            self._first = (name, pixels.shape)
            if self.scratch is None:
                check_fits(f"{self.count} pictures", self.count * pixels.size)
        first, shape = self._first
        if pixels.shape[:2] != shape[:2]:
            sizes = [f"{width}x{height}" for height, width, _ in (pixels.shape, shape)]
            raise InputError(
                f"expected pictures of one size, got {sizes[0]} in {name} and {sizes[1]} in {first}: --size 28"
                " (size=28) makes them so"
            )
        self._grey = self._grey and _is_grey(pixels)
        if self.scratch is None:
            self._splits.setdefault(split, []).append(pixels)
        else:
            with refuse_unwritable(self.scratch, "a folder"), self._file(split).open("ab") as file:
                file.write(_in_colours(pixels).tobytes())
        return True

    def stacked(self) -> dict[str, np.ndarray]:
        """All pictures by split, in colours if some are.

        Raises:
            InputError: If there are none to train on.
        """
        splits = [*self._splits] if self.scratch is None else [path.stem for path in self.scratch.glob("*.pixels")]
        if "train" not in splits:
            raise InputError(f"expected a picture that can be read, got none of {self.count}")
        assert self._first is not None
        channels = 1 if self._grey else 3
        if self.scratch is not None:
            shape = (-1, *self._first[1][:2], 3)
            return {
                split: np.memmap(self._file(split), np.uint8, "r").reshape(shape)[..., :channels] for split in splits
            }
        return {split: np.stack([_in_colours(one)[..., :channels] for one in self._splits[split]]) for split in splits}

    def _file(self, split: str) -> Path:
        assert self.scratch is not None
        return self.scratch / f"{split}.pixels"

    def notes(self) -> tuple[str, ...]:
        """What was done to them, a clause each."""
        notes = []
        size = self.reading.size
        if size is not None and self._sizes - {(size, size)}:
            square = "cropped to their middle" if self.reading.fit == "crop" else "padded to squares"
            (width, height), *others = sorted(self._sizes)
            told = f"of {len(self._sizes)} sizes" if others else f"of {width}x{height}"
            notes.append(f"pictures {told} are {square} and resampled to {size}x{size}")
        if self.reading.grey and self._coloured:
            notes.append("colours are made grey by their luminance")
        if self._broken:
            notes.append(f"{len(self._broken)} broken pictures are left out: {brief(', '.join(self._broken), 150)}")
        return tuple(notes)


def walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, through links, each folder once, in the order of their names; none that is hidden."""
    met: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        there = Path(place).stat()
        if (there.st_dev, there.st_ino) in met:
            folders.clear()
            continue
        met.add((there.st_dev, there.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(place) / name for name in sorted(names) if not is_hidden(name))


def _is_grey(pixels: np.ndarray) -> bool:
    return pixels.shape[2] == 1 or bool((pixels == pixels[..., :1]).all())


def _in_colours(pixels: np.ndarray) -> np.ndarray:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _names(tree: Tree) -> list[str]:
    return sorted({name for classes in tree.values() for name in classes})


def _inner(folder: Path, files: Sequence[Path]) -> Path:
    """The folder itself, or the one in it that all is in, as archives are unpacked."""
    while True:
        parts = [path.relative_to(folder).parts for path in files]
        tops = {one[0] for one in parts}
        if len(tops) > 1 or min(map(len, parts)) < 3 or {top.lower() for top in tops} & {*_SPLITS}:
            return folder
        folder = folder / tops.pop()
