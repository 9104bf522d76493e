"""What the documentation shows is what kbuild does: commands and outputs, Python and YAML blocks, tables, links."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import docs_tables

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Commands that train; the rest answer without TensorFlow.
SLOW = re.compile(r"\$ kbuild (train|evaluate|predict|doctor|study|export|diagnose|reproduce)\b")


def blocks(language):
    """Fenced blocks of a language in all pages, as (page name, line, text)."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


def console_blocks(slow):
    return [block for block in blocks("console") if bool(SLOW.search(block.values[0])) is slow]


def run_block(text, folder):
    """Run the commands of a console block in a folder that holds the shipped specs; compare what they print."""
    shutil.copytree(ROOT / "specs", folder / "specs")
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    script = bin_folder / "kbuild"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kbuild "$@"\n')
    script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    for command, expected in _commands(text):
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        printed = done.stdout + (done.stderr if done.returncode else "")
        assert "Traceback" not in done.stderr
        if not _matches(expected, printed):
            diff = "\n".join(difflib.unified_diff(expected.splitlines(), printed.splitlines(), "docs", "kbuild", n=1))
            pytest.fail(f"{command}\n{diff}\n{done.stderr[-2000:]}")


def _commands(text):
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def _matches(expected, printed):
    """Equal, where a line `...` stands for any lines and `...` inside a line for any text."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", ".*?") + r"[ ]*\n"
        for line in expected.splitlines()
    )
    return re.fullmatch(pattern, printed if printed.endswith("\n") or not printed else printed + "\n") is not None


@pytest.mark.parametrize("text", console_blocks(slow=False))
def test_commands_print_what_the_docs_show(text, tmp_path):
    run_block(text, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("text", console_blocks(slow=True))
def test_trainings_print_what_the_docs_show(text, tmp_path):
    run_block(text, tmp_path)


def test_a_wrong_output_is_noticed(tmp_path):
    with pytest.raises(pytest.fail.Exception):
        run_block("$ kbuild --version\nkbuild 0.0.0\n", tmp_path)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_blocks_run(text, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("text", [block for block in blocks("yaml") if "layers:" in block.values[0]])
def test_whole_specs_in_the_docs_compile(text):
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    if not re.search(r"^inputs?:", text, re.M):
        pytest.skip("a part of a spec, shown in a page that has the whole elsewhere")
    assert plan_spec(parse_spec(text)).layers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_tables_are_current(page):
    text = page.read_text(encoding="utf-8")
    assert docs_tables.renewed(text) == text, "run: python -m tools.docs_tables"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name} links to {target}"


def test_every_command_is_documented():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for name in docs_tables.command_names():
        assert f"## kbuild {name}" in text
