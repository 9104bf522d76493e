"""The spec language as JSON Schema (draft 2020-12), for editors: `kbuild schema` prints it.

Keys, layers, arguments, policies and their descriptions are made from the tables that the parser reads. What a schema
cannot say (names, arithmetic, shapes) is left to the compiler; the schema never refuses what the compiler accepts.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from kbuild import policy
from kbuild.spec import custom_data
from kbuild.spec import schema_keras as keras
from kbuild.spec.data import DATA_KINDS, SUFFIXES, kind_named
from kbuild.spec.model import FORMAT
from kbuild.spec.parse import DTYPES
from kbuild.spec.strategy import STRATEGIES
from kbuild.spec.train import DECAYS, PRECISIONS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> Schema:
    """The schema of a whole spec.

    >>> made = schema()
    >>> made["required"], made["properties"]["layers"]
    (['layers'], {'$ref': '#/$defs/layers', 'description': 'The layers, each reading the one before it.'})
    """
    return {
        "$schema": DIALECT,
        "title": "kbuild spec",
        "description": "A Keras model as YAML: layers, and one line that orders normalization, activation and dropout.",
        **_mapping(_TOP, required=("layers",)),
        "oneOf": [{"required": ["input"]}, {"required": ["inputs"]}],
        "$defs": {
            "expression": {"type": "string", "pattern": "^=", "description": "Arithmetic over vars, such as =2*width."},
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9_.\\-]*$",
                "maxLength": 200,
                "description": "Letters, digits, '_', '-' and '.'; begins with a letter or digit.",
            },
            "order": _order(),
            "ordering": _ordering(),
            "input": _mapping(_INPUT, required=("shape",)),
            "table": _mapping({"table": _or_expression(_mapping(_TABLE), description="Columns.")}, ("table",)),
            "block": _mapping(_BLOCK, required=("layers",)),
            "layers": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            "item": _item(),
            "train": _mapping(_TRAIN, required=("data", "loss")),
            "data": _data(),
            **keras.definitions(),
        },
    }


def _ref(name: str, description: str = "") -> Schema:
    return {"$ref": f"#/$defs/{name}", **({"description": description} if description else {})}


def _or_expression(*choices: Schema, description: str = "") -> Schema:
    return {"anyOf": [*choices, _ref("expression")], **({"description": description} if description else {})}


def _mapping(properties: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def _references(description: str) -> Schema:
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {"anyOf": [{"type": "string"}, names], "description": description}


# -- policies and orders ------------------------------------------------------------------------------------------


def _order() -> Schema:
    letters = ", ".join(f"{letter} {word}" for letter, word in policy.LETTERS.items())
    signs = "".join(policy.LETTERS)
    return {
        "type": "string",
        "pattern": rf"^(?!.*([{signs}]).*\1)(?=.*W)[{signs}](-?[{signs}])*$",
        "description": f"Letters around one W, each at most once: {letters}.",
        "examples": ["W-N-A-D", "W-A-D-N", "N-A-W"],
    }


def _policies() -> list[Schema]:
    return [
        {"const": one.name, "description": f"{one.order}. {one.summary} Source: {one.source}."}
        for one in policy.every()
    ]


def _ordering() -> Schema:
    mapping = {**_mapping(_ORDERING), "not": {"required": ["policy", "order"]}}
    return {
        "anyOf": [*_policies(), _ref("order"), _ref("expression"), mapping],
        "description": f"A policy's name, an order, or a mapping; {policy.DEFAULT_POLICY} if left out.",
    }


_RATE = _or_expression({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"const": False})
_KIND = _or_expression({"enum": list(policy.DROPOUT_KINDS)}, description="Which dropout layer; auto goes by the shape.")
_DROPOUT = {
    "anyOf": [*_RATE["anyOf"], _mapping({"rate": {**_RATE, "description": "Share of values dropped."}, "kind": _KIND})],
    "description": "The rate of D, false for none, or {rate, kind}.",
}
_NORM = {
    "anyOf": [
        {"type": "boolean"},
        _ref("expression"),
        _ref("layer-of-role-N"),
        _mapping({"sync": _or_expression({"type": "boolean"})}, ("sync",)),
    ],
    "description": "What N is: a normalization layer, {sync: true} for BN over all replicas, or false for none.",
}
_WHERE = _or_expression({"enum": list(policy.WHERE)})
_EDGE = _or_expression({"enum": ["auto", "keep"]}, _ref("order"))
_FUSED = _or_expression({"type": "boolean"}, description="Whether the activation stays inside the weight layer.")

_ORDERING: dict[str, Schema] = {
    "policy": _or_expression(*_policies(), description="A named policy; `kbuild policies` lists them."),
    "order": _or_expression(_ref("order"), description="An order of one's own."),
    "activation": _ref("activation", "The activation of units that name none."),
    "norm": _NORM,
    "dropout": _DROPOUT,
    "where": {
        **_mapping({"norm": _WHERE, "dropout": _WHERE}),
        "description": "Which units have the letter: " + ", ".join(policy.WHERE) + ".",
    },
    "first": {**_EDGE, "description": "What is left of the order at a unit that reads the raw input."},
    "head": {**_EDGE, "description": "What is left of the order at the head."},
    "closing": _or_expression(
        {"enum": ["auto", "none", "N", "A", "N-A", "A-N", "NA", "AN"]},
        description="What ends the trunk of a pre-activation order.",
    ),
    "residual": _or_expression(
        {"enum": ["after_merge", "in_branch"]}, description="Where the trailing A and D of a residual branch stand."
    ),
    "fused": _FUSED,
}

# -- layers -------------------------------------------------------------------------------------------------------

_BESIDE: dict[str, Schema] = {
    "name": _ref("name", "The layer's name; the letters around it add _bn, _relu, _drop."),
    "from": _references("What it reads, by name; the layer before it if left out."),
    "order": _or_expression(_ref("order"), description="The order of this unit alone."),
    "norm": _NORM,
    "dropout": _DROPOUT,
    "pool": {
        "anyOf": [_ref("layer-of-role-P"), _ref("expression")],
        "description": "Pooling that belongs to the unit.",
    },
    "role": _or_expression({"enum": ["head", "trunk"]}, description="Whether the unit is a head."),
    "fused": _FUSED,
    "names": {
        **_mapping({letter: _ref("name") for letter in policy.LETTERS if letter != "W"}),
        "description": "Names of the unit's letters that do not follow the rule, such as {N: bn1}.",
    },
    "when": _or_expression({"type": "boolean"}, description="Whether it is there, such as =stride > 1."),
    "with": {"type": "object", "description": "Arguments of the block that `use` names."},
}
_MERGE = {"anyOf": [_ref("layer-of-role-merge"), _ref("expression")], "description": "The layer that joins the paths."}
_STRUCTURES: dict[str, Schema] = {
    "repeat": {
        **_mapping(
            {
                "times": _or_expression({"type": "integer", "minimum": 0}, description="How often."),
                "index": {
                    "type": "string",
                    "pattern": r"^[^\d\W]\w*$",
                    "description": "The name of the index, counted from 0; i if left out.",
                },
                "layers": _ref("layers"),
            },
            required=("times", "layers"),
        ),
        "description": "The layers several times over; the index is i.",
    },
    "branches": {
        **_mapping(
            {"merge": _MERGE, "paths": {"type": "array", "items": _ref("layers"), "minItems": 2}}, required=("paths",)
        ),
        "description": "Paths that read the same layer, joined by `merge` (Concatenate).",
    },
    "residual": {
        **_mapping(
            {
                "layers": _ref("layers", "The branch."),
                "shortcut": {
                    "anyOf": [{"enum": ["identity", "auto", None]}, _ref("layers")],
                    "description": "auto projects where shapes differ; identity; or layers.",
                },
                "shortcut_first": _or_expression({"type": "boolean"}, description="Whether it is the first input."),
                "merge": _MERGE,
            },
            required=("layers",),
        ),
        "description": "A branch whose end is added to what it reads.",
    },
    "use": {"type": "string", "description": "A block declared under `blocks`; `with` gives its arguments."},
}


def _item() -> Schema:
    properties = {**_STRUCTURES, **_BESIDE, **keras.layer_properties()}
    two = [{"required": list(pair)} for pair in itertools.combinations(_STRUCTURES, 2)]
    entry = {**_mapping(properties), "minProperties": 1, "dependentRequired": {"with": ["use"]}, "not": {"anyOf": two}}
    return {"anyOf": [_ref("layer-name"), entry]}


# -- the rest -----------------------------------------------------------------------------------------------------

_SIZE = _or_expression({"type": ["integer", "null"], "exclusiveMinimum": 0})
_INPUT: dict[str, Schema] = {
    "shape": {
        "anyOf": [{"type": "array", "items": _SIZE, "maxItems": 8}, _ref("expression")],
        "description": "Sizes without the batch axis, null where free.",
    },
    "dtype": _or_expression({"enum": list(DTYPES)}, description="A Keras dtype; float32 if left out."),
}
_COLUMN: Schema = {"type": "string", "minLength": 1}
_VALUES: Schema = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1}
_TABLE: dict[str, Schema] = {
    "numeric": {
        "anyOf": [{"type": "array", "items": _COLUMN}, _COLUMN, {"type": "null"}],
        "description": "Columns of numbers, normalized with mean and variance of the training data.",
    },
    "category": {
        "type": ["object", "null"],
        "additionalProperties": _or_expression(_VALUES, {"type": "integer", "minimum": 2}),
        "description": "Column to its values, or to how many slots to learn: {job: [admin, tech], city: 50}.",
    },
    "normalize": _or_expression({"type": "boolean"}, description="Whether numbers are normalized; true if left out."),
}
_BLOCK: dict[str, Schema] = {
    "params": {"type": ["object", "null"], "description": "Parameter to its default, or `required`."},
    "layers": _ref("layers"),
}
_TOP: dict[str, Schema] = {
    "kbuild": {"const": FORMAT, "description": "The format's version."},
    "name": _ref("name", "The model's name; the file's if left out."),
    "vars": {"type": "object", "description": "Values for arithmetic, overridden with --set vars.NAME=VALUE."},
    "include": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "Files with blocks, in the spec's own folder.",
    },
    "input": _or_expression(_ref("input"), _ref("table"), description="The one input, or the columns of a table."),
    "inputs": {
        "type": "object",
        "additionalProperties": _ref("input"),
        "minProperties": 1,
        "description": "Several inputs by name.",
    },
    "outputs": _references("Names of the model's outputs; every layer that nobody reads if left out."),
    "ordering": _ref("ordering"),
    "blocks": {"type": "object", "additionalProperties": _ref("block"), "description": "Layers to use by name."},
    "layers": _ref("layers", "The layers, each reading the one before it."),
    "train": _ref("train", "What the commands that train need."),
}


def _data() -> Schema:
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
        options = {option: _or_expression(value.schema) for option, value in kind.options.items()}
        value = _or_expression(kind.source.schema)
        kinds.append(_mapping({name: value, **options, "classes": classes}, (name, *kind.needs)))
    named = _or_expression({"const": "digits"})["anyOf"]
    return {"anyOf": [*named, *kinds], "description": "digits, or one key that names the kind: {npz: FILE}."}


def _of_outputs(kind: str, description: str) -> Schema:
    """One object, or a mapping from outputs to objects."""
    one = _ref(kind)
    return {
        "anyOf": [one, {"type": "object", "minProperties": 2, "additionalProperties": True}],
        "description": description,
    }


def _list(kind: str, description: str) -> Schema:
    one = _ref(kind)
    return {"anyOf": [one, {"type": "array", "items": one}, {"type": "null"}], "description": description}


def _whole(description: str, low: int = 1) -> Schema:
    return _or_expression({"type": "integer", "minimum": low}, description=description)


_FLAG = _or_expression({"type": "boolean"})
_TRAIN: dict[str, Schema] = {
    "data": {"$ref": "#/$defs/data"},
    "validation": {
        "anyOf": [
            {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            {"type": "string", "pattern": f"({'|'.join(map(re.escape, SUFFIXES))})$"},
            _ref("data"),
        ],
        "description": "A share of the training data (0.1), data of its own, or 0 for none.",
    },
    "loss": _of_outputs("loss", "A Keras loss; from_logits follows from the head's activation."),
    "optimizer": _ref("optimizer", "A Keras optimizer; Adam if left out."),
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
    "strategy": _or_expression(
        {"enum": [*STRATEGIES, "none"]},
        {"type": "string", "pattern": "^mirrored:[0-9]+$"},
        _mapping({"mirrored": _whole("Replicas.")}, ("mirrored",)),
        description="The devices or machines that share each batch: mirrored, {mirrored: 2} or multiworker.",
    ),
    "deterministic": {**_FLAG, "description": "Deterministic kernels only: slower, the same bits on the same machine."},
    "recalibrate": {**_FLAG, "description": "Whether BN takes its statistics anew from the training data at the end."},
    "checkpoint_every": _or_expression(
        {"type": "integer", "minimum": 1},
        _mapping({"minutes": _or_expression({"type": "number", "exclusiveMinimum": 0})}, ("minutes",)),
        description="When a state is written within an epoch: every so many steps, or {minutes: 5}, as if left out.",
    ),
    "precision": _or_expression({"enum": list(PRECISIONS)}, description="A Keras dtype policy."),
    "decay": _or_expression(
        {"enum": list(DECAYS)}, description="What weight decay acts on: weights, or all with gamma, beta and biases."
    ),
    "augment": _list("layer", "Random... layers applied to the inputs in training."),
    "class_weight": {
        "type": "object",
        "patternProperties": {"^[0-9]{1,9}$": _or_expression({"type": "number", "minimum": 0})},
        "additionalProperties": False,
        "minProperties": 1,
        "description": "Class number to the weight of its examples, {0: 1, 1: 5}.",
    },
}
