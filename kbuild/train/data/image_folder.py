"""A folder of images, one folder for each class: `train/cat/1.png`, or `cat/1.png` where there is one set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import Problem, Span, SpecError, TrainingError
from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Raw, Split, Values, row_indices
from kbuild.train.data.images import CHANNELS, Broken, decode, each, stacked
from kbuild.train.data.memory import in_memory
from kbuild.train.data.npz import fail
from kbuild.train.data.seen import Seen, look

#: What files of images are called.
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp")

_CALLED = f"images are called {', '.join(f'*{suffix}' for suffix in SUFFIXES)}"

#: Bounds by the name the error shows: images of one folder.
LIMITS = {"images": 20_000_000}

#: Broken images that are named.
_NAMED = 20


@dataclass(frozen=True)
class ImageRows:
    """Images that are decoded when they are asked for.

    Attributes:
        files: one a row, as they were before they were read.
        shape: (rows, height, width, channels).
        color: a key of CHANNELS.
    """

    files: Seen
    shape: tuple[int, ...]
    color: str

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("uint8")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        return stacked((self._one(row) for row in row_indices(index, len(self))), self.shape[1:])

    def _one(self, row: int) -> np.ndarray:
        path = self.files.path(row)
        try:
            with open(path, "rb") as stream:
                pixels = decode(stream.read(), self.color, (self.shape[1], self.shape[2]))
                self.files.check(row, stream.fileno())
            return pixels
        except OSError as error:
            raise TrainingError(f"cannot read the image {path}: {error.strerror or error}") from error
        except Broken as error:
            raise TrainingError(f"cannot read the image {path}: {error}; it was whole before training") from error


def read_image_folder(data: DataSettings, folder: Path) -> Raw:
    """Training images and, below `test`, test images.

    Raises:
        SpecError: no folder, no classes, no image that can be read, images of different size.
    """
    root, span = _root(data, folder)
    if not (root / "train").is_dir():
        return _read(data, root, {"train": root}, span)
    parts = {"train": root / "train"}
    if (root / "test").is_dir():
        parts["test"] = root / "test"
    others = [name for name in ("validation", "val", "valid") if (root / name).is_dir()]
    path = os.path.join(data.source, others[0]) if others else ""
    notes = (f"{root / others[0]} is not read; `validation: {{image_folder: {path}}}` reads it",) if others else ()
    return _read(data, root, parts, span, notes if data.span else ())


def read_single_image_folder(data: DataSettings, folder: Path) -> Raw:
    """One set of images: `test` of a folder that has such, or else the folder itself."""
    root, span = _root(data, folder)
    return _read(data, root, {"train": root / "test" if (root / "test").is_dir() else root}, span)


def _root(data: DataSettings, folder: Path) -> tuple[Path, Span | None]:
    root, span = folder / data.source, data.place("image_folder")
    if not root.is_dir():
        what = "a file, not a folder" if root.exists() else "not there"
        fail(f"the folder of images {root} is {what}", span, "paths are relative to the spec's file")
    return root, span


def _read(
    data: DataSettings, root: Path, parts: dict[str, Path], span: Span | None, notes: tuple[str, ...] = ()
) -> Raw:
    classes = _classes(data, parts["train"], span)
    if "test" in parts:
        _check_folders(parts["test"], classes, span)
    color, size = data.options.get("color", "rgb"), data.options.get("size")
    found: dict[str, Split] = {}
    places, names = {}, {}
    problems: list[Problem] = []
    seen: list[Seen] = []
    for name, path in parts.items():
        try:
            files, labels = _files(path, classes, span)
            seen.append(look(files, path))
            if size is None:
                size = _first_size(path, files, color, span)
            shape = (*size, CHANNELS[color])
            values, kept, more = _images(path, seen[-1], shape, color, "size" in data.options, span)
        except SpecError as error:
            problems += error.problems
            continue
        files = tuple(file for file, keep in zip(files, kept, strict=True) if keep)
        found[name] = Split({"": values}, {"": labels[kept]})
        places[name] = files.__getitem__
        names.update({(name, "x", ""): "image", (name, "y", ""): "class"})
        notes = (*notes, *more)
    if problems:
        raise SpecError(problems)
    other = "grayscale" if color == "rgb" else "rgb"
    hint = f"write `color: {other}`"
    return Raw(str(root), found["train"], found.get("test"), names, {"": classes}, places, notes, hint, tuple(seen))


def _classes(data: DataSettings, path: Path, span: Span | None) -> tuple[str, ...]:
    """Names of the classes in the order of their numbers: as the spec or the training data have them, or sorted."""
    there = _folders(path)
    if not there:
        fail(f"{path} has no folders; images stand in one folder for each class", span)
    asked = next(iter(data.classes.values())) if len(data.classes) == 1 else None
    if asked is None:
        return tuple(there)
    _check_folders(path, asked, span)
    if not set(asked) & set(there):
        fail(f"{path} has a folder for none of the classes {', '.join(asked[:12])}", span)
    return asked


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _check_folders(path: Path, classes: Sequence[str], span: Span | None) -> None:
    unknown = [name for name in _folders(path) if name not in classes]
    if unknown:
        fail(f"{path / unknown[0]} is the folder of no class", span, f"classes: {', '.join(classes[:12])}")


def _files(path: Path, classes: tuple[str, ...], span: Span | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Paths of images below the folder, by class and name, and their class numbers."""
    files: list[str] = []
    labels: list[int] = []
    for number, name in enumerate(classes):
        for file in _inside(path / name):
            files.append(os.path.join(name, file))
            labels.append(number)
            if len(files) > LIMITS["images"]:
                fail(f"{path} holds more images than the limit images ({LIMITS['images']})", span)
    if not files:
        fail(f"{path} holds no images", span, _CALLED)
    return tuple(files), np.array(labels, "int64")


