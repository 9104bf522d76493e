"""The training of a spec as Keras code: load the arrays, compile, fit, evaluate, save.

The data, the validation share, losses, metrics and the optimizer are those of `kbuild train`; initial weights, the
order of the examples and dropout masks are drawn by Keras, so the figures are near those of a run and not equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kbuild.catalog import facts
from kbuild.errors import InputError
from kbuild.plan.plan import Plan
from kbuild.show.eject.layout import Brackets, Expr, Item, Keyword, lines, literal, quote, sequence
from kbuild.show.eject.names import identifier
from kbuild.show.eject.write import Writer
from kbuild.spec.data import DataSettings
from kbuild.spec.train import Chosen, TrainSettings

#: Kinds of data that ejected code loads.
KINDS = ("digits", "npz", "keras")

#: Draws the validation share, as `kbuild train` does.
_SPLIT = """\
def split(x, y, share, seed):
    \"\"\"Examples to train on, and a share of them held back.\"\"\"
    rows = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0x5B117]))).permutation(len({one}))
    count = min(len(rows) - 1, max(1, round(len(rows) * share)))
    kept, held = np.sort(rows[count:]), np.sort(rows[:count])
    return ({take_kept}), ({take_held})
"""

_CHANNELS = """\
def with_channels(x, rank):
    \"\"\"The array with a channel axis of size 1, where it has none.\"\"\"
    return x[..., None] if x.ndim < rank else x
"""

_FIRST = """\
def first(data, names):
    \"\"\"The first of these arrays that an archive has.\"\"\"
    return next(data[name] for name in names if name in data)
