"""Stretches of a spec: runs of entries whose layers' names all begin with one prefix, with what is left of the names.

Two stretches of one signature differ in numbers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kbuild.importing import text
from kbuild.spec.names import NAME

Entry = dict[str, Any]

STRUCTURES = ("residual", "branches")


class Unlike(Exception):
    """Entries that make no stretch, or stretches that differ in more than numbers."""


@dataclass(frozen=True)
class Stretch:
    """Entries `start` up to `stop`, localized to `prefix`."""

    prefix: str
    start: int
    stop: int
    entries: list[Entry]
    source: Any = None


def stretches(entries: list[Entry], layers: list[list[str]]) -> Iterator[Stretch]:
    """Every longest run of entries under every prefix that begins at one of them."""
    for start in range(len(entries)):
        for prefix in _prefixes(layers[start]):
            begins = prefix + "_"
            if start and all(name.startswith(begins) for name in layers[start - 1]):
                continue
            stop = start + 1
            while stop < len(entries) and all(name.startswith(begins) for name in layers[stop]):
                stop += 1
            found = _localized(prefix, start, stop, entries)
            if found is not None:
                yield found


def _prefixes(names: list[str]) -> Iterator[str]:
    first = names[0]
    for cut in re.finditer("_", first):
        prefix = first[: cut.start()]
        if prefix and all(name.startswith(prefix + "_") for name in names):
            yield prefix


def _localized(prefix: str, start: int, stop: int, entries: list[Entry]) -> Stretch | None:
    """The stretch with local names; None where an entry inside reads something outside, or a name is none alone."""
    source = entries[start].get("from")
    if isinstance(source, list):
        return None
    try:
        local = [_local(entry, prefix + "_", first=index == 0) for index, entry in enumerate(entries[start:stop])]
    except Unlike:
        return None
    return Stretch(prefix, start, stop, local, source)


def _local(entry: Entry, begins: str, first: bool = False) -> Entry:
    def cut(name: str) -> str:
        rest = name[len(begins) :]
        if not name.startswith(begins) or not NAME.match(rest):
            raise Unlike
        return rest

    found: Entry = {}
    for key, value in entry.items():
        if key == "name":
            value = cut(value)
        elif key == "names":
            value = {letter: cut(name) for letter, name in value.items()}
        elif key == "from":
            if first:
                continue
            value = [cut(name) for name in value] if isinstance(value, list) else cut(value)
        elif key in STRUCTURES:
            value = dict(value)
            for part in ("layers", "shortcut"):
                if isinstance(value.get(part), list):
                    value[part] = [_local(item, begins) for item in value[part]]
            if "paths" in value:
                value["paths"] = [[_local(item, begins) for item in path] for path in value["paths"]]
        found[key] = value
    return found


def apart(group: list[Stretch]) -> list[Stretch]:
    """Stretches that do not overlap, the first of those that do."""
    found: list[Stretch] = []
    for stretch in sorted(group, key=lambda stretch: stretch.start):
        if not found or stretch.start >= found[-1].stop:
            found.append(stretch)
    return found


def length(entries: list[Entry]) -> int:
    """The lines that entries take."""
    return sum(1 for _ in text.write(entries))


def saving(group: list[Stretch]) -> int:
    """Lines that a block saves, a use taking one."""
    free = apart(group)
    body = length(free[0].entries)
    return len(free) * (body - 1) - body - 3 if len(free) > 1 else 0


def signature(entry: Entry) -> Any:
    """What two stretches must share; plain numbers among a layer's arguments may differ or be left out."""
    key = next(iter(entry))
    value = entry[key]
    if key in STRUCTURES:
        shape: dict[str, Any] = {}
        for part, below in value.items():
            if part == "paths":
                below = [[signature(item) for item in path] for path in below]
            elif part in ("layers", "shortcut") and isinstance(below, list):
                below = [signature(item) for item in below]
            shape[part] = below
    else:
        shape = {name: _mask(below) for name, below in sorted((value or {}).items()) if not is_number(below)}
    beside = {name: _mask(below) for name, below in sorted(entry.items()) if name != key}
    return [key, shape, beside]


def _mask(value: Any) -> Any:
    if isinstance(value, list):
        return [_mask(item) for item in value]
    if isinstance(value, dict):
        return {name: _mask(item) for name, item in value.items()}
    return "#" if is_number(value) else value


def is_number(value: Any) -> bool:
    """Whether a value may become a parameter."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
