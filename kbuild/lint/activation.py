"""Rules about activations and what fits them: SELU's company, doubled activations, losses."""

from __future__ import annotations

from collections.abc import Iterator

from kbuild.errors import Problem, SpecError
from kbuild.lint.dropout import rate_of
from kbuild.lint.finding import Fix, Found, Rule
from kbuild.lint.view import Layer, View
from kbuild.plan.losses import resolve_losses, resolve_metrics

#: Roles between a dropout and the activation whose values it drops.
_VALUES = frozenset({"P", "D", "N", "reshape", "padding"})
#: Roles between two activations that follow each other.
_BETWEEN = frozenset({"D", "reshape"})
#: Activations with f(f(x)) = f(x).
_IDEMPOTENT = ("relu", "relu6")


def _alpha(view: View) -> Iterator[Found]:
    drops = [layer for layer in view.plan.layers if layer.cls == "AlphaDropout" and rate_of(layer) > 0]
    wrong = {}
    for layer in drops:
        source = view.back(layer, _VALUES)
        if source is None or view.role(source) not in ("A", "W"):
            continue
        activation = view.activation(source)
        if activation != "selu":
            wrong[layer.name] = (layer, activation or "no activation")
    mendable = view.mendable(wrong)
    for layer, activation in wrong.values():
        fix = None
        if layer.unit is None and layer.source and layer.name in mendable:
            what = "replace AlphaDropout by Dropout"
            fix = Fix("rename-layer", layer.source.line, layer.source.column, "Dropout", what, "predictions")
        yield Found(
            f"{layer.name} is an AlphaDropout behind {activation}: it sets values to -1.758, where only selu saturates",
            (layer.name,),
            "use selu, or Dropout (kind: element)",
            fix=fix,
        )


