"""The examples of a study in one process: read once, for all arms that read the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from kbuild.plan.losses import Target
from kbuild.plan.plan import Plan
from kbuild.plan.sameness import plain
from kbuild.spec.train import TrainSettings
from kbuild.train.data.arrays import Data
from kbuild.train.data.load import load_unsplit


class Shelf:
    """Examples by what was asked for.

    Args:
        known: examples that need not be read any more.
    """

    def __init__(self, known: dict[str, Data] | None = None):
        self.known = known or {}

    def take(self, settings: TrainSettings, plan: Plan, targets: Sequence[Target], folder: Path) -> Data:
        """What `kbuild.train.data.load.load_unsplit` gives; arms that differ in anything else share it."""
        inputs = [[layer.name, layer.config] for layer in plan.inputs]
        asked = json.dumps(plain([settings.data, settings.validation, inputs, targets]), sort_keys=True, default=str)
        if asked not in self.known:
            self.known[asked] = load_unsplit(settings, plan, targets, folder)
        return self.known[asked]
