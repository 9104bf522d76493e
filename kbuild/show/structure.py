"""A plan's layers as a tree: blocks and rounds of repeats around the layers that were expanded in them.

Layers keep their order; what a policy moved out of a block stands outside it here too. A segment is worth a function,
a loop or a fold only where it has one way in and one way out (`ends`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from kbuild.plan.plan import Frame, Plan


@dataclass(frozen=True)
class Segment:
    """Layers `first` to `last` (positions in the plan), all inside `frame`; None for the whole model.

    `children` are positions and segments, in order.
    """

    frame: Frame | None
    first: int
    last: int
    children: tuple[int | Segment, ...]

    @property
    def size(self) -> int:
        """Number of layers."""
        return self.last - self.first + 1

    def segments(self) -> Iterator[Segment]:
        """Every segment in it and itself, the inner ones first."""
        for child in self.children:
            if isinstance(child, Segment):
                yield from child.segments()
        yield self


def outline(plan: Plan) -> Segment:
    """The tree of a plan."""
    return _segment(plan, None, range(len(plan.layers)), 0)


def _segment(plan: Plan, frame: Frame | None, positions: Sequence[int], depth: int) -> Segment:
    children: list[int | Segment] = []
    for inner, group in groupby(positions, key=lambda at: plan.layers[at].within[: depth + 1][depth:]):
        if inner:
            children.append(_segment(plan, inner[0], list(group), depth + 1))
        else:
            children.extend(group)
    first, last = (positions[0], positions[-1]) if positions else (0, -1)
    return Segment(frame, first, last, tuple(children))


class Wiring:
    """Who reads whom, by position."""

    def __init__(self, plan: Plan):
        position = {layer.name: at for at, layer in enumerate(plan.layers)}
        self.inputs = [tuple(position[name] for name in layer.inputs) for layer in plan.layers]
        self.outputs = tuple(position[name] for name in plan.outputs)
        self.last_reader = [-1] * len(plan.layers)
        for at, sources in enumerate(self.inputs):
            for source in sources:
                self.last_reader[source] = at
        for at in self.outputs:
            self.last_reader[at] = len(plan.layers)

    def entry(self, first: int, last: int) -> int | None:
        """The one layer outside that the layers `first` to `last` read, where these have one way in and one way out.

        The way out is `last`. None where there is no such layer or more than one, or where a layer before `last` is
        read outside.
        """
        entries = {source for at in range(first, last + 1) for source in self.inputs[at] if source < first}
        if len(entries) != 1 or any(self.last_reader[at] > last for at in range(first, last)):
            return None
        if any(not self.inputs[at] for at in range(first, last + 1)):
            return None
        return entries.pop()
