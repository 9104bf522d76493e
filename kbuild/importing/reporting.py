"""A model that kbuild never made → the plan that `summarize`, `lint` and `diff` read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kbuild.errors import KbuildError
from kbuild.importing.letters import infer_policy
from kbuild.importing.network import network_of
from kbuild.importing.planning import plan_of
from kbuild.importing.reader import read_config
from kbuild.importing.writing import import_network
from kbuild.plan.plan import Plan


def plan_of_model(path: str | Path) -> Plan:
    """The plan of a saved model: units, reasons, shapes, parameters and what folds, without TensorFlow.

    Args:
        path: a `.keras`, `.h5` or `.json` file.

    Raises:
        InputError: the file is no model of Keras 3, or holds what a spec cannot.
    """
    network = network_of(read_config(path), str(path))
    try:
        imported = import_network(network)
    except KbuildError:
        # A model without a head has no spec; its layers and runs of letters are there all the same.
        return plan_of(network, infer_policy(network))
    return with_units(plan_of(network, imported.found), imported.plan)


def with_units(plan: Plan, compiled: Plan) -> Plan:
    """The plan with the units of the imported spec: they know what is elided, dropped at an edge, and moved."""
    because = plan.ordering_because.split(":")[0]
    layers = []
    for layer in plan.layers:
        same = compiled.layer(layer.name)
        if (same.role, same.unit) != (layer.role, layer.unit):
            text = f"{same.role} of {same.unit}, {because}" if same.unit else layer.because
            layer = replace(layer, role=same.role, unit=same.unit, because=text)
        layers.append(layer)
    units = tuple(replace(unit, source=None) for unit in compiled.units)
    return replace(plan, layers=tuple(layers), units=units, heads=compiled.heads)
