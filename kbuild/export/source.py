"""What is exported: the model of a run or a saved Keras model, its plan, and real rows to compare predictions on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.export.classes import names_of_file
from kbuild.export.saved_model import output_names
from kbuild.model.custom import load_model
from kbuild.model.lower import build_model
from kbuild.plan.plan import Plan
from kbuild.spec.classes import ClassNames
from kbuild.train.classes import read_run_classes
from kbuild.train.data.arrays import Data, Split
from kbuild.train.evaluate import Run, load_saved, read_run
from kbuild.train.tables import read_inputs

#: Rows of random input where a saved model comes without data, and rows that are read from a file.
ROWS = 256

#: Suffixes of saved models.
SUFFIXES = (".keras", ".h5")


@dataclass(frozen=True)
class Subject:
    """A model to export.

    Attributes:
        model: the built Keras model.
        plan: complete, every shape known; None for a saved model that is not to be folded.
        precision: the dtype policy it computes in.
        inputs: input layer → rows to compare predictions on.
        calibration: input layer → rows that show the range of every value, for quantization.
        origin: where the rows come from, in words.
        folder: where artifacts go unless the user says otherwise.
        classes: output → names of its classes, where they are known.
    """

    model: Any
    plan: Plan | None
    precision: str
    inputs: Mapping[str, np.ndarray]
    calibration: Mapping[str, np.ndarray]
    origin: str
    folder: Path
    classes: ClassNames = field(default_factory=dict)


def open_source(source: Path, data: Path | None = None, plan: bool = False) -> Subject:
    """A run directory, or a file in `SUFFIXES`.

    Args:
        data: rows to compare predictions on (.npz, .npy or .csv), instead of the run's own.
        plan: whether the plan of a saved model is needed.

    Raises:
        InputError: neither a run nor a model, damaged, or rows that do not fit.
    """
    if source.suffix in SUFFIXES and source.is_file():
        return _saved(source, data, plan)
    if source.suffix in SUFFIXES:
        raise InputError(f"there is no model {source}")
    return _of_run(source, data)


def _of_run(source: Path, data: Path | None) -> Subject:
    from kbuild.train.data.load import load_data

    run = read_run(source)
    plan = complete_plan(run)
    loaded = load_data(run.settings, run.plan, run.targets, run.folder, run.settings.seed)
    name, rows = held_out(loaded)
    model = final_model(run, plan, loaded.train)
    inputs = _rows(model, data) if data else rows
    origin = str(data) if data else f"the {name} data of the run"
    folder, classes = run.files.saved_model.parent, read_run_classes(run.files.path)
    return Subject(model, plan, run.settings.precision, inputs, loaded.train.x, origin, folder, classes)


def held_out(data: Data) -> tuple[str, Mapping[str, np.ndarray]]:
    """Rows that were not trained on, as far as there are any, and what they are called."""
    splits = data.splits
    name = next(name for name in ("test", "validation", "train") if name in splits)
    return name, splits[name].x


def complete_plan(run: Run) -> Plan:
    """The plan of a run with every shape known."""
    if not run.plan.unresolved:
        return run.plan
    from kbuild.model.complete import complete

    return complete(run.plan)


def final_model(run: Run, plan: Plan, train: Split | None = None) -> Any:
    """The Keras model of a run as it was exported: its graph from the plan, its variables from the SavedModel.

    Layers that learn from data before the first step, vocabularies among them, learn from the run's data again.

    Args:
        train: the training data of the run, where they are read already.

    Raises:
        InputError: the SavedModel is missing, or is not one of this plan, or layers would learn from other data.
    """
    from kbuild.train.adapt import adapt, learners
    from kbuild.train.compile import set_precision
    from kbuild.train.data.load import load_data

    path = run.files.saved_model
    variables = list(load_saved(path)._kbuild_keep.variables)
    before = set_precision(run.settings.precision)
    try:
        model = build_model(plan, run.settings.seed)
        if learners(model):
            train = train or load_data(run.settings, run.plan, run.targets, run.folder, run.settings.seed).train
            _check_unchanged(run, train, adapt(model, train))
    finally:
        set_precision(before)
    theirs = [(_stable(variable.name.removesuffix(":0")), tuple(variable.shape)) for variable in variables]
    ours = [(_stable(variable.path), tuple(variable.shape)) for variable in model.variables]
    if theirs != ours:
        raise InputError(f"{path} holds other variables than the plan of the run: it was not written by this training")
    for variable, value in zip(model.variables, variables, strict=True):
        variable.assign(value.numpy())
    return model


def _check_unchanged(run: Run, train: Split, learnt: list[str]) -> None:
    """The training data are those of the run, by its fingerprints; other data would teach layers something else."""
    from kbuild.train.fingerprint import fingerprint
    from kbuild.train.resume import DATA
    from kbuild.train.rundir import read_json

    then = read_json(run.files.path / DATA)
    if not isinstance(then, dict) or then.get("train", {}).get("hash") != fingerprint(train):
        raise InputError(
            f"the training data are not those of the run any more: {', '.join(learnt[:6])} learnt from them; "
            "put the old data back, or use the SavedModel of the run as it is"
        )


def _stable(path: str) -> str:
    """A variable's path; Keras numbers the seed generators of a process."""
    return re.sub(r"(^|/)seed_generator(_\d+)?/", r"\1seed_generator/", path)


def _saved(path: Path, data: Path | None, needs_plan: bool) -> Subject:
    model = load_model(path)
    if not getattr(model, "inputs", None):
        raise InputError(f"{path} holds a model without a fixed graph; kbuild exports functional and sequential models")
    plan = None
    if needs_plan:
        from kbuild.importing import plan_of_model

        plan = plan_of_model(path)
        if plan.unresolved:
            from kbuild.model.complete import complete

            plan = complete(plan)
    inputs = _rows(model, data) if data else _random(model)
    origin = str(data) if data else "random numbers (--data FILE gives real rows)"
    folder = path.with_name(f"{path.stem}_export")
    classes = names_of_file(path, output_names(model))
    return Subject(model, plan, _precision(model), inputs, inputs, origin, folder, classes)


def _precision(model: Any) -> str:
    names = {layer.dtype_policy.name for layer in model.layers}
    return next((name for name in ("mixed_float16", "mixed_bfloat16") if name in names), "float32")


def _rows(model: Any, data: Path) -> dict[str, np.ndarray]:
    shapes = {tensor.name: tuple(tensor.shape[1:]) for tensor in model.inputs}
    first = next(read_inputs(data, shapes, None, ROWS), None)
    if first is None:
        raise InputError(f"{data} holds no rows")
    return {name: np.asarray(values) for name, values in first.items()}


def _random(model: Any) -> dict[str, np.ndarray]:
    """Standard normal rows; the same on every machine."""
    random = np.random.default_rng(0)
    found = {}
    for tensor in model.inputs:
        shape = (ROWS if len(tensor.shape) < 4 else 16, *(8 if size is None else size for size in tensor.shape[1:]))
        if str(tensor.dtype) == "string":
            raise InputError(f"the input {tensor.name!r} takes text; give rows with --data")
        whole = str(tensor.dtype).startswith(("int", "uint", "bool"))
        found[tensor.name] = random.integers(0, 2, shape) if whole else random.normal(size=shape).astype("float32")
    return found
