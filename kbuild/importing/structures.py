"""Residuals and branches found again: paths that leave one layer and meet in one merge.

Inner structures come first, so that the path around one is a chain. What is no chain stays flat, with `from`.
"""

from __future__ import annotations

from typing import Any

from kbuild.importing.drafts import Drafter, Item
from kbuild.importing.network import Network
from kbuild.importing.readings import activation_text


class Structurer:
    """Replaces merges by structures; `flat` holds the names of merges that stay as they are."""

    def __init__(self, network: Network, drafter: Drafter, items: list[Item], flat: set[str]):
        self.network = network
        self.drafter = drafter
        self.flat = flat
        self.items = {item.end: item for item in items}
        self.outputs = set(network.outputs)
        self.readers: dict[str, list[Item]] = {}
        for item in items:
            for name in dict.fromkeys(item.reads):
                self.readers.setdefault(name, []).append(item)
        #: Branches that end in an activation before their addition, and additions an activation follows.
        self.kept_inside = 0
        self.moved = 0

    def run(self) -> list[Item]:
        for item in sorted(self.items.values(), key=lambda item: item.order):
            if item.merge and item.name not in self.flat:
                self._structure(item)
        return list(self.items.values())

    def _structure(self, merge: Item) -> None:
        paths = [self._chain(name) for name in merge.reads]
        starts = {start for _, start in paths}
        chains = [chain for chain, _ in paths]
        if len(starts) != 1 or not any(chains):
            return
        start = starts.pop()
        shorter = min(chains, key=_layers)
        if len(chains) == 2 and (not shorter or (merge.body[0] == "Add" and self._projects(shorter))):
            self._residual(merge, start, chains)
        else:
            self._branches(merge, start, chains)

    def _chain(self, end: str) -> tuple[list[Item], str]:
        """The items that lead to a merge alone, and what the first of them reads."""
        found: list[Item] = []
        while (item := self.items.get(end)) is not None:
            if len(self.readers.get(end, ())) != 1 or len(item.reads) != 1 or end in self.outputs:
                break
            found.append(item)
            end = item.reads[0]
        return found[::-1], end

    def _residual(self, merge: Item, start: str, chains: list[list[Item]]) -> None:
        at = 0 if _layers(chains[0]) < _layers(chains[1]) else 1
        shortcut, branch = chains[at], chains[1 - at]
        follow = self._follow(merge, branch)
        if follow is None:
            return
        body: dict[str, Any] = {"layers": [self._plain(item) for item in branch]}
        if shortcut:
            body["shortcut"] = [self._in_shortcut(item) for item in shortcut]
        elif not self._equal_shapes(start, branch[-1].end):
            body["shortcut"] = "identity"
        self._merge_key(body, merge, "Add")
        first = at == 0
        if first != (merge.body[0] not in ("Add", "Multiply", "Average", "Maximum", "Minimum")):
            body["shortcut_first"] = first
        self._replace(merge, start, [*branch, *shortcut], ("residual", body), follow)

    def _projects(self, chain: list[Item]) -> bool:
        """Whether a path is a shortcut as residual networks have them: no activation and no dropout in its units."""
        return not any(item.unit is not None and {"A", "D"} & set(item.unit.order.letters) for item in chain)

    def _branches(self, merge: Item, start: str, chains: list[list[Item]]) -> None:
        body: dict[str, Any] = {}
        self._merge_key(body, merge, "Concatenate")
        body["paths"] = [[self._plain(item) for item in chain] for chain in chains]
        self._replace(merge, start, [item for chain in chains for item in chain], ("branches", body), [])

    def _merge_key(self, body: dict[str, Any], merge: Item, default: str) -> None:
        if merge.body != (default, None):
            body["merge"] = merge.body[0] if merge.body[1] is None else {merge.body[0]: merge.body[1]}

    def _plain(self, item: Item) -> dict[str, Any]:
        return item.data()

    def _in_shortcut(self, item: Item) -> dict[str, Any]:
        """A unit of a shortcut keeps W and the N behind it; any other letters need its order written."""
        if item.unit is not None:
            after = self.drafter.ordering.found.order.after
            kept = ("W", "N") if after[:1] == ("N",) else ("W",)
            item.unit.explained = item.unit.order.letters == kept
            item.beside = self.drafter.beside(item.unit)
        return item.data()

    def _follow(self, merge: Item, branch: list[Item]) -> list[Item] | None:
        """The activation behind an addition that is the last unit's; None where a structure would move letters."""
        last = branch[-1]
        if merge.body[0] != "Add" or last.unit is None:
            return []
        unit = last.unit
        after = [letter for letter, _ in unit.after]
        if "A" in after:
            self.kept_inside += 1
            return [] if self.drafter.ordering.in_branch else None
        if self.drafter.ordering.in_branch or not unit.explained or not unit.moved:
            return []
        self.moved += 1
        found = [self.items[name] for _, name in unit.moved]
        last.body[1]["activation"] = activation_text(self.network.layers[unit.moved[0][1]])
        unit.after += unit.moved
        last.beside = self.drafter.beside(unit)
        return found

    def _equal_shapes(self, start: str, end: str) -> bool:
        shapes = self.network.layers[start].shape, self.network.layers[end].shape
        return shapes[0] is not None and shapes[0] == shapes[1] and None not in shapes[0][1:]

    def _replace(self, merge: Item, start: str, inside: list[Item], body: tuple[str, Any], follow: list[Item]) -> None:
        layers = [name for item in inside for name in item.layers]
        end = follow[-1].end if follow else merge.end
        made = Item(body, merge.name, [start], end, [*layers, *merge.layers, *(f.name for f in follow)])
        made.order = merge.order
        for item in (*inside, merge, *follow):
            del self.items[item.end]
            for name in item.reads:
                self.readers[name] = [reader for reader in self.readers[name] if reader is not item]
        self.items[end] = made
        self.readers[start].append(made)


def _layers(chain: list[Item]) -> int:
    """How many layers a path has."""
    return sum(len(item.layers) for item in chain)
