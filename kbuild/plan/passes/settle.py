"""What stands around each unit: settings resolved, letters kept, elided or dropped, each with its reason."""

from __future__ import annotations

from typing import Any

from kbuild.plan.graph import Graph, Pass, Unit
from kbuild.policy import Order
from kbuild.spec.settings import Setting, Settings, origin

#: Why letters before W are not there at a unit that reads the raw input.
FIRST = "first: reads the raw input, letters before W go"


def settle(graph: Graph) -> None:
    """Decide the letters of every unit from its settings and its place in the graph."""
    for unit in graph.units:
        unit.settings = settings = graph.ordering.overlay(unit.own)
        if unit.activation.value is None and settings.activation is not None and unit.role != "head":
            if "activation" not in unit.node.arg_spans:
                unit.activation = settings.activation
        _initializer(unit)
        if unit.branch is not None and unit.branch.shortcut and "order" not in unit.beside:
            _shortcut(unit)
            continue
        order = _edge_order(unit)
        _elide(unit, order)
        before, after = list(order.before), list(order.after)
        if unit.first and settings.first and settings.first.value == "auto":
            _drop(unit, before, [letter for letter in before if letter != "P"], FIRST)
            if "P" in before and "P" not in unit.elided:
                before.remove("P")
                after.append("P")
                unit.moved["P"] = "first: reads the raw input; the unit's pooling stands behind all else of it"
        if unit.role == "head":
            if settings.head and settings.head.value == "auto":
                _drop(unit, after, [letter for letter in after if letter not in "AP"], "head: letters after W go")
            _head_activation(unit, before, after)
            _leave_to_closing(unit, before)
        _branch_dropout(unit, before, after)
        _without_place(graph, unit, order)
        unit.before = tuple(letter for letter in before if letter not in unit.elided)
        unit.after = tuple(letter for letter in after if letter not in unit.elided)
        if unit.settings.pool is not None and "P" not in order:
            unit.after = (*unit.after, "P")


def _edge_order(unit: Unit) -> Order:
    """The order in force at a unit; `first` and `head` may write one of their own."""
    settings = unit.settings
    for at_edge, setting in ((unit.role == "head", settings.head), (unit.first, settings.first)):
        if at_edge and setting is not None and isinstance(setting.value, Order) and unit.own.order is None:
            unit.settings = settings.overlay(Settings(order=setting))
            return setting.value
    assert settings.order is not None
    order: Order = settings.order.value
    return order


def _elide(unit: Unit, order: Order) -> None:
    settings, elided = unit.settings, unit.elided
    if "N" in order:
        if settings.norm is not None and settings.norm.value is False:
            elided["N"] = f"norm: false ({settings.norm.because})"
        elif unit.own.norm is None:
            _where(unit, "N", settings.where_norm)
    if "A" in order and unit.role != "head" and unit.activation.value is None:
        elided["A"] = "no activation (linear)"
    if "D" in order:
        rate = rate_of(unit)
        if rate.value == 0:
            elided["D"] = f"dropout: 0 ({rate.because})"
        elif not _names_rate(unit):
            _where(unit, "D", settings.where_dropout)
    if "P" in order and settings.pool is None:
        elided["P"] = "no pooling in the unit"


def rate_of(unit: Unit) -> Setting:
    """The dropout rate at a unit; a policy may name one for dense and one for convolutional units."""
    rate = unit.settings.rate
    assert rate is not None
    value: Any = rate.value
    return Setting(value[unit.kind], rate.because, rate.span) if isinstance(value, dict) else rate


def _names_rate(unit: Unit) -> bool:
    """Whether a rate beside the unit, or beside a structure around it, is nearer than the ordering's `where`.

    `branch` and `last` choose one unit out of a whole network: a rate beside a structure does not undo that.
    """
    where = unit.settings.where_dropout
    one_of_many = where is not None and where.value in ("branch", "last")
    return unit.own.rate is not None and ("dropout" in unit.beside or not one_of_many)


def _ends_branch(unit: Unit) -> bool:
    """Whether the unit is the last of a residual branch."""
    return unit.branch is not None and not unit.branch.shortcut and unit.branch.units[-1] is unit


def _where(unit: Unit, letter: str, setting: Setting | None) -> None:
    assert setting is not None
    where, name = setting.value, "norm" if letter == "N" else "dropout"
    here = {
        "all": True,
        "none": False,
        "conv": unit.kind == "conv",
        "dense": unit.kind == "dense",
        "last": unit.last,
        "branch": _ends_branch(unit),
    }[where]
    if not here:
        unit.elided[letter] = f"where {name}: {where} ({setting.because})"


def _drop(unit: Unit, letters: list[str], gone: list[str], reason: str) -> None:
    for letter in gone:
        letters.remove(letter)
        if letter not in unit.elided:
            unit.dropped[letter] = reason


def _head_activation(unit: Unit, before: list[str], after: list[str]) -> None:
    """The head's own activation stands directly after its W, whatever the order says; an A before W ends the trunk."""
    if "A" in after:
        after.remove("A")
        if unit.activation.value is None:
            unit.elided["A"] = "no activation: the head gives logits"
    if unit.activation.value is not None:
        after.insert(0, "A")


def _leave_to_closing(unit: Unit, before: list[str]) -> None:
    """Where A stands before W, the N and A from before the head's W end the trunk: the pass `close` places them."""
    if "A" in before:
        before.remove("A")
        closing = unit.settings.closing
        if "N" in before and closing is not None and closing.value != "none":
            before.remove("N")


def _branch_dropout(unit: Unit, before: list[str], after: list[str]) -> None:
    """One D per branch stands before all letters of the branch's last unit, unless the order has D before W."""
    where = unit.settings.where_dropout
    if where is None or where.value != "branch" or "order" in unit.beside or not _ends_branch(unit):
        return
    if "D" in after and "D" not in unit.elided:
        after.remove("D")
        before.insert(0, "D")
        unit.moved["D"] = f"where dropout: branch ({where.because}): before the last weight layer of the branch"


def _without_place(graph: Graph, unit: Unit, order: Order) -> None:
    name = unit.node.local or unit.node.cls
    where = origin(unit.node.span)
    if "A" not in order and unit.activation.value is not None and unit.role != "head":
        graph.notes.append(f"{name} ({where}): its activation has no place in {order}, which holds no A")
    if "D" not in order and unit.own.rate is not None and unit.own.rate.value:
        graph.notes.append(f"{name} ({where}): its dropout has no place in {order}, which holds no D")


def _shortcut(unit: Unit) -> None:
    """A shortcut's unit keeps W and the N that directly follows it."""
    assert unit.settings.order is not None
    order: Order = unit.settings.order.value
    _elide(unit, order)
    keeps = order.after[:1] == ("N",) and "N" not in unit.elided
    unit.after = ("N",) if keeps else ()
    for letter in order.letters:
        if letter not in ("W", *unit.after) and letter not in unit.elided:
            unit.dropped[letter] = "shortcut: W and the N that directly follows it"
    if unit.settings.pool is not None:
        unit.after = (*unit.after, "P")


def _initializer(unit: Unit) -> None:
    setting = unit.settings.initializer
    if setting is None:
        return
    for name in unit.node.facts.signature.arguments:
        if name in ("kernel_initializer", "depthwise_initializer", "pointwise_initializer"):
            if name not in unit.node.args:
                unit.node.args[name] = setting.value
                unit.node.settings[name] = f"{setting.value}, {setting.because}"


SETTLE = Pass("settle", settle, ("edges",), "every unit knows the letters before and after its W")
