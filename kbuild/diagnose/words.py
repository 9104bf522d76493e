"""What a diagnosis found, in words: every sentence rests on a number that the table shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kbuild.diagnose.diagnosis import Diagnosis, Norm

#: A variance ratio above this is called a shift.
SHIFTED = 1.1


def paragraph(found: Diagnosis) -> str:
    """The findings, and what one could do."""
    return " ".join([*_shift(found), *_convergence(found), *_channels(found), *_effect(found), *_advice(found)])


def _shift(found: Diagnosis) -> Iterator[str]:
    shifted = [norm for norm in found.before if norm.ratio > SHIFTED]
    total = len(found.before)
    if not shifted:
        worst = max(found.before, key=lambda norm: norm.ratio)
        yield (
            f"The moving variances are those that inference meets: the ratio of the two is at most {worst.ratio:.3f} "
            f"in the median channel ({worst.name}) over {_count(total, 'normalization')}."
        )
        return
    worst = max(shifted, key=lambda norm: norm.ratio)
    use = "uses" if len(shifted) == 1 else "use"
    yield (
        f"{len(shifted)} of {_count(total, 'normalization')} {use} a variance that inference does not meet; most of "
        f"all {worst.name}, where the two differ by a factor of {worst.ratio:.3f} in the median channel (real over "
        f"moving: {worst.shift:.3f})."
    )
    for norm in sorted(shifted, key=lambda norm: -norm.ratio):
        if norm.predicted is not None:
            yield _explained(norm)
            return


def _explained(norm: Norm) -> str:
    assert norm.predicted is not None
    cause = f"{norm.predicted.dropout} (rate {norm.predicted.rate:g})"
    if norm.predicted.through is None:
        return (
            f"{cause} feeds {norm.name}, and from its rate alone Δ = {norm.predicted.delta:.3f} is expected there; "
            f"{norm.shift:.3f} is measured."
        )
    return (
        f"{cause} reaches {norm.name} through {norm.predicted.through}, where Δ is at worst "
        f"{norm.predicted.delta:.3f}; {norm.shift:.3f} is measured."
    )


def _convergence(found: Diagnosis) -> Iterator[str]:
    late = [norm for norm in found.before if not norm.converged]
    if late:
        worst = max(late, key=lambda norm: norm.remaining)
        yield (
            f"After {found.steps} steps the moving statistics of {worst.name} still hold {worst.remaining:.1%} of "
            f"their starting values, so {'they have' if len(late) == 1 else 'those of ' + str(len(late)) + ' have'} "
            "not converged."
        )


def _channels(found: Diagnosis) -> Iterator[str]:
    dead, small = sum(norm.dead for norm in found.before), sum(norm.small_gamma for norm in found.before)
    channels = sum(norm.channels for norm in found.before)
    if dead:
        yield f"{dead} of {channels:,} channels never vary over the data: they are dead."
    if small:
        yield f"{small} of {channels:,} channels have a γ near zero and hardly count."


def _effect(found: Diagnosis) -> Iterator[str]:
    train, infer = found.metrics["training"], found.metrics["inference"]
    yield (
        f"On the training data the loss is {train['loss']:.4f} as the model trains and {infer['loss']:.4f} as it "
        "predicts."
    )
    split = found.held_out or "inference"
    one, other = found.metrics[split], found.metrics_after[split]
    names = [name for name in one if name == "loss" or name.endswith("accuracy")]
    told = " and ".join(f"the {name} from {one[name]:.4f} to {other[name]:.4f}" for name in names)
    yield f"Recalibration takes {told} on the {'training' if split == 'inference' else split} data."


def _advice(found: Diagnosis) -> Iterator[str]:
    split = found.held_out or "inference"
    better = found.metrics_after[split]["loss"] < found.metrics[split]["loss"]
    direct = [norm for norm in found.before if norm.predicted and not norm.predicted.through and norm.ratio > SHIFTED]
    if direct and direct[0].predicted:
        yield (
            f"One could put the dropout behind the normalization (W-N-A-D instead of {found.order}), which removes the "
            f"Δ of {direct[0].predicted.delta:.3f}."
        )
    gain = abs(found.metrics_after[split]["loss"] - found.metrics[split]["loss"])
    if better and gain > 0.005 * found.metrics[split]["loss"]:
        yield f"One could recalibrate (`train.recalibrate: true`), for a loss lower by {gain:.4f}."
    elif not better:
        yield f"Recalibration is of no use here: the loss grows by {gain:.4f}."


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + "s" * (number != 1)
