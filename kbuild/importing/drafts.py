"""A network → the items of a spec before structure: one for each unit, one for every layer that no unit has.

Items are plain data as YAML will hold them; what they read and where they end are names of the network's layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from kbuild.importing.letters import Found, FoundUnit
from kbuild.importing.network import Layer, Network
from kbuild.importing.readings import activation_text, dropout_of, written_arguments, written_layer
from kbuild.plan.passes.place import ACTIVATION_NAMES, SUFFIXES
from kbuild.policy import DEFAULT_RATE

_NORM: tuple[str, dict[str, Any]] = ("BatchNormalization", {})


@dataclass(slots=True, eq=False)
class Item:
    """One entry of `layers`, or a structure of them.

    Attributes:
        body: the entry's first key and its value.
        name: its name, by which others read it.
        reads: names of the network's layers that it reads.
        end: the network's layer that its readers read.
        layers: every layer of the network in it.
        beside: keys beside the layer, `name` and `from` apart.
        unit: the unit it is, or None.
        merge: whether it is a merge layer that a structure could take.
        order: its place in the network's order.
    """

    body: tuple[str, Any]
    name: str
    reads: list[str]
    end: str
    layers: list[str]
    beside: dict[str, Any] = field(default_factory=dict)
    unit: FoundUnit | None = None
    merge: bool = False
    order: int = 0

    def data(self, sources: list[str] | None = None) -> dict[str, Any]:
        """As YAML holds it, `from` where sources are given."""
        key, value = self.body
        if self.unit is not None:
            value = dict(sorted(value.items(), key=_rank))
        found = {key: value, "name": self.name}
        if sources is not None:
            found["from"] = sources[0] if len(sources) == 1 else sources
        return found | self.beside


def _rank(argument: tuple[str, Any]) -> tuple[bool, bool, bool]:
    """Sizes first, then the activation, then whether there is a bias, then objects, which are long."""
    name, value = argument
    return isinstance(value, dict) and name != "activation", name == "use_bias", name == "activation"


@dataclass(frozen=True)
class Ordering:
    """What `ordering` says of the whole model: the values that most units have.

    Attributes:
        found: the order, and the units under it.
        norm: class and arguments of most normalizations.
        rate, kind: of most dropouts.
        fused: whether most activations directly behind a W are W's own.
        in_branch: whether residual branches keep their activations.
    """

    found: Found
    norm: tuple[str, dict[str, Any]] = _NORM
    rate: float = DEFAULT_RATE
    kind: str = "element"
    fused: bool = False
    in_branch: bool = False

    def data(self) -> Any:
        """The value of `ordering`."""
        settings: dict[str, Any] = {"order": str(self.found.order)}
        if self.norm != _NORM:
            settings["norm"] = written_layer(*self.norm)
        if self.kind != "element":
            settings["dropout"] = {"rate": self.rate, "kind": self.kind}
        elif self.rate != DEFAULT_RATE:
            settings["dropout"] = self.rate
        if self.fused:
            settings["fused"] = True
        if self.in_branch:
            settings["residual"] = "in_branch"
        return settings["order"] if len(settings) == 1 else settings


def ordering_of(network: Network, found: Found) -> Ordering:
    """The settings most units share."""
    norms: Counter[str] = Counter()
    by_text: dict[str, tuple[str, dict[str, Any]]] = {}
    drops: Counter[tuple[float, str]] = Counter()
    fused: Counter[bool] = Counter()
    for unit in found.units:
        for letter, name in (*unit.before, *unit.after):
            layer = network.layers[name]
            if letter == "N":
                by_text[repr((layer.cls, layer.args))] = (layer.cls, layer.args)
                norms[repr((layer.cls, layer.args))] += 1
            elif letter == "D" and (dropout := dropout_of(layer)) is not None:
                drops[dropout] += 1
        if is_fused(unit) is not None:
            fused[bool(is_fused(unit))] += 1
    norm = by_text[norms.most_common(1)[0][0]] if norms else _NORM
    rate, kind = drops.most_common(1)[0][0] if drops else (DEFAULT_RATE, "element")
    return Ordering(found, norm, rate, kind, fused[True] > fused[False])


def is_fused(unit: FoundUnit) -> bool | None:
    """Whether an activation directly behind W is W's own; None where there is none directly behind it."""
    if not unit.after or unit.after[0][0] != "A" or unit.after[0] in unit.moved:
        return None
    return unit.after[0][1] == unit.weight


