"""Every error code explained: why kbuild insists, a spec that has the mistake, and the same spec without it.

`kbuild explain`, the pages under docs/errors and their tests are made from this table; `kbuild.errors.CODES` says in a
few words what each code means.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from kbuild.errors import CODES


@dataclass(frozen=True, slots=True)
class Explained:
    """One error code.

    Attributes:
        why: what kbuild expects, and why it does not guess.
        bad: a spec with the mistake; None where no spec alone shows it.
        good: the spec without it.
        options: of the command, where the mistake stands there.
        train: the mistake shows when the model meets its data, in `kbuild train --dry-run`.
    """

    why: str
    bad: str | None = None
    good: str | None = None
    options: tuple[str, ...] = ()
    train: bool = False

    @property
    def command(self) -> str:
        """The command that reports it."""
        words = ("train", "model.yaml", "--dry-run") if self.train else ("summarize", "model.yaml")
        return " ".join(("kbuild", *words, *self.options))


_MLP = """\
input: {shape: [8]}
layers:
  - Dense: {units: 16, activation: relu}
  - Dense: 3
"""
_TRAIN = """\
input: {shape: [8, 8, 1]}
layers: [Flatten, {Dense: 10}]
train:
  data: digits
  loss: sparse_categorical_crossentropy
"""


def _layers(*lines: str, head: str = "input: {shape: [8]}\n") -> str:
    return head + "layers:\n" + "".join(f"  - {line}\n" for line in (*lines, "Dense: 3"))


EXPLAINED: Mapping[str, Explained] = {
    "file": Explained(
        "A spec is a UTF-8 text file with something in it; an included file lies in the spec's own folder or below it, "
        "named with a relative path. Nothing else is opened, so that a spec from somebody else cannot read your files.",
        bad="",
        good=_MLP,
    ),
    "limit": Explained(
        "A short text can describe a huge model: nested aliases, repeats inside repeats, long arithmetic. Sizes are "
        "counted before anything is made, and the message names the limit. The limits are far beyond any model that "
        "trains; where one is in your way, the spec most likely multiplies something it should not.",
        bad="input: {shape: [1, 1, 1, 1, 1, 1, 1, 1, 1]}\nlayers: [Flatten, {Dense: 3}]\n",
        good="input: {shape: [1, 1, 1]}\nlayers: [Flatten, {Dense: 3}]\n",
    ),
    "yaml": Explained(
        "The text cannot be read as YAML 1.2, and nothing more can be said about the spec before it can. Frequent "
        "causes: a missing space behind a colon, tabs for indentation, a quote or bracket that is never closed.",
        bad="input: {shape: [8]}\nname: 'net\nlayers:\n  - Dense: 3\n",
        good="input: {shape: [8]}\nname: 'net'\nlayers:\n  - Dense: 3\n",
    ),
    "yaml-tag": Explained(
        "Tags such as `!!python/object` make YAML loaders build objects, which is how a text file runs code. A spec is "
        "plain data: the core tags are allowed where the value fits them, and no other.",
        bad=_layers("Dense: !!int ten"),
        good=_layers("Dense: 10"),
    ),
    "duplicate-key": Explained(
        "Most YAML loaders silently keep the last of two equal keys. One of the two lines is then not what the model "
        "is built from, so kbuild shows both.",
        bad="vars: {width: 16, width: 32}\n" + _layers("Dense: =width"),
        good="vars: {width: 32}\n" + _layers("Dense: =width"),
    ),
    "unknown-key": Explained(
        "A key that kbuild does not know would be ignored, and the setting you meant would silently not be set. "
        "Arguments of Keras stand inside the layer's mapping; what kbuild itself reads stands beside the layer.",
        bad="input: {shape: [8]}\nodering: W-A\nlayers:\n  - Dense: 3\n",
        good="input: {shape: [8]}\nordering: W-A\nlayers:\n  - Dense: 3\n",
    ),
    "missing-key": Explained(
        "A spec needs `layers` and one of `input` and `inputs`; commands that train need `train` with `data` and "
        "`loss`; a Keras class needs its arguments without a default.",
        bad="input: {shape: [8]}\n",
        good="input: {shape: [8]}\nlayers:\n  - Dense: 3\n",
    ),
    "wrong-type": Explained(
        "A value of another kind than the setting or the Keras argument takes, or outside its range. It is found here "
        "and not deep inside Keras, with the place it was written at.",
        bad=_layers("Dense: {units: many}"),
        good=_layers("Dense: {units: 16}"),
    ),
    "version": Explained(
        "`kbuild:` at the top is the version of the spec language, which is 1. A newer format could mean something "
        "else with the same words, so it is refused and not guessed at.",
        bad="kbuild: 2\n" + _MLP,
        good="kbuild: 1\n" + _MLP,
    ),
    "unknown-layer": Explained(
        "Layers are written by the names of Keras' classes, in their spelling. `keras.layers` has no class of this "
        "name in the version kbuild knows.",
        bad=_layers("Conv1d: 16"),
        good="input: {shape: [8, 1]}\nlayers:\n  - {Conv1D: [16, 3]}\n  - Flatten\n  - Dense: 3\n",
    ),
    "forbidden-layer": Explained(
        "Lambda and its like run Python code held in their config, others load files of their own. A spec is data "
        "that one can open without trusting its author, so they are refused. What a Lambda does is mostly there as a "
        "layer or as an operation of `keras.ops`.",
        bad=_layers("Lambda: {function: 'lambda x: x + 1'}"),
        good=_layers("ops.add: 1.0"),
    ),
    "plugin": Explained(
        "Installed packages can add layers, policies, lint rules and sources of data by entry points. One that cannot "
        "be imported, is not what its group asks for, or takes a name that kbuild has itself is refused where a spec "
        "uses it, with the package and the reason; everything else goes on working. `kbuild doctor` lists all that "
        "packages add, and what is broken."
    ),
    "unknown-argument": Explained(
        "Arguments are those of the Keras class, unchanged. One it does not take would raise a TypeError inside Keras; "
        "here you see the line. What belongs to kbuild (`order`, `dropout`, `norm`, `name`) stands beside the layer.",
        bad=_layers("Dense: {units: 16, activaton: relu}"),
        good=_layers("Dense: {units: 16, activation: relu}"),
    ),
    "unknown-name": Explained(
        "Optimizers, losses, metrics, initializers, callbacks and data sets are Keras' names with Keras' arguments. "
        "This one is not among them, or it is one that would run code or write files of its own choosing.",
        bad=_layers("Dense: {units: 16, kernel_initializer: he_norm}"),
        good=_layers("Dense: {units: 16, kernel_initializer: he_normal}"),
    ),
    "unknown-policy": Explained(
        "`ordering` takes a policy's name or an order. Capital letters out of W, N, A, D and P are read as an order, "
        "all else as a name.",
        bad="ordering: convential\n" + _MLP,
        good="ordering: conventional\n" + _MLP,
    ),
    "bad-order": Explained(
        "An order places letters around one weight layer: W weight layer, N normalization, A activation, D dropout, P "
        "pooling. Each stands at most once, and W exactly once, for there is nothing to place them around without it.",
        bad="ordering: W-N-A-N\n" + _MLP,
        good="ordering: W-N-A\n" + _MLP,
    ),
    "unknown-reference": Explained(
        "`from` names a layer that stands above, `outputs` any layer, `use` a block. Names inside a block or a repeat "
        "are local; the full name carries the place of use, such as `b1_dw`.",
        bad=_layers("{Dense: 16, name: wide}", "{Dense: 8, from: wied}"),
        good=_layers("{Dense: 16, name: wide}", "{Dense: 8, from: wide}"),
    ),
    "duplicate-name": Explained(
        "Names are how weights move between orderings and how runs are compared, so each layer has its own.",
        bad=_layers("{Dense: 16, name: wide}", "{Dense: 8, name: wide}"),
        good=_layers("{Dense: 16, name: wide}", "{Dense: 8, name: narrow}"),
    ),
    "bad-name": Explained(
        "Names become names of Keras layers, of variables in checkpoints and of files. Keras forbids `/` in them; "
        "letters, digits, `_`, `-` and `.` work everywhere.",
        bad=_layers("{Dense: 16, name: block/wide}"),
        good=_layers("{Dense: 16, name: block_wide}"),
    ),
    "expression": Explained(
        "A scalar that begins with `=` is arithmetic over `vars`, block parameters and indices of repeats: numbers, "
        "names, `+ - * / // % **`, comparisons, and `min max round int`. Nothing else is evaluated, least of all "
        "Python; in quotes it is a plain string.",
        bad="vars: {width: 16}\n" + _layers("Dense: =2*widht"),
        good="vars: {width: 16}\n" + _layers("Dense: =2*width"),
    ),
    "recursion": Explained(
        "A block that uses itself, directly or through others, has no end. The message shows the way round.",
        bad="blocks:\n  deep: {layers: [{use: deep}]}\n" + _layers("use: deep"),
        good="blocks:\n  deep: {layers: [{Dense: 16}]}\n" + _layers("repeat: {times: 3, layers: [{use: deep}]}"),
    ),
    "missing-head": Explained(
        "The last unit on the way to an output is its head, which is never normalized or dropped. An output that no "
        "weight layer leads to has none; there is nothing to learn either.",
        bad="input: {shape: [8]}\nlayers: []\n",
        good="input: {shape: [8]}\nlayers:\n  - Dense: 3\n",
    ),
    "unused-layer": Explained(
        "Keras would leave out a layer that no output depends on, without a word. Mostly a `from` or an entry of "
        "`outputs` is missing.",
        bad="inputs: {image: {shape: [8]}, meta: {shape: [3]}}\nlayers:\n  - {Dense: 3, from: image}\n",
        good="inputs: {image: {shape: [8]}, meta: {shape: [3]}}\nlayers:\n"
        "  - {Concatenate: {}, from: [image, meta]}\n  - Dense: 3\n",
    ),
    "shape": Explained(
        "Shapes are followed through the whole model without TensorFlow, so that this is found before anything is "
        "built. The message has the shape that arrived.",
        bad=_layers("LSTM: 16"),
        good=_layers("LSTM: 16", head="input: {shape: [20, 8]}\n"),
    ),
    "inputs": Explained(
        "A layer reads as many inputs as its Keras class takes; merge layers read several, which `from` lists.",
        bad=_layers("{Dense: 16, name: a}", "{Dense: 16, name: b}", "{Dense: 8, from: [a, b]}"),
        good=_layers("{Dense: 16, name: a}", "{Dense: 16, name: b}", "{Concatenate: {}, from: [a, b]}"),
    ),
    "override": Explained(
        "`--set a.b=c` changes or adds one value of the spec; the path has to lead somewhere, and vars have to be "
        "declared, or a slip of the pen would be a new setting that nobody reads.",
        bad="vars: {width: 16}\n" + _layers("Dense: =width"),
        good="vars: {width: 16}\n" + _layers("Dense: =width"),
        options=("--set", "vars.widht=32"),
    ),
    "data": Explained(
        "Data are checked against the model before anything is trained: shapes, types, labels that the head has no "
        "unit for, NaN. A training that runs on wrong labels only shows it hours later, if at all.",
        bad=_TRAIN + "  class_weight: {0: 1.0, 12: 2.0}\n",
        good=_TRAIN + "  class_weight: {0: 1.0, 9: 2.0}\n",
        train=True,
    ),
    "loss-activation-mismatch": Explained(
        "A head without an activation gives logits, softmax and sigmoid give probabilities, and `from_logits` of the "
        "loss has to say which. The wrong one trains, badly and without an error. Left out, it follows from the head.",
        bad=_TRAIN.replace(
            "loss: sparse_categorical_crossentropy",
            "loss: {SparseCategoricalCrossentropy: {from_logits: false}}",
        ),
        good=_TRAIN,
        train=True,
    ),
    "not-yet": Explained(
        "The spec language means something by this, or could, but this version does not do it. It is refused rather "
        "than left out silently.",
        bad=_TRAIN + "  augment: [{Dense: 64}]\n",
        good=_TRAIN + "  augment: [{RandomTranslation: [0.1, 0.1]}]\n",
    ),
}


def in_full(code: str) -> str:
    """One error code for a terminal."""
    told = EXPLAINED[code]
    lines = [f"{code} (error): {CODES[code]}", "", *textwrap.wrap(told.why, 118)]
    if told.bad is not None and told.good is not None:
        lines += ["", f"`{told.command}` reports it for:"]
        lines += [f"  {line}" for line in told.bad.splitlines() or ["(an empty file)"]]
        lines += ["", f"and takes{' without the option' if told.options else ''}:"]
        lines += [f"  {line}" for line in told.good.splitlines()]
    return "\n".join(lines)
