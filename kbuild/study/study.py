"""A study from its spec to its report: what `kbuild study` does."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kbuild.errors import InputError, WorkError, listing
from kbuild.files import write_json
from kbuild.plan.pipeline import compile_spec
from kbuild.plan.plan import Plan
from kbuild.spec.model import Spec
from kbuild.study.analyse import Analysis, require_scipy
from kbuild.study.asked import Asked, make_design
from kbuild.study.cluster import Cluster, require_ray
from kbuild.study.design import Design
from kbuild.study.examples import Shelf
from kbuild.study.execute import clear, execute
from kbuild.study.executors import Executor, cores
from kbuild.study.folder import DATA, Folder, check_data, check_same, make_folder, open_folder
from kbuild.study.pilot import Forecast, forecast
from kbuild.study.processes import Processes
from kbuild.study.progress import Silent, duration, make_display
from kbuild.study.record import Record
from kbuild.study.report import make_report
from kbuild.train.data.seen import Seen, differences
from kbuild.train.fingerprint import Fingerprints
from kbuild.train.lock import holding
from kbuild.train.prepare import check, prepare

#: Name → what makes the executor of a directory and a number of workers (None for as many as there are cores).
EXECUTORS: dict[str, Callable[[Path, int | None], Executor]] = {"processes": Processes, "ray": Cluster}


@dataclass(frozen=True)
class Outcome:
    """A study that has run."""

    folder: Folder
    analysis: Analysis
    records: dict[str, Record]

    def to_dict(self) -> dict[str, Any]:
        """JSON data: where it is, and what `results.json` says."""
        from kbuild.study.report import results_of

        return {"run_dir": str(self.folder.path), **results_of(self.folder)}


def plan_study(path: Path, asked: Asked, workers: int | None = None, quiet: bool = False) -> tuple[Design, Forecast]:
    """What a study would be, with a short measurement; nothing is kept.

    Raises:
        InputError, SpecError: what `run_study` would raise.
    """
    require_scipy()
    spec, design, plans = make_design(path, asked)
    prepare(spec, plans[design.baseline], design.settings(spec))
    _check_grid(path, asked, design)
    display = make_display(quiet)
    display.note("a short measurement: 6 trials of at most 2 epochs")
    return design, forecast(spec, design, plans, workers or cores(), display)


def run_study(
    path: Path,
    asked: Asked,
    *,
    run_dir: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    workers: int | None = None,
    executor: str = "processes",
    quiet: bool = False,
) -> Outcome:
    """Run a study, or what is left of it, and write its report.

    Args:
        path: the spec, or with `resume` the study's directory.
        asked: what is compared; with a directory, nothing.
        run_dir, overwrite: see `kbuild.study.folder.make_folder`.
        resume: go on with the study in `run_dir`.
        workers: how many; None for one per core.
        executor: one of EXECUTORS. Results do not depend on it.

    Raises:
        InputError, SpecError: the question is wrong; nothing was run.
        WorkError: no trial finished, or no worker can be started.
        Interrupted: Ctrl-C; `resume` goes on.
    """
    require_scipy()
    if executor == "ray":
        require_ray()
    if resume and run_dir is None and not path.is_dir():
        raise InputError("--resume needs --run-dir, the directory of the study to go on with")
    if path.is_dir():
        folder, design = _continued(path, asked, run_dir, resume)
        spec, plan = folder.compiled(design, design.arm(design.baseline))
        hashes, files = _look(spec, design, plan)
    else:
        spec, design, plans = make_design(path, asked)
        hashes, files = _look(spec, design, plans[design.baseline])
        _check_grid(path, asked, design)
        if resume and run_dir is not None:
            folder = open_folder(run_dir)
            check_same(design, folder.design(), run_dir)
        else:
            folder = make_folder(design.name, run_dir, overwrite)
    with holding(folder.path):
        if resume:
            check_data(folder, hashes)
        else:
            write_json(folder.path / DATA, hashes.to_dict())
            folder.write(spec, design, asked.words())
        return _run(folder, design, EXECUTORS[executor](folder.path, workers), make_display(quiet), files)


def _run(folder: Folder, design: Design, executor: Executor, display: Silent, files: Sequence[Seen]) -> Outcome:
    for note in design.notes:
        display.note(f"note: {note}")
    display.note(f"{len(design.trials)} trials in {folder.path}")
    clear(folder.path)
    threading.Thread(target=_load_report).start()
    records = execute(folder, design, executor, display)
    if not any(record.finished for record in records.values()):
        reasons = dict.fromkeys(record.reason for record in records.values())
        raise WorkError(f"no trial of {folder.path} finished: {listing(reasons, 3)}")
    analysis = make_report(folder)
    if changed := differences(files):
        told = listing(changed, 3)
        display.note(f"warning: {told} while the study ran; a worker trains with what it read when it began")
    failed = [record for record in records.values() if not record.finished]
    if failed:
        display.note(f"{len(failed)} of {len(records)} trials failed; the report says which and why")
    display.note(f"{duration(sum(record.seconds for record in records.values()))} of computing")
    return Outcome(folder, analysis, records)


def _load_report() -> None:
    """Import what the report needs, where trials leave a core free: it takes a second, and nobody waits for it then."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    with suppress(ImportError):  # the report will say so
        import_module("kbuild.study.figures")
        for name in ("jinja2", "scipy.stats", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"):
            import_module(name)


def _continued(path: Path, asked: Asked, run_dir: Path | None, resume: bool) -> tuple[Folder, Design]:
    folder = open_folder(path)
    if not resume:
        raise InputError(f"{path} is a study; --resume goes on with it, `kbuild report {path}` makes its report again")
    if run_dir is not None or asked != Asked():
        raise InputError(f"{path} has its design, which is fixed; --resume takes no other options of a design")
    return folder, folder.design()


def _check_grid(path: Path, asked: Asked, design: Design) -> None:
    """Training settings that cannot be are told now, not when their turn comes.

    Raises:
        InputError: naming the first arm whose settings do not fit its model or its data.
    """
    shelf = Shelf()
    for arm in design.distinct:
        if any(text.startswith("train") for text in arm.overrides):
            spec, plan = compile_spec(path, arm.ordering, [*asked.settings, *arm.overrides])
            settings = design.settings(spec)
            try:
                shelf.take(settings, plan, check(settings, plan), spec.folder)
            except InputError as error:
                raise InputError(f"{error}\n(under {arm.label})") from error


def _look(spec: Spec, design: Design, plan: Plan) -> tuple[Fingerprints, tuple[Seen, ...]]:
    """Losses, metrics and data of the baseline, before any worker is started: what the data hold, and their files."""
    data = prepare(spec, plan, design.settings(spec)).data
    return Fingerprints(data), data.files
