"""The Keras classes of layers that installed packages add: imported to build a model, and to load a saved one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbuild import plugins
from kbuild.catalog import facts
from kbuild.catalog.layers import lookup
from kbuild.errors import InputError
from kbuild.importing.reader import read_config
from kbuild.model.backend import import_keras


def class_of(name: str) -> Any:
    """The Keras class of a package's layer; None for Keras' own layers.

    Raises:
        InputError: it cannot be imported, or is no layer class.
    """
    found = lookup(name)
    if found is None or not found.keras_class:
        return None
    try:
        return imported(found.keras_class)
    except plugins.Unfit as error:
        raise InputError(f"the layer {name!r} of the package {found.package} cannot be used: {error}") from error


def imported(keras_class: str) -> Any:
    """The Keras class at ``module:Class``.

    Raises:
        Unfit: it cannot be imported, or is no layer class; says why.
    """
    keras: Any = import_keras()
    cls = plugins.imported(keras_class)
    named = getattr(cls, "__name__", "") == keras_class.partition(":")[2]
    if not (named and isinstance(cls, type) and issubclass(cls, keras.layers.Layer)):
        raise plugins.Unfit(f"{keras_class} is no layer class of that name")
    return cls


def refusals(name: str) -> tuple[type[Exception], ...]:
    """What a layer class may raise when it is made or called; what a package's code raises is never a bug of kbuild."""
    found = lookup(name)
    if found is not None and found.keras_class:
        return (Exception,)
    return (ValueError, TypeError, AttributeError, ImportError, NotImplementedError)


def load_model(path: Path) -> Any:
    """The Keras model in a file, with the layers of installed packages that it names.

    Raises:
        InputError: damaged, or a class that it needs cannot be imported.
    """
    keras: Any = import_keras()
    classes = _classes_in(path)
    names = {cls.__name__: cls for cls in classes} | {keras.saving.get_registered_name(cls): cls for cls in classes}
    try:
        return keras.saving.load_model(path, custom_objects=names, compile=False, safe_mode=True)
    except Exception as error:  # whatever zipfile, h5py and Keras raise for a damaged file
        raise InputError(f"cannot load {path}: {str(error)[:300]}") from error


def imports(path: Path) -> list[tuple[str, str, str]]:
    """For each class of a package in a model file: the folder it is installed in, its module, its name."""
    found = []
    for cls in _classes_in(path):
        top = sys.modules[cls.__module__.partition(".")[0]]
        place = Path(next(iter(top.__path__))) if hasattr(top, "__path__") else Path(str(top.__file__))
        found.append((str(place.resolve().parent), cls.__module__, cls.__name__))
    return found


def _classes_in(path: Path) -> list[Any]:
    if not facts.custom_layers():
        return []
    try:
        config = read_config(path)
    except InputError:
        return []  # the one who loads the file says what is wrong with it
    named = {name for name in _class_names(config) if name in facts.custom_layers()}
    classes = [class_of(name) for name in sorted(named)]
    return [cls for cls in classes if cls is not None]


def _class_names(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        if isinstance(data.get("class_name"), str):
            yield data["class_name"]
        for value in data.values():
            yield from _class_names(value)
    elif isinstance(data, list):
        for value in data:
            yield from _class_names(value)
