"""The report: whole, in step with the trials, made again at any time."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from kbuild.errors import InputError
from kbuild.files import write_json
from kbuild.study.analyse import analyse
from kbuild.study.execute import execute
from kbuild.study.figures import _curves
from kbuild.study.record import failed, read_records, write_record
from kbuild.study.report import make_report, table_rows
from tests.study.conftest import SPEC

pytest.importorskip("scipy")
pytest.importorskip("jinja2")


@pytest.fixture
def finished(begun, fake):
    folder, design = begun(orderings=("W-N-A-D", "W-A", "W-A-D-N", "plain"), seeds=tuple(range(8)))
    execute(folder, design, fake(folder, 2))
    return folder, design


class Page(HTMLParser):
    """Tags that are open, and what leads out of the page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.tags = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)
        self.links += [
            value for name, value in attributes if name in ("src", "href") and not (value or "").startswith("#")
        ]

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_files_of_a_study(finished):
    folder, design = finished
    result = make_report(folder)
    names = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}
    assert {"study.yaml", "spec.yaml", "results.csv", "results.json", "report.html", "report.md"} <= names
    assert {f"trials/{trial.id}.json" for trial in design.trials} <= names
    said = json.loads((folder.path / "results.json").read_text())
    assert said["verdict"] == result.verdict and "for this model and data" in said["sentences"][0]
    assert [arm["label"] for arm in said["arms"]] == ["W-N-A-D", "W-A", "W-A-D-N"]


def test_the_page_stands_alone(finished):
    folder, design = finished
    make_report(folder)
    text = (folder.path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and page.links == [] and "script" not in page.tags
    for part in (
        design.baseline,
        "dropout-before-norm",
        "prefers-color-scheme: dark",
        "@media print",
        "kbuild study spec.yaml",
    ):
        assert part in text
    assert "# with spec.yaml copied to .., where its paths begin" in text and "flips that are drawn" not in text
    assert "same model as W-A" in text and "--policies W-N-A-D,W-A,W-A-D-N,plain" in text


def test_the_page_says_what_was_trained_on_what_and_holds_the_spec(begun, fake):
    folder, design = begun(epochs=3)
    execute(folder, design, fake(folder, 1))
    write_json(folder.path / "data.json", {"train": {"rows": 1293, "hash": "0"}, "validation": {"rows": 144}})
    make_report(folder)
    page = _text(folder, "report.html")
    assert "<dt>data</dt><dd>1293 train, 144 validation</dd>" in page
    assert "<dt>training</dt><dd>3 epochs, batches of 100, Adam; " in page
    assert html.escape(SPEC) in page
    folder, design = begun("grid", orderings=(), grid=("train.optimizer=sgd,adam",))
    execute(folder, design, fake(folder, 1))
    make_report(folder)
    assert "* training of the baseline: 1 epoch, batches of 100, SGD; " in _text(folder, "report.md")


def test_every_metric_is_reported_and_only_one_decides(finished):
    folder, _ = finished
    result = make_report(folder)
    said = _text(folder, "report.md").split("## Metrics that decide nothing")[1]
    rows = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith(("| val_", "| test_"))]
    names = [(metric, arm.label) for metric in ("val_loss", "test_accuracy") for arm in result.arms]
    assert [(row[0], row[1]) for row in rows] == names
    found = result.arm("W-A").against["val_loss"]
    assert rows[1][3:] == ["+0.0040", "+0.0040 to +0.0040", "0.008", "0.00"] and found.p == 2 / 2**8
    page = _text(folder, "report.html")
    assert Page(page).open == [] and "<td>+0.0040 to +0.0040</td><td>0.008</td>" in page


def test_flips_that_are_not_all_looked_at_are_told(begun, fake):
    folder, design = begun(seeds=tuple(range(15)))
    execute(folder, design, fake(folder, 1))
    make_report(folder)
    assert "(with more than 14 pairs over flips that are drawn)" in " ".join(_text(folder, "report.html").split())


def test_figures_are_drawn_and_take_the_colour_of_the_page(finished):
    pytest.importorskip("matplotlib")
    folder, _ = finished
    make_report(folder)
    for name in ("differences", "curves", "values"):
        assert (folder.path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder.path / "figures" / f"{name}.svg").read_text()
    text = (folder.path / "report.html").read_text(encoding="utf-8")
    assert (
        Page(text).tags.count("svg") == 3 and "currentColor" in text and "#1a1b1c;" not in text.split("</style>", 1)[1]
    )
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {(n, "") for n in identifiers} | {
        ("", n) for n in identifiers
    }


def test_it_is_made_again_to_the_same_bytes(finished):
    folder, _ = finished
    make_report(folder)
    names = ("results.json", "results.csv", "report.html", "report.md", "figures/curves.svg")
    before = [(folder.path / name).read_bytes() for name in names]
    for name in names[:-1]:
        (folder.path / name).unlink()
    make_report(folder)
    assert [(folder.path / name).read_bytes() for name in names] == before


