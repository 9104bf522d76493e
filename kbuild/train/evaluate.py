"""A finished run on data: loss and metrics, with the exported SavedModel or the best model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbuild.errors import InputError
from kbuild.plan.losses import Target, resolve_losses
from kbuild.plan.plan import Plan
from kbuild.spec.train import TrainSettings
from kbuild.train.rundir import MARKER, RunDir, open_run, read_json


@dataclass(frozen=True)
class Run:
    """A run read back: its plan, settings and where its data are."""

    files: RunDir
    plan: Plan
    settings: TrainSettings
    targets: tuple[Target, ...]
    folder: Path


def read_run(path: str | Path) -> Run:
    """Read a run directory.

    Raises:
        InputError: it is not a run, or a file of it is missing or damaged.
    """
    from kbuild.spec.load import load_spec
    from kbuild.train.prepare import train_settings

    files = open_run(path)
    try:
        plan = Plan.from_dict(read_json(files.path / "plan.json"))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{files.path / 'plan.json'} is not a plan of this version: {error!r}") from error
    command = read_json(files.path / MARKER)
    settings = train_settings(load_spec(files.path / "resolved.yaml"), **command.get("settings", {}))
    folder = files.path / str(command.get("data_folder", "."))
    return Run(files, plan, settings, resolve_losses(settings, plan), folder)


def evaluate(
    run_dir: str | Path, data: str | Path | None = None, best: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Loss and metrics of a run's model.

    Args:
        data: a file or folder with one set of examples, read as the run's own data are: an .npz archive (`x_test` and
            `y_test`, or `x` and `y`), an image folder, ...; None for the run's own.
        best: use `checkpoints/best.keras` instead of the exported SavedModel.
        quiet: print no notes.

    Returns:
        {"run_dir", "model", "metrics": {split: {metric: value}}, "rows": {split: rows}}. The run's own data give
        "test" and "validation" where there are such; a file gives "data".

    Raises:
        InputError: not a run, no model in it, or data that do not fit.
    """
    from kbuild.train.classes import read_run_classes
    from kbuild.train.data.load import load_data, load_single
    from kbuild.train.data.sources import data_at
    from kbuild.train.loop import Loop
    from kbuild.train.progress import make_progress

    run = read_run(run_dir)
    notes: list[str] = []
    if data is not None:
        settings = data_at(Path(data), run.settings.data)
        splits = {"data": load_single(settings, run.plan, run.targets, Path(), notes, read_run_classes(run.files.path))}
    else:
        loaded = load_data(run.settings, run.plan, run.targets, run.folder, run.settings.seed)
        splits = {name: split for name, split in loaded.splits.items() if name != "train"} or loaded.splits
        notes += loaded.notes
    model, path = _model(run, best)
    display = make_progress(quiet)
    for note in notes:
        display.note(note)
    loop = Loop(model, None, max(run.settings.batch_size, 256))
    metrics = {name: loop.evaluate(split) for name, split in splits.items()}
    return {
        "run_dir": str(run.files.path),
        "model": str(path),
        "metrics": metrics,
        "rows": {name: split.rows for name, split in splits.items()},
    }


def _model(run: Run, best: bool) -> tuple[Any, Path]:
    """A compiled model that predicts as the run's model does, and the file it comes from."""
    from kbuild.train.compile import compile_model

    if best:
        path = run.files.checkpoints / "best.keras"
        model = load_keras(path)
    else:
        path = run.files.saved_model
        model = _served_model(load_saved(path), run.plan.outputs)
    compile_model(model, run.settings, run.plan, run.targets)
    return model, path


def load_keras(path: Path) -> Any:
    """A .keras file.

    Raises:
        InputError: missing or damaged.
    """
    from kbuild.model.custom import load_model

    if not path.is_file():
        raise InputError(f"the run has no {path.name}: {path} is missing")
    return load_model(path)


def load_saved(path: Path) -> Any:
    """A SavedModel's `serving_default` signature, kept alive with its variables.

    Raises:
        InputError: missing or damaged.
    """
    from kbuild.model.backend import import_keras

    import_keras()
    import tensorflow as tf

    if not (path / "saved_model.pb").is_file():
        raise InputError(f"the run has no exported model: {path} is missing (did the training finish?)")
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except Exception as error:  # protobuf and TensorFlow errors of a damaged export
        raise InputError(f"cannot load the SavedModel {path}: {str(error)[:300]}") from error
    signature._kbuild_keep = loaded  # variables live as long as the loaded object
    return signature


def _served_model(signature: Any, outputs: Sequence[str]) -> Any:
    """A Keras model around a signature, so that losses and metrics are computed as in training."""
    from kbuild.model.backend import import_keras

    keras: Any = import_keras()

    class Served(keras.Model):
        """Calls the signature; has no weights of its own to train."""

        def call(self, inputs: Any) -> Any:
            results = call_signature(signature, inputs if isinstance(inputs, dict) else {"": inputs})
            return results[outputs[0]] if len(outputs) == 1 else [results[name] for name in outputs]

    served = Served()
    served.output_names = list(outputs)  # Keras calls losses and metrics of several outputs by them
    return served


def call_signature(signature: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Call a signature with arrays by layer name (or "" for a single input), cast to what it takes."""
    import re

    import tensorflow as tf

    wanted = signature.structured_input_signature[1]
    named = {re.sub(r"\W", "_", name, flags=re.ASCII): value for name, value in inputs.items()}
    if set(named) == {""}:
        named = {next(iter(wanted)): named[""]}
    return dict(signature(**{name: tf.cast(value, wanted[name].dtype) for name, value in named.items()}))
