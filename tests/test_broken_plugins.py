"""Packages that add to kbuild and are broken, and names that are taken."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kbuild.errors import CODES
from tests.installing import LAYER, MLP, ROOT, kbuild, package, python, spec

BROKEN = {
    "not-installed": ("kbuild.layers", "Odd", "odd:ODD", "import no_such_package\n", "no_such_package"),
    "not-there": ("kbuild.layers", "Odd", "odd:EVEN", LAYER, "cannot be loaded: AttributeError"),
    "exits": ("kbuild.layers", "Odd", "odd:ODD", "raise SystemExit(3)\n", "SystemExit: 3"),
    "another-thing": (
        "kbuild.layers",
        "Odd",
        "odd:ODD",
        "ODD = 7\n",
        "odd:ODD is no kbuild.catalog.custom.CustomLayer",
    ),
    "a-role": (
        "kbuild.layers",
        "Odd",
        "odd:ODD",
        LAYER + "ODD = CustomLayer('odd:Odd', 'X')\n",
        "its role is one of W, N, A",
    ),
    "a-policy": ("kbuild.policies", "odd", "odd:ODD", "ODD = 'W-A'\n", "odd:ODD is no kbuild.policy.Policy"),
    "a-source": ("kbuild.data", "odd", "odd:ODD", "ODD = None\n", "odd:ODD is no kbuild.spec.custom_data.CustomData"),
}
USES = {
    "kbuild.layers": MLP.replace("  - Dense: 3", "  - Odd\n  - Dense: 3"),
    "kbuild.policies": f"ordering: odd\n{MLP}",
    "kbuild.data": f"{MLP}train: {{data: {{odd: 1}}, loss: mse}}\n",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_a_report_where_it_is_used(case: str, tmp_path: Path) -> None:
    assert "plugin" in CODES
    group, name, value, module, why = BROKEN[case]
    broken = package(tmp_path / "site", "broken", f"[{group}]\n{name} = {value}\n", {"odd": module})
    code, _, err = kbuild(tmp_path, "summarize", spec(tmp_path, USES[group]), sites=(broken,))
    assert code == 2
    noun = {"kbuild.layers": "layer", "kbuild.policies": "policy", "kbuild.data": "data source"}[group]
    assert re.match(rf"model\.yaml:\d+:\d+: error\[plugin\]: the {noun} '{name}' of the package broken 1.0 cannot", err)
    assert why in err
    assert kbuild(tmp_path, "summarize", spec(tmp_path, MLP), sites=(broken,))[0] == 0


def test_names_of_kbuild_go_first(tmp_path: Path) -> None:
    points = "[kbuild.layers]\nDense = odd:ODD\n[kbuild.policies]\npreact = odd:ODD\n[kbuild.data]\ndigits = odd:ODD\n"
    site = package(tmp_path / "site", "greedy", points, {"odd": "raise SystemExit('imported')\n"})
    shutil.copy(ROOT / "specs" / "digits.yaml", tmp_path)
    alone = kbuild(tmp_path, "summarize", "digits.yaml", "--ordering", "preact")
    assert kbuild(tmp_path, "summarize", "digits.yaml", "--ordering", "preact", sites=(site,)) == alone


def test_two_packages_of_one_name_are_both_named(tmp_path: Path) -> None:
    points = "[kbuild.layers]\nOdd = odd:ODD\n"
    good = {"odd": LAYER + "ODD = CustomLayer('odd:Odd', 'other')\n"}
    site = package(tmp_path / "site", "one", points, good)
    package(tmp_path / "site", "two", points, {})
    code, _, err = kbuild(tmp_path, "summarize", spec(tmp_path, USES["kbuild.layers"]), sites=(site,))
    assert (code, "both register it; uninstall one of them" in err) == (2, True)
    assert "one 1.0" in err
    assert "two 1.0" in err


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("lambda call: 1 / 0", "the shape rule of Odd failed: ZeroDivisionError: division by zero"),
        ("lambda call: 'wide'", "the shape rule of Odd gave 'wide'"),
    ],
)
def test_a_rule_that_fails_is_told_with_its_package(rule: str, said: str, tmp_path: Path) -> None:
    module = LAYER + f"ODD = CustomLayer('odd:Odd', 'other', shape={rule})\n"
    site = package(tmp_path / "site", "broken", "[kbuild.layers]\nOdd = odd:ODD\n", {"odd": module})
    code, _, err = kbuild(tmp_path, "summarize", spec(tmp_path, USES["kbuild.layers"]), sites=(site,))
    assert (code, said in err, "a fault of the package broken 1.0" in err) == (2, True, True)


def test_a_lint_rule_that_fails_leaves_the_others(tmp_path: Path) -> None:
    module = """from kbuild.lint.finding import Rule
def check(view):
    raise KeyError("layers")
