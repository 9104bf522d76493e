import sys
from functools import partial

import numpy as np
import torch
from timm.layers import ConvNormAct
from torch import nn

epochs = int(sys.argv[1])
data = np.load("mnist.npz")
x, x_test = (torch.from_numpy(data[key][:, None].astype("float32") / 255) for key in ("x_train", "x_test"))
y, y_test = (torch.from_numpy(data[key].astype("int64")) for key in ("y_train", "y_test"))

# The dropout stands between normalization and activation, the only place there is; behind ReLU it would do the same.
unit = partial(ConvNormAct, kernel_size=3, drop_layer=partial(nn.Dropout, 0.2))
pool = nn.MaxPool2d(2)
model = nn.Sequential(unit(1, 16), pool, unit(16, 32), pool, nn.Flatten(), nn.Linear(32 * 7 * 7, 10))
print("parameters", sum(weights.numel() for weights in model.parameters()))

optimizer = torch.optim.Adam(model.parameters())
for epoch in range(epochs):
    model.train()
    total = 0.0
    for index in torch.randperm(len(x)).split(128):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[index]), y[index])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(index)
    print("epoch", epoch + 1, "loss", total / len(x))
model.eval()
with torch.no_grad():
    right = torch.cat([model(part).argmax(1) for part in x_test.split(1000)]) == y_test
print("test accuracy", right.float().mean().item())
torch.save(model.state_dict(), "model.pt")
