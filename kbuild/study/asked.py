"""What a user asks → the design of a study: policies, the grid and the baseline compiled into arms. No TensorFlow."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kbuild import policy as policies
from kbuild.errors import InputError, SpecError, listing, suggest
from kbuild.lint.commuting import commuting_orders
from kbuild.plan.pipeline import compile_spec
from kbuild.plan.plan import Plan
from kbuild.plan.sameness import fingerprint
from kbuild.spec.model import Spec
from kbuild.study.design import DIRECTIONS, Arm, Design, direction_of, trial_settings

#: Seeds where nobody says how many.
DEFAULT_SEEDS = 10


@dataclass(frozen=True)
class Asked:
    """What a user asks for, as the command line has it.

    Attributes:
        orderings: policies, orders, or `all`; empty for the spec's own.
        grid: `KEY=VALUE,VALUE` texts.
        settings: `--set` texts that hold for every arm.
        metric: None for `val_accuracy` where there is one, else `val_loss`.
    """

    orderings: tuple[str, ...] = ()
    seeds: tuple[int, ...] = tuple(range(DEFAULT_SEEDS))
    grid: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    baseline: str | None = None
    metric: str | None = None
    direction: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    alpha: float = 0.05
    target: float | None = None
    name: str | None = None

    def words(self) -> list[str]:
        """The options that ask for the same again.

        >>> Asked(("plain", "W-N-A"), (0, 1, 2), epochs=3).words()
        ['--policies', 'plain,W-N-A', '--seeds', '3', '--epochs', '3']
        """
        seeds = (
            str(len(self.seeds))
            if self.seeds == tuple(range(len(self.seeds)))
            else ",".join(map(str, self.seeds)) + ","
        )
        pairs: list[tuple[str, Any]] = [("--policies", ",".join(self.orderings) or None), ("--seeds", seeds)]
        pairs += [("--grid", text) for text in self.grid] + [("--set", text) for text in self.settings]
        names = ("baseline", "metric", "direction", "epochs", "batch_size", "target", "name")
        pairs += [(f"--{name.replace('_', '-')}", getattr(self, name)) for name in names]
        pairs += [("--alpha", self.alpha if self.alpha != Asked().alpha else None)]
        return [str(word) for option, value in pairs if value is not None for word in (option, value)]


def make_design(path: Path, asked: Asked) -> tuple[Spec, Design, dict[str, Plan]]:
    """Compile every arm and fix the design.

    Returns:
        The spec under its own ordering, the design, and the plan of every arm by its label.

    Raises:
        InputError: an unknown policy, metric or baseline, or nothing to compare.
        SpecError: the spec does not compile, or not under one of the policies.
    """
    spec, own = compile_spec(path, None, asked.settings)
    settings = trial_settings(spec, asked.epochs, asked.batch_size)
    if not settings.validation:
        raise InputError(
            "a study chooses by validation data, and this spec has `validation: 0`; leave test data for the end"
        )
    points = list(_points(asked.grid))
    arms: dict[str, tuple[Arm, Plan]] = {}
    for ordering in _orderings(asked.orderings) or (None,):
        for point in points:
            _add(arms, _arm(path, asked, ordering, point, own))
    baseline = _baseline(arms, path, asked, own, points[0])
    first = {arms[baseline][0].fingerprint: baseline}
    for arm, _ in arms.values():
        first.setdefault(arm.fingerprint, arm.label)
    marked = [replace(arm, same_as=_other(first[arm.fingerprint], arm.label)) for arm, _ in arms.values()]
    plans = {label: plan for label, (_, plan) in arms.items()}
    metric = asked.metric or _default_metric(settings.metrics)
    design = Design(
        asked.name or own.name,
        tuple(marked),
        asked.seeds,
        baseline,
        metric,
        asked.direction or direction_of(metric),
        asked.epochs,
        asked.batch_size,
        asked.alpha,
        asked.target,
        (*_strategy(spec), *_notes(marked, plans)),
    )
    _check(design)
    return spec, design, plans


def _other(first: str, label: str) -> str | None:
    return None if first == label else first


def _check(design: Design) -> None:
    if not design.comparisons:
        same = " (they are the same model)" if len(design.arms) > 1 else ""
        raise InputError(
            f"there is nothing to compare with {design.baseline}{same}; --policies names policies or orders, "
            "--grid values of a setting"
        )
    if not design.metric.startswith("val_"):
        hint = "val_" + design.metric.removeprefix("test_")
        raise InputError(
            f"--metric is measured on validation data, for example {hint}; test data are reported, never used"
        )
    if design.direction not in DIRECTIONS:
        raise InputError(f"--direction is one of {', '.join(DIRECTIONS)}, not {design.direction!r}")
    if not design.seeds or len(set(design.seeds)) != len(design.seeds):
        raise InputError("--seeds is a number from 1, or different seeds such as 3,5,8")
    if not 0 < design.alpha < 0.5:
        raise InputError("--alpha is a rate of false alarms such as 0.05")
    if design.target is not None and not math.isfinite(design.target):
        raise InputError(f"--target is a value of {design.metric}, not {design.target}")


def _orderings(texts: Iterable[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for text in texts:
        if text == "all":
            found.update(dict.fromkeys(one.name for one in policies.every()))
            continue
        try:
            named, order = policies.find(text)
        except policies.OrderError as error:
            raise InputError(f"--policies: {error}") from None
        found[named.name if named else str(order)] = None
    return tuple(found)


def _points(grid: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The points of a grid, as `--set` texts.

    >>> list(_points(["vars.width=8,16", "ordering.dropout.rate=0.1"]))
    [('vars.width=8', 'ordering.dropout.rate=0.1'), ('vars.width=16', 'ordering.dropout.rate=0.1')]
    """
    axes = []
    for text in grid:
        key, equals, values = text.partition("=")
        parts = _values(values)
        if not equals or not key.strip() or not all(parts):
            raise InputError(f"--grid takes KEY=VALUE,VALUE, for example ordering.dropout.rate=0.1,0.3; not {text!r}")
        axes.append([f"{key.strip()}={part}" for part in dict.fromkeys(parts)])
    return itertools.product(*axes)


