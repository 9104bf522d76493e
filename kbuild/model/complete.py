"""Shapes and parameters of layers that the catalog has no rule for, taken from the built model."""

from __future__ import annotations

from dataclasses import replace

from kbuild.model.lower import build_model
from kbuild.model.verify import output_shape
from kbuild.plan.folding import with_folding
from kbuild.plan.plan import Plan


def complete(plan: Plan) -> Plan:
    """The plan with nothing left unknown; builds the model once.

    Raises:
        SpecError: Keras refuses a layer.
    """
    built = {layer.name: layer for layer in build_model(plan).layers}
    layers = []
    for layer in plan.layers:
        made = built[layer.name]
        if layer.output_shape is None or layer.params is None:
            trainable = sum(int(weight.shape.num_elements() or 0) for weight in made.trainable_variables)
            layer = replace(
                layer,
                output_shape=layer.output_shape or output_shape(made),
                params=made.count_params(),
                trainable_params=trainable,
            )
        layers.append(layer)
    return with_folding(replace(plan, layers=tuple(layers)))
