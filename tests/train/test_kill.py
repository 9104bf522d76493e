"""A training killed with SIGKILL, again and again, ends in the bytes of one that was never interrupted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.train import killing


def chain(
    folder: Path,
    spec: Path,
    kills: int,
    seed: int,
    *options: str,
    places: Sequence[str] = killing.PLACES,
    streamed: bool = False,
) -> tuple[Counter[str], list[Path]]:
    """Kill runs, one after the other, until there were so many kills; let the last one finish.

    Returns:
        Where the kills fell, and the directories of the finished runs.
    """
    dice, where, runs = random.Random(seed), Counter[str](), [folder / "killed-0"]
    while sum(where.values()) < kills:
        words = killing.command(spec, runs[-1], "--quiet", *options, streamed=streamed)
        hit = killing.kill_somewhere(words, runs[-1], dice, places)
        if hit:
            where[hit] += 1
        else:  # it was done before it could be killed
            runs.append(folder / f"killed-{len(runs)}")
    killing.finish(killing.command(spec, runs[-1], "--quiet", *options, streamed=streamed))
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "places", "streamed"),
    [
        pytest.param(killing.TABLE, ["learn", "step", "write"], False, id="table"),
        pytest.param(killing.TABLE, ["learn", "step", "write"], True, id="streamed-table"),
        pytest.param(killing.PARQUET, ["learn", "step", "write"], False, id="parquet"),
        pytest.param(killing.PARQUET, ["learn", "step", "write"], True, id="streamed-parquet"),
        pytest.param(killing.IMAGES, ["step", "write"], True, id="streamed-images"),
    ],
)
def test_killed_while_it_reads_files(tmp_path: Path, text: str, places: list[str], streamed: bool) -> None:
    """Also while layers learn from a table; what is streamed ends as what lay in memory and was never interrupted."""
    if text == killing.IMAGES:
        killing.write_images(tmp_path / "images")
    else:
        pytest.importorskip("pyarrow")
        write = killing.write_people if text == killing.TABLE else killing.write_parquet
        write(tmp_path / ("people.csv" if text == killing.TABLE else "people.parquet"))
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    killing.finish(killing.command(spec, tmp_path / "whole", "--quiet", "--deterministic"))
    where, runs = chain(tmp_path, spec, 6, 2, "--deterministic", places=places, streamed=streamed)
    assert set(where) == set(places), where
    for run in runs:
        killing.assert_same_runs(tmp_path / "whole", run)
        assert killing.leftovers(run) == []
