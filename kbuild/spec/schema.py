"""The spec language as JSON Schema (draft 2020-12), for editors: `kbuild schema` prints it.

Keys, layers, arguments, policies and their descriptions are made from the tables that the parser reads. What a schema
cannot say (names, arithmetic, shapes) is left to the compiler; the schema never refuses what the compiler accepts.
"""

from __future__ import annotations

import itertools

from kbuild import policy
from kbuild.spec import schema_keras as keras
from kbuild.spec.model import FORMAT
from kbuild.spec.parse import DTYPES
from kbuild.spec.schema_forms import Schema, mapping, or_expression, ref, references
from kbuild.spec.schema_train import TRAIN, data

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
        **mapping(_TOP, required=("layers",)),
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
            "input": mapping(_INPUT, required=("shape",)),
            "table": mapping({"table": or_expression(mapping(_TABLE), description="Columns.")}, ("table",)),
            "block": mapping(_BLOCK, required=("layers",)),
            "layers": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            "item": _item(),
            "train": mapping(TRAIN, required=("data", "loss")),
            "data": data(),
            **keras.definitions(),
        },
    }


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
    keys = {**mapping(_ORDERING), "not": {"required": ["policy", "order"]}}
    return {
        "anyOf": [*_policies(), ref("order"), ref("expression"), keys],
        "description": f"A policy's name, an order, or a mapping; {policy.DEFAULT_POLICY} if left out.",
    }


