"""Train a run again from its own files, and compare: the same bits, or what is not as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.errors import InputError
from kbuild.files import finite
from kbuild.plan.pipeline import plan_spec
from kbuild.show import table
from kbuild.show.diff import compare
from kbuild.train.checkpoint import values_of
from kbuild.train.environment import ENVIRONMENT, environment_differences
from kbuild.train.fingerprint import data_differences
from kbuild.train.resume import DATA, command_settings, read_earlier
from kbuild.train.rundir import RunDir, read_json


@dataclass(frozen=True)
class Compared:
    """Two lists of arrays.

    Attributes:
        equal: whether every bit is.
        arrays, differing: how many there are, and how many of them differ.
        largest: the largest difference of two values; None where shapes differ or values are not finite.
    """

    equal: bool
    arrays: int
    differing: int
    largest: float | None

    def text(self) -> str:
        """For people."""
        if self.equal:
            return f"bit-equal ({self.arrays} arrays)"
        how = "" if self.largest is None else f", by {self.largest:.3g} at most"
        return f"{self.differing} of {self.arrays} arrays differ{how}"


@dataclass(frozen=True)
class Reproduction:
    """What came of training a run again.

    Attributes:
        run_dir: the run; `again` is where it was trained again, None where that was removed.
        equal: whether weights, optimizer, best weights and history are bit-equal.
        weights, optimizer, best: after the last epoch, and those of the best epoch.
        first_epoch: the first one whose values in `history.csv` differ; None where none does.
        differences: what is not as it was: "versions and hardware", "data", "seeds", "model" → sentences.
    """

    run_dir: str
    again: str | None
    equal: bool
    weights: Compared
    optimizer: Compared
    best: Compared
    first_epoch: int | None
    differences: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """JSON data."""
        return dict(finite(asdict(self)))

    def text(self) -> str:
        """For people."""
        lines = [
            f"weights    {self.weights.text()}",
            f"optimizer  {self.optimizer.text()}",
            f"best       {self.best.text()}",
            f"history    {'equal' if self.first_epoch is None else f'differs from epoch {self.first_epoch} on'}",
        ]
        for what, said in self.differences.items():
            lines += [f"{what}: {one}" for one in said]
        if not self.equal and not any(self.differences.values()):
            lines.append(
                "nothing recorded differs: kernels that add up in another order from time to time are left; "
                "--deterministic rules them out"
            )
        verdict = "reproduced: the same bits" if self.equal else "not reproduced"
        return "\n".join([*lines, f"{verdict}  {self.run_dir}{f' again in {self.again}' if self.again else ''}"])


def reproduce(
    run_dir: str | Path, into: str | Path | None = None, quiet: bool = False, command: Sequence[str] = ()
) -> Reproduction:
    """Train a finished run again from its own files and compare the two.

    Args:
        into: the directory of the new run; None for a temporary one, which is removed.

    Raises:
        InputError: it is no finished run, or a file of it is missing or damaged.
        SpecError: its data are not there any more.
        TrainingError, Interrupted: as `kbuild.train.run.train`.
    """
    from kbuild.train.run import train

    earlier = read_earlier(run_dir)
    if earlier.state != "finished":
        raise InputError(f"{run_dir} is not finished; `kbuild train {run_dir} --resume` goes on with it")
    values_of(earlier.run.state)  # refused now rather than after training
    spec, settings = earlier.spec, earlier.settings
    plan = plan_spec(spec)
    place = tempfile.TemporaryDirectory(prefix="kbuild-") if into is None else nullcontext(str(into))
    with place as folder:
        again = RunDir(Path(folder) / "run" if into is None else Path(folder))
        train(
            spec,
            plan,
            **command_settings(settings),
            run_dir=again.path,
            quiet=quiet,
            command=command,
            summary=table.render(plan),
        )
        differences = _differences(earlier.run, again)
        found = compare(earlier.plan, plan)
        if not found.same:
            differences["model"] = ["this version of kbuild plans another model; `kbuild diff` shows how"]
        groups = ("model", "optimizer")
        states = [run.state for run in (earlier.run, again)]
        weights, optimizer = (compared(*(values_of(state, group) for state in states)) for group in groups)
        best = compared(*(values_of(state, "best_weights") for state in states))
        epoch = _first_epoch(earlier.run, again)
    equal = weights.equal and optimizer.equal and best.equal and epoch is None
    kept = None if into is None else str(into)
    return Reproduction(str(run_dir), kept, equal, weights, optimizer, best, epoch, differences)


def compared(one: Sequence[tuple[str, np.ndarray]], other: Sequence[tuple[str, np.ndarray]]) -> Compared:
    """Compare arrays, bit by bit.

    >>> compared([("a", np.zeros(2))], [("b", np.array([0.0, 1e-7]))])
    Compared(equal=False, arrays=1, differing=1, largest=1e-07)
    """
    if [values.shape for _, values in one] != [values.shape for _, values in other]:
        return Compared(False, max(len(one), len(other)), max(len(one), len(other)), None)
    pairs = [
        (a, b) for (_, a), (_, b) in zip(one, other, strict=True) if a.dtype != b.dtype or a.tobytes() != b.tobytes()
    ]
    sizes = [np.abs(a.astype("float64") - b.astype("float64")).max(initial=0.0) for a, b in pairs]
    largest = float(max(sizes, default=0.0))
    return Compared(not pairs, len(one), len(pairs), largest if np.isfinite(largest) else None)


def _first_epoch(one: RunDir, other: RunDir) -> int | None:
    a, b = one.read_history(), other.read_history()
    for number in range(max(len(a), len(b))):
        if a[number : number + 1] != b[number : number + 1]:
            return number + 1
    return None


def _differences(earlier: RunDir, again: RunDir) -> dict[str, list[str]]:
    """What the files of two runs say of where they ran, and on what."""

    def both(name: str) -> list[Any]:
        return [read_json(run.path / name) if (run.path / name).exists() else {} for run in (earlier, again)]

    seeds = [read_earlier(run.path).settings.seed for run in (earlier, again)]
    return {
        "versions and hardware": environment_differences(*both(ENVIRONMENT)),
        "data": data_differences(*both(DATA)),
        "seeds": [] if seeds[0] == seeds[1] else [f"{seeds[0]} then, {seeds[1]} now"],
    }
