"""Every key of a spec and every layer, from the JSON Schema that editors get and the catalog that the compiler has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kbuild.catalog.layers import FORBIDDEN, layer_names, lookup
from kbuild.spec.schema import schema
from kbuild.spec.schema_keras import says

Schema = dict[str, Any]
Table = Callable[[tuple[str, ...], list[tuple[str, ...]]], str]

#: Definitions of the schema that have a section of their own, and its heading.
_SECTIONS = {"input": "input", "table": "table", "ordering": "ordering", "block": "blocks", "train": "train"}
_STRUCTURES = ("repeat", "branches", "residual", "use")
_ROLES = {
    "W": "Weight layers (W)",
    "N": "Normalization (N)",
    "A": "Activation (A)",
    "D": "Dropout and noise (D)",
    "P": "Pooling (P)",
    "merge": "Merging",
    "reshape": "Reshaping",
    "padding": "Padding and cropping",
    "resize": "Resizing",
    "preprocessing": "Preprocessing and augmentation",
    "other": "Everything else",
}


def spec_keys(table: Table) -> str:
    """All keys, a section for each mapping of the language."""
    whole = schema()
    made = whole["$defs"]
    parts = ["## The spec\n\n" + _keys(whole, table)]
    for name in _SECTIONS:
        mapping = _mapping(made.get(name, {}))
        if mapping is not None:
            mapping = _mapping(mapping["properties"].get(name, mapping)) or mapping
            parts.append(f"## {_SECTIONS[name]}\n\n{_keys(mapping, table)}")
        if name == "block":
            parts.append(_entries(made["item"], table))
        if name == "train":
            parts.append(_data(made["data"], table))
    return "\n\n".join(parts)


def _entries(item: Schema, table: Table) -> str:
    """An entry of `layers`: structures, and what stands beside a layer."""
    entry = _mapping(item)
    assert entry is not None
    ours = {key: value for key, value in entry["properties"].items() if key[0].islower() and not key.startswith("ops.")}
    beside = {key: value for key, value in ours.items() if key not in _STRUCTURES}
    parts = ["## layers\n\nAn entry is a [Keras layer](layers.md), or one of these structures:"]
    parts.append(_keys({"properties": {key: ours[key] for key in _STRUCTURES}}, table))
    parts.append("Beside a layer or a structure:")
    parts.append(_keys({"properties": beside}, table))
    for key in _STRUCTURES:
        if (mapping := _mapping(ours[key])) is not None:
            parts.append(f"### {key}\n\n{_keys(mapping, table)}")
    return "\n\n".join(parts)


def _data(data: Schema, table: Table) -> str:
    """The kinds of data, each with its options."""
    rows = []
    for kind in data["anyOf"]:
        if kind.get("type") == "object":
            name, *options = kind["properties"]
            needs = [f"`{key}`" for key in kind.get("required", ()) if key != name]
            rows.append((f"`{name}`", ", ".join(f"`{key}`" for key in options), ", ".join(needs)))
    return "### data\n\n`digits`, or a mapping with one of these keys:\n\n" + table(("kind", "options", "needed"), rows)


def _keys(mapping: Schema, table: Table) -> str:
    needed = mapping.get("required", ())
    rows = [
        (f"`{key}`" + (" (needed)" if key in needed else ""), takes(value), value.get("description", ""))
        for key, value in mapping["properties"].items()
    ]
    return table(("key", "takes", "says"), rows)


def _mapping(found: Schema) -> Schema | None:
    """The mapping among what a value may be."""
    if "properties" in found:
        return found
    return next((one for one in found.get("anyOf", ()) if "properties" in one), None)


def takes(found: Schema) -> str:
    """What a value may be, in words.

    >>> takes({"anyOf": [{"type": "integer"}, {"enum": ["auto"]}, {"$ref": "#/$defs/expression"}]})
    'whole number, `auto`'
    """
    return ", ".join(dict.fromkeys(word for word in _words(found) if word))


_TYPES = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "string": "string"}
_TYPES |= {"null": "", "array": "list", "object": "mapping"}


def _words(found: Schema) -> Iterable[str]:
    if "anyOf" in found:
        choices = [choice for choice in found["anyOf"] if "const" not in choice]
        if len(found["anyOf"]) - len(choices) > 3:
            yield "a policy's name"
        elif len(choices) < len(found["anyOf"]):
            choices = found["anyOf"]
        for choice in choices:
            yield from _words(choice)
    elif "$ref" in found:
        yield _referred(found["$ref"].rpartition("/")[2])
    elif "enum" in found:
        yield from (f"`{value}`" for value in found["enum"] if value is not None)
    elif "const" in found:
        yield f"`{found['const']}`" if found["const"] is not False else "`false`"
    elif found.get("type") == "array" and "items" in found:
        each = takes(found["items"]) or "value"
        yield f"list of {each}{'s' * each[-1].isalpha()}"
    elif "properties" in found:
        yield "mapping of " + ", ".join(f"`{key}`" for key in found["properties"])
    else:
        types = found.get("type", [])
        yield from (_TYPES[one] for one in ([types] if isinstance(types, str) else types))


def _referred(name: str) -> str:
    if name == "expression":
        return ""
    if name == "layers":
        return "[layers](#layers)"
    if name in _SECTIONS:
        return f"[{_SECTIONS[name]}](#{_SECTIONS[name]})"
    if name == "data":
        return "[data](#data)"
    role = name.removeprefix("layer-of-role-")
    return {"name": "name", "order": "order", "layer": "layer"}.get(
        name, f"{_ROLES[role].split(' (')[0].lower()} layer" if role in _ROLES else f"Keras {name}"
    )


def layers(table: Table) -> str:
    """Every layer class by role, with its positional arguments and whether its shape needs TensorFlow."""
    by_role: dict[str, list[tuple[str, ...]]] = {role: [] for role in _ROLES}
    for name in sorted(layer_names()):
        facts = lookup(name)
        if facts is None or facts.name != name or name in FORBIDDEN:
            continue
        required = [argument for argument in facts.signature.arguments if argument not in facts.signature.defaults]
        known = "kbuild" if facts.shape is not None and facts.weights is not None else "Keras"
        said = says("layer", name).partition("\n")[0]
        by_role[facts.role].append((f"`{name}`", ", ".join(f"`{one}`" for one in required), said, known))
    parts = [
        f"## {title}\n\n" + table(("layer", "needs", "says", "shape known to"), by_role[role])
        for role, title in _ROLES.items()
        if by_role[role]
    ]
    refused = table(("class", "refused because"), [(f"`{name}`", why) for name, why in sorted(FORBIDDEN.items())])
    return "\n\n".join([*parts, "## Refused\n\n" + refused])
