"""Wrong values for every argument of every public function are refused by name, at once, and nothing is written.

What is wrong is decided here a second time, from the annotations as `typing` evaluates them: the package reads them as
text. Functions and arguments are taken from the package, so that a new one is walked without an entry.
"""

from __future__ import annotations

import ast
import collections.abc
import functools
import importlib
import inspect
import math
import os
import re
import time
import types
import typing
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ArgumentTypeError, SpatialfmError
from spatialfm._public import public, taken
from spatialfm._ranges import LARGEST, RANGES, Range, above, range_of
from spatialfm._signatures import MAY_BE_EMPTY, SAYS_MORE, rules_of

# arguments that mean another thing in one function, as it states in its signature
OWN_RANGES = {("tl.predict_expression", "alpha"): above(0.0)}
ROOMS = ("io", "datasets", "pp", "models", "tl", "metrics", "pl", "get")
DOCS = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
SLOWEST = 2.0  # seconds of the processor for one refusal; the first of all imports what messages need


def functions() -> dict[str, collections.abc.Callable]:
    names = {room: getattr(sfm, room).__all__ if room != "get" else dir(sfm.get) for room in ROOMS}
    found = {f"{room}.{name}": getattr(getattr(sfm, room), name) for room in ROOMS for name in names[room]}
    found["report"] = sfm.report
    return {
        name: one
        for name, one in found.items()
        if inspect.isfunction(one) and one.__module__.startswith("spatialfm.") and hasattr(one, "arguments")
    }


FUNCTIONS = functions()
FUNCTIONS_OF_GET = [name.partition(".")[2] for name in FUNCTIONS if name.startswith("get.")]


# ---------------------------------------------------------------------------------- what `typing` makes of annotations


