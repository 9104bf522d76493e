"""Encoded images (PNG, JPEG, GIF, BMP) → pixels, with TensorFlow's decoders: what Keras' image data sets use."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from kbuild.model.backend import import_keras
from kbuild.train.data.stream import THREADS

#: Bounds by the name the error shows: pixels of one image, as its header says.
LIMITS = {"image-pixels": 100_000_000}

#: `color` → channels.
CHANNELS = {"rgb": 3, "grayscale": 1}

#: First bytes of a format → its name.
_FORMATS = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"BM": "bmp"}

T = TypeVar("T")
R = TypeVar("R")


class Broken(ValueError):
    """Bytes that are no whole image; the message says why."""


def decode(content: bytes, color: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels of an encoded image (of an animation the first), resized bilinearly where `size` is another.

    Args:
        color: a key of CHANNELS.
        size: height and width; None leaves them.

    Returns:
        uint8 of shape (height, width, channels), from 0 to 255.

    Raises:
        Broken: no image of these formats, damaged, or larger than the limit.
    """
    import_keras()
    import tensorflow as tf

    form = next((name for start, name in _FORMATS.items() if content.startswith(start)), "")
    height, width = _size(content, form)
    if height * width > LIMITS["image-pixels"]:
        raise Broken(f"{width}×{height} pixels, more than the limit image-pixels ({LIMITS['image-pixels']})")
    with tf.device("CPU:0"):
        try:
            image = _converted(tf, _decoded(tf, content, form, CHANNELS[color]), color)
        except (tf.errors.OpError, ValueError) as error:
            raise Broken("it is cut off or damaged") from error
        if size is not None and tuple(image.shape[:2]) != size:
            image = tf.cast(tf.clip_by_value(tf.round(tf.image.resize(image, size)), 0, 255), "uint8")
        return np.asarray(image.numpy())


def _decoded(tf: Any, content: bytes, form: str, channels: int) -> Any:
    """With so many channels where the decoder can make them: of CMYK it makes colors alone."""
    if form not in ("png", "jpeg"):
        return tf.io.decode_image(content, 0, expand_animations=False)
    try:
        return tf.io.decode_image(content, channels, expand_animations=False)
    except tf.errors.OpError:
        if form != "jpeg" or channels != 1:
            raise
        return tf.io.decode_image(content, 3, expand_animations=False)


def _converted(tf: Any, image: Any, color: str) -> Any:
    """Other channels, where they are others: those of a transparent BMP without its transparency."""
    have, wanted = image.shape[-1], CHANNELS[color]
    image = image[..., :3] if have == 4 else image
    if have == wanted:
        return image
    if wanted == 1:
        return tf.image.rgb_to_grayscale(image)
    return tf.image.grayscale_to_rgb(image) if have == 1 else image


def _size(content: bytes, form: str) -> tuple[int, int]:
    """Height and width as the header says."""
    try:
        if form == "png":
            width, height = struct.unpack(">II", content[16:24])
        elif form == "gif":
            width, height = struct.unpack("<HH", content[6:10])
        elif form == "bmp":
            width, height = struct.unpack("<ii", content[18:26])
        elif form == "jpeg":
            width, height = _jpeg_size(content)
        else:
            raise Broken("it is empty" if not content else "it is no PNG, JPEG, GIF or BMP image")
    except struct.error as error:
        raise Broken("it is cut off or damaged") from error
    return abs(height), abs(width)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Width and height from the start-of-frame segment (ITU T.81, B.2.2)."""
    at = 2
    while True:
        marker, length = struct.unpack(">HH", content[at : at + 4])
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        if marker < 0xFF00 or length < 2:
            raise Broken("it is cut off or damaged")
        at += 2 + length


def each(function: Callable[[T], R], values: Iterable[T], ahead: int = 64 * THREADS) -> Iterator[R]:
    """The results of a function of values, in order, computed by threads, at most `ahead` of them at a time."""
    rest = iter(values)
    with ThreadPoolExecutor(THREADS, "kbuild-data") as pool:
        while block := list(islice(rest, ahead)):
            yield from pool.map(function, block)


def stacked(images: Iterable[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Images of one shape, one a row; (0, *shape) for none."""
    rows: list[Any] = list(images)
    return np.stack(rows) if rows else np.empty((0, *shape), "uint8")
