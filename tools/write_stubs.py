"""Write `__init__.pyi` of the rooms: what type checkers know of names that are loaded when first touched.

``copy=True`` returns what ``copy=False`` writes, and ``return_fig=True`` the figure: a type checker knows which from
overloads. They repeat a signature three times, and all other names a line of `__init__.py`, so they are made from
these: ``make stubs``. A test compares.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
ROOMS = ("spatialfm.io", "spatialfm.metrics", "spatialfm.pl", "spatialfm.pp", "spatialfm.tl")
SWITCHES = ("copy", "return_fig")
HEADER = "# Made by `make stubs` from the signatures: change those.\n"


@dataclass
class Stub:
    """What is collected of one room: imports by the name they have here, and the text of functions."""

    room: str
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    exported: list[str] = field(default_factory=list)
    unchanged: dict[str, str] = field(default_factory=dict)  # functions that are as they are, and their modules
    functions: list[str] = field(default_factory=list)

    def name_of(self, module: str, name: str, wanted: str) -> str:
        """The name under which something is imported here; a second meaning of a name gets another."""
        here = wanted
        while self.names.setdefault(here, (module, name)) != (module, name):
            here += "_"
        return here

    def text(self) -> str:
        """The file."""
        lines = [f"from {module} import {name} as {name}" for name, module in sorted(self.unchanged.items())]
        for here, (module, name) in sorted(self.names.items(), key=lambda item: (item[1][0][:1] == ".", item[1])):
            if not name:
                lines.append(f"import {module}" + (f" as {here}" if here != module else ""))
            else:
                lines.append(f"from {module} import {name}" + (f" as {here}" if here != name else ""))
        listed = "\n".join(f"    {name!r},".replace("'", '"') for name in sorted(self.exported))
        parts = [HEADER + "\n".join(lines), f"__all__ = [\n{listed}\n]", *self.functions]
        return "\n\n".join(parts) + "\n"


def stub_of(room: str) -> str:
    """The text of a room's stub."""
    stub = Stub(room)
    init = SOURCE.joinpath(*room.split("."), "__init__.py")
    for submodule, names in sorted(lazily_loaded(ast.parse(init.read_text(encoding="utf-8"))).items()):
        module = f"{room}.{submodule}"
        tree = ast.parse(SOURCE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
        functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
        for name in names:
            stub.exported.append(name)
            function = functions.get(name)
            switch = None if function is None else next((s for s in SWITCHES if s in keywords(function)), None)
            if function is None or switch is None:
                stub.unchanged[name] = relative(module, room)
            else:
                stub.functions.append(overloads(function, switch, Resolved(stub, module, bindings(tree, module))))
    return stub.text()


def lazily_loaded(tree: ast.Module) -> dict[str, list[str]]:
    """Modules of a room, and the public names of each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            return ast.literal_eval(node.value)
    raise ValueError("No lazy_loader.attach(submod_attrs=...) in the __init__ of a room.")


def keywords(function: ast.FunctionDef) -> set[str]:
    """Names of the arguments that are given by name."""
    return {one.arg for one in function.args.kwonlyargs}


def bindings(tree: ast.Module, module: str) -> dict[str, tuple[str, str]]:
    """Where the names of a module come from: ``(module, name)``; the name is empty where a module is meant."""
    found: dict[str, tuple[str, str]] = {}
    package = module.rpartition(".")[0]
    statements = list(tree.body)
    for node in statements:
        if isinstance(node, ast.If):
            statements += node.body
        elif isinstance(node, ast.Import):
            found |= {one.asname or one.name: (one.name, "") for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            source = importlib.util.resolve_name(source, package) if node.level else source
            found |= {one.asname or one.name: (source, one.name) for one in node.names}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = (module, node.targets[0].id)
        elif isinstance(node, ast.ClassDef):
            found[node.name] = (module, node.name)
    return found


def relative(module: str, room: str) -> str:
    """A module of ours, as it is imported from within the room."""
    if module.partition(".")[0] != room.partition(".")[0]:
        return module
    if module.startswith(f"{room}."):
        return module.removeprefix(room)
    return "." + module.removeprefix(room.partition(".")[0])


class Resolved(ast.NodeTransformer):
    """Annotations with names that are imported in the stub, and without what only the package itself reads."""

    def __init__(self, stub: Stub, module: str, names: dict[str, tuple[str, str]]) -> None:
        self.stub, self.module, self.known = stub, module, names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id in self.known:
            source, name = self.known[node.id]
            return ast.Name(self.stub.name_of(relative(source, self.stub.room), name, node.id))
        if not hasattr(builtins, node.id):
            raise ValueError(f"{self.module}: nothing says what {node.id!r} of an annotation is.")
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated":
            return self.visit(node.slice.elts[0])
        if isinstance(node.value, ast.Name) and node.value.id == "Literal":
            return ast.Subscript(self.visit(node.value), node.slice)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self.visit(ast.parse(node.value, mode="eval").body) if isinstance(node.value, str) else node

    def value(self, node: ast.expr) -> ast.expr | None:
        """A default as it is written, or what the constant is that it names; None where it is more than that."""
        if isinstance(node, ast.Name) and node.id in self.known:
            module, name = self.known[node.id]
            tree = ast.parse(SOURCE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8"))
            set_to = {ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)}
            node = set_to.get(name, node)
        try:
            ast.literal_eval(node)
        except ValueError:
            return None
        return node

    def text(self, node: ast.expr) -> str:
        """The text of an annotation."""
        return ast.unparse(self.visit(ast.parse(ast.unparse(node), mode="eval").body))


def overloads(function: ast.FunctionDef, switch: str, resolved: Resolved) -> str:
    """The signature three times: without the switch, with it, and where nobody knows."""
    options = members(function.returns)
    if switch == "copy":
        on = [one for one in options if one != "None"]
        off = ["None"]
    else:
        on = [one for one in options if one == "Figure"]
        off = [one for one in options if one != "Figure"]
    literal = resolved.stub.name_of("typing", "Literal", "Literal")
    decorator = resolved.stub.name_of("typing", "overload", "overload")
    maybe = " | None" if switch == "return_fig" else ""
    default = "None" if switch == "return_fig" else "False"
    versions = (
        (f"{switch}: {literal}[False]{maybe} = {default}", off),
        (f"{switch}: {literal}[True]", on),
        (f"{switch}: bool{maybe}", options),
    )
    texts = []
    for argument, returned in versions:
        arguments = filled(parameters(function, switch, argument, resolved))
        result = " | ".join(resolved.text(ast.parse(one, mode="eval").body) for one in returned)
        texts.append(f"@{decorator}\ndef {function.name}(\n{arguments}\n) -> {result}: ...")
    return "\n".join(texts)


def filled(parts: list[str]) -> str:
    """Parameters in lines of up to 120 letters, none of them divided."""
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > 114:
            lines.append("")
        lines[-1] += f"{part}, "
    return "\n".join(f"    {line.rstrip()}" for line in lines).rstrip(",")


def members(returns: ast.expr | None) -> list[str]:
    """The alternatives of a union."""
    if isinstance(returns, ast.BinOp):
        return [*members(returns.left), *members(returns.right)]
    return [] if returns is None else [ast.unparse(returns)]


def parameters(function: ast.FunctionDef, switch: str, argument: str, resolved: Resolved) -> list[str]:
    """Each parameter with its type, and its default where that says something by itself."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    texts = [one_parameter(one, default, resolved) for one, default in zip(positional, defaults, strict=True)]
    texts.append("*" if given.vararg is None else f"*{given.vararg.arg}: {resolved.text(given.vararg.annotation)}")
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        texts.append(argument if one.arg == switch else one_parameter(one, default, resolved))
    if given.kwarg is not None:
        texts.append(f"**{given.kwarg.arg}: {resolved.text(given.kwarg.annotation)}")
    return texts


def one_parameter(one: ast.arg, default: ast.expr | None, resolved: Resolved) -> str:
    """``name: type = default``."""
    text = f"{one.arg}: {resolved.text(one.annotation)}"
    if default is None:
        return text
    value = resolved.value(default)
    return f"{text} = {'...' if value is None else ast.unparse(value)}"


def main() -> int:
    """Write the stubs, or say with ``--check`` whether they are as they would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a stub is out of date")
    check, old = parser.parse_args().check, []
    for room in ROOMS:
        file = SOURCE.joinpath(*room.split("."), "__init__.pyi")
        text = stub_of(room)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            old.append(room)
            if not check:
                file.write_text(text, encoding="utf-8")
    if check and old:
        sys.stderr.write(f"Out of date: {', '.join(old)}. Run make stubs.\n")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
