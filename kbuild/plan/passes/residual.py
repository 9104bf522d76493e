"""What the policy moves in residual networks: behind the addition, and before the split.

Behind the addition is where ResNet v1 has its last activation (He et al. 2016, arXiv:1512.03385); before the split is
where pre-activation networks have the letters that a projecting shortcut reads too (arXiv:1603.05027, section 4.1).
"""

from __future__ import annotations

from collections import defaultdict

from kbuild.plan.graph import Branch, Graph, Node, Pass


def move(graph: Graph) -> None:
    """Move trailing letters behind additions, and the letters before a branch's first W before the split."""
    wires = _Wires(graph)
    for branch in graph.branches:
        if branch.projection is not None:
            _share(wires, branch)
    for branch in graph.branches:
        if branch.merge is not None and branch.merge.cls == "Add":
            _behind(wires, branch, branch.merge)
    graph.sort()


class _Wires:
    """Who reads what, kept while letters move, so that each move costs what it touches and not the whole graph."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.readers = graph.readers()
        self.outputs = set(graph.outputs)
        self.entries: dict[Node, list[Branch]] = defaultdict(list)
        self.ends: dict[Node, list[Branch]] = defaultdict(list)
        for branch in graph.branches:
            self.entries[branch.entry].append(branch)
            if branch.end is not None:
                self.ends[branch.end].append(branch)

    def reread(self, reader: Node, old: Node, new: Node) -> None:
        """`reader` reads `new` where it read `old`."""
        reader.inputs = [new if source is old else source for source in reader.inputs]
        self.readers[old] = [node for node in self.readers[old] if node is not reader]
        self.readers[new].append(reader)

    def reread_all(self, old: Node, new: Node) -> None:
        """Everything that read `old` reads `new`, outputs and branches too."""
        for reader in list(self.readers[old]):
            self.reread(reader, old, new)
        if old in self.outputs:
            self.outputs = self.outputs - {old} | {new}
            self.graph.outputs = [new if node is old else node for node in self.graph.outputs]
        for branch in self.entries.pop(old, ()):
            branch.entry = new
            self.entries[new].append(branch)
        for branch in self.ends.pop(old, ()):
            branch.end = new
            self.ends[new].append(branch)


def _behind(wires: _Wires, branch: Branch, merge: Node) -> None:
    """A branch that ends in W-N-A: the A, and all that follows it in the order, stand behind the addition."""
    unit = branch.units[-1] if branch.units else None
    if unit is None or unit.end is None or unit.end is not branch.end or unit.settings.residual is None:
        return
    if unit.settings.residual.value != "after_merge" or "A" not in unit.after:
        return
    letters = unit.after[unit.after.index("A") :]
    moving = [unit.letters[letter] for letter in letters]
    stays, end = moving[0].inputs[0], moving[-1]
    wires.reread_all(end, stays)
    wires.reread(moving[0], stays, merge)
    for reader in list(wires.readers[merge]):
        if reader is moving[0]:
            wires.readers[merge].remove(reader)
    wires.reread_all(merge, end)
    wires.readers[merge].append(moving[0])
    unit.end = stays
    for letter in letters:
        reason = f"residual: after_merge ({unit.settings.residual.because}): behind the addition"
        unit.moved[letter] = reason
        unit.letters[letter].because += f"; {reason}"


def _share(wires: _Wires, branch: Branch) -> None:
    """Under a pre-activation order both the branch and its projecting shortcut read the letters before the first W."""
    projection, first = branch.projection, branch.units[0] if branch.units else None
    if projection is None or first is None or first.settings.order is None:
        return
    shared = list(first.before)
    where = first.settings.where_dropout
    if shared[-1:] == ["D"] and where is not None and where.value == "branch":
        # One D per branch is the branch's own.
        shared.pop()
    if not shared or "A" not in first.settings.order.value.before:
        return
    letters = [first.letters[letter] for letter in shared]
    between: list[Node] = []
    at = letters[0].inputs[0]
    while at is not branch.entry and len(at.inputs) == 1:
        between.append(at)
        at = at.inputs[0]
    if at is not branch.entry:
        # Paths have joined before the first W: its letters act on their sum, which the shortcut does not see.
        return
    if between:
        # Layers between the split and the first W read the letters now.
        follow = wires.readers[letters[-1]][0]
        wires.reread(letters[0], between[0], at)
        wires.reread(follow, letters[-1], between[0])
        wires.reread(between[-1], at, letters[-1])
    wires.reread(projection.node, branch.entry, letters[-1])
    for letter in shared:
        reason = "before the split: a projecting shortcut reads it too"
        first.moved[letter] = reason
        first.letters[letter].because += f"; {reason}"


RESIDUAL = Pass("residual", move, ("place",), "letters that a residual moves stand where the papers have them")
