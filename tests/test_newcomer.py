"""A newcomer's walk by the manual alone: every command of docs/start.md, in its order, in one folder.

The page promises a trained model, a study's report and a folded ONNX file; all of them are there at the end, and work.
"""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest

from .test_docs import ROOT, WALK, blocks, run_block, targets_exist


@pytest.mark.slow
def test_the_ten_minutes_end_where_they_say(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    steps = [block.values[0] for block in blocks("console", [WALK])]
    assert len(steps) >= 6
    for step in steps:
        run_block(step, tmp_path, timeout=900)

    report = (tmp_path / "runs/orders/report.html").read_text(encoding="utf-8")
    assert "W-A-D-N" in report and "val_accuracy" in report
    with open(tmp_path / "runs/orders/results.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 12

    digits = np.load(ROOT / "kbuild/data/digits.npz")
    images, labels = digits["x_test"].astype("float32"), digits["y_test"]
    session = onnxruntime.InferenceSession(str(tmp_path / "runs/first/export/model_folded.onnx"))
    (given,) = session.get_inputs()
    logits = session.run(None, {given.name: images.reshape(-1, 8, 8, 1)})[0]
    assert (logits.argmax(1) == labels).mean() > 0.5


def test_the_first_command_of_the_manual_is_one_of_the_makefile():
    text = WALK.read_text(encoding="utf-8")
    first = re.findall(r"^```sh\n(.*)$", text, re.M)[0]
    assert first.startswith("make ")
    targets_exist(first.partition("#")[0].strip())
