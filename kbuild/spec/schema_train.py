"""The part of the schema that is `train`: data, losses and how long."""

from __future__ import annotations

import re

from kbuild.spec import custom_data
from kbuild.spec.data import DATA_KINDS, SUFFIXES, kind_named
from kbuild.spec.schema_forms import Schema, mapping, or_expression, ref
from kbuild.spec.strategy import STRATEGIES
from kbuild.spec.train import DECAYS, PRECISIONS


def data() -> Schema:
    listed = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 2}
    classes = {
        "anyOf": [listed, {"type": "object", "additionalProperties": listed, "minProperties": 1}],
        "description": "Names of the classes, in the order of their numbers; with several outputs a list for each.",
    }
    kinds = []
    for name in (*DATA_KINDS, *custom_data.names()):
        kind = kind_named(name)
        if kind is None:
            continue
        options = {option: or_expression(value.schema) for option, value in kind.options.items()}
        value = or_expression(kind.source.schema)
        kinds.append(mapping({name: value, **options, "classes": classes}, (name, *kind.needs)))
    named = or_expression({"const": "digits"})["anyOf"]
    return {"anyOf": [*named, *kinds], "description": "digits, or one key that names the kind: {npz: FILE}."}


def _of_outputs(kind: str, description: str) -> Schema:
    """One object, or a mapping from outputs to objects."""
    one = ref(kind)
    return {
        "anyOf": [one, {"type": "object", "minProperties": 2, "additionalProperties": True}],
        "description": description,
    }


def _list(kind: str, description: str) -> Schema:
    one = ref(kind)
    return {"anyOf": [one, {"type": "array", "items": one}, {"type": "null"}], "description": description}


def _whole(description: str, low: int = 1) -> Schema:
    return or_expression({"type": "integer", "minimum": low}, description=description)


_FLAG = or_expression({"type": "boolean"})
TRAIN: dict[str, Schema] = {
    "data": {"$ref": "#/$defs/data"},
    "validation": {
        "anyOf": [
            {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            {"type": "string", "pattern": f"({'|'.join(map(re.escape, SUFFIXES))})$"},
            ref("data"),
        ],
        "description": "A share of the training data (0.1), data of its own, or 0 for none.",
    },
    "loss": _of_outputs("loss", "A Keras loss; from_logits follows from the head's activation."),
    "optimizer": ref("optimizer", "A Keras optimizer; Adam if left out."),
    "metrics": {
        "anyOf": [*_list("metric", "")["anyOf"], {"type": "object", "minProperties": 2}],
        "description": "Keras metrics, such as [accuracy].",
    },
    "callbacks": _list("callback", "Keras callbacks."),
    "weighted_metrics": {
        "anyOf": [*_list("metric", "")["anyOf"], {"type": "object", "minProperties": 2}],
        "description": "Keras metrics that weigh examples by sample_weight and class_weight, as the loss does.",
    },
    "epochs": _whole("How often the training sees all examples; 10 if left out."),
    "batch_size": _whole("Examples per step; 32 if left out."),
    "seed": _whole("The one source of randomness; 0 if left out.", 0),
    "shuffle": {**_FLAG, "description": "Whether each epoch has its own order of examples."},
    "strategy": or_expression(
        {"enum": [*STRATEGIES, "none"]},
        {"type": "string", "pattern": "^mirrored:[0-9]+$"},
        mapping({"mirrored": _whole("Replicas.")}, ("mirrored",)),
        description="The devices or machines that share each batch: mirrored, {mirrored: 2} or multiworker.",
    ),
    "deterministic": {**_FLAG, "description": "Deterministic kernels only: slower, the same bits on the same machine."},
    "recalibrate": {**_FLAG, "description": "Whether BN takes its statistics anew from the training data at the end."},
    "checkpoint_every": or_expression(
        {"type": "integer", "minimum": 1},
        mapping({"minutes": or_expression({"type": "number", "exclusiveMinimum": 0})}, ("minutes",)),
        description="When a state is written within an epoch: every so many steps, or {minutes: 5}, as if left out.",
    ),
    "precision": or_expression({"enum": list(PRECISIONS)}, description="A Keras dtype policy."),
    "decay": or_expression(
        {"enum": list(DECAYS)}, description="What weight decay acts on: weights, or all with gamma, beta and biases."
    ),
    "augment": _list("layer", "Random... layers applied to the inputs in training."),
    "class_weight": {
        "type": "object",
        "patternProperties": {"^[0-9]{1,9}$": or_expression({"type": "number", "minimum": 0})},
        "additionalProperties": False,
        "minProperties": 1,
        "description": "Class number to the weight of its examples, {0: 1, 1: 5}.",
    },
}
