"""The limit: one `tf.function` that gathers, differentiates and applies for a whole epoch, tensors resident."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from benchmarks.reference import compiled
from benchmarks.workers.protocol import BATCH, Clock, read_task, report


def main() -> None:
    task = read_task()
    x, y, x_test, y_test = task.arrays()
    model = compiled(task.model, task.seed)
    optimizer = model.optimizer
    variables = model.trainable_variables
    optimizer.build(variables)
    images, labels = tf.constant(x), tf.constant(y)
    rows = len(x)

    @tf.function
    def epoch(order: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for start in tf.range(0, rows, BATCH):
            index = order[start : tf.minimum(start + BATCH, rows)]
            batch, target = tf.gather(images, index), tf.gather(labels, index)
            with tf.GradientTape() as tape:
                logits = model(tf.cast(batch, tf.float32), training=True)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits))
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss
        return total

    clock = Clock()
    random = np.random.default_rng(task.seed)
    for _ in range(task.epochs):
        epoch(tf.constant(random.permutation(rows), tf.int32)).numpy()
        clock.epoch_ended()
    accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0, return_dict=True)["accuracy"]
    report(images_per_second=clock.rate(rows), accuracy=accuracy)


if __name__ == "__main__":
    main()
