"""Rules about residual networks: what stands on the identity path, and how a pre-activation trunk ends."""

from __future__ import annotations

from collections.abc import Iterator

from kbuild.lint.dropout import rate_of
from kbuild.lint.finding import Found, Rule
from kbuild.lint.view import Layer, View

#: Roles without weights, along which an identity path goes.
_IDENTITY = frozenset({"N", "A", "D", "P", "reshape", "padding", "resize"})
#: Roles between the end of the trunk and the head's W.
_TO_HEAD = frozenset({"P", "D", "N", "reshape", "padding"})


def _identity_paths(view: View) -> Iterator[tuple[Layer, list[Layer], Layer]]:
    """(start, what stands between, addition) for every path without weights into an addition that adds a branch to it.

    It starts at the split into branch and path, or, where no weights stand before that, at the addition before.
    """
    for addition in view.plan.layers:
        if addition.cls != "Add" or len(addition.inputs) < 2:
            continue
        walks = [_walk(view, source, stop_at_split=True) for source in view.inputs(addition)]
        if not any(view.role(end) in ("W", "other", "merge") and end.cls != "Add" for end, _ in walks):
            continue
        for end, between in walks:
            if len(view.readers[end.name]) < 2:
                continue
            before, earlier = _walk(view, end, stop_at_split=False)
            if before.cls == "Add":
                yield before, earlier + between, addition
            else:
                yield end, between, addition


def _walk(view: View, layer: Layer, stop_at_split: bool) -> tuple[Layer, list[Layer]]:
    """Back from a layer over layers without weights: where it ends, and what it passed, in the order of the plan."""
    passed: list[Layer] = []
    at = layer
    while view.role(at) in _IDENTITY and len(at.inputs) == 1 and not (stop_at_split and len(view.readers[at.name]) > 1):
        passed.append(at)
        at = view.inputs(at)[0]
    return at, passed[::-1]


def _norm_on_trunk(view: View) -> Iterator[Found]:
    seen: set[str] = set()
    for start, between, addition in _identity_paths(view):
        for layer in between:
            if start.cls == "Add" and layer.cls == "BatchNormalization" and layer.name not in seen:
                seen.add(layer.name)
                yield Found(
                    f"{layer.name} stands on the identity path between the additions {start.name} and {addition.name}",
                    (layer.name, start.name, addition.name),
                    "keep normalization inside the branch: W-N-A with `residual: after_merge`, or N-A-W",
                )


NORM_ON_RESIDUAL_TRUNK = Rule(
    "norm-on-residual-trunk",
    "warning",
    "batch normalization behind the addition changes what every later block is added to",
    """
A residual network trains at any depth because the sum of its branches reaches every layer unchanged. A normalization
behind the addition rescales that sum in every block. He et al. measured it on CIFAR-10 with ResNet-110: 8.17 % error
against 6.61 % (their figure 4b against 4a). Reported where a BatchNormalization lies on a path without weights from
one addition to the next; the one that ends a pre-activation trunk, behind the last addition, belongs there. Layer
normalization at this place is the post-norm transformer, a design of its own, and is not reported.
""",
    "He et al. 2016, Identity Mappings in Deep Residual Networks, table 2 (arXiv:1603.05027)",
    """
input: {shape: [8, 8, 16]}
ordering: bn-after-activation
layers:
  - repeat:
      times: 2
      layers:
        - residual:
            layers:
              - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    """
input: {shape: [8, 8, 16]}
ordering: no-dropout
layers:
  - repeat:
      times: 2
      layers:
        - residual:
            layers:
              - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    _norm_on_trunk,
)


def _dropout_on_shortcut(view: View) -> Iterator[Found]:
    seen: set[str] = set()
    for start, between, addition in _identity_paths(view):
        for layer in between:
            if view.role(layer) == "D" and rate_of(layer) > 0 and layer.name not in seen:
                seen.add(layer.name)
                yield Found(
                    f"{layer.name} (rate {rate_of(layer):g}) stands on the identity path from {start.name} to "
                    f"{addition.name}: what it drops is missing in every later block",
                    (layer.name, start.name, addition.name),
                    "drop inside the branch: where: {dropout: branch}, as branch-dropout and wide-preact do",
                )


