import sys

import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.layers import ConvLayer
from fastai.learner import Learner
from fastai.metrics import accuracy
from torch import nn

epochs = int(sys.argv[1])
data = np.load("mnist.npz")
x, x_test = (torch.from_numpy(data[key][:, None].astype("float32") / 255) for key in ("x_train", "x_test"))
y, y_test = (torch.from_numpy(data[key].astype("int64")) for key in ("y_train", "y_test"))


def unit(inputs: int, filters: int) -> list[nn.Module]:
    return [ConvLayer(inputs, filters, bn_1st=True, xtra=nn.Dropout(0.2)), nn.MaxPool2d(2)]


model = nn.Sequential(*unit(1, 16), *unit(16, 32), nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
print("parameters", sum(weights.numel() for weights in model.parameters()))

train = DataLoader(list(zip(x, y, strict=True)), bs=128, shuffle=True)
valid = DataLoader(list(zip(x_test, y_test, strict=True)), bs=1000)
learner = Learner(DataLoaders(train, valid), model, loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
learner.fit(epochs, lr=0.001)
print("test accuracy", learner.validate()[1])
learner.save("model")
