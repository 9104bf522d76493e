"""Orders and the table of named policies: the single source for `kbuild policies`, the docs, the lint and the study.

>>> parse_order("WNAD")
Order('W-N-A-D')
>>> parse_order("N-A-W").before
('N', 'A')
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kbuild import plugins
from kbuild.errors import suggest

LETTERS = {
    "W": "weight layer",
    "N": "normalization",
    "A": "activation",
    "D": "dropout",
    "P": "pooling",
}

#: What a `where` may say: at which units a letter stands.
WHERE = ("all", "conv", "dense", "last", "branch", "none")
#: What `dropout: {kind: ...}` may say.
DROPOUT_KINDS = ("element", "spatial", "alpha", "gaussian", "auto")
#: The rate of a D when neither the spec nor the policy names one.
DEFAULT_RATE = 0.2


@dataclass(frozen=True, slots=True)
class Order:
    """An arrangement of letters around exactly one W."""

    letters: tuple[str, ...]

    def __str__(self) -> str:
        return "-".join(self.letters)

    def __repr__(self) -> str:
        return f"Order({str(self)!r})"

    def __contains__(self, letter: str) -> bool:
        return letter in self.letters

    @property
    def before(self) -> tuple[str, ...]:
        """The letters that stand before W."""
        return self.letters[: self.letters.index("W")]

    @property
    def after(self) -> tuple[str, ...]:
        """The letters that stand after W."""
        return self.letters[self.letters.index("W") + 1 :]


class OrderError(ValueError):
    """A text that is neither an order nor a policy.

    Attributes:
        message: what is wrong.
        hint: what to do about it, may be empty.
        code: `bad-order`, `unknown-policy` or `plugin`.
    """

    def __init__(self, message: str, hint: str = "", code: str = "bad-order"):
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.hint, self.code = message, hint, code


def parse_order(text: str) -> Order:
    """Parse `W-N-A-D` or `WNAD`.

    Raises:
        OrderError: a letter outside W, N, A, D, P, a letter twice, or not exactly one W.
    """
    letters = tuple(text.split("-")) if "-" in text else tuple(text)
    if not text.strip("- "):
        raise OrderError("an order without letters", "for example W-N-A-D")
    for letter in letters:
        if letter not in LETTERS:
            if meant := _meant(text):
                raise OrderError(f"{text[:60]!r} is not an order", f"write {meant}")
            known = ", ".join(f"{key} ({word})" for key, word in LETTERS.items())
            raise OrderError(f"{letter[:60]!r} is not a letter of an order", f"the letters are {known}")
    for letter in letters:
        if letters.count(letter) > 1:
            raise OrderError(f"the letter {letter} stands twice in {text[:60]!r}")
    if "W" not in letters:
        raise OrderError(f"{text!r} holds no W, the weight layer the letters stand around")
    return Order(letters)


def _meant(text: str) -> Order | None:
    """The order in lower case, or with other signs between its letters.

    >>> _meant("w -> n -> a")
    Order('W-N-A')
    """
    letters = tuple(re.sub(r"[^A-Z]", "", text.upper()))
    good = "W" in letters and set(letters) <= set(LETTERS) and len(set(letters)) == len(letters)
    return Order(letters) if good else None


def looks_like_order(text: str) -> bool:
    """Whether a text is more likely meant as an order than as a policy's name."""
    letters = text.replace("-", "")
    return bool(letters) and letters.upper() == letters and letters.isalpha()


def all_orders() -> Iterator[Order]:
    """All 49 arrangements of a subset of N, A, D around one W.

    >>> len(list(all_orders()))
    49
    """
    for size in range(4):
        for subset in itertools.combinations("NAD", size):
            for letters in itertools.permutations(("W", *subset)):
                yield Order(letters)


@dataclass(frozen=True, slots=True)
class Policy:
    """A named ordering.

    Attributes:
        name: what `ordering:` says.
        order: the order around every weight layer.
        summary: one sentence.
        source: who says so.
        claim: what the source claims or measured.
        defaults: settings as `ordering:` would hold them; anything the spec says wins.
    """

    name: str
    order: Order
    summary: str
    source: str
    claim: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _policy(name: str, order: str, summary: str, source: str, claim: str = "", **defaults: Any) -> Policy:
    return Policy(name, parse_order(order), summary, source, claim, defaults)


