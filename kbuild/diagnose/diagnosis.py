"""`kbuild diagnose`: a run's normalizations before and after recalibration, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kbuild.diagnose.modes import evaluate
from kbuild.diagnose.predicted import Predicted, predict
from kbuild.diagnose.statistics import Array, Moments, batch_norms, input_moments, measure, quotients, recalibrate
from kbuild.errors import InputError
from kbuild.lint.statistics import converged, starting_share
from kbuild.lint.view import View
from kbuild.plan.plan import Plan
from kbuild.train.data.arrays import Data, Split

#: A γ below this share of the layer's largest is near zero: its channel hardly counts.
NEAR_ZERO = 0.01


@dataclass(frozen=True)
class Norm:
    """One batch normalization.

    Attributes:
        name: the layer; `unit` is the weight layer it belongs to, or None.
        channels: their number.
        ratio: median over the channels of max(real/moving, moving/real) of the variance (Li et al. 2019, section 4),
            for channels that hardly ever fire would decide a mean; `mean_ratio` is that mean.
        largest: the largest of them.
        shift: median over the channels of real variance / moving variance, to set beside Δ.
        mean_shift: mean over the channels of |real mean − moving mean| / moving standard deviation.
        remaining: momentum^steps, the share of their starting values that the moving statistics still hold.
        converged: whether that is little enough, as the lint says it.
        small_gamma: channels with γ near zero.
        dead: channels whose activation (or, without one, whose input) never varies over the data.
        predicted: what the dropout upstream makes one expect, or None.
        moving_mean, moving_variance, real_mean, real_variance: per channel.
    """

    name: str
    unit: str | None
    channels: int
    ratio: float
    mean_ratio: float
    largest: float
    shift: float
    mean_shift: float
    remaining: float
    converged: bool
    small_gamma: int
    dead: int
    predicted: Predicted | None
    moving_mean: tuple[float, ...]
    moving_variance: tuple[float, ...]
    real_mean: tuple[float, ...]
    real_variance: tuple[float, ...]


@dataclass(frozen=True)
class Diagnosis:
    """What was measured.

    Attributes:
        run: the run's directory; `name` and `order` are the model's.
        rows: training examples that statistics were taken over.
        steps: optimizer steps of the training.
        before, after: the normalizations as they are, and after recalibration.
        metrics: "training" (training data, as it trains), "inference" (training data, as it predicts), and the held-out
            split by its name; each → metric → value. `metrics_after` the same after recalibration.
        held_out: the name of the held-out split, or None.
        augmented: whether the training saw augmented data, which are not repeated here.
    """

    run: str
    name: str
    order: str
    rows: int
    steps: int
    before: tuple[Norm, ...]
    after: tuple[Norm, ...]
    metrics: dict[str, dict[str, float]]
    metrics_after: dict[str, dict[str, float]]
    held_out: str | None
    augmented: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON data, with the paragraph in words."""
        from kbuild.diagnose.words import paragraph

        return {**asdict(self), "summary": paragraph(self)}


