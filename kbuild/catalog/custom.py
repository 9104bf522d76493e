"""Layers that installed packages add: the entry points of the group `kbuild.layers`, each a `CustomLayer`.

A package writes down what the catalog says of Keras' own layers: role, arguments, shape and weight rule. Its Keras
class is named, not imported, so that `summarize` and the lint need no TensorFlow for it either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kbuild import plugins
from kbuild.catalog.checkers import Checker
from kbuild.catalog.dims import Call, Shape, ShapeError, Weights

GROUP = "kbuild.layers"

#: Roles a layer may have; W, N, A, D and P are what an order places.
ROLES = ("W", "N", "A", "D", "P", "merge", "reshape", "padding", "preprocessing", "resize", "other")
READS = ("one", "many", "args")
KINDS = ("", "conv", "dense")

#: What every Keras layer takes by keyword, with its defaults.
KEYWORDS: dict[str, Any] = {"trainable": True, "dtype": None, "autocast": True, "activity_regularizer": None}

_ARGUMENT = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class CustomLayer:
    """A layer class outside Keras.

    Attributes:
        keras_class: where its Keras class is, ``module:Class``; the class bears the entry point's name, and its module
            imports Keras and nothing of kbuild.
        role: one of ROLES.
        shape: the shape rule, called with a `kbuild.catalog.dims.Call`; None where only Keras knows.
        weights: the weight rule, called after the shape rule; None where only Keras knows.
        required: positional arguments without a default, in order.
        optional: positional arguments with a default, in order, behind the required ones; values are plain data.
        checks: argument → a checker of `kbuild.catalog.checkers`, where the argument's name does not say enough.
        stem: stem of automatic layer names; made from the class name if empty.
        reads: how it is called: on "one" tensor, on "many" (a list of tensors), or with a tensor an argument ("args").
        least, most: number of inputs; `most` is None where there is no bound.
        kind: "conv" or "dense" for a layer of role W, else "".
        says: one sentence for editors.
    """

    keras_class: str
    role: str
    shape: Callable[[Call], Shape | None] | None = None
    weights: Callable[[Call], Weights | None] | None = None
    required: tuple[str, ...] = ()
    optional: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Checker] = field(default_factory=dict)
    stem: str = ""
    reads: str = "one"
    least: int = 1
    most: int | None = 1
    kind: str = ""
    says: str = ""


@dataclass(frozen=True)
class Custom:
    """A `CustomLayer` with its name and the package that it came from."""

    name: str
    layer: CustomLayer
    package: str

    def shape(self, call: Call) -> Shape | None:
        """The package's shape rule.

        Raises:
            ShapeError: the input does not fit, or the rule itself failed.
        """
        assert self.layer.shape is not None
        found = self._called("shape", self.layer.shape, call)
        if found is None:
            return None
        if not isinstance(found, (tuple, list)) or not all(size is None or type(size) is int for size in found):
            raise ShapeError(f"the shape rule of {self.name} gave {found!r:.80}", self._blame)
        return tuple(found)

    def weights(self, call: Call) -> Weights | None:
        """The package's weight rule.

        Raises:
            ShapeError: the rule itself failed.
        """
        assert self.layer.weights is not None
        found = self._called("weight", self.layer.weights, call)
        if found is not None and not isinstance(found, Weights):
            raise ShapeError(f"the weight rule of {self.name} gave {found!r:.80}", self._blame)
        return found

    def _called(self, what: str, rule: Callable[[Call], Any], call: Call) -> Any:
        try:
            return rule(call)
        except ShapeError:
            raise
        except Exception as error:
            raise ShapeError(f"the {what} rule of {self.name} failed: {plugins.said(error)}", self._blame) from error

    @property
    def _blame(self) -> str:
        return f"a fault of the package {self.package}"


def find(name: str) -> Custom | None:
    """The layer that a package registers under that name; None where none does, or where it cannot be used."""
    return plugins.find(GROUP, name, checked)


def refusal(name: str) -> plugins.Loaded[Custom] | None:
    """Why the layer of that name cannot be used, where a package registers one that cannot."""
    return plugins.refusal(GROUP, name, checked)


def checked(plugin: plugins.Plugin, found: Any) -> Custom:
    """The layer, if a package wrote all of it down as it should.

    Raises:
        Unfit: it did not; says what is wrong first.
    """
    if not isinstance(found, CustomLayer):
        raise plugins.Unfit(f"{plugin.value} is no kbuild.catalog.custom.CustomLayer")
    arguments = (*found.required, *found.optional)
    wrong = [
        (plugins.ADDRESS.fullmatch(str(found.keras_class)) is None, "its keras_class is not written module:Class"),
        (not str(found.keras_class).endswith(f":{plugin.name}"), "its keras_class bears another name than it"),
        (found.role not in ROLES, f"its role is one of {', '.join(ROLES)}"),
        (found.reads not in READS, f"its reads is one of {', '.join(READS)}"),
        (found.kind not in KINDS or (found.role == "W") != bool(found.kind), "its kind is conv or dense for role W"),
        (len(set(arguments)) < len(arguments), "an argument stands twice"),
        (not all(_ARGUMENT.fullmatch(str(name)) for name in arguments), "an argument's name is no Python name"),
        (bool({"name", *KEYWORDS}.intersection(arguments)), f"name, {', '.join(KEYWORDS)} are every layer's"),
        (bool(set(found.checks) - set(arguments)), "its checks name an argument that it does not take"),
        (not all(isinstance(one, Checker) for one in found.checks.values()), "its checks are no Checkers"),
        (not all(rule is None or callable(rule) for rule in (found.shape, found.weights)), "a rule is no function"),
        (found.stem and not _ARGUMENT.fullmatch(found.stem), "its stem is no plain word"),
        (not 1 <= found.least <= (found.most or found.least), "it reads fewer inputs than it needs"),
    ]
    plugins.require(wrong)
    return Custom(plugin.name, found, plugin.origin)
