"""The plan: the resolved graph as plain data, JSON both ways, no TensorFlow.

Shapes carry the batch axis first, `None` where free: ``(None, 28, 28, 32)``. `config` holds the Keras arguments that
differ from Keras' defaults, and `use_bias` for every weight layer. A Keras object inside a config (initializer,
regularizer, wrapped layer, ...) is written the way Keras serializes it:
``{"class_name": "HeNormal", "config": {}}``.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

#: The version of the JSON that `Plan.to_dict` writes.
PLAN_FORMAT = 1

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Place:
    """Where in a spec something was written. `file` is as the user named it."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class Frame:
    """A use of a block, or one round of a repeat, that a layer was expanded in.

    Attributes:
        block: the block's name; "" for a round of a repeat.
        label: what full names inside it begin with, `b1`; "" for a round of a repeat without a name.
        source: where the `use` or the `repeat` stands; rounds of one repeat share it.
        round: of a repeat, counted from 1.
    """

    block: str
    label: str
    source: Place | None = None
    round: int | None = None


@dataclass(frozen=True)
class PlannedLayer:
    """One Keras layer of the resolved model.

    Attributes:
        name: the Keras layer name, unique in the plan.
        cls: the public Keras class name (`InputLayer` for inputs).
        role: "W", "N", "A", "D", "P" for a layer that a policy placed or that is a weight layer, else None.
        unit: the name of the unit it belongs to, or None.
        inputs: names of the layers it reads, in Keras' order.
        config: Keras arguments, without `name`.
        output_shape: None where the catalog has no shape rule (then only Keras knows).
        params: number of weights, trainable or not; None where the catalog has no rule.
        trainable_params: the trainable ones.
        because: why it stands here, in words.
        source: the place in the spec that put it there.
        bias_because: for weight layers, why there is a bias or none.
        folds_into: for a BatchNormalization that can be folded into a weight layer, that layer's name.
        fold_because: for normalizations, why it folds or does not.
        settings: value name → which level set it, for example {"rate": "0.2, policy conventional"}.
        within: the blocks and rounds around it, outermost first.
    """

    name: str
    cls: str
    role: str | None = None
    unit: str | None = None
    inputs: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    output_shape: Shape | None = None
    params: int | None = None
    trainable_params: int | None = None
    because: str = ""
    source: Place | None = None
    bias_because: str = ""
    folds_into: str | None = None
    fold_because: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    within: tuple[Frame, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON data, the class under the key "class"."""
        data = asdict(self)
        data["class"] = data.pop("cls")
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PlannedLayer:
        data = {**data, "cls": data["class"]}
        for name in ("inputs", "output_shape"):
            data[name] = None if data.get(name) is None else tuple(data[name])
        data["source"] = _read_place(data.get("source"))
        around = data.get("within", ())
        data["within"] = tuple(Frame(**{**frame, "source": _read_place(frame.get("source"))}) for frame in around)
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


def _read_place(data: dict[str, Any] | None) -> Place | None:
    return Place(**data) if data else None


@dataclass(frozen=True)
class PlannedUnit:
    """A weight layer with the N, A, D (and P) placed around it.

    Attributes:
        name: the name of its weight layer.
        order: the order in force, `W-N-A-D`.
        role: "trunk" or "head".
        layers: letter → layer name, for the letters that stand.
        elided: letters of the order whose layer is disabled, with the reason.
        dropped: letters of the order that an edge rule (first, head, closing, where) removes here, with the reason.
        moved: letters that stand elsewhere (behind a merge, before the split, at the trunk's end), with the reason.
        activation: Keras name of its activation, or None for linear.
        source: the place of the weight layer in the spec.
    """

    name: str
    order: str
    role: str
    layers: dict[str, str]
    elided: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    activation: str | None = None
    source: Place | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON data; `elided` is the list of letters, the reasons stand in `elided_because`."""
        data = asdict(self)
        data["elided"], data["elided_because"] = list(self.elided), self.elided
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PlannedUnit:
        data = {**data, "elided": data["elided_because"]}
        data["source"] = Place(**data["source"]) if data.get("source") else None
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


@dataclass(frozen=True)
class Plan:
    """A whole model, resolved.

    Attributes:
        name: the model's name.
        policy: the named policy in force, or None where an order was written.
        order: the order in force, `W-N-A-D`.
        ordering_because: where the ordering was set.
        layers: topological order, input layers first among their readers.
        units: in the order of their weight layers.
        outputs: names of the layers that are the model's outputs.
        heads: output layer name → names of the head units that lead to it.
        notes: remarks for the user (settings without effect, layers dropped, ...).
    """

    name: str
    policy: str | None
    order: str
    ordering_because: str
    layers: tuple[PlannedLayer, ...]
    units: tuple[PlannedUnit, ...]
    outputs: tuple[str, ...]
    heads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[PlannedLayer, ...]:
        """The input layers, in the order of the model's inputs."""
        return tuple(layer for layer in self.layers if layer.cls == "InputLayer")

    def layer(self, name: str) -> PlannedLayer:
        """The layer of that name; KeyError where there is none."""
        return self.layers[self.position(name)]

    def position(self, name: str) -> int:
        """The index of a layer in `layers`; KeyError where there is none."""
        index = self.__dict__.get("_index")
        if index is None:
            index = {layer.name: position for position, layer in enumerate(self.layers)}
            object.__setattr__(self, "_index", index)
        return int(index[name])

    def output_named(self, name: str) -> str | None:
        """The output layer of that name, or the one that a head of that name leads to; None where there is none.

        The head `kind` with a softmax has the output layer `kind_softmax`; a user may call it by either name.
        """
        if name in self.outputs:
            return name
        found = [output for output, heads in self.heads.items() if name in heads]
        return found[0] if len(found) == 1 else None

    @property
    def total_params(self) -> int | None:
        """All weights; None where a layer has no parameter rule."""
        counts = [layer.params for layer in self.layers]
        return None if None in counts else sum(count for count in counts if count)

    @property
    def trainable_params(self) -> int | None:
        counts = [layer.trainable_params for layer in self.layers]
        return None if None in counts else sum(count for count in counts if count)

    @property
    def unresolved(self) -> tuple[PlannedLayer, ...]:
        """Layers whose shape or parameters only Keras knows."""
        return tuple(layer for layer in self.layers if layer.output_shape is None or layer.params is None)

    @property
    def without_rule(self) -> tuple[PlannedLayer, ...]:
        """The first of them on every path: what reads them is unresolved for their sake."""
        unknown = {layer.name for layer in self.unresolved}
        return tuple(layer for layer in self.unresolved if not unknown.intersection(layer.inputs))

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `kbuild summarize --format json`."""
        return {
            "format": PLAN_FORMAT,
            "name": self.name,
            "ordering": {"policy": self.policy, "order": self.order, "because": self.ordering_because},
            "total_params": self.total_params,
            "trainable_params": self.trainable_params,
            "inputs": [layer.name for layer in self.inputs],
            "outputs": list(self.outputs),
            "heads": {name: list(units) for name, units in self.heads.items()},
            "layers": [layer.to_dict() for layer in self.layers],
            "units": [unit.to_dict() for unit in self.units],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    def _repr_html_(self) -> str:
        """The drawing of `kbuild summarize --format html`, for a notebook."""
        # By name: the plan knows nothing of how it is shown.
        return str(importlib.import_module("kbuild.show.html").fragment(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """The inverse of `to_dict`.

        >>> plan = Plan("m", None, "W-A", "", (), (), ())
        >>> Plan.from_dict(plan.to_dict()) == plan
        True
        """
        return cls(
            name=data["name"],
            policy=data["ordering"]["policy"],
            order=data["ordering"]["order"],
            ordering_because=data["ordering"].get("because", ""),
            layers=tuple(PlannedLayer.from_dict(layer) for layer in data["layers"]),
            units=tuple(PlannedUnit.from_dict(unit) for unit in data["units"]),
            outputs=tuple(data["outputs"]),
            heads={name: tuple(units) for name, units in data["heads"].items()},
            notes=tuple(data.get("notes", ())),
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        return cls.from_dict(json.loads(text))
