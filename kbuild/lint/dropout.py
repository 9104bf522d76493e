"""Rules about dropout: in front of normalization, on outputs, on feature maps, and its rate."""

from __future__ import annotations

from collections.abc import Iterator

from kbuild.lint.finding import Fix, Found, Rule
from kbuild.lint.shift import delta_between
from kbuild.lint.view import MULTIPLICATIVE, Layer, View

#: Roles that hand single values on, so that a dropped value is still a dropped value behind them.
_VALUES = frozenset({"A", "P", "D", "reshape"})
#: Roles that leave feature maps what they are.
_MAPS = frozenset({"A", "P", "D", "N", "merge", "padding", "resize"})
#: Roles between a head's W and the model's output.
_OUTPUT = frozenset({"A", "D", "N", "P", "reshape"})
_PROBABILITIES = ("softmax", "sigmoid", "log_softmax", "hard_sigmoid")


def rate_of(layer: Layer) -> float:
    """The rate of a dropout layer; 0 where it has none."""
    rate = layer.config.get("rate", 0)
    return float(rate) if isinstance(rate, (int, float)) else 0.0


def _droppers(view: View) -> list[Layer]:
    """Layers that raise the variance in training: alpha dropout keeps it, and noise has no rate."""
    return [layer for layer in view.plan.layers if layer.cls in MULTIPLICATIVE and rate_of(layer) > 0]


def _before_norm(view: View) -> Iterator[Found]:
    norms = {layer.name for layer in view.batch_norms}
    ahead = view.nearest_ahead(lambda layer: layer.name in norms, lambda layer: view.role(layer) in _VALUES)
    for layer in _droppers(view):
        norm = view.first(layer, ahead)
        if norm is None:
            continue
        between = _between(view, layer, norm)
        ratio, exact = _ratio(view, layer, between)
        about = "Δ = " if exact else "Δ ≈ "
        passed = f" through {', '.join(one.name for one in between)}" if between else ""
        yield Found(
            f"{layer.name} (rate {rate_of(layer):g}) feeds {norm.name}{passed}: with dropout off the variance that "
            f"{norm.name} reads is {about}{ratio:.3f} of the one it learned",
            (layer.name, norm.name, *(one.name for one in between)),
            "put D behind N, as in W-N-A-D",
        )


def _between(view: View, layer: Layer, norm: Layer) -> list[Layer]:
    """The layers on the way from a D to the N it feeds."""
    found: list[Layer] = []
    for at in view.chain_back(norm, _VALUES):
        if at is layer:
            break
        found.append(at)
    return found[::-1]


def _ratio(view: View, layer: Layer, between: list[Layer]) -> tuple[float, bool]:
    """Δ for a D, and whether it is exact for standard normal pre-activations: pooling averages or takes maxima."""
    before: str | None = None
    exact = all(view.role(one) != "P" for one in between)
    for at in view.chain_back(layer, _VALUES):
        role = view.role(at)
        exact = exact and role != "P"
        if role in ("A", "W"):
            before = view.activation(at)
            break
    behind = next((view.activation(one) for one in between if view.role(one) == "A"), None)
    return delta_between(rate_of(layer), before, behind), exact


