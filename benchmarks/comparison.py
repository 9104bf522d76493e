"""`make bench-peers`: the same job in other tools, measured in one run; writes the table of `docs/comparison.md`.

Every program of `benchmarks/peers` trains one network on MNIST and prints a line per epoch, each in its own way. Those
lines are timed from outside: the first is the first result, the distance of the first to the last gives the
throughput, so that start and tracing are excluded from it and included in the first.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT, Figures, Result, environment, in_turn
from benchmarks.report import table
from benchmarks.sections import find_mnist

PEERS = ROOT / "benchmarks/peers"
PYTHON = ROOT / ".venv-peers/bin/python"
PAGE = ROOT / "docs/comparison.md"

EPOCHS = 4
#: Trainable parameters of the one network.
PARAMETERS = 20_538


@dataclass(frozen=True)
class Peer:
    """One way to do the job.

    Attributes:
        name: in the table.
        file: in `benchmarks/peers`.
        package: whose version is shown.
        epoch: what a line at the end of an epoch matches.
        python: the interpreter of its environment.
        command: what runs it, for those that are no Python program.
    """

    name: str
    file: str
    package: str
    epoch: str = r"epoch \d+ loss "
    python: str | Path = PYTHON
    command: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """Lines with something on them, without comments and without the one that prints parameters for the check."""
        texts = map(str.strip, (PEERS / self.file).read_text("utf-8").splitlines())
        return sum(bool(text) and not text.startswith(("#", 'print("parameters"')) for text in texts)


KBUILD = Peer(
    "kbuild", "kbuild.yaml", "kbuild", r"epoch \d+/\d+ ", sys.executable, ("-m", "kbuild", "train", "--run-dir", "run")
)
ALL = (
    KBUILD,
    Peer("Keras by hand", "keras_by_hand.py", "keras", r"\d+/\d+ - .*loss", sys.executable),
    Peer("Ludwig", "ludwig_config.py", "ludwig", r"Running evaluation for step"),
    Peer("MONAI, `Convolution` with `ADN`", "monai_convolution.py", "monai"),
    Peer("mmcv, `ConvModule`", "mmcv_convmodule.py", "mmcv-lite"),
    Peer("fastai, `ConvLayer`", "fastai_convlayer.py", "fastai", r"\[\d+, "),
    Peer("timm, `ConvNormAct`", "timm_convnormact.py", "timm"),
)


def run(peer: Peer, archive: Path, epochs: int) -> Figures:
    """One run in a folder of its own.

    Returns:
        first: seconds from the start of the process to the end of the first epoch; rate: epochs per second after it;
        seconds: of the whole process; accuracy: on the test images.

    Raises:
        RuntimeError: it failed, or it is another network.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "mnist.npz").symlink_to(archive)
        (folder / peer.file).write_text((PEERS / peer.file).read_text("utf-8"), "utf-8")
        words = [*peer.command, peer.file, "--epochs"] if peer.command else [peer.file]
        command = [str(peer.python), "-u", *words, str(epochs)]
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        said = [(time.perf_counter() - begun, line) for line in process.stdout]
        seconds = (process.wait(), time.perf_counter() - begun)[1]
        text = "".join(line for _, line in said)
        if process.returncode:
            raise RuntimeError(f"{peer.file} ended with {process.returncode}:\n{text[-1500:]}")
        ends = [at for at, line in said if re.match(peer.epoch, line)]
        if len(ends) != epochs:
            raise RuntimeError(f"{peer.file}: {len(ends)} lines tell of the end of an epoch, {epochs} were trained")
        if (size := _parameters(peer, folder, text)) != PARAMETERS:
            raise RuntimeError(f"{peer.file} has {size} trainable parameters, not {PARAMETERS}: another network")
        rate = (epochs - 1) / (ends[-1] - ends[0]) if epochs > 1 else float("nan")
        accuracy = re.findall(r"^test .*?accuracy\s+([\d.]+)", text, re.M)[-1]
    return {"first": ends[0], "rate": rate, "seconds": seconds, "accuracy": float(accuracy)}


def _parameters(peer: Peer, folder: Path, text: str) -> int:
    if peer is KBUILD:
        text = (folder / "run/summary.txt").read_text("utf-8")
        return int(re.findall(r"([\d,]+) trainable", text)[0].replace(",", ""))
    return int(re.findall(r"^parameters (\d+)", text, re.M)[-1])


def version(peer: Peer) -> str:
    code = f"from importlib.metadata import version; print(version({peer.package!r}))"
    return subprocess.run([str(peer.python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def there() -> tuple[list[Peer], dict[str, str]]:
    """The tools that can be imported, and why the others cannot."""
    found, missing = [], {}
    for peer in ALL:
        if peer.command:
            found.append(peer)
            continue
        imports = "\n".join(re.findall(r"^(?:import|from) .*", (PEERS / peer.file).read_text("utf-8"), re.M))
        done = subprocess.run([str(peer.python), "-c", imports], capture_output=True, text=True, env=environment())
        if done.returncode:
            missing[peer.name] = (done.stderr.strip().splitlines() or ["no message"])[-1]
        else:
            found.append(peer)
    return found, missing


def measured(repetitions: int, rows: int, epochs: int) -> str:
    """The table, and what is left out."""
    shared = find_mnist()
    if shared is None:
        raise SystemExit("MNIST is neither shared with this checkout nor in Keras' cache")
    if not PYTHON.exists():
        raise SystemExit("there is no .venv-peers: `make bench-peers` makes it")
    peers, missing = there()
    with tempfile.TemporaryDirectory() as place:
        archive = shared.resolve()
        if rows < 60_000:
            archive = Path(place) / "part.npz"
            with np.load(shared) as whole:
                parts = {key: whole[key][:rows] for key in ("x_train", "y_train", "x_test", "y_test")}
            np.savez(archive, **parts)
        contestants: dict[str, Callable[[int], Figures]] = {
            peer.name: lambda _, peer=peer: run(peer, archive, epochs) for peer in peers
        }
        results = in_turn(contestants, repetitions)
    ours = results[KBUILD.name]
    lines = [_row(peer, results[peer.name], ours) for peer in peers]
    columns = ["tool", "version", "lines", "first result", "images per second", "whole job", "test accuracy"]
    text = (
        f"{epochs} epochs of {rows:,} images, medians of {repetitions} runs in turn on the same cores, kbuild = 1. The "
        "first result is the end of the first epoch, from the start of the process; images per second are those of the "
        "epochs after it; the whole job ends with the saved model, of kbuild with the proof that it predicts the same."
    )
    left = [f"{name} is left out: {why}." for name, why in missing.items()]
    return "\n\n".join([text, table(columns, lines), *left])


def _row(peer: Peer, result: Result, ours: Result) -> list[str]:
    def ratio(key: str) -> str:
        return f"{result.median(key) / ours.median(key):.2f}"

    accuracy = f"{100 * result.median('accuracy'):.2f} %"
    name = f"[{peer.name}](../benchmarks/peers/{peer.file})"
    return [name, version(peer), str(peer.lines), ratio("first"), ratio("rate"), ratio("seconds"), accuracy]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--rows", type=int, default=60_000, help="so many images of MNIST")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--print", action="store_true", help="print the table and leave the page as it is")
    given = parser.parse_args()
    made = measured(given.repetitions, given.rows, given.epochs)
    if given.print:
        print(made)
        return
    text = PAGE.read_text("utf-8")
    block = f"<!-- measured -->\n{made}\n<!-- end of measured -->"
    PAGE.write_text(re.sub(r"<!-- measured -->.*<!-- end of measured -->", lambda _: block, text, flags=re.S), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