POLICIES: tuple[Policy, ...] = (
    _policy("plain", "W-A", "No normalization, no dropout: the baseline.", "baseline"),
    _policy(
        "no-dropout",
        "W-N-A",
        "Batch normalization before the activation and no dropout at all.",
        "Ioffe & Szegedy 2015, Batch Normalization (arXiv:1502.03167)",
        "Usually just drop Dropout when you have BN; ResNet v1 and DenseNet use none.",
    ),
    _policy(
        "dropout-only",
        "W-A-D",
        "Dropout after the activation, no normalization.",
        "Srivastava et al. 2014, Dropout, figure 3b (JMLR 15)",
        "A rate of 0.5 at dense layers, 0.1 to 0.25 at convolutions.",
        dropout={"rate": {"dense": 0.5, "conv": 0.25}},
    ),
    _policy(
        "conventional",
        "W-N-A-D",
        "Normalization before the activation, dropout last: the default.",
        'Stack Overflow 39691902, the accepted answer ("Scheme 2"); Ioffe & Szegedy 2015 with Srivastava et al. 2014',
        "The order most people mean when they use both. In the thread's table of ten orders on MNIST, one seed each, "
        "it has the second lowest test loss with the pooling last: 0.0389.",
    ),
    _policy(
        "dropout-before-bn",
        "W-A-D-N",
        "Dropout before normalization.",
        'Stack Overflow 39691902, the rival answer ("Scheme 1")',
        "The statistics must not see dropped information. In the thread's table its test loss on MNIST is 0.0426 with "
        "the pooling last, against 0.0389 of W-N-A-D. Li et al. 2019 warn of variance shift.",
    ),
    _policy(
        "after-activation",
        "W-A-N-D",
        "Normalization, then dropout, both after the activation and between the layers.",
        "practice: BN before Dropout, both between layers",
    ),
    _policy(
        "bn-after-activation",
        "W-A-N",
        "Normalization after the activation, no dropout.",
        "Mishkin et al. 2016, caffenet-benchmark (arXiv:1606.02228)",
        "CaffeNet on ImageNet: 0.499 top-1 accuracy, against 0.474 with BN before ReLU.",
    ),
    _policy("bn-before-weights", "N-W-A", "Normalization of each weight layer's input.", "practice"),
    _policy(
        "norm-dropout-act",
        "W-N-D-A",
        "Dropout between normalization and activation.",
        'MONAI, the default ordering "NDA" of its ADN block',
    ),
    _policy(
        "dropout-first",
        "W-D-N-A",
        "Dropout directly after the weights.",
        "Isensee et al. 2021, nnU-Net: convolution, dropout, normalization, nonlinearity",
    ),
    _policy(
        "preact",
        "N-A-W",
        "Pre-activation: the first unit is W alone and the trunk closes with N-A.",
        "He et al. 2016, Identity Mappings in Deep Residual Networks (arXiv:1603.05027)",
        "ResNet-164 on CIFAR-10: 5.93 % error becomes 5.46 %.",
    ),
    _policy(
        "wide-preact",
        "N-A-D-W",
        "Pre-activation (N-A-W) with one dropout before the last W of each residual branch; the trunk closes with N-A.",
        "Zagoruyko & Komodakis 2016, Wide Residual Networks (arXiv:1605.07146)",
        "A rate of 0.3: WRN-28-10 on CIFAR-100 has 19.25 % error without dropout, 18.85 % with it.",
        dropout={"rate": 0.3},
        where={"dropout": "branch"},
    ),
    _policy(
        "ic",
        "N-D-W-A",
        "The independent-component layer, N then D, before every weight layer.",
        "Chen et al. 2019, Rethinking the Usage of Batch Normalization and Dropout (arXiv:1905.05928)",
        "A low rate, 0.05; training on CIFAR and ImageNet is steadier, faster and ends better.",
        dropout={"rate": 0.05},
    ),
    _policy(
        "last-dropout",
        "W-N-A-D",
        "W-N-A, and dropout only behind the last normalization, before the head.",
        "Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization (arXiv:1801.05134)",
        "Dropout behind all BN avoids the variance shift; a rate of 0.1 to 0.2.",
        dropout={"rate": 0.1},
        where={"dropout": "last"},
    ),
    _policy(
        "branch-dropout",
        "W-N-A-D",
        "W-N-A with one dropout per residual branch, after its last N and before its last W.",
        "Kim et al. 2023, How to Use Dropout Correctly on Residual Networks with Batch Normalization "
        "(arXiv:2302.06112)",
        "After the last normalization and before the last weight layer of the branch; at the head before the pooling.",
        where={"dropout": "branch"},
        head_dropout="before_pooling",
    ),
    _policy(
        "large-batch",
        "W-N-A-D",
        "The conventional order with a small rate, for batches of 256 and more.",
        "Luo et al. 2019, Towards Understanding Regularization in Batch Normalization (arXiv:1809.00846)",
        "A rate of 0.125.",
        dropout={"rate": 0.125},
    ),
    _policy(
        "selu",
        "W-A-D",
        "Self-normalizing networks: selu, lecun_normal, AlphaDropout, no normalization.",
        "Klambauer et al. 2017, Self-Normalizing Neural Networks (arXiv:1706.02515)",
        activation="selu",
        initializer="lecun_normal",
        dropout={"kind": "auto"},
    ),
)

