"""A study as a whole, with workers that train nothing: what it goes on with, and with whom it shares its directory."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from kbuild.errors import InputError
from kbuild.study.asked import Asked
from kbuild.study.processes import Processes
from kbuild.study.study import EXECUTORS, run_study
from kbuild.train.lock import holding
from tests.study.conftest import FAKE, SPEC

pytest.importorskip("scipy")
pytest.importorskip("jinja2")

ASKED = Asked(("W-N-A-D", "W-A"), (0, 1, 2))


@pytest.fixture
def place(tmp_path, monkeypatch):
    script = tmp_path / "fake_worker.py"
    script.write_text(FAKE, encoding="utf-8")
    made = lambda folder, workers: Processes(folder, 1, command=(sys.executable, str(script)))  # noqa: E731
    monkeypatch.setitem(EXECUTORS, "processes", made)
    (tmp_path / "spec.yaml").write_text(SPEC.replace("data: digits", "data: {npz: some.npz}"), encoding="utf-8")
    examples(tmp_path, 0)
    return tmp_path


def examples(place, seed):
    draw = np.random.default_rng(seed)
    np.savez(place / "some.npz", x_train=draw.random((40, 8, 8), "float32"), y_train=np.arange(40) % 10)


def begin(place):
    run_study(place / "spec.yaml", ASKED, run_dir=place / "one", quiet=True)
    (place / "one/trials/W-A-seed2.json").unlink()
    (place / "one/begun.txt").unlink()


def go_on(place, how):
    if how == "directory":
        return run_study(place / "one", Asked(), resume=True, quiet=True)
    return run_study(place / "spec.yaml", ASKED, run_dir=place / "one", resume=True, quiet=True)


@pytest.mark.parametrize("how", ["directory", "command"])
def test_a_study_goes_on_with_the_data_it_was_begun_with_and_no_other(place, how):
    begin(place)
    examples(place, 1)
    with pytest.raises(InputError, match=r"one: the data changed since .* train holds other values in its 36 rows"):
        go_on(place, how)
    assert not (place / "one/begun.txt").exists() and not (place / "one/trials/W-A-seed2.json").exists()
    examples(place, 0)
    go_on(place, how)
    assert (place / "one/begun.txt").read_text().split() == ["W-A-seed2"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("train.loss=sparse_categorical_crossentropy,mse", r"(?s)rows of the shape \[\].*\(under W-N-A-D loss=mse\)$"),
        ("train.data={npz: some.npz},{npz: none.npz}", r"(?s)none\.npz.*\(under W-N-A-D data=\{npz: none\.npz\}\)$"),
        ("train.class_weight={1: 2},{99: 2}", r"(?s)names the class 99.*\(under W-N-A-D class_weight=\{99: 2\}\)$"),
    ],
)
def test_a_point_of_the_grid_that_cannot_be_trained_is_told_before_any_is(place, values, told):
    with pytest.raises(InputError, match=told):
        run_study(place / "spec.yaml", Asked(seeds=(0, 1), grid=(values,)), run_dir=place / "one", quiet=True)
    assert not (place / "one").exists()


def test_data_that_change_while_it_runs_are_told(place, monkeypatch, capsys):
    made = EXECUTORS["processes"]
    monkeypatch.setitem(EXECUTORS, "processes", lambda *given: (examples(place, 1), made(*given))[1])
    run_study(place / "spec.yaml", ASKED, run_dir=place / "one")
    assert "some.npz was changed while the study ran" in capsys.readouterr().err


def test_a_directory_is_one_study_s_at_a_time(place):
    begin(place)
    with holding(place / "one"):
        for how in ("directory", "command"):
            with pytest.raises(InputError, match="one is in use: process"):
                go_on(place, how)
        with pytest.raises(InputError, match=r"one is in use: process .*nothing was deleted"):
            run_study(place / "spec.yaml", ASKED, run_dir=place / "one", overwrite=True, quiet=True)
    assert not (place / "one/begun.txt").exists()
    go_on(place, "directory")


def test_resume_says_what_it_needs(place):
    with pytest.raises(InputError, match="--resume needs --run-dir"):
        run_study(place / "spec.yaml", Asked(), resume=True)


def test_a_directory_that_was_only_locked_is_still_empty(place):
    (place / "one").mkdir()
    (place / "one/.lock").write_text("")
    run_study(place / "spec.yaml", ASKED, run_dir=place / "one", quiet=True)


def test_other_versions_than_those_it_began_with_are_told_and_stand_in_the_report(place, capsys):
    begin(place)
    assert "not the same for all trials" not in (place / "one/report.md").read_text()
    path = place / "one/environment.json"
    first = {**json.loads(path.read_text()), "cpus": 9, "variables": {"OMP_NUM_THREADS": "1"}}
    path.write_text(json.dumps(first))
    go_on(place, "directory")
    assert json.loads(path.read_text()) == first  # cores and threads are the study's own matter
    (place / "one/trials/W-A-seed2.json").unlink()
    path.write_text(json.dumps({**first, "versions": {"kbuild": "0", "keras": "3.1"}}))
    run_study(place / "one", Asked(), resume=True)
    assert (
        "not as when the study began, so trials may differ by it: keras 3.1 then, none now" in capsys.readouterr().err
    )
    assert "not the same for all trials: keras 3.1 then, none now" in (place / "one/report.md").read_text()
