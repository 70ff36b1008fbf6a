"""From the text of an annotation to the rule that it states; no module is imported to read one."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import _ranges
from ._arguments import (
    Array,
    Choice,
    Either,
    File,
    Fixed,
    Flag,
    Function,
    Instance,
    Many,
    Nothing,
    Number,
    Rule,
    Table,
    Text,
)

MAY_BE_EMPTY = ("key_added", "label", "text", "title")  # of figures; of keys, the function refuses what they may not be
SAYS_MORE = ("channel_names", "client")  # the readers and the engine name the place and the call that fixes it
LISTS = {"Collection", "Iterable", "Sequence", "frozenset", "list", "set"}
DICTS = {"Mapping", "MutableMapping", "dict"}
PATHS = {"Path", "PathLike"}
OURS = __package__


@dataclass(frozen=True)
class Argument:
    """What is asked of one argument: its name and default, and the module in whose words it is annotated."""

    name: str
    default: object
    module: str


def rules_of(function: Callable) -> dict[str, Rule]:
    """Rule of each named argument of a function; None is allowed where it is the default."""
    rules = {}
    for name, one in inspect.signature(function).parameters.items():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) or one.annotation is one.empty or name in SAYS_MORE:
            continue
        text = one.annotation if isinstance(one.annotation, str) else inspect.formatannotation(one.annotation)
        rule = read(ast.parse(text, mode="eval").body, Argument(name, one.default, function.__module__))
        if one.default is None and type(rule) is not Rule:
            rule = _either([rule, Nothing()])
        rules[name] = rule
    return rules


def read(node: ast.expr, argument: Argument) -> Rule:
    """Rule of one expression of an annotation; what is not understood allows everything."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either([read(node.left, argument), read(node.right, argument)])
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # quoted: a name that is defined further below
            return read(ast.parse(node.value, mode="eval").body, argument)
        return Nothing() if node.value is None else Rule()
    if isinstance(node, ast.Subscript):
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _subscript(ast.unparse(node.value).rpartition(".")[2], inner, argument)
    if isinstance(node, ast.Name | ast.Attribute):
        return _name(ast.unparse(node), argument)
    return Rule()


def _subscript(kind: str, inner: list[ast.expr], argument: Argument) -> Rule:
    if kind == "Literal":
        return Choice(tuple(ast.literal_eval(one) for one in inner))
    if kind == "Annotated":
        return _annotated(inner, argument)
    if kind in ("Optional", "Union"):
        return _either([*(read(one, argument) for one in inner), *([Nothing()] if kind == "Optional" else [])])
    if kind in DICTS:
        return Table(read(inner[0], argument), read(inner[1], argument))
    if kind in LISTS:
        rule = read(inner[0], argument)
        # numbers that must be given are data, of which the function names the patients
        number = isinstance(rule, Flag) or (isinstance(rule, Number) and not rule.whole)
        data = number and argument.default is inspect.Parameter.empty
        return Many(Rule() if data else rule)
    if kind == "tuple":
        return _tuple(inner, argument)
    if kind == "Callable":
        return Function()
    return _name(kind, argument)


def _tuple(inner: list[ast.expr], argument: Argument) -> Rule:
    if isinstance(inner[-1], ast.Constant) and inner[-1].value is Ellipsis:
        return Many(read(inner[0], argument))
    rules = [read(one, argument) for one in inner]
    return Many(rules[0], len(rules)) if all(one == rules[0] for one in rules) else Fixed(tuple(rules))


def _annotated(inner: list[ast.expr], argument: Argument) -> Rule:
    """``Annotated[int, at_least(8)]``: the range in the signature takes precedence over that of the name."""
    rule = read(inner[0], argument)
    for node in inner[1:]:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and hasattr(_ranges, node.func.id):
            span = getattr(_ranges, node.func.id)(*map(ast.literal_eval, node.args))
            options = rule.options if isinstance(rule, Either) else (rule,)
            rule = _either([Number(one.whole, span) if isinstance(one, Number) else one for one in options])
    return rule


def _name(name: str, argument: Argument) -> Rule:
    short = name.rpartition(".")[2]
    if short in ("int", "float"):
        whole = short == "int"
        return Number(whole, _ranges.range_of(argument.name, whole=whole, default=argument.default))
    if short == "str":
        return Text(argument.name in MAY_BE_EMPTY or argument.default == "")
    if short == "bool":
        return Flag()
    if short in PATHS:
        return File()
    if short in ("Any", "object"):
        return Rule()
    if short in LISTS or short == "tuple":
        return Many(Rule())
    if short in DICTS:
        return Table(Rule(), Rule())
    if short == "Callable":
        return Function()
    if short == "Any":
        return Rule()
    if short == "ndarray":
        return Array()
    return _defined(name, argument)


def _defined(name: str, argument: Argument) -> Rule:
    """A class or an alias, where the module has it from."""
    module, names = argument.module, names_of(argument.module)
    first, _, rest = name.partition(".")
    definition = names.get(first)
    for _ in range(10):  # a name may be handed on through several modules of ours
        if definition is None:
            return Rule()
        if isinstance(definition, str):  # a class that is defined here
            return Instance(definition, module)
        if isinstance(definition, ast.expr):
            return read(definition, Argument(argument.name, argument.default, module))
        module, first = definition
        if module.partition(".")[0] != OURS:
            return Instance(rest.rpartition(".")[2] or first, module) if rest or first else Rule()
        definition = names_of(module).get(first)
    return Rule()


@functools.cache
def names_of(module: str) -> dict[str, str | ast.expr | tuple[str, str]]:
    """What the text of a module defines: classes, aliases of types, and where its imports come from."""
    try:
        file = getattr(sys.modules.get(module), "__file__", None) or _origin(module)
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError):
        return {}  # typed at a prompt, or shipped without its text: nothing is known, nothing refused
    package = module if Path(file).name == "__init__.py" else module.rpartition(".")[0]
    definitions: dict[str, str | ast.expr | tuple[str, str]] = {}
    statements = list(tree.body)
    for one in statements:
        if isinstance(one, ast.If):  # TYPE_CHECKING
            statements += one.body
        elif isinstance(one, ast.ClassDef):
            definitions[one.name] = one.name
        elif isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            definitions[one.targets[0].id] = one.value
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.value is not None:
            definitions[one.target.id] = one.value
        elif isinstance(one, ast.Import):
            definitions |= {(alias.asname or alias.name).partition(".")[0]: (alias.name, "") for alias in one.names}
        elif isinstance(one, ast.ImportFrom):
            source = one.module or ""
            if one.level:
                source = importlib.util.resolve_name("." * one.level + source, package)
            definitions |= {alias.asname or alias.name: (source, alias.name) for alias in one.names}
    return definitions


def _origin(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return "" if spec is None or spec.origin is None else spec.origin


def _either(rules: list[Rule]) -> Rule:
    """One rule of several, without repetition; anything where one of them allows it."""
    flat: list[Rule] = []
    for one in rules:
        flat += [rule for rule in (one.options if isinstance(one, Either) else (one,)) if rule not in flat]
    if any(type(one) is Rule for one in flat):
        return Rule()
    if any(isinstance(one, File) for one in flat):
        flat = [one for one in flat if not isinstance(one, Text)]  # a path is a string too
    flat.sort(key=lambda one: isinstance(one, Nothing))  # None is named last
    return flat[0] if len(flat) == 1 else Either(tuple(flat))
