"""Trials end on disk whatever happens to workers and parent; what was finished is never run again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from kbuild.errors import InputError, WorkError
from kbuild.study.design import NotMeasured, Trial
from kbuild.study.execute import execute
from kbuild.study.executors import Pending
from kbuild.study.folder import check_same, make_folder
from kbuild.study.processes import Processes
from kbuild.study.progress import Lines, Table
from kbuild.study.record import read_records


def csv(folder):
    return (folder.path / "results.csv").read_text(encoding="utf-8")


def test_every_trial_has_a_row_in_the_order_of_the_design_for_any_number_of_workers(begun, fake):
    tables = []
    for workers in (1, 3):
        folder, design = begun(f"study{workers}")
        records = execute(folder, design, fake(folder, workers))
        assert list(records) == [trial.id for trial in design.trials]
        tables.append(csv(folder))
    assert tables[0] == tables[1] and len(tables[0].splitlines()) == 1 + 6
    assert tables[0].splitlines()[0] == "policy,seed,state,epochs,val_accuracy,val_loss,test_accuracy,reason"


@pytest.mark.parametrize("how", ["kill", "memory", "diverged", "error"])
def test_a_failed_trial_is_tried_again_once(begun, fake, how):
    folder, design = begun()
    calm, _ = begun("calm")
    execute(calm, design, fake(calm, 1))
    (folder.path / f"fail-{design.trials[1].id}").write_text(how)
    records = execute(folder, design, fake(folder, 2))
    record = records[design.trials[1].id]
    assert record.attempts == 2 and len(record.earlier) == 1 and record.earlier[0]
    assert read_records(folder.path, design)[record.trial] == record
    assert csv(folder) == csv(calm)


@pytest.mark.parametrize(("how", "state"), [("kill", "died"), ("diverged", "diverged"), ("memory", "memory")])
def test_a_trial_that_fails_again_is_recorded_and_the_rest_goes_on(begun, fake, how, state):
    folder, design = begun()
    (folder.path / f"fail-{design.trials[1].id}").write_text(f"{how} always")
    records = execute(folder, design, fake(folder, 2))
    assert [record.state for record in records.values()].count("finished") == 5
    bad = records[design.trials[1].id]
    assert (bad.state, bad.attempts) == (state, 2) and bad.reason
    assert read_records(folder.path, design)[design.trials[1].id] == bad
    assert ("SIGKILL" in bad.reason) == (how == "kill")


def test_resuming_runs_what_is_missing_and_no_more(begun, fake):
    folder, design = begun()
    calm, _ = begun("calm")
    execute(calm, design, fake(calm, 2))
    execute(folder, design, fake(folder, 2))
    (folder.path / "begun.txt").unlink()
    missing = design.trials[3].id
    (folder.path / "trials" / f"{missing}.json").write_text('{"trial": "half')
    (folder.path / "results.csv").unlink()
    execute(folder, design, fake(folder, 2))
    assert (folder.path / "begun.txt").read_text().split() == [missing]
    assert csv(folder) == csv(calm)


@pytest.mark.parametrize("metrics", ['{"val_accuracy": "x"}', "[]", "null"])
def test_a_trial_s_file_that_holds_no_numbers_counts_as_none(begun, fake, metrics):
    folder, design = begun()
    execute(folder, design, fake(folder, 1))
    path = folder.path / "trials" / f"{design.trials[2].id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": json.loads(metrics)}))
    assert list(read_records(folder.path, design)) == [t.id for t in design.trials if t != design.trials[2]]


def test_a_killed_trial_is_run_again_by_resume_and_a_diverged_one_is_not(begun, fake):
    folder, design = begun()
    for trial, how in zip(design.trials, ("kill", "diverged"), strict=False):
        (folder.path / f"fail-{trial.id}").write_text(f"{how} always")
    execute(folder, design, fake(folder, 1))
    for wish in folder.path.glob("fail-*"):
        wish.unlink()
    (folder.path / "begun.txt").unlink()
    records = execute(folder, design, fake(folder, 1))
    assert (folder.path / "begun.txt").read_text().split() == [design.trials[0].id]
    assert [record.state for record in records.values()].count("diverged") == 1


PARENT = """
import sys
from pathlib import Path
from kbuild.study.processes import Processes
from kbuild.study.execute import execute
from kbuild.study.folder import open_folder
folder = open_folder(Path(sys.argv[1]))
execute(folder, folder.design(), Processes(folder.path, 2, command=(sys.executable, sys.argv[2])))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_parent_leaves_no_worker_and_resume_ends_in_the_same_table(begun, fake, tmp_path, how):
    folder, design = begun()
    calm, _ = begun("calm")
    execute(calm, design, fake(calm, 2))
    for trial in (design.trials[2], design.trials[4]):
        (folder.path / f"fail-{trial.id}").write_text("hang")
    command = [sys.executable, "-c", PARENT, str(folder.path), str(tmp_path / "fake_worker.py")]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until(lambda: not list(folder.path.glob("fail-*")))
    parent.send_signal(how)
    parent.wait(timeout=30)
    workers = [int(path.name.split("-")[1]) for path in folder.path.glob("worker-*")]
    wait_until(lambda: not any(alive(worker) for worker in workers) or how == signal.SIGKILL)
    done = set(read_records(folder.path, design))
    (folder.path / "begun.txt").unlink()
    execute(folder, design, fake(folder, 2))
    assert not done & set((folder.path / "begun.txt").read_text().split())
    assert csv(folder) == csv(calm)
    for worker in workers:  # a hanging fake does not look at its input; a real worker does
        if alive(worker):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.slow
