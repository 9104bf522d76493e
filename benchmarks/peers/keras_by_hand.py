import sys

import keras
import numpy as np
from keras import layers

epochs = int(sys.argv[1])
data = np.load("mnist.npz")

model = keras.Sequential([keras.Input((28, 28, 1)), layers.Rescaling(1 / 255)])
for filters in (16, 32):
    model.add(layers.Conv2D(filters, 3, padding="same", use_bias=False))
    model.add(layers.BatchNormalization())
    model.add(layers.ReLU())
    model.add(layers.Dropout(0.2))
    model.add(layers.MaxPooling2D())
model.add(layers.Flatten())
model.add(layers.Dense(10))
print("parameters", sum(weights.size for weights in map(np.asarray, model.trainable_weights)))

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
model.fit(data["x_train"][..., None], data["y_train"], batch_size=128, epochs=epochs, verbose=2)
_, accuracy = model.evaluate(data["x_test"][..., None], data["y_test"], batch_size=1000, verbose=0)
print("test accuracy", accuracy)
model.export("saved_model", verbose=False)
