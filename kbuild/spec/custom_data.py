"""Kinds of data that installed packages add: the entry points of the group `kbuild.data`, each a `CustomData`.

A package writes down what `kbuild.spec.data` says of kbuild's own kinds. Its reading functions are named, not imported,
so that a spec is checked without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kbuild import plugins
from kbuild.spec.data_values import Value

GROUP = "kbuild.data"


@dataclass(frozen=True)
class CustomData:
    """A kind of data outside kbuild.

    Attributes:
        source: the value of the key that names the kind.
        read: ``module:function`` of (`kbuild.spec.data.DataSettings`, folder) → `kbuild.train.data.arrays.Raw`; the
            folder is what paths in the spec are relative to. The function raises ValueError or OSError where the data
            cannot be read; its message goes into the report.
        single: the same for data that are one set of examples: they are the `train` of the Raw. Where it is "", `read`
            is asked, and its test examples are taken if there are such.
        options: what may stand beside the source.
        needs: options that must be written.
        example: of the whole value, for hints: ``{my_source: FILE}``.
        path: whether the source is a path, which a command line may name too.
    """

    source: Value
    read: str
    single: str = ""
    options: Mapping[str, Value] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    example: str = ""
    path: bool = False


@dataclass(frozen=True)
class Custom:
    """A `CustomData` with its name and the package that it came from."""

    name: str
    data: CustomData
    package: str


def names() -> tuple[str, ...]:
    """The names that packages register, whether or not they can be used."""
    return plugins.names(GROUP)


def find(name: str) -> Custom | None:
    """The kind of data that a package registers under that name; None where none does, or where it cannot be used."""
    return plugins.find(GROUP, name, checked)


def refusal(name: str) -> plugins.Loaded[Custom] | None:
    """Why the kind of that name cannot be used, where a package registers one that cannot."""
    return plugins.refusal(GROUP, name, checked)


def checked(plugin: plugins.Plugin, found: Any) -> Custom:
    """The kind of data, if a package wrote all of it down as it should.

    Raises:
        Unfit: it did not; says what is wrong first.
    """
    if not isinstance(found, CustomData):
        raise plugins.Unfit(f"{plugin.value} is no kbuild.spec.custom_data.CustomData")
    functions = [found.read, *([found.single] if found.single else [])]
    wrong = [
        (
            not all(plugins.ADDRESS.fullmatch(str(one)) for one in functions),
            "its functions are not written module:function",
        ),
        (not all(isinstance(one, Value) for one in (found.source, *found.options.values())), "a value is no Value"),
        (bool({plugin.name, "classes"} & set(found.options)), f"{plugin.name} and classes are no options"),
        (bool(set(found.needs) - set(found.options)), "it needs an option that it does not take"),
        (plugin.name not in found.example, "its example does not show its name"),
    ]
    plugins.require(wrong)
    return Custom(plugin.name, found, plugin.origin)