ALPHA_DROPOUT_WITHOUT_SELU = Rule(
    "alpha-dropout-without-selu",
    "error",
    "alpha dropout behind another activation than selu",
    """
Alpha dropout sets what it drops to selu's negative limit, -1.0507 × 1.6733 = -1.758, then scales and shifts so that
mean 0 and variance 1 stay. Both numbers belong to selu. Behind relu, whose values are never negative, it puts values
that the next layer has no use for, and the mean and variance it keeps are not those of its input. `kind: auto` takes
alpha dropout exactly behind selu. `--fix` turns an AlphaDropout written by hand into Dropout; predictions stay as
they are.
""",
    "Klambauer et al. 2017, Self-Normalizing Neural Networks (arXiv:1706.02515)",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: {units: 32, activation: relu}
  - AlphaDropout: 0.1
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: selu
layers:
  - Dense: 32
  - Dense: 10
""",
    _alpha,
    "replaces `AlphaDropout` by `Dropout`",
)


def _selu_with_norm(view: View) -> Iterator[Found]:
    for layer in view.plan.layers:
        if view.role(layer) not in ("A", "W") or view.activation(layer) != "selu":
            continue
        norm = next((one for one in view.chain_back(layer, {"A", "D", "P"}) if view.role(one) == "N"), None)
        norm = norm if norm is not None and view.role(layer) == "A" else None
        at = view.only_reader(layer)
        while norm is None and at is not None and view.role(at) in ("D", "P", "N", "reshape"):
            norm = at if view.role(at) == "N" else None
            at = view.only_reader(at)
        if norm is not None:
            yield Found(
                f"{layer.name} is selu, and {norm.name} ({norm.cls}) normalizes beside it",
                (layer.name, norm.name),
                "policy selu has neither; beside a normalization relu or elu does the same",
            )


SELU_WITH_NORM = Rule(
    "selu-with-norm",
    "warning",
    "selu beside a normalization layer: one of the two is for nothing",
    """
Selu's two constants are chosen so that activations come to mean 0 and variance 1 by themselves, given lecun_normal
weights and alpha dropout. That property is what selu is for, and it replaces normalization. A normalization beside it
divides the self-normalization out again; with it, relu or elu do the same work. Reported where a normalization and a
selu belong to the same weight layer.
""",
    "Klambauer et al. 2017, Self-Normalizing Neural Networks (arXiv:1706.02515)",
    """
input: {shape: [16]}
ordering: W-N-A
layers:
  - Dense: {units: 32, activation: selu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: selu
layers:
  - Dense: 32
  - Dense: 10
""",
    _selu_with_norm,
)


def _double(view: View) -> Iterator[Found]:
    found: dict[str, tuple[Layer, Layer]] = {}
    for layer in view.of("A"):
        second = view.activation(layer)
        source = view.back(layer, _BETWEEN)
        if second is None or source is None or view.role(source) not in ("A", "W"):
            continue
        if view.activation(source) is not None:
            found[layer.name] = (source, layer)
    mendable = view.mendable(found)
    for source, layer in found.values():
        first, second = view.activation(source), view.activation(layer)
        same = first == second and first in _IDEMPOTENT and not _has_options(layer)
        fix = None
        if same and layer.unit is None and layer.source and layer.name in mendable:
            what = f"remove the second {second}"
            fix = Fix("remove-entry", layer.source.line, layer.source.column, "", what, "function")
        effect = "the second does nothing" if same else f"the result is {second} of {first}"
        yield Found(
            f"{layer.name} ({second}) follows {source.name} ({first}), no weights or normalization between: {effect}",
            (layer.name, source.name),
            "keep one of them",
            fix=fix,
        )


def _has_options(layer: Layer) -> bool:
    return bool(layer.config.keys() - {"activation", "max_value", "dtype"}) or layer.config.get("dtype") is not None


DOUBLE_ACTIVATION = Rule(
    "double-activation",
    "warning",
    "two activations in a row, without weights or normalization between",
    """
The second activation reads what the first gave. relu of relu is relu, a layer for nothing; sigmoid of relu is at
least 0.5 everywhere; softmax of relu cannot tell unlikely classes apart. It usually comes from an `activation:`
argument beside an activation layer, or from a softmax behind a head that has one. Pooling between the two (relu,
global pooling, softmax, as in fully convolutional networks) is no mistake and not reported. `--fix` removes a second
relu behind a relu: the function stays.
""",
    "relu(relu(x)) = relu(x); Glorot et al. 2011 on sparse rectifiers use one per layer",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: {units: 32, activation: relu}
  - ReLU
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: 32
  - ReLU
  - Dense: 10
""",
    _double,
    "removes a second relu",
)


def _mismatches(view: View) -> Iterator[Found]:
    if view.training is None:
        return
    settings, problems = view.training.settings, []
    try:
        resolve_metrics(settings, view.plan, resolve_losses(settings, view.plan))
    except SpecError as error:
        problems = [problem for problem in error.problems if problem.code == "loss-activation-mismatch"]
    for problem in problems:
        # A saved model has no place in a spec, and nobody derives from_logits for it.
        hint = problem.hint if problem.span is not None else "compile it with a loss that fits the head"
        yield Found(problem.message, tuple(view.plan.outputs), hint, problem.span, _without_logits(problem))


def _without_logits(problem: Problem) -> Fix | None:
    span = problem.span
    if span is None or "leave `from_logits` out" not in problem.hint:
        return None
    what = "remove from_logits; it then follows from the head's activation"
    return Fix("remove-option", span.line, span.column, "from_logits", what, "function")


LOSS_ACTIVATION_MISMATCH = Rule(
    "loss-activation-mismatch",
    "error",
    "the loss expects logits where the head gives probabilities, or the other way round",
    """
A crossentropy with `from_logits: true` applies softmax or sigmoid itself; behind a head that did so already it
squashes probabilities, gradients become tiny, and accuracy still looks plausible. Without it, on logits, it takes the
logarithm of numbers that are no probabilities and clips negative ones: the loss is wrong or infinite. kbuild derives
`from_logits` from the head's activation, so nobody has to write it; this reports where it is written and contradicts
the head, losses that read probabilities behind a linear head, a softmax over one unit (always 1), and metrics with
thresholds on logits. `--fix` removes `from_logits`.
""",
    "Keras, probabilistic losses: from_logits says whether y_pred is a tensor of logits",
    """
input: {shape: [64]}
ordering: plain
layers:
  - Dense: {units: 10, activation: softmax}
train:
  data: digits
  loss: {SparseCategoricalCrossentropy: {from_logits: true}}
""",
    """
input: {shape: [64]}
ordering: plain
layers:
  - Dense: {units: 10, activation: softmax}
train:
  data: digits
  loss: sparse_categorical_crossentropy
""",
    _mismatches,
    "removes `from_logits`",
)


ACTIVATION_RULES: tuple[Rule, ...] = (
    ALPHA_DROPOUT_WITHOUT_SELU,
    SELU_WITH_NORM,
    DOUBLE_ACTIVATION,
    LOSS_ACTIVATION_MISMATCH,
)
