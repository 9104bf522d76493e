"""Settings + plan → `Data`: read, checked, split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kbuild.errors import Problem, SpecError
from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan
from kbuild.spec.classes import ClassNames
from kbuild.spec.data import DataSettings
from kbuild.spec.train import TrainSettings
from kbuild.train.classes import match_classes
from kbuild.train.data.arrays import Data, Split, parts
from kbuild.train.data.checks import Checker
from kbuild.train.data.seen import Seen
from kbuild.train.data.sources import like, read_examples, read_source

#: Sets the draws that split apart from those that shuffle: SeedSequence([seed, this]).
_SPLIT_STREAM = 0x5B117


def load_data(settings: TrainSettings, plan: Plan, targets: Sequence[Target], folder: Path, seed: int) -> Data:
    """Read the data of a spec and check them against the plan.

    Args:
        targets: of `kbuild.plan.losses.resolve_losses`.
        folder: what paths in the spec are relative to.
        seed: of the run; it draws the validation share.

    Raises:
        SpecError: all that is wrong with the arrays.
    """
    return split_validation(load_unsplit(settings, plan, targets, folder), settings, targets, seed)


def load_unsplit(settings: TrainSettings, plan: Plan, targets: Sequence[Target], folder: Path) -> Data:
    """Read and check the data of a spec, the validation share still among the training data.

    Raises:
        SpecError: all that is wrong with the arrays.
    """
    raw = read_source(settings.data, folder, plan, targets)
    checker = Checker(raw, plan, targets, settings.data.span)
    train = checker.split("train", raw.train)
    test = checker.split("test", raw.test) if raw.test else None
    checker.finish()
    classes, left_out = match_classes(settings.data, raw.classes, plan, targets)
    notes = [*raw.notes, *checker.notes, *left_out]
    validation, files = None, raw.files
    if isinstance(settings.validation, DataSettings):
        known = raw.classes or settings.data.classes
        held = like(settings.validation, settings.data)
        validation, more = _load_single(held, plan, targets, folder, notes, known)
        files = (*files, *more)
    return Data(train, validation, test, tuple(notes), classes, files)


def split_validation(unsplit: Data, settings: TrainSettings, targets: Sequence[Target], seed: int) -> Data:
    """The data as a run with this seed has them: the validation share drawn, and notes on what there is."""
    train, validation = unsplit.train, unsplit.validation
    if isinstance(settings.validation, float) and settings.validation > 0:
        train, validation = _share(train, settings, seed)
    data = replace(unsplit, train=train, validation=validation)
    counts = ", ".join(f"{split.rows:,} {name}" for name, split in data.splits.items()) + " examples"
    return replace(data, notes=(counts, *unsplit.notes, *_absent(train, targets)))


def load_single(
    data: DataSettings,
    plan: Plan,
    targets: Sequence[Target],
    folder: Path,
    notes: list[str],
    classes: ClassNames | None = None,
) -> Split:
    """One set of examples, checked: a validation file, or a file to evaluate. A set by name gives its test part.

    Args:
        notes: notes are appended.
        classes: names of the classes of the training data, as their source gave them.
    """
    return _load_single(data, plan, targets, folder, notes, classes or {})[0]


def _load_single(
    data: DataSettings, plan: Plan, targets: Sequence[Target], folder: Path, notes: list[str], classes: ClassNames
) -> tuple[Split, tuple[Seen, ...]]:
    raw = read_examples(data, folder, classes, plan, targets)
    checker = Checker(raw, plan, targets, data.span)
    checked = checker.split("train", raw.train)
    checker.finish()
    notes.extend(note for note in (*raw.notes, *checker.notes) if note not in notes)
    return checked, raw.files


def _share(train: Split, settings: TrainSettings, seed: int) -> tuple[Split, Split]:
    """Split off the validation share, drawn by the seed; both parts keep the stored order."""
    assert isinstance(settings.validation, float)
    rows = train.rows
    if rows < 2:
        message = f"one training example cannot be split for validation (share {settings.validation})"
        raise SpecError([Problem("data", message, settings.place("validation"), "write `validation: 0`")])
    count = min(rows - 1, max(1, round(rows * settings.validation)))
    order = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _SPLIT_STREAM]))).permutation(rows)
    return train.take(np.sort(order[count:])), train.take(np.sort(order[:count]))


def _absent(train: Split, targets: Sequence[Target]) -> list[str]:
    """A note for classes that no training example has."""
    notes = []
    for target in targets:
        if target.family == "sparse" and target.units is not None and target.units <= 100_000:
            seen = np.zeros(target.units, "int64")
            for _, labels in parts(train.y[target.output]):
                seen += np.bincount(labels.ravel().clip(0), minlength=target.units)[: target.units]
            absent = np.flatnonzero(seen == 0)
            if len(absent):
                some = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
                notes.append(f"{len(absent)} of {target.units} classes have no training example: {some}")
    return notes
