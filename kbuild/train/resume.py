"""Going on with a run: is it this spec's, are its files whole, is it done already?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, Span
from kbuild.plan.plan import Plan
from kbuild.show.diff import compare
from kbuild.spec.load import load_spec
from kbuild.spec.model import Spec
from kbuild.spec.train import TrainSettings
from kbuild.train.checkpoint import check_last
from kbuild.train.fingerprint import Fingerprints
from kbuild.train.prepare import train_settings
from kbuild.train.result import RunResult
from kbuild.train.rundir import MARKER, RunDir, clean, is_unbegun, open_run, read_json

#: The file that holds the data's fingerprints.
DATA = "data.json"

#: Settings of the command line that a run remembers.
COMMAND_SETTINGS = ("epochs", "batch_size", "seed", "deterministic", "strategy")

#: Settings that do not change what is trained.
_FREE = ("epochs", "checkpoint_every", "span", "spans")


@dataclass(frozen=True)
class Earlier:
    """A run that was begun.

    Attributes:
        run: its directory.
        spec, plan: as it keeps them; data are found where they were.
        settings: with the values that its command line gave.
        epochs: finished ones.
        metrics: what `metrics.json` says; empty where it is missing.
    """

    run: RunDir
    spec: Spec
    plan: Plan
    settings: TrainSettings
    epochs: int
    metrics: Mapping[str, Any]

    @property
    def state(self) -> str:
        """ "running" (also of a run that was killed), "finished", "interrupted", "failed" or ""."""
        return str(self.metrics.get("state", ""))

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: trained to the last epoch, or to where a callback stopped; exported."""
        done = self.epochs >= self.settings.epochs or bool(self.metrics.get("stopped"))
        return self.state == "finished" and done

    @property
    def done(self) -> str:
        """What is said of a finished run."""
        more = f"--epochs with more than {self.epochs} trains on"
        more = "a callback stopped it there" if self.metrics.get("stopped") else more
        return f"{self.run.path} is finished, with {self.epochs} epochs; {more}"

    def result(self) -> RunResult:
        """What the finished training gave, from its files.

        Raises:
            InputError: one of them is missing or damaged.
        """
        metrics, parity = self.metrics, read_json(self.run.parity)
        try:
            return RunResult(
                self.run.path,
                self.run.saved_model,
                metrics["metrics"],
                metrics["epochs"],
                metrics["seconds"],
                self.plan.to_dict()["ordering"],
                parity,
                metrics["best"],
                metrics.get("images_per_second"),
            )
        except KeyError as error:
            raise InputError(f"{self.run.path / 'metrics.json'} has no {error}") from None


def find_earlier(path: Path, spec: Spec, plan: Plan, given: Mapping[str, Any]) -> Earlier | None:
    """The run in a directory, with the number of epochs that is asked for; None where it is yet to be begun.

    Args:
        given: settings of the command line; those that are None are the run's.

    Raises:
        InputError: it is no run, a damaged one, or one of another spec.
    """
    return None if nothing_there(path) else check_same(read_earlier(path), spec, plan, given)


def check_files(earlier: Earlier, hashes: Fingerprints) -> None:
    """Look at the data and at the states before anything of the run is touched.

    Raises:
        InputError: the data changed.
        Damaged: no state is whole.
    """
    run = earlier.run
    if (run.path / DATA).exists():
        hashes.check(read_json(run.path / DATA))
    check_last(run.state)


def go_on(earlier: Earlier, command: Sequence[str]) -> None:
    """Remove what a killed process left half-written, and note what this command asks of the run."""
    run = earlier.run
    clean(run)
    written = read_json(run.path / MARKER)
    written["settings"]["epochs"] = earlier.settings.epochs
    run.write(MARKER, {**written, "resumed": [*written.get("resumed", []), list(command)]})


