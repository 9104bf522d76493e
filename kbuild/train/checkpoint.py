"""The complete state of a training, in one file, to the bit.

`checkpoints/last/state.npz` holds every model variable (seed generators and moving statistics too), the optimizer's
variables, metric and callback state, epoch and step, history, and the best epoch with its weights. It is written to a
temporary name, flushed and renamed; the state before it is kept as `previous.npz`. So a killed run leaves a whole
state, and a state that the disk has damaged leaves the one before it.

`capture` copies the state to the host, where the training can go on; `write_state` puts the copy on disk and may run in
another thread.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.files import naming_failures, write_file
from kbuild.model.backend import import_keras

#: Version of the file's layout.
FORMAT = 2

#: The state before the last one, beside it.
PREVIOUS = "previous.npz"


class Damaged(InputError):
    """A state that cannot be read: cut off, overwritten, not a state at all."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: epochs finished.
        step: steps done of the epoch after them.
        history: one mapping per finished epoch: name → value.
        best: the best value of the watched metric so far, and its epoch (from 1).
        best_weights: values of all model variables at the end of that epoch; None where nothing is kept.
        stopped: a callback has asked to stop.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_epoch: int | None = None
    best_weights: list[np.ndarray] | None = None
    stopped: bool = False


class _Packer:
    """Arrays by number; JSON data refer to them. Bytes and shape are kept, so any dtype survives."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def put(self, array: np.ndarray) -> dict[str, Any]:
        array = np.asarray(array)
        key = f"a{len(self.arrays)}"
        self.arrays[key] = np.ascontiguousarray(array).reshape(-1).view("uint8")
        return {"array": key, "dtype": array.dtype.name, "shape": list(array.shape)}

    def value(self, value: Any) -> Any:
        """Plain data or arrays as JSON data; raises TypeError for anything else."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return {"plain": value}
        if isinstance(value, (np.ndarray, np.generic)):
            return self.put(np.asarray(value))
        if isinstance(value, (list, tuple)):
            return {"list": [self.value(one) for one in value], "tuple": isinstance(value, tuple)}
        if isinstance(value, dict):
            return {"dict": [[self.value(k), self.value(v)] for k, v in value.items()]}
        raise TypeError(type(value).__name__)


def _unpack(data: dict[str, Any], arrays: Any) -> Any:
    if "op" in data:
        keras: Any = import_keras()
        return getattr(keras.ops, data["op"])
    if "array" in data:
        name = data["dtype"]
        if name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
            import ml_dtypes

            dtype = np.dtype(getattr(ml_dtypes, name))
        else:
            dtype = np.dtype(name)
        return np.frombuffer(arrays[data["array"]].tobytes(), dtype).reshape(data["shape"])
    if "list" in data:
        items = [_unpack(one, arrays) for one in data["list"]]
        return tuple(items) if data["tuple"] else items
    if "dict" in data:
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in data["dict"]}
    return data["plain"]


#: Attributes of callbacks that are set by the trainer, or belong to files of this run.
_NOT_STATE = (
    "writer",
    "csv_file",
    "_model",
    "model",
    "params",
    "filename",
    "filepath",
    "log_dir",
    "_log_write_dir",
    "append",
    "append_header",
)


def _callback_state(callback: Any, packer: _Packer) -> dict[str, Any]:
    state = {}
    for name, value in vars(callback).items():
        if name not in _NOT_STATE:
            if name == "monitor_op" and callable(value):
                # Setting it anew would turn the sign of `min_delta` a second time.
                state[name] = {"op": value.__name__}
                continue
            try:
                state[name] = packer.value(value)
            except TypeError:  # a model, a file, a function: made anew by the callback itself
                continue
    return state


def _variables(model: Any, extra: list[Any]) -> dict[str, list[Any]]:
    optimizer = [] if model.optimizer is None else list(model.optimizer.variables)
    return {
        "model": list(model.variables),
        "optimizer": optimizer,
        "metrics": list(model.metrics_variables),
        "extra": list(extra),
    }


def capture(model: Any, callbacks: list[Any], progress: Progress, extra: list[Any]) -> dict[str, np.ndarray]:
    """The state as arrays of bytes on the host; later steps of the training do not change them.

    Args:
        extra: variables outside the model (augmentation seeds).
    """
    packer = _Packer()
    state: dict[str, Any] = {
        "format": FORMAT,
        "epoch": progress.epoch,
        "step": progress.step,
        "stopped": progress.stopped,
        "best_epoch": progress.best_epoch,
    }
    state["history"] = packer.value(progress.history)
    state["best"] = packer.value(progress.best)
    state["best_weights"] = packer.value(progress.best_weights)
    for group, variables in _variables(model, extra).items():
        if group == "metrics" and progress.step == 0:
            variables = []  # they begin anew with the next epoch
        state[group] = [{"path": v.path, "value": packer.put(v.numpy())} for v in variables]
    state["callbacks"] = [{"class": type(c).__name__, "state": _callback_state(c, packer)} for c in callbacks]
    return {"state": np.frombuffer(json.dumps(state).encode(), "uint8"), **packer.arrays}