BY_NAME: Mapping[str, Policy] = {policy.name: policy for policy in POLICIES}
DEFAULT_POLICY = "conventional"


#: The entry points of policies that installed packages add, each a `Policy`.
GROUP = "kbuild.policies"


def named(text: Any) -> Policy | None:
    """The policy of that name, kbuild's own or one of an installed package; None where there is none."""
    if not isinstance(text, str) or text in BY_NAME or looks_like_order(text):
        return BY_NAME.get(text) if isinstance(text, str) else None
    return plugins.find(GROUP, text, checked)


def every() -> tuple[Policy, ...]:
    """The policies of this version, then those that installed packages add and that can be used."""
    loaded = plugins.every(GROUP, checked, BY_NAME)
    return (*POLICIES, *(one.made for one in loaded if one.made is not None))


def checked(plugin: plugins.Plugin, found: Any) -> Policy:
    """The policy, if a package wrote it down as this module does.

    Raises:
        Unfit: it did not; says what is wrong first.
    """
    if not isinstance(found, Policy) or not isinstance(found.order, Order):
        raise plugins.Unfit(f"{plugin.value} is no kbuild.policy.Policy with an Order")
    if found.name != plugin.name or not (found.summary and found.source):
        raise plugins.Unfit("its name is not that of its entry point, or it has no summary or no source")
    for key, value in found.defaults.items():
        if key not in _DEFAULTS or not _DEFAULTS[key](value):
            raise plugins.Unfit(f"its default {key}: {value!r:.60} is none that a policy can have")
    return found


def _rate(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1


def _each(**fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A mapping with these keys at most."""
    return lambda value: isinstance(value, dict) and all(key in fits and fits[key](value[key]) for key in value)


def _rates(value: Any) -> bool:
    return _rate(value) or (_each(dense=_rate, conv=_rate)(value) and len(value) == 2)


#: Setting → whether a policy may have this default for it.
_DEFAULTS: Mapping[str, Callable[[Any], bool]] = {
    "activation": lambda value: isinstance(value, str),
    "initializer": lambda value: isinstance(value, str),
    "dropout": _each(rate=_rates, kind=DROPOUT_KINDS.__contains__),
    "where": _each(norm=WHERE.__contains__, dropout=WHERE.__contains__),
    "head_dropout": ("before_pooling",).__contains__,
}


def find(text: str) -> tuple[Policy | None, Order]:
    """The policy of that name and its order, or None and the order written.

    Raises:
        OrderError: neither; the message says which it looked like and what is near.
    """
    if policy := named(text):
        return policy, policy.order
    if looks_like_order(text):
        return None, parse_order(text)
    if refused := plugins.load(GROUP, text, checked):
        raise OrderError(refused.complaint, refused.refusal, "plugin")
    if meant := _meant(text):
        raise OrderError(f"{text[:60]!r} is not an order", f"write {meant}")
    if not text.strip("- "):
        raise OrderError("neither a policy's name nor an order: the text is empty", "for example W-N-A-D")
    hint = suggest(text, (*BY_NAME, *plugins.names(GROUP))) or "`kbuild policies` lists them"
    raise OrderError(f"there is no policy {text[:60]!r}", hint, "unknown-policy")
