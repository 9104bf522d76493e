"""What the policy moves in residual networks: behind the addition, and before the split."""

from __future__ import annotations

from kbuild.plan.graph import Branch, Graph, Node, Pass


def move(graph: Graph) -> None:
    """Move trailing letters behind additions, and the letters before a branch's first W before the split."""
    for branch in graph.branches:
        if branch.projection is not None:
            _share(graph, branch)
    for branch in graph.branches:
        if branch.merge is not None and branch.merge.cls == "Add":
            _behind(graph, branch, branch.merge)


def _behind(graph: Graph, branch: Branch, merge: Node) -> None:
    """A branch that ends in W-N-A: the A, and all that follows it in the order, stand behind the addition."""
    unit = branch.units[-1] if branch.units else None
    if unit is None or unit.end is not branch.end or unit.settings.residual is None:
        return
    if unit.settings.residual.value != "after_merge" or "A" not in unit.after:
        return
    moving = [unit.letters[letter] for letter in unit.after[unit.after.index("A") :]]
    stays = moving[0].inputs[0]
    merge.inputs = [stays if source is unit.end else source for source in merge.inputs]
    _read_instead(graph, merge, moving[-1])
    moving[0].inputs = [merge]
    unit.end = branch.end = stays
    for letter in unit.after[unit.after.index("A") :]:
        reason = f"residual: after_merge ({unit.settings.residual.because}): behind the addition"
        unit.moved[letter] = reason
        unit.letters[letter].because += f"; {reason}"
    _reorder(graph, moving, merge)


def _share(graph: Graph, branch: Branch) -> None:
    """Under a pre-activation order both the branch and its projecting shortcut read the letters before the first W."""
    projection, first = branch.projection, branch.units[0] if branch.units else None
    if projection is None or first is None or not first.before:
        return
    letters = [first.letters[letter] for letter in first.before]
    entry, start = branch.entry, letters[0].inputs[0]
    if start is not entry:
        # Other layers stand between the split and the first W: they read the letters now.
        first.node.inputs = [start]
        letters[0].inputs = [entry]
        for node in graph.nodes:
            if node not in letters and node is not branch.merge and _inside(node, branch, entry):
                node.inputs = [letters[-1] if source is entry else source for source in node.inputs]
        _reorder(graph, letters, entry)
    projection.node.inputs = [letters[-1]]
    for letter in first.before:
        reason = "before the split: a projecting shortcut reads it too"
        first.moved[letter] = reason
        first.letters[letter].because += f"; {reason}"


def _inside(node: Node, branch: Branch, entry: Node) -> bool:
    """Whether a reader of the entry leads into the branch (and not past it)."""
    if entry not in node.inputs:
        return False
    pending, seen = [branch.end], set()
    while pending:
        at = pending.pop()
        if at is None or at is entry or id(at) in seen:
            continue
        if at is node:
            return True
        seen.add(id(at))
        pending.extend(at.inputs)
    return False


def _read_instead(graph: Graph, old: Node, new: Node) -> None:
    """Everything that read `old` reads `new`."""
    for node in graph.nodes:
        node.inputs = [new if source is old else source for source in node.inputs]
    graph.outputs = [new if node is old else node for node in graph.outputs]
    for branch in graph.branches:
        branch.entry = new if branch.entry is old else branch.entry
        branch.end = new if branch.end is old else branch.end


def _reorder(graph: Graph, moving: list[Node], behind: Node) -> None:
    graph.nodes = [node for node in graph.nodes if node not in moving]
    at = graph.nodes.index(behind) + 1
    graph.nodes[at:at] = moving


RESIDUAL = Pass("residual", move, ("place",), "letters that a residual moves stand where the papers have them")