def diagnose(run_dir: str | Path, rows: int | None = None) -> tuple[Diagnosis, Any]:
    """Measure a run's exported model over its training data.

    Args:
        rows: at most so many training examples, spread evenly; all by default.

    Returns:
        The diagnosis, and the recalibrated Keras model.

    Raises:
        InputError: not a run, or a model without batch normalization.
    """
    from kbuild.export.source import complete_plan, final_model
    from kbuild.train.compile import compile_model
    from kbuild.train.data.load import load_data
    from kbuild.train.evaluate import read_run

    run = read_run(run_dir)
    plan = complete_plan(run)
    if not any(layer.cls == "BatchNormalization" for layer in plan.layers):
        raise InputError(f"{run_dir} holds a model without batch normalization: there are no statistics to look at")
    data = load_data(run.settings, run.plan, run.targets, run.folder, run.settings.seed)
    model = final_model(run, plan)
    compile_model(model, run.settings, plan, run.targets)
    train = data.train if rows is None or rows >= data.train.rows else data.train.take(_spread(data.train.rows, rows))
    epochs = _epochs(run.files.path, run.settings.epochs)
    steps = epochs * -(-data.train.rows // run.settings.batch_size)
    outputs = list(plan.outputs)

    def scores() -> dict[str, dict[str, float]]:
        size = run.settings.batch_size
        found = {
            "training": evaluate(model, train, outputs, True, size),
            "inference": evaluate(model, train, outputs, False, size),
        }
        held = _held_out(data)
        return found if held is None else {**found, held[0]: evaluate(model, held[1], outputs, False, size)}

    before, metrics = examine(model, plan, train, steps), scores()
    recalibrate(model, train.x)
    after, metrics_after = examine(model, plan, train, steps), scores()
    held = _held_out(data)
    made = Diagnosis(
        str(run_dir),
        plan.name,
        plan.order,
        train.rows,
        steps,
        before,
        after,
        metrics,
        metrics_after,
        held[0] if held else None,
        bool(run.settings.augment),
    )
    return made, model


def _spread(rows: int, count: int) -> Array:
    return np.linspace(0, rows - 1, max(1, count)).astype(int)


def _held_out(data: Data) -> tuple[str, Split] | None:
    """Validation data where there are some: a diagnosis is no reason to look at the test data."""
    return ("validation", data.validation) if data.validation else ("test", data.test) if data.test else None


def _epochs(path: Path, planned: int) -> int:
    from kbuild.train.rundir import read_json

    epochs = read_json(path / "metrics.json").get("epochs")
    return int(epochs) if isinstance(epochs, int) else planned


def examine(model: Any, plan: Plan, split: Split, steps: int) -> tuple[Norm, ...]:
    """Every batch normalization of a model over data, in inference mode."""
    norms = batch_norms(model)
    moments = input_moments(model, norms, split.x)
    view = View(plan)
    acts = _activations(plan)
    taps = {
        name: (model.get_layer(act).output, norm.axis) for name, act in acts.items() if (norm := model.get_layer(name))
    }
    active = measure(model, taps, split.x)
    return tuple(_norm(norm, moments[norm.name], active.get(norm.name), view, steps) for norm in norms)


def _activations(plan: Plan) -> dict[str, str]:
    """Normalization → the activation of its unit, where its channels are those of the normalization."""
    found = {}
    for unit in plan.units:
        if {"N", "A"} <= set(unit.layers) and plan.layer(unit.layers["N"]).cls == "BatchNormalization":
            norm, act = plan.layer(unit.layers["N"]), plan.layer(unit.layers["A"])
            if norm.output_shape == act.output_shape:
                found[norm.name] = act.name
    return found


def _norm(layer: Any, real: Moments, active: Moments | None, view: View, steps: int) -> Norm:
    mean, variance = (np.asarray(value, "float64") for value in (layer.moving_mean, layer.moving_variance))
    quotient = quotients(layer, real)
    ratios = np.maximum(quotient, 1 / quotient)
    gamma = np.abs(np.asarray(layer.gamma)) if layer.scale else None
    seen = active or real
    planned = view.layers[layer.name]
    return Norm(
        name=layer.name,
        unit=planned.unit,
        channels=len(mean),
        ratio=float(np.median(ratios)) if ratios.size else 1.0,
        mean_ratio=float(ratios.mean()) if ratios.size else 1.0,
        largest=float(ratios.max()) if ratios.size else 1.0,
        shift=float(np.median(quotient)) if ratios.size else 1.0,
        mean_shift=float(np.mean(np.abs(real.mean - mean) / np.sqrt(variance + layer.epsilon))),
        remaining=starting_share(float(layer.momentum), steps),
        converged=converged(float(layer.momentum), steps),
        small_gamma=0 if gamma is None else int(np.sum(gamma < NEAR_ZERO * gamma.max())),
        dead=int(np.sum(seen.high <= seen.low)),
        predicted=predict(view, planned),
        moving_mean=tuple(map(float, mean)),
        moving_variance=tuple(map(float, variance)),
        real_mean=tuple(map(float, real.mean)),
        real_variance=tuple(map(float, real.variance)),
    )
