"""Which N, A and D belong to which W, under an order, and the order that explains most units.

A *run* is what stands between a weight layer and whatever reads it next: N, A and D, each read by one layer alone.
Under an order every W takes what the order puts behind it from the run behind it, and what the order puts before it
from the run before it. A unit is *explained* where it then has exactly the letters that the compiler would place: those
of the order, without A where it has no activation, without the letters that the edges drop; and where nothing is left
over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kbuild.importing.network import Layer, Network
from kbuild.importing.readings import letter_of
from kbuild.policy import POLICIES, Order, all_orders

#: Structural roles through which the input is still raw, as the compiler has it.
_RAW = {"input", "preprocessing", "padding", "reshape", "merge", "D"}


@dataclass(slots=True)
class FoundUnit:
    """A weight layer and the letters found around it.

    Attributes:
        weight: the weight layer's name.
        before, after: (letter, layer name) on each side of W, in order; a fused A has the weight layer's own name.
        moved: letters behind the addition that its branch leads to, where the order has them behind W.
        head: no weight layer behind it, and nothing behind it but its own activation.
        trunk: no weight layer behind it, but letters that the rule for heads would drop.
        first: it reads the raw input.
        explained: whether the order alone gives these letters.
    """

    weight: str
    before: list[tuple[str, str]] = field(default_factory=list)
    after: list[tuple[str, str]] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    head: bool = False
    trunk: bool = False
    first: bool = False
    explained: bool = False

    @property
    def order(self) -> Order:
        """The letters as they stand."""
        return Order((*(letter for letter, _ in self.before), "W", *(letter for letter, _ in self.after)))

    @property
    def layers(self) -> dict[str, str]:
        """Letter → layer name, W among them."""
        return dict([*self.before, ("W", self.weight), *self.after])


@dataclass(frozen=True)
class Found:
    """An order and what it explains.

    Attributes:
        order: the order.
        policy: the named policy of that order, or None.
        units: every unit, in the order of the weight layers.
    """

    order: Order
    policy: str | None
    units: tuple[FoundUnit, ...]

    @property
    def explained(self) -> int:
        return sum(unit.explained for unit in self.units)

    @property
    def share(self) -> float:
        """Explained units in all units; 1 where there are none."""
        return self.explained / len(self.units) if self.units else 1.0

    @property
    def text(self) -> str:
        """For remarks: "W-N-A (policy no-dropout) explains 52 of 54 units"."""
        named = f" (policy {self.policy})" if self.policy else ""
        return f"{self.order}{named} explains {self.explained} of {len(self.units)} units"


def infer_policy(network: Network) -> Found:
    """The order that explains most units; of equal ones that which leaves fewest letters over, then the shortest.

    Named policies are their orders: where several have one order, the first of `kbuild policies` without settings of
    its own names it.
    """
    runs = _Runs(network)
    best: tuple[tuple[int, int, int], Order, list[FoundUnit]] | None = None
    for order in all_orders():
        units, over = runs.units(order)
        score = (sum(unit.explained for unit in units), -over, -len(order.letters))
        if best is None or score > best[0]:
            best = (score, order, units)
    assert best is not None
    _, order, units = best
    runs.leftovers(units)
    named = [policy.name for policy in POLICIES if policy.order == order and not policy.defaults]
    return Found(order, named[0] if named else None, tuple(units))


class _Runs:
    """The letters behind and before every weight layer."""

    def __init__(self, network: Network):
        self.network = network
        self.layers = network.layers
        self.outputs = set(network.outputs)
        self.weights = [layer for layer in network.layers.values() if layer.role == "W"]
        self.behind = {weight.name: list(self._behind(weight)) for weight in self.weights}
        self.ahead = {weight.name: list(self._ahead(weight)) for weight in self.weights}
        leads: dict[str, bool] = {}
        for name in reversed(self.layers):
            leads[name] = any(self.layers[r].role == "W" or leads[r] for r in network.readers[name])
        raw: dict[str, bool] = {}
        for layer in self.layers.values():
            raw[layer.name] = layer.role in _RAW and all(raw[source] for source in layer.inputs)
        self.leads = leads
        trunk: dict[str, bool] = {}
        for name in reversed(self.layers):
            trunk[name] = any((self.layers[r].role == "W" and leads[r]) or trunk[r] for r in network.readers[name])
        #: Weight layers with nothing but heads behind them.
        self.last = {weight.name for weight in self.weights if leads[weight.name] and not trunk[weight.name]}
        self.moved = self._moved()
        self.first = {w.name: all(raw[source] for source in w.inputs) for w in self.weights}

    def alone(self, name: str) -> str | None:
        """The only reader of a layer that is no output."""
        readers = self.network.readers[name]
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def _behind(self, weight: Layer) -> Iterator[tuple[str, str]]:
        if weight.args.get("activation") not in (None, "linear"):
            yield "A", weight.name
        yield from self._run(weight.name)

    def _run(self, name: str) -> Iterator[tuple[str, str]]:
        """The letters behind a layer, each read by one layer alone."""
        at = self.alone(name)
        while at is not None and (letter := letter_of(self.layers[at])):
            yield letter, at
            at = self.alone(at)

    def _ahead(self, weight: Layer) -> Iterator[tuple[str, str]]:
        """Nearest first; a zero padding that leads to W alone is part of it."""
        at = self.layers[weight.inputs[0]]
        while at.cls.startswith("ZeroPadding") and self.alone(at.name) is not None:
            at = self.layers[at.inputs[0]]
        while (letter := letter_of(at)) and self.alone(at.name) is not None:
            yield letter, at.name
            at = self.layers[at.inputs[0]]

    def _moved(self) -> dict[str, list[tuple[str, str]]]:
        """Weight layer → the letters behind the addition it leads to, from A on: of two paths the longer has them."""
        depth: dict[str, int] = {}
        for layer in self.layers.values():
            depth[layer.name] = 1 + max((depth[source] for source in layer.inputs), default=0)
        ends = {(self.behind[w.name] or [("W", w.name)])[-1][1]: w.name for w in self.weights}
        found: dict[str, list[tuple[str, str]]] = {}
        for layer in self.layers.values():
            run = list(self._run(layer.name)) if layer.cls == "Add" else []
            paths = [ends[name] for name in layer.inputs if name in ends and self.alone(name) is not None]
            if run[:1] and run[0][0] == "A" and paths:
                last = max(paths, key=depth.__getitem__)
                if all(letter != "A" for letter, _ in self.behind[last]):
                    found[last] = run
        return found

    def units(self, order: Order) -> tuple[list[FoundUnit], int]:
        """Every unit under an order, and how many letters no unit takes."""
        units: list[FoundUnit] = []
        taken: set[str] = set()
        for weight in self.weights:
            unit = FoundUnit(weight.name, first=self.first[weight.name])
            behind = self.behind[weight.name]
            if not self.leads[weight.name]:
                own = [pair for pair in behind[:1] if pair[0] == "A"]
                unit.head = behind == own
                unit.trunk = not unit.head
            unit.after = behind[:1] if unit.head else _taken(behind, order.after)
            unit.moved = self._behind_addition(unit, order)
            taken.update(name for _, name in (*unit.after, *unit.moved))
            units.append(unit)
        for unit in units:
            if not unit.first:
                ahead = [pair for pair in self.ahead[unit.weight] if pair[1] not in taken]
                # A run is taken from W outwards: what another unit has cuts it off.
                free = len(ahead) == len(self.ahead[unit.weight]) or self.ahead[unit.weight][: len(ahead)] == ahead
                letters = _before(order, unit.head)
                unit.before = _taken(ahead, letters[::-1])[::-1] if free else []
                taken.update(name for _, name in unit.before)
        over = 0
        for unit in units:
            left = [pair for pair in self.behind[unit.weight] if pair[1] not in taken]
            over += len(left)
            unit.explained = (not left or self._closing(unit, left, order)) and self._fits(unit, order)
        return units, over

    def _closing(self, unit: FoundUnit, left: list[tuple[str, str]], order: Order) -> bool:
        """Whether letters that no unit has are the closing of a pre-activation trunk."""
        closing = tuple(letter for letter in order.before if letter in "NA")
        found = tuple(letter for letter, _ in left)
        return unit.weight in self.last and "A" in closing and found in (closing, tuple(_without_a(list(closing))))

    def _behind_addition(self, unit: FoundUnit, order: Order) -> list[tuple[str, str]]:
        """The letters from A on, where they stand behind the addition in full and the rest of the order before it."""
        run = self.moved.get(unit.weight, [])
        if unit.head or "A" not in order.after:
            return []
        at = order.after.index("A")
        wanted = list(order.after[at:])
        fits = [letter for letter, _ in unit.after] == list(order.after[:at])
        return run[: len(wanted)] if fits and [letter for letter, _ in run[: len(wanted)]] == wanted else []

    def _fits(self, unit: FoundUnit, order: Order) -> bool:
        present = [letter for letter, _ in unit.before], [letter for letter, _ in (*unit.after, *unit.moved)]
        before = [] if unit.first else list(_before(order, unit.head))
        if unit.head:
            # Its own A stands directly behind it, whatever the order.
            return present[0] == before
        after = list(order.after)
        if before == present[0] and after == present[1]:
            return True
        return _without_a(before) == present[0] and _without_a(after) == present[1]

    def leftovers(self, units: list[FoundUnit]) -> None:
        """Give units that the order does not explain the letters that stand around them and belong to no other."""
        taken = {name for unit in units for _, name in (*unit.before, *unit.after)}
        for unit in units:
            if unit.explained or unit.head:
                continue
            letters = {letter for letter, _ in (*unit.before, *unit.after)}
            for letter, name in self.behind[unit.weight][len(unit.after) :]:
                if name in taken or letter in letters:
                    break
                unit.after.append((letter, name))
                letters.add(letter)
                taken.add(name)
            if unit.first:
                continue
            for letter, name in self.ahead[unit.weight][len(unit.before) :]:
                if name in taken or letter in letters:
                    break
                unit.before.insert(0, (letter, name))
                letters.add(letter)
                taken.add(name)


def _before(order: Order, head: bool) -> tuple[str, ...]:
    """The letters before W; at a head under a pre-activation order N and A close the trunk and are not its own."""
    closes = head and "A" in order.before
    return tuple(letter for letter in order.before if not closes or letter == "D")


def _taken(run: list[tuple[str, str]], letters: tuple[str, ...]) -> list[tuple[str, str]]:
    """The start of a run that the letters allow, in their order, some left out."""
    found, position = [], 0
    for letter, name in run:
        if letter not in letters[position:]:
            break
        position = letters.index(letter, position) + 1
        found.append((letter, name))
    return found


def _without_a(letters: list[str]) -> list[str]:
    return [letter for letter in letters if letter != "A"]
