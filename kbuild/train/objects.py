"""`Chosen` → Keras objects: optimizers with their schedules, losses, metrics, callbacks, augmentation layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kbuild.errors import Problem, SpecError
from kbuild.files import naming_failures
from kbuild.model.backend import import_keras
from kbuild.spec.train import Chosen

#: Callback arguments that are files or directories, and the folder of the run they are kept under.
_PATHS = {
    "CSVLogger": ("filename", "logs"),
    "ModelCheckpoint": ("filepath", "checkpoints"),
    "TensorBoard": ("log_dir", "logs"),
}
_PATH_DEFAULTS = {"TensorBoard": "."}

#: What `checkpoints/` holds of every run; no callback may write there.
_OWN = ("best.keras", "last")


def make(chosen: Chosen, spaces: Sequence[str]) -> Any:
    """The Keras object, looked up in `spaces` (modules of Keras, by name).

    Raises:
        SpecError: Keras refuses the arguments; the message is Keras' own.
    """
    return _make(chosen.class_name, chosen.config, chosen, spaces)


def _make(name: str, config: dict[str, Any], chosen: Chosen, spaces: Sequence[str]) -> Any:
    keras: Any = import_keras()
    config = {key: _value(value, chosen) for key, value in config.items()}
    for space in spaces:
        module = keras
        for part in space.split("."):
            module = getattr(module, part)
        cls = getattr(module, name, None) or _any_case(module, name)
        if isinstance(cls, type):
            try:
                return cls(**config)
            except SpecError:
                raise
            except Exception as error:
                message = f"Keras refuses {name}: {str(error).strip()[:300]}"
                raise SpecError([Problem("wrong-type", message, chosen.span)]) from error
    raise SpecError([Problem("unknown-name", f"Keras has no {name!r} in {' or '.join(spaces)}", chosen.span)])


def _any_case(module: Any, name: str) -> Any:
    folded = name.replace("_", "").lower()
    return next((getattr(module, n) for n in dir(module) if n.lower() == folded and n[0].isupper()), None)


_NESTED = ("optimizers", "optimizers.schedules", "regularizers", "initializers", "constraints", "losses")


def _value(value: Any, chosen: Chosen) -> Any:
    if isinstance(value, dict) and set(value) == {"class_name", "config"}:
        return _make(value["class_name"], value["config"] or {}, chosen, _NESTED)
    if isinstance(value, list):
        return [_value(one, chosen) for one in value]
    return value


def make_optimizer(chosen: Chosen) -> Any:
    return make(chosen, ("optimizers",))


def make_loss(name: str, config: dict[str, Any], chosen: Chosen) -> Any:
    return _make(name, config, chosen, ("losses",))


def make_metric(chosen: Chosen) -> Any:
    """A metric; `accuracy` and `crossentropy` stay strings, for Keras resolves them by the shapes."""
    if chosen.class_name.lower() in ("accuracy", "acc", "crossentropy", "ce") and not chosen.config:
        return chosen.class_name
    # Class names of Keras' metrics; a loss function's name such as `mse` is resolved by Keras itself.
    keras: Any = import_keras()
    if not chosen.config and not isinstance(getattr(keras.metrics, chosen.class_name, None), type):
        return chosen.class_name
    return make(chosen, ("metrics",))


def check_callbacks(chosen: Sequence[Chosen]) -> None:
    """Paths of callbacks stay inside the run directory, and off what it keeps itself.

    Raises:
        SpecError: any other path.
    """
    for one in chosen:
        if one.class_name in _PATHS:
            _callback_path(one)


def _callback_path(one: Chosen) -> Path:
    option, folder = _PATHS[one.class_name]
    default = _PATH_DEFAULTS.get(one.class_name, f"{one.class_name}.out")
    path = Path(str(one.config.get(option, default)))
    if path.is_absolute() or ".." in path.parts or "{" in str(path.parent):
        message = f"{one.class_name} writes to {str(path)!r}; paths of callbacks stay inside the run directory"
        hint = f"a relative path is kept under {folder}/ of the run"
        raise SpecError([Problem("wrong-type", message, one.span, hint)])
    if one.class_name == "ModelCheckpoint" and path.parts[:1] and path.parts[0].lower() in _OWN:
        message = (
            f"ModelCheckpoint writes to {str(path)!r}, where the run keeps its own {folder}/{path.parts[0].lower()}"
        )
        raise SpecError([Problem("wrong-type", message, one.span, "give it another name, such as own.keras")])
    return path


def make_callbacks(chosen: Sequence[Chosen], run: Path | None, append: bool = False) -> list[Any]:
    """Callbacks, their files kept under the run directory `run` (None for a dry run: nothing is opened).

    Args:
        append: a training goes on: what CSVLogger wrote stays.

    Raises:
        SpecError: a path that leads out of the run directory.
    """
    made = []
    for one in chosen:
        config = dict(one.config)
        if one.class_name in _PATHS:
            option, folder = _PATHS[one.class_name]
            path = (run or Path("run")) / folder / _callback_path(one)
            if run is not None:
                with naming_failures(path.parent):
                    path.parent.mkdir(parents=True, exist_ok=True)
            config[option] = str(path)
        if "verbose" not in config and one.class_name in ("EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"):
            config["verbose"] = 0
        if append and one.class_name == "CSVLogger":
            config["append"] = True
        made.append(make(Chosen(one.class_name, config, one.span), ("callbacks",)))
    return made


def go_on_after(callbacks: Sequence[Any], epoch: int) -> None:
    """Take back the lines that CSVLogger wrote about epochs from `epoch` (from 0) on: they are trained again."""
    for callback in callbacks:
        if type(callback).__name__ == "CSVLogger" and os.path.exists(callback.filename):
            with open(callback.filename, "r+b") as stream:
                head, *lines = stream.readlines() or [b""]
                kept = [line for line in lines if line.endswith(b"\n") and _csv_epoch(line, callback.sep) < epoch]
                stream.seek(0)
                stream.truncate()
                stream.writelines([head, *kept])


def _csv_epoch(line: bytes, separator: str) -> int:
    number = line.split(separator.encode())[0]
    return int(number) if number.isdigit() else 0


def make_augment(chosen: Sequence[Chosen], seed: int) -> list[Any]:
    """Augmentation layers, each with a seed of its own that follows from the run's."""
    return [
        make(Chosen(c.class_name, {"seed": seed * 1000 + i, **c.config}, c.span), ("layers",))
        for i, c in enumerate(chosen)
    ]
