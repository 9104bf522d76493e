"""A policy: an order under a name, with its defaults."""

from __future__ import annotations

from kbuild.policy import Policy, parse_order

LATE_NORM = Policy(
    name="late-norm",
    order=parse_order("W-A-N-D"),
    summary="Activation, then normalization, and a little dropout at dense layers.",
    source="the example package of kbuild",
    claim="Nothing: it shows how a package adds a policy.",
    defaults={"dropout": {"rate": 0.1}, "where": {"dropout": "dense"}},
)
