"""The verdict in words. It speaks of this model and these data, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kbuild.errors import listing
from kbuild.study.design import fewest_seeds

if TYPE_CHECKING:
    from kbuild.study.analyse import Analysis, Summary

SCOPE = "for this model and data"
#: The model confidence set and Holm's comparisons have each their rate of errors, and may cut between other arms.
DISAGREE = (
    " The set that may be the best and the comparisons are two tests, which here disagree: what only one of them finds "
    "is a hint, no verdict."
)


def number(value: float | None, signed: bool = False) -> str:
    """A figure as people read it.

    >>> number(0.97123), number(0.00042, signed=True), number(None), number(12.3456), number(5.7e29)
    ('0.9712', '+0.0004', '-', '12.35', '5.70e+29')
    """
    if value is None or value != value:
        return "-"
    digits = "4f" if abs(value) < 10 else "2f" if abs(value) < 1e6 else "2e"
    return f"{value:{'+' if signed else ''}.{digits}}"


def p_text(p: float | None) -> str:
    """A p value.

    >>> p_text(0.03125), p_text(0.00002), p_text(None)
    ('0.031', '< 0.001', '-')
    """
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentence(result: Analysis, arm: Summary) -> str:
    """What can be said of one arm against the baseline."""
    design, found = result.design, arm.against.get(result.design.metric)
    if found is None or found.pairs == 0:
        return f"{arm.label}: no pair of trials finished, nothing can be said{_failures(arm)}"
    percent = f"{100 * (1 - design.alpha):g} %"
    figures = f"{design.metric} {number(found.difference, signed=True)}"
    if found.low is not None:
        figures += f", {percent} interval {number(found.low, True)} to {number(found.high, True)}"
    figures += f", {found.pairs} pair{'s' * (found.pairs != 1)}"
    if found.verdict == "too few seeds":
        return f"{arm.label} against {design.baseline}: too few seeds to say ({figures}){_failures(arm)}"
    says = {
        "better": f"is better than {design.baseline}",
        "worse": f"is worse than {design.baseline}",
        "not distinguishable": f"is not distinguishable from {design.baseline}",
    }[found.verdict]
    return f"{arm.label} {says} {SCOPE} ({figures}, p = {p_text(found.p_holm)} after Holm's correction){_failures(arm)}"


def _failures(arm: Summary) -> str:
    bad = [f"{count} {state}" for state, count in arm.counts.items() if state != "finished"]
    return f"; of its trials {', '.join(bad)}" if bad else ""


def verdict(result: Analysis) -> str:
    """The whole in a few sentences."""
    design = result.design
    lost = [f"{n} of {len(design.seeds)} of {arm.label}" for arm in result.arms if (n := arm.counts.get("diverged"))]
    aside = f" Diverged: {listing(lost)}." if lost else ""
    missing = sum(arm.counts.get("not run", 0) for arm in result.arms)
    if missing:
        aside += f" Unfinished: {missing} of {len(design.trials)} trials have not run; no test holds before they have."
    compared = [arm for arm in result.arms if arm.label != design.baseline]
    found = {arm.label: arm.against[design.metric] for arm in compared if design.metric in arm.against}
    if result.too_few:
        pairs = max((one.pairs for one in found.values()), default=0)
        fewest = fewest_seeds(design.comparisons, design.alpha)
        tests = f"{design.comparisons} comparison{'s' * (design.comparisons != 1)}"
        return (
            f"{SCOPE[0].upper()}{SCOPE[1:]}: too few seeds to say which order is better. With {pairs} "
            f"pair{'s' * (pairs != 1)} and {tests} no difference, "
            f"however large, can reach p < {design.alpha:g}; {fewest} are the fewest that can.{aside}"
        )
    parts = []
    for word in ("better", "worse"):
        names = [label for label, one in found.items() if one.verdict == word]
        if names:
            parts.append(f"{listing(names)} {'is' if len(names) == 1 else 'are'} {word} than {design.baseline}")
    same = [label for label, one in found.items() if one.verdict == "not distinguishable"]
    if len(same) == len(found):
        parts.append(f"no difference from {design.baseline} was found")
    elif same:
        parts.append(f"{listing(same)} {'is' if len(same) == 1 else 'are'} not distinguishable from {design.baseline}")
    few = [label for label, one in found.items() if one.verdict == "too few seeds"]
    if few:
        parts.append(f"too few seeds to say of {listing(few)}")
    text = f"{SCOPE[0].upper()}{SCOPE[1:]}, by {design.metric}: {'; '.join(parts)}.{aside}"
    return f"{text} {_best(result)}{DISAGREE if _disagree(result) else ''}"


def _best(result: Analysis) -> str:
    ties = [arm.label for arm in result.arms if arm.may_be_best]
    if len(ties) == sum(arm.may_be_best is not None for arm in result.arms):
        return f"No arm can be told apart from the best ({result.best} by mean)."
    if len(ties) == 1:
        return f"{ties[0]} is the best of them."
    others = [label for label in ties if label != result.best]
    return f"Not distinguishable from the best ({result.best} by mean): {listing(others)}."


def _disagree(result: Analysis) -> bool:
    """Whether the two tests say otherwise of the best and the baseline."""
    design = result.design
    judged = {arm.label: bool(arm.may_be_best) for arm in result.arms if arm.may_be_best is not None}
    others = [result.best] if result.best != design.baseline else [one for one in judged if one != design.baseline]
    for label in others:
        arm = result.arm(str(label))
        apart = judged[arm.label] != judged[design.baseline]
        if apart != (arm.against[design.metric].verdict in ("better", "worse")):
            return True
    return False
