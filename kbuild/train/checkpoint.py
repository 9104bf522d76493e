"""The complete state of a training, in one file, to the bit.

`checkpoints/last/state.npz` holds every model variable (seed generators and moving statistics too), the optimizer's
variables, metric and callback state, epoch and step, history and which epoch was the best (its model is `best.keras`,
written before the state that speaks of it). It is written to a temporary name, flushed and renamed, so a killed run
leaves the previous state or the new one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.model.backend import import_keras
from kbuild.train.files import write_file

#: Version of the file's layout.
FORMAT = 1


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: epochs finished.
        step: steps done of the epoch after them.
        history: one mapping per finished epoch: name → value.
        best: the best value of the watched metric so far, and its epoch (from 1).
        best_weights: values of all model variables at the end of that epoch, until `best.keras` is written.
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
        self.arrays[key] = np.frombuffer(np.ascontiguousarray(array).tobytes(), "uint8")
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


#: Attributes of callbacks that are set by the trainer, not state.
_NOT_STATE = ("_model", "model", "params")


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


def save_checkpoint(path: Path, model: Any, callbacks: list[Any], progress: Progress, extra: list[Any]) -> None:
    """Write the state to the file `path`, whole or not at all.

    Args:
        extra: variables outside the model (augmentation seeds).

    Raises:
        TrainingError: the file cannot be written.
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
    for group, variables in _variables(model, extra).items():
        state[group] = [{"path": v.path, "value": packer.put(v.numpy())} for v in variables]
    state["callbacks"] = [{"class": type(c).__name__, "state": _callback_state(c, packer)} for c in callbacks]
    arrays: dict[str, Any] = {"state": np.frombuffer(json.dumps(state).encode(), "uint8"), **packer.arrays}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda stream: np.savez(stream, **arrays))


def load_checkpoint(path: Path, model: Any, callbacks: list[Any], extra: list[Any]) -> Progress:
    """Put a saved state back into a model built and compiled from the same spec, and into its callbacks.

    Raises:
        InputError: no such file, or a state of another model.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        state = json.loads(archive["state"].tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"cannot read the checkpoint {path}: {error}") from error
    with archive:
        if state.get("format") != FORMAT:
            raise InputError(f"{path} has the format {state.get('format')}; this version reads {FORMAT}")
        for group, variables in _variables(model, extra).items():
            saved = state[group]
            if [_leaf(s["path"]) for s in saved] != [_leaf(v.path) for v in variables]:
                raise InputError(f"{path} is a checkpoint of another model: its {group} variables differ")
            for entry, variable in zip(saved, variables, strict=False):
                value = _unpack(entry["value"], archive)
                if tuple(value.shape) != tuple(variable.shape):
                    raise InputError(f"{path} is a checkpoint of another model: {variable.path} has another shape")
                variable.assign(value)
        for callback, entry in zip(callbacks, state["callbacks"], strict=False):
            if type(callback).__name__ != entry["class"]:
                raise InputError(f"{path} was written with the callback {entry['class']}")
            for name, value in entry["state"].items():
                setattr(callback, name, _unpack(value, archive))
        return Progress(
            state["epoch"],
            state["step"],
            _unpack(state["history"], archive),
            _unpack(state["best"], archive),
            state["best_epoch"],
            None,
            state["stopped"],
        )


def _leaf(path: str) -> str:
    """The last part of a variable's path without numbers, for Keras' automatic names count models in the process."""
    return re.sub(r"_\d+", "", path.rsplit("/", 1)[-1])
