"""`kbuild diagnose` on runs: what it measures, says and writes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.cli import main
from kbuild.diagnose.diagnosis import diagnose
from kbuild.diagnose.page import render as page
from kbuild.diagnose.statistics import SILENT
from kbuild.diagnose.table import render
from kbuild.diagnose.words import paragraph
from kbuild.errors import InputError
from kbuild.plan.pipeline import plan_spec
from kbuild.resources import spec_path
from kbuild.spec.load import load_spec
from kbuild.train.run import train

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"

SPEC = """\
name: shifted
input: {shape: [8, 8, 1]}
ordering: {order: W-A-D-N, dropout: 0.4, norm: {BatchNormalization: {momentum: 0.9}}}
layers:
  - Rescaling: 0.0625
  - Flatten
  - {Dense: {units: 32, activation: relu}, name: a}
  - {Dense: {units: 32, activation: relu}, name: b}
  - {Dense: 10, name: digit}
train: {data: digits, loss: sparse_categorical_crossentropy, metrics: [accuracy], epochs: 8, batch_size: 64}
"""


def trained(folder: Path, *overrides: str) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(SPEC)
    spec = load_spec(folder / "spec.yaml", overrides=overrides)
    return train(spec, plan_spec(spec), run_dir=folder / "run", quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(trained(tmp_path_factory.mktemp("diagnose")).run_dir)


@pytest.fixture(scope="module")
def found(run: Path) -> Any:
    return diagnose(run)[0]


def test_what_is_measured(found: Any, run: Path) -> None:
    assert [norm.name for norm in found.before] == ["a_bn", "b_bn"]
    assert (found.rows, found.steps) == (1293, 8 * 21)
    for norm, after in zip(found.before, found.after, strict=True):
        assert norm.ratio > 1.2
        assert norm.shift < 0.8
        assert norm.remaining == pytest.approx(0.9**168)
        assert round(norm.predicted.delta, 3) == 0.506
        assert after.ratio == pytest.approx(1, abs=1e-3)
        assert after.mean_shift < 1e-3
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    assert found.metrics["inference"]["loss"] == pytest.approx(metrics["train"]["loss"], rel=1e-4)
    assert found.metrics["inference"]["accuracy"] == pytest.approx(metrics["train"]["accuracy"])
    assert found.metrics["validation"]["loss"] == pytest.approx(metrics["validation"]["loss"], rel=1e-4)
    assert found.metrics["training"]["loss"] > found.metrics["inference"]["loss"]
    # Batch statistics do not depend on moving ones; the masks of Dropout are the same, for seeds are put back.
    assert found.metrics["training"] == pytest.approx(found.metrics_after["training"], rel=1e-5)


def test_dead_units_and_small_gammas(run: Path, tmp_path: Path) -> None:
    from kbuild.diagnose.diagnosis import examine
    from kbuild.export.source import final_model
    from kbuild.train.data.load import load_data
    from kbuild.train.evaluate import read_run

    opened = read_run(run)
    model = final_model(opened, opened.plan)
    data = load_data(opened.settings, opened.plan, opened.targets, opened.folder, 0)
    unharmed = examine(model, opened.plan, data.train, 100)
    kernel, bias = model.get_layer("a").get_weights()
    live = int(np.argmax(unharmed[0].real_variance))
    kernel[:, live], bias[live] = 0, -1
    model.get_layer("a").set_weights([kernel, bias])
    gamma = model.get_layer("b_bn").gamma.numpy()
    gamma[[5, 7]] = 1e-4
    model.get_layer("b_bn").gamma.assign(gamma)
    first, second = examine(model, opened.plan, data.train, 100)
    assert (first.dead, first.small_gamma) == (unharmed[0].dead + 1, 0)
    assert (second.dead, second.small_gamma) == (unharmed[1].dead, 2)
    assert first.largest < 1e3  # a dead channel has no ratio


def test_every_number_of_the_paragraph_is_shown(found: Any) -> None:
    text = render(found)
    table, _, words = text.rpartition("\n\n")
    assert words.replace("\n", " ") == paragraph(found)
    assert "a_drop (rate 0.4) feeds" in words or "b_drop (rate 0.4) feeds" in words
    shown = table + f" {len(found.before)} {found.steps} 0.4"
    loss = [found.metrics["validation"]["loss"], found.metrics_after["validation"]["loss"]]
    shown += f" {abs(loss[0] - loss[1]):.4f}"  # a difference of two that are shown
    for number in re.findall(r"\d+\.\d+", words):
        assert number in shown, number


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}  # self-contained
        if tag not in ("meta", "line", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle"):
            assert self.open.pop() == tag


def test_the_page(found: Any) -> None:
    reader = Balanced()
    reader.feed(page(found))
    assert reader.open == []
    assert reader.seen.count("svg") == 2
    live = [
        min(pair) > SILENT
        for norm in (*found.before, *found.after)
        for pair in zip(norm.real_variance, norm.moving_variance, strict=True)
    ]
    assert reader.seen.count("circle") == sum(live) > 100
    assert "http" not in page(found)


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kbuild.model.backend import import_keras

    target = run / "export" / "model_recalibrated.keras"
    target.unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    command = ["diagnose", str(run), "--json", "--html", str(tmp_path / "page.html"), "--recalibrate"]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 0
    data = json.loads(capsys.readouterr().out)
    assert data["summary"]
    assert data["before"][0]["predicted"]["dropout"] == "a_drop"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    keras: Any = import_keras()
    model = keras.saving.load_model(target)
    np.testing.assert_allclose(model.get_layer("a_bn").moving_variance, data["after"][0]["moving_variance"], rtol=1e-6)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    assert "exists, and is never overwritten" in capsys.readouterr().err


def test_some_of_the_rows(run: Path) -> None:
    assert diagnose(run, rows=200)[0].rows == 200


def test_a_model_without_normalization(tmp_path: Path) -> None:
    run = trained(tmp_path, "ordering.order=W-A-D", "train.epochs=1").run_dir
    with pytest.raises(InputError, match="holds a model without batch normalization"):
        diagnose(run)


def test_recalibrated_at_the_end_of_training(tmp_path: Path, found: Any) -> None:
    """The same weights, the exact statistics of the training data; validation data have no part in them."""
    result = trained(tmp_path, "train.recalibrate=true")
    again, _ = diagnose(result.run_dir)
    assert [norm.ratio for norm in again.before] == pytest.approx([1, 1], abs=1e-3)
    for norm, wanted in zip(again.before, found.after, strict=True):
        np.testing.assert_allclose(norm.moving_variance, wanted.moving_variance, rtol=1e-4)
    assert result.metrics["validation"]["loss"] == pytest.approx(found.metrics_after["validation"]["loss"], rel=1e-3)
    log = (result.run_dir / "log.txt").read_text()
    assert "recalibrated 2 batch normalizations over 1,293 training examples" in log


@pytest.mark.slow
@pytest.mark.skipif(not MNIST.is_file(), reason="shared/data/mnist.npz is not beside this checkout")
def test_the_shift_on_mnist(tmp_path: Path) -> None:
    """Dropout before BN shifts every variance by about Δ, dropout behind BN does not; recalibration mends it."""
    results = {}
    for policy in ("dropout-before-bn", "conventional"):
        spec = load_spec(spec_path("mnist_mlp"), policy, [f"train.data={{npz: {MNIST}}}"])
        run = train(spec, plan_spec(spec), epochs=3, run_dir=tmp_path / policy, quiet=True).run_dir
        results[policy], _ = diagnose(run)
    shifted, usual = results["dropout-before-bn"], results["conventional"]
    for norm in shifted.before:
        assert norm.shift == pytest.approx(norm.predicted.delta, abs=0.1)
        assert norm.ratio > 1.2
    assert all(norm.ratio < 1.15 for norm in usual.before)
    assert all(norm.ratio < 1.001 for norm in shifted.after)
    gap = [metrics["inference"]["loss"] for metrics in (shifted.metrics, shifted.metrics_after)]
    assert gap[1] < 0.9 * gap[0]
    assert shifted.metrics_after["validation"]["loss"] < shifted.metrics["validation"]["loss"]
