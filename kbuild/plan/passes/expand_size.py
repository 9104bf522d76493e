"""How many layers a spec expands to, at least: counted before any of them is made.

Repeats multiply and blocks are counted once for each set of arguments, so a spec of ten lines that stands for 10^18
layers is refused at once. What depends on a repeat's index is not counted; the expansion itself stops at the limit too.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from typing import Any

from kbuild.errors import Problem, Span
from kbuild.spec.model import BranchesItem, Item, LayerItem, RepeatItem, ResidualItem, Spec, UseItem
from kbuild.spec.reader import Mapping, Node, plain
from kbuild.spec.resolve import resolve

#: Items looked at before counting gives up and leaves the matter to the expansion.
_PATIENCE = 100_000
#: Blocks inside blocks counted; the expansion refuses deeper ones.
_DEEPEST = 32


class _TooLarge(Exception):
    def __init__(self, count: int, span: Span, trail: tuple[Span, ...]):
        super().__init__(count)
        self.count, self.span, self.trail = count, span, trail


class _GivenUp(Exception):
    pass


def too_large(spec: Spec, name: str, limit: int) -> Problem | None:
    """The problem of a spec that expands to more than `limit` layers, at the place that multiplies too far."""
    try:
        _Counter(spec, limit).items(spec.layers, spec.vars, (), ())
    except _TooLarge as found:
        size = f"{found.count:,}" if found.count < 10**15 else f"more than {10**15:,}"
        message = f"the spec expands to {size} layers here, beyond the limit {name} ({limit})"
        return Problem("limit", message, found.span, trail=found.trail)
    except _GivenUp:
        pass
    return None


class _Counter:
    def __init__(self, spec: Spec, limit: int):
        self.blocks = spec.blocks
        self.vars = spec.vars
        self.limit = limit
        self.seen: dict[str, int] = {}
        self.steps = 0

    def items(
        self, items: tuple[Item, ...], names: ReadOnly[str, Any], trail: tuple[Span, ...], chain: tuple[str, ...]
    ) -> int:
        total = 0
        for item in items:
            total += self.item(item, names, trail, chain)
            if total > self.limit:
                raise _TooLarge(total, item.span, trail)
        return total

    def item(self, item: Item, names: ReadOnly[str, Any], trail: tuple[Span, ...], chain: tuple[str, ...]) -> int:
        self.steps += 1
        if self.steps > _PATIENCE:
            raise _GivenUp
        if item.beside.when is not None and _value(item.beside.when, names) is not True:
            return 0
        if isinstance(item, LayerItem):
            return 1
        if isinstance(item, RepeatItem):
            times = _value(item.times, names)
            if isinstance(times, float) and times.is_integer():
                times = int(times)
            if isinstance(times, bool) or not isinstance(times, int) or times < 0:
                return 0
            inner = {name: value for name, value in names.items() if name != item.index}
            total = times * self.items(item.layers, inner, trail, chain)
            if total > self.limit:
                raise _TooLarge(total, item.times.span, trail)
            return total
        if isinstance(item, UseItem):
            return self.use(item, names, trail, chain)
        paths = item.paths if isinstance(item, BranchesItem) else _paths(item)
        return 1 + sum(self.items(path, names, trail, chain) for path in paths)

    def use(self, item: UseItem, names: ReadOnly[str, Any], trail: tuple[Span, ...], chain: tuple[str, ...]) -> int:
        block = self.blocks.get(item.block)
        if block is None or item.block in chain or len(chain) >= _DEEPEST:
            return 0
        inside = dict(self.vars)
        given = {key.value: value for key, value in item.arguments} if isinstance(item.arguments, Mapping) else {}
        for name, default in block.params.items():
            node, known = (given[name], names) if name in given else (default, inside)
            value = None if node is None else _value(node, known)
            inside.pop(name, None)
            if value is not None:
                inside[name] = value
        key = f"{item.block} {sorted(inside.items())!r}"
        if key not in self.seen:
            self.seen[key] = self.items(block.layers, inside, (item.span, *trail), (*chain, item.block))
        return self.seen[key]


def _paths(item: ResidualItem) -> tuple[tuple[Item, ...], ...]:
    return (item.layers,) if isinstance(item.shortcut, str) else (item.layers, item.shortcut)


def _value(node: Node, names: ReadOnly[str, Any]) -> Any:
    """The value of a node; None where it depends on what is not known, or is wrong."""
    problems: list[Problem] = []
    value = plain(resolve(node, names, problems))
    return None if problems else value