def test_failed_trials_are_told_and_counted(finished):
    folder, design = finished
    trial = design.trials[-1]
    write_record(folder.path, failed(trial, "diverged", "the loss became <not a number>"))
    make_report(folder)
    assert "the loss became &lt;not a number&gt;" in (folder.path / "report.html").read_text(encoding="utf-8")
    assert "1 diverged" in (folder.path / "report.md").read_text(encoding="utf-8")
    assert "diverged" in (folder.path / "results.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(("metric", "columns"), [("val_accuracy", ["val_loss"]), ("val_loss", ["val_accuracy"])])
def test_the_table_has_accuracy_and_loss_whichever_decides(begun, fake, metric, columns):
    folder, design = begun(metric=metric)
    head, rows = table_rows(analyse(design, execute(folder, design, fake(folder, 1))))
    at = head.index("epochs to target") + 1
    assert head[1] == metric and head[at : at + 1] == columns and rows[0][at].startswith(("0.0", "0.9"))


def test_an_unfinished_study_is_reported_as_far_as_it_is(finished):
    folder, design = finished
    for trial in design.trials[10:]:
        (folder.path / "trials" / f"{trial.id}.json").unlink()
    verdict = make_report(folder).verdict
    assert "too few seeds" in verdict and "Unfinished: 14 of 24 trials have not run" in verdict
    assert "6 not run" in (folder.path / "report.md").read_text(encoding="utf-8")
    for name in read_records(folder.path, design):
        (folder.path / "trials" / f"{name}.json").unlink()
    with pytest.raises(InputError, match="no finished trial"):
        make_report(folder)


def test_the_variance_shift_of_every_arm_that_has_one(finished):
    folder, design = finished
    make_report(folder)
    for name in ("report.html", "report.md"):  # trials that measured none: nothing is said of it
        assert "Variance shift" not in (folder.path / name).read_text(encoding="utf-8")
    for record in read_records(folder.path, design).values():
        if record.arm != "W-A":
            far = 2.0 + record.seed / 100 if record.arm == "W-A-D-N" else 1.25
            shift = {
                "one_bn": {"ratio": 1.0, "real_over_moving": 1.0},
                "two_bn": {"ratio": far, "real_over_moving": 1 / far},
            }
            write_record(folder.path, replace(record, shift=shift))
    make_report(folder)
    said = json.loads((folder.path / "results.json").read_text())["shift"]
    assert list(said) == ["W-N-A-D", "W-A-D-N"]
    assert said["W-A-D-N"]["where"] == "two_bn" and said["W-A-D-N"]["largest"] == pytest.approx(2.035)
    rows = re.findall(
        r"^\| (W\S+) \| (\S+) \| (\S+) \| two_bn \| (\S+) \| 2 \| 8 \|$", _text(folder, "report.md"), re.M
    )
    assert rows == [("W-N-A-D", "1.125", "1.250", "0.800"), ("W-A-D-N", "1.500", "2.035", "0.491")]
    page = _text(folder, "report.html")
    assert Page(page).open == [] and "<td>2.035</td><td>two_bn</td>" in page


def _text(folder, name):
    return (folder.path / name).read_text(encoding="utf-8")


def test_a_legend_of_long_names_stays_inside_the_figure(begun, fake):
    pytest.importorskip("matplotlib")
    folder, design = begun(
        orderings=("dropout-before-bn", "conventional", "last-dropout"),
        grid=("train.recalibrate=false,true",),
        metric="val_loss",
    )
    records = execute(folder, design, fake(folder, 2))
    figure = _curves(analyse(design, records), records)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4  # with one hidden layer, last-dropout is conventional
    inside, outside = legend.get_window_extent(), figure.bbox
    assert outside.x0 <= inside.x0 and inside.x1 <= outside.x1 and outside.y0 <= inside.y0


def test_labels_as_long_as_a_grid_makes_them_leave_room_for_the_figures(begun, fake, recwarn):
    pytest.importorskip("matplotlib")
    layers = ", ".join(f"{{RandomZoom: {{height_factor: 0.{n}, width_factor: 0.1}}}}" for n in range(1, 8))
    folder, design = begun(orderings=(), grid=(f"train.augment=[{layers}],[{{RandomRotation: 0.1}}, {layers}]",))
    execute(folder, design, fake(folder, 1))
    make_report(folder)
    assert not [str(one.message) for one in recwarn.list if "layout" in str(one.message)]
    drawing = _text(folder, "figures/values.svg")
    assert "row 1: W-N-A-D" in drawing and "row 2: W-N-A-D" in drawing
    assert design.baseline in _text(folder, "report.md") and '<th scope="row" class="long">' in _text(
        folder, "report.html"
    )


def test_an_arm_that_only_diverged_has_no_figures_of_its_own(begun, fake):
    folder, design = begun()
    records = execute(folder, design, fake(folder, 1))
    for trial in design.trials:
        if trial.arm == design.baseline:
            records[trial.id] = failed(trial, "diverged", "the loss became NaN")
            write_record(folder.path, records[trial.id])
    rows = table_rows(make_report(folder))[1]
    assert rows[0][1] == "-" and rows[1][1].startswith("0.9") and rows[1][2].startswith("+0.")
    assert "epochs to target:" not in _text(folder, "report.md")  # the baseline reached nothing to be the target
