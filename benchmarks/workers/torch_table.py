"""PyTorch, eager, on `train.csv` of a folder: rows normalized and encoded beforehand, for it has no layers that do."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.tables import CATEGORIES, CLASSES, NUMBERS, TARGET
from benchmarks.workers.protocol import BATCH, LEARNING_RATE, Clock, report
from benchmarks.workers.torch_loop import as_keras


def read(path: Path) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Numbers (rows, columns), one-hot categories (rows, values), classes."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    numbers = np.array([[float(row[name]) for name in NUMBERS] for row in rows], "float32")
    encoded = []
    for name, values in CATEGORIES.items():
        code = {value: at for at, value in enumerate(values, 1)}  # 0 is for texts that are not known
        encoded.append(np.eye(len(values) + 1, dtype="float32")[[code.get(row[name], 0) for row in rows]])
    return numbers, np.concatenate(encoded, 1), torch.tensor([CLASSES.index(row[TARGET]) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    task = parser.parse_args()
    torch.manual_seed(task.seed)
    numbers, codes, y = read(task.folder / "train.csv")
    mean, deviation = numbers.mean(0), numbers.std(0)
    x = torch.from_numpy(np.concatenate([(numbers - mean) / deviation, codes], 1))
    parts: list[nn.Module] = []
    width = x.shape[1]
    for units in (128, 64):
        norm = nn.BatchNorm1d(units, eps=1e-3, momentum=0.01)
        parts += [nn.Linear(width, units, bias=False), norm, nn.ReLU(), nn.Dropout(0.1)]
        width = units
    model = as_keras(nn.Sequential(*parts, nn.Linear(width, 2)))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=1e-7)
    loss_of = nn.CrossEntropyLoss()
    clock = Clock()
    model.train()
    for _ in range(task.epochs):
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(x[index]), y[index])
            loss.backward()
            optimizer.step()
        clock.epoch_ended()
    model.eval()
    numbers, codes, y_test = read(task.folder / "test.csv")
    with torch.no_grad():
        right = model(torch.from_numpy(np.concatenate([(numbers - mean) / deviation, codes], 1))).argmax(1) == y_test
    report(rows_per_second=clock.rate(len(x)), accuracy=right.float().mean().item())


if __name__ == "__main__":
    main()
