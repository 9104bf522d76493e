"""The site: `make docs` builds docs/*.md with Sphinx, MyST and furo.

The pages are plain Markdown that reads as well where the repository is hosted; nothing in them is for Sphinx alone. The
navigation follows from the pages too: the sections of index.md with the links in them, and below a page NAME.md the
pages of the folder NAME/, in the order in which NAME.md links them. A page that index.md does not link stands under
"More".
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from pygments.lexers.shell import BashSessionLexer
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

from kbuild import __version__

project = "kbuild"
author = "The kbuild developers"
release = version = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 4
smartquotes = False  # `--set` is two hyphens
myst_links_external_new_tab = True

html_theme = "furo"
html_title = f"kbuild {release}"
html_static_path = ["_static"]
html_css_files = ["kbuild.css"]
html_copy_source = html_show_sourcelink = False
html_show_sphinx = html_show_copyright = False
pygments_style, pygments_dark_style = "default", "github-dark"

DOCS = Path(__file__).parent


def _toctree(pages: list[str], caption: str = "") -> str:
    options = [":hidden:", f":caption: {caption}" if caption else ""]
    return "\n".join(["", "```{toctree}", *filter(None, options), "", *pages, "```", ""])


def _linked(text: str) -> list[str]:
    """The pages that a text links, in their order."""
    return [link for link in re.findall(r"\]\(([\w/.-]+)\.md\)", text) if not link.startswith(".")]


def _sections(text: str) -> dict[str, list[str]]:
    """Headings of index.md with lists of pages below them, and the pages that each list links."""
    parts = (part.partition("\n") for part in re.split(r"^## ", text, flags=re.M)[1:])
    return {title.strip(): _linked("\n".join(re.findall(r"^\* .*", rest, re.M))) for title, _, rest in parts}


def _below(page: str, text: str) -> list[str]:
    """The pages of the folder that has a page's name."""
    folder = (DOCS / page).parent / Path(page).name
    there = sorted(f"{Path(page).name}/{path.stem}" for path in folder.glob("*.md"))
    return [one for one in dict.fromkeys([*_linked(text), *there]) if one in there]


def _all() -> list[str]:
    found = (path.relative_to(DOCS).with_suffix("").as_posix() for path in sorted(DOCS.rglob("*.md")))
    return [page for page in found if page != "index" and not page.startswith("_")]


def navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Add to a page the toctrees that put others below it."""
    if page != "index":
        if below := _below(page, source[0]):
            source[0] += _toctree(below)
        return
    listed: set[str] = set()
    for title, pages in _sections(source[0]).items():
        fresh = [one for one in dict.fromkeys(pages) if one not in listed]
        listed |= set(fresh)
        source[0] += _toctree(fresh, title) if fresh else ""
    more = [one for one in _all() if one not in listed and Path(one).parent.as_posix() not in (*listed, *_all())]
    source[0] += _toctree(more, "More") if more else ""


def outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Other files of the repository become downloads; of its pages outside docs/ the names stay, without a link."""
    up = re.escape("../" * (page.count("/") + 1))
    source[0] = re.sub(rf"\[([^\]]+)\]\({up}[\w./-]*\.md(?:#[\w-]+)?\)", r"\1", source[0])


def opened(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Reports of studies open in the browser; Sphinx would have it save them."""
    for link in [one for one in tree.findall(download_reference) if one.get("filename", "").endswith(".html")]:
        target = relative_uri(app.builder.get_target_uri(page), f"_downloads/{link['filename']}")
        link.replace_self(nodes.reference("", "", *link.children, internal=True, refuri=target))


class Session(BashSessionLexer):
    """Commands after `$ `, and what they print; a printed line may begin with `#`, which is no prompt here."""

    _ps1rgx = re.compile(r"^(\$ )(.*\n?)")


def setup(app: Sphinx) -> None:
    app.add_lexer("console", Session)
    app.connect("doctree-resolved", opened)
    app.connect("source-read", outside)
    app.connect("source-read", navigation)
