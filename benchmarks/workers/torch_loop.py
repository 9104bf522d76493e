"""PyTorch, eager, with resident tensors; Keras' initialization, momentum and epsilons: the same mathematics."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.workers.protocol import BATCH, LEARNING_RATE, Clock, read_task, report


def mlp() -> nn.Sequential:
    """784-512-256-10, W-N-A-D, dropout 0.2."""
    parts: list[nn.Module] = [nn.Flatten()]
    width = 784
    for units in (512, 256):
        norm = nn.BatchNorm1d(units, eps=1e-3, momentum=0.01)
        parts += [nn.Linear(width, units, bias=False), norm, nn.ReLU(), nn.Dropout(0.2)]
        width = units
    return as_keras(nn.Sequential(*parts, nn.Linear(width, 10)))


def cnn() -> nn.Sequential:
    """Four convolutions and two Linear, W-N-A, dropout 0.5 behind the first Linear."""
    parts: list[nn.Module] = []
    width = 1
    for filters in (32, 64):
        for _ in range(2):
            norm = nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1)
            parts += [nn.Conv2d(width, filters, 3, padding="same", bias=False), norm, nn.ReLU()]
            width = filters
        parts.append(nn.MaxPool2d(2))
    norm = nn.BatchNorm1d(128, eps=1e-3, momentum=0.1)
    parts += [nn.Flatten(), nn.Linear(7 * 7 * width, 128, bias=False), norm, nn.ReLU(), nn.Dropout(0.5)]
    return as_keras(nn.Sequential(*parts, nn.Linear(128, 10)))


def as_keras(model: nn.Sequential) -> nn.Sequential:
    """The model with Keras' initial weights."""
    for part in model:
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return model


def main() -> None:
    task = read_task()
    torch.manual_seed(task.seed)
    images, labels, test_images, test_labels = (torch.from_numpy(array) for array in task.arrays())
    labels, test_labels = labels.long(), test_labels.long()
    if task.model == "cnn":
        images, test_images = (one.permute(0, 3, 1, 2).contiguous() for one in (images, test_images))
    model = {"mlp": mlp, "cnn": cnn}[task.model]()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=1e-7)
    loss_of = nn.CrossEntropyLoss()
    clock = Clock()
    model.train()
    for _ in range(task.epochs):
        for index in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(images[index].float() / 255), labels[index])
            loss.backward()
            optimizer.step()
        clock.epoch_ended()
    model.eval()
    with torch.no_grad():
        answers = [model(part.float() / 255).argmax(1) for part in test_images.split(1000)]
    right = torch.cat(answers) == test_labels
    report(images_per_second=clock.rate(len(images)), accuracy=right.float().mean().item())


if __name__ == "__main__":
    main()
