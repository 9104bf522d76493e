"""A training killed with SIGKILL, again and again, ends in the bytes of one that was never interrupted."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.train import killing


def chain(folder: Path, spec: Path, kills: int, seed: int, *options: str) -> tuple[Counter[str], list[Path]]:
    """Kill runs, one after the other, until there were so many kills; let the last one finish.

    Returns:
        Where the kills fell, and the directories of the finished runs.
    """
    dice, where, runs = random.Random(seed), Counter[str](), [folder / "killed-0"]
    while sum(where.values()) < kills:
        words = killing.command(spec, runs[-1], "--quiet", *options)
        hit = killing.kill_somewhere(words, runs[-1], dice)
        if hit:
            where[hit] += 1
        else:  # it was done before it could be killed
            runs.append(folder / f"killed-{len(runs)}")
    killing.finish(killing.command(spec, runs[-1], "--quiet", *options))
    return where, runs


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "options"), [(30, ["--deterministic"]), (3, [])], ids=["deterministic", "as-it-is"])
def test_killed_at_random_moments(tmp_path: Path, kills: int, options: list[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(killing.SPEC)
    killing.finish(killing.command(spec, tmp_path / "whole", "--quiet", *options))
    where, runs = chain(tmp_path, spec, kills, 7, *options)
    assert sum(where.values()) == kills
    if kills > 20:
        assert min(where["step"], where["write"]) >= 5, where
    for run in runs:
        killing.assert_same_runs(tmp_path / "whole", run, exact=bool(options))
        assert killing.leftovers(run) == []
