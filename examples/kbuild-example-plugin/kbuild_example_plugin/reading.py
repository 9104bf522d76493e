"""Makes the examples of the data source; imported when a training begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kbuild.spec.data import DataSettings
from kbuild.train.data.arrays import Raw, Split

RADII = {"narrow": (0.8, 1.0, 1.2), "wide": (0.5, 1.0, 1.5)}


def read_rings(data: DataSettings, folder: Path) -> Raw:
    """Points on three rings, a class each: x (rows, 2) float32, y (rows,) uint8. The same at every call."""
    radii = np.array(RADII[data.options.get("gap", "wide")])
    train, test = (_split(rows, radii, seed) for seed, rows in enumerate(data.source))
    return Raw("rings", train, test, classes={"": ("inner", "middle", "outer")})


def _split(rows: int, radii: np.ndarray, seed: int) -> Split:
    random = np.random.default_rng(seed)
    ring = np.arange(rows) % len(radii)
    angle, radius = random.uniform(0, 2 * np.pi, rows), radii[ring] + random.normal(0, 0.05, rows)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return Split({"": points.astype("float32")}, {"": ring.astype("uint8")})
