"""Loss and metrics over data with the model as it trains and as it predicts."""

from __future__ import annotations

from typing import Any

from kbuild.train.data.arrays import Split
from kbuild.train.loop import flat


def evaluate(model: Any, split: Split, outputs: list[str], training: bool, batch_size: int) -> dict[str, float]:
    """Loss and metrics of a compiled model.

    Args:
        outputs: names of the outputs, in the order of the model's.
        training: Dropout on and statistics of each batch, as in a training step; or Dropout off and moving ones.
            Moving statistics and seeds are put back.
        batch_size: rows per step, which batch statistics depend on.

    Returns:
        Metric name → value; "loss" among them, the mean over rows.
    """
    import tensorflow as tf

    before = [variable.numpy() for variable in model.non_trainable_variables]

    def step(x: Any, y: Any, weight: Any = None) -> Any:
        predicted = model(x, training=training)
        loss = model.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weight, training=training)
        return loss, model.compute_metrics(x, y, predicted, weight)

    run = tf.function(step, autograph=False, reduce_retracing=True)
    model.reset_metrics()
    total = 0.0
    try:
        for start in range(0, split.rows, batch_size):
            part = split.read(slice(start, start + batch_size))
            given = [tf.cast(tf.constant(part.x[t.name]), t.dtype) for t in model.inputs]
            wanted = [tf.constant(part.y[name]) for name in outputs]
            weight = [tf.constant(values) for values in (part.weight or {}).values()]
            sides = [side[0] if len(side) == 1 else side for side in (given, wanted, weight) if side]
            loss, _ = run(*sides)
            total += float(loss) * part.rows
        metrics = {name: float(value) for name, value in flat(model.get_metrics_result()).items()}
    finally:
        for variable, value in zip(model.non_trainable_variables, before, strict=True):
            variable.assign(value)
    return {**metrics, "loss": total / split.rows}