def test_killed_again_and_again_at_any_moment_the_study_ends_in_the_same_table(begun, fake, tmp_path):
    seeds = tuple(range(24))
    folder, design = begun(seeds=seeds)
    calm, _ = begun("calm", seeds=seeds)
    execute(calm, design, fake(calm, 2))
    moments = random.Random(7)
    for trial in moments.sample(design.trials, 16):  # these kill their worker, once
        (folder.path / f"fail-{trial.id}").write_text("kill")
    command = [sys.executable, "-c", PARENT, str(folder.path), str(tmp_path / "fake_worker.py")]
    began, ends = folder.path / "begun.txt", []
    while 0 not in ends:
        done = set(read_records(folder.path, design))
        began.write_text("")
        with subprocess.Popen(command) as parent:
            wait_until(
                lambda run=parent, done=done: run.poll() is not None or set(read_records(folder.path, design)) > done
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                parent.wait(timeout=moments.uniform(0, 0.2))
            parent.kill()
        ends.append(parent.returncode)
        assert not done & set(began.read_text().split())
    assert set(ends) == {0, -signal.SIGKILL}
    assert csv(folder) == csv(calm)
    assert not list(folder.path.glob("fail-*"))


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        os.sched_yield()


def test_workers_that_cannot_start_end_the_study_with_their_last_words(begun, tmp_path):
    folder, design = begun()
    broken = (sys.executable, "-c", "raise SystemExit('no room')")
    with pytest.raises(WorkError, match=r"(?s)exit code 1.*no room"):
        execute(folder, design, Processes(folder.path, 1, command=broken))


def test_a_metric_that_is_not_measured_stops_the_study(begun, fake):
    folder, design = begun(metric="val_acc")
    with pytest.raises(InputError, match="do not measure val_acc; there are val_accuracy, val_loss"):
        execute(folder, design, fake(folder, 1))


def test_what_a_worker_finds_unmeasured_stops_the_study_and_is_no_failed_trial(begun, fake):
    folder, design = begun()
    (folder.path / f"fail-{design.trials[1].id}").write_text("not_measured")
    with pytest.raises(NotMeasured, match="there is no val_typo"):
        execute(folder, design, fake(folder, 1))
    assert [record.state for record in read_records(folder.path, design).values()] == ["finished"]


def test_a_study_does_not_go_on_with_another_design(begun):
    folder, design = begun()
    _, other = begun("other", seeds=(0, 1, 2, 3))
    with pytest.raises(InputError, match=r"designed otherwise \(seeds\)"):
        check_same(other, design, folder.path)


def test_overwrite_replaces_studies_and_nothing_else(begun, tmp_path):
    folder, _ = begun()
    with pytest.raises(InputError, match="--resume goes on"):
        make_folder("x", folder.path, False)
    make_folder("x", folder.path, True)
    assert not list(folder.path.iterdir())
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("!")
    with pytest.raises(InputError, match="not a study"):
        make_folder("x", precious, True)
    assert (precious / "thesis.txt").exists()


def test_a_worker_keeps_to_its_arm_and_helps_others_at_the_end():
    trials = [Trial(arm, arm, seed) for arm in "ab" for seed in range(3)]
    pending = Pending(trials)
    assert pending.take(None, []).trial.arm == "a"
    assert pending.take(None, ["a"]).trial.arm == "b"
    assert [pending.take("a", ["b"]).trial.arm for _ in range(3)] == ["a", "a", "b"]


def test_lines_tell_what_is_done_and_how_long_it_takes(begun, fake, capsys):
    folder, design = begun()
    (folder.path / f"fail-{design.trials[0].id}").write_text("diverged")
    execute(folder, design, fake(folder, 1), shown=Lines())
    said = capsys.readouterr().err
    assert "diverged: it was diverged, tried again" in said and "6/6  " in said and " left" in said
    assert "0.9" not in said  # no figures before the study is complete


def test_the_live_table_shows_arms_what_runs_what_failed_and_the_time_left(begun, fake):
    folder, design = begun()
    (folder.path / f"fail-{design.trials[0].id}").write_text("diverged always")
    table, drawn = Table(), io.StringIO()
    table.console = Console(file=drawn, force_terminal=True, width=100)
    table._refresh = 0.0
    execute(folder, design, fake(folder, 1), shown=table)
    shown = drawn.getvalue()
    for part in ("W-N-A-D", "done", "seed 1", "it was diverged, tried again", "6 of 6 trials", " left"):
        assert part in shown
    assert "0.9" not in shown
