"""Two plans → what differs, as data: unit by unit in order, shapes, parameters, biases and the reasons.

Units are matched by name, for names do not change with the policy; what is left over is matched by what it is, in
order, and counts as renamed. Reasons and source lines alone make no difference: two plans are the same if they build
the same graph of the same layers under the same names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from kbuild.plan.plan import Plan, PlannedLayer, PlannedUnit
from kbuild.show.table import drawn_order, remarks

_T = TypeVar("_T", PlannedLayer, PlannedUnit)

#: Letters and what a change of their layer is called.
_LETTER_WORDS = {"N": "normalization", "A": "activation", "D": "dropout", "P": "pooling"}


@dataclass(frozen=True)
class Change:
    """One thing that differs.

    Attributes:
        what: "order", "layer", "reads", "normalization", "activation", "dropout", "pooling", "bias", "shape",
            "parameters", "folding", "role" or "name".
        a, b: plain data, None where that side has none.
        because_a, because_b: why, as the plans say it.
    """

    what: str
    a: Any
    b: Any
    because_a: str = ""
    because_b: str = ""


@dataclass(frozen=True)
class Differing:
    """A unit or another layer that both plans have, and what differs in it."""

    name: str
    cls: str
    changes: tuple[Change, ...]
    params_a: int | None = None
    params_b: int | None = None

    def change(self, what: str) -> Change | None:
        """The change of that kind, if there is one."""
        return next((change for change in self.changes if change.what == what), None)


@dataclass(frozen=True)
class Alone:
    """A unit or another layer that only one of the plans has."""

    name: str
    cls: str
    unit: bool
    role: str | None
    shape: tuple[int | None, ...] | None
    params: int | None
    because: str


@dataclass(frozen=True)
class Side:
    """What stands at the head of one side."""

    source: str
    name: str
    policy: str | None
    order: str
    because: str
    total_params: int | None
    trainable_params: int | None
    layers: int
    units: int


@dataclass(frozen=True)
class Difference:
    """All that differs between two plans.

    Attributes:
        same: whether both build the same graph of the same layers.
        skeleton: whether weight layers, merges and the rest are the same and read each other in the same way, so that
            only the letters around them differ.
        units, layers: what both have, in the order of A; only what differs.
        only_a, only_b: what one side alone has.
        outputs: the model's outputs, where they differ.
    """

    a: Side
    b: Side
    same: bool
    skeleton: bool
    units: tuple[Differing, ...] = ()
    layers: tuple[Differing, ...] = ()
    only_a: tuple[Alone, ...] = ()
    only_b: tuple[Alone, ...] = ()
    outputs: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class _View:
    """A plan with what the comparison asks of it."""

    plan: Plan
    renamed: dict[str, str] = field(default_factory=dict)

    @cached_property
    def layers(self) -> dict[str, PlannedLayer]:
        return {layer.name: layer for layer in self.plan.layers}

    def reads(self, layer: PlannedLayer) -> list[str]:
        """The layers that a layer reads, letters passed over, by the names of the other plan."""
        return [self.renamed.get(name, name) for name in map(self._source, layer.inputs)]

    def _source(self, name: str) -> str:
        layer = self.layers[name]
        while is_letter(layer) and len(layer.inputs) == 1:
            layer = self.layers[layer.inputs[0]]
        return layer.name

    def params(self, unit: PlannedUnit) -> int | None:
        counts = [self.layers[name].params for name in unit.layers.values()]
        return None if None in counts else sum(count or 0 for count in counts)


def is_letter(layer: PlannedLayer) -> bool:
    """Whether a policy put the layer there, or would have: N, A, D or P, but no weight layer."""
    return layer.role in ("N", "A", "D") or (layer.role == "P" and layer.unit is not None)


def compare(a: Plan, b: Plan, source_a: str = "A", source_b: str = "B") -> Difference:
    """Compare two plans.

    Args:
        source_a, source_b: what the sides are called.
    """
    units = list(_pairs(a.units, b.units, _unit_kind(a), _unit_kind(b)))
    rest_a, rest_b = _rest(a), _rest(b)
    layers = list(_pairs(rest_a, rest_b, _layer_kind, _layer_kind))
    pairs = [(x.name, y.name) for x, y in units] + [(x.name, y.name) for x, y in layers]
    names = {new: old for old, new in pairs}
    view_a, view_b = _View(a), _View(b, {new: old for new, old in names.items() if new != old})
    differing = [_unit(view_a, view_b, x, y) for x, y in units]
    others = [_other(view_a, view_b, x, y) for x, y in layers]
    only_a = _alone(view_a, [*a.units, *rest_a], {old for old, _ in pairs})
    only_b = _alone(view_b, [*b.units, *rest_b], set(names))
    outputs = (a.outputs, b.outputs) if a.outputs != b.outputs else None
    return Difference(
        a=_side(a, source_a),
        b=_side(b, source_b),
        same=graph_of(a) == graph_of(b),
        skeleton=_skeleton(differing, others, [*only_a, *only_b]),
        units=tuple(one for one in differing if one.changes),
        layers=tuple(one for one in others if one.changes),
        only_a=only_a,
        only_b=only_b,
        outputs=outputs,
    )


def graph_of(plan: Plan) -> tuple[Any, ...]:
    """What two plans must share to be the same model: layers, arguments, connections, outputs."""
    layers = [(x.name, x.cls, x.config, x.inputs, x.output_shape) for x in plan.layers]
    return sorted(layers, key=lambda layer: layer[0]), plan.outputs


def _side(plan: Plan, source: str) -> Side:
    counts = plan.total_params, plan.trainable_params, len(plan.layers), len(plan.units)
    return Side(source, plan.name, plan.policy, plan.order, plan.ordering_because, *counts)


def _rest(plan: Plan) -> list[PlannedLayer]:
    """Layers that belong to no unit."""
    return [layer for layer in plan.layers if layer.unit is None]


def _unit_kind(plan: Plan) -> Callable[[PlannedUnit], tuple[Any, ...]]:
    layers = {layer.name: layer for layer in plan.layers}

    def kind(unit: PlannedUnit) -> tuple[Any, ...]:
        weight = layers[unit.name]
        return weight.cls, *(str(weight.config.get(key)) for key in ("units", "filters", "kernel_size"))

    return kind


def _layer_kind(layer: PlannedLayer) -> tuple[Any, ...]:
    return layer.cls, layer.role


def _pairs(
    a: Sequence[_T], b: Sequence[_T], kind_a: Callable[..., Any], kind_b: Callable[..., Any]
) -> Iterator[tuple[_T, _T]]:
    """Pairs of the same name, then of the same kind in the same order among what is left; in the order of `a`."""
    by_name = {one.name: one for one in b}
    left = [one for one in a if one.name not in by_name]
    taken = {one.name for one in a}
    free = [one for one in b if one.name not in taken]
    matcher = difflib.SequenceMatcher(None, [kind_a(x) for x in left], [kind_b(x) for x in free], autojunk=False)
    blocks = matcher.get_matching_blocks()
    renamed = {left[one.a + at].name: free[one.b + at] for one in blocks for at in range(one.size)}
    for one in a:
        other = by_name.get(one.name) or renamed.get(one.name)
        if other is not None:
            yield one, other


def _unit(va: _View, vb: _View, a: PlannedUnit, b: PlannedUnit) -> Differing:
    wa, wb = va.layers[a.name], vb.layers[b.name]
    changes = list(_same_name(a.name, b.name))
    if drawn_order(a) != drawn_order(b):
        changes.append(Change("order", drawn_order(a), drawn_order(b), _said(a), _said(b)))
    if a.role != b.role:
        changes.append(Change("role", a.role, b.role))
    changes += _of_layer("layer", wa, wb)
    changes += _reads(va, vb, wa, wb)
    for letter, word in _LETTER_WORDS.items():
        if letter in a.layers and letter in b.layers:
            changes += _of_layer(word, va.layers[a.layers[letter]], vb.layers[b.layers[letter]])
    bias_a, bias_b = wa.config.get("use_bias"), wb.config.get("use_bias")
    if bias_a != bias_b:
        changes.append(Change("bias", bias_a, bias_b, wa.bias_because, wb.bias_because))
    changes += _folding(va, vb, a, b)
    if wa.output_shape != wb.output_shape:
        changes.append(Change("shape", wa.output_shape, wb.output_shape))
    params_a, params_b = va.params(a), vb.params(b)
    if params_a != params_b:
        changes.append(Change("parameters", params_a, params_b))
    return Differing(a.name, wa.cls, tuple(changes), params_a, params_b)


def _other(va: _View, vb: _View, a: PlannedLayer, b: PlannedLayer) -> Differing:
    changes = [*_same_name(a.name, b.name), *_of_layer("layer", a, b), *_reads(va, vb, a, b)]
    if a.output_shape != b.output_shape:
        changes.append(Change("shape", a.output_shape, b.output_shape))
    if a.params != b.params:
        changes.append(Change("parameters", a.params, b.params))
    return Differing(a.name, a.cls, tuple(changes), a.params, b.params)


def _same_name(a: str, b: str) -> Iterator[Change]:
    if a != b:
        yield Change("name", a, b)


def _of_layer(what: str, a: PlannedLayer, b: PlannedLayer) -> Iterator[Change]:
    """Class and arguments; a bias is a change of its own."""
    old, new = ({k: v for k, v in x.config.items() if k != "use_bias"} for x in (a, b))
    if a.cls != b.cls:
        yield Change(what, {"class": a.cls, **old}, {"class": b.cls, **new}, a.because, b.because)
    elif old != new:
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        before, after = ({key: x.get(key) for key in keys if key in x} for x in (old, new))
        yield Change(what, before, after, _set_by(a), _set_by(b))


def _set_by(layer: PlannedLayer) -> str:
    return "; ".join(layer.settings.values())


def _reads(va: _View, vb: _View, a: PlannedLayer, b: PlannedLayer) -> Iterator[Change]:
    before, after = va.reads(a), vb.reads(b)
    if before != after:
        yield Change("reads", before, after)


def _folding(va: _View, vb: _View, a: PlannedUnit, b: PlannedUnit) -> Iterator[Change]:
    if "N" not in a.layers or "N" not in b.layers:
        return
    na, nb = va.layers[a.layers["N"]], vb.layers[b.layers["N"]]
    into = nb.folds_into if nb.folds_into is None else vb.renamed.get(nb.folds_into, nb.folds_into)
    if na.folds_into != into:
        yield Change("folding", na.folds_into, nb.folds_into, na.fold_because, nb.fold_because)


def _said(unit: PlannedUnit) -> str:
    return "; ".join(remarks(unit))


def _alone(view: _View, items: Sequence[PlannedUnit | PlannedLayer], known: set[str]) -> tuple[Alone, ...]:
    found = []
    for item in items:
        if item.name not in known:
            layer, unit = view.layers[item.name], isinstance(item, PlannedUnit)
            params = view.params(item) if isinstance(item, PlannedUnit) else layer.params
            found.append(Alone(item.name, layer.cls, unit, layer.role, layer.output_shape, params, layer.because))
    return tuple(sorted(found, key=lambda one: view.plan.position(one.name)))


def _skeleton(units: Sequence[Differing], others: Sequence[Differing], alone: Sequence[Alone]) -> bool:
    """Letters that a policy adds of its own (the closing) are no part of the skeleton."""
    kinds = ("name", "layer", "reads", "shape")
    changed = any(one.change(kind) for one in (*units, *others) for kind in kinds)
    return not changed and not any(one.unit or not _placed(one) for one in alone)


def _placed(one: Alone) -> bool:
    """Whether a policy put the layer there, for the trunk and not for a unit."""
    return not one.unit and one.role in ("N", "A", "D") and not one.because.startswith("written")