def _inside(path: Path) -> Iterator[str]:
    """Paths of images below a folder, sorted folder by folder."""
    for place, folders, inside in os.walk(path):
        folders.sort()
        for file in sorted(inside):
            if file.lower().endswith(SUFFIXES) and not file.startswith("."):
                yield os.path.relpath(os.path.join(place, file), path)


def image_batches(
    path: Path, data: DataSettings, shape: Sequence[int | None], size: int
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Images to predict on, one file or all below a folder: what they are called, and their pixels.

    Args:
        data: of the run, whose `color` and `size` hold.
        shape: (height, width, channels) of the model's input; None where one is free.
        size: images of a batch at the most.

    Raises:
        SpecError: there are none, or which ones cannot be read or have another size.
    """
    folder, files = (path, tuple(_inside(path))) if path.is_dir() else (path.parent, (path.name,))
    if not files:
        fail(f"{path} holds no images", None, _CALLED)
    color, resize = data.options.get("color", "rgb"), data.options.get("size")
    wanted = resize or (tuple(shape[:2]) if len(shape) == 3 and None not in shape[:2] else None)
    names: list[str] = []
    found: list[np.ndarray] = []
    wrong: dict[str, str] = {}
    for file, image in zip(files, each(lambda file: _try(folder, file, color, resize), files), strict=True):
        if isinstance(image, str):
            wrong[file] = image
            continue
        wanted = wanted or image.shape[:2]
        if image.shape[:2] != tuple(wanted):
            wrong[file] = f"the image is {image.shape[1]}×{image.shape[0]}, not {wanted[1]}×{wanted[0]}"
        elif not wrong:  # the others are read only to be told of
            names.append(file)
            found.append(image)
        if len(found) == size:
            yield names, np.stack(found)
            names, found = [], []
    if wrong:
        problems = [Problem("data", f"{folder / file}: {why}") for file, why in list(wrong.items())[:_NAMED]]
        left = len(wrong) - len(problems)
        more = [Problem("data", f"{path}: so it is with {left:,} more of {len(files):,} images")] if left else []
        raise SpecError([*problems, *more])
    if found:
        yield names, np.stack(found)


def _first_size(path: Path, files: tuple[str, ...], color: str, span: Span | None) -> tuple[int, int]:
    """Height and width of the first image that can be read."""
    for file in files:
        image = _try(path, file, color, None)
        if not isinstance(image, str):
            return int(image.shape[0]), int(image.shape[1])
    return _all_broken(path, {file: str(_try(path, file, color, None)) for file in files[:3]}, len(files), span)


def _try(path: Path, file: str, color: str, size: tuple[int, int] | None) -> np.ndarray | str:
    """The pixels, or why there are none."""
    try:
        return decode((path / file).read_bytes(), color, size)
    except Broken as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def _images(
    path: Path, seen: Seen, shape: tuple[int, ...], color: str, resize: bool, span: Span | None
) -> tuple[Values, np.ndarray, tuple[str, ...]]:
    """Every image decoded once: the pixels (in memory where they fit), which files are whole, and notes."""
    files, size = seen.names, (shape[0], shape[1])
    (resident,) = in_memory([len(files) * int(np.prod(shape))])
    pixels = np.empty((len(files), *shape), "uint8") if resident else None
    broken: dict[str, str] = {}
    other: dict[str, tuple[int, ...]] = {}
    kept = np.ones(len(files), bool)
    for row, image in enumerate(each(lambda file: _try(path, file, color, size if resize else None), files)):
        if isinstance(image, str):
            broken[files[row]] = image
            kept[row] = False
        elif image.shape != shape:
            other[files[row]] = image.shape
        elif pixels is not None:
            pixels[row] = image
    if len(broken) == len(files):
        _all_broken(path, broken, len(files), span)
    if other:
        file, (height, width, _) = next(iter(other.items()))
        fail(
            f"{path}: {len(other):,} of {len(files):,} images are not {size[1]}×{size[0]} as the first, "
            f"for example {file}, {width}×{height}",
            span,
            f"write `size: [{size[0]}, {size[1]}]`, [height, width], to resize all",
        )
    notes = (_listed(path, broken, len(files)),) if broken else ()
    if pixels is not None:
        return pixels if kept.all() else pixels[kept], kept, notes
    return ImageRows(seen.take(kept), (int(kept.sum()), *shape), color), kept, notes


def _listed(path: Path, broken: dict[str, str], count: int) -> str:
    some = "; ".join(f"{file}: {why}" for file, why in list(broken.items())[:_NAMED])
    more = f"; and {len(broken) - _NAMED:,} more" if len(broken) > _NAMED else ""
    return f"{len(broken):,} of {count:,} images in {path} cannot be read and are left out: {some}{more}"


def _all_broken(path: Path, broken: dict[str, str], count: int, span: Span | None) -> Any:
    some = "; ".join(f"{file}: {why}" for file, why in list(broken.items())[:3])
    return fail(f"{path}: none of its {count:,} images can be read ({some})", span)
