"""Every rule: this version's in one tuple, and those of installed packages behind them.

The latter are the entry points of the group `kbuild.lint`, each a `kbuild.lint.finding.Rule`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from kbuild import plugins
from kbuild.errors import InputError, suggest
from kbuild.lint import commuting
from kbuild.lint.activation import ACTIVATION_RULES
from kbuild.lint.dropout import DROPOUT_RULES
from kbuild.lint.finding import LEVELS, Rule
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


#: The entry points of rules that installed packages add.
GROUP = "kbuild.lint"


@cache
def of_packages() -> tuple[plugins.Loaded[Rule], ...]:
    """The rules that installed packages register, those that cannot be used too."""
    return plugins.every(GROUP, checked, BY_ID)


@cache
def every() -> tuple[Rule, ...]:
    """The rules of this version, then those of installed packages that can be used."""
    return (*RULES, *(one.made for one in of_packages() if one.made is not None))


def package_of(rule: Rule) -> str:
    """The installed package that adds a rule; "" for kbuild's own."""
    return next((one.plugin.origin for one in of_packages() if one.made is rule), "") if rule not in RULES else ""


def checked(plugin: plugins.Plugin, found: Any) -> Rule:
    """The rule, if a package wrote it down as this folder does.

    Raises:
        Unfit: it did not; says what is wrong first.
    """
    if not isinstance(found, Rule):
        raise plugins.Unfit(f"{plugin.value} is no kbuild.lint.finding.Rule")
    texts = (found.id, found.level, found.says, found.why, found.source, found.bad, found.good)
    wrong = [
        (found.id != plugin.name, f"it is registered as {plugin.name!r} and its id is {found.id!r}"),
        (found.level not in LEVELS, f"its level is one of {', '.join(LEVELS)}"),
        (not callable(found.check), "its check is a function"),
        (not all(isinstance(text, str) and text.strip() for text in texts), "one of its texts is empty"),
    ]
    plugins.require(wrong)
    return found


def rule(name: str) -> Rule:
    """The rule of that id.

    Raises:
        InputError: there is none, with the nearest, or the package that adds it is broken, with the reason.
    """
    if name in BY_ID:
        return BY_ID[name]
    loaded = plugins.load(GROUP, name, checked)
    if loaded is not None and loaded.made is not None:
        return loaded.made
    if loaded is not None:
        raise InputError(f"{loaded.complaint}: {loaded.refusal}")
    hint = suggest(name, (*BY_ID, *plugins.names(GROUP))) or "`kbuild lint --explain all` lists them"
    raise InputError(f"there is no rule {name[:60]!r}; {hint}")


def chosen(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules of `--select` (all where it names none) without those of `--ignore`.

    Raises:
        InputError: an id that no rule has.
    """
    wanted, unwanted = {rule(name).id for name in select}, {rule(name).id for name in ignore}
    pool = RULES if wanted and wanted <= set(BY_ID) else every()
    return tuple(one for one in pool if (not wanted or one.id in wanted) and one.id not in unwanted)
