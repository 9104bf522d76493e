"""What a study compares, fixed before anything runs: arms × seeds, the baseline, the metric. No TensorFlow.

An *arm* (the word of trials) is a policy, at one point of the grid where there is one. Arms that resolve to the same
model are run once.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import yaml

from kbuild.errors import InputError, listing, suggest
from kbuild.spec.model import Spec
from kbuild.spec.train import TrainSettings
from kbuild.train.prepare import train_settings

#: Version of `study.yaml`.
FORMAT = 1
#: Metrics of which less is better; a metric that is not known otherwise grows.
_FALLING = (
    "loss", "error", "crossentropy", "hinge", "divergence", "mse", "mae", "mape", "msle", "falsepositives",
    "falsenegatives", "poisson", "logcosh", "huber",
)  # fmt: skip
#: How metrics end of which more is better, whatever the output before that is called.
_RISING = ("accuracy", "auc", "precision", "recall", "score", "iou", "similarity", "truepositives", "truenegatives")
DIRECTIONS = ("max", "min")
#: Letters of a label that name a trial's file; file systems take 255 bytes.
_LONGEST = 100


@dataclass(frozen=True)
class Arm:
    """One thing that is compared.

    Attributes:
        label: what tables call it: a policy's name or an order, and the point of the grid.
        ordering: as `--ordering` takes it; None for the spec's own.
        overrides: the point of the grid, as `--set` takes it.
        order: the order in force, `W-N-A-D`.
        fingerprint: of `kbuild.plan.sameness`.
        same_as: the label of the arm that is the same model and is run in its stead, or None.
    """

    label: str
    ordering: str | None
    overrides: tuple[str, ...] = ()
    order: str = ""
    fingerprint: str = ""
    same_as: str | None = None

    @property
    def slug(self) -> str:
        """The label as a part of a file's name: short, and another one for every label.

        >>> Arm("W-A rate=0.1", "W-A").slug, Arm("W-A size=[3, 5]", "W-A").slug
        ('W-A_rate=0.1', 'W-A_size=_3_5_-ac11e291')
        """
        plain = re.sub(r"[^\w.=-]+", "_", self.label, flags=re.ASCII)
        if plain == self.label.replace(" ", "_") and len(plain) <= _LONGEST:
            return plain
        return f"{plain[:_LONGEST]}-{hashlib.sha256(self.label.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: str
    slug: str
    seed: int

    @property
    def id(self) -> str:
        return f"{self.slug}-seed{self.seed}"


def trial_settings(spec: Spec, epochs: int | None = None, batch_size: int | None = None) -> TrainSettings:
    """The spec's settings for one trial: one copy of the model on one core, whatever `train.strategy` says.

    Raises:
        SpecError: as `train_settings`.
    """
    return replace(train_settings(spec, epochs, batch_size), strategy=None)


@dataclass(frozen=True)
class Design:
    """A study before it runs; `study.yaml` holds it.

    Attributes:
        name: of the study; the model's unless given.
        arms: in the order of the tables.
        seeds: paired: the same seed gives every arm the same data order, split and initial weights.
        baseline: the label of the arm that the others are compared with.
        metric: what decides, measured on validation data.
        direction: "max" or "min": which way is better.
        epochs, batch_size: instead of the spec's, or None.
        alpha: the rate of false alarms over all comparisons.
        target: the value of `metric` whose first epoch is asked for; None for the median of the baseline's last epochs.
        notes: what was found about the arms: the same model twice, orders that commute.
    """

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    baseline: str
    metric: str
    direction: str
    epochs: int | None = None
    batch_size: int | None = None
    alpha: float = 0.05
    target: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def distinct(self) -> tuple[Arm, ...]:
        """The arms that are run."""
        return tuple(arm for arm in self.arms if arm.same_as is None)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, arm by arm."""
        return tuple(Trial(arm.label, arm.slug, seed) for arm in self.distinct for seed in self.seeds)

    @property
    def comparisons(self) -> int:
        """Arms that are compared with the baseline."""
        return len(self.distinct) - 1

    def arm(self, label: str) -> Arm:
        """The arm of that label."""
        return next(arm for arm in self.arms if arm.label == label)

    def settings(self, spec: Spec) -> TrainSettings:
        """How the trials of an arm train, from its spec."""
        return trial_settings(spec, self.epochs, self.batch_size)

    def to_yaml(self) -> str:
        data = {"kbuild_study": FORMAT, **asdict(self)}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
        plain["arms"] = [{**arm, "overrides": list(arm["overrides"])} for arm in data["arms"]]
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110))

    @classmethod
    def from_yaml(cls, text: str) -> Design:
        """The inverse of `to_yaml`.

        Raises:
            InputError: it is no study of this version.
        """
        try:
            data = dict(yaml.safe_load(text))
            if data.pop("kbuild_study") != FORMAT:
                raise InputError(f"a study of another version; this one reads {FORMAT}")
            arms = tuple(Arm(**{**arm, "overrides": tuple(arm["overrides"])}) for arm in data.pop("arms"))
            return cls(arms=arms, seeds=tuple(data.pop("seeds")), notes=tuple(data.pop("notes")), **data)
        except yaml.YAMLError as error:
            raise InputError(f"not a study: {' '.join(str(error).split())}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a study: {error!r}") from error


class NotMeasured(InputError):
    """The question names what no trial of an arm measures: no seed will mend that, and the study ends."""


def check_measured(metric: str, names: Iterable[str]) -> None:
    """The deciding metric is one of the names that trials measure; those on test data decide nothing.

    >>> check_measured("val_dice_coefficient", ["val_auc", "val_loss", "test_dice"])
    Traceback (most recent call last):
    kbuild.study.design.NotMeasured: the trials do not measure val_dice_coefficient; there are val_auc, val_loss

    Raises:
        NotMeasured: it is not.
    """
    have = [name for name in names if name.startswith("val_")]
    if metric not in have:
        hint = suggest(metric, have)
        raise NotMeasured(f"the trials do not measure {metric}; there are {listing(have)}{'; ' * bool(hint)}{hint}")


def direction_of(metric: str) -> str:
    """Which way a metric is better.

    >>> direction_of("val_accuracy"), direction_of("val_loss"), direction_of("val_mean_absolute_error")
    ('max', 'min', 'min')
    >>> direction_of("val_false_negatives"), direction_of("val_error_kind_accuracy")
    ('min', 'max')
    """
    plain = metric.lower().replace("_", "")
    return "min" if not plain.endswith(_RISING) and any(word in plain for word in _FALLING) else "max"


def fewest_seeds(comparisons: int, alpha: float = 0.05) -> int:
    """The fewest pairs with which the exact sign-flip test, Holm-corrected, can fall below `alpha`; 6 or more.

    With n pairs its smallest p value is 2 / 2^n, which Holm's first step multiplies by the number of comparisons.

    >>> fewest_seeds(1), fewest_seeds(3), fewest_seeds(16), fewest_seeds(1, 2**-6)
    (6, 7, 10, 8)
    """
    return max(6, math.floor(1 + math.log2(max(comparisons, 1) / alpha)) + 1)
