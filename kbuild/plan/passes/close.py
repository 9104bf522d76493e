"""What ends a pre-activation trunk: the N and A from before W, in front of the pooling that leads to the head.

He et al. 2016 (arXiv:1603.05027) require it: without it the trunk reaches the head unnormalized and linear.
"""

from __future__ import annotations

from kbuild.plan.graph import Branch, Graph, Node, Pass, Scope, Unit, upstream
from kbuild.plan.passes.place import letter_node

#: Layers between the end of the trunk and the head that the closing stands in front of.
_LEADS_TO_HEAD = {"P", "reshape"}
#: Layers that the walk from the head back to the end of the trunk passes.
_CHAIN = {"P", "reshape", "D", "N", "A", "padding", "resize"}


def close(graph: Graph) -> None:
    """Put the N and A from before each head's W at the end of the trunk, and the D of `branch-dropout` with them."""
    closed: dict[Node, Node] = {}
    dropped: set[Node] = set()
    for unit in graph.units:
        if unit.role == "head" and not unit.first:
            _close(graph, unit, closed)
            _head_dropout(graph, unit, dropped)


def _close(graph: Graph, head: Unit, closed: dict[Node, Node]) -> None:
    order, closing = head.settings.order, head.settings.closing
    if order is None or closing is None or closing.value == "none" or "A" not in order.value.before:
        return
    letters = [letter for letter in order.value.before if letter in "NA"]
    if closing.value != "auto":
        letters = list(closing.value)
    chain, trunk = _chain(head.node)
    why = f"closing: {'auto' if closing.value == 'auto' else '-'.join(letters)}"
    by_hand = [node for node in chain if node.unit is None and node.role in ("N", "A")]
    if by_hand or (trunk.unit is None and trunk.role in ("N", "A")):
        for letter in letters:
            head.dropped[letter] = f"{why}; the spec closes the trunk by hand"
        return
    last = _last_unit(graph, chain[-1] if chain else head.node)
    source, reader = _place_of_closing(head.node, chain, trunk)
    if source in closed:
        _reread(reader, source, closed[source])
        return
    end, new = source, []
    for letter in letters:
        node = _closing_node(last or head, head, letter, why)
        if node is not None:
            node.inputs, end = [end], node
            new.append(node)
    if new:
        closed[source] = end
        _reread(reader, source, end)
        at = graph.nodes.index(reader)
        graph.nodes[at:at] = new
    for letter in letters:
        head.moved[letter] = f"{why}: ends the trunk" + (f" before {reader.cls}" if reader is not head.node else "")


def _closing_node(last: Unit, head: Unit, letter: str, why: str) -> Node | None:
    """A closing letter; its settings are those of the last unit before it."""
    if letter == "A" and last.activation.value is None:
        return None
    norm = (head.own.norm or last.settings.norm) if letter == "N" else None
    if letter == "N" and (norm is None or norm.value is False or "N" in last.elided):
        return None
    kept, order = dict(last.letters), last.settings.order
    node = letter_node(last, letter)
    last.letters = kept
    node.because = f"{letter} in {head.settings.order.value if head.settings.order else ''} ({_because(head)}); "
    node.because += f"{why}, ends the trunk" + (f"; like {last.node.local}" if last.node.local and order else "")
    node.unit, node.scope, node.local, node.given = None, _root(head.node), f"closing_{node.suffix}", ""
    return node


def _because(head: Unit) -> str:
    return head.settings.order.because if head.settings.order else ""


def _root(node: Node) -> Scope:
    scope = node.scope
    while scope.parent is not None:
        scope = scope.parent
    return scope


def _reread(reader: Node, old: Node, new: Node) -> None:
    reader.inputs = [new if source is old else source for source in reader.inputs]


def _chain(weight: Node) -> tuple[list[Node], Node]:
    """The layers between the end of the trunk and a head's W, nearest to the head first, and the end of the trunk."""
    chain: list[Node] = []
    at = weight.inputs[0]
    while len(at.inputs) == 1 and at.role in _CHAIN and (at.unit is None or at.role == "P" or at.unit.node is weight):
        chain.append(at)
        at = at.inputs[0]
    return chain, at


def _place_of_closing(weight: Node, chain: list[Node], trunk: Node) -> tuple[Node, Node]:
    """The connection that the closing is put into: in front of the first pooling or flatten, or else of the head."""
    leading = [node for node in chain if node.role in _LEADS_TO_HEAD]
    if leading:
        return leading[-1].inputs[0], leading[-1]
    # A D from before W stays directly before it.
    first = next((node for node in reversed(chain) if node.unit is not None and node.unit.node is weight), weight)
    return first.inputs[0], first


def _last_unit(graph: Graph, node: Node) -> Unit | None:
    """The last unit on the trunk before a node, in the order of the layers.

    A shortcut's unit has no activation of its own, and a gate's (a branch that a Multiply joins) is not the trunk's. Of
    the others those whose order has A before W go first, for their A is what the closing continues.
    """
    found = {id(source) for source in upstream(node, lambda _: True)}
    units = [unit for unit in graph.units if id(unit.node) in found]
    on_trunk = [unit for unit in units if not _beside_trunk(unit.branch)]
    before = [unit for unit in on_trunk if unit.settings.order and "A" in unit.settings.order.value.before]
    return next((some[-1] for some in (before, on_trunk, units) if some), None)


def _beside_trunk(branch: Branch | None) -> bool:
    """Whether a branch, or one around it, is a shortcut or a gate."""
    while branch is not None:
        if branch.shortcut or (branch.merge is not None and branch.merge.cls == "Multiply"):
            return True
        branch = branch.parent
    return False


def _head_dropout(graph: Graph, head: Unit, dropped: set[Node]) -> None:
    """`branch-dropout` has one more D, in front of the pooling that leads to the head (Kim et al. 2023)."""
    setting, where = head.settings.head_dropout, head.settings.where_dropout
    if setting is None or where is None or where.value != "branch" or "D" in head.letters:
        return
    if head.settings.order is None or "D" not in head.settings.order.value or not head.settings.rate:
        return
    if head.settings.rate.value == 0:
        return
    chain, trunk = _chain(head.node)
    source, reader = _place_of_closing(head.node, chain, trunk)
    head.elided.pop("D", None)
    where_it_stands = "directly before the head" if reader is head.node else "before the pooling that leads to the head"
    head.moved["D"] = f"{setting.because}: {where_it_stands}"
    if source in dropped:
        # Another head reads the same pooling.
        return
    node = letter_node(head, "D", head.moved["D"])
    dropped.add(node)
    node.inputs = [source]
    _reread(reader, source, node)
    at = graph.nodes.index(reader)
    graph.nodes[at:at] = [node]


CLOSE = Pass("close", close, ("place", "residual"), "a pre-activation trunk ends in its N and A")
