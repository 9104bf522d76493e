"""The built model against the plan: names, classes, connections, shapes, parameter counts, biases."""

from __future__ import annotations

from typing import Any

from kbuild.catalog.layers import lookup
from kbuild.catalog.operations import OPERATIONS
from kbuild.errors import InternalError
from kbuild.plan.plan import Plan, PlannedLayer, Shape


def verify(plan: Plan, model: Any) -> None:
    """Compare a functional model with the plan it was built from.

    Raises:
        InternalError: with every difference.
    """
    differences = compare(plan, model)
    if differences:
        listed = "\n  ".join(differences[:20])
        facts = [lookup(layer.cls) for layer in plan.layers]
        packages = sorted({one.package for one in facts if one is not None and one.package})
        whose = f"kbuild, or in the rules of {' or '.join(packages)}" if packages else "kbuild"
        raise InternalError(f"the model differs from its plan, a bug in {whose}:\n  {listed}")


def compare(plan: Plan, model: Any) -> list[str]:
    """Every difference between a plan and a functional Keras model, in words; empty where they agree."""
    found: list[str] = []
    built = _built(plan, model)
    planned = {layer.name for layer in plan.layers}
    found += [f"{name} is planned and not built" for name in planned - set(built)]
    found += [f"{name} is built and not planned" for name in set(built) - planned]
    for layer in plan.layers:
        if layer.name in built:
            found += [f"{layer.name}: {text}" for text in _differences(layer, built[layer.name], planned)]
    outputs = [tensor._keras_history.operation.name for tensor in model.outputs]
    if list(plan.outputs) != outputs:
        found.append(f"outputs: planned {list(plan.outputs)}, built {outputs}")
    inputs = [tensor._keras_history.operation.name for tensor in model.inputs]
    if [layer.name for layer in plan.inputs] != inputs:
        found.append(f"inputs: planned {[layer.name for layer in plan.inputs]}, built {inputs}")
    if plan.total_params is not None and plan.total_params != model.count_params():
        found.append(f"parameters: planned {plan.total_params}, built {model.count_params()}")
    return found


def _built(plan: Plan, model: Any) -> dict[str, Any]:
    """The layers, and the operations that are planned; masks add operations of their own, which no plan has."""
    built = {layer.name: layer for layer in model.layers}
    wanted = {layer.name for layer in plan.layers if layer.cls in OPERATIONS}
    return built | {operation.name: operation for operation in model.operations if operation.name in wanted}


def _differences(planned: PlannedLayer, built: Any, names: set[str]) -> list[str]:
    found = []
    expected = OPERATIONS[planned.cls].cls if planned.cls in OPERATIONS else planned.cls
    if type(built).__name__ != expected:
        found.append(f"planned {planned.cls}, built {type(built).__name__}")
    if planned.cls == "InputLayer":
        return found
    # A mask is one more input, an operation that Keras made and no plan has.
    sources = [name for name in connections(built) if name in names or name in planned.inputs]
    if sources != list(planned.inputs):
        found.append(f"planned to read {list(planned.inputs)}, reads {sources}")
    shape = output_shape(built)
    if planned.output_shape is not None and planned.output_shape != shape:
        found.append(f"planned shape {planned.output_shape}, built {shape}")
    if planned.cls not in OPERATIONS and planned.params is not None and planned.params != built.count_params():
        found.append(f"planned {planned.params} parameters, built {built.count_params()}")
    if planned.role == "W" and "use_bias" in planned.config:
        if planned.config["use_bias"] != built.use_bias:
            found.append(f"planned use_bias {planned.config['use_bias']}, built {built.use_bias}")
    return found


def connections(layer: Any) -> list[str]:
    """Names of the layers that a functional model's layer reads, in order."""
    node = layer._inbound_nodes[0]
    return [tensor._keras_history.operation.name for tensor in node.input_tensors]


def output_shape(layer: Any) -> Shape | None:
    """The shape of a functional model's layer, batch axis first; None for several outputs."""
    tensors = layer._inbound_nodes[0].output_tensors
    return tuple(tensors[0].shape) if len(tensors) == 1 else None
