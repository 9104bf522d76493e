"""The page and the notebook's drawing: what is in them, that nothing gets out, and how they behave in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kbuild.errors import SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.plan.plan import Plan
from kbuild.policy import POLICIES, all_orders
from kbuild.resources import specs_dir
from kbuild.show.html import fragment, page, picture
from kbuild.show.html.layout import arrange
from kbuild.show.html.pieces import Fold, Piece, Run, pieces
from kbuild.show.structure import Wiring
from kbuild.spec.load import load_spec, parse_spec

from .test_diff import RESIDUAL

DATA = Path(__file__).parent.parent / "data" / "compile"
SPECS = sorted(specs_dir().rglob("*.yaml"))


def plan(text: str = RESIDUAL, ordering: str | None = None) -> Plan:
    return plan_spec(parse_spec(text, ordering))


def cases() -> list[Plan]:
    found = [plan_spec(load_spec(path)) for path in SPECS]
    for path in sorted(DATA.glob("*.yaml")):
        try:
            found.append(plan(yaml.safe_dump(yaml.safe_load(path.read_text("utf-8"))["spec"], sort_keys=False)))
        except SpecError:
            continue
    return found


class Reader(HTMLParser):
    """Checks that tags close, and collects ids, links and text."""

    VOID = ("meta", "br", "hr", "img", "link")

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.titles: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for key, value in attrs:
            assert not key.startswith("on"), f"{tag} {key}"
            if key == "id":
                self.ids.append(value or "")
            if key in ("href", "src"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title":
            self.titles.append(data)


def flat(found: tuple[Piece, ...]) -> list[Run]:
    runs: list[Run] = []
    for piece in found:
        runs += [piece] if isinstance(piece, Run) else flat(piece.pieces)
    return runs


@pytest.mark.parametrize("resolved", cases(), ids=lambda one: one.name)
def test_every_layer_is_drawn_once_with_its_reason_and_links_lead_somewhere(resolved: Plan) -> None:
    text = page(resolved)
    read = Reader(text)
    assert len(read.ids) == len(set(read.ids)) == 2 * len(resolved.layers)
    assert all(link[0] == "#" and link[1:] in read.ids for link in read.links)
    for layer in resolved.layers:
        assert any(one.startswith(f"{layer.name}: ") and layer.because in one for one in read.titles)
        assert f">{escape(layer.name)}</a>" in text
    runs = flat(pieces(resolved))
    assert [at for run in runs for at in range(run.first, run.last + 1)] == list(range(len(resolved.layers)))


@pytest.mark.parametrize("order", [str(order) for order in all_orders()] + [policy.name for policy in POLICIES])
def test_pieces_are_joined_by_one_value(order: str) -> None:
    resolved = plan(ordering=order)
    wiring = Wiring(resolved)

    def check(found: tuple[Piece, ...]) -> None:
        for before, piece in zip((None, *found), found, strict=False):
            if before is not None:
                assert piece.first == before.last + 1
                crossing = {
                    source
                    for at in range(piece.first, len(resolved.layers))
                    for source in wiring.inputs[at]
                    if source < piece.first
                }
                assert crossing == {before.last}
            if isinstance(piece, Fold):
                check(piece.pieces)

    check(pieces(resolved))


@pytest.mark.parametrize("resolved", cases(), ids=lambda one: one.name)
def test_no_box_stands_on_another_and_no_line_runs_through_one(resolved: Plan) -> None:
    wiring = Wiring(resolved)
    for run in flat(pieces(resolved)):
        made = arrange(wiring.inputs, run.first, run.last)
        places = [(made.lane[at], made.row[at]) for at in made.row]
        assert len(places) == len(set(places))
        assert made.lane[run.last] == 0
        for source, reader in made.edges:
            row = -1 if source is None else made.row[source]
            lane = 0 if source is None else made.lane[source]
            assert row < made.row[reader]
            if (source, reader) not in made.track:
                way = max(lane, made.lane[reader])
                assert not any((way, between) in places for between in range(row + 1, made.row[reader]))


def test_residual_arcs_go_round_the_branch() -> None:
    text = page(plan())
    assert text.count('class="edge arc"') == 5  # the identity shortcuts; the projection has a lane of its own


def test_large_models_are_folded_but_for_the_first_block_of_a_kind() -> None:
    resolved = plan_spec(load_spec(specs_dir() / "zoo" / "resnet50.yaml"))
    text = page(resolved)
    assert text.count("<details open>") + text.count("<details>") >= 16
    assert 2 <= text.count("<details open>") <= 8
    assert len(resolved.layers) > 170 and len(text) < 400_000
    assert "<details>" not in page(plan("input: {shape: [4]}\nlayers: [{Dense: 2}]"))


def test_many_rounds_fold_together_and_residuals_outside_of_blocks_too() -> None:
    residual = "{residual: {layers: [{Dense: {units: 4, activation: relu}}]}}"
    many = plan(f"input: {{shape: [4]}}\nlayers: [{{repeat: {{times: 20, layers: [{residual}]}}}}, {{Dense: 2}}]")
    assert "rounds 1 to 20" in page(many)
    loose = plan(f"input: {{shape: [4]}}\nlayers: [{', '.join([residual] * 20)}, {{Dense: 2}}]")
    assert "add20" in page(loose) and "<details>" in page(loose)


#: The tags of a page; anything else came from a spec.
TAGS = """html head meta title style body main h1 h2 p span b i em small button div svg path rect text a details summary
table thead tbody tr th td br script"""

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><b>",
    "a&lt;b",
    "'--></style>",
    "</svg>",
]


@pytest.mark.parametrize("word", HOSTILE)
def test_nothing_of_a_spec_becomes_markup(word: str) -> None:
    spec = {
        "name": word,
        "vars": {"word": word},
        "input": {"shape": [4]},
        "layers": [
            {"Dense": {"units": 3, "activation": "relu"}, "name": word},
            {"StringLookup": {"vocabulary": [word]}, "from": word, "name": "look", "when": False},
            {"Dense": 2},
        ],
    }
    for removed in ([], ["name"], ["layer"]):
        if "name" in removed:
            spec.pop("name")
        if "layer" in removed:
            spec["layers"] = [{"Dense": 2}]
            spec["name"] = word
        try:
            resolved = plan(yaml.safe_dump(spec))
        except SpecError:
            continue
        for text in (page(resolved), fragment(resolved)):
            assert word not in text or word == "a&lt;b"
            assert "img" not in Reader(text).tags


@settings(max_examples=80, deadline=None)
@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_plans_with_any_text_give_whole_pages(name: str, because: str, label: str) -> None:
    data = plan("input: {shape: [4]}\nlayers: [{Dense: 3}, {Dense: 2}]").to_dict()
    data["name"] = name
    data["notes"] = [because]
    data["ordering"]["because"] = because
    frame = {"block": label or "b", "label": name, "source": None, "round": None}
    for layer in data["layers"]:
        layer["because"], layer["within"] = because, [frame] if layer["class"] != "InputLayer" else []
        layer["settings"] = {"A": label}
    text = page(Plan.from_dict(data))
    read = Reader(text)
    assert read.tags <= set(TAGS.split())


def test_a_page_fetches_nothing() -> None:
    text = page(plan())
    assert not re.search(r"(https?:)?//(?!www\.w3\.org)[a-z]", text.split("<script>")[0])
    assert "@import" not in text and "url(" not in text


def test_a_notebook_shows_the_same_drawing() -> None:
    resolved = plan()
    text = resolved._repr_html_()
    assert text == fragment(resolved)
    assert "<script" not in text and Reader(text).ids == []
    drawn = re.findall(r"<rect [^>]*/>", text)
    assert drawn == re.findall(r"<rect [^>]*/>", page(resolved))


# -- in a browser ---------------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

PROBE = """<script>
const found = [];
const names = %s;
const shown = document.body.textContent;
found.push("names " + names.every((name) => shown.includes(name)));
const folds = [...document.querySelectorAll("details")];
const closed = folds.find((fold) => !fold.open && fold.parentElement.closest("details:not([open])") === null);
const inside = closed.querySelector("svg");
found.push("hidden " + (inside.checkVisibility() === false));
closed.querySelector("summary").click();
found.push("unfolds " + (closed.open && inside.checkVisibility()));
closed.querySelector("summary").click();
found.push("folds " + !closed.open);
document.querySelector('button[data-open="yes"]').click();
found.push("all " + folds.every((fold) => fold.open));
const boxes = [...document.querySelectorAll("svg .layer")].map((box) => box.getBoundingClientRect());
found.push("drawn " + (boxes.length === names.length && boxes.every((box) => box.width > 100 && box.height > 20)));
const lefts = [...document.querySelectorAll("svg.run")].map((run) => run.getBoundingClientRect().left);
found.push("trunk " + new Set(lefts).size);
document.querySelector('button[data-open="no"]').click();
found.push("none " + folds.every((fold) => !fold.open));
found.push("wide " + (document.documentElement.scrollWidth <= innerWidth));
location.hash = document.querySelector("tbody a[href*='n60']").getAttribute("href");
setTimeout(() => {
  found.push("revealed " + document.querySelector(location.hash).checkVisibility());
  document.body.dataset.found = found.join("; ");
}, 200);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [1400, 420])
def test_the_page_in_a_browser(tmp_path: Path, width: int) -> None:
    resolved = plan_spec(load_spec(specs_dir() / "zoo" / "resnet50.yaml"))
    names = [layer.name for layer in resolved.layers]
    text = page(resolved).replace("</body>", PROBE % json.dumps(names) + "</body>")
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    done = subprocess.run(
        [
            str(CHROMIUM),
            *flags.split(),
            "--disable-component-update",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    assert found[1] == (
        "names true; hidden true; unfolds true; folds true; all true; drawn true; trunk 1; none true; wide true; "
        "revealed true"
    )


def test_a_picture_is_a_file_of_its_own() -> None:
    """Well-formed XML with every layer, colours for light and dark in it, and nothing that is fetched."""
    drawn = plan()
    text = picture(drawn)
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for layer in drawn.layers:
        assert f">{layer.name}<" in text
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
