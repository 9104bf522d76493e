"""`kbuild doctor`: what is installed, extra by extra."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from kbuild.train import doctor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        extra: tuple(re.split(r"[<>=!~\[; ]", need)[0] for need in needs)
        for extra, needs in project["optional-dependencies"].items()
    }
    assert extras == doctor.EXTRAS


def test_versions_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"jinja2": "3.1", "matplotlib": "3.9", "scipy": "1.13", "onnx": "1.16", "ray": "2.40"}

    def version(name: str) -> str:
        if name in installed:
            return installed[name]
        if name in doctor.REQUIRED:
            return "1.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    report = doctor.examine()
    assert report.failures == ()
    assert report.to_dict()["extras"]["onnx"] == {"onnx": "1.16", "onnxruntime": None, "tf2onnx": None}
    lines = report.text().splitlines()
    assert lines[lines.index("extras") + 1 :] == [
        "  report       jinja2 3.1, matplotlib 3.9, scipy 1.13",
        "  onnx         onnxruntime, tf2onnx not installed: pip install 'kbuild[onnx]'",
        "  litert       not installed: pip install 'kbuild[litert]'",
        "  table        not installed: pip install 'kbuild[table]'",
        "  tfds         not installed: pip install 'kbuild[tfds]'",
        "  cluster      ray 2.40",
        "  tensorboard  not installed: pip install 'kbuild[tensorboard]'",
        "  mlflow       not installed: pip install 'kbuild[mlflow]'",
        "",
        "everything kbuild needs works",
    ]


def test_a_required_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", (*doctor.REQUIRED, "no-such-package"))
    report = doctor.examine()
    assert report.failures == ("no-such-package is not installed",)
    assert report.text().splitlines()[-1] == "FAILED: no-such-package is not installed"
