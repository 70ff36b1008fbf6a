"""Warnings point at the line of the user; bars listen to tqdm's own variables; names say what they hold."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import spatialfm as sfm
from spatialfm._errors import ModelError, SpatialfmWarning, said_once, warn
from spatialfm._renamed import RENAMED


def test_a_warning_of_a_run_points_at_the_line_that_called_the_package():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # resample=False is warned of at a depth of several files
        sfm.tl.embed_cells(
            sdata, "kronos", weights="random", markers=["DAPI"], elements={"mpp": 1.9}, recipe={"resampling": "none"}
        )
    ours = [one for one in caught if issubclass(one.category, SpatialfmWarning)]
    assert ours
    assert {one.filename for one in ours} == {__file__}


def test_frames_of_other_packages_between_are_skipped():
    scope: dict[str, object] = {}
    file = sys.modules["spatialfm"].__file__
    exec(compile("def outer(call):\n    return sorted([1, 2], key=call)\n", file, "exec"), scope)
    exec(
        compile("def inner(number):\n    return warn(str(number)) or number\n", file, "exec"),
        scope | {"warn": warn},
        inner := {},
    )
    with pytest.warns(SpatialfmWarning) as caught:
        scope["outer"](inner["inner"])
    assert {one.filename for one in caught} == {__file__}


@pytest.mark.parametrize("hidden", [False, True])
def test_bars_respect_tqdm_disable(hidden):
    code = "from spatialfm._progress import progress_bar\nlist(progress_bar(range(3), desc='bar of a run'))"
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    environment |= {"SPATIALFM_PROGRESS": "1"} | ({"TQDM_DISABLE": "1"} if hidden else {})
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ("bar of a run" in ran.stderr) is not hidden


def test_other_packages_are_quoted_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with said_once():
            for number in range(6):
                warnings.warn(f"hint {number % 2}", FutureWarning, stacklevel=1)
    assert sorted(str(one.message) for one in caught) == ["hint 0", "hint 1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FutureWarning), said_once():  # what the user wants as an error stays one
            warnings.warn("hint", FutureWarning, stacklevel=1)


def test_writing_a_cohort_does_not_repeat_itself(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=2, image_size=96, random_state=0, difficulty="easy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sfm.io.write(sdata, tmp_path / "cohort.zarr")
    messages = [(one.category, str(one.message)) for one in caught]
    assert len(messages) == len(set(messages))


ROOMS = ("io", "pp", "tl", "pl", "get", "metrics", "datasets", "models", "train")


def public_functions() -> list:
    found = [
        getattr(getattr(sfm, room), name)
        for room in ROOMS
        for name in getattr(getattr(sfm, room), "__all__", dir(getattr(sfm, room)))
    ]
    found = [one for one in [*found, sfm.report] if inspect.isfunction(one) and one.__module__.startswith("spatialfm.")]
    kinds = {one: {p.kind for p in inspect.signature(one).parameters.values()} for one in found}
    # those that take options of a model have a test of their own
    return [one for one in found if kinds[one] and inspect.Parameter.VAR_KEYWORD not in kinds[one]]


@pytest.mark.parametrize("function", public_functions(), ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_a_keyword_with_a_typo_says_which_was_meant(function):
    """For every public function; the arguments themselves are never looked at."""
    parameters = inspect.signature(function).parameters.values()
    required = [one for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    name = max((one.name for one in parameters), key=len)
    typo = name[:1] + name[2:] if len(name) > 3 else name + name[-1]
    with pytest.raises(TypeError, match=rf"^{function.__name__}\(\) has no argument '{typo}'. Did you mean '"):
        function(*[None] * len(required), **{typo: None})


@pytest.mark.parametrize("call", ["embed_cells", "embed_tiles"])
def test_a_typo_beside_options_of_a_model(call):
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    function = getattr(sfm.tl, call)
    with pytest.raises(TypeError, match=rf"{call}\(\) has no argument 'intensty_max'. Did you mean 'intensity_max', a"):
        function(sdata, "kronos", weights="random", intensty_max=255)
    with pytest.raises(TypeError, match="no argument 'token_overlp'. Did you mean 'token_overlap'"):
        function(sdata, "kronos", weights="random", token_overlp=True)
    with pytest.raises(ModelError, match="no option 'zoom'. There are: .*token_overlap"):
        sfm.models.load("kronos", weights="random", zoom=2)
    with pytest.raises(ModelError, match="no option 'weigths'. Did you mean 'weights'"):
        sfm.models.load("kronos", weigths="random")
    assert "table" not in sdata.tables


def renames() -> list[tuple[str, str, str]]:
    """Function, old and new name of each row of the changelog's table that names a function."""
    text = (Path(__file__).resolve().parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)\((.+?)\)` \| `(.+?)` \|$", text.partition("\n## [0.1.0]")[0], re.MULTILINE)
    return [
        (name, *(one.partition("=")[0].strip() for one in pair))
        for name, old, new in rows
        for pair in zip(old.split(","), new.split(","), strict=True)
    ]


def test_an_old_name_of_an_argument_is_answered_with_the_new_one():
    told = {(name.partition(".")[2], old, new) for name, old, new in renames()}
    assert told == {(name, old, new) for name, pairs in RENAMED.items() for old, new in pairs.items()}
    for name, old, new in renames():
        function = functools.reduce(getattr, name.split("."), sfm)
        with pytest.raises(
            TypeError, match=rf"^{function.__name__}\(\) has no argument '{old}'. It is called '{new}'."
        ):
            function(**{old: None})


@pytest.mark.parametrize(("function", "name"), [(sfm.tl.logrank, "patients"), (sfm.tl.niches, "adata")])
def test_the_table_of_rows_by_another_name(function, name):
    with pytest.raises(TypeError, match=f"no argument 'samples'. It is called '{name}'."):
        function(samples=None)


def test_the_same_thing_has_the_same_name_in_all_functions():
    """Names of what several functions take; a new function that calls it otherwise is found here."""
    others = {  # these were used, next to the one that stayed
        "groupby", "sample_key", "type_key", "table_key", "labels_key", "image_key", "mpp_key", "cells_label_key",
        "cells_sample_key", "celltype_key", "cell_type_key", "obs_key", "obsm_key", "rep", "embedding_key", "seed",
        "seeds", "samples_key", "library_id", "roi_key", "layer_key", "tiles", "cells_key",
    }  # fmt: skip
    for room in ("datasets", "io", "metrics", "pl", "pp", "tl", "get", "train"):
        for name in getattr(sfm, room).__all__:
            function = getattr(getattr(sfm, room), name)
            parameters = inspect.signature(function).parameters if inspect.isfunction(function) else {}
            assert not others & set(parameters), name
            if "patient_key" in parameters and parameters["patient_key"].default is not inspect.Parameter.empty:
                assert parameters["patient_key"].default == "patient", name
            if "library_key" in parameters:
                assert parameters["library_key"].default == "sample", name
            first = next(iter(parameters.values()), None)
            if first is not None and str(first.annotation) == "AnnData":
                assert first.name in ("adata", "patients", "source"), name


SOURCE = Path(sfm.__file__).parent


@functools.cache
def defined() -> list[tuple[str, str, type]]:
    """Name, file, and kind of all classes and functions of modules that other files may take."""
    return [
        (node.name, path.relative_to(SOURCE).as_posix(), type(node))
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_")
    ]


def test_no_two_classes_have_one_name():
    files: dict[str, list[str]] = {}
    for name, file, kind in defined():
        if kind is ast.ClassDef:
            files.setdefault(name, []).append(file)
    assert {name: where for name, where in files.items() if len(where) > 1} == {}


def test_a_public_name_stands_for_nothing_else():
    """Figures, stages of the command line and parts of the report are called like the function that they are of."""
    public = {}
    for room in ROOMS:
        for name in dir(getattr(sfm, room)):
            member = getattr(getattr(sfm, room), name)
            if room != "pl" and (inspect.isfunction(member) or inspect.isclass(member)):
                public[name] = inspect.unwrap(member).__module__.removeprefix("spatialfm.").replace(".", "/") + ".py"
    like_it = ("pl/", "cli/", "reporting/", "_demo")
    others = [(name, file) for name, file, _ in defined() if public.get(name, file) != file]
    assert [(name, file) for name, file in others if not file.startswith(like_it)] == []


SAY_NOTHING = {"found", "thing", "stuff", "tmp", "obj", "res"}


def names_that_say_nothing(source: str) -> list[str]:
    """Local variables and parameters of functions whose names would fit anything."""
    if not SAY_NOTHING & set(re.findall(r"\w+", source)):
        return []
    functions = [one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.FunctionDef | ast.Lambda)]
    bound = [
        (node.lineno, node.arg if isinstance(node, ast.arg) else node.id)
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    ]
    return [f"line {line}: {name}" for line, name in dict.fromkeys(bound) if name in SAY_NOTHING]


def test_local_names_say_what_they_hold():
    source = Path(sfm.__file__).parent
    wrong = {
        path.relative_to(source).as_posix(): lines
        for path in sorted(source.rglob("*.py"))
        if (lines := names_that_say_nothing(path.read_text(encoding="utf-8")))
    }
    assert not wrong


def test_names_that_say_nothing_are_seen():
    source = "found = 1\ndef f(x, tmp=3):\n    if found := x:\n        return lambda obj: [thing for thing in found]\n"
    names = [one.partition(": ")[2] for one in names_that_say_nothing(source)]
    assert sorted(set(names)) == ["found", "obj", "thing", "tmp"]


IS_NO = re.compile(r"(?<!there )\b(?:is|are|was|were)[\s\"f#]+no (?!longer\b|more\b|farther\b)\w+", re.IGNORECASE)

A_ROW_A = re.compile(r"\b(?:one|a) (?:row|column|vector) an? (?!time\b)\w+", re.IGNORECASE)


def test_rows_are_counted_per_cell_in_plain_english():
    """``one row per patient``, never ``a row a patient``."""
    phrases = {
        path.relative_to(SOURCE).as_posix(): phrase
        for path in sorted(SOURCE.rglob("*.py"))
        if (phrase := A_ROW_A.findall(path.read_text(encoding="utf-8")))
    }
    assert not phrases
    assert A_ROW_A.search("one row a patient")


def test_what_something_is_not_is_said_in_plain_english():
    """``is not a folder`` and ``there is no folder``, but never ``is no folder``."""
    source = Path(sfm.__file__).parent
    phrases = {
        path.relative_to(source).as_posix(): phrase
        for path in sorted(source.rglob("*.py"))
        if (phrase := IS_NO.findall(path.read_text(encoding="utf-8")))
    }
    assert not phrases
    assert IS_NO.search('f"masks={root} is "\n    f"no folder"')
    assert not IS_NO.search("there is no folder: it is no longer there, and no farther than the sea")
