"""Where the layers of a run stand: a row below all they read, the trunk in lane 0, other paths in lanes beside it.

Edges that pass by layers of their lane go round them in a track to the right of it: the arcs of residual networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Layout:
    """Rows and lanes by position; edges as (source, reader), the source None for what enters the run.

    Attributes:
        row, lane: of each layer.
        track: of each edge that goes round: (lane, number of the track beside it).
        rows, lanes: how many there are.
        tracks: lane → how many tracks are beside it.
    """

    row: dict[int, int] = field(default_factory=dict)
    lane: dict[int, int] = field(default_factory=dict)
    edges: list[tuple[int | None, int]] = field(default_factory=list)
    track: dict[tuple[int | None, int], tuple[int, int]] = field(default_factory=dict)
    rows: int = 0
    lanes: int = 1
    tracks: dict[int, int] = field(default_factory=dict)


def arrange(inputs: Sequence[Sequence[int]], first: int, last: int) -> Layout:
    """Place the layers `first` to `last`; `inputs` are the positions that each layer of the model reads."""
    made = Layout()
    here = range(first, last + 1)
    for at in here:
        made.row[at] = 1 + max((made.row[source] for source in inputs[at] if source >= first), default=-1)
        made.edges += [(source if source >= first else None, at) for source in dict.fromkeys(inputs[at])]
    made.rows = 1 + max(made.row.values())
    _lanes(made, inputs, first, last)
    _tracks(made)
    return made


def _lanes(made: Layout, inputs: Sequence[Sequence[int]], first: int, last: int) -> None:
    readers: dict[int, list[int]] = {}
    for source, reader in made.edges:
        if source is not None:
            readers.setdefault(source, []).append(reader)
    taken: dict[int, list[tuple[int, int]]] = {}
    for at in (last, *range(last - 1, first - 1, -1)):
        if at in made.lane:
            continue
        path = [at]
        while True:
            above = [source for source in inputs[path[-1]] if source >= first and source not in made.lane]
            above = [source for source in above if source not in path]
            if not above:
                break
            path.append(max(above, key=lambda source: (made.row[source], -source)))
        top = path[-1]
        begins = [made.row[source] if source >= first else -1 for source in inputs[top]]
        start = 1 + max((row for row in begins if row < made.row[top]), default=made.row[top] - 1)
        start = min(start, made.row[top])
        end = max((made.row[reader] for reader in readers.get(at, ())), default=made.rows)
        lane = 0 if at == last else _free_lane(taken, start, end, lowest=1)
        taken.setdefault(lane, []).append((start, end))
        made.lane.update(dict.fromkeys(path, lane))
    made.lanes = 1 + max(made.lane.values())


def _free_lane(taken: dict[int, list[tuple[int, int]]], start: int, end: int, lowest: int) -> int:
    lane = lowest
    while any(start <= until and since <= end for since, until in taken.get(lane, ())):
        lane += 1
    return lane


def _tracks(made: Layout) -> None:
    at_place = {(made.lane[at], made.row[at]) for at in made.row}
    taken: dict[int, dict[int, list[tuple[int, int]]]] = {}
    for source, reader in sorted(made.edges, key=lambda edge: _length(made, edge)):
        lane, row = (0, -1) if source is None else (made.lane[source], made.row[source])
        target_lane, target = made.lane[reader], made.row[reader]
        if not _blocked(at_place, lane, row, target_lane, target):
            continue
        beside = min(lane, target_lane)
        number = _free_lane(taken.setdefault(beside, {}), row + 1, target, lowest=0)
        taken[beside].setdefault(number, []).append((row + 1, target))
        made.track[source, reader] = (beside, number)
        made.tracks[beside] = max(made.tracks.get(beside, 0), number + 1)


def _length(made: Layout, edge: tuple[int | None, int]) -> int:
    source, reader = edge
    return made.row[reader] - (-1 if source is None else made.row[source])


def _blocked(at_place: Iterable[tuple[int, int]], lane: int, row: int, target_lane: int, target: int) -> bool:
    """Whether the straight way meets a layer: down the lane that is not the trunk's side, then across."""
    if target == row + 1:
        return False
    way = target_lane if target_lane > lane else lane
    return any((way, between) in at_place for between in range(row + 1, target))