_RATE = or_expression({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, {"const": False})
_KIND = or_expression({"enum": list(policy.DROPOUT_KINDS)}, description="Which dropout layer; auto goes by the shape.")
_DROPOUT = {
    "anyOf": [*_RATE["anyOf"], mapping({"rate": {**_RATE, "description": "Share of values dropped."}, "kind": _KIND})],
    "description": "The rate of D, false for none, or {rate, kind}.",
}
_NORM = {
    "anyOf": [
        {"type": "boolean"},
        ref("expression"),
        ref("layer-of-role-N"),
        mapping({"sync": or_expression({"type": "boolean"})}, ("sync",)),
    ],
    "description": "What N is: a normalization layer, {sync: true} for BN over all replicas, or false for none.",
}
_WHERE = or_expression({"enum": list(policy.WHERE)})
_EDGE = or_expression({"enum": ["auto", "keep"]}, ref("order"))
_FUSED = or_expression({"type": "boolean"}, description="Whether the activation stays inside the weight layer.")

_ORDERING: dict[str, Schema] = {
    "policy": or_expression(*_policies(), description="A named policy; `kbuild policies` lists them."),
    "order": or_expression(ref("order"), description="An order of one's own."),
    "activation": ref("activation", "The activation of units that name none."),
    "norm": _NORM,
    "dropout": _DROPOUT,
    "where": {
        **mapping({"norm": _WHERE, "dropout": _WHERE}),
        "description": "Which units have the letter: " + ", ".join(policy.WHERE) + ".",
    },
    "first": {**_EDGE, "description": "What is left of the order at a unit that reads the raw input."},
    "head": {**_EDGE, "description": "What is left of the order at the head."},
    "closing": or_expression(
        {"enum": ["auto", "none", "N", "A", "N-A", "A-N", "NA", "AN"]},
        description="What ends the trunk of a pre-activation order.",
    ),
    "residual": or_expression(
        {"enum": ["after_merge", "in_branch"]}, description="Where the trailing A and D of a residual branch stand."
    ),
    "fused": _FUSED,
}

# -- layers -------------------------------------------------------------------------------------------------------

_BESIDE: dict[str, Schema] = {
    "name": ref("name", "The layer's name; the letters around it add _bn, _relu, _drop."),
    "from": references("What it reads, by name; the layer before it if left out."),
    "order": or_expression(ref("order"), description="The order of this unit alone."),
    "norm": _NORM,
    "dropout": _DROPOUT,
    "pool": {
        "anyOf": [ref("layer-of-role-P"), ref("expression")],
        "description": "Pooling that belongs to the unit.",
    },
    "role": or_expression({"enum": ["head", "trunk"]}, description="Whether the unit is a head."),
    "fused": _FUSED,
    "names": {
        **mapping({letter: ref("name") for letter in policy.LETTERS if letter != "W"}),
        "description": "Names of the unit's letters that do not follow the rule, such as {N: bn1}.",
    },
    "when": or_expression({"type": "boolean"}, description="Whether it is there, such as =stride > 1."),
    "with": {"type": "object", "description": "Arguments of the block that `use` names."},
}
_MERGE = {"anyOf": [ref("layer-of-role-merge"), ref("expression")], "description": "The layer that joins the paths."}
_STRUCTURES: dict[str, Schema] = {
    "repeat": {
        **mapping(
            {
                "times": or_expression({"type": "integer", "minimum": 0}, description="How often."),
                "index": {
                    "type": "string",
                    "pattern": r"^[^\d\W]\w*$",
                    "description": "The name of the index, counted from 0; i if left out.",
                },
                "layers": ref("layers"),
            },
            required=("times", "layers"),
        ),
        "description": "The layers several times over; the index is i.",
    },
    "branches": {
        **mapping(
            {"merge": _MERGE, "paths": {"type": "array", "items": ref("layers"), "minItems": 2}}, required=("paths",)
        ),
        "description": "Paths that read the same layer, joined by `merge` (Concatenate).",
    },
    "residual": {
        **mapping(
            {
                "layers": ref("layers", "The branch."),
                "shortcut": {
                    "anyOf": [{"enum": ["identity", "auto", None]}, ref("layers")],
                    "description": "auto projects where shapes differ; identity; or layers.",
                },
                "shortcut_first": or_expression({"type": "boolean"}, description="Whether it is the first input."),
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
    entry = {**mapping(properties), "minProperties": 1, "dependentRequired": {"with": ["use"]}, "not": {"anyOf": two}}
    return {"anyOf": [ref("layer-name"), entry]}


# -- the rest -----------------------------------------------------------------------------------------------------

_SIZE = or_expression({"type": ["integer", "null"], "exclusiveMinimum": 0})
_INPUT: dict[str, Schema] = {
    "shape": {
        "anyOf": [{"type": "array", "items": _SIZE, "maxItems": 8}, ref("expression")],
        "description": "Sizes without the batch axis, null where free.",
    },
    "dtype": or_expression({"enum": list(DTYPES)}, description="A Keras dtype; float32 if left out."),
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
        "additionalProperties": or_expression(_VALUES, {"type": "integer", "minimum": 2}),
        "description": "Column to its values, or to how many slots to learn: {job: [admin, tech], city: 50}.",
    },
    "normalize": or_expression({"type": "boolean"}, description="Whether numbers are normalized; true if left out."),
}
_BLOCK: dict[str, Schema] = {
    "params": {"type": ["object", "null"], "description": "Parameter to its default, or `required`."},
    "layers": ref("layers"),
}
_TOP: dict[str, Schema] = {
    "kbuild": {"const": FORMAT, "description": "The format's version."},
    "name": ref("name", "The model's name; the file's if left out."),
    "vars": {"type": "object", "description": "Values for arithmetic, overridden with --set vars.NAME=VALUE."},
    "include": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "Files with blocks, in the spec's own folder.",
    },
    "input": or_expression(ref("input"), ref("table"), description="The one input, or the columns of a table."),
    "inputs": {
        "type": "object",
        "additionalProperties": ref("input"),
        "minProperties": 1,
        "description": "Several inputs by name.",
    },
    "outputs": references("Names of the model's outputs; every layer that nobody reads if left out."),
    "ordering": ref("ordering"),
    "blocks": {"type": "object", "additionalProperties": ref("block"), "description": "Layers to use by name."},
    "layers": ref("layers", "The layers, each reading the one before it."),
    "train": ref("train", "What the commands that train need."),
}
