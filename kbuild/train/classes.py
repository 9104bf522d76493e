"""Names of classes: from the spec or the data into the run, and from the run to whoever shows a prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError, Problem, Span, SpecError
from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan
from kbuild.spec.classes import ClassNames
from kbuild.spec.data import DataSettings

#: The file of a run that holds them, and their name inside of what is exported.
FILE = "classes.json"


def match_classes(
    settings: DataSettings, found: ClassNames, plan: Plan, targets: Sequence[Target]
) -> tuple[ClassNames, list[str]]:
    """Output layer → names by class number, and notes about names that were left out.

    Args:
        settings: the spec's names, which win.
        found: what the source knows (labels of a table, directories of images), with a name for each number it gave.

    Raises:
        SpecError: names for an output that has no such classes, or against the numbers that the source gave.
    """
    problems: list[Problem] = []
    place = settings.place("classes")
    known = _by_output(found, plan, None, [])
    named = _by_output(settings.classes, plan, place, problems)
    by_output = {target.output: target for target in targets}
    for output, names in named.items():
        message = _misfit(by_output[output], names)
        moved = [name for i, name in enumerate(known.get(output, ())) if name in names and names.index(name) != i]
        if message:
            problems.append(Problem("data", message, place))
        elif moved:
            number = known[output].index(moved[0])
            message = (
                f"`classes` calls class {names.index(moved[0])} {moved[0]!r}, in the data it has the number {number}"
            )
            problems.append(Problem("data", message, place, f"in the data they are {', '.join(known[output])}"))
    if problems:
        raise SpecError(problems)
    notes = []
    for output, names in known.items():
        message = _misfit(by_output[output], names)
        if output not in named and message:
            notes.append(f"names of classes are left out: {message}")
        elif output not in named:
            named[output] = names
    return {target.output: named[target.output] for target in targets if target.output in named}, notes


def _by_output(classes: ClassNames, plan: Plan, place: Span | None, problems: list[Problem]) -> ClassNames:
    found: ClassNames = {}
    for key, names in classes.items():
        output = plan.output_named(key) if key else plan.outputs[0] if len(plan.outputs) == 1 else None
        if output is None:
            outputs = ", ".join(plan.outputs)
            hint = f"write `classes: {{{plan.outputs[0]}: [...], ...}}`"
            message = f"the model has no output {key!r}" if key else f"the model has the outputs {outputs}"
            problems.append(Problem("data", message, place, hint))
        else:
            found[output] = names
    return found


def _misfit(target: Target, names: Sequence[str]) -> str:
    """Why an output cannot have classes of these names; empty where it can."""
    if target.family == "binary" and target.units == 1:
        wanted = 2
    elif target.family in ("sparse", "categorical"):
        wanted = target.units if target.units is not None else len(names)
    else:
        return f"{target.output!r} is trained with {target.loss} on {target.units} units, which are no classes"
    if len(names) == wanted:
        return ""
    return f"{len(names)} classes are named, but {target.output!r} has {wanted}"


def class_numbers(values: np.ndarray, names: Sequence[Any], threshold: float) -> np.ndarray:
    """The class of each row: the largest entry, or whether a single one is above the threshold.

    Args:
        values: predictions, of shape (rows, units).
        threshold: 0.5 for a probability, 0 for a logit.

    >>> class_numbers(np.array([[0.2], [0.7]]), ["no", "yes"], 0.5).tolist()
    [0, 1]
    """
    if values.shape[-1] == 1 and len(names) == 2:
        return (values[..., 0] > threshold).astype(int)
    return values.argmax(-1)


def to_json(classes: Mapping[str, Sequence[str]]) -> str:
    """One line of JSON.

    >>> to_json({"pet": ("cat", "dog")})
    '{"pet": ["cat", "dog"]}'
    """
    return json.dumps({output: list(names) for output, names in classes.items()}, ensure_ascii=False)


def read_run_classes(folder: Path) -> ClassNames:
    """The names of a run; none where it has no such file.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    return checked(data, str(path))


def checked(data: Any, where: str) -> ClassNames:
    """Names that were read from a file.

    Raises:
        InputError: they are no mapping from outputs to lists of text.
    """
    fine = isinstance(data, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in data.values()
    )
    if not fine:
        raise InputError(f"{where} does not hold names of classes, {{output: [name, ...]}}")
    return {output: tuple(names) for output, names in data.items()}
