"""What decides the letters of a unit: order, norm, dropout, activation, where and the edges.

A `Setting` is a value with the words and the place that say who set it. `Settings` overlay each other in one
direction, the nearer winning: policy defaults, `ordering`, the block, the unit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from kbuild import policy as policies
from kbuild.errors import Span


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and who set it: `because` reads "ordering, line 5" or "policy conventional"."""

    value: Any
    because: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a level may set; None where it says nothing.

    Attributes:
        policy: the policy's name (only at the ordering level).
        order: a `kbuild.policy.Order`.
        activation: a Keras activation name or serialized layer, for units that name none.
        initializer: a Keras initializer name for the kernels of units that name none.
        norm: a serialized Keras layer `{"class_name", "config"}`, or False.
        rate: the dropout rate, or {"dense": rate, "conv": rate}.
        kind: the kind of dropout.
        where_norm: which units the N stands at.
        where_dropout: which units the D stands at.
        first: what is left of the order at a unit that reads the raw input: "auto", "keep" or an Order.
        head: the same at the head.
        closing: "auto", "none" or letters.
        residual: "after_merge" or "in_branch".
        head_dropout: "before_pooling" where a policy has one more D there (only from a policy).
        fused: whether an activation directly behind its W stays W's own argument instead of a layer.
        pool: a serialized Keras pooling layer (only at a unit).
        names: letter → the name of its layer, where it is not the unit's name with a suffix (only at a unit).
        role: "head" or "trunk" (only at a unit).
    """

    policy: Setting | None = None
    order: Setting | None = None
    activation: Setting | None = None
    initializer: Setting | None = None
    norm: Setting | None = None
    rate: Setting | None = None
    kind: Setting | None = None
    where_norm: Setting | None = None
    where_dropout: Setting | None = None
    first: Setting | None = None
    head: Setting | None = None
    closing: Setting | None = None
    residual: Setting | None = None
    head_dropout: Setting | None = None
    fused: Setting | None = None
    pool: Setting | None = None
    names: Setting | None = None
    role: Setting | None = None

    def overlay(self, nearer: Settings) -> Settings:
        """These settings with everything `nearer` says put over them."""
        return replace(self, **{name: value for name in _NAMES if (value := getattr(nearer, name)) is not None})


_NAMES = tuple(field.name for field in fields(Settings))
NOTHING = Settings()


def origin(span: Span) -> str:
    """How `because` names a place: "line 5", "line 5 of blocks/resnet.yaml", or the option the text came from."""
    if span.source.name.startswith("--"):
        return span.source.name
    return f"line {span.line} of {span.source.name}" if span.source.included else f"line {span.line}"


def policy_defaults(policy: policies.Policy | None, order: policies.Order) -> Settings:
    """The outermost level: what holds where the spec says nothing."""
    fallback = Settings(
        norm=Setting({"class_name": "BatchNormalization", "config": {}}, "default"),
        rate=Setting(policies.DEFAULT_RATE, "default"),
        kind=Setting("element", "default"),
        where_norm=Setting("all", "default"),
        where_dropout=Setting("all", "default"),
        first=Setting("auto", "default"),
        head=Setting("auto", "default"),
        closing=Setting("auto", "default"),
        residual=Setting("after_merge", "default"),
        fused=Setting(False, "default"),
    )
    if policy is None:
        return fallback
    because = f"policy {policy.name}"
    given = {
        "order": order,
        "policy": policy.name,
        "activation": policy.defaults.get("activation"),
        "initializer": policy.defaults.get("initializer"),
        "head_dropout": policy.defaults.get("head_dropout"),
        **{key: policy.defaults.get("dropout", {}).get(key) for key in ("rate", "kind")},
        **{f"where_{key}": policy.defaults.get("where", {}).get(key) for key in ("norm", "dropout")},
    }
    known = {name: Setting(value, because) for name, value in given.items() if value is not None}
    return fallback.overlay(Settings(**known))
