"""Plain Keras: `model.fit` on NumPy arrays, or on the `tf.data` pipeline that its guides write."""

from __future__ import annotations

import keras
import tensorflow as tf

from benchmarks.reference import compiled
from benchmarks.workers.protocol import BATCH, Clock, read_task, report


def main() -> None:
    task = read_task()
    x, y, x_test, y_test = task.arrays()
    model = compiled(task.model, task.seed)
    clock = Clock()
    tick = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clock.epoch_ended())
    if task.tf_data:
        examples = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), task.seed).batch(BATCH)
        model.fit(examples.prefetch(tf.data.AUTOTUNE), epochs=task.epochs, verbose=0, callbacks=[tick])
    else:
        model.fit(x, y, batch_size=BATCH, epochs=task.epochs, verbose=0, callbacks=[tick])
    accuracy = model.evaluate(x_test, y_test, batch_size=1000, verbose=0, return_dict=True)["accuracy"]
    report(images_per_second=clock.rate(len(x)), accuracy=accuracy)


if __name__ == "__main__":
    main()