"""


@dataclass(frozen=True)
class Training:
    """What `--train` writes.

    Attributes:
        settings: the `train` section.
        losses: one for each output, with the arguments that follow from the head.
        metrics: for each output.
        weighted: weighted metrics for each output.
        data_file, validation_file: paths of archives, relative to the ejected file; "" for none.
    """

    settings: TrainSettings
    losses: tuple[Chosen, ...]
    metrics: tuple[tuple[Chosen, ...], ...]
    data_file: str = ""
    validation_file: str = ""
    weighted: tuple[tuple[Chosen, ...], ...] = ()


def imports(training: Training) -> list[str]:
    """Import lines, sorted."""
    files = bool(training.data_file or training.validation_file)
    found = ["from pathlib import Path", ""] if files else []
    found.append("import keras")
    arrays = training.settings.data.kind != "keras" or training.settings.validation
    found += ["import numpy as np"] if arrays or training.validation_file else []
    if training.settings.augment or training.settings.deterministic:
        found.append("import tensorflow as tf")
    found.append("from keras import layers")
    return found


def functions(training: Training, plan: Plan) -> list[str]:
    """The source of `load_data`, `main` and what they need.

    Raises:
        InputError: data of a kind that ejected code does not load.
    """
    for data in (training.settings.data, training.settings.validation):
        if isinstance(data, DataSettings) and data.kind not in KINDS:
            raise InputError(f"ejected code loads {', '.join(KINDS)}, not data of the kind {data.kind!r}")
        if isinstance(data, DataSettings) and any(option.startswith("sample_weight") for option in data.options):
            raise InputError("ejected code loads no sample weights")
    return _Training(training, plan).functions()


class _Training:
    def __init__(self, training: Training, plan: Plan):
        self.training, self.settings, self.plan = training, training.settings, plan
        self.writer = Writer(set())
        self.inputs = [layer.name for layer in plan.inputs]
        self.outputs = list(plan.outputs)

    def functions(self) -> list[str]:
        found = []
        if isinstance(self.settings.validation, float) and self.settings.validation:
            found.append(self.split())
        if any(self.channels(name) for name in self.inputs):
            found.append(_CHANNELS)
        validation = self.settings.validation
        if (
            isinstance(validation, DataSettings)
            and validation.kind == "npz"
            and not {"x", "y"} <= set(validation.options)
        ):
            found.append(_FIRST)
        return [*found, self.load(), self.main()]

    @property
    def tested(self) -> bool:
        """Whether there are test data for certain; an archive may have none."""
        data = self.settings.data
        return data.kind != "npz" or all(key in data.options for key in ("x_test", "y_test"))

    # -- data -------------------------------------------------------------------------------------------------------

    def channels(self, name: str) -> int:
        """The rank of arrays of an input that may lack their channel axis; 0 for any other."""
        shape = self.plan.layer(name).output_shape
        return len(shape) if shape is not None and len(shape) > 1 and shape[-1] in (1, None) else 0

    def split(self) -> str:
        def take(rows: str) -> str:
            x = f"[array[{rows}] for array in x]" if len(self.inputs) > 1 else f"x[{rows}]"
            y = f"[array[{rows}] for array in y]" if len(self.outputs) > 1 else f"y[{rows}]"
            return f"{x}, {y}"

        one = "x[0]" if len(self.inputs) > 1 else "x"
        return _SPLIT.format(one=one, take_kept=take("kept"), take_held=take("held"))

    def load(self) -> str:
        found = ["def load_data():", '    """Inputs and targets to train on, to validate with and to test with."""']
        found += self.arrays(self.settings.data, self.training.data_file)
        found += self.cast("train")
        validation = self.settings.validation
        if isinstance(validation, DataSettings):
            found += self.held_out(validation, self.training.validation_file)
            found += self.cast("validation")
        elif validation:
            found.append(f"    train, validation = split(*train, share={validation!r}, seed={self.settings.seed})")
        else:
            found.append("    validation = None")
        found += self.cast("test", optional=not self.tested)
        return "\n".join([*found, "    return train, validation, test"]) + "\n"

    def arrays(self, data: DataSettings, file: str) -> list[str]:
        if data.kind == "keras":
            return lines(
                "train, test = ", Brackets(f"keras.datasets.{identifier(data.source, 'data')}.load_data", []), "", 4
            )
        options = data.options
        found = [f"    with np.load(Path(__file__).parent / {quote(file)}) as data:"]
        names = {"x": "x_train", "y": "y_train", "x_test": "x_test", "y_test": "y_test"}
        named = {key: self.named(options.get(key, default), key[0]) for key, default in names.items()}
        found += lines("train = ", sequence([named["x"], named["y"]]), "", 8)
        test = sequence([named["x_test"], named["y_test"]])
        if self.tested:
            return [*found, *lines("test = ", test, "", 8)]
        return [*found, *lines("test = ", test, ' if {"x_test", "y_test"} <= set(data) else None', 8)]

    def named(self, wanted: Any, side: str) -> Expr:
        """One array, or a list of them in the order of the model's inputs or outputs."""
        layers = self.inputs if side == "x" else self.outputs
        if isinstance(wanted, dict):
            arrays = [f"data[{quote(wanted[name])}]" for name in layers]
            return arrays[0] if len(arrays) == 1 else sequence(arrays, "[")
        return f"data[{quote(wanted)}]"

    def held_out(self, data: DataSettings, file: str) -> list[str]:
        if data.kind != "npz":
            source = self.arrays(data, file)
            return [line.replace("train, test = ", "_, validation = ").replace("    test = ", "    validation = ")
                    for line in source if not line.strip().startswith("train = ")]  # fmt: skip
        found = [f"    with np.load(Path(__file__).parent / {quote(file)}) as data:"]
        sides: list[Item] = []
        for side in "xy":
            wanted = data.options.get(side)
            names = [f"{side}_val", f"{side}_test", side, f"{side}_train"]
            sides.append(
                self.named(wanted, side) if wanted else Brackets("first", ["data", sequence(list(map(quote, names)))])
            )
        return [*found, *lines("validation = ", sequence(sides), "", 8)]

    def cast(self, split: str, optional: bool = False) -> list[str]:
        """Channel axes of size 1."""
        ranks = [self.channels(name) for name in self.inputs]
        if not any(ranks):
            return []
        if len(ranks) == 1:
            change = f"with_channels({split}[0], {ranks[0]})"
        else:
            arrays = [f"with_channels({split}[0][{at}], {rank})" if rank else f"{split}[0][{at}]"
                      for at, rank in enumerate(ranks)]  # fmt: skip
            change = f"[{', '.join(arrays)}]"
        end = f" if {split} is not None else None" if optional else ""
        return lines(f"{split} = ", sequence([change, f"{split}[1]"]), end, 4)

    # -- training ---------------------------------------------------------------------------------------------------

    def main(self) -> str:
        settings = self.settings
        found = ["def main():", '    """Train, evaluate and save the model."""']
        found.append(f"    keras.utils.set_random_seed({settings.seed})")
        if settings.deterministic:
            found.append("    tf.config.experimental.enable_op_determinism()")
        if settings.precision != "float32":
            found.append(f"    keras.config.set_dtype_policy({quote(settings.precision)})")
        found += ["    train, validation, test = load_data()", "    model = build_model()"]
        if self.decays:
            found += lines("optimizer = ", self.made("optimizer", self.settings.optimizer), "", 4)
            found.append('    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])')
        found += lines("", Brackets("model.compile", self.compile()), "", 4)
        found += self.fit()
        found += [] if self.tested else ["    if test is not None:"]
        indent = "    " if self.tested else "        "
        found.append(f"{indent}print(model.evaluate(*test, batch_size=256, return_dict=True, verbose=0))")
        found.append(f"    model.save({quote(identifier(self.plan.name, 'model') + '.keras')})")
        return "\n".join(found) + "\n"

    @property
    def decays(self) -> bool:
        """Whether the optimizer has weight decay, and leaves some variables alone."""
        chosen = self.settings.optimizer
        signature = facts.signature("optimizer", chosen.class_name)
        default = signature.defaults.get("weight_decay") if signature is not None else None
        return self.settings.decay == "weights" and chosen.config.get("weight_decay", default) is not None

    def compile(self) -> list[Item]:
        losses = [self.made("loss", one) for one in self.training.losses]
        metrics, weighted = (
            [sequence([self.metric(one) for one in some], "[") for some in of_outputs]
            for of_outputs in (self.training.metrics, self.training.weighted)
        )
        single = len(self.outputs) == 1
        return [
            Keyword("optimizer", "optimizer" if self.decays else self.made("optimizer", self.settings.optimizer)),
            Keyword("loss", losses[0] if single else sequence(losses, "[")),
            Keyword("metrics", metrics[0] if single else sequence(metrics, "[")),
            *([Keyword("weighted_metrics", weighted[0] if single else sequence(weighted, "["))] if weighted else []),
            Keyword("jit_compile", "False"),
        ]

    def fit(self) -> list[str]:
        settings = self.settings
        found: list[str] = []
        args: list[Item] = ["*train"]
        if settings.augment:
            made = [self.made("layer", Chosen(c.class_name, {"seed": settings.seed * 1000 + at, **c.config}))
                    for at, c in enumerate(settings.augment)]  # fmt: skip
            found += lines("augment = ", Brackets("keras.Sequential", [sequence(made, "[")]), "", 4)
            found.append('    examples = tf.data.Dataset.from_tensor_slices((train[0].astype("float32"), train[1]))')
            if settings.shuffle:
                found.append(f"    examples = examples.shuffle(len(train[0]), seed={settings.seed})")
            found.append(f"    examples = examples.batch({settings.batch_size})")
            found.append("    examples = examples.map(lambda x, y: (augment(x, training=True), y))")
            args = ["examples"]
        else:
            args.append(Keyword("batch_size", str(settings.batch_size)))
            args += [] if settings.shuffle else [Keyword("shuffle", "False")]
        args.append(Keyword("epochs", str(settings.epochs)))
        args.append(Keyword("validation_data", "validation"))
        if settings.callbacks:
            callbacks = sequence([self.made("callback", one) for one in settings.callbacks], "[")
            args.append(Keyword("callbacks", callbacks))
        if settings.class_weight:
            weights = [Keyword(str(label), literal(weight), ": ") for label, weight in self.weights().items()]
            args.append(Keyword("class_weight", sequence(weights, "{")))
        return [*found, *lines("", Brackets("model.fit", args), "", 4)]

    def weights(self) -> dict[int, float]:
        """A weight for every class: `fit` wants them all, 1 where the spec has none."""
        given = self.settings.class_weight or {}
        shape = self.plan.layer(self.outputs[0]).output_shape
        classes = max(2, shape[-1] or 0) if shape else 0
        return {label: given.get(label, 1.0) for label in range(max(classes, max(given) + 1))}

    def metric(self, chosen: Chosen) -> Expr:
        """A metric; names that Keras resolves by the shapes stay names."""
        word = chosen.class_name.lower() in ("accuracy", "acc", "crossentropy", "ce")
        if not chosen.config and (word or facts.signature("metric", chosen.class_name) is None):
            return quote(chosen.class_name)
        return self.made("metric", chosen)

    def made(self, kind: str, chosen: Chosen) -> Expr:
        return self.writer.made(kind, chosen.class_name, chosen.config)
