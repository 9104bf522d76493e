"""The public Python API: its names, and one walk through it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import kbuild

PUBLIC = {
    "InputError",
    "KbuildError",
    "ParityError",
    "SpecError",
    "TrainingError",
    "WorkError",
    "__version__",
    "build_model",
    "load_spec",
    "parse_spec",
    "plan_spec",
    "train_spec",
}


def test_public_names_are_these():
    assert set(kbuild.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_public_names_are_documented(name):
    assert inspect.getdoc(getattr(kbuild, name))


def test_importing_kbuild_and_planning_imports_no_tensorflow():
    code = (
        "import sys, kbuild, kbuild.resources as r; kbuild.plan_spec(kbuild.load_spec(r.spec_path('digits')));"
        "sys.exit(bool({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_load_plan_build_train(tmp_path):
    from kbuild.resources import spec_path

    spec = kbuild.load_spec(spec_path("digits"), ordering="W-A-D-N", overrides=["train.batch_size=64"])
    plan = kbuild.plan_spec(spec)
    model = kbuild.build_model(plan, seed=1)
    assert [layer.name for layer in model.layers] == [layer.name for layer in plan.layers]
    result = kbuild.train_spec(spec, epochs=1, run_dir=tmp_path / "run", quiet=True)
    assert result.saved_model.is_dir()
    assert result.metrics["test"]["accuracy"] > 0.05
    assert result.ordering["order"] == "W-A-D-N"


def test_errors_form_the_documented_tree():
    assert issubclass(kbuild.SpecError, kbuild.InputError) and kbuild.InputError.exit_code == 2
    assert issubclass(kbuild.TrainingError, kbuild.WorkError) and kbuild.WorkError.exit_code == 1