@functools.cache
def namespace(module: str) -> dict[str, object]:
    """Names of a module, with those that it imports for type checkers only."""
    names = dict(vars(importlib.import_module(module)))
    for node in ast.parse(Path(names["__file__"]).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            exec(compile(ast.Module(node.body, []), names["__file__"], "exec"), names)
    return names


def hints(function: collections.abc.Callable) -> dict[str, object]:
    function = inspect.unwrap(function)
    found = typing.get_type_hints(function, globalns=namespace(function.__module__))
    parameters = inspect.signature(function).parameters
    varying = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {name: found[name] for name, one in parameters.items() if one.kind not in varying and name in found}


def fits(value: object, hint: object) -> bool:
    """Whether a value is of a type, as a reader of the signature would say."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (typing.Any, object):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if hint is type(None):
        return value is None
    if origin is typing.Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if hint is str:
        return isinstance(value, str) and value != ""
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint in (int, float):
        kinds = int | np.integer if hint is int else int | float | np.integer | np.floating
        return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
    if (origin or hint) in (collections.abc.Mapping, dict):
        return isinstance(value, dict) and all(
            fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items() if inner
        )
    if (origin or hint) is tuple and inner and inner[-1] is not Ellipsis:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if (origin or hint) in (collections.abc.Sequence, collections.abc.Iterable, list, tuple):
        if not isinstance(value, list | tuple | pd.Index | pd.Series | np.ndarray):
            return False
        return all(fits(one, inner[0]) for one in value) if inner else True
    if hint is np.ndarray:
        return isinstance(value, list | tuple | np.ndarray | pd.DataFrame)
    if hint is os.PathLike or origin is os.PathLike or hint is Path:
        return isinstance(value, os.PathLike)
    return isinstance(value, origin or hint)


# ------------------------------------------------------------------------------------------------------------- values


class Something:
    """Of no type that a function knows."""


@pytest.fixture(scope="module")
def cells() -> AnnData:
    return sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=30, random_state=0)


@pytest.fixture(scope="module")
def images():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    return sdata


def corpus(cells: AnnData, images) -> dict[str, list[object]]:
    return {
        "None": [None],
        "number": [7, 0.5, 10**20],
        "negative": [-3, -0.5],
        "zero": [0],
        "not finite": [math.nan, math.inf, -math.inf],
        "truth value": [True],
        "text": ["no such thing"],
        "empty text": [""],
        "bytes": [b"name"],
        "list": [[], ["a", None], [3.5, "a"], [[]], ("a", b"b")],
        "dict": [{"a": object()}, {3: "a"}],
        "set": [{"a"}],
        "array": [np.zeros((2, 2, 2), bool), np.array(["a", None])],
        "frame": [pd.DataFrame({"a": [1]}), pd.Series([1.5, None])],
        "AnnData": [cells],
        "SpatialData": [images],
        "object": [Something(), Something, len],
    }


def valid(hint: object, cells: AnnData, images) -> object:
    """A value that the type allows, for the arguments that are not tried."""
    tables = {"a": pd.DataFrame({"p_value": [0.5]})}
    for value in (cells, images, "type", [0.5], [True], ["a"], tables["a"], np.zeros((3, 2)), tables, {"a": 0.5}):
        if fits(value, hint):
            return value
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)[0]
    if isinstance(hint, type) and hint.__name__ == "Index":
        return sfm.tl.build_index(cells, "X_latent")
    if isinstance(hint, type) and hint.__name__ == "ModelCard":
        return sfm.models.card("classical")
    if isinstance(hint, type) and hint.__name__ == "Encoder":
        return sfm.models.load("classical")
    return 3


def out_of_range(name: str, value: object, hint: object, default: object, function: str = "") -> bool:
    """Whether a single number, of a type that is allowed, is outside of what the table of ranges allows."""
    kinds = typing.get_args(hint) or (hint,)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = [one is int for one in kinds if one in (int, float) and fits(value, one)]
    return bool(whole) and all(
        value not in OWN_RANGES.get((function, name), range_of(name, whole=one, default=default)) for one in whole
    )


def contents(thing: object) -> object:
    """Everything that a table or a SpatialData has by name, and the bytes of what is in memory."""
    if isinstance(thing, AnnData):
        parts = {"X": np.asarray(thing.X)} | {f"obs {name}": thing.obs[name].to_numpy() for name in thing.obs}
        parts |= {f"obsm {name}": np.asarray(value) for name, value in thing.obsm.items()}
        names = [list(one) for one in (thing.obs, thing.var, thing.obsm, thing.uns, thing.layers, thing.obsp)]
        return names, {name: pd.util.hash_array(np.ravel(part)).sum() for name, part in parts.items()}
    elements = sorted(f"{kind} {name}" for kind, name, _ in thing.gen_elements())
    return elements, sorted(thing.attrs), {name: contents(table) for name, table in thing.tables.items()}


# ----------------------------------------------------------------------------------------------------------- the walk


def wrong(name: str, cells: AnnData, images) -> collections.abc.Iterator[tuple[str, str, object]]:
    """Argument, kind and value of everything that a function must refuse."""
    function, kinds = FUNCTIONS[name], hints(FUNCTIONS[name])
    parameters, values = inspect.signature(function).parameters, corpus(cells, images)
    for argument, hint in kinds.items():
        if argument in SAYS_MORE:
            continue
        default = parameters[argument].default
        data = default is inspect.Parameter.empty and re.search(r"Sequence\[(float|bool)\]", str(hint))
        for kind, value in ((kind, value) for kind, some in values.items() for value in some):
            if fits(value, hint) and not out_of_range(argument, value, hint, default, name):
                continue
            if value is None and default is None:
                continue
            if data and isinstance(value, list | tuple | np.ndarray | pd.Series):
                continue  # the function answers, with the place
            if kind == "empty text" and (argument in MAY_BE_EMPTY or default == ""):
                continue
            yield argument, kind, value


def refusal_problem(function: collections.abc.Callable, arguments: dict[str, object], name: str) -> str:
    start = time.process_time()
    try:
        function(**arguments)
    except SpatialfmError as error:
        message = str(error)
        if not isinstance(error, ArgumentError) or f"{name}=" not in message or f"{name} must be" not in message:
            return f"not its name: {type(error).__name__} {message:.200}"
        if (took := time.process_time() - start) > SLOWEST:
            return f"refused after {took:.2f} s"
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.120}"
    return "not refused"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_values_are_refused_by_name_and_write_nothing(name, cells, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds, parameters = hints(FUNCTIONS[name]), inspect.signature(FUNCTIONS[name]).parameters
    others = {
        one: valid(kinds[one], cells, images) for one in kinds if parameters[one].default is inspect.Parameter.empty
    }
    before, failed = (contents(cells), contents(images)), []
    for argument, _, value in wrong(name, cells, images):
        if problem := refusal_problem(FUNCTIONS[name], others | {argument: value}, argument):
            failed.append(f"{name}({argument}={value!r:.60}): {problem}")
    assert not failed, f"{len(failed)} were not refused as they must be:\n" + "\n".join(failed[:20])
    assert (contents(cells), contents(images)) == before
    assert not list(tmp_path.iterdir())


def test_the_page_on_reliability_has_the_numbers_of_this_walk(cells, images):
    """By kind, as of its last writing: functions that were added since may make them larger, not much."""
    tried = Counter(kind for name in FUNCTIONS for _, kind, _ in wrong(name, cells, images))
    section = DOCS.read_text(encoding="utf-8").partition("(arguments)=")[2].partition("\n(")[0]
    written = {
        row[0]: int(row[1].replace(",", "")) for row in re.findall(r"^\| ([\w ]+) \| ([\d,]+) \|", section, re.M)
    }
    lines = "\n".join(f"| {kind} | {number:,} |" for kind, number in tried.items())
    lines += f"\n| all | {tried.total():,} |"
    assert set(written) == {*tried, "all"}, lines
    assert all(written[kind] <= number <= 1.25 * written[kind] + 20 for kind, number in tried.items()), lines
    assert written["all"] == sum(written[kind] for kind in tried), lines


def test_every_public_function_is_walked():
    for room in ROOMS:
        module = getattr(sfm, room)
        for name in getattr(module, "__all__", FUNCTIONS_OF_GET):
            one = getattr(module, name)
            assert not inspect.isfunction(one) or f"{room}.{name}" in FUNCTIONS, f"{room}.{name} is not @public"


# ------------------------------------------------------------------------------------------- written out, one by one


@pytest.mark.parametrize(
    ("annotation", "name", "value", "message"),
    [
        ("int | None", "batch_size", -3, "f(batch_size=-3): batch_size must be a whole number of at least 1 or None."),
        ("int", "n_trials", 3.0, "f(n_trials=3.0): n_trials must be a whole number of at least 1. Pass 3."),
        ("int", "n_trials", 10**12, "must be a whole number of at least 1. The largest is 2,147,483,647."),
        ("int", "random_state", -1, "random_state must be a whole number of at least 0."),
        ("int", "n_jobs", 0, "n_jobs must be a whole number other than 0."),
        ("float", "alpha", 1, "alpha must be a number above 0 and below 1."),
        ("float", "alpha", float("nan"), "f(alpha=nan): alpha must be"),
        ("float", "threshold", float("inf"), "threshold must be a finite number."),
        ("float", "min_tissue", 1.5, "min_tissue must be a number from 0 to 1."),
        ("bool", "copy", 1, "f(copy=1): copy must be True or False."),
        ("str", "label_key", None, "f(label_key=None): label_key must be a string."),
        ("str", "label_key", "", "label_key must be a string. It is empty."),
        ("Sequence[str] | None", "samples", "a", "samples must be a list of strings or None. Pass ['a']."),
        ("Sequence[str]", "samples", ["a", 3], "samples must be a list of strings. Item 1 is 3."),
        ("Sequence[str]", "samples", {"a"}, "A set has no order: pass sorted(...)."),
        ("Literal['raise', 'drop']", "on_missing", "drpo", "must be 'raise' or 'drop'. Did you mean 'drop'?"),
        ("Literal['raise', 'drop']", "on_missing", True, "f(on_missing=True): on_missing must be 'raise' or 'drop'."),
        (
            "Mapping[str, float]",
            "mpp",
            {"a": -1},
            "dict of strings to numbers above 0. -1 for 'a' is not a number above",
        ),
        ("Mapping[str, float]", "mpp", {3: 1.0}, "Its key 3 is not a string."),
        ("tuple[float, float]", "figsize", (3,), "figsize must be 2 numbers above 0. There are 1."),
        ("tuple[str, float] | None", "dominance", ("a", "b"), "Item 1 is 'b'."),
        ("str | Path | None", "save", "a\0b", "save must be a path or None."),
        ("AnnData", "adata", "cells.h5ad", "adata must be an AnnData. Read it first: anndata.read_h5ad("),
        ("Annotated[int, at_least(8)]", "n_trials", 7, "n_trials must be a whole number of at least 8."),
    ],
)
def test_messages(annotation, name, value, message):
    with pytest.raises(ArgumentError) as caught:
        stub(annotation, name)(value)
    assert message in str(caught.value)


def test_a_number_that_python_does_not_print():
    with pytest.raises(ArgumentError, match=r"n_trials=a number of about 5001 digits"):
        stub("int", "n_trials")(10**5000)


def stub(annotation: str, name: str, default: str = "") -> collections.abc.Callable:
    """A public function of one argument, as this file would define it."""
    scope: dict[str, object] = {"__name__": __name__}
    exec(f"from __future__ import annotations\ndef f({name}: {annotation!s}{default}): return {name}", scope)
    return public(scope["f"])


def test_tables_and_images_are_told_apart(cells, images):
    with pytest.raises(ArgumentTypeError, match=r"adata must be an AnnData. Pass one of its tables.*sdata\['t"):
        sfm.tl.annotate(images, "type", use_rep="X")
    with pytest.raises(ArgumentTypeError, match="sdata must be a SpatialData. Images and labels are needed"):
        sfm.tl.embed_cells(cells)
    with pytest.raises(ArgumentTypeError, match=r"It has no table: sfm.pp.cell_table\(sdata\) makes one"):
        sfm.pl.forest(type(images)())


def test_the_classes_are_those_that_users_catch():
    for kind in (ValueError, SpatialfmError, ArgumentError):
        with pytest.raises(kind):
            stub("float", "alpha")(2)
    for kind in (TypeError, ValueError, ArgumentTypeError):
        with pytest.raises(kind):
            stub("float", "alpha")("2")


@pytest.mark.parametrize(
    ("annotation", "name", "value", "arrives"),
    [
        ("int", "n_trials", np.int64(4), 4),
        ("int", "n_trials", np.uint8(4), 4),
        ("float", "alpha", np.float32(0.5), 0.5),
        ("float", "C", 3, 3),
        ("float", "alpha", np.array(0.5), 0.5),
        ("int", "n_trials", np.array(4), 4),
        ("str", "label_key", np.array("a"), "a"),
        ("float | None", "mpp", Decimal("0.325"), 0.325),
        ("int", "n_trials", Decimal(4), 4),
        ("float", "alpha", Fraction(1, 4), 0.25),
        ("bool", "copy", np.True_, True),
        ("str", "label_key", np.str_("a"), "a"),
        ("Sequence[str]", "samples", ("a", "b"), ("a", "b")),
        ("Sequence[str]", "samples", pd.Index(["a", "b"]), ["a", "b"]),
        ("Sequence[str]", "samples", pd.Series(["a", "b"], index=[5, 6]), ["a", "b"]),
        ("Sequence[str]", "samples", pd.Categorical(["a", "b"]), ["a", "b"]),
        ("Sequence[str]", "samples", np.array(["a", "b"]), ["a", "b"]),
        ("Sequence[str]", "samples", {"a": 1, "b": 2}.keys(), ["a", "b"]),
        ("Sequence[str]", "samples", {1: "a", 2: "b"}.values(), ["a", "b"]),
        ("Sequence[str] | None", "samples", None, None),
        ("Sequence[float] | None", "resolutions", None, None),
        ("Sequence[int]", "k", range(1, 3), [1, 2]),
        ("Sequence[int]", "k", np.array([1, 2]), [1, 2]),
        ("str | Path | None", "save", Path("a.png"), Path("a.png")),
        ("Literal['raise', 'drop']", "on_missing", np.str_("drop"), "drop"),
        ("tuple[float, float]", "figsize", [3, 4], [3, 4]),
        ("Mapping[str, float]", "mpp", {np.str_("a"): np.float64(0.5)}, {"a": 0.5}),
        ("unknown_to_this_file", "x", object, object),
    ],
)
def test_odd_but_valid_values_arrive_as_the_function_wants_them(annotation, name, value, arrives):
    got = stub(annotation, name)(value)
    assert type(got) is type(arrives)
    assert got == arrives
    if isinstance(got, list | dict):
        assert [type(one) for one in got] == [type(one) for one in arrives]


@pytest.mark.parametrize(
    "number", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("4.5"), Fraction(9, 2)]
)
def test_exact_numbers_that_are_no_count_are_refused(number):
    with pytest.raises(ArgumentError, match="n_trials must be a whole number"):
        stub("int", "n_trials")(number)


def test_what_can_be_walked_over_once_is_refused_untouched():
    names = iter(["a", "b"])
    with pytest.raises(ArgumentTypeError, match=r"pass list\(\.\.\.\)"):
        stub("Sequence[int] | Sequence[str]", "samples")(names)
    assert list(names) == ["a", "b"]


def test_what_a_function_has_as_its_default_is_allowed():
    for name, function in FUNCTIONS.items():
        rules = rules_of(inspect.unwrap(function))
        for argument, one in inspect.signature(function).parameters.items():
            if argument in rules and one.default is not one.empty:
                taken(name, {argument: one.default}, rules)


def test_ranges_agree_with_themselves():
    for name, one in RANGES.items():
        assert isinstance(one, Range), name
        assert one.low < one.high, name
    assert 0 not in range_of("n_shuffles", whole=True)
    assert 0 in range_of("n_shuffles", whole=True, default=0)
    assert LARGEST + 1 not in range_of("max_cells", whole=True)


def test_the_check_costs_microseconds(cells):
    call = public(cheap)
    call(cells, "type")
    start = time.perf_counter()
    for _ in range(2000):
        call(cells, "type", copy=False, samples=["a", "b"])
    assert (time.perf_counter() - start) / 2000 < 200e-6


def cheap(
    adata: AnnData, label_key: str, *, n_trials: int = 3, samples: list[str] | None = None, copy: bool = True
) -> None:
    pass
