"""The repository as a product: the lock, the make targets, and the wheel outside the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from kbuild import __version__

ROOT = Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def tool_table() -> dict:
    if sys.version_info < (3, 11):
        import tomli as tomllib
    else:
        import tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def test_the_lock_holds_names_versions_and_markers_only() -> None:
    assert LOCK
    for line in LOCK:
        requirement = Requirement(line)
        assert requirement.url is None
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), line
        assert not re.search(r"[/@\\]", line), line


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_names_one_version_of_each_dependency_for_every_python(python: str) -> None:
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_python_implementation": "CPython",
    }
    locked: dict[str, str] = {}
    for requirement in map(Requirement, LOCK):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in locked, f"two versions of {requirement.name}"
            locked[requirement.name] = str(requirement.specifier)
    project = tool_table()
    wanted = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["report"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        version = locked[requirement.name.lower()].removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}"


def test_help_lists_every_target() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE))
    assert listed == make_targets() - {"broken"}
    assert {"setup", "train", "summarize", "test", "check", "bench", "clean", "help"} <= listed


def test_the_make_commands_of_the_documents_exist() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    code = re.compile(r"(?:^|`)make ([a-z][a-z-]*)", re.MULTILINE)
    named = {name: set(code.findall(name.read_text("utf-8"))) for name in documents}
    assert {"train", "test"} <= named[ROOT / "README.md"]
    assert set().union(*named.values()) <= make_targets()


def test_no_tracked_file_names_a_registry_or_this_checkout() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    registry = re.compile(
        rb"https?://[^\s\"']*(\.whl\b|/simple\b)|--(extra-)?index-url[ =]|(files\.pythonhosted|pypi)\.org"
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or path == Path(__file__):
            continue
        content = path.read_bytes()
        assert not registry.search(content), name
        assert f"{ROOT}/".encode() not in content, name


class TestSetup:
    """`make setup` with a stand-in for Python that notes what it is asked for and installs nothing."""

    STAND_IN = """#!/bin/sh
case "$1 $2" in
  "-c "*) exec "{python}" "$@" ;;
  "--version "*) echo "Python 3.12.0" ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo "venv" >> calls ;;
  "-m pip") echo "$*" >> calls ;;
  *) exit 99 ;;
esac
"""

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        """A checkout whose path has a space."""
        checkout = tmp_path / "my checkout"
        checkout.mkdir()
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, checkout)
        python = tmp_path / "python"
        python.write_text(self.STAND_IN.format(python=sys.executable), "utf-8")
        python.chmod(0o755)
        return checkout

    @staticmethod
    def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
        python = checkout.parent / "python"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        command = ["make", f"PYTHON={python}", *words]
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)

    @staticmethod
    def calls(checkout: Path) -> list[str]:
        """What was asked for since the last look."""
        noted = checkout / "calls"
        lines = noted.read_text("utf-8").splitlines() if noted.exists() else []
        noted.unlink(missing_ok=True)
        return lines

    def test_the_first_use_installs_the_lock_and_kbuild(self, checkout: Path) -> None:
        done = self.make(checkout, "-j2", "setup")
        assert done.returncode == 0, done.stderr
        venv, lock, kbuild = self.calls(checkout)
        assert venv == "venv"
        assert lock.endswith("-r requirements.lock")
        assert kbuild.endswith("--no-deps --no-build-isolation -e .")

    def test_the_second_use_installs_nothing(self, checkout: Path) -> None:
        self.make(checkout, "setup")
        self.calls(checkout)
        assert self.make(checkout, "setup").returncode == 0
        assert self.calls(checkout) == []

    def test_a_changed_lock_is_installed_into_the_same_environment(self, checkout: Path) -> None:
        self.make(checkout, "setup")
        self.calls(checkout)
        os.utime(checkout / "requirements.lock", (4e9, 4e9))
        assert self.make(checkout, "setup").returncode == 0
        assert [call.split()[1] for call in self.calls(checkout)] == ["pip", "pip"]

    @pytest.mark.parametrize("harm", ["half made", "python gone", "moved"])
    def test_a_broken_environment_is_made_again(self, checkout: Path, harm: str) -> None:
        self.make(checkout, "setup")
        self.calls(checkout)
        if harm == "half made":
            (checkout / ".venv/.installed").unlink()
        elif harm == "python gone":
            (checkout / ".venv/bin/python").unlink()
        else:
            checkout = checkout.rename(checkout.with_name("moved"))
        assert self.make(checkout, "setup").returncode == 0
        assert self.calls(checkout)[0] == "venv"

    def test_a_python_that_does_not_fit_is_refused_by_name(self, checkout: Path) -> None:
        python = checkout.parent / "python"
        python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n', "utf-8")
        done = self.make(checkout, "setup")
        assert done.returncode == 2
        assert "kbuild needs Python 3.10 to 3.13" in done.stderr
        assert "Python 3.9.1" in done.stderr
        assert not (checkout / ".venv").exists()


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel, and this environment's packages beside it."""
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "-qq", "--no-deps", "--no-build-isolation", "-w", str(place), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = place.glob("kbuild-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "env")], check=True)
    python = place / "env/bin/python"
    subprocess.run([*pip, "--python", str(python), "install", "-qq", "--no-deps", "--no-index", str(wheel)], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([str(python), "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    # A directory named in a .pth file has its own .pth files left alone, the editable kbuild's among them.
    beside = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site) / "beside.pth").write_text("\n".join(sorted(beside)), "utf-8")
    return python


@pytest.mark.slow
class TestWheel:
    """The built wheel, installed where no checkout is."""

    @staticmethod
    def run(tmp_path: Path, *command: str | Path) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shipped(self, tmp_path: Path, python: Path) -> Path:
        code = "from kbuild.resources import spec_path; print(spec_path('digits'))"
        return Path(self.run(tmp_path, python, "-c", code).strip())

    def test_it_is_found_inside_the_environment(self, tmp_path: Path, python: Path) -> None:
        assert self.shipped(tmp_path, python).is_relative_to(python.parent.parent)

    def test_the_command_and_the_module_run(self, tmp_path: Path, python: Path) -> None:
        assert __version__ in self.run(tmp_path, python.parent / "kbuild", "--version")
        spec = self.shipped(tmp_path, python)
        summary = json.loads(self.run(tmp_path, python, "-m", "kbuild", "summarize", spec, "--format", "json"))
        assert summary["name"] == "digits"
        assert summary["layers"][-1]["output_shape"] == [None, 10]

    def test_the_digits_are_inside(self, tmp_path: Path, python: Path) -> None:
        code = "import kbuild, pathlib; print(pathlib.Path(kbuild.__file__).parent / 'data' / 'digits.npz')"
        assert Path(self.run(tmp_path, python, "-c", code).strip()).read_bytes()[:2] == b"PK"

    def test_it_trains(self, tmp_path: Path, python: Path) -> None:
        spec = self.shipped(tmp_path, python)
        self.run(tmp_path, python.parent / "kbuild", "train", spec, "--epochs", "1", "--quiet")
        (saved,) = tmp_path.glob("runs/*/export/saved_model/saved_model.pb")
        assert saved.stat().st_size > 0
