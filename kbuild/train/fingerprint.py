"""What a split holds, as a short text: the same for the same values, in memory or in files, wherever and whenever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.train.data.arrays import Data, Split, Values, parts


def fingerprint(split: Split) -> str:
    """A hash of the content of a split: names, shapes, dtypes and every value, as the training takes them.

    Rows that are read when they are asked for are read once, part by part.

    >>> one, other = np.arange(6.0).reshape(3, 2), np.zeros(3)
    >>> fingerprint(Split({"a": one}, {"b": other})) == fingerprint(Split({"a": one.copy()}, {"b": other}))
    True
    >>> fingerprint(Split({"a": one}, {"b": other})) == fingerprint(Split({"a": one + 1e-9}, {"b": other}))
    False
    """
    found = _hash()
    for side, named in split.sides.items():
        for name, values in named.items():
            found.update(f"{side}/{name}:{_of(values)};".encode())
    return str(found.hexdigest())


def _hash() -> Any:
    return hashlib.blake2b(digest_size=16)


def _of(values: Values) -> str:
    found = _hash()
    found.update(f"{tuple(values.shape)} {values.dtype}".encode())
    for _, part in parts(values):
        if part.dtype.hasobject:
            found.update(repr(part.tolist()).encode())
        elif part.size:
            found.update(np.ascontiguousarray(part).reshape(-1).view("uint8"))
    return str(found.hexdigest())


class Fingerprints:
    """Those of all splits, taken in a thread while the model is built."""

    def __init__(self, data: Data):
        thread = ThreadPoolExecutor(1, "fingerprints")
        self._found = {name: thread.submit(fingerprint, split) for name, split in data.splits.items()}
        self._rows = {name: split.rows for name, split in data.splits.items()}
        thread.shutdown(wait=False)

    def to_dict(self) -> dict[str, Any]:
        """Split → {"rows", "hash"}: what `data.json` holds."""
        return {name: {"rows": self._rows[name], "hash": found.result()} for name, found in self._found.items()}

    def check(self, earlier: Mapping[str, Any]) -> None:
        """Compare with what `data.json` says.

        Raises:
            InputError: naming the splits that are not what they were.
        """
        differs = data_differences(earlier, self.to_dict())
        if differs:
            raise InputError(f"the data changed since the run began: {'; '.join(differs)}")


def data_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two `data.json`, a sentence a split.

    >>> data_differences({"train": {"rows": 3, "hash": "a"}}, {"train": {"rows": 3, "hash": "b"}})
    ['train holds other values in its 3 rows']
    """
    said = []
    for name in dict.fromkeys((*one, *other)):
        a, b = one.get(name), other.get(name)
        if a == b:
            continue
        if not isinstance(a, Mapping) or not isinstance(b, Mapping):
            said.append(f"{name} is {'new' if a is None else 'gone' if b is None else 'unreadable'}")
        elif a.get("rows") != b.get("rows"):
            said.append(f"{name} has {b.get('rows'):,} rows, not {a.get('rows'):,}")
        else:
            said.append(f"{name} holds other values in its {a.get('rows'):,} rows")
    return said