DROPOUT_BEFORE_NORM = Rule(
    "dropout-before-norm",
    "warning",
    "dropout feeds a batch normalization, which then learns a variance that inference never sees",
    """
Dropout keeps the mean of its input and raises its variance. A batch normalization behind it learns the raised
variance while training and divides by it at inference, where dropout is off. With mean c and variance v before a
dropout of rate r = 1 - p, the variance is (c² + v)/p - c² in training and v at inference; their ratio is Δ. For relu
of a standard normal input (c = 0.399, v = 0.341) Δ is 0.928, 0.860, 0.732, 0.672, 0.614, 0.405 at rates 0.05, 0.1,
0.2, 0.25, 0.3, 0.5. Li et al. re-estimated the moving statistics with dropout off: better in 16 of 16 cells of their
table 3, DenseNet on CIFAR-100 from 31.45 % to 26.98 % error. Reported where D reaches N directly or through
activations, pooling and reshaping. Layer and group normalization compute their statistics from each input and alpha
dropout keeps mean and variance: neither is reported.
""",
    "Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization (arXiv:1801.05134)",
    """
input: {shape: [16]}
ordering: W-A-D-N
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: W-N-A-D
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    _before_norm,
)


def _upstream(view: View) -> Iterator[Found]:
    norms = {layer.name for layer in view.batch_norms}
    # Behind a W: the next N, whatever lies between. Before it: the next W, an N ends the walk.
    norm_ahead = view.nearest_ahead(lambda layer: layer.name in norms, lambda layer: True)
    weight_ahead = view.nearest_ahead(
        lambda layer: view.role(layer) == "W" and norm_ahead[layer.name] is not None,
        lambda layer: view.role(layer) not in ("N", "W"),
    )
    direct = view.nearest_ahead(lambda layer: layer.name in norms, lambda layer: view.role(layer) in _VALUES)
    for layer in _droppers(view):
        weight = view.first(layer, weight_ahead)
        if weight is None or view.first(layer, direct) is not None:
            continue
        norm = norm_ahead[weight.name]
        assert norm is not None
        ratio, _ = _ratio(view, layer, [])
        yield Found(
            f"{layer.name} (rate {rate_of(layer):g}) stands before {weight.name} and its {norm.name}: the variance "
            f"shift is at worst Δ = {ratio:.3f}, for uncorrelated inputs, and less the more they are correlated",
            (layer.name, weight.name, norm.name),
            "dropout behind the last normalization has no shift at all: policy last-dropout",
        )


DROPOUT_UPSTREAM_OF_NORM = Rule(
    "dropout-upstream-of-norm",
    "info",
    "dropout, then a weight layer, then batch normalization: the variance shift is smaller, but there",
    """
A weight layer sums many inputs. The variance that dropout adds to each is summed too, so the ratio Δ of
`dropout-before-norm` passes a weight layer unchanged if its inputs are uncorrelated. Their covariances are the same
with and without dropout, so the more correlated the inputs are, the nearer the ratio comes to 1. Most networks that
use both have this arrangement, W-N-A-D among them: a remark, to be measured on your own model.
""",
    "Li et al. 2019, section 3 (arXiv:1801.05134)",
    """
input: {shape: [16]}
ordering: W-N-A-D
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: last-dropout
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    _upstream,
)


def _on_output(view: View) -> Iterator[Found]:
    for output in view.plan.outputs:
        drops, pooled, at = [], False, view.layers[output]
        while view.role(at) in _OUTPUT and len(view.inputs(at)) == 1:
            drops += [at] if view.role(at) == "D" and rate_of(at) > 0 else []
            pooled = pooled or view.role(at) == "P"
            at = view.inputs(at)[0]
        if view.role(at) != "W" or (pooled and view.final_activation(output) not in _PROBABILITIES):
            continue
        for layer in reversed(drops):
            yield Found(
                f"{layer.name} (rate {rate_of(layer):g}) stands behind the head {at.name}: in training it sets outputs "
                "of the model to zero and scales the others, and the loss learns from that",
                (layer.name, at.name),
                "dropout belongs before the head's weight layer",
                fix=_removal(layer),
            )


def _removal(layer: Layer) -> Fix | None:
    if layer.unit is not None or layer.source is None:
        return None
    place = layer.source
    return Fix("remove-entry", place.line, place.column, "", f"remove {layer.cls} behind the head", "predictions")