def write_state(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write what `capture` gave to the file `path`, whole or not at all; the state that was there becomes `PREVIOUS`.

    Raises:
        TrainingError: the file cannot be written; what was there is there still.
    """
    with naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    named: dict[str, Any] = dict(arrays)
    write_file(path, lambda stream: np.savez(stream, **named), keep=path.with_name(PREVIOUS))


def has_state(path: Path) -> bool:
    """Whether a state was ever written to `path`."""
    return path.exists() or path.with_name(PREVIOUS).exists()


def load_last(path: Path, model: Any, callbacks: list[Any], extra: list[Any]) -> tuple[Progress, str]:
    """`load_checkpoint` of the state at `path`, or of the one before it where that is damaged or gone.

    Returns:
        How far the training is, and a note on what is damaged ("" where nothing is).

    Raises:
        Damaged: both are.
        InputError: a state of another model.
    """
    try:
        return load_checkpoint(path, model, callbacks, extra), ""
    except Damaged as error:
        check_last(path)
        progress = load_checkpoint(path.with_name(PREVIOUS), model, callbacks, extra)
        return progress, f"{error}; the state before it is whole and taken instead" if path.exists() else ""


def check_last(path: Path) -> None:
    """Look whether the state at `path`, or the one before it, is whole; nothing to do where there is none.

    Raises:
        Damaged: both are damaged.
        InputError: another format.
    """
    if not has_state(path):
        return
    try:
        read_state(path)
    except Damaged as error:
        try:
            read_state(path.with_name(PREVIOUS))
        except Damaged as worse:
            raise Damaged(f"{error}; {worse}") from error


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is in a state file: its JSON data, and the arrays these refer to, each checked against its checksum.

    Raises:
        Damaged: it cannot be read.
        InputError: another format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        state = json.loads(arrays["state"].tobytes())
    except FileNotFoundError:
        raise Damaged(f"the checkpoint {path} is missing") from None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise Damaged(f"cannot read the checkpoint {path}: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else None
        raise InputError(f"{path} has the format {found}; this version reads {FORMAT}")
    return state, arrays


def load_checkpoint(path: Path, model: Any, callbacks: list[Any], extra: list[Any]) -> Progress:
    """Put a saved state back into a model built and compiled from the same spec, and into its callbacks.

    Raises:
        Damaged: no such file, or one that is no whole state.
        InputError: a state of another model.
    """
    state, arrays = read_state(path)
    for group, variables in _variables(model, extra).items():
        saved = state[group]
        if group == "metrics" and not saved:
            continue
        if [_leaf(s["path"]) for s in saved] != [_leaf(v.path) for v in variables]:
            raise InputError(f"{path} is a checkpoint of another model: its {group} variables differ")
        for entry, variable in zip(saved, variables, strict=False):
            value = _unpack(entry["value"], arrays)
            if tuple(value.shape) != tuple(variable.shape):
                raise InputError(f"{path} is a checkpoint of another model: {variable.path} has another shape")
            variable.assign(value)
    if [type(callback).__name__ for callback in callbacks] != [entry["class"] for entry in state["callbacks"]]:
        written = ", ".join(entry["class"] for entry in state["callbacks"]) or "none"
        raise InputError(f"{path} was written with other callbacks: {written}")
    for callback, entry in zip(callbacks, state["callbacks"], strict=True):
        for name, value in entry["state"].items():
            setattr(callback, name, _unpack(value, arrays))
    return Progress(
        state["epoch"],
        state["step"],
        _unpack(state["history"], arrays),
        _unpack(state["best"], arrays),
        state["best_epoch"],
        _unpack(state["best_weights"], arrays),
        state["stopped"],
    )


def values_of(path: Path, group: str = "model") -> list[tuple[str, np.ndarray]]:
    """The variables of a state: (path, value) in the model's order.

    Args:
        group: "model", "optimizer", "metrics", "extra", or "best_weights": those of the model at the best epoch.

    Raises:
        InputError: as `read_state`.
    """
    state, arrays = read_state(path)
    if group == "best_weights":
        values = _unpack(state[group], arrays) or []
        return [(entry["path"], value) for entry, value in zip(state["model"], values, strict=False)]
    return [(entry["path"], _unpack(entry["value"], arrays)) for entry in state[group]]


def _leaf(path: str) -> str:
    """The last part of a variable's path without numbers, for Keras' automatic names count models in the process."""
    return re.sub(r"_\d+", "", path.rsplit("/", 1)[-1])
