"""The table of policies, and one policy in full with a drawing of a small network under it."""

from __future__ import annotations

from typing import Any

from kbuild.policy import DEFAULT_POLICY, LETTERS, Policy, every
from kbuild.show.table import console, plain_table

#: A network that shows every edge: a first unit, a trunk unit, a residual branch, pooling, a head.
EXAMPLE = """\
name: example
input: {shape: [32, 32, 3]}
ordering: %s
layers:
  - {Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}, name: first}
  - residual:
      shortcut: identity
      layers:
        - {Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}, name: a}
        - {Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}, name: b}
    name: add
  - {GlobalAveragePooling2D: {}, name: pool}
  - {Dense: 10, name: head}
"""


def as_dict(policy: Policy) -> dict[str, Any]:
    """JSON data of one row."""
    return {
        "name": policy.name,
        "order": str(policy.order),
        "summary": policy.summary,
        "source": policy.source,
        "claim": policy.claim,
        "defaults": dict(policy.defaults),
        "default": policy.name == DEFAULT_POLICY,
    }


def print_table() -> None:
    """Print all policies, one a row."""
    table = plain_table("policy", "order", "what it does", "source", fixed=("policy", "order"))
    for policy in every():
        mark = " (default)" if policy.name == DEFAULT_POLICY else ""
        table.add_row(policy.name, str(policy.order), policy.summary + mark, policy.source)
    console().print(table)


def in_full(policy: Policy) -> str:
    """One policy: its letters, defaults, source, claim, and a small network under it."""
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    letters = ", ".join(f"{letter} {LETTERS[letter]}" for letter in policy.order.letters)
    lines = [f"{policy.name}: {policy.order}  ({letters})", policy.summary, f"source: {policy.source}"]
    if policy.claim:
        lines.append(f"says: {policy.claim}")
    if policy.defaults:
        lines.append("defaults: " + "; ".join(f"{key} {_shown(value)}" for key, value in policy.defaults.items()))
    plan = plan_spec(parse_spec(EXAMPLE % policy.name))
    lines.append("")
    lines += [f"  {line}" for line in draw(plan)]
    return "\n".join(lines) + "\n"


def draw(plan: Any) -> list[str]:
    """One line a layer, top to bottom; what does not read the line above says what it reads."""
    width = max(len(layer.name) for layer in plan.layers)
    lines, above = [], None
    for layer in plan.layers:
        reads = "" if list(layer.inputs) in ([], [above]) else f"  <- {', '.join(layer.inputs)}"
        what = layer.config.get("activation", layer.cls) if layer.cls == "Activation" else layer.cls
        lines.append(f"{layer.role or '.'}  {layer.name:<{width}}  {what}{reads}")
        above = layer.name
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return str(value)
