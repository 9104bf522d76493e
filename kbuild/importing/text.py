"""The items of a spec → YAML as a person would lay it out: a layer on one line where it fits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from kbuild.spec.reader import core_value

#: Longest line.
WIDTH = 116

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z|=[A-Za-z0-9_.*+/ \-]+\Z")
_STRUCTURES = ("residual", "branches", "repeat")


def write(items: list[dict[str, Any]], indent: int = 0) -> Iterator[str]:
    """The lines of a list of items.

    >>> print("\\n".join(write([{"Flatten": None, "name": "f"}, {"Dense": {"units": 3}, "name": "out"}])))
    - {Flatten: {}, name: f}
    - {Dense: {units: 3}, name: out}
    """
    for item in items:
        key = next(iter(item))
        if item[key] is None and len(item) > 1:
            item = {**item, key: {}}
        yield from _item(item, " " * indent)


def _item(item: dict[str, Any], margin: str) -> Iterator[str]:
    key = next(iter(item))
    if key not in _STRUCTURES:
        line = f"{margin}- {flow(item)}"
        if len(line) <= WIDTH:
            yield line
            return
    lead = "- "
    for name, value in item.items():
        if name in _STRUCTURES:
            yield f"{margin}{lead}{name}:"
            yield from _structure(value, margin + "    ")
        else:
            yield from _wrapped(f"{margin}{lead}{name}:", value, margin + "    ")
        lead = "  "


def _wrapped(start: str, value: Any, margin: str) -> Iterator[str]:
    """One line, or as few as hold the value, broken between its keys."""
    line = f"{start} {flow(value)}".rstrip() if value is not None else start
    if len(line) <= WIDTH or not isinstance(value, dict):
        yield line
        return
    pieces = [flow({name: below})[1:-1] for name, below in value.items()]
    line = f"{start} {{{pieces[0]}"
    for piece in pieces[1:]:
        if len(line) + len(piece) + 3 > WIDTH:
            yield line + ","
            line = margin + piece
        else:
            line += ", " + piece
    yield line + "}"


def _structure(body: dict[str, Any], margin: str) -> Iterator[str]:
    for name, value in body.items():
        if name == "paths":
            yield f"{margin}paths:"
            for path in value:
                yield from _path(path, margin + "  ")
        elif name == "layers" or (name == "shortcut" and isinstance(value, list)):
            yield f"{margin}{name}:"
            yield from write(value, len(margin) + 2)
        else:
            yield f"{margin}{name}: {flow(value)}"


def _path(path: list[dict[str, Any]], margin: str) -> Iterator[str]:
    if not path:
        yield f"{margin}- []"
        return
    lines = list(write(path, len(margin) + 2))
    yield f"{margin}- {lines[0].lstrip()}"
    yield from lines[1:]


def flow(value: Any) -> str:
    """A value on one line.

    >>> flow({"L2": {"l2": 1e-05}, "x": [1, None, True, "no", "1e3", "=2*width"]})
    '{L2: {l2: 1e-05}, x: [1, null, true, no, "1e3", =2*width]}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {'' if v is None else flow(v)}" for name, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return value if _PLAIN.match(value) and _reads_back(value) else json.dumps(value)
    return repr(value)


def _reads_back(text: str) -> bool:
    return text.startswith("=") or core_value(text) == text
