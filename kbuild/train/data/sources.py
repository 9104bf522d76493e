"""Which function reads which kind of data: one table, and behind it the kinds of installed packages.

A function's module is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan
from kbuild.spec import custom_data
from kbuild.spec.classes import ClassNames
from kbuild.spec.data import DATA_KINDS, SUFFIXES, DataSettings, kind_named
from kbuild.train.data import custom
from kbuild.train.data.arrays import Raw


@dataclass(frozen=True)
class Source:
    """How a kind of data is read.

    Attributes:
        read: "module:function" of (DataSettings, folder) → Raw, its training examples and, where there are, its test
            examples. Sources whose values are small in all (`memory.in_memory`) give arrays, others `Rows`.
        single: the same for data that are one set of examples, a validation file or data to evaluate: they are the
            `train` of the Raw. Where it is "", `read` is asked, and its test examples are taken if there are such.
        of_model: the functions are asked with the plan and the targets too: what they read depends on the model.
    """

    read: str
    single: str = ""
    of_model: bool = False


_TABLE = "kbuild.train.data.table:read_table"

#: Kinds that have their options in common.
_TABLES = ("csv", "parquet")

#: kind of data → how it is read. Kinds and options stand in `kbuild.spec.data.DATA_KINDS`.
SOURCES: dict[str, Source] = {
    "digits": Source("kbuild.train.data.packaged:read_digits"),
    "npz": Source("kbuild.train.data.named:read_npz", "kbuild.train.data.named:read_single_npz"),
    "npy": Source("kbuild.train.data.named:read_npy", "kbuild.train.data.named:read_single_npy"),
    "keras": Source("kbuild.train.data.packaged:read_keras"),
    "image_folder": Source(
        "kbuild.train.data.image_folder:read_image_folder", "kbuild.train.data.image_folder:read_single_image_folder"
    ),
    "tfrecord": Source("kbuild.train.data.tfrecord:read_tfrecord"),
    "tfds": Source("kbuild.train.data.tfds:read_tfds", "kbuild.train.data.tfds:read_single_tfds"),
    **dict.fromkeys(_TABLES, Source(_TABLE, _TABLE, of_model=True)),
}


def read_source(data: DataSettings, folder: Path, plan: Plan, targets: Sequence[Target]) -> Raw:
    """The examples of a source as they are stored.

    Args:
        folder: what paths in the spec are relative to.

    Raises:
        SpecError: all that is wrong with the source, with file and row.
    """
    source = _source(data.kind)
    return _call(source.read, source, data, folder, plan, targets)


def read_examples(data: DataSettings, folder: Path, classes: ClassNames, plan: Plan, targets: Sequence[Target]) -> Raw:
    """One set of examples: the training examples of the Raw.

    Args:
        classes: of the training data, by output or "" for the only one: labels that are names get the same numbers.
    """
    data = data if data.classes else replace(data, classes=dict(classes))
    source = _source(data.kind)
    if source.single:
        return _call(source.single, source, data, folder, plan, targets)
    raw = read_source(data, folder, plan, targets)
    if raw.test is None:
        return raw
    names = {("train", *key[1:]): name for key, name in raw.names.items() if key[0] == "test"}
    places: Mapping[str, Any] = {"train": raw.places["test"]} if "test" in raw.places else {}
    return replace(raw, train=raw.test, test=None, names=names, places=places)


def like(data: DataSettings, own: DataSettings) -> DataSettings:
    """Validation data with the options of the training data, where they are of a kind that needs some and have none."""
    kind = kind_named(data.kind)
    if data.options or data.kind != own.kind or kind is None or not kind.needs:
        return data
    return replace(data, options=_of_one_set(own))


def data_at(path: Path, own: DataSettings) -> DataSettings:
    """Settings for a file or a folder that a command line names, to be read as the run's own data `own` are.

    A file is of the kind that its suffix says, anything else of the run's own kind; the options of the own data that
    say how to read one set hold for data of the same kind.
    """
    kind = SUFFIXES.get(path.suffix.lower(), own.kind) if not path.is_dir() else own.kind
    found = custom_data.find(kind) if kind not in DATA_KINDS else None
    if not (found.data.path if found is not None else DATA_KINDS[kind].options):
        kind = "npz"
    same = kind == own.kind or (kind in _TABLES and own.kind in _TABLES)
    return DataSettings(kind, str(path.resolve()), _of_one_set(own) if same else {})


def _of_one_set(data: DataSettings) -> dict[str, Any]:
    return {option: value for option, value in data.options.items() if not option.endswith("test")}


def _source(kind: str) -> Source:
    """The row of a kind; a kind of a package has none in the table, and the spec has checked that there is one."""
    if kind in SOURCES:
        return SOURCES[kind]
    found = custom_data.find(kind)
    assert found is not None
    return Source(found.data.read, found.data.single)


def _call(address: str, source: Source, data: DataSettings, folder: Path, plan: Plan, targets: Sequence[Target]) -> Raw:
    if data.kind not in SOURCES:
        return custom.read(address, data, folder)
    module, _, function = address.partition(":")
    model = (plan, targets) if source.of_model else ()
    found: Raw = getattr(import_module(module), function)(data, folder, *model)
    return found
