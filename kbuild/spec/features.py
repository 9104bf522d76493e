"""Features of TFRecord files as a spec declares them, with the words of `tf.io.FixedLenFeature`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kbuild.errors import Problem, suggest
from kbuild.spec.data_values import Reader, Value, sizes, word, wrong
from kbuild.spec.reader import Items, Mapping, Node, Scalar

#: Types that a tf.train.Example holds.
TYPES = ("string", "int64", "float32")

#: What bytes are decoded as: an image, or numbers of a type as they lie in memory, little end first.
IMAGES = ("image", "png", "jpeg")
NUMBERS = ("uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64")

#: Numbers that a default may list.
_LONGEST = 10_000


@dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        dtype: one of TYPES, as the records hold it.
        shape: of the value, after decoding.
        decode: "" for none, one of IMAGES or NUMBERS; for features of the dtype string.
        resize: whether images of another height and width are resized.
        default: value of records that lack the feature; None where every record must have it.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    decode: str = ""
    resize: bool = False
    default: Any = None


_SHAPE = sizes(None, "a list of sizes, [] for a single value")


def _flag(name: str, node: Node, problems: list[Problem]) -> bool | None:
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    wrong(name, "true or false", node, problems)
    return None


def _default(name: str, node: Node, problems: list[Problem]) -> Any:
    values = [node] if isinstance(node, Scalar) else list(node.items) if isinstance(node, Items) else []
    found = [
        value.value for value in values if isinstance(value, Scalar) and isinstance(value.value, (str, int, float))
    ]
    if not found or len(found) != len(values) or len(found) > _LONGEST:
        wrong(name, "a value or a list of values", node, problems)
        return None
    return found[0] if isinstance(node, Scalar) else found


_KEYS: dict[str, Reader] = {
    "dtype": word(*TYPES).read,
    "shape": _SHAPE.read,
    "decode": word(*IMAGES, *dict.fromkeys(NUMBERS)).read,
    "resize": _flag,
    "default_value": _default,
}


def _features(name: str, node: Node, problems: list[Problem]) -> dict[str, Feature] | None:
    if not isinstance(node, Mapping) or not len(node):
        hint = "for example {image: {dtype: string, decode: png, shape: [28, 28, 1]}, label: int64}"
        wrong(name, "a mapping from features to their types", node, problems, hint)
        return None
    found = {key.value: _feature(f"{name}.{key.value}", value, problems) for key, value in node}
    return {key: feature for key, feature in found.items() if feature is not None}


def _feature(name: str, node: Node, problems: list[Problem]) -> Feature | None:
    if isinstance(node, Scalar):
        dtype = _KEYS["dtype"](name, node, problems)
        return Feature(dtype) if dtype else None
    if not isinstance(node, Mapping):
        wrong(name, f"one of {', '.join(TYPES)}, or a mapping such as {{dtype: float32, shape: [4]}}", node, problems)
        return None
    before, values = len(problems), {}
    for key, value in node:
        if key.value in _KEYS:
            values[key.value] = _KEYS[key.value](f"{name}.{key.value}", value, problems)
        else:
            hint = suggest(key.value, _KEYS) or f"known: {', '.join(_KEYS)}"
            problems.append(Problem("unknown-key", f"a feature has no {key.value!r}", key.span, hint))
    if "dtype" not in values:
        hint = f"one of {', '.join(TYPES)}, as the records hold it"
        problems.append(Problem("missing-key", f"`{name}` needs `dtype`", node.span, hint))
    if len(problems) > before:
        return None
    feature = Feature(
        values["dtype"],
        values.get("shape", ()),
        values.get("decode", ""),
        values.get("resize", False),
        values.get("default_value"),
    )
    for bad, message, hint in _unfit(feature):
        if bad:
            problems.append(Problem("wrong-type", f"`{name}` {message}", node.span, hint))
            return None
    return feature


def _unfit(feature: Feature) -> list[tuple[bool, str, str]]:
    image = feature.decode in IMAGES
    return [
        (bool(feature.decode) and feature.dtype != "string", "decodes bytes, whose dtype is string", "`dtype: string`"),
        (
            image and (len(feature.shape) != 3 or feature.shape[2] not in (1, 3)),
            "is an image, whose shape is [height, width, channels] with 1 or 3 channels",
            "for example `shape: [28, 28, 1]`",
        ),
        (feature.resize and not image, "is no image, and cannot be resized", "leave out `resize`"),
        (bool(feature.decode) and feature.default is not None, "is decoded, and has no default", ""),
        (feature.dtype == "string" and not feature.decode and feature.shape not in ((), (1,)), "is one string", ""),
    ]


_one: dict[str, Any] = {
    "dtype": {"enum": list(TYPES)},
    "shape": _SHAPE.schema,
    "decode": {"enum": [*IMAGES, *NUMBERS]},
    "resize": {"type": "boolean"},
    "default_value": {},
}
_EITHER = {
    "anyOf": [
        {"enum": list(TYPES)},
        {"type": "object", "properties": _one, "additionalProperties": False, "required": ["dtype"]},
    ]
}

#: Features by name.
FEATURES = Value(_features, {"type": "object", "minProperties": 1, "additionalProperties": _EITHER})