DROPOUT_ON_SHORTCUT = Rule(
    "dropout-on-shortcut",
    "warning",
    "dropout on the identity path of a residual network",
    """
What is dropped on the identity path is missing in all blocks behind it, and the losses multiply with the depth. With
dropout 0.5 on the shortcuts, ResNet-110 of He et al. failed to converge to a good solution (their table 1: more than
20 % error on CIFAR-10, against 6.61 %). Dropout inside the branch leaves the path clean: Wide ResNets have one
between the two convolutions of a branch. Reported where a D lies on a path without weights from a split, or from one
addition, to the next addition; this is also what becomes of the D in W-N-A-D where it moves behind an addition.
""",
    "He et al. 2016, section 3.1 and table 1 (arXiv:1603.05027); Kim et al. 2023 (arXiv:2302.06112)",
    """
input: {shape: [8, 8, 16]}
ordering: no-dropout
layers:
  - residual:
      layers:
        - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
      shortcut: [Dropout: 0.5]
  - GlobalAveragePooling2D
  - Dense: 10
""",
    """
input: {shape: [8, 8, 16]}
ordering: branch-dropout
layers:
  - residual:
      layers:
        - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
        - Conv2D: {filters: 16, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    _dropout_on_shortcut,
)


def _unclosed(view: View) -> Iterator[Found]:
    for head in dict.fromkeys(name for names in view.plan.heads.values() for name in names):
        if head not in view.layers:
            continue
        chain = list(view.chain_back(view.layers[head], _TO_HEAD))
        end = chain[-1] if chain else None
        weight = _preactivated(view, end) if end is not None else None
        if end is None or weight is None:
            continue
        lacks = "without a last A" if any(view.role(one) == "N" for one in chain) else "without a last N-A"
        yield Found(
            f"the pre-activation trunk reaches the head {head} from {end.name} {lacks}: its last weights "
            "are followed by linear ones",
            (head, end.name, weight.name),
            "closing: auto puts them there",
        )


def _preactivated(view: View, end: Layer) -> Layer | None:
    """The weight layer with N-A before it that ends the trunk, itself or as the branch of an addition."""
    if end.cls == "Add":
        ends = [source for source in view.inputs(end) if view.role(source) == "W"]
        return next((weight for weight in ends if _behind_norm_and_activation(view, weight)), None)
    # Without an addition the order tells a pre-activation trunk from a linear layer in a W-N-A network.
    orders = {unit.name: unit.order.split("-") for unit in view.plan.units}
    letters = orders.get(end.name, ["W"])
    ahead = letters[: letters.index("W")]
    return end if view.role(end) == "W" and "A" in ahead and "N" in ahead else None


def _behind_norm_and_activation(view: View, weight: Layer) -> bool:
    before = [view.role(layer) for layer in view.chain_back(weight, {"N", "A", "D"})]
    return "A" in before and "N" in before


UNCLOSED_PREACTIVATION = Rule(
    "unclosed-preactivation",
    "warning",
    "a pre-activation trunk reaches the head without a last N-A",
    """
Under N-A-W every unit normalizes and activates what it reads, so what the last unit gives has passed neither. He et
al. put one more N and A behind the last addition, before the pooling; Keras' ResNetV2 has them as `post_bn` and
`post_relu`. Without them the head reads the raw sum of all branches, whose variance grows with the depth, and the
last weight layer is followed by another linear one. `closing: auto`, the default, puts them there; this reports a
trunk where `closing: none` or a model built elsewhere lacks them.
""",
    "He et al. 2016, Identity Mappings in Deep Residual Networks, appendix (arXiv:1603.05027)",
    """
input: {shape: [8, 8, 3]}
ordering: {policy: preact, closing: none}
layers:
  - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
  - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    """
input: {shape: [8, 8, 3]}
ordering: preact
layers:
  - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
  - Conv2D: {filters: 8, kernel_size: 3, padding: same, activation: relu}
  - GlobalAveragePooling2D
  - Dense: 10
""",
    _unclosed,
)


RESIDUAL_RULES: tuple[Rule, ...] = (NORM_ON_RESIDUAL_TRUNK, DROPOUT_ON_SHORTCUT, UNCLOSED_PREACTIVATION)
