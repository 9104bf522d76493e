"""Blocks and repeats found again: stretches of a spec that differ in numbers only, and in the start of their names.

A stretch is a run of entries whose layers' names all begin with one prefix, `conv3_block2_1_conv`; in a block the rest
is the local name, and the prefix is the name of the use. Whatever is no such stretch stays as it was.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from kbuild.catalog.layers import complete
from kbuild.importing.stretches import STRUCTURES, Entry, Stretch, Unlike, apart, is_number, length, saving, signature
from kbuild.importing.stretches import stretches as all_stretches

#: More parameters than this make a block harder to read than its uses.
MOST_PARAMS = 8


#: One use of a block: the block, the stretch, and the parameters given.
_Use = tuple["_Block", Stretch, dict[str, Any]]


@dataclass(slots=True)
class _Block:
    name: str
    params: dict[str, Any]
    layers: list[Entry]
    uses: list[tuple[Stretch, dict[str, Any]]]


def with_blocks(entries: list[Entry], layers: list[list[str]]) -> tuple[list[Entry], dict[str, Entry]]:
    """The entries with stretches replaced by uses of blocks and by repeats, and the blocks by name.

    Args:
        entries: top-level entries of `layers`, every layer named.
        layers: for each entry, the full names of all layers in it.
    """
    groups: dict[str, list[Stretch]] = {}
    for stretch in all_stretches(entries, layers):
        groups.setdefault(json.dumps([signature(entry) for entry in stretch.entries]), []).append(stretch)
    taken: set[int] = set()
    blocks: list[_Block] = []
    known = {name for names in layers for name in names}
    ranked = sorted(groups.values(), key=lambda group: -saving(group))
    for group in ranked:
        free = [s for s in apart(group) if not taken & set(range(s.start, s.stop)) and s.prefix not in known]
        alone = len(free[0].entries) == 1 and next(iter(free[0].entries[0])) not in STRUCTURES if free else True
        if alone or len(free) < 2 or saving(free) <= 0:
            continue
        block = _block(free, {block.name for block in blocks})
        if block is not None:
            blocks.append(block)
            taken.update(index for stretch in free for index in range(stretch.start, stretch.stop))
    return _assembled(entries, blocks)


# -- one block of several stretches -----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Params:
    """Parameters by the values they have at each use."""

    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def expression(self, name: str, values: tuple[Any, ...]) -> Any:
        """The number itself where it is the same everywhere, or else a parameter or a multiple of one."""
        if all(value == values[0] and type(value) is type(values[0]) for value in values):
            return values[0]
        for known, vector in self.values.items():
            if vector == values:
                return f"={known}"
        for known, vector in self.values.items():
            factor = _factor(vector, values)
            if factor is not None:
                return f"={factor}*{known}"
        stem = name if name.isidentifier() and name not in ("i",) else "value"
        new = next(n for k in range(1, 1000) if (n := stem if k == 1 else f"{stem}{k}") not in self.values)
        self.values[new] = values
        return f"={new}"


def _factor(base: tuple[Any, ...], values: tuple[Any, ...]) -> int | None:
    if not all(isinstance(value, int) and value > 0 for value in (*base, *values)) or values[0] % base[0]:
        return None
    factor = values[0] // base[0]
    return factor if factor > 1 and all(b * factor == v for b, v in zip(base, values, strict=True)) else None


def _block(stretches: list[Stretch], names: set[str]) -> _Block | None:
    params = _Params()
    try:
        layers = [
            _unified(entries, params) for entries in zip(*(stretch.entries for stretch in stretches), strict=True)
        ]
    except Unlike:
        return None
    if len(params.values) > MOST_PARAMS:
        return None
    defaults: dict[str, Any] = {}
    for name, values in params.values.items():
        value, count = Counter(values).most_common(1)[0]
        defaults[name] = value if 2 * count > len(values) else "required"
    uses = []
    for index, stretch in enumerate(stretches):
        given = {name: values[index] for name, values in params.values.items() if values[index] != defaults[name]}
        uses.append((stretch, given))
    return _Block(_name(stretches, names), defaults, layers, uses)


def _name(stretches: list[Stretch], names: set[str]) -> str:
    words = [re.sub(r"\d+[a-z]?\Z", "", stretch.prefix.rstrip("_")).strip("_") for stretch in stretches]
    word = Counter(re.split(r"_\d*", word)[-1] or "block" for word in words).most_common(1)[0][0]
    word = word if re.match(r"[A-Za-z][A-Za-z0-9]*\Z", word) else "block"
    return next(n for k in range(1, len(names) + 2) if (n := word if k == 1 else f"{word}{k}") not in names)


def _unified(entries: tuple[Entry, ...], params: _Params) -> Entry:
    first = entries[0]
    found: Entry = {}
    for key in first:
        values = [entry[key] for entry in entries]
        if key in STRUCTURES:
            found[key] = _structure(values, params)
        elif key == next(iter(first)):
            found[key] = _arguments(key, values, params)
        else:
            found[key] = _same(key, values, params)
    return found


def _structure(values: list[Any], params: _Params) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, first in values[0].items():
        below = [value[part] for value in values]
        if part == "paths":
            found[part] = [
                [_unified(items, params) for items in zip(*paths, strict=True)] for paths in zip(*below, strict=True)
            ]
        elif part in ("layers", "shortcut") and isinstance(first, list):
            found[part] = [_unified(items, params) for items in zip(*below, strict=True)]
        else:
            found[part] = _same(part, below, params)
    return found


def _arguments(cls: str, values: list[Any], params: _Params) -> dict[str, Any] | None:
    if not any(values):
        return None
    defaults = complete(cls, {})
    found = {}
    for name in dict.fromkeys(name for value in values for name in value or ()):
        below = [(value or {}).get(name, _MISSING) for value in values]
        if any(item is _MISSING for item in below):
            default = defaults.get(name)
            default = default[0] if isinstance(default, list) and len(set(default)) == 1 else default
            if not is_number(default):
                raise Unlike
            below = [default if item is _MISSING else item for item in below]
        found[name] = _same(name, below, params)
    return found


_MISSING = object()


def _same(name: str, values: list[Any], params: _Params) -> Any:
    first = values[0]
    if all(is_number(value) for value in values):
        return params.expression(name, tuple(values))
    if isinstance(first, list):
        if any(len(value) != len(first) for value in values):
            raise Unlike
        return [_same(name, list(items), params) for items in zip(*values, strict=True)]
    if isinstance(first, dict):
        if any(list(value) != list(first) for value in values):
            raise Unlike
        return {key: _same(key, [value[key] for value in values], params) for key in first}
    if any(value != first or type(value) is not type(first) for value in values):
        raise Unlike
    return first


# -- the spec with blocks ---------------------------------------------------------------------------------------------


def _assembled(entries: list[Entry], blocks: list[_Block]) -> tuple[list[Entry], dict[str, Entry]]:
    starts = {stretch.start: (block, stretch, given) for block in blocks for stretch, given in block.uses}
    inside = {index for block in blocks for s, _ in block.uses for index in range(s.start, s.stop)}
    inlined = {block.name for block in blocks if _better_inline(block)}
    found: list[Entry] = []
    pending: list[_Use] = []

    def flush() -> None:
        if pending:
            found.extend(_uses(pending, inlined))
            pending.clear()

    for index, entry in enumerate(entries):
        if index in starts:
            pending.append(starts[index])
        elif index not in inside:
            flush()
            found.append(entry)
    flush()
    declared = {b.name: {"params": b.params, "layers": b.layers} for b in blocks if b.name not in inlined}
    return found, declared


def _uses(pending: list[_Use], inlined: set[str]) -> Iterator[Entry]:
    """Uses that stand one behind the other; those of a block that is inlined become repeats."""
    for run in _numbered(pending):
        block, stretch, given = run[0]
        if block.name in inlined:
            label = stretch.prefix[:-1]
            layers = [_filled(entry, {**block.params, **given}) for entry in block.layers]
            made: Entry = {"repeat": {"times": len(run), "layers": layers}, "name": label}
            yield made | ({"from": stretch.source} if stretch.source is not None else {})
            continue
        for used, stretch, given in run:
            made = {"use": used.name, "name": stretch.prefix}
            if stretch.source is not None:
                made["from"] = stretch.source
            if given:
                made["with"] = given
            yield made


def _numbered(
    uses: list[_Use],
) -> Iterator[list[_Use]]:
    """Runs of one block with equal parameters, whose names count from 1 as those of a repeat do."""
    run: list[_Use] = []
    for use in uses:
        if run and not _continues(run, use):
            yield run
            run = []
        run.append(use)
    if run:
        yield run


def _continues(run: list[_Use], use: _Use) -> bool:
    (block, first, given), (other, stretch, values) = run[0], use
    if block is not other or given != values or stretch.source is not None or not first.prefix.endswith("1"):
        return False
    return stretch.prefix == f"{first.prefix[:-1]}{len(run) + 1}"


def _better_inline(block: _Block) -> bool:
    """Whether every use is in a run of a repeat, and the repeats take fewer lines than the uses."""
    runs = list(_numbered([(block, stretch, given) for stretch, given in block.uses]))
    if any(not run[0][1].prefix.endswith("1") for run in runs):
        return False
    together = all(b[1].start == a[1].stop for run in runs for a, b in pairwise(run))
    body = length(block.layers)
    return together and len(runs) * (body + 3) < len(block.uses) + body + 3


def _filled(value: Any, names: dict[str, Any]) -> Any:
    """The block's layers with numbers instead of parameters."""
    if isinstance(value, dict):
        return {name: _filled(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, names) for item in value]
    if isinstance(value, str) and value.startswith("="):
        factor, _, name = value[1:].rpartition("*")
        return int(factor or 1) * names[name] if factor else names[name]
    return value
