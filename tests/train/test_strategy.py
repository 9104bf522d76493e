"""Replicas and workers: shares of a batch, settings, and trainings that end as those of one device do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbuild.errors import InputError, SpecError
from kbuild.plan.pipeline import plan_spec
from kbuild.spec.load import parse_spec
from kbuild.spec.strategy import Strategy, parse_strategy
from kbuild.train.checkpoint import values_of
from kbuild.train.evaluate import load_keras
from kbuild.train.prepare import prepare, train_settings
from kbuild.train.strategy import ONE, Replicas, _share, check_cluster, make_replicas
from tests.train import killing

LAYERS = """
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A-D, norm: {sync: true}, dropout: {rate: RATE}}
layers:
  - Rescaling: 0.0625
  - Conv2D: {filters: 4, kernel_size: 3, activation: relu}
  - Flatten
  - Dense: 10
train: {data: digits, loss: sparse_categorical_crossentropy, metrics: [accuracy], batch_size: 50, epochs: 3}
"""


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [7, 8, 50])
def test_shares_cover_a_batch_once_and_evenly(rows: int, parts: int) -> None:
    shares = [_share(10, 10 + rows, part, parts) for part in range(parts)]
    assert [row for low, high in shares for row in range(low, high)] == list(range(10, 10 + rows))
    lengths = [high - low for low, high in shares]
    assert max(lengths) - min(lengths) <= 1


def test_every_replica_has_a_row_of_a_batch_that_is_too_small() -> None:
    assert all(high - low == 1 and 3 <= low < 5 for low, high in (_share(3, 5, part, 4) for part in range(4)))


@pytest.mark.parametrize("rows", [4, 5, 33, 64, 65, 127])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_replica_is_without_a_row_in_an_evaluation(rows: int, count: int) -> None:
    size = Replicas(count=count).test_size(rows, 32)
    assert 1 <= size <= 32
    assert rows % size == 0 or rows % size >= count


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mirrored", Strategy("mirrored")),
        ("mirrored:2", Strategy("mirrored", 2)),
        ("multiworker", Strategy("multiworker")),
        ("none", None),
    ],
)
def test_strategies_are_written_alike_on_the_command_line_and_in_a_spec(text: str, found: Strategy | None) -> None:
    assert parse_strategy(text) == found
    spec = parse_spec(LAYERS.replace("RATE", "0").replace("epochs: 3", f'epochs: 3, strategy: "{text}"'))
    assert spec.train is not None and spec.train.strategy == found
    assert str(found or "none") == text


def test_a_number_of_replicas_as_a_mapping() -> None:
    spec = parse_spec(LAYERS.replace("RATE", "0").replace("epochs: 3", "epochs: 3, strategy: {mirrored: 4}"))
    assert spec.train is not None and spec.train.strategy == Strategy("mirrored", 4)


@pytest.mark.parametrize(
    "value", ["mirored", "mirrored:0", '"mirrored:"', "{mirrored: 0}", "{multiworker: 2}", "[1]", "3"]
)
def test_what_is_no_strategy_is_named(value: str) -> None:
    text = LAYERS.replace("RATE", "0").replace("epochs: 3", f"epochs: 3, strategy: {value}")
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    (problem,) = caught.value.problems
    assert problem.span is not None and "mirrored" in str(problem.message)


def test_synchronized_normalization_is_one_word() -> None:
    plan = plan_spec(parse_spec(LAYERS.replace("RATE", "0")))
    (norm,) = [layer for layer in plan.layers if layer.role == "N"]
    assert norm.config["synchronized"] is True


@pytest.mark.parametrize(
    "config",
    [
        None,
        "no json",
        "{}",
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": [], "task": 1}',
    ],
)
def test_a_cluster_that_tensorflow_could_not_form_is_refused(config: str | None, monkeypatch: Any) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match="TF_CONFIG"):
        check_cluster(Strategy("multiworker"))


def test_several_workers_need_a_directory_they_all_see(monkeypatch: Any) -> None:
    cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    assert check_cluster(Strategy("multiworker")) == (1, 2)
    with pytest.raises(InputError, match="--run-dir"):
        make_replicas(Strategy("multiworker"), 32, None)


@pytest.mark.parametrize("argument", ["gradient_accumulation_steps: 2", "use_ema: true, ema_overwrite_frequency: 3"])
def test_what_keras_cannot_do_on_replicas_is_refused(argument: str) -> None:
    optimizer = f"epochs: 3, optimizer: {{Adam: {{{argument}}}}}"
    spec = parse_spec(LAYERS.replace("RATE", "0").replace("epochs: 3", optimizer))
    for strategy in ("mirrored", "multiworker"):
        with pytest.raises(SpecError, match="does not work on replicas, and this is trained with") as caught:
            prepare(spec, plan_spec(spec), train_settings(spec, strategy=strategy))
        assert caught.value.problems[0].span is not None
    prepare(spec, plan_spec(spec), train_settings(spec))


def test_one_device_is_the_default() -> None:
    assert make_replicas(None, 32, None) is ONE
    assert ONE.chief and ONE.share(0, 5) == (0, 5) and ONE.run(lambda low, high: (low, high), 2, 5) == (2, 5)


# Real processes from here on: a strategy has to be the first thing that TensorFlow hears of.


def command(
    folder: Path,
    run: str,
    *more: str,
    config: dict[str, Any] | None = None,
    streamed: bool = False,
    out: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    env.pop("TF_CONFIG", None)
    if config is not None:
        env["TF_CONFIG"] = json.dumps(config)
    words = [*killing.kbuild(streamed), "train", "spec.yaml", "--run-dir", run, *more]
    return subprocess.Popen(words, cwd=folder, env=env, text=True, stdout=out, stderr=subprocess.STDOUT)


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return said


def history(run: Path) -> list[list[float]]:
    return [[float(value) for value in line.split(",")] for line in (run / "history.csv").read_text().splitlines()[1:]]


def state(run: Path) -> dict[str, bytes]:
    path = run / "checkpoints" / "last" / "state.npz"
    return {
        f"{group} {n}": v.tobytes()
        for group in ("model", "optimizer")
        for n, (_, v) in enumerate(values_of(path, group))
    }


def cluster() -> list[dict[str, Any]]:
    """TF_CONFIG of two workers on ports that are free now."""
    held = [socket.socket() for _ in range(2)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in held]
    for one in held:
        one.close()
    return [{"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}} for index in range(2)]


@pytest.mark.slow
def test_two_replicas_train_as_one_does(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(LAYERS.replace("RATE", "0"))
    for kind in ("none", "mirrored:2"):
        finished(command(tmp_path, kind[-1], "--strategy", kind, "--quiet"))
    one, two = history(tmp_path / "e"), history(tmp_path / "2")
    assert [row[0] for row in two] == [1, 2, 3]
    for a, b in zip(one, two, strict=True):
        assert a == pytest.approx(b, rel=2e-3, abs=2e-3)
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text())["metrics"] for run in ("e", "2")]
    assert metrics[0]["test"]["loss"] == pytest.approx(metrics[1]["test"]["loss"], rel=2e-3)


@pytest.mark.slow
def test_a_batch_that_replicas_cannot_share_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(LAYERS.replace("RATE", "0"))
    process = command(tmp_path, "run", "--strategy", "mirrored:3")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and "--batch-size 51" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_worker_that_waits_for_others_says_so_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(LAYERS.replace("RATE", "0"))
    worker = command(tmp_path, "run", "--strategy", "multiworker", config=cluster()[1])
    assert worker.stdout is not None
    try:
        lines = iter(worker.stdout.readline, "")
        assert any("worker 1 waits until all 2 workers of TF_CONFIG are there" in line for line in lines)
        with pytest.raises(subprocess.TimeoutExpired):  # it is in TensorFlow now, which calls no handlers of Python
            worker.wait(2)
        worker.send_signal(signal.SIGINT)
        assert worker.wait(60) == -signal.SIGINT
    finally:
        worker.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        (("--set", "layers.3.Dense=11"), "the model:"),
        (("--epochs", "2"), "the settings:"),
        (("--set", "train.validation=0.2"), "the rows to train on, the rows to validate on,"),
        (("--set", "train.data={npz: 1.npz}"), "what the first or the last row to train on holds:"),
    ],
)
def test_workers_that_train_something_else_are_told(tmp_path: Path, changes: tuple[str, ...], differ: str) -> None:
    (tmp_path / "spec.yaml").write_text(LAYERS.replace("RATE", "0").replace("data: digits", "data: {npz: 0.npz}"))
    for seed in range(2):
        draw = np.random.default_rng(seed)
        x, y = draw.normal(size=(200, 8, 8, 1)), draw.integers(10, size=200)
        np.savez(tmp_path / f"{seed}.npz", x_train=x, y_train=y)
    workers = [
        command(tmp_path, "run", "--strategy", "multiworker", "--quiet", *more, config=config)
        for more, config in zip(((), changes), cluster(), strict=True)
    ]
    try:
        for worker in workers:
            said, _ = worker.communicate(timeout=120)
            assert f"error: the workers do not train the same, but differ in {differ}" in said
            assert worker.returncode == 2
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_two_workers_end_as_two_replicas_do_though_one_is_killed(tmp_path: Path, lost: int) -> None:
    (tmp_path / "spec.yaml").write_text(LAYERS.replace("RATE", "0.2"))
    more = ("--epochs", "60", "--quiet")
    configs = cluster()
    workers = [command(tmp_path, "run", *more, "--strategy", "multiworker", config=config) for config in configs]
    begun = time.monotonic()
    while not (tmp_path / "run" / "checkpoints" / "last" / "state.npz").exists():
        assert all(worker.poll() is None for worker in workers), [worker.communicate() for worker in workers]
        assert time.monotonic() < begun + 300
        time.sleep(0.05)
    assert len(history(tmp_path / "run")) < 60
    workers[lost].kill()
    workers[lost].communicate()
    workers[lost] = command(tmp_path, "run", *more, "--strategy", "multiworker", "--resume", config=configs[lost])
    said = [finished(worker) for worker in workers]
    assert "another worker is gone" in said[1 - lost]
    assert "worker 0 writes the run" in said[1]
    finished(command(tmp_path, "mirrored", *more, "--strategy", "mirrored:2"))
    assert [row[:3] for row in history(tmp_path / "run")] == [row[:3] for row in history(tmp_path / "mirrored")]
    assert state(tmp_path / "run") == state(tmp_path / "mirrored")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals of this kind here")
def test_a_worker_on_a_terminal_shows_how_far_it_is(tmp_path: Path) -> None:
    """What is shown within an epoch is not read from the other workers, who show nothing."""
    (tmp_path / "spec.yaml").write_text(LAYERS.replace("RATE", "0"))
    main, terminal = os.openpty()
    first, second = cluster()
    chief = command(tmp_path, "run", "--strategy", "multiworker", config=first, out=terminal)
    os.close(terminal)
    other = command(tmp_path, "run", "--strategy", "multiworker", config=second)
    shown = b""
    with suppress(OSError):  # the terminal is gone when its process is
        while part := os.read(main, 65_536):
            shown += part
    os.close(main)
    try:
        assert chief.wait(500) == 0, shown
        finished(other)
    finally:
        other.kill()
    assert "epoch 3/3" in shown.decode() and "proven in a clean process" in shown.decode()


@pytest.mark.slow
@pytest.mark.parametrize("streamed", [False, True], ids=["resident", "streamed"])
def test_workers_and_replicas_learn_the_same_from_a_table(tmp_path: Path, streamed: bool) -> None:
    """Every worker learns vocabularies, means and variances, and gradients are clipped as those of one device."""
    pytest.importorskip("pyarrow")
    killing.write_people(tmp_path / "people.csv", 3_000)
    text = killing.TABLE.replace(", gradient_accumulation_steps: 3", "").replace("mixed_bfloat16", "float32")
    text = text.replace("dropout: 0.1", "dropout: 0, norm: {sync: true}").replace("epochs: 10", "epochs: 3")
    (tmp_path / "spec.yaml").write_text(text)
    runs = [("one", "none", None), ("mirrored", "mirrored:2", None)]
    runs += [("workers", "multiworker", config) for config in cluster()]
    done = [
        command(tmp_path, run, "--quiet", "--strategy", kind, config=config, streamed=streamed)
        for run, kind, config in runs
    ]
    for process in done:
        finished(process)
    one, two, workers = (tmp_path / run for run in ("one", "mirrored", "workers"))
    assert history(workers) == history(two)
    assert state(workers) == state(two)
    for a, b in zip(history(one), history(two), strict=True):
        assert a == pytest.approx(b, rel=2e-3, abs=2e-3)
    learnt = [load_keras(run / "checkpoints" / "best.keras") for run in (one, two, workers)]
    for name, words in (("cities", 30), ("words", 90)):
        (first, *others) = [model.get_layer(name).get_vocabulary() for model in learnt]
        assert others == [first, first] and len(first) == words
