"""What the shell offers on <TAB>, asked for the way the shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kbuild import policy
from kbuild.lint.rules import RULES

ROOT = Path(__file__).parents[2]
SPEC = """\
vars: {width: 32}
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A, dropout: {rate: 0.2}}
layers:
  - Conv2D: {filters: =width, kernel_size: 3}
    name: first
  - Flatten
  - Dense: 10
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "notes.txt").write_text("")
    for run in ("runs/first", "runs/second"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "plan.json").write_text("{}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "old.keras").write_text("")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.yaml").write_text("")
    return tmp_path


def offered(line: str, folder: Path, shell: str = "bash") -> list[str]:
    """The answer to <TAB> at the end of a line."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_KBUILD_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "kbuild"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("command", ["summarize spec.yaml", "lint spec.yaml", "train spec.yaml", "eject spec.yaml"])
def test_policies(command: str, folder: Path) -> None:
    assert offered(f"kbuild {command} --ordering ", folder) == [one.name for one in policy.POLICIES]
    assert offered(f"kbuild {command} --ordering pre", folder) == ["preact"]


def test_orders_behind_a_capital_letter(folder: Path) -> None:
    assert offered("kbuild lint spec.yaml --ordering W-A-D", folder) == ["W-A-D", "W-A-D-N"]


@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        ("va", ["vars."]),
        ("vars.", ["vars.width="]),
        ("ordering.dropout.", ["ordering.dropout.rate=", "ordering.dropout.kind="]),
        ("ordering.dropout.kind=s", ["ordering.dropout.kind=spatial"]),
        ("train.ep", ["train.epochs="]),
        ("layers.", ["layers.0.", "layers.1=", "layers.2."]),
        ("layers.0.", ["layers.0.Conv2D.", "layers.0.name="]),
        ("layers.0.Conv2D.f", ["layers.0.Conv2D.filters="]),
        ("layers.9.", []),
        ("nothing", []),
    ],
)
def test_paths_of_set(begun: str, expected: list[str], folder: Path) -> None:
    assert offered(f"kbuild summarize spec.yaml --set {begun}", folder) == expected


def test_policies_as_a_setting(folder: Path) -> None:
    assert offered("kbuild lint spec.yaml --set ordering=pre", folder) == ["ordering=preact"]


def test_set_without_a_readable_spec_knows_the_language(folder: Path) -> None:
    for spec in ("broken.yaml", "nowhere.yaml"):
        assert offered(f"kbuild summarize {spec} --set train.ep", folder) == ["train.epochs="]


def test_layers_are_told_apart_by_class_and_name(folder: Path) -> None:
    shown = " ".join(offered("kbuild summarize spec.yaml --set layers.", folder, "zsh"))
    assert '"layers.0.":"Conv2D, name first"' in shown


def test_files(folder: Path) -> None:
    assert offered("kbuild train ", folder) == ["broken.yaml", "spec.yaml"]
    assert offered("kbuild train sp", folder) == ["spec.yaml"]
    assert offered("kbuild evaluate ", folder) == ["runs/first", "runs/second"]
    assert offered("kbuild evaluate runs/s", folder) == ["runs/second"]
    expected = ["broken.yaml", "spec.yaml", "models/old.keras", "runs/first", "runs/second"]
    assert offered("kbuild lint ", folder) == expected
    assert offered("kbuild lint spec.yaml models/", folder) == ["models/old.keras"]
    assert offered("kbuild lint nowhere/", folder) == []


def test_rules(folder: Path) -> None:
    assert offered("kbuild lint --explain ", folder) == ["all", *(rule.id for rule in RULES)]
    assert offered("kbuild lint spec.yaml --ignore bias-before-norm,double", folder) == [
        "bias-before-norm,double-activation"
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell(shell: str, folder: Path) -> None:
    assert "preact" in " ".join(offered("kbuild summarize spec.yaml --ordering pre", folder, shell))


def test_it_answers_without_tensorflow(folder: Path) -> None:
    code = (
        "import sys\n"
        "from kbuild.cli import complete\n"
        "complete.orderings(''), complete.rules(''), complete.subjects('')\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert offered("kbuild summarize spec.yaml --set ", folder)
