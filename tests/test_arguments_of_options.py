# ruff: noqa: F811
"""The walk of `test_arguments` over other than functions: options of models, methods, and the classes of arguments."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing

import pytest
from test_arguments import (  # noqa: F401
    OWN_RANGES,
    cells,
    corpus,
    fits,
    hints,
    images,
    namespace,
    out_of_range,
    refusal_problem,
)

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm._ranges import between
from spatialfm._signatures import SAYS_MORE
from spatialfm.learn.context_slices import Slicing
from spatialfm.models.recipe import Recipe
from spatialfm.models.registry import _entries, options_of

OWN_RANGES[("Slicing", "alpha")] = between(0, 1)  # as its class states it
MODELS = {name: entry for name, entry in _entries().items() if options_of(name)}
CLASSES = {one.__name__: one for one in (sfm.Run, sfm.Panel, sfm.Elements, Recipe, Slicing)}


def problems(call, hints_of, defaults, values, where="") -> list[str]:
    """What was not refused by name, of all values that a type or a range does not allow."""
    found = []
    for name, hint in hints_of.items():
        if name in SAYS_MORE:
            continue
        for value in (value for some in values.values() for value in some):
            if fits(value, hint) and not out_of_range(name, value, hint, defaults[name], where):
                continue
            if (value is None and defaults[name] is None) or (isinstance(value, str) and value == defaults[name] == ""):
                continue
            if problem := refusal_problem(call, {name: value}, name):
                found.append(f"{where}({name}={value!r:.60}): {problem}")
    return found


@pytest.mark.parametrize("name", MODELS)
def test_wrong_options_of_models_are_refused_by_name(name, cells, images):
    build = MODELS[name].build
    build = build.__init__ if inspect.isclass(build) else build
    parameters = inspect.signature(build).parameters
    wanted = {option: hint for option, hint in hints(build).items() if option in options_of(name)}
    assert set(wanted) == set(options_of(name))
    call = functools.partial(sfm.models.load, name, weights="random" if MODELS[name].card.needs_weights else None)
    found = problems(call, wanted, {one: parameters[one].default for one in wanted}, corpus(cells, images), name)
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("name", CLASSES)
def test_wrong_fields_are_refused_by_name(name, cells, images):
    kind = CLASSES[name]
    fields = {one.name: one.default for one in dataclasses.fields(kind) if one.init}
    written = type(name, (), {"__annotations__": {one.name: one.type for one in dataclasses.fields(kind) if one.init}})
    known = typing.get_type_hints(written, globalns=namespace(kind.__module__))
    found = problems(kind, known, fields, corpus(cells, images), name)
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("method", ["save", "load"])
def test_wrong_paths_of_an_index_are_refused_by_name(method, cells, images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = getattr(sfm.tl.build_index(cells, "X_latent"), method)
    values = corpus(cells, images) | {"text": []}
    found = problems(call, {"path": hints(call)["path"]}, {"path": inspect.Parameter.empty}, values, method)
    assert not found, "\n".join(found)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TableError, match="is not an index"):
        sfm.tl.Index.load("no such file")
