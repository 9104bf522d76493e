"""`include`: blocks from files below the spec's folder, and from nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbuild.errors import SpecError
from kbuild.plan.pipeline import compile_spec, plan_spec
from kbuild.spec.load import load_spec, parse_spec

SPEC = """\
include: [blocks/pair.yaml]
vars: {width: 3}
input: {shape: [4]}
ordering: W-N-A
layers:
  - {use: pair, with: {units: 8}, name: first}
  - {use: own}
  - Dense: 2
blocks:
  own: {layers: [{use: pair, with: {units: =2*width}}]}
"""

PAIR = """\
blocks:
  pair:
    params: {units: required, act: relu}
    layers:
      - {Dense: {units: =units, activation: =act}, name: a}
      - {Dense: {units: =units + width, activation: =act}, name: b}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "pair.yaml").write_text(PAIR)
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    return path


def problems(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return [(problem.code, problem.message) for problem in caught.value.problems]


def test_included_blocks_use_vars_and_are_used_by_the_specs_own_blocks(spec: Path) -> None:
    _, plan = compile_spec(spec)
    units = {layer.name: layer.config["units"] for layer in plan.layers if layer.role == "W"}
    assert units == {"first_a": 8, "first_b": 11, "own1_pair1_a": 6, "own1_pair1_b": 9, "dense1": 2}


def test_places_and_reasons_name_the_included_file(spec: Path) -> None:
    _, plan = compile_spec(spec)
    layer = plan.layer("first_b")
    assert layer.source is not None
    assert (layer.source.file, layer.source.line) == (str(spec.parent / "blocks/pair.yaml"), 6)
    assert layer.because == f"weight layer written in line 6 of {spec.parent}/blocks/pair.yaml"
    assert plan.layer("dense1").because == "weight layer written in line 8"


def test_the_resolved_text_stands_alone(spec: Path) -> None:
    loaded = load_spec(spec)
    text = loaded.resolved_text()
    assert "include" not in text
    again = parse_spec(text)
    assert [(x.name, x.config) for x in plan_spec(again).layers] == [
        (x.name, x.config) for x in plan_spec(loaded).layers
    ]
    assert again.resolved_text() == text


def test_an_override_changes_an_included_block_or_includes_another(spec: Path) -> None:
    _, plan = compile_spec(spec, None, ["blocks.pair.params.act=elu"])
    assert "first_a_elu" in {layer.name for layer in plan.layers}
    (spec.parent / "more.yaml").write_text("blocks: {third: {layers: [{Dense: 7}]}}")
    _, plan = compile_spec(spec, None, ["include=more.yaml", "layers.1.use=third"])
    assert plan.layer("third1_dense1").config["units"] == 7


def test_without_own_blocks_and_with_one_file_as_a_word(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("blocks: {b: {layers: [{Dense: 7}]}}")
    (tmp_path / "s.yaml").write_text("include: b.yaml\ninput: {shape: [2]}\nlayers: [{use: b}, {Dense: 2}]")
    assert compile_spec(tmp_path / "s.yaml")[1].layer("b1_dense1").config["units"] == 7


@pytest.mark.parametrize("path", ["/etc/hostname", "../out.yaml", "a/../../out.yaml", "~/out.yaml", "c:\\out.yaml"])
def test_paths_that_lead_elsewhere_are_refused(spec: Path, path: str) -> None:
    (spec.parent.parent / "out.yaml").write_text(PAIR)
    spec.write_text(SPEC.replace("blocks/pair.yaml", f"'{path}'"))
    (problem,) = problems(spec)
    assert problem == ("file", f"`include` reads files below the spec's folder and no others, not {path!r}")


def test_links_that_lead_elsewhere_are_refused_and_others_followed(spec: Path, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.yaml"
    outside.write_text("a secret: in a line that no message may quote\n")
    link = spec.parent / "blocks" / "link.yaml"
    link.symlink_to(outside)
    spec.write_text(SPEC.replace("blocks/pair.yaml", "blocks/link.yaml"))
    with pytest.raises(SpecError) as caught:
        load_spec(spec)
    assert "'blocks/link.yaml' is a link that leads out of it" in str(caught.value)
    assert "a secret" not in str(caught.value)
    folder = spec.parent / "folder"
    folder.symlink_to(outside.parent, target_is_directory=True)
    spec.write_text(SPEC.replace("blocks/pair.yaml", "folder/secret.yaml"))
    assert problems(spec)[0][0] == "file"
    link.unlink()
    link.symlink_to("pair.yaml")
    spec.write_text(SPEC.replace("blocks/pair.yaml", "blocks/link.yaml"))
    compile_spec(spec)


def test_what_is_no_file_or_too_much_is_refused(spec: Path) -> None:
    import os

    os.mkfifo(spec.parent / "pipe.yaml")
    for path in ("pipe.yaml", "blocks", "nothing.yaml", '"a\\0b"'):
        spec.write_text(SPEC.replace("blocks/pair.yaml", path))
        assert problems(spec)[0][0] == "file"
    spec.write_text(SPEC.replace("blocks/pair.yaml", ", ".join(["blocks/pair.yaml"] * 40)))
    assert problems(spec)[0] == ("limit", "`include` names more files than the limit included-files (32)")


def test_the_same_block_or_file_twice_is_refused(spec: Path) -> None:
    (spec.parent / "again.yaml").write_text(PAIR)
    spec.write_text(SPEC.replace("[blocks/pair.yaml]", "[blocks/pair.yaml, again.yaml, ./blocks/pair.yaml]"))
    assert problems(spec) == [
        ("duplicate-name", "two blocks are named 'pair'"),
        ("duplicate-name", "'./blocks/pair.yaml' is included twice"),
    ]
