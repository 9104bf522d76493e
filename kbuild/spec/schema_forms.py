"""The forms that parts of the schema are made of."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def ref(name: str, description: str = "") -> Schema:
    return {"$ref": f"#/$defs/{name}", **({"description": description} if description else {})}


def or_expression(*choices: Schema, description: str = "") -> Schema:
    return {"anyOf": [*choices, ref("expression")], **({"description": description} if description else {})}


def mapping(properties: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


def references(description: str) -> Schema:
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    return {"anyOf": [{"type": "string"}, names], "description": description}
