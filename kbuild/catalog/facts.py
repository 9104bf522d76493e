"""What Keras accepts: names, aliases, arguments and defaults, read from `keras.json`.

`tools/keras_facts.py` writes that file from an installed Keras, so nothing in it is typed by hand.

>>> signature("layer", "Convolution2D").name
'Conv2D'
>>> signature("initializer", "he_normal").name
'HeNormal'
>>> signature("layer", "Dense").required
('units',)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kbuild import plugins
from kbuild.catalog import custom
from kbuild.catalog.operations import OPERATIONS

#: Kind of object → section of keras.json, which is also the module below `keras` (schedules: `keras.optimizers`).
SECTIONS = {
    "layer": "layers",
    "initializer": "initializers",
    "regularizer": "regularizers",
    "constraint": "constraints",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "loss": "losses",
    "metric": "metrics",
    "callback": "callbacks",
}

#: Kind of object → the public module that holds its classes.
MODULES = {kind: f"keras.{section}" for kind, section in SECTIONS.items()} | {"schedule": "keras.optimizers.schedules"}


#: Layer classes that a spec cannot use, and why.
FORBIDDEN: dict[str, str] = {
    "Lambda": "it runs Python code held in its config",
    "TFSMLayer": "it runs a SavedModel from a file of its own",
    "JaxLayer": "it runs a Python function",
    "FlaxLayer": "it runs a Python module",
    "TorchModuleWrapper": "it runs a Python module",
    "Layer": "it is the base of all layers and does nothing",
    "Wrapper": "it is the base of wrappers and does nothing",
    "InputLayer": "use `input:` or `inputs:`",
    "InputSpec": "it is no layer",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments of one Keras class.

    Attributes:
        name: the canonical public class name.
        aliases: the other names Keras resolves to it.
        required: positional arguments without a default.
        optional: positional arguments with a default, in order, behind the required ones.
        keyword: arguments that base classes take, keywords only.
    """

    name: str
    aliases: tuple[str, ...]
    required: tuple[str, ...]
    optional: Mapping[str, Any]
    keyword: Mapping[str, Any]

    @property
    def positional(self) -> tuple[str, ...]:
        return (*self.required, *self.optional)

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*self.required, *self.optional, *self.keyword)

    @property
    def defaults(self) -> dict[str, Any]:
        return {**self.optional, **self.keyword}


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((Path(__file__).parent / "keras.json").read_text(encoding="utf-8"))
    return data


@cache
def _aliases(kind: str) -> dict[str, str]:
    section = _data()[SECTIONS[kind]]
    return {alias: name for name, fact in section.items() for alias in (*fact["aliases"], name)}


def keras_version() -> str:
    """The Keras release keras.json was made from."""
    return str(_data()["keras"])


def names(kind: str) -> tuple[str, ...]:
    """Canonical class names of a kind."""
    return tuple(_data()[SECTIONS[kind]])


def known_names(kind: str) -> tuple[str, ...]:
    """Canonical names and aliases of a kind; of layers also those that packages register."""
    return (*_aliases(kind), *(custom_layers() if kind == "layer" else ()))


def taken() -> frozenset[str]:
    """The names that no package's layer can have."""
    return frozenset((*_aliases("layer"), *FORBIDDEN, *OPERATIONS))


def custom_layers() -> tuple[str, ...]:
    """The names of layers that packages register, whether or not they can be used."""
    return tuple(name for name in plugins.names(custom.GROUP) if name not in taken())


@cache
def activations() -> tuple[str, ...]:
    """The names `keras.activations.get` resolves."""
    return tuple(_data()["activations"])


@cache
def signature(kind: str, name: str) -> Signature | None:
    """The signature of a class by its name or alias; None where Keras has none of that kind and name.

    Keras resolves optimizers whatever their case, so do we: ``adam`` is ``Adam``.
    """
    canonical = _aliases(kind).get(name)
    if canonical is None and kind == "optimizer":
        canonical = next((known for known in names(kind) if known.lower() == name.lower()), None)
    if canonical is None:
        return (_operation(name) or _custom(name)) if kind == "layer" else None
    fact = _data()[SECTIONS[kind]][canonical]
    return Signature(canonical, tuple(fact["aliases"]), tuple(fact["required"]), fact["optional"], fact["keyword"])


def _operation(name: str) -> Signature | None:
    """An operation of two, of which one may be a constant: a number alone is the second."""
    return Signature(name, (), (), {"x2": None, "x1": None}, {}) if name in OPERATIONS else None


def custom_layer(name: str) -> custom.Custom | None:
    """The layer that a package registers under a name that is not Keras' own, if it can be used."""
    return None if name in taken() else custom.find(name)


def refused_layer(name: str) -> plugins.Loaded[custom.Custom] | None:
    """Why a layer cannot be used that a package registers under a name that is not Keras' own."""
    return None if name in taken() else custom.refusal(name)


def _custom(name: str) -> Signature | None:
    found = custom_layer(name)
    if found is None:
        return None
    return Signature(name, (), found.layer.required, found.layer.optional, custom.KEYWORDS)
