"""The recalibrated model as a file, proven like any other export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kbuild.errors import ParityError


def write_recalibrated(model: Any, run_dir: Path, path: Path) -> None:
    """Write the model to a file that is not there yet, load it in a clean process and compare predictions.

    Raises:
        ParityError: the file predicts something else than the recalibrated model.
    """
    from kbuild.export.exporting import check
    from kbuild.export.formats import FORMATS, Request
    from kbuild.export.parity import make_sample, predict_here
    from kbuild.export.source import Subject, complete_plan, final_model, held_out
    from kbuild.train.classes import read_run_classes
    from kbuild.train.data.load import load_data
    from kbuild.train.evaluate import read_run

    run = read_run(run_dir)
    data = load_data(run.settings, run.plan, run.targets, run.folder, run.settings.seed)
    _, inputs = held_out(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = final_model(run, complete_plan(run))  # not compiled: a file for inference holds no optimizer
    plain.set_weights(model.get_weights())
    classes = read_run_classes(run.files.path)
    FORMATS["keras"].write(Request(plain, path, classes=classes))
    sample = make_sample(model, inputs)
    subject = Subject(model, None, run.settings.precision, inputs, inputs, "", path.parent, classes)
    problems = check(FORMATS["keras"], path, subject, sample, predict_here(model, sample))["problems"]
    if problems:
        raise ParityError("the recalibrated model does not predict what it should: " + "; ".join(problems))
