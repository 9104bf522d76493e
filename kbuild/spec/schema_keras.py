"""The Keras part of the schema: layers and other objects with their arguments, types, defaults and descriptions."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.arguments import checker_of, object_kind
from kbuild.catalog.layers import layer_names, lookup
from kbuild.catalog.operations import OPERATIONS
from kbuild.spec.schema_forms import Schema, ref

#: Kinds of objects that a schema defines, layers apart.
KINDS = ("initializer", "regularizer", "constraint", "optimizer", "schedule", "loss", "metric", "callback")
#: Roles of layers that a key of the spec asks for.
ROLES = ("N", "P", "A", "merge")
_LINK = "https://www.tensorflow.org/api_docs/python/tf/keras/{module}/{name}"
_EXPRESSION = ref("expression")


@cache
def _docs() -> dict[str, Any]:
    path = Path(facts.__file__).parent / "keras_docs.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def says(kind: str, name: str) -> str:
    """What Keras' documentation says of a class in a sentence, and where it says more; a package's own words."""
    custom = facts.custom_layer(name) if kind == "layer" else None
    if custom is not None:
        return f"{custom.layer.says}\n\n{custom.package}".strip()
    text = _docs().get(kind, {}).get(name, {}).get("says", "")
    module = facts.MODULES[kind].removeprefix("keras.").replace(".", "/")
    link = _LINK.format(module=module, name=name) if not name.startswith("ops.") else ""
    return f"{text}\n\n{link}".strip()


def definitions() -> dict[str, Schema]:
    """`layer`, `layer-name`, `activation`, one definition per kind, and one per class."""
    found: dict[str, Schema] = {
        "layer-name": {"anyOf": [{"enum": _layers()}, _EXPRESSION], "description": "A Keras layer class."},
        "layer": _object("layer", _layers()),
        "activation": _activation(),
    }
    for role in ROLES:
        found[f"layer-of-role-{role}"] = _object("layer", [name for name in _layers() if _role(name) == role])
    for kind in KINDS:
        found[kind] = _object(kind, _names(kind))
        found |= {f"{kind}.{name}": _arguments(kind, name) for name in facts.names(kind)}
    found |= {f"layer.{name}": _arguments("layer", name) for name in (*layer_names(), *OPERATIONS)}
    return found


def layer_properties() -> dict[str, Schema]:
    """Every layer as a key of an entry, aliases too."""
    return {name: _class("layer", name) for name in _layers()}


@cache
def _layers() -> list[str]:
    aliases = [name for name in facts.known_names("layer") if lookup(name) is not None]
    return list(dict.fromkeys((*layer_names(), *OPERATIONS, *aliases)))


def _role(name: str) -> str:
    layer = lookup(name)
    return layer.role if layer is not None else ""


def _names(kind: str) -> list[str]:
    names = [*facts.names(kind), *facts.known_names(kind)]
    if kind == "optimizer":
        names += [name.lower() for name in names]  # Keras takes them in any case
    if kind == "metric":
        names += ["accuracy", "acc", "Accuracy", "ACC", "Acc"]
    return list(dict.fromkeys(names))


def _class(kind: str, name: str) -> Schema:
    signature = facts.signature(kind, name)
    canonical = signature.name if signature is not None else name
    return {"$ref": f"#/$defs/{kind}.{canonical}"}


def _object(kind: str, names: list[str]) -> Schema:
    """A name, one name with its arguments, or Keras' own {class_name, config}."""
    known = [name for name in names if facts.signature(kind, name) is not None]
    single: Schema = {
        "type": "object",
        "properties": {name: _class(kind, name) for name in known},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    serialized = {
        "type": "object",
        "properties": {"class_name": {"enum": names}, "config": {"type": ["object", "array", "null"]}},
        "required": ["class_name"],
    }
    return {"anyOf": [{"enum": names}, _EXPRESSION, single, serialized]}


def _activation() -> Schema:
    """A function's name; in a weight layer also an activation layer, which the letter A becomes."""
    layers = [name for name in _layers() if _role(name) == "A" and name != "Activation"]
    choices = [{"enum": list(facts.activations())}, {"type": "null"}, *_object("layer", layers)["anyOf"]]
    return {"anyOf": choices, "description": "An activation's name, or an activation layer."}


def _arguments(kind: str, name: str) -> Schema:
    """What stands behind a class name: a mapping, a list of positional arguments, one scalar, or nothing."""
    signature = facts.signature(kind, name)
    assert signature is not None
    properties = {argument: _argument(kind, name, argument) for argument in signature.arguments}
    mapping: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if signature.required:
        mapping["required"] = list(signature.required)
    choices: list[Schema] = [mapping]
    if signature.positional:
        # The first argument as it is: a mapping there would be the arguments.
        choices.append({"not": {"type": ["object", "array", "null"]}, **properties[signature.positional[0]]})
        choices.append({"type": "array", "maxItems": len(signature.positional)})
    if not signature.required:
        choices.append({"type": ["null"]})
        choices.append({"type": "array", "maxItems": 0})
    return {"anyOf": choices, "description": says(kind, signature.name)}


def _argument(kind: str, cls: str, argument: str) -> Schema:
    signature = facts.signature(kind, cls)
    assert signature is not None
    default = signature.defaults.get(argument)
    found: Schema = {"anyOf": [*_values(kind, cls, argument), _EXPRESSION]}
    if argument in signature.defaults:
        found["anyOf"].append({"const": default})
        found["default"] = default
    text = _docs().get(kind, {}).get(cls, {}).get("arguments", {}).get(argument, "")
    return {**found, "description": text} if text else found


def _values(kind: str, cls: str, argument: str) -> list[Schema]:
    held = object_kind(cls, argument)
    if held == "layers":
        return [{"type": "array", "items": {"$ref": "#/$defs/layer"}, "minItems": 1}]
    if held is not None:
        return [{"$ref": f"#/$defs/{held}"}, {"type": "null"}]
    checker = checker_of(cls, argument, kind)
    found = [_with_expressions(dict(checker.schema))] if checker is not None and checker.schema else [{}]
    if argument == "learning_rate":
        found.append({"$ref": "#/$defs/schedule"})
    return found


def _with_expressions(schema: Schema) -> Schema:
    """The schema with arithmetic allowed for every item of a list."""
    if "anyOf" in schema:
        return {"anyOf": [_with_expressions(dict(choice)) for choice in schema["anyOf"]]}
    if schema.get("type") == "array" and "items" in schema:
        return {**schema, "items": {"anyOf": [_with_expressions(dict(schema["items"])), _EXPRESSION]}}
    return schema
