"""The plan of an imported spec against the model it came from."""

from __future__ import annotations

from kbuild.importing.arguments import comparable
from kbuild.importing.network import Network
from kbuild.plan.plan import Plan


def compare(network: Network, plan: Plan) -> dict[str, str]:
    """Layer name → how the plan differs from the model there; empty where both are the same graph.

    Compared are names, classes, all arguments with Keras' defaults filled in, connections with their order, and the
    model's inputs and outputs with theirs (under the name "").
    """
    found: dict[str, str] = {}
    planned = {layer.name: layer for layer in plan.layers}
    for name, layer in network.layers.items():
        other = planned.get(name)
        if other is None:
            found[name] = f"{name} ({layer.cls}) is not planned"
        elif other.cls != layer.cls:
            found[name] = f"{name} is a {layer.cls}, planned {other.cls}"
        elif other.inputs != layer.inputs:
            found[name] = f"{name} reads {list(layer.inputs)}, planned {list(other.inputs)}"
        elif layer.facts is None:
            if (other.config["shape"], other.config["dtype"]) != (layer.args["shape"], layer.args["dtype"]):
                found[name] = f"{name} is {layer.args}, planned {other.config}"
        elif comparable(layer.cls, layer.args) != comparable(layer.cls, other.config):
            found[name] = f"{name} has {layer.args}, planned {other.config}"
    found |= {
        name: f"{name} ({layer.cls}) is planned only" for name, layer in planned.items() if name not in network.layers
    }
    edges = (tuple(layer.name for layer in plan.inputs), plan.outputs)
    if edges != (network.inputs, network.outputs):
        found[""] = f"inputs and outputs are {network.inputs} and {network.outputs}, planned {edges[0]} and {edges[1]}"
    return found
