"""What installed packages add to kbuild: one entry point for each thing, in the groups of `GROUPS`.

An entry point's name is the name a spec or an option writes; its value says where the package keeps the object. Names
are read from the metadata of the installed packages without importing any of them; a package is imported when one of
its names is used, or listed. What kbuild has itself always goes first, so a package cannot change what a name means.

>>> [group.noun for group in GROUPS.values()]
['layer', 'policy', 'lint rule', 'data source']
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: ``module:attribute``, where a package keeps something that is imported when it is used.
ADDRESS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Group:
    """What one entry-point group holds.

    Attributes:
        noun: what messages call one of them.
        names: the pattern of their names.
        like: an example of a name.
    """

    noun: str
    names: str
    like: str


GROUPS: dict[str, Group] = {
    "kbuild.layers": Group("layer", r"[A-Z][A-Za-z0-9_]*", "MyLayer"),
    "kbuild.policies": Group("policy", r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "my-policy"),
    "kbuild.lint": Group("lint rule", r"[a-z]+(-[a-z]+)+", "my-rule"),
    "kbuild.data": Group("data source", r"[a-z][a-z0-9_]*", "my_source"),
}


class Unfit(ValueError):
    """What a package registers is not what its group asks for; the message says why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point: nothing of its package is imported yet.

    Attributes:
        group: a key of GROUPS.
        name: what a spec or an option writes.
        value: where the package keeps it, ``module:attribute``.
        package, version: the installed package that registers it.
    """

    group: str
    name: str
    value: str
    package: str
    version: str

    @property
    def origin(self) -> str:
        """The package with its version, for messages."""
        return f"{self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A plugin that was asked for: `made` is what it gives, or None, and then `refusal` says why."""

    plugin: Plugin
    made: T | None
    refusal: str = ""

    @property
    def complaint(self) -> str:
        """What a message says of a refused plugin; `refusal` is the reason."""
        noun = GROUPS[self.plugin.group].noun
        return f"the {noun} {self.plugin.name!r} of the package {self.plugin.origin} cannot be used"


Check = Callable[[Plugin, Any], T]


@cache
def registered() -> tuple[Plugin, ...]:
    """Every plugin of the installed packages, by group and name; where a package lies on the path twice, the first."""
    from importlib import metadata

    found: list[Plugin] = []
    seen: set[str] = set()
    for package in metadata.distributions(path=_search_path()):
        if "kbuild." not in (package.read_text("entry_points.txt") or ""):
            continue
        name = str(package.metadata["Name"])
        if name in seen:
            continue
        seen.add(name)
        points = [point for point in package.entry_points if point.group in GROUPS]
        found += [Plugin(point.group, point.name, point.value, name, package.version) for point in points]
    return tuple(sorted(found, key=lambda one: (list(GROUPS).index(one.group), one.name, one.package)))


def _search_path() -> list[str]:
    """Where packages are installed. In the current folder, which `python -m` searches, lie specs and no packages."""
    here = os.path.realpath(os.curdir)
    return [entry for entry in sys.path if entry and os.path.realpath(entry) != here]


def names(group: str) -> tuple[str, ...]:
    """The names a group holds, without importing anything."""
    pattern = GROUPS[group].names
    found = (one.name for one in registered() if one.group == group and re.fullmatch(pattern, one.name))
    return tuple(dict.fromkeys(found))


@cache
def load(group: str, name: str, check: Check[T]) -> Loaded[T] | None:
    """The plugin of that name, imported and checked; None where no package registers it.

    Args:
        group: a key of GROUPS.
        name: what the spec writes.
        check: makes of what the package holds what kbuild uses, or raises Unfit.
    """
    if re.fullmatch(GROUPS[group].names, name) is None:
        return None
    mine = [one for one in registered() if (one.group, one.name) == (group, name)]
    return _loaded(mine[0], check, mine) if mine else None


def find(group: str, name: str, check: Check[T]) -> T | None:
    """The plugin of that name; None where no package registers it, or where it cannot be used."""
    loaded = load(group, name, check)
    return loaded.made if loaded is not None else None


def refusal(group: str, name: str, check: Check[T]) -> Loaded[T] | None:
    """Why the plugin of that name cannot be used, where a package registers one that cannot."""
    loaded = load(group, name, check)
    return loaded if loaded is not None and loaded.made is None else None


def every(group: str, check: Check[T], builtin: Collection[str] = ()) -> tuple[Loaded[T], ...]:
    """All plugins of a group, imported and checked; those that bear a name of kbuild's own are refused."""
    mine = [one for one in registered() if one.group == group]
    found: list[Loaded[T]] = []
    for one in mine:
        kind = GROUPS[group]
        if one.name in builtin:
            found.append(Loaded(one, None, f"kbuild has a {kind.noun} of that name itself, which is used"))
        elif re.fullmatch(kind.names, one.name) is None:
            found.append(Loaded(one, None, f"that is no name of a {kind.noun}; names look like {kind.like}"))
        else:
            found.append(_loaded(one, check, [other for other in mine if other.name == one.name]))
    return tuple(found)


def _loaded(plugin: Plugin, check: Check[T], same: list[Plugin]) -> Loaded[T]:
    if len(same) > 1:
        both = " and ".join(one.origin for one in same)
        return Loaded(plugin, None, f"{both} both register it; uninstall one of them")
    from importlib.metadata import EntryPoint

    try:
        found = EntryPoint(plugin.name, plugin.value, plugin.group).load()
    except (Exception, SystemExit) as error:
        return Loaded(plugin, None, f"{plugin.value} cannot be loaded: {said(error)}")
    try:
        return Loaded(plugin, check(plugin, found))
    except Unfit as error:
        return Loaded(plugin, None, str(error))
    except Exception as error:
        return Loaded(plugin, None, f"{plugin.value} cannot be read: {said(error)}")


def require(wrong: Iterable[tuple[object, str]]) -> None:
    """Raise Unfit with the first reason whose condition holds.

    >>> require([(False, "never said"), ("", "nor this")])
    """
    for is_wrong, why in wrong:
        if is_wrong:
            raise Unfit(why)


def imported(address: str) -> Any:
    """What a package keeps at ``module:attribute``.

    Raises:
        Unfit: it cannot be imported; says why.
    """
    module, _, attribute = address.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise Unfit(f"{address} cannot be loaded: {said(error)}") from error


def said(error: BaseException) -> str:
    """An exception of a package's code in one line.

    >>> said(KeyError("units"))
    "KeyError: 'units'"
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
