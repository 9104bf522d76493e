"""What installed packages add, each imported and checked, for `kbuild doctor`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from kbuild import plugins, policy
from kbuild.catalog import custom, facts
from kbuild.errors import KbuildError
from kbuild.lint import rules
from kbuild.model.custom import imported
from kbuild.spec import custom_data
from kbuild.spec.data import DATA_KINDS
from kbuild.train.data.custom import function


@dataclass(frozen=True)
class Installed:
    """One thing that a package adds.

    Attributes:
        kind: layer, policy, lint rule or data source.
        name: what a spec or an option writes.
        package, version: where it comes from.
        problem: why it cannot be used; "" where it can.
    """

    kind: str
    name: str
    package: str
    version: str
    problem: str = ""

    def text(self) -> str:
        """For people, in one line."""
        broken = f"  BROKEN: {self.problem}" if self.problem else ""
        return f"{self.kind:<12} {self.name}  ({self.package} {self.version}){broken}"


def installed() -> tuple[Installed, ...]:
    """Everything that packages add, by group and name, with what is wrong with it."""
    found: list[Installed] = []
    for group, (check, own, probe) in _groups().items():
        for one in plugins.every(group, check, own):
            problem = one.refusal or _probed(probe, one.made)
            kind = plugins.GROUPS[group].noun
            found.append(Installed(kind, one.plugin.name, one.plugin.package, one.plugin.version, problem))
    return tuple(found)


def _probed(probe: Callable[[Any], object], made: Any) -> str:
    try:
        probe(made)
    except (plugins.Unfit, KbuildError) as error:
        return str(error)
    return ""


def _groups() -> dict[str, tuple[plugins.Check[Any], Collection[str], Callable[[Any], object]]]:
    """Group → its check, the names that kbuild has itself, and what imports the code that is named and not imported."""
    return {
        custom.GROUP: (custom.checked, facts.taken(), lambda made: imported(made.layer.keras_class)),
        policy.GROUP: (policy.checked, policy.BY_NAME, lambda made: None),
        rules.GROUP: (rules.checked, rules.BY_ID, lambda made: None),
        custom_data.GROUP: (custom_data.checked, DATA_KINDS, _functions),
    }


def _functions(made: custom_data.Custom) -> None:
    for address in (made.data.read, made.data.single):
        if address:
            function(address)
