"""A plan as rules read it: who reads whom, what every layer does, walks along chains of layers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kbuild.catalog.layers import complete, lookup
from kbuild.lint.training import Training
from kbuild.plan.losses import output_activation
from kbuild.plan.plan import Plan, PlannedLayer

#: Dropout classes that multiply by a mask or noise of mean 1, and so raise the variance.
MULTIPLICATIVE = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout")

Layer = PlannedLayer


@dataclass(frozen=True)
class View:
    """A plan with what rules ask of it; `training` is None where nothing is known of it."""

    plan: Plan
    training: Training | None = None
    _activations: dict[str, str | None] = field(default_factory=dict, repr=False)

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Name → layer, in topological order."""
        return {layer.name: layer for layer in self.plan.layers}

    @cached_property
    def readers(self) -> dict[str, list[Layer]]:
        """Name → the layers that read it, each once, in order."""
        found: dict[str, list[Layer]] = {layer.name: [] for layer in self.plan.layers}
        for layer in self.plan.layers:
            for source in dict.fromkeys(layer.inputs):
                if source in found:
                    found[source].append(layer)
        return found

    @cached_property
    def roles(self) -> dict[str, str]:
        """Name → letter, or the structural role of the catalog: input, merge, reshape, padding, ..., other."""
        return {layer.name: _role(layer) for layer in self.plan.layers}

    def role(self, layer: Layer) -> str:
        return self.roles[layer.name]

    def of(self, role: str) -> list[Layer]:
        """The layers of a role."""
        return [layer for layer in self.plan.layers if self.roles[layer.name] == role]

    @cached_property
    def batch_norms(self) -> list[Layer]:
        """BatchNormalizations that learn statistics: frozen ones use what they have."""
        return [one for one in self.plan.layers if one.cls == "BatchNormalization" and _trained(one)]

    @cached_property
    def outputs(self) -> frozenset[str]:
        return frozenset(self.plan.outputs)

    def inputs(self, layer: Layer) -> list[Layer]:
        """The layers it reads."""
        return [self.layers[name] for name in layer.inputs if name in self.layers]

    def only_reader(self, layer: Layer) -> Layer | None:
        """Its reader where it has exactly one and is no output."""
        readers = self.readers[layer.name]
        return readers[0] if len(readers) == 1 and layer.name not in self.outputs else None

    def back(self, layer: Layer, through: frozenset[str] | set[str]) -> Layer | None:
        """The nearest layer before `layer` whose role is not in `through`, along single inputs."""
        at = self.inputs(layer)
        while len(at) == 1 and self.role(at[0]) in through:
            at = self.inputs(at[0])
        return at[0] if len(at) == 1 else None

    def chain_back(self, layer: Layer, through: frozenset[str] | set[str]) -> Iterator[Layer]:
        """The layers before `layer` along single inputs while their role is in `through`, and the first beyond."""
        at = self.inputs(layer)
        while len(at) == 1:
            yield at[0]
            if self.role(at[0]) not in through:
                return
            at = self.inputs(at[0])

    def activation(self, layer: Layer) -> str | None:
        """The Keras name of what an activation, or a weight layer with one inside, applies; None for linear."""
        if layer.name not in self._activations:
            self._activations[layer.name] = activation_of(layer)
        return self._activations[layer.name]

    def final_activation(self, output: str) -> str | None:
        """The last activation on the way to an output: "softmax", None for linear, "merged" for several."""
        return output_activation(self.plan, output)

    def nearest_ahead(self, stop: Callable[[Layer], Any], through: Callable[[Layer], bool]) -> dict[str, Layer | None]:
        """Name → the first layer for which `stop` holds, from the layer itself on, through what `through` lets by.

        One pass over the plan, so that rules stay linear in its size.
        """
        found: dict[str, Layer | None] = {}
        for layer in reversed(self.plan.layers):
            if stop(layer):
                found[layer.name] = layer
            elif through(layer):
                found[layer.name] = self.first(layer, found)
            else:
                found[layer.name] = None
        return found

    def first(self, layer: Layer, found: dict[str, Layer | None]) -> Layer | None:
        """The first of what the readers of `layer` lead to."""
        return next((to for reader in self.readers[layer.name] if (to := found[reader.name]) is not None), None)

    def positions(self, layer: Layer) -> int | None:
        """How many positions (the axes between batch and channels) the output has; None where free or unknown."""
        shape = layer.output_shape
        if shape is None:
            return None
        sizes = shape[2:] if self.channels_first(layer) else shape[1:-1]
        total = 1
        for size in sizes:
            if size is None:
                return None
            total *= size
        return total

    def channels_first(self, layer: Layer) -> bool:
        at: Layer | None = layer
        while at is not None and self.role(at) not in ("W", "input"):
            at = self.back(at, set())
        return at is not None and at.config.get("data_format") == "channels_first"

    def mendable(self, names: Collection[str]) -> set[str]:
        """Those of the layers whose place in the spec can be changed for all that stands there.

        A change of a block or a repeat is one for all its uses and rounds: a layer of its class that is not among the
        names would change with it.
        """
        others = {(layer.cls, layer.source) for layer in self.plan.layers if layer.name not in names}
        found = (self.layers[name] for name in names)
        return {layer.name for layer in found if layer.source and (layer.cls, layer.source) not in others}


def _trained(layer: Layer) -> bool:
    return layer.config.get("trainable") is not False


def _role(layer: Layer) -> str:
    if layer.role is not None:
        return layer.role
    if layer.cls == "InputLayer":
        return "input"
    facts = lookup(layer.cls)
    return facts.role if facts is not None else "other"


def activation_of(layer: Layer) -> str | None:
    """`relu` of an Activation, `leaky_relu` of a LeakyReLU, what stands inside a weight layer; None for linear.

    >>> activation_of(Layer("a", "Activation", config={"activation": "tanh"}))
    'tanh'
    >>> activation_of(Layer("d", "Dense", role="W", config={"units": 3})) is None
    True
    """
    facts = lookup(layer.cls)
    role = layer.role or (facts.role if facts else None)
    value: Any = None
    if layer.cls == "Activation" or role == "W":
        value = layer.config.get("activation")
    elif role == "A":
        value = layer.cls
        if layer.cls == "ReLU" and layer.config.get("max_value") == 6:
            value = "relu6"
    if isinstance(value, dict):
        value = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
    if not isinstance(value, str) or value == "linear":
        return None
    return _NAMES.get(value, value)


_NAMES = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu", "Softmax": "softmax"}


def full_config(layer: Layer) -> dict[str, Any]:
    """A layer's arguments with Keras' defaults."""
    return complete(layer.cls, layer.config)
