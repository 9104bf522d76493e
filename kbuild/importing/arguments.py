"""A serialized layer's config → arguments as a spec has them, and both in one form in which they can be compared."""

from __future__ import annotations

from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.arguments import check_argument, object_kind
from kbuild.catalog.layers import LayerFacts, complete, differs, lookup

#: Keys of a config that are no arguments of a spec.
_OUTSIDE = ("name", "build_config")

#: Sizes with one number for each axis: a list of equal numbers is one number.
_PER_AXIS = ("kernel_size", "strides", "pool_size", "dilation_rate", "size", "padding", "cropping", "output_size")


#: Layers that learn a vocabulary; their type is that of its words.
_LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization")


class Unreadable(ValueError):
    """A config that a spec cannot hold; the message says what in it."""


def read_arguments(cls: str, config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer that differ from Keras' defaults, as a spec holds them.

    >>> read_arguments("Conv2D", {"name": "c", "filters": 8, "kernel_size": [3, 3], "strides": [1, 1]})
    {'filters': 8, 'kernel_size': 3}

    Raises:
        Unreadable: custom objects, arguments that this Keras does not take.
    """
    signature = facts.signature("layer", cls)
    assert signature is not None
    if cls == "Bidirectional":
        config = _bidirectional(config)
    if cls in _LOOKUPS:
        config = _lookup(config)
    found: dict[str, Any] = {}
    for name, value in config.items():
        if name in _OUTSIDE:
            continue
        if name == "dtype":
            value = _dtype(value)
            if value in (None, "float32"):
                continue
        if name not in signature.arguments:
            if value in (None, False, [], {}):
                continue
            raise Unreadable(f"its argument {name!r} is unknown to this version's catalog of Keras")
        found[name] = _argument(cls, name, value)
    if found.get("strides") is not None and found["strides"] == found.get("pool_size"):
        del found["strides"]
    short = {name: _short(name, value) for name, value in differs(cls, found).items()}
    _checked("layer", cls, short)
    return short


def _checked(kind: str, cls: str, args: dict[str, Any]) -> None:
    """The checks that a spec's arguments pass too: what a file holds is not taken on trust."""
    signature = facts.signature(kind, cls)
    assert signature is not None
    for name in signature.required:
        if name not in args:
            raise Unreadable(f"{cls} needs {name!r}")
    for name, value in args.items():
        expected = check_argument(cls, name, value, kind)
        if expected is not None:
            raise Unreadable(f"its {name!r} must be {expected}. Received: {value!r:.60}")


def _bidirectional(config: dict[str, Any]) -> dict[str, Any]:
    """Without what Bidirectional decides itself: zeros under a mask, and a backward layer that mirrors the other."""
    config = dict(config)
    own: dict[str, dict[str, Any]] = {}
    for key in ("layer", "backward_layer"):
        if isinstance(config.get(key), dict):
            inner = {**config[key].get("config", {})}
            inner.pop("zero_output_for_mask", None)
            config[key] = {**config[key], "config": inner}
            own[key] = {name: value for name, value in inner.items() if name not in ("name", "go_backwards")}
    if "backward_layer" in own and own.get("layer") == own["backward_layer"]:
        del config["backward_layer"]
    return config


def _lookup(config: dict[str, Any]) -> dict[str, Any]:
    """With the size of a vocabulary that was learnt from data: a spec says how large it becomes, data what it is."""
    config = {name: value for name, value in config.items() if name != "dtype"}
    if config.get("oov_method") == "floormod":  # the default, which not every lookup takes
        del config["oov_method"]
    size, sized = config.pop("vocabulary_size", None), config.get("vocabulary") or config.get("pad_to_max_tokens")
    if size is not None and not sized and config.get("output_mode") != "int":
        config |= {"max_tokens": size, "pad_to_max_tokens": True}
    return config


def _dtype(value: Any) -> Any:
    if isinstance(value, dict):
        config = value.get("config")
        if value.get("class_name") != "DTypePolicy" or not isinstance(config, dict):
            raise Unreadable(f"its dtype policy is a {value.get('class_name')}")
        return config.get("name")
    return value


def _argument(cls: str, name: str, value: Any) -> Any:
    kind = object_kind(cls, name)
    if value is None or kind is None:
        if isinstance(value, dict):
            if value.get("class_name") == "__numpy__":
                raise Unreadable(f"its argument {name!r} is an array")
            raise Unreadable(f"its argument {name!r} is an object, {value.get('class_name')}")
        return value
    if kind == "layers":
        return [_nested(item, name) for item in value]
    if kind == "layer":
        return _nested(value, name)
    if kind == "activation":
        if not isinstance(value, str) or value not in facts.activations():
            shown = value.get("config", value) if isinstance(value, dict) else value
            raise Unreadable(f"its {name} {str(shown)!r} is no activation function of Keras")
        return value
    return _object(kind, name, value)


def _nested(value: Any, name: str) -> dict[str, Any]:
    cls = value.get("class_name") if isinstance(value, dict) else None
    layer = lookup(cls) if isinstance(cls, str) else None
    if layer is None or (_custom(value) and not of_package(layer, value)):
        raise Unreadable(f"its {name} holds {cls}, which is no layer class of Keras")
    config = value.get("config", {})
    if not isinstance(config, dict):
        raise Unreadable(f"its {name} has no config")
    return {"class_name": layer.name, "config": read_arguments(layer.name, config)}


def _object(kind: str, name: str, value: Any) -> Any:
    if isinstance(value, str) and facts.signature(kind, value) is not None:
        return value
    cls = value.get("class_name") if isinstance(value, dict) else None
    signature = facts.signature(kind, cls) if isinstance(cls, str) else None
    if signature is None or _custom(value):
        raise Unreadable(f"its {name} {cls!r} is no {kind} of Keras")
    config = value.get("config") or {}
    given = {
        key: item
        for key, item in config.items()
        if key in signature.arguments and not (key in signature.defaults and signature.defaults[key] == item)
    }
    if any(isinstance(item, dict) for item in given.values()):
        raise Unreadable(f"its {name} {cls!r} holds objects of its own")
    _checked(kind, signature.name, given)
    if not given and not signature.required:
        return signature.name
    return {"class_name": signature.name, "config": given}


def of_package(facts: LayerFacts, value: dict[str, Any]) -> bool:
    """Whether a serialized layer is of the class that an installed package registers: its name may be another's too."""
    return bool(facts.keras_class) and value.get("module") == facts.keras_class.partition(":")[0]


def _custom(value: Any) -> bool:
    """Whether a serialized object comes from outside Keras."""
    module, registered = value.get("module"), value.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        return True
    return isinstance(module, str) and module.split(".")[0] != "keras"


def _short(name: str, value: Any) -> Any:
    """`[3, 3]` → `3` where the argument takes one number for all axes."""
    if name in _PER_AXIS and isinstance(value, list) and value:
        first = _short(name, value[0])
        if all(_short(name, item) == first for item in value) and isinstance(first, int):
            return first
    return value


def comparable(cls: str, args: dict[str, Any]) -> dict[str, Any]:
    """All arguments with Keras' defaults filled in, every spelling of one value the same."""
    full = complete(cls, args)
    if full.get("strides") is None and "pool_size" in full:
        full["strides"] = full["pool_size"]
    rank = getattr(lookup(cls), "rank", 0)
    return {name: _same(cls, name, value, rank) for name, value in full.items()}


def _same(cls: str, name: str, value: Any, rank: int) -> Any:
    kind = object_kind(cls, name)
    if isinstance(value, tuple):
        value = list(value)
    if name == "data_format":
        return value or "channels_last"
    if name == "dtype":
        return value or "float32"
    if kind == "activation":
        return value or "linear"
    if kind == "layer" and isinstance(value, dict):
        return (value["class_name"], comparable(value["class_name"], value["config"]))
    if kind == "layers" and isinstance(value, list):
        return [(item["class_name"], comparable(item["class_name"], item["config"])) for item in value]
    if kind is not None and value is not None:
        text, config = (value, {}) if isinstance(value, str) else (value["class_name"], value["config"])
        signature = facts.signature(kind, text)
        if signature is None:
            return (text, config)
        return (signature.name, {**signature.defaults, **config})
    if name in _PER_AXIS and isinstance(value, int) and rank > 1:
        return _spread(name, value, rank)
    if name in _PER_AXIS and isinstance(value, list):
        return [_spread(name, item, 2)[0] if name in ("padding", "cropping") and rank > 1 else item for item in value]
    return value


def _spread(name: str, value: Any, rank: int) -> list[Any]:
    if name in ("padding", "cropping") and isinstance(value, int):
        return [[value, value]] * rank
    return [value] * rank