ODD = Rule("odd-rule", "info", "odd", "odd", "odd", "odd", "odd", check)
"""
    points = "[kbuild.lint]\nodd-rule = odd:ODD\nunusable-rule = odd:check\n"
    site = package(tmp_path / "site", "broken", points, {"odd": module})
    code, out, err = kbuild(tmp_path, "lint", spec(tmp_path, f"ordering: W-A-D-N\n{MLP}"), sites=(site,))
    assert code == 1
    assert "the rule failed: KeyError: 'layers'" in out
    assert "a fault of the package broken 1.0" in out
    assert "dropout-before-norm" in out
    assert "note: the lint rule 'unusable-rule' of the package broken 1.0 cannot be used" in err


def test_a_source_that_fails_is_told_with_its_package(tmp_path: Path) -> None:
    kind = """from kbuild.spec.custom_data import CustomData
from kbuild.spec.data_values import word
ODD = CustomData(word("file", "bug", "garbage", "list", "module"), "reads:read", example="{odd: file}")
"""
    reads = """from kbuild.train.data.arrays import Raw, Split
def read(data, folder):
    if data.source == "file":
        raise OSError("there is no file odd.bin")
    if data.source == "bug":
        return {}["x"]
    if data.source == "list":
        return Raw("odd", Split({"": [1, 2]}, {"": [1, 2]}), None)
    return 7
"""
    script = """
import sys
from pathlib import Path
from kbuild.errors import SpecError
from kbuild.spec.load import parse_spec
from kbuild.spec.data import DataSettings
from kbuild.train.data.custom import read
for word in ("file", "bug", "list", "garbage"):
    try:
        read("reads:read", DataSettings("odd", word), Path("."))
    except SpecError as error:
        print(*(f"{one.code}: {one.message} ({one.hint})" for one in error.problems))
try:
    read("nowhere:read", DataSettings("odd", "file"), Path("."))
except SpecError as error:
    print(*(f"{one.code}: {one.message} ({one.hint})" for one in error.problems))
"""
    site = package(tmp_path / "site", "broken", "[kbuild.data]\nodd = odd:ODD\n", {"odd": kind, "reads": reads})
    done = python(["-c", script], tmp_path, site)
    source, missing = (
        "the data source 'odd' of the package broken 1.0",
        "ModuleNotFoundError: No module named 'nowhere'",
    )
    assert done.stdout.splitlines() == [
        f"data: {source}: OSError: there is no file odd.bin ()",
        f"plugin: {source} failed (KeyError: 'x')",
        f"plugin: {source} gave x with list, no array (a fault of the package broken 1.0)",
        f"plugin: {source} gave int, no kbuild.train.data.arrays.Raw (a fault of the package broken 1.0)",
        f"plugin: {source} cannot be used (nowhere:read cannot be loaded: {missing})",
    ]


def test_what_a_source_says_beside_its_examples_is_looked_at(tmp_path: Path) -> None:
    """What is wrong there would show late, when the run ends."""
    script = """
from pathlib import Path
import numpy as np
from kbuild.errors import SpecError
from kbuild.spec.data import DataSettings
from kbuild.train.data import custom
from kbuild.train.data.arrays import Raw, Split
rows = Split({"": np.zeros((2, 4))}, {"": np.zeros(2)})
for given in ({"names": 1}, {"classes": {"": 7}}, {"places": {"train": 3}}, {"notes": "text"}, {"files": ("x.bin",)}):
    custom.function = lambda address: lambda data, folder: Raw("odd", rows, None, **given)
    try:
        custom.read("reads:read", DataSettings("odd", "file"), Path("."))
    except SpecError as error:
        print(error.problems[0].code, error.problems[0].message.partition(" gave ")[2])
"""
    assert python(["-c", script], tmp_path).stdout.splitlines() == [
        "plugin names that are no dict",
        "plugin classes that are no dict from outputs to tuples of texts",
        "plugin places that are no dict from splits to functions",
        "plugin notes that are no tuple of texts",
        "plugin files that are no tuple of kbuild.train.data.seen.Seen",
    ]


def test_a_spec_cannot_load_code(tmp_path: Path) -> None:
    planted = {"odd": "open('imported', 'w')\n"}
    package(tmp_path, "planted", "[kbuild.layers]\nOdd = odd:ODD\n", planted)
    for layer in ("Odd", "odd:ODD", "odd.ODD", "{class_name: Odd, module: odd}"):
        text = MLP.replace("  - Dense: 3", f"  - {layer}\n  - Dense: 3")
        assert kbuild(tmp_path, "summarize", spec(tmp_path, text))[0] == 2
    assert kbuild(tmp_path, "summarize", spec(tmp_path, f"{MLP}train: {{data: {{'odd:ODD': 1}}, loss: mse}}\n"))[0] == 2
    assert not (tmp_path / "imported").exists()
