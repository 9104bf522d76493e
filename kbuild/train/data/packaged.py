"""Data sets by name: `digits`, shipped with kbuild, and the ones Keras knows how to fetch."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Raw, Split
from kbuild.train.data.named import read_npz
from kbuild.train.data.npz import fail


def read_digits(data: DataSettings, folder: Path) -> Raw:
    """The shipped digits: x (rows, 8, 8) uint8 from 0 to 16, y (rows,) uint8 from 0 to 9."""
    with resources.as_file(resources.files("kbuild") / "data" / "digits.npz") as path:
        raw = read_npz(DataSettings("npz", path.name, span=data.span), Path(path).parent)
    return Raw("digits", raw.train, raw.test, raw.names)


def read_keras(data: DataSettings, folder: Path) -> Raw:
    """A Keras data set from Keras' cache, or downloaded into it.

    Raises:
        SpecError: it is neither in the cache nor can it be downloaded.
    """
    from kbuild.model.backend import import_keras

    keras: Any = import_keras()
    module = getattr(keras.datasets, data.source)
    try:
        (x, y), (x_test, y_test) = module.load_data()
    except Exception as error:  # Keras raises bare Exceptions for failed downloads
        cache = "~/.keras/datasets"
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        hint = f"fetch it once on a machine with a network and copy it to {cache}"
        fail(
            f"the Keras data set {data.source} is not in {cache} and cannot be downloaded: {reason}",
            data.place("keras"),
            hint,
        )
    names = {(split, side, ""): f"{side}_{split}" for split in ("train", "test") for side in "xy"}
    # CIFAR labels come as (rows, 1).
    flat = [labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels for labels in (y, y_test)]
    return Raw(data.source, Split({"": x}, {"": flat[0]}), Split({"": x_test}, {"": flat[1]}), names)
