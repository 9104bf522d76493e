"""What installed packages add: the example package, installed and used as users do it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.installing import LAYER, MLP, ROOT, kbuild, package, python, spec
from tests.test_docs import run_block

EXAMPLE = ROOT / "examples" / "kbuild-example-plugin"
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


@pytest.mark.slow
def test_diagnosed_ejected_and_loaded_from_its_checkpoint(site: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "rings.yaml", tmp_path)
    for words in (
        "train rings.yaml --epochs 1 --run-dir run --quiet",
        "evaluate run --best --quiet",
        "diagnose run",
        "export run/checkpoints/best.keras --to keras --fold",
    ):
        code, _, err = kbuild(tmp_path, *words.split(), sites=(site,), timeout=300)
        assert code == 0, f"{words}: {err}"
    code, ejected, _ = kbuild(tmp_path, "eject", "rings.yaml", sites=(site,))
    assert code == 0
    assert "from kbuild_example_plugin.layers import LayerScale\n" in ejected
    assert "it needs nothing but Keras, kbuild_example_plugin." in ejected
    (tmp_path / "ejected.py").write_text(ejected, encoding="utf-8")
    script = "import ejected, sys; print(ejected.build_model().count_params(), 'kbuild' in sys.modules)"
    done = python(["-c", script], tmp_path, site, timeout=300)
    plan = json.loads(kbuild(tmp_path, "summarize", "rings.yaml", "--format", "json", sites=(site,))[1])
    assert done.stdout.split() == [str(plan["total_params"]), "False"], done.stderr


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
