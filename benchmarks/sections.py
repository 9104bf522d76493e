"""What is measured: one function per section of the document, each taking the number of repetitions."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.checkpoints import checkpoints
from benchmarks.harness import BENCH_PYTHON, ROOT, Figures, Result, in_turn, process, worker
from benchmarks.linting import lint
from benchmarks.memory import memory
from benchmarks.report import claim, section, table
from benchmarks.studies import study
from benchmarks.tables import tables

PLANNED = (10, 100, 1_000, 10_000)

#: A CNN is slow; a part of MNIST shows as much.
CNN = ("--rows", 9_600, "--epochs", 4)


def find_mnist() -> Path | None:
    """An MNIST archive: the one shared with this checkout, or Keras' cache."""
    places = [ROOT.parent / "shared/data/mnist.npz", Path.home() / ".keras/datasets/mnist.npz"]
    return next((place for place in places if place.is_file()), None)


def commands(repetitions: int) -> str:
    """Whole processes of commands that need no TensorFlow."""
    with tempfile.TemporaryDirectory() as place:
        wrong = Path(place) / "wrong.yaml"
        wrong.write_text("input: {shape: [8]}\nlayers:\n  - Dence: 3\n  - Dense: 10\n", "utf-8")
        kbuild = [sys.executable, "-m", "kbuild"]
        contestants: dict[str, Callable[[int], Figures]] = {
            "import tensorflow": lambda _: process([sys.executable, "-c", "import tensorflow"], 0),
            "python -c pass": lambda _: process([sys.executable, "-c", "pass"], 0),
            "kbuild summarize": lambda _: process([*kbuild, "summarize", "specs/digits.yaml"], 0),
            "kbuild --help": lambda _: process([*kbuild, "--help"], 0),
            "kbuild policies": lambda _: process([*kbuild, "policies"], 0),
            "a spec error": lambda _: process([*kbuild, "summarize", str(wrong)], 2),
        }
        for run in contestants.values():  # byte code and the disk cache
            run(0)
        results = in_turn(contestants, repetitions)
    reference = results["import tensorflow"].median("seconds")
    rows = []
    for name, result in results.items():
        ratio = result.median("seconds") / reference
        promised = claim(ratio, 1 / 12, at_most=True) if name.startswith(("kbuild", "a spec")) else ""
        rows.append([f"`{name}`" if "spec error" not in name else name, f"{ratio:.3f}", f"1/{1 / ratio:.1f}", promised])
    text = 'Whole processes against `python -c "import tensorflow"`.'
    return section("Commands", text, table(["process", "time", "", "promised (1/12)"], rows))


def _training(contestants: dict[str, Callable[[int], Figures]], promised: dict[str, float], repetitions: int) -> str:
    results = in_turn(contestants, repetitions)
    ours = results["kbuild train"].median("images_per_second")
    rows = []
    for name, result in results.items():
        ratio = ours / result.median("images_per_second")
        rows.append(
            [
                name,
                f"{1 / ratio:.2f}",
                f"{ratio:.2f}",
                claim(ratio, promised[name], at_most=False) if name in promised else "",
                _accuracy(result),
            ]
        )
    columns = ["trainer", "images/s, kbuild = 1", "kbuild is faster by", "promised", "test accuracy, % (seeds)"]
    return table(columns, rows)


def _accuracy(result: Result) -> str:
    values = [100 * value for value in result.values("accuracy")]
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread} ({', '.join(f'{value:.2f}' for value in values)})"


def _run(name: str, *words: object, python: str | Path = sys.executable) -> Callable[[int], Figures]:
    """A training contestant; the repetition's number is the seed."""
    return lambda seed: worker(name, *words, "--seed", seed, python=python)


def mlp(repetitions: int) -> str:
    """Training `specs/mnist_mlp.yaml`."""
    title, data = "Training an MLP", find_mnist()
    if data is None:
        return section(title, "Skipped: MNIST is neither shared with this checkout nor in Keras' cache.")
    words = ("--model", "mlp", "--data", data)
    contestants = {
        "kbuild train": _run("kbuild_train", *words),
        "kbuild, 1 mirrored replica": _run("kbuild_train", *words, "--strategy", "mirrored:1"),
        "kbuild, 2 mirrored replicas": _run("kbuild_train", *words, "--strategy", "mirrored:2"),
        "Keras `fit` on NumPy arrays": _run("keras_fit", *words),
        "Keras `fit` on a `tf.data` pipeline": _run("keras_fit", *words, "--tf-data"),
        "bare compiled loop": _run("bare_loop", *words),
    }
    without = ""
    if BENCH_PYTHON.exists():
        contestants["PyTorch, eager"] = _run("torch_loop", *words, python=BENCH_PYTHON)
        torch = worker("torch_version", python=BENCH_PYTHON)["version"]
        without = f" PyTorch {torch}."
    else:
        without = " PyTorch is left out: it could not be installed into `.venv-bench`."
    promised = {"Keras `fit` on NumPy arrays": 1.5, "PyTorch, eager": 1.25, "bare compiled loop": 0.9}
    text = (
        "`specs/mnist_mlp.yaml` (784-512-256-10, W-N-A-D, batch 128, Adam) on all of MNIST, four epochs, through the "
        "trainer of `kbuild train` with its checkpoints and history. The bare loop is one `tf.function` that gathers, "
        "differentiates and applies for a whole epoch over resident tensors. Replicas are copies on the cores of one "
        f"CPU, where there is nothing to win: they show what sharing a batch costs.{without}"
    )
    return section(title, text, _training(contestants, promised, repetitions))


