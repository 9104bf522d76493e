"""Names of classes: from the spec or the data into the run, and from the run to whoever shows a prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Labels:
    """How the class of a row of predictions is told.

    Attributes:
        names: by class number; empty where they are not known.
        threshold: for a single unit, whose classes are "not above" and "above": 0.5 for a probability, 0 for a logit.
            None for a unit per class.

    >>> Labels(("no", "yes"), 0.5).numbers(np.array([[0.2], [0.7]])).tolist()
    [0, 1]
    >>> Labels(("cat", "dog", "eel")).numbers(np.array([[0.2, 0.1, 0.7]])).tolist()
    [2]
    """

    names: tuple[str, ...] = ()
    threshold: float | None = None

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Class numbers of predictions of shape (rows, units)."""
        return values.argmax(-1) if self.threshold is None else (values[:, 0] > self.threshold).astype(int)


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