def _values(text: str) -> list[str]:
    """Values with commas between them; those in brackets and quotes belong to a value.

    >>> _values("8, [{a: [1, 2], b: 3}, 4] ,{c: 'x, y'},'p,q'")
    ['8', '[{a: [1, 2], b: 3}, 4]', "{c: 'x, y'}", "'p,q'"]
    """
    parts, depth, quote, before = [""], 0, "", ","
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and before in ",:[{(":  # elsewhere it is a letter: `it's`
            quote = letter
        else:
            depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
        before = before if letter.isspace() else letter
    return [part.strip() for part in parts]


def _arm(path: Path, asked: Asked, ordering: str | None, point: tuple[str, ...], own: Plan) -> tuple[Arm, Plan]:
    label = " ".join([ordering or own.policy or own.order, *(_short(text) for text in point)])
    try:
        spec, plan = compile_spec(path, ordering, [*asked.settings, *point])
    except SpecError as error:
        raise InputError(f"{error}\n(under {label})") from error
    settings = trial_settings(spec, asked.epochs, asked.batch_size)
    return Arm(label, ordering, point, plan.order, fingerprint(plan, settings)), plan


def _short(text: str) -> str:
    """`ordering.dropout.rate=0.1` as a label has it: `rate=0.1`."""
    key, _, value = text.partition("=")
    return f"{key.split('.')[-1]}={value}"


def _add(arms: dict[str, tuple[Arm, Plan]], made: tuple[Arm, Plan]) -> str:
    arm, plan = made
    if arm.label in arms and arms[arm.label][0].fingerprint != arm.fingerprint:
        longer = " ".join([arm.ordering or "the spec's own", *arm.overrides])
        arm = replace(arm, label=longer)
    arms.setdefault(arm.label, (arm, plan))
    return arm.label


def _baseline(arms: dict[str, tuple[Arm, Plan]], path: Path, asked: Asked, own: Plan, point: tuple[str, ...]) -> str:
    """The label of the baseline; an arm is added at the front where none of the others is it."""
    wanted = asked.baseline
    if wanted is not None and wanted in arms:
        return wanted
    ordering = None
    if wanted is not None:
        try:
            named, order = policies.find(wanted)
        except policies.OrderError as error:
            hint = suggest(wanted, arms) or f"the study compares {listing(arms)}"
            raise InputError(f"--baseline: {error}; {hint}") from None
        ordering = named.name if named else str(order)
    made = _arm(path, asked, ordering, point, own)
    same = [label for label, (arm, _) in arms.items() if arm.fingerprint == made[0].fingerprint]
    if same:
        return made[0].label if made[0].label in same else same[0]
    others = dict(arms)
    label = _add(arms, made)
    arms.clear()
    arms.update({label: (replace(made[0], label=label), made[1]), **others})
    return label


def _strategy(spec: Spec) -> Iterator[str]:
    if spec.train is not None and spec.train.strategy is not None:
        yield f"train.strategy: {spec.train.strategy} is left out: a trial trains one copy of the model on one core"


def _notes(arms: Sequence[Arm], plans: dict[str, Plan]) -> Iterator[str]:
    for arm in arms:
        if arm.same_as is not None:
            other = plans[arm.same_as].order
            yield f"{arm.label} ({arm.order}) is the same model as {arm.same_as} ({other}) here: run once"
    distinct = [arm for arm in arms if arm.same_as is None]
    for first, second in itertools.combinations(distinct, 2):
        found = commuting_orders(plans[first.label], plans[second.label])
        if found is not None and first.overrides == second.overrides:
            yield f"{first.label} and {second.label}: {found.message}; their trials are equal but for rounding"


def _default_metric(metrics: Sequence[Any]) -> str:
    accuracy = [one for one in metrics if one.class_name.lower() in ("accuracy", "acc") and one.target is None]
    return "val_accuracy" if accuracy else "val_loss"


def read_seeds(text: str) -> tuple[int, ...]:
    """`--seeds`: a number of seeds, counted from 0, or the seeds themselves.

    >>> read_seeds("3"), read_seeds("3,5,8"), read_seeds("7,")
    ((0, 1, 2), (3, 5, 8), (7,))

    Raises:
        InputError: neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise InputError(f"--seeds is a number from 1, or different seeds such as 3,5,8; not {text!r}")
    numbers = tuple(int(part) for part in parts)
    if "," in text:
        return numbers
    if not 1 <= numbers[0] <= 100_000:
        raise InputError(f"--seeds is a number from 1 to 100000, not {text}")
    return tuple(range(numbers[0]))
