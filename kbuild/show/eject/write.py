"""Program → Python source: functions, `build_model`, and what Keras objects look like in code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kbuild.catalog import facts
from kbuild.catalog.layers import lookup
from kbuild.catalog.operations import OPERATIONS
from kbuild.errors import InternalError
from kbuild.show.eject.layout import Brackets, Expr, Item, Keyword, f_string, lines, literal, quote, sequence
from kbuild.show.eject.names import identifier
from kbuild.show.eject.program import Body, Call, Function, Loop, Make, Program, Statement
from kbuild.show.eject.values import Text, Var
from kbuild.show.eject.variables import Assignment, assign

#: Loop indices by depth.
_INDICES = "ijklmnpqrst"

#: Modules of the objects that arguments hold.
_OBJECTS = ("initializer", "regularizer", "constraint", "schedule", "optimizer")

OPERATION = '''\
def operation(function, name):
    """A node of keras.ops under a name of its own; called on tensors and numbers."""
    probe = function(keras.KerasTensor((1,)), 1.0)
    return type(probe._keras_history.operation)(name=name)
'''


def functions(program: Program) -> list[str]:
    """The source of every function but `build_model`."""
    found = [OPERATION] if _uses_operations(program) else []
    names = {function.name for function in program.functions}
    return found + [Writer(names).function(function) for function in program.functions]


def model(program: Program, name: str) -> str:
    """The source of `build_model`."""
    return Writer({function.name for function in program.functions}).model(program, name)


def _uses_operations(program: Program) -> bool:
    bodies = [program.body, *(function.body for function in program.functions)]
    while bodies:
        for statement in bodies.pop().statements:
            if isinstance(statement, Loop):
                bodies.append(statement.body)
            elif isinstance(statement, Make) and statement.cls in OPERATIONS:
                return True
    return False


class Writer:
    """Writes one function; `names` says how parameters and indices are called in it, `taken` what may not be."""

    def __init__(self, taken: set[str]):
        self.taken = taken
        self.names: dict[str, str] = {}

    def function(self, function: Function) -> str:
        self.names = {param: param for param in function.params}
        params: list[Item] = ["x"]
        required = [name for name, default in function.params.items() if default is None]
        params += required
        params += [Keyword(k, literal(v)) for k, v in function.params.items() if v is not None]
        said = f'    """The block {function.block}."""' if function.block.isidentifier() else '    """A block."""'
        head = lines("", Brackets(f"def {function.name}", params), ":", 0)
        body = self.body(function.body, assign(function.body, "x", self._used()), 4, returns=True)
        return "\n".join([*head, said, *body]) + "\n"

    def model(self, program: Program, name: str) -> str:
        body = program.body
        made = [one for one in body.statements if isinstance(one, Make) and one.cls == "InputLayer"]
        if len(made) == 1:
            inputs = {made[0].out: "inputs"}
        else:
            inputs = _variables([(one.out, one.name({})) for one in made], "input", self.taken)
        single = len(program.outputs) == 1
        named = [(one.out, one.name({})) for one in body.statements if isinstance(one, Make)]
        outputs = [(out, dict(named).get(out, "output")) for out in dict.fromkeys(program.outputs)]
        results = _variables(outputs, "output", self.taken | set(inputs.values()))
        assigned = assign(body, None, self.taken, results=results, inputs=inputs)
        holds = {one.out: each.target for one, each in zip(body.statements, assigned, strict=True)}
        written = self.body(body, assigned, 4, returns=False)
        ends: list[Item] = [holds[out] for out in program.outputs]
        starts: list[Item] = list(inputs.values())
        args: list[Item] = [
            starts[0] if len(starts) == 1 else sequence(starts, "["),
            ends[0] if single else sequence(ends, "["),
            Keyword("name", quote(name)),
        ]
        last = lines("return ", Brackets("keras.Model", args), "", 4)
        said = '    """The model, built anew: its weights are drawn as the initializers say."""'
        return "\n".join(["def build_model():", said, *written, *last]) + "\n"

    def body(self, body: Body, assigned: list[Assignment], indent: int, returns: bool) -> list[str]:
        found: list[str] = []
        for statement, each in zip(body.statements, assigned, strict=True):
            if each.keep is not None:
                found.append(f"{' ' * indent}{each.keep[0]} = {each.keep[1]}")
            last = returns and statement is body.statements[-1]
            if isinstance(statement, Loop):
                if each.target != each.sources[0]:
                    found.append(f"{' ' * indent}{each.target} = {each.sources[0]}")
                found += self.loop(statement, each.target, indent, {*self._used(), *each.live} - {each.target})
                found += [f"{' ' * indent}return {each.target}"] if last else []
            else:
                before = "return " if last else f"{each.target} = "
                found += lines(before, self.expression(statement, each.sources), "", indent)
        return found

    def loop(self, loop: Loop, variable: str, indent: int, taken: set[str]) -> list[str]:
        outer = dict(self.names)
        index = next((one for one in _INDICES if one not in {*self.names.values(), *taken}), f"index_{len(self.names)}")
        used = {index, *taken, *self.names.values()}
        over = []
        for symbol in loop.over:
            name = identifier(symbol.split("@")[0], "value")
            while name in used:
                name += "_"
            used.add(name)
            over.append(name)
        head = self._head(loop, index, over)
        self.names.update({loop.index: index, **dict(zip(loop.over, over, strict=True))})
        found = lines(*head, ":", indent)
        inner = assign(loop.body, variable, {*taken, *self._used()} - {variable}, loop=True)
        found += self.body(loop.body, inner, indent + 4, returns=False)
        self.names = outer
        return found

    def _head(self, loop: Loop, index: str, over: list[str]) -> tuple[str, Expr]:
        start, count = self.number(loop.start), self.number(loop.count)
        if not over:
            if isinstance(loop.count, int):
                end = self.number(_plus(loop.start, loop.count))
            else:
                end = (
                    self.number(_plus(loop.count, loop.start)) if isinstance(loop.start, int) else f"{start} + {count}"
                )
            return f"for {index} in ", Brackets("range", [end] if loop.start == 0 else [start, end])
        rows = [list(row) for row in zip(*loop.over.values(), strict=True)]
        items: list[Item] = [
            self.value(row[0]) if len(row) == 1 else sequence([self.value(one) for one in row]) for row in rows
        ]
        names = over[0] if len(over) == 1 else f"({', '.join(over)})"
        args: list[Item] = [sequence(items), *([] if loop.start == 0 else [Keyword("start", start)])]
        return f"for {index}, {names} in ", Brackets("enumerate", args)

    # -- expressions ------------------------------------------------------------------------------------------------

    def expression(self, statement: Statement, sources: tuple[str, ...]) -> Expr:
        if isinstance(statement, Call):
            given = {k: v for k, v in statement.args.items() if not self._default(statement, k, v)}
            args = [Keyword(key, self.value(value)) for key, value in given.items()]
            return Brackets(statement.function.name, [sources[0], *args])
        assert isinstance(statement, Make)
        name = self.value(statement.name)
        if statement.cls == "InputLayer":
            config = {key: value for key, value in statement.config.items() if (key, value) != ("dtype", "float32")}
            return Brackets("keras.Input", [*self._keywords(config), Keyword("name", name)])
        if statement.cls in OPERATIONS:
            function = f"keras.ops.{OPERATIONS[statement.cls].function}"
            pending = iter(sources)
            config = statement.config
            args_: list[Item] = [self.value(config[k]) if k in config else next(pending) for k in ("x1", "x2")]
            return Brackets(Brackets("operation", [function, Keyword("name", name)]), args_)
        made = Brackets(layer_class(statement.cls), [*self._arguments(statement), Keyword("name", name)])
        facts_ = lookup(statement.cls)
        many = facts_ is not None and facts_.reads == "many"
        return Brackets(made, [sequence(sources, "[")] if many else list(sources))

    def _default(self, call: Call, key: str, value: Any) -> bool:
        default = call.function.params[key]
        return default is not None and bool(value == default)

    def _arguments(self, made: Make) -> list[Item]:
        """The arguments of a layer, those it needs by position."""
        signature = facts.signature("layer", made.cls)
        required = signature.required if signature is not None else ()
        return self._call_arguments(made.config, required)

    def _call_arguments(self, config: dict[str, Any], required: tuple[str, ...]) -> list[Item]:
        first: list[str] = []
        for key in required:
            if key not in config:
                break
            first.append(key)
        rest = {key: value for key, value in config.items() if key not in first}
        return [*(self.value(config[key], key) for key in first), *self._keywords(rest)]

    def _keywords(self, config: dict[str, Any]) -> list[Keyword]:
        return [Keyword(_word(key), self.value(value, key)) for key, value in config.items()]

    def value(self, value: Any, key: str = "") -> Expr:
        """An argument: objects are made by name, lists are tuples where Keras takes them for sizes."""
        if isinstance(value, Text):
            pieces = [(self.number(p), True) if isinstance(p, Var) else (str(p), False) for p in value.parts]
            return pieces[0][0] if len(pieces) == 1 and pieces[0][1] else f_string(pieces)
        if isinstance(value, Var):
            return self.number(value)
        if isinstance(value, dict) and set(value) == {"class_name", "config"}:
            return self._object(value, key)
        if isinstance(value, dict):
            return sequence([Keyword(quote(str(k)), self.value(v), ": ") for k, v in value.items()], "{")
        if isinstance(value, list):
            objects = any(isinstance(one, (str, dict)) for one in value)
            return sequence([self.value(one) for one in value], "[" if objects else "(")
        return literal(value)

    def _object(self, value: dict[str, Any], key: str) -> Expr:
        name, config = value["class_name"], value["config"] or {}
        kinds = [kind for kind in _OBJECTS if key.endswith(kind)] or ["layer", *_OBJECTS]
        known = next((kind for kind in kinds if facts.signature(kind, name) is not None), None)
        return literal(value) if known is None else self.made(known, name, config)

    def made(self, kind: str, name: str, config: dict[str, Any]) -> Expr:
        """A Keras object of a kind by its class and arguments.

        Raises:
            InternalError: there is none; the spec's reader lets nothing else pass.
        """
        signature = facts.signature(kind, name)
        if signature is None:
            raise InternalError(f"{name!r} is no {kind} of Keras")
        named = f"{facts.MODULES[kind]}.{_word(signature.name)}" if kind != "layer" else layer_class(signature.name)
        return Brackets(named, self._call_arguments(config, signature.required))

    def number(self, value: Any) -> str:
        """A number, or arithmetic over a parameter or an index."""
        if not isinstance(value, Var):
            return str(literal(value))
        name = self.names[value.name]
        product = name if value.scale == 1 else f"{value.scale} * {name}"
        if not value.offset:
            return product
        return f"{product} {'+' if value.offset > 0 else '-'} {abs(value.offset)}"

    def _used(self) -> set[str]:
        return {*self.taken, *self.names.values()}


def _plus(value: Any, more: int) -> Any:
    return Var(value.name, value.scale, value.offset + more) if isinstance(value, Var) else value + more


def _variables(values: list[tuple[int, str]], stem: str, taken: set[str]) -> dict[int, str]:
    """Value → a variable named after it, all different."""
    found: dict[int, str] = {}
    for value, name in values:
        variable = identifier(name, stem)
        while variable in taken or variable in found.values():
            variable += "_"
        found[value] = variable
    return found


def layer_class(name: str) -> str:
    """How the code names a layer class: those of packages are imported by name."""
    found = lookup(name)
    return _word(name) if found is not None and found.keras_class else f"layers.{_word(name)}"


def package_imports(classes: Iterable[str]) -> list[str]:
    """Import lines for the layer classes of packages, sorted."""
    found = set()
    for facts_ in map(lookup, classes):
        if facts_ is not None and facts_.keras_class:
            module, _, name = facts_.keras_class.partition(":")
            found.add(f"from {'.'.join(map(_word, module.split('.')))} import {_word(name)}")
    return sorted(found)


def _word(text: str) -> str:
    """A class or an argument; anything but a word would be code of a stranger's.

    Raises:
        InternalError: it is none; the catalog lets nothing else pass.
    """
    if not text.isidentifier() or not text.isascii():
        raise InternalError(f"{text!r} is no name of a Keras class or argument")
    return text
