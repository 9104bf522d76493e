"""What the documentation shows is what kbuild does: commands and outputs, Python and YAML blocks, tables, links."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from kbuild.cli import app
from tools import docs_pages, docs_tables

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
#: Pages of error codes show broken specs on purpose; tests/show/test_codes.py holds those to their word.
BROKEN = DOCS / "errors"
#: Commands that train; the rest answer without TensorFlow.
SLOW = re.compile(r"\$ kbuild (train|evaluate|predict|doctor|study|export|diagnose|reproduce)\b")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(language, pages=PAGES):
    """Fenced blocks of a language in all pages, each with its page and line as the test's name."""
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
            line = text[: match.start()].count("\n") + 1
            found.append(pytest.param(match[1], id=f"{name_of(page)}:{line}"))
    return found


#: Blocks that follow one another in one folder; tests/test_newcomer.py walks through them.
WALK = DOCS / "start.md"
#: Blocks that need the example package; tests/test_plugins.py runs them.
PLUGINS = DOCS / "plugins.md"


def console_blocks(slow):
    found = blocks("console", [page for page in PAGES if page not in (WALK, PLUGINS)])
    return [block for block in found if bool(SLOW.search(block.values[0])) is slow]


def run_block(text, folder, timeout=300, sites=()):
    """Run the commands of a console block in a folder that holds the shipped specs; compare what they print.

    `sites` are folders with installed packages.
    """
    shutil.copytree(ROOT / "specs", folder / "specs", dirs_exist_ok=True)
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    script = bin_folder / "kbuild"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kbuild "$@"\n')
    script.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sites))),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    for command, expected in _commands(text):
        done = subprocess.run(
            command,
            shell=True,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        printed = done.stdout + (done.stderr if done.returncode else "")
        assert "Traceback" not in done.stderr
        if not _matches(expected, printed):
            diff = "\n".join(difflib.unified_diff(expected.splitlines(), printed.splitlines(), "docs", "kbuild", n=1))
            pytest.fail(f"{command}\n{diff}\n{done.stderr[-2000:]}")


def _commands(text):
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        if command.endswith("<<'END'"):
            text, _, expected = expected.partition("\nEND\n")
            command = f"{command}\n{text}\nEND\n"
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


UNBROKEN = [page for page in PAGES if page.parent != BROKEN]


@pytest.mark.parametrize("text", [block for block in blocks("yaml", UNBROKEN) if "layers:" in block.values[0]])
def test_whole_specs_in_the_docs_compile(text):
    from kbuild.plan.pipeline import plan_spec
    from kbuild.spec.load import parse_spec

    if not re.search(r"^inputs?:", text, re.M):
        pytest.skip("a part of a spec, shown in a page that has the whole elsewhere")
    assert plan_spec(parse_spec(text)).layers


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_generated_tables_are_current(page):
    text = page.read_text(encoding="utf-8")
    assert docs_tables.renewed(text) == text, "run: python -m tools.docs_tables"


def test_made_pages_are_current():
    for place, text in docs_pages.pages():
        assert (DOCS / place).is_file() and (DOCS / place).read_text(encoding="utf-8") == text, (
            f"{place}; run: python -m tools.docs_tables"
        )
    assert not docs_pages.leftovers(DOCS)


def test_every_block_says_what_it_is():
    """Blocks of these languages are run, compiled, parsed or generated; a block without a language is none of it."""
    known = {"console", "python", "yaml", "json", "sh", "text", "toml", "csv", "diff"}
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.M)
        assert len(fences) % 2 == 0, name_of(page)
        assert set(fences[::2]) <= known, name_of(page)


@pytest.mark.parametrize("text", blocks("json"))
def test_json_blocks_parse(text):
    json.loads(text)


@pytest.mark.parametrize("text", blocks("yaml", UNBROKEN))
def test_yaml_blocks_parse(text):
    yaml.safe_load(text)


def shell_lines():
    """Commands that pages show without running them: those of `sh` blocks, and those in the text."""
    for block in blocks("sh"):
        for line in block.values[0].replace("\\\n", " ").splitlines():
            yield pytest.param(line.partition(" #")[0].strip(), id=f"{block.id}:{line[:40]}")


def inline_commands():
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for command in dict.fromkeys(re.findall(r"`((?:kbuild|make) [^`]+)`", text)):
            yield pytest.param(" ".join(command.split()), id=f"{name_of(page)}:{command[:40]}")


@pytest.mark.parametrize("line", list(shell_lines()))
def test_commands_of_sh_blocks_exist(line):
    for command in re.split(r"\s*(?:&&|;|\|)\s*", line):
        if command.startswith("make "):
            targets_exist(command)
        elif command.startswith("kbuild "):
            arguments_fit(command)


@pytest.mark.parametrize("command", list(inline_commands()))
def test_commands_in_the_text_exist(command):
    """In the text a command may stand without its arguments; its name and its options are real all the same."""
    if command.startswith("make "):
        return targets_exist(command)
    name, *words = command.split()[1:]
    if name.startswith("-"):
        return None
    found = typer.main.get_command(app).commands.get(name)
    assert found is not None, command
    options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    asked = {word.partition("=")[0].rstrip(",.") for word in words if word.startswith("-") and word != "-"}
    assert asked <= options | {"--help", "-h"}, command
    return None


def targets_exist(command):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    asked = [word for word in command.split()[1:] if not word.startswith("-") and "=" not in word and '"' not in word]
    assert set(asked[:1]) <= targets, command


def arguments_fit(command):
    """The command line parses: options exist, needed arguments are there, values are of their types."""
    group = typer.main.get_command(app)
    words = shlex.split(command)[1:]
    if words[0].startswith("-"):
        assert words[0] in {"--help", "--version", "--install-completion", "--show-completion"}
        return
    assert words[0] in group.commands, command
    group.commands[words[0]].make_context(words[0], words[1:], resilient_parsing=False)


def external(target):
    """Whether a link out of the manual is well formed. Nothing is fetched: a test needs no network."""
    parts = urlsplit(target)
    return parts.scheme == "https" and "." in parts.netloc and not re.search(r"[<>{}\s]", target)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            assert external(target), f"{page.name} links to {target}"
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
