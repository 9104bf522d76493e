"""A model → the text of a spec that compiles to the identical graph: it is compiled and compared before it is given.

Where a unit's letters or a structure come out otherwise than in the model, they are written by hand, and only then.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, InternalError, SpecError
from kbuild.importing import text
from kbuild.importing.blocks import with_blocks
from kbuild.importing.comparing import compare
from kbuild.importing.drafts import Drafter, Item, Ordering, linear, ordering_of
from kbuild.importing.letters import Found, infer_policy
from kbuild.importing.network import Network, network_of
from kbuild.importing.planning import automatic_biases
from kbuild.importing.reader import read_config
from kbuild.importing.structures import Structurer
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.spec.load import parse_spec

#: How often a spec is written anew with more of it by hand before all of it is.
ATTEMPTS = 6


@dataclass(frozen=True)
class Imported:
    """An imported model.

    Attributes:
        spec: the YAML text.
        found: the order in it and the units that it explains.
        plan: what the text compiles to.
        by_hand: weight layers whose letters are written as layers of their own.
        remarks: what a reader should know, in words.
    """

    spec: str
    found: Found
    plan: Plan
    by_hand: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return {
            "name": self.plan.name,
            "ordering": {"order": str(self.found.order), "policy": self.found.policy},
            "units": len(self.found.units),
            "explained": self.found.explained,
            "share": round(self.found.share, 4),
            "departures": [unit.weight for unit in self.found.units if not unit.explained],
            "by_hand": list(self.by_hand),
            "layers": len(self.plan.layers),
            "total_params": self.plan.total_params,
            "remarks": list(self.remarks),
            "spec": self.spec,
        }


def import_model(path: str | Path) -> Imported:
    """Import a saved model.

    Args:
        path: a `.keras`, `.h5` or `.json` file.

    Raises:
        InputError: the file is no model of Keras 3, or holds what a spec cannot; the message names all of it.
    """
    path = Path(path)
    return import_network(network_of(read_config(path), str(path)))


def write_spec(path: str | Path) -> str:
    """The spec of a saved model: see `import_model`."""
    return import_model(path).spec


@dataclass(slots=True)
class _Choice:
    """How much of a spec is written by hand: letters of units, merges, and whether there are blocks at all."""

    by_hand: set[str] = field(default_factory=set)
    flat: set[str] = field(default_factory=set)
    blocks: bool = True


def import_network(network: Network) -> Imported:
    """Import a network that was read: write, compile, compare, and write by hand what came out otherwise.

    Raises:
        InputError: it holds what a spec cannot.
        InternalError: even with every layer by hand the spec is another graph.
    """
    found = infer_policy(network)
    biases = automatic_biases(network, found)
    ordering = ordering_of(network, found)
    choice = _Choice()
    refused: SpecError | None = None
    differences: dict[str, str] = {}
    for attempt in range(ATTEMPTS + 1):
        if refused is not None or attempt == ATTEMPTS:
            choice = _Choice({unit.weight for unit in found.units}, set(network.layers), False)
        written, drafter = _write(network, ordering, biases, choice)
        try:
            plan = plan_spec(parse_spec(written, name=f"<spec of {network.file}>"))
        except SpecError as error:
            if refused is not None:
                raise InputError(f"{network.file} cannot be written as a spec:\n{error}") from None
            refused = error
            continue
        differences = compare(network, plan)
        if not differences:
            kept = replace(found, units=tuple(drafter.units.values()))
            remarks = (kept.text, *_departures(kept), *network.remarks)
            return Imported(written, kept, plan, tuple(sorted(choice.by_hand)), remarks)
        if not _more_by_hand(network, drafter, differences, choice):
            choice.blocks = False
            choice.flat.update(name for name in differences if name)
    listed = "\n  ".join(list(differences.values())[:10])
    raise InternalError(f"the spec written for {network.file} compiles to another graph, a bug in kbuild:\n  {listed}")


def _more_by_hand(network: Network, drafter: Drafter, differences: dict[str, str], choice: _Choice) -> bool:
    """Mark the units and merges where the plan differs; whether there was one that is not marked yet."""
    before = len(choice.by_hand) + len(choice.flat)
    for name in differences:
        layer = network.layers.get(name)
        unit = drafter.owner.get(name)
        if layer is not None and layer.role == "merge":
            choice.flat.add(name)
        if unit is not None:
            choice.by_hand.add(unit.weight)
        for source in layer.inputs if layer is not None else ():
            if network.layers[source].role == "merge":
                choice.flat.add(source)
    return len(choice.by_hand) + len(choice.flat) > before


def _departures(found: Found) -> Iterator[str]:
    counted: dict[str, int] = {}
    for unit in found.units:
        if not unit.explained:
            counted[str(unit.order)] = counted.get(str(unit.order), 0) + 1
    if counted:
        ranked = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = ", ".join(f"{number} {order}" for order, number in ranked)
        yield f"the other units name an order of their own: {listed}"


def _write(network: Network, ordering: Ordering, biases: dict[str, bool], choice: _Choice) -> tuple[str, Drafter]:
    drafter, items, structurer = _structured(network, ordering, biases, choice)
    if structurer.kept_inside > structurer.moved:
        ordering = replace(ordering, in_branch=True)
        drafter, items, structurer = _structured(network, ordering, biases, choice)
    ordered = linear(items, network)
    outputs = _outputs(network, items, ordered)
    entries = [item.data(sources) for item, sources in ordered]
    declared: dict[str, Any] = {}
    if choice.blocks:
        entries, declared = with_blocks(entries, [item.layers for item, _ in ordered])
    ordering = replace(ordering, found=replace(ordering.found, units=tuple(drafter.units.values())))
    return "\n".join(_lines(network, ordering, outputs, declared, entries)) + "\n", drafter


def _structured(
    network: Network, ordering: Ordering, biases: dict[str, bool], choice: _Choice
) -> tuple[Drafter, list[Item], Structurer]:
    units = tuple(replace(unit, before=list(unit.before), after=list(unit.after)) for unit in ordering.found.units)
    ordering = replace(ordering, found=replace(ordering.found, units=units))
    drafter = Drafter(network, ordering, biases, choice.by_hand)
    structurer = Structurer(network, drafter, drafter.items(), choice.flat)
    return drafter, structurer.run(), structurer


def _outputs(network: Network, items: list[Item], ordered: list[tuple[Item, list[str] | None]]) -> list[str] | None:
    """The names to write under `outputs`; None where they are the layers that nobody reads, in their order."""
    read = {name for item in items for name in item.reads}
    unread = [item.end for item, _ in ordered if item.end not in read]
    if tuple(unread) == network.outputs:
        return None
    names = {item.end: item.name for item in items}
    return [names.get(name, name) for name in network.outputs]


def _lines(
    network: Network,
    ordering: Ordering,
    outputs: list[str] | None,
    blocks: dict[str, Any],
    entries: list[dict[str, Any]],
) -> Iterator[str]:
    yield from textwrap.wrap(
        f"Imported from {Path(network.file).name}: {ordering.found.text}.",
        110,
        initial_indent="# ",
        subsequent_indent="# ",
    )
    yield "kbuild: 1"
    yield f"name: {text.flow(network.name)}"
    yield "inputs:"
    for name in network.inputs:
        args = network.layers[name].args
        dtype = {} if args["dtype"] == "float32" else {"dtype": args["dtype"]}
        yield f"  {text.flow(name)}: {text.flow({'shape': args['shape'], **dtype})}"
    if outputs is not None:
        yield f"outputs: {text.flow(outputs)}"
    yield f"ordering: {text.flow(ordering.data())}"
    if blocks:
        yield "blocks:"
        for name, block in blocks.items():
            yield f"  {name}:"
            if block["params"]:
                yield f"    params: {text.flow(block['params'])}"
            yield "    layers:"
            yield from text.write(block["layers"], 6)
    yield "layers:"
    yield from text.write(entries, 2)
