"""Reads the kinds of data that installed packages add: whatever their code does wrong is a report and no traceback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kbuild import plugins
from kbuild.errors import KbuildError, Problem, SpecError
from kbuild.spec import custom_data
from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Raw, Split
from kbuild.train.data.seen import Seen


def function(address: str) -> Any:
    """A package's reading function, imported.

    Raises:
        Unfit: it cannot be imported, or is none; says why.
    """
    found = plugins.imported(address)
    if not callable(found):
        raise plugins.Unfit(f"{address} is no function")
    return found


def read(address: str, data: DataSettings, folder: Path) -> Raw:
    """What a package's function reads.

    Raises:
        SpecError: the data cannot be read, with the package's reason, or the package is at fault.
    """
    kind = custom_data.find(data.kind)
    package = kind.package if kind is not None else ""
    source = f"the data source {data.kind!r} of the package {package}"
    try:
        raw = function(address)(data, folder)
    except KbuildError:
        raise
    except plugins.Unfit as error:
        raise SpecError([Problem("plugin", f"{source} cannot be used", data.span, str(error))]) from error
    except (ValueError, OSError) as error:
        raise SpecError([Problem("data", f"{source}: {plugins.said(error)}", data.span)]) from error
    except (Exception, SystemExit) as error:
        raise SpecError([Problem("plugin", f"{source} failed", data.span, plugins.said(error))]) from error
    if wrong := _wrong(raw):
        raise SpecError([Problem("plugin", f"{source} gave {wrong}", data.span, f"a fault of the package {package}")])
    assert isinstance(raw, Raw)
    return raw


def _wrong(raw: Any) -> str:
    """What a package gave where it is not what a source gives; "" where it is. What fits the model is checked later."""
    if not isinstance(raw, Raw):
        return f"{type(raw).__name__}, no kbuild.train.data.arrays.Raw"
    if not isinstance(raw.train, Split) or not isinstance(raw.test, (Split, type(None))):
        return "training or test examples that are no kbuild.train.data.arrays.Split"
    for split in (raw.train, *([raw.test] if raw.test else [])):
        for side, named in split.sides.items():
            if not isinstance(named, dict) or (not named and side != "weight"):
                return f"{side} that is no dict from layers to values"
            for values in named.values():
                if not all(hasattr(values, name) for name in ("shape", "dtype", "__len__", "__getitem__")):
                    return f"{side} with {type(values).__name__}, no array"
                if not values.shape:
                    return f"{side} that has no rows"
    beside = {
        "names that are no dict": isinstance(raw.names, dict),
        "classes that are no dict from outputs to tuples of texts": _named(raw.classes)
        and all(_tuple_of(str, given) for given in raw.classes.values()),
        "places that are no dict from splits to functions": _named(raw.places)
        and all(map(callable, raw.places.values())),
        "notes that are no tuple of texts": _tuple_of(str, raw.notes),
        "files that are no tuple of kbuild.train.data.seen.Seen": _tuple_of(Seen, raw.files),
    }
    return next((wrong for wrong, fits in beside.items() if not fits), "")


def _named(given: Any) -> bool:
    return isinstance(given, Mapping) and all(isinstance(name, str) for name in given)


def _tuple_of(kind: type, given: Any) -> bool:
    return isinstance(given, tuple) and all(isinstance(one, kind) for one in given)
