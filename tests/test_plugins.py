"""What installed packages add: the example package, installed and used as users do it, and packages that are broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from kbuild.errors import CODES
from tests.test_docs import run_block

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "kbuild-example-plugin"
MLP = "input: {shape: [8]}\nlayers:\n  - Dense: {units: 16, activation: relu}\n  - Dense: 3\n"
#: Runs `kbuild` and says on stderr what it imported.
TOLD = """
import sys
from kbuild.cli import main
try:
    main(sys.argv[1:])
finally:
    found = {name.partition(".")[0] for name in sys.modules} & {"tensorflow", "keras", "kbuild_example_plugin"}
    classes = [name for name in sys.modules if name.endswith("plugin.layers")]
    print("imported", *sorted(found), *classes, file=sys.stderr)
"""
#: Runs `kbuild` where looking for packages raises.
BLIND = """
import sys
from importlib import metadata
def refuse(*_, **__):
    print("looked for packages", file=sys.stderr)
    raise SystemExit(1)
metadata.distributions = refuse
from kbuild.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package, built and installed."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed, which builds the example package")
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "dist"))
    if find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    else:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--python", sys.executable]
    words = [*command, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    return target


def python(words: list[str], folder: Path, *sites: Path, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *sites])), "COLUMNS": "110"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def kbuild(folder: Path, *words: str | Path, sites: tuple[Path, ...] = (), timeout: int = 120):
    """The command line in a process of its own: exit code, stdout, stderr."""
    done = python(["-m", "kbuild", *map(str, words)], folder, *sites, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def package(folder: Path, name: str, points: str, modules: dict[str, str]) -> Path:
    """What an installer would have written for a package."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
    return folder


def spec(folder: Path, text: str) -> str:
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    return "model.yaml"


# The example package.


def test_a_layer_is_summarized_without_its_keras_class(site: Path, tmp_path: Path) -> None:
    words = ["-c", TOLD, "summarize", str(EXAMPLE / "rings.yaml"), "--format", "json"]
    done = python(words, tmp_path, site)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("\n")[-2] == "imported kbuild_example_plugin"
    plan = json.loads(done.stdout)
    layer = next(one for one in plan["layers"] if one["class"] == "LayerScale")
    assert (layer["name"], layer["params"], layer["output_shape"]) == ("scale1", 16, [None, 16])
    assert plan["ordering"]["policy"] == "late-norm"


@pytest.mark.parametrize("words", [["summarize", "digits.yaml"], ["policies", "preact"], ["summarize", "bad.yaml"]])
def test_packages_are_looked_for_only_behind_an_unknown_name(words: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "specs" / "digits.yaml", tmp_path)
    (tmp_path / "bad.yaml").write_text(MLP.replace("Dense: 3", "LayerScale: 0.1"), encoding="utf-8")
    done = python(["-c", BLIND, *words], tmp_path)
    assert ("looked for packages" in done.stderr) is (words[-1] == "bad.yaml")
    assert done.returncode == (1 if words[-1] == "bad.yaml" else 0)


def test_a_spec_that_uses_none_imports_none(site: Path, tmp_path: Path) -> None:
    done = python(["-c", TOLD, "summarize", str(ROOT / "specs" / "digits.yaml")], tmp_path, site)
    assert done.stderr.split("\n")[-2] == "imported"


def test_policies(site: Path, tmp_path: Path) -> None:
    assert "late-norm" in kbuild(tmp_path, "policies", sites=(site,))[1]
    assert "late-norm" not in kbuild(tmp_path, "policies")[1]
    assert kbuild(tmp_path, "policies", "late-norm", sites=(site,))[1].startswith("late-norm: W-A-N-D")
    code, out, _ = kbuild(tmp_path, "summarize", spec(tmp_path, MLP), "--ordering", "late-norm", sites=(site,))
    assert (code, "W-A-N-D  (policy late-norm" in out) == (0, True)
    code, _, err = kbuild(tmp_path, "summarize", spec(tmp_path, MLP), "--ordering", "late-nrm", sites=(site,))
    assert (code, "did you mean 'late-norm'?" in err) == (2, True)


def test_lint(site: Path, tmp_path: Path) -> None:
    sys.path.append(str(site))
    try:
        from kbuild_example_plugin import rules
    finally:
        sys.path.remove(str(site))
    rule = rules.LARGE_LAYER_SCALE
    for text, wanted in ((rule.bad, 1), (rule.good, 0)):
        done = kbuild(tmp_path, "lint", spec(tmp_path, text), "--format", "json", sites=(site,))
        assert done[0] == wanted
        assert ('"large-layer-scale"' in done[1]) is bool(wanted)
    hidden = rule.bad.replace("1.0", "1.0  # kbuild: ignore[large-layer-scale]")
    assert kbuild(tmp_path, "lint", spec(tmp_path, hidden), sites=(site,))[0] == 0
    assert kbuild(tmp_path, "lint", spec(tmp_path, rule.bad), "--ignore", rule.id, sites=(site,))[0] == 0
    sarif = json.loads(kbuild(tmp_path, "lint", "model.yaml", "--format", "sarif", sites=(site,))[1])["runs"][0]
    found = next(one for one in sarif["results"] if one["ruleId"] == rule.id)
    assert sarif["tool"]["driver"]["rules"][found["ruleIndex"]]["id"] == rule.id
    assert "Touvron" in kbuild(tmp_path, "lint", "--explain", rule.id, sites=(site,))[1]


def test_arguments_are_checked_where_they_are_written(site: Path, tmp_path: Path) -> None:
    text = MLP.replace("  - Dense: 3", "  - LayerScale: {initial: -1, inital: 2}\n  - Dense: 3")
    code, _, err = kbuild(tmp_path, "summarize", spec(tmp_path, text), sites=(site,))
    assert code == 2
    assert "model.yaml:4:27: error[wrong-type]: 'initial' of LayerScale" in err
    assert "did you mean 'initial'?" in err


def test_options_of_data_are_checked_where_they_are_written(site: Path, tmp_path: Path) -> None:
    def said(data: str) -> str:
        code, _, err = kbuild(tmp_path, "lint", spec(tmp_path, f"{MLP}train:\n  data: {data}\n"), sites=(site,))
        assert code == 2
        return err

    assert "`rings` must be how many training and test examples, [400, 100]" in said("{rings: many}")
    assert "`gap` must be one of narrow, wide" in said("{rings: [9, 9], gap: no}")
    assert "write {rings: [400, 100]}" in said("rings")
    assert "did you mean 'rings'?" in said("{ring: [9, 9]}")


def test_the_schema_for_editors_has_all_of_it(site: Path, tmp_path: Path) -> None:
    import jsonschema
    import yaml

    whole = json.loads(kbuild(tmp_path, "schema", sites=(site,))[1])
    text = yaml.safe_load((EXAMPLE / "rings.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(text, whole)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(text, json.loads(kbuild(tmp_path, "schema")[1]))


@pytest.mark.slow
def test_trained_exported_proven_and_used(site: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "rings.yaml", tmp_path)
    words = ["train", "rings.yaml", "--epochs", "2", "--run-dir", "run", "--json"]
    code, out, err = kbuild(tmp_path, *words, sites=(site,), timeout=300)
    assert code == 0, err
    parity = json.loads((tmp_path / "run" / "export" / "parity.json").read_text(encoding="utf-8"))
    assert (parity["ok"], parity["outputs"]["dense3"]["same_top"]) == (True, 1.0), out
    figures = json.loads(kbuild(tmp_path, "evaluate", "run", "--json", sites=(site,), timeout=300)[1])
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert json.dumps(metrics["metrics"]["test"]["loss"]) in json.dumps(figures)
    np.save(tmp_path / "x.npy", np.array([[0.5, 0], [0, 1], [1.5, 0]], "float32"))
    predicted = kbuild(tmp_path, "predict", "run", "x.npy", sites=(site,), timeout=300)[1].splitlines()
    assert [json.loads(line)["class_name"] in ("inner", "middle", "outer") for line in predicted] == [True] * 3
    saved = "run/checkpoints/best.keras"
    assert "LayerScale" in kbuild(tmp_path, "summarize", saved, sites=(site,))[1]
    code, _, err = kbuild(tmp_path, "summarize", saved)
    assert (code, "LayerScale is no layer class of Keras' own" in err) == (2, True)
    code, out, err = kbuild(tmp_path, "export", "run", "--to", "keras", "-o", "out", sites=(site,), timeout=300)
    assert code == 0, err
    code, _, err = kbuild(tmp_path, "evaluate", "run", timeout=300)
    assert code == 2, "without the package the run cannot be used"
    assert "error[" in err


def test_the_manual_shows_what_the_example_package_does(site: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "rings.yaml", tmp_path)
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    written = "".join(
        path.read_text(encoding="utf-8")
        for path in sorted(EXAMPLE.rglob("*"))
        if path.suffix in (".py", ".toml", ".yaml")
    )
    for text in re.findall(r"^```console\n(.*?)^```$", page, re.M | re.S):
        run_block(text, tmp_path, sites=(site,))
    for text in re.findall(r"^```(?:toml|text)\n(.*?)^```$", page, re.M | re.S):
        assert "BROKEN" in text or all(line in written for line in text.splitlines())


# Packages that are broken, and names that are taken.

LAYER = "from kbuild.catalog.custom import CustomLayer\n"
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


def test_a_spec_cannot_load_code(tmp_path: Path) -> None:
    planted = {"odd": "open('imported', 'w')\n"}
    package(tmp_path, "planted", "[kbuild.layers]\nOdd = odd:ODD\n", planted)
    for layer in ("Odd", "odd:ODD", "odd.ODD", "{class_name: Odd, module: odd}"):
        text = MLP.replace("  - Dense: 3", f"  - {layer}\n  - Dense: 3")
        assert kbuild(tmp_path, "summarize", spec(tmp_path, text))[0] == 2
    assert kbuild(tmp_path, "summarize", spec(tmp_path, f"{MLP}train: {{data: {{'odd:ODD': 1}}, loss: mse}}\n"))[0] == 2
    assert not (tmp_path / "imported").exists()


@pytest.mark.slow
def test_doctor_lists_all_and_what_is_broken(site: Path, tmp_path: Path) -> None:
    module = LAYER + "ODD = CustomLayer('odd:Odd', 'other')\n"
    points = "[kbuild.layers]\nDense = odd:ODD\nOdd = odd:ODD\nodd = odd:ODD\n[kbuild.data]\nno_such = nowhere:ODD\n"
    broken = package(tmp_path / "site", "broken", points, {"odd": module})
    code, out, err = kbuild(tmp_path, "doctor", "--json", sites=(site, broken), timeout=300)
    assert code == 0, err
    found = {(one["kind"], one["name"]): (one["package"], one["problem"]) for one in json.loads(out)["plugins"]}
    example = "kbuild-example-plugin"
    assert found == {
        ("layer", "Dense"): ("broken", "kbuild has a layer of that name itself, which is used"),
        ("layer", "LayerScale"): (example, ""),
        ("layer", "Odd"): ("broken", "odd:Odd cannot be loaded: AttributeError: module 'odd' has no attribute 'Odd'"),
        ("layer", "odd"): ("broken", "that is no name of a layer; names look like MyLayer"),
        ("policy", "late-norm"): (example, ""),
        ("lint rule", "large-layer-scale"): (example, ""),
        ("data source", "no_such"): (
            "broken",
            "nowhere:ODD cannot be loaded: ModuleNotFoundError: No module named 'nowhere'",
        ),
        ("data source", "rings"): (example, ""),
    }
    out = kbuild(tmp_path, "doctor", sites=(site, broken), timeout=300)[1]
    assert "  policy       late-norm  (kbuild-example-plugin 0.1.0)\n" in out
    assert "  layer        Odd  (broken 1.0)  BROKEN: odd:Odd cannot be loaded" in out
