"""Trials on a Ray cluster: the table that worker processes give, though a node is killed in the middle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kbuild.errors import InputError, WorkError
from kbuild.study.asked import Asked
from kbuild.study.cluster import Cluster
from kbuild.study.execute import execute
from kbuild.study.study import run_study
from tests.study.conftest import SPEC

ROOT = Path(__file__).parent.parent.parent
ASK = ("study", "spec.yaml", "--policies", "W-N-A-D,W-A", "--seeds", "3", "--epochs", "40", "--json")


def command(*words):
    return [sys.executable, "-m", "kbuild", *map(str, words)]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more}


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("trials/[!.]*.json"))]


def test_without_the_extra_it_says_what_to_install(spec_path, monkeypatch):
    pytest.importorskip("scipy")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"ray is missing: pip install 'kbuild\[cluster\]'"):
        run_study(spec_path, Asked(), executor="ray")


def test_an_address_where_no_cluster_is(begun, monkeypatch):
    pytest.importorskip("ray")
    folder, design = begun()
    with pytest.raises(InputError, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        execute(folder, design, Cluster(folder.path, 1, address="127.0.0.1:1"))


@pytest.fixture
def nodes(monkeypatch):
    """A cluster of two nodes on this machine, one core each."""
    pytest.importorskip("ray")
    pytest.importorskip("scipy")
    from ray.cluster_utils import Cluster as Nodes

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_a_node_killed_in_the_middle_changes_no_number(nodes, tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    calm = subprocess.run(
        command(*ASK, "--run-dir", "calm", "--quiet"), cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert calm.returncode == 0, calm.stderr
    words = command(*ASK, "--run-dir", "storm", "--executor", "ray")
    with subprocess.Popen(
        words,
        cwd=tmp_path,
        env=environment(RAY_ADDRESS=nodes.address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as study:
        end = time.monotonic() + 120
        while not records(tmp_path / "storm"):  # finished trials are on disk at once
            assert study.poll() is None and time.monotonic() < end
            os.sched_yield()
        nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
        said, told = study.communicate(timeout=120)
    assert study.returncode == 0, told
    again = [record for record in records(tmp_path / "storm") if record["attempts"] == 2]
    assert len(again) == 1 and "the worker or its node died" in again[0]["earlier"][0]
    assert "tried again" in told and len(told.splitlines()) == 1 + 6 + 1 + 1  # nothing of what Ray prints
    assert {**json.loads(said), "run_dir": ""} == {**json.loads(calm.stdout), "run_dir": ""}
    for name in ("results.csv", "results.json"):
        assert (tmp_path / "calm" / name).read_bytes() == (tmp_path / "storm" / name).read_bytes()


@pytest.mark.slow
def test_examples_travel_to_the_nodes(nodes, begun, spec_path, monkeypatch):
    data = spec_path.with_name("data.npz")
    data.write_bytes((ROOT / "kbuild/data/digits.npz").read_bytes())
    spec_path.write_text(SPEC.replace("data: digits", "data: {npz: data.npz}"), encoding="utf-8")
    folder, design = begun(seeds=(0,))

    class Moved(Cluster):
        """The file is gone before any node looks for it."""

        def start(self):
            data.unlink(missing_ok=True)
            return super().start()

    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    found = execute(folder, design, Moved(folder.path))
    assert [record.state for record in found.values()] == ["finished", "finished"]


def test_nodes_with_other_versions_are_refused(tmp_path):
    cluster = Cluster(tmp_path)
    cluster._check({"ready": True, "environment": {"python": "3.12.1", "versions": {"tensorflow": "2.20.0"}}})
    with pytest.raises(WorkError, match=r"nodes of the cluster differ.*: tensorflow 2\.20\.0 and 2\.21\.0$"):
        cluster._check({"ready": True, "environment": {"python": "3.12.1", "versions": {"tensorflow": "2.21.0"}}})
