"""Every rule, in one tuple: what `kbuild lint` runs, explains and documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kbuild.errors import InputError, suggest
from kbuild.lint import commuting
from kbuild.lint.activation import ACTIVATION_RULES
from kbuild.lint.dropout import DROPOUT_RULES
from kbuild.lint.finding import Rule
from kbuild.lint.norm import NORM_RULES
from kbuild.lint.residual import RESIDUAL_RULES
from kbuild.lint.statistics import STATISTICS_RULES
from kbuild.lint.suppress import UNUSED_IGNORE

RULES: tuple[Rule, ...] = (
    *NORM_RULES,
    *STATISTICS_RULES,
    *DROPOUT_RULES,
    *RESIDUAL_RULES,
    *ACTIVATION_RULES,
    commuting.RULE,
    UNUSED_IGNORE,
)

BY_ID: Mapping[str, Rule] = {rule.id: rule for rule in RULES}


def rule(name: str) -> Rule:
    """The rule of that id.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    if name not in BY_ID:
        hint = suggest(name, BY_ID) or "`kbuild lint --explain all` lists them"
        raise InputError(f"there is no rule {name[:60]!r}; {hint}")
    return BY_ID[name]


def chosen(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules of `--select` (all where it names none) without those of `--ignore`.

    Raises:
        InputError: an id that no rule has.
    """
    wanted, unwanted = {rule(name).id for name in select}, {rule(name).id for name in ignore}
    return tuple(one for one in RULES if (not wanted or one.id in wanted) and one.id not in unwanted)
