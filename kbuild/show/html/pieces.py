"""A plan as pieces to draw one below the other: runs of layers, and folds around blocks that may be closed.

A piece begins where one value alone leads on, so that a single line joins it with the piece above.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from kbuild.plan.plan import Frame, Plan
from kbuild.show.structure import Segment, outline

#: A model of no more layers is drawn with everything unfolded, and without folds that the spec does not name.
SMALL = 60

#: Neighbouring rounds of one repeat are put into one fold where there are more.
ROUNDS = 6


@dataclass(frozen=True)
class Run:
    """Layers `first` to `last`, drawn together."""

    first: int
    last: int


@dataclass(frozen=True)
class Fold:
    """Pieces that fold into one line.

    Attributes:
        name: what the layers in it have in common: the label of the use, or the start of their names.
        kind: the block's name, "round 3", "rounds 1 to 18", or "" for a residual found in the graph.
        open: whether it is drawn unfolded at first.
    """

    name: str
    kind: str
    first: int
    last: int
    pieces: tuple[Run | Fold, ...]
    open: bool = True


Piece = Run | Fold


def pieces(plan: Plan) -> tuple[Piece, ...]:
    """The pieces of a plan, outermost."""
    cuts = _cuts(plan)
    maker = _Maker(plan, cuts, large=len(plan.layers) > SMALL)
    return maker.close(maker.pieces(outline(plan).children))


def _cuts(plan: Plan) -> set[int]:
    """Positions before which a piece may begin: nothing but the layer before it is read from there on."""
    position = {layer.name: at for at, layer in enumerate(plan.layers)}
    reach = -1  # the last reader of any layer but the one before
    readers = [-1] * len(plan.layers)
    for at, layer in enumerate(plan.layers):
        for source in layer.inputs:
            readers[position[source]] = at
    found = {0, len(plan.layers)}
    for at in range(1, len(plan.layers)):
        if at >= 2:
            reach = max(reach, readers[at - 2])
        joined = readers[at - 1] >= at and bool(plan.layers[at].inputs)
        if reach < at and joined:
            found.add(at)
    return found


class _Maker:
    def __init__(self, plan: Plan, cuts: set[int], large: bool):
        self.plan, self.cuts, self.large = plan, cuts, large

    def pieces(self, children: Iterable[int | Segment], framed: bool = False) -> tuple[Piece, ...]:
        found: list[Piece] = []
        loose: list[int] = []
        for child in self._spliced(children):
            if isinstance(child, Segment):
                found += self._runs(loose, framed)
                loose = []
                found.append(self._fold(child))
            else:
                loose.append(child)
        found += self._runs(loose, framed)
        return tuple(self._grouped(found))

    def _spliced(self, children: Iterable[int | Segment]) -> Iterable[int | Segment]:
        """Segments that cannot be pieces give way to what is in them."""
        for child in children:
            if isinstance(child, int) or (self._whole(child.first, child.last) and child.size > 1):
                yield child
            else:
                yield from self._spliced(child.children)

    def _whole(self, first: int, last: int) -> bool:
        return first in self.cuts and last + 1 in self.cuts

    def _fold(self, segment: Segment) -> Fold:
        inner = segment
        while len(inner.children) == 1 and isinstance(inner.children[0], Segment):
            inner = inner.children[0]
        frame = inner.frame or segment.frame
        assert frame is not None
        kind = frame.block or f"round {frame.round}"
        name = frame.label or common_name(self._names(segment.first, segment.last))
        children = self.pieces(inner.children, framed=True)
        if len(children) == 1 and isinstance(only := children[0], Fold):
            kind, children = f"{kind}, {only.kind}", only.pieces
        return Fold(name, kind, segment.first, segment.last, children)

    def _names(self, first: int, last: int) -> list[str]:
        return [layer.name for layer in self.plan.layers[first : last + 1]]

    def _runs(self, positions: Sequence[int], framed: bool) -> list[Piece]:
        """Layers as runs; in large models, what splits and joins outside of any block is folded too."""
        if not positions:
            return []
        if framed or not self.large:
            return [Run(positions[0], positions[-1])]
        starts = [at for at in positions if at in self.cuts]
        if not starts or starts[0] != positions[0]:
            return [Run(positions[0], positions[-1])]
        ends = [*[at - 1 for at in starts[1:]], positions[-1]]
        found: list[Piece] = []
        for first, last in zip(starts, ends, strict=True):
            before = found[-1] if found else None
            name = common_name(self._names(first, last)) if last > first else self.plan.layers[first].name
            if last > first and last + 1 in self.cuts:
                name = name or self.plan.layers[last].name
                found.append(Fold(name, "", first, last, (Run(first, last),)))
            elif isinstance(before, Fold) and "_" in before.name and name.startswith(f"{before.name}_"):
                found[-1] = Fold(before.name, "", before.first, last, (Run(before.first, last),))
            elif isinstance(before, Run):
                found[-1] = Run(before.first, last)
            else:
                found.append(Run(first, last))
        return found

    def _grouped(self, found: Sequence[Piece]) -> list[Piece]:
        """Many neighbouring rounds as one fold."""
        grouped: list[Piece] = []
        for (source, _), group in groupby(found, key=self._repeat):
            members = list(group)
            if source is None or len(members) <= ROUNDS:
                grouped.extend(members)
                continue
            first, last = members[0].first, members[-1].last
            rounds = [self._round(member) for member in members]
            name = common_name(self._names(first, last))
            grouped.append(Fold(name, f"rounds {rounds[0]} to {rounds[-1]}", first, last, tuple(members)))
        return grouped

    def _repeat(self, piece: Piece) -> tuple[object, object]:
        """The repeat that a fold is a round of, whatever stands in the round beside it."""
        repeat = next((frame for frame in reversed(self._frames(piece)) if not frame.block), None)
        return (repeat.source, None) if repeat is not None and isinstance(piece, Fold) else (None, piece.first)

    def _frames(self, piece: Piece) -> list[Frame]:
        within = [self.plan.layers[at].within for at in (piece.first, piece.last)]
        return [a for a, b in zip(*within, strict=False) if a == b]

    def _round(self, piece: Piece) -> int:
        return next(frame.round for frame in reversed(self._frames(piece)) if not frame.block) or 0

    def close(self, found: tuple[Piece, ...]) -> tuple[Piece, ...]:
        """In a large model only the first block of a kind is drawn unfolded, and what holds such blocks."""
        if not self.large:
            return found
        seen: set[tuple[object, ...]] = set()
        return tuple(self._closed(piece, seen) for piece in found)

    def _closed(self, piece: Piece, seen: set[tuple[object, ...]]) -> Piece:
        if isinstance(piece, Run):
            return piece
        key = tuple((layer.cls, layer.role) for layer in self.plan.layers[piece.first : piece.last + 1])
        new = key not in seen
        seen.add(key)
        inner = tuple(self._closed(one, seen) for one in piece.pieces)
        folds = [one for one in inner if isinstance(one, Fold)]
        stage = 0 < len(folds) <= ROUNDS + 2
        return Fold(piece.name, piece.kind, piece.first, piece.last, inner, open=new or stage)


def common_name(names: Sequence[str]) -> str:
    """The start that names share, up to where a word ends.

    >>> common_name(["conv2_block1_1_conv", "conv2_block1_add"])
    'conv2_block1'
    """
    low, high = min(names), max(names)
    same = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    start = low[:same]
    if any(len(name) > len(start) and name[len(start)] not in "_" for name in names):
        start = re.sub(r"_?[^_]*$", "", start)
    return start.rstrip("_")