class Drafter:
    """Makes the items; `by_hand` holds weight layers whose letters are written as layers of their own."""

    def __init__(self, network: Network, ordering: Ordering, biases: dict[str, bool], by_hand: set[str]):
        self.network = network
        self.ordering = ordering
        self.biases = biases
        self.units: dict[str, FoundUnit] = {}
        for unit in ordering.found.units:
            self.units[unit.weight] = self._bare(unit) if unit.weight in by_hand else unit
        self.owner = {name: unit for unit in self.units.values() for name in unit.layers.values()}
        self.ahead = {name: unit for unit in self.units.values() for _, name in unit.before}

    def _bare(self, unit: FoundUnit) -> FoundUnit:
        """The unit without its letters, but with the activation that is W's own."""
        own = [pair for pair in unit.after if pair[1] == unit.weight]
        return replace(unit, before=[], after=own, moved=[], explained=False)

    def items(self) -> list[Item]:
        """In the network's order."""
        found: list[Item] = []
        for layer in self.network.layers.values():
            unit = self.owner.get(layer.name)
            if layer.role == "input" or (unit is not None and layer.name != unit.weight):
                continue
            item = self._layer(layer) if unit is None else self._unit(layer, unit)
            item.order = len(found)
            found.append(item)
        return found

    def _reads(self, layer: Layer) -> list[str]:
        return [self._through(name) for name in layer.inputs]

    def _through(self, name: str) -> str:
        """What a layer reads once the letters before it are placed by the compiler."""
        unit = self.ahead.get(name)
        return self._through(self.network.layers[unit.before[0][1]].inputs[0]) if unit is not None else name

    def _layer(self, layer: Layer) -> Item:
        body = (layer.cls, written_arguments(layer.args) or None)
        merge = layer.role == "merge" and len(set(layer.inputs)) == len(layer.inputs) > 1
        return Item(body, layer.name, self._reads(layer), layer.name, [layer.name], merge=merge)

    def _unit(self, layer: Layer, unit: FoundUnit) -> Item:
        args = {name: value for name, value in layer.args.items() if name not in ("activation", "use_bias")}
        if "A" in unit.layers:
            args["activation"] = activation_text(self.network.layers[unit.layers["A"]])
        written = written_arguments(args)
        if layer.facts is not None and "use_bias" in layer.facts.signature.arguments:
            bias = layer.args.get("use_bias", True)
            if bias != self.biases[layer.name]:
                written["use_bias"] = bias
        end = unit.after[-1][1] if unit.after else unit.weight
        item = Item((layer.cls, written), layer.name, self._reads(layer), end, list(unit.layers.values()), unit=unit)
        item.beside = self.beside(unit)
        return item

    def beside(self, unit: FoundUnit) -> dict[str, Any]:
        """What departs from `ordering` at a unit."""
        found: dict[str, Any] = {}
        if not unit.explained:
            found["order"] = str(unit.order)
        if unit.trunk:
            found["role"] = "trunk"
        names = unit.layers
        if "N" in names:
            layer = self.network.layers[names["N"]]
            if (layer.cls, layer.args) != self.ordering.norm:
                found["norm"] = written_layer(layer.cls, layer.args)
        if "D" in names:
            dropout = dropout_of(self.network.layers[names["D"]])
            assert dropout is not None
            rate, kind = dropout
            if kind != self.ordering.kind:
                found["dropout"] = {"rate": rate, "kind": kind}
            elif rate != self.ordering.rate:
                found["dropout"] = rate
        fused = is_fused(unit)
        if fused is not None and fused != self.ordering.fused:
            if fused or self.network.layers[names["A"]].cls == "Activation":
                found["fused"] = fused
        own = {
            letter: name
            for letter, name in names.items()
            if letter != "W" and name != unit.weight and name != f"{unit.weight}_{self._suffix(letter, name)}"
        }
        if own:
            found["names"] = own
        return found

    def _suffix(self, letter: str, name: str) -> str:
        layer = self.network.layers[name]
        if letter == "N":
            return SUFFIXES.get(layer.cls, "norm")
        if letter == "D":
            return "drop"
        return str(layer.args["activation"]) if layer.cls == "Activation" else ACTIVATION_NAMES.get(layer.cls, "act")


def linear(items: Iterable[Item], network: Network) -> list[tuple[Item, list[str] | None]]:
    """Items in an order that follows chains, each with the `from` it needs: none where it reads the item before it."""
    items = sorted(items, key=lambda item: item.order)
    producer = {item.end: item for item in items}
    waiting = {id(item): sum(1 for name in set(item.reads) if name in producer) for item in items}
    readers: dict[str, list[Item]] = {}
    for item in items:
        for name in set(item.reads):
            readers.setdefault(name, []).append(item)
    pending = [item for item in reversed(items) if not waiting[id(item)]]
    found: list[tuple[Item, list[str] | None]] = []
    previous = network.inputs[0] if len(network.inputs) == 1 else None
    while pending:
        item = pending.pop()
        plain = len(item.reads) == 1 and item.reads[0] == previous
        found.append((item, None if plain else [producer[n].name if n in producer else n for n in item.reads]))
        previous = item.end
        ready = []
        for reader in readers.get(item.end, ()):
            waiting[id(reader)] -= 1
            if not waiting[id(reader)]:
                ready.append(reader)
        pending.extend(reversed(ready))
    return found
