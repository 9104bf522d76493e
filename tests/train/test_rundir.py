"""The run directory: never reused, nothing of the user's deleted, whole files only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kbuild import plugins
from kbuild.errors import InputError, TrainingError
from kbuild.files import finite, replace_directory, write_json, write_text
from kbuild.train import rundir
from kbuild.train.environment import environment
from kbuild.train.lock import holding
from kbuild.train.rundir import RunDir, is_run, make_run_dir, open_run


def test_a_second_run_gets_a_new_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {make_run_dir("net").path for _ in range(3)}
    assert len(paths) == 3
    assert all(path.parent == Path("runs") and path.name.startswith("net-20") for path in paths)
    assert make_run_dir("net", name="my run/x").path.name.startswith("my_run_x-20")


def test_run_dir_is_exactly_that(tmp_path: Path) -> None:
    assert make_run_dir("net", tmp_path / "a" / "b").path == tmp_path / "a" / "b"
    assert make_run_dir("net", tmp_path / "a" / "b").path.is_dir()  # still empty


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not empty; --overwrite replaces a run"):
        make_run_dir("net", tmp_path)
    with pytest.raises(InputError, match="is not a run of kbuild; --overwrite replaces runs only"):
        make_run_dir("net", tmp_path, overwrite=True)
    (tmp_path / "command.json").write_text("{}")
    with pytest.raises(InputError, match="is not a run of kbuild"):
        make_run_dir("net", tmp_path, overwrite=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_overwrite_replaces_a_run(tmp_path: Path) -> None:
    run = make_run_dir("net", tmp_path / "run")
    run.write("command.json", {"kbuild_run": True})
    run.write("old.txt", "old")
    with pytest.raises(InputError, match="not empty"):
        make_run_dir("net", tmp_path / "run")
    assert list(make_run_dir("net", tmp_path / "run", overwrite=True).path.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_link_to_a_run_is_not_replaced(tmp_path: Path) -> None:
    make_run_dir("net", tmp_path / "run").write("command.json", {"kbuild_run": True})
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with pytest.raises(InputError, match="is not a run of kbuild"):
        make_run_dir("net", tmp_path / "link", overwrite=True)
    assert is_run(tmp_path / "run")


def test_what_stands_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; --run-dir names a directory"):
        make_run_dir("net", tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot make the run directory .*: Not a directory"):
        make_run_dir("net", tmp_path / "file" / "below")
    (tmp_path / "runs").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="cannot make the run directory runs"):
        make_run_dir("net")


def test_a_full_disk_is_no_fault_of_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    run = make_run_dir("net", tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(TrainingError, match=r"the disk is full: cannot write .*log\.txt"):
            rundir.check_writable(run)
        with pytest.raises(TrainingError, match=r"cannot write .*\.lock: No space left"), holding(run.path):
            pass
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(TrainingError, match=r"cannot make the run directory .*: No space left"):
        make_run_dir("net", tmp_path / "other")


def test_reading_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run directory"):
        open_run(tmp_path / "none")
    (tmp_path / "spec.yaml").touch()
    with pytest.raises(InputError, match=r"spec\.yaml is a file; a run is the directory that `kbuild train` prints"):
        open_run(tmp_path / "spec.yaml")
    with pytest.raises(InputError, match=r"is not a run of kbuild \(it has no command.json\)"):
        open_run(tmp_path)
    (tmp_path / "command.json").write_text('{"kbuild_run": true}')
    assert open_run(tmp_path) == RunDir(tmp_path)
    with pytest.raises(InputError, match=r"the run has no plan\.json"):
        rundir.read_json(tmp_path / "plan.json")


def test_history(tmp_path: Path) -> None:
    RunDir(tmp_path).history([{"loss": 1.5}, {"loss": 0.1 + 0.2, "val_loss": 2.0}])
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,val_loss\n1,1.5,\n2,0.30000000000000004,2.0\n"


def test_environment_names_no_machine_and_no_user() -> None:
    text = json.dumps(environment())
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text
    assert environment()["versions"]["numpy"]


def test_environment_names_the_packages_that_add_to_kbuild(monkeypatch: pytest.MonkeyPatch) -> None:
    one = plugins.Plugin("kbuild.layers", "Scale", "scales.catalog:SCALE", "scales", "2.1")
    monkeypatch.setattr(plugins, "registered", lambda: (one,))
    assert environment()["versions"]["scales"] == "2.1"


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": [None, 1.0]}
    assert finite({1: (2,)}) == {"1": [2]}


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"the disk is full: cannot write .*a\.txt"):
        write_text(tmp_path / "a.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_directories_are_replaced_whole(tmp_path: Path) -> None:
    for name in ("new", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_directory(tmp_path / "new", tmp_path / "there")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["there", "there/new"]
