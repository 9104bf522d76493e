"""`kbuild study` and `kbuild report` from outside, with real workers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.study.conftest import SPEC

pytest.importorskip("scipy")

ASK = ("--policies", "W-N-A-D,W-A", "--seeds", "3", "--epochs", "1")


def kbuild(*words, folder, **more):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "kbuild", *map(str, words)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **more)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return tmp_path


def test_a_wrong_question_ends_with_2_before_anything_is_made(place):
    done = kbuild("study", "spec.yaml", "--policies", "conventonal", folder=place)
    assert done.returncode == 2 and "did you mean 'conventional'?" in done.stderr and not done.stdout
    done = kbuild("report", "nowhere", folder=place)
    assert done.returncode == 2 and "there is no study directory nowhere" in done.stderr
    assert [path.name for path in place.iterdir()] == ["spec.yaml"]


@pytest.mark.slow
def test_a_metric_that_no_trial_measures_ends_with_2_before_one_has_trained(place):
    done = kbuild("study", "spec.yaml", *ASK, "--metric", "val_acuracy", "--run-dir", "one", folder=place)
    assert done.returncode == 2 and "seed" not in done.stderr
    said = (
        "error: the trials do not measure val_acuracy; there are val_loss, val_accuracy; did you mean 'val_accuracy'?"
    )
    assert done.stderr.splitlines()[-1] == said
    assert not list((place / "one/trials").iterdir())


@pytest.mark.slow
def test_a_study_from_question_to_report(place):
    done = kbuild("study", "spec.yaml", *ASK, "--run-dir", "one", "--workers", 2, folder=place)
    assert done.returncode == 0, done.stderr
    assert "too few seeds" in done.stdout and "6/6  " in done.stderr
    assert len((place / "one/results.csv").read_text().splitlines()) == 7
    again = kbuild("study", "spec.yaml", *ASK, "--run-dir", "two", "--workers", 1, "--quiet", "--json", folder=place)
    assert again.returncode == 0 and again.stderr == ""
    assert json.loads(again.stdout)["design"]["baseline"] == "W-N-A-D"
    for name in ("results.csv", "results.json"):
        assert (place / "one" / name).read_bytes() == (place / "two" / name).read_bytes()
    refused = kbuild("study", "spec.yaml", *ASK, "--run-dir", "one", folder=place)
    assert refused.returncode == 2 and "--resume goes on" in refused.stderr
    told = kbuild("report", "one", "--format", "markdown", folder=place)
    assert told.returncode == 0 and told.stdout.startswith("# small") and "| W-A |" in told.stdout


@pytest.mark.slow
def test_the_dry_run_measures_and_keeps_nothing(place):
    done = kbuild("study", "spec.yaml", "--policies", "W-N-A-D,W-A,W-A-D-N", "--dry-run", folder=place)
    assert done.returncode == 0, done.stderr
    assert "3 policies × 10 seeds = 30 trials of 1 epoch," in done.stdout and "time: about" in done.stdout
    assert "<- asked for" in done.stdout and "too few seeds (7 are the fewest)" in done.stdout
    assert [path.name for path in place.iterdir()] == ["spec.yaml"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_workers_and_parents_killed_at_random_change_nothing(place):
    ask = ("--policies", "W-N-A-D,W-A", "--seeds", "8", "--epochs", "6")
    calm = kbuild("study", "spec.yaml", *ask, "--run-dir", "calm", "--workers", 2, "-q", folder=place)
    assert calm.returncode == 0, calm.stderr
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    command = [sys.executable, "-m", "kbuild", "study", "spec.yaml", *ask, "--run-dir", "storm", "--workers", "2", "-q"]
    moments, finished, trials = random.Random(1), {}, place / "storm" / "trials"
    for _ in range(2):
        with subprocess.Popen(command, cwd=place, env=environment) as parent:
            wait_until(lambda done=finished: len(list(trials.glob("[!.]*.json"))) > len(done))
            workers = children(parent.pid)
            os.kill(moments.choice(workers), signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                parent.wait(timeout=moments.uniform(0, 2))
            workers += children(parent.pid)
            parent.kill()
        assert parent.returncode == -signal.SIGKILL
        wait_until(lambda gone=workers: not any(Path(f"/proc/{worker}").exists() for worker in gone))
        assert all(path.read_bytes() == content for path, content in finished.items())
        finished = {path: path.read_bytes() for path in trials.glob("[!.]*.json")}
        command = [sys.executable, "-m", "kbuild", "study", "storm", "--resume", "--workers", "2", "-q"]
    resumed = kbuild("study", "storm", "--resume", "--workers", 2, "-q", folder=place)
    assert resumed.returncode == 0, resumed.stderr
    assert all(path.read_bytes() == content for path, content in finished.items())
    for name in ("results.csv", "results.json"):
        assert (place / "calm" / name).read_bytes() == (place / "storm" / name).read_bytes()


def children(process):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        os.sched_yield()