DROPOUT_ON_OUTPUT = Rule(
    "dropout-on-output",
    "error",
    "dropout behind the head acts on what the model predicts",
    """
Behind the head stand the model's predictions. Dropout there sets each logit or probability to zero with the rate's
probability in training: the loss of an example whose own class was dropped teaches nothing true, and probabilities no
longer sum to 1. No paper puts it there. kbuild never places one; it takes a layer written by hand, `head: keep`, or
an `order` beside the head. `--fix` removes a dropout written by hand; predictions stay as they are, for dropout is
off then.
""",
    "Srivastava et al. 2014 drop inputs and hidden units, not outputs (JMLR 15)",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: {units: 10, activation: softmax}
  - Dropout: 0.5
""",
    """
input: {shape: [16]}
ordering: plain
layers:
  - Dense: {units: 32, activation: relu}
  - Dropout: 0.5
  - Dense: {units: 10, activation: softmax}
""",
    _on_output,
    "removes the dropout layer",
)


def _elementwise(view: View) -> Iterator[Found]:
    for layer in view.of("D"):
        if layer.cls not in ("Dropout", "GaussianDropout") or rate_of(layer) == 0:
            continue
        shape = layer.output_shape
        if shape is None or len(shape) < 3 or layer.config.get("noise_shape") or view.positions(layer) == 1:
            continue
        source = _weights_of(view, layer)
        if source is None or "Conv" not in source.cls:
            continue
        rank = len(shape) - 2
        yield Found(
            f"{layer.name} drops single values of {source.name}'s feature maps, whose neighbours tell what they were",
            (layer.name, source.name),
            f"kind: spatial drops whole maps (SpatialDropout{rank}D); where: {{dropout: dense}} leaves them whole",
        )


def _weights_of(view: View, layer: Layer) -> Layer | None:
    """The weight layer whose values a D drops; of a merge, that of the first input."""
    at = view.inputs(layer)
    while at and view.role(at[0]) in _MAPS:
        at = view.inputs(at[0])
    return at[0] if at and view.role(at[0]) == "W" else None


ELEMENTWISE_DROPOUT_ON_CONV = Rule(
    "elementwise-dropout-on-conv",
    "info",
    "element-wise dropout on feature maps leaves neighbours that tell what was dropped",
    """
Neighbouring positions of a feature map are strongly correlated: the next layer reads from the neighbours what a
dropped value was, so element-wise dropout there regularizes little and costs time. SpatialDropout drops whole maps
instead (Tompson et al. 2015 introduced it for this reason). A remark: many networks do well with element-wise dropout
at a small rate. Dropout with a `noise_shape` (stochastic depth) and maps of a single position are not reported.
""",
    "Tompson et al. 2015, Efficient Object Localization Using Convolutional Networks (arXiv:1411.4280)",
    """
input: {shape: [8, 8, 1]}
ordering: W-N-A-D
layers:
  - Conv2D: {filters: 8, kernel_size: 3, activation: relu}
  - Flatten
  - Dense: 10
""",
    """
input: {shape: [8, 8, 1]}
ordering: {order: W-N-A-D, dropout: {kind: spatial}}
layers:
  - Conv2D: {filters: 8, kernel_size: 3, activation: relu}
  - Flatten
  - Dense: 10
""",
    _elementwise,
)

#: From this rate on, dropout beside batch normalization is remarked on.
HIGH_RATE = 0.2


def _high(view: View) -> Iterator[Found]:
    if not view.batch_norms:
        return
    norms = len(view.batch_norms)
    for layer in _droppers(view):
        if rate_of(layer) > HIGH_RATE and not layer.config.get("noise_shape"):
            yield Found(
                f"{layer.name} has the rate {rate_of(layer):g} in a network with {norms} batch "
                f"normalization{'s' if norms > 1 else ''}, which regularize too",
                (layer.name,),
                "0.1 to 0.2 is what Li et al. 2019 use beside batch normalization, 0.125 Luo et al. 2019",
            )


HIGH_DROPOUT_WITH_NORM = Rule(
    "high-dropout-with-norm",
    "info",
    "a dropout rate above 0.2 beside batch normalization",
    """
Batch normalization regularizes by itself, for the statistics of every batch are noisy. Ioffe and Szegedy could drop
dropout with it; Li et al. 2019 use rates of 0.1 to 0.2, and only behind the last normalization; Luo et al. 2019 find
0.125 with batches of 256 and more. A larger rate is often right at a wide dense layer: a remark.
""",
    "Li et al. 2019 (arXiv:1801.05134); Luo et al. 2019 (arXiv:1809.00846)",
    """
input: {shape: [16]}
ordering: {order: W-N-A-D, dropout: 0.5}
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    """
input: {shape: [16]}
ordering: {order: W-N-A-D, dropout: 0.125}
layers:
  - Dense: {units: 32, activation: relu}
  - Dense: 10
""",
    _high,
)


DROPOUT_RULES: tuple[Rule, ...] = (
    DROPOUT_BEFORE_NORM,
    DROPOUT_UPSTREAM_OF_NORM,
    DROPOUT_ON_OUTPUT,
    ELEMENTWISE_DROPOUT_ON_CONV,
    HIGH_DROPOUT_WITH_NORM,
)
