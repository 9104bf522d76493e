"""The site that `make docs` builds: no warning, every page reachable, every link and anchor there, nothing fetched."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

pytest.importorskip("sphinx", reason="the site needs the group `docs`")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


class Page(HTMLParser):
    """Ids, links, and what a browser would load."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.without_alt = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if found.get("id"):
            self.ids.add(str(found["id"]))
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if tag in ("img", "script") and found.get("src"):
            self.loads.append(str(found["src"]))
        if tag == "link" and found.get("rel") in ("stylesheet", "icon") and found.get("href"):
            self.loads.append(str(found["href"]))
        if tag == "img" and not found.get("alt"):
            self.without_alt += 1


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the built site by their places."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-n", "-q", "-d", str(made / "doctrees")]
    done = subprocess.run(
        [*command, str(DOCS), str(made / "html")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return {path.resolve(): Page(path) for path in (made / "html").rglob("*.html")}, (made / "html").resolve()


@pytest.mark.slow
def test_every_page_is_there_and_reachable_from_the_first(site):
    pages, folder = site
    wanted = {folder / path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    seen, pending = set(), [folder / "index.html"]
    while pending:
        at = pending.pop()
        if at in seen or at not in pages:
            continue
        seen.add(at)
        links = (urldefrag(link)[0] for link in pages[at].links if "://" not in link)
        pending += [(at.parent / unquote(link)).resolve() for link in links if link]
    assert wanted <= seen


@pytest.mark.slow
def test_links_and_anchors_lead_somewhere(site):
    pages, _ = site
    for path, page in pages.items():
        for link in page.links:
            target, anchor = urldefrag(link)
            if "://" in target or target.startswith("mailto:"):
                continue
            linked = (path.parent / unquote(target)).resolve() if target else path
            assert linked.exists(), f"{path.name}: {link}"
            if anchor and linked in pages:
                assert unquote(anchor) in pages[linked].ids, f"{path.name}: {link}"


@pytest.mark.slow
def test_a_reader_without_a_network_sees_all_of_it(site):
    pages, _ = site
    for path, page in pages.items():
        for load in page.loads:
            assert "://" not in load and not load.startswith("//"), f"{path.name}: {load}"
            assert (path.parent / unquote(load.partition("?")[0])).exists(), f"{path.name}: {load}"
        assert not page.without_alt, path.name