def command_settings(settings: TrainSettings) -> dict[str, Any]:
    """The values of `COMMAND_SETTINGS`, as a run keeps them and as `train_settings` takes them."""
    values = {name: getattr(settings, name) for name in COMMAND_SETTINGS}
    return {**values, "strategy": "none" if settings.strategy is None else str(settings.strategy)}


def nothing_there(path: Path) -> bool:
    """Whether a run directory is yet to be begun: it is not there, empty, or was killed before it began."""
    return not path.exists() or (path.is_dir() and (not any(path.iterdir()) or is_unbegun(path)))


def read_earlier(path: str | Path) -> Earlier:
    """A run from its own files.

    Raises:
        InputError: it is no run, or a file of it is missing or damaged.
    """
    run = open_run(path)
    command = read_json(run.path / MARKER)
    try:
        given = {name: command["settings"].get(name) for name in COMMAND_SETTINGS}
        folder = run.path / str(command.get("data_folder", "."))
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{run.path / MARKER} is damaged: {error!r}") from None
    if not (run.path / "resolved.yaml").is_file():
        raise InputError(f"the run has no resolved.yaml: {run.path / 'resolved.yaml'} is missing")
    try:
        plan = Plan.from_dict(read_json(run.path / "plan.json"))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{run.path / 'plan.json'} is not a plan of this version: {error!r}") from None
    spec = replace(load_spec(run.path / "resolved.yaml"), path=folder / "spec.yaml")
    metrics = read_json(run.path / "metrics.json") if (run.path / "metrics.json").exists() else {}
    if not isinstance(metrics, dict):
        raise InputError(f"{run.path / 'metrics.json'} is damaged")
    epochs = len(run.read_history())
    return Earlier(run, spec, plan, train_settings(spec, **given), epochs, metrics)


def check_same(earlier: Earlier, spec: Spec, plan: Plan, given: Mapping[str, Any]) -> Earlier:
    """The run, if it is one of this spec, with the number of epochs that is asked for.

    Args:
        given: settings of the command line; those that are None are the run's.

    Raises:
        InputError: saying what differs.
    """
    written, was = train_settings(spec), train_settings(earlier.spec)
    own = command_settings(earlier.settings)
    if written.epochs != was.epochs:
        own["epochs"] = written.epochs
    settings = train_settings(spec, **{name: own[name] if value is None else value for name, value in given.items()})
    differs = dict.fromkeys(
        (
            *_model_differences(earlier, plan),
            *settings_differences(was, written),
            *settings_differences(earlier.settings, settings),
        )
    )
    if differs:
        path = earlier.run.path
        raise InputError(
            f"{path} is a run of another spec: {'; '.join(differs)}; `kbuild train {path} --resume` goes on with it as "
            "it was begun, another --run-dir begins another run"
        )
    if settings.epochs < earlier.epochs:
        raise InputError(f"{earlier.run.path} has trained {earlier.epochs} epochs; --epochs must not be less")
    return replace(earlier, settings=settings)


def _model_differences(earlier: Earlier, plan: Plan) -> list[str]:
    found = compare(earlier.plan, plan)
    if found.same:
        return []
    both, alone = (*found.units, *found.layers), (*found.only_a, *found.only_b)
    names = list(dict.fromkeys([one.name for one in both] + [one.name for one in alone]))
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return [f"the model differs{f' at {some}' if some else ''} (`kbuild diff` shows how)"]


def settings_differences(one: TrainSettings, other: TrainSettings) -> list[str]:
    """Training settings that differ and change what is trained: `batch_size: 32 in the run, 64 now`."""
    return [
        f"{field.name}: {_shown(a)} in the run, {_shown(b)} now"
        for field in fields(TrainSettings)
        if field.name not in _FREE
        and (a := plain(getattr(one, field.name))) != (b := plain(getattr(other, field.name)))
    ]


def plain(value: Any) -> Any:
    """Settings as plain data, without the places they were written at."""
    if isinstance(value, Span):
        return None
    if is_dataclass(value):
        named = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(one) for name, one in named.items() if name not in ("span", "spans") and one is not None}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."