def cnn(repetitions: int) -> str:
    """Training `specs/mnist_cnn.yaml`."""
    title, data = "Training a CNN", find_mnist()
    if data is None:
        return section(title, "Skipped: MNIST is neither shared with this checkout nor in Keras' cache.")
    words = ("--model", "cnn", "--data", data, *CNN)
    contestants = {
        "kbuild train": _run("kbuild_train", *words),
        "kbuild, 1 mirrored replica": _run("kbuild_train", *words, "--strategy", "mirrored:1"),
        "kbuild, 2 mirrored replicas": _run("kbuild_train", *words, "--strategy", "mirrored:2"),
        "Keras `fit` on NumPy arrays": _run("keras_fit", *words),
        "Keras `fit` on a `tf.data` pipeline": _run("keras_fit", *words, "--tf-data"),
    }
    if BENCH_PYTHON.exists():
        contestants["PyTorch, eager"] = _run("torch_loop", *words, python=BENCH_PYTHON)
    text = (
        f"`specs/mnist_cnn.yaml` with momentum 0.9 on the first {CNN[1]} images of MNIST, four epochs. Convolutions "
        "take all the time."
    )
    return section(title, text, _training(contestants, {"Keras `fit` on NumPy arrays": 1.0}, repetitions))


def compiling(repetitions: int) -> str:
    """From a spec to a built model, and planning alone."""
    rows = []
    for name in ("mlp", "cnn"):
        result = in_turn({name: lambda _, name=name: worker("compile_time", name)}, repetitions)[name]
        ratio = result.median("kbuild") / result.median("keras")
        rows.append([f"`specs/mnist_{name}.yaml`", f"{ratio:.2f}", claim(ratio, 1.1, at_most=True)])
    built = table(["spec", "time, by hand in Keras = 1", "promised"], rows)

    runs: dict[str, Callable[[int], Figures]] = {str(n): lambda _, n=n: worker("planning", n) for n in PLANNED}
    results = in_turn(runs, repetitions)
    longest = results[str(PLANNED[-1])]
    rows = []
    for result in results.values():
        layers, seconds = result.median("layers"), result.median("seconds")
        each = (seconds / layers) / (longest.median("seconds") / longest.median("layers"))
        rows.append([f"{layers:,.0f}", f"{seconds / longest.median('seconds'):.4f}", f"{each:.2f}"])
    planned = table(["resolved layers", "time", "time per layer"], rows)
    seconds = longest.median("seconds")
    text = (
        "Reading, planning, building and checking a spec against the same model written by hand, in one process with "
        "TensorFlow loaded. Below it planning alone, which needs no TensorFlow, relative to the longest spec; that one "
        f"takes {seconds:.1f} s here ({claim(seconds, 2.0, at_most=True)})."
    )
    return section("Compiling", text, built, planned)


#: Spec → overrides, and processes per format: ResNet50 on small images, for the full size takes minutes a row.
EXPORTED: dict[str, tuple[tuple[str, ...], int]] = {
    "mnist_cnn": ((), 5),
    "zoo/resnet50": (("input.shape=[64, 64, 3]",), 2),
}
BATCHES = (1, 128)


def exporting(repetitions: int) -> str:
    """Latency and size of exported models, folded against not."""
    from kbuild.export.formats import FORMATS

    rows = []
    for spec, (overrides, most) in EXPORTED.items():
        with tempfile.TemporaryDirectory() as place:
            words = [word for override in overrides for word in ("--set", override)]
            sizes = worker("artifacts", f"specs/{spec}.yaml", place, *words)
            pairs = {name: (form.file_name(False), form.file_name(True)) for name, form in FORMATS.items()}
            pairs = {name: pair for name, pair in pairs.items() if pair[0] in sizes}
            contestants: dict[str, Callable[[int], Figures]] = {
                name: lambda _, name=name, pair=pair: worker(
                    "latency", name, *(Path(place) / one for one in pair), "--batch", *BATCHES
                )
                for name, pair in pairs.items()
            }
            for name, result in in_turn(contestants, min(repetitions, most)).items():
                plain, folded = pairs[name]
                for batch in map(str, BATCHES):
                    ratios, tested = result.values(batch), (spec, name) == ("mnist_cnn", "savedmodel")
                    ratio = statistics.median(ratios)
                    promise = claim(ratio, 1.1, at_most=False) if tested else ""
                    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                    size = f"{sizes[folded] / sizes[plain]:.3f}"
                    rows.append([f"`{spec}`", FORMATS[name].runtime, batch, f"{ratio:.2f}", spread, size, promise])
    text = (
        "An exported model with and without folding (`kbuild export --fold`), called in turn in one process: the "
        "median over pairs of calls, then over processes, whose range is given. Weights are untrained; ResNet50 on "
        "64×64 images. ONNX Runtime and LiteRT fold normalizations themselves when they convert or load a model, so "
        "there it changes little. Formats whose extra is not installed are left out."
    )
    columns = ["spec", "runtime", "batch", "folded is faster by", "range", "size, unfolded = 1", "promised"]
    return section("Export, folded against not", text, table(columns, rows))


SECTIONS: dict[str, Callable[[int], str]] = {
    "commands": commands,
    "mlp": mlp,
    "cnn": cnn,
    "table": tables,
    "checkpoints": checkpoints,
    "memory": memory,
    "compiling": compiling,
    "lint": lint,
    "exporting": exporting,
    "study": study,
}
