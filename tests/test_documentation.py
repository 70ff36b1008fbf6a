"""What the build of the documentation draws and executes, and what a page may show."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import math
import re
import sys
from pathlib import Path

import pytest

import spatialfm as sfm
from spatialfm.cli._stage import parameter_texts

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def script(name: str):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_function_that_draws_has_a_figure_and_a_card(tmp_path):
    drawn = set(sfm.pl.__all__) - {"style"}
    gallery = script("gallery")
    assert set(gallery.FIGURES) == drawn
    gallery.write_cards(tmp_path)
    assert "{include} _figures/gallery.txt" in (DOCS / "gallery.md").read_text(encoding="utf-8")
    cards = (tmp_path / "gallery.txt").read_text(encoding="utf-8")
    assert re.findall(r":img-top: _figures/(\w+)\.png", cards) == list(gallery.FIGURES)
    assert re.findall(r":link: generated/spatialfm\.pl\.(\w+)", cards) == list(gallery.FIGURES)


def test_figures_older_than_the_code_that_draws_are_drawn_again(tmp_path, monkeypatch):
    gallery = script("gallery")
    monkeypatch.setattr(gallery, "TARGET", tmp_path)
    assert gallery.outdated() == list(gallery.FIGURES)
    for name in gallery.FIGURES:
        (tmp_path / f"{name}.png").touch()
    assert gallery.outdated() == []


def test_a_figure_is_drawn_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    gallery = script("gallery")
    monkeypatch.setattr(gallery, "TARGET", tmp_path)
    monkeypatch.setattr(sfm.settings, "verbosity", sfm.settings.verbosity)
    gallery.draw(["composition"])
    assert [path.name for path in tmp_path.iterdir()] == ["composition.png"]
    assert (tmp_path / "composition.png").stat().st_size > 5_000


@pytest.mark.skipif("nbformat" not in sys.modules and importlib.util.find_spec("nbformat") is None, reason="docs extra")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cells are in /tmp/cohort/a.tif", "a path of this machine"),
        ("FutureWarning: use another", "a warning of another package"),
        ("(np.float64(0.5), 2)", "a number with its type"),
        ("<Axes: title={'left': 'niches'}>", "an object beside its figure"),
    ],
)
def test_pages_do_not_show_what_is_not_for_readers(text, said):
    tutorials = script("execute_tutorials")
    with pytest.raises(RuntimeError, match=said):
        tutorials._check_page(Path("page.ipynb"), [{"name": "stdout", "text": text}])
    own = "SpatialfmWarning: 3 cells lack a row.\nSpatialfmWarning: 2 patients are missing.\n"
    tutorials._check_page(Path("page.ipynb"), [{"name": "stderr", "text": own}])
    tutorials._check_page(Path("page.ipynb"), [{"data": {"image/png": "aa/tmp/aa", "text/plain": "0.5"}}])


def test_errors_in_the_list_of_questions_are_those_of_the_package():
    page = (DOCS / "questions.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^## `(.+)`$", page, re.MULTILINE)
    assert len(quoted) >= 12
    source = "\n".join(path.read_text(encoding="utf-8") for path in Path(sfm.__file__).parent.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # strings that continue on the next line
    for text in quoted:
        for part in (part.strip() for part in text.split("…")):
            assert part in source, f"no message has {part!r}"


def test_tests_that_pages_name_are_there():
    """In a row of a table that begins with ``::`` the file is that of the last one named before."""
    wrong = []
    for page in DOCS.glob("*.md"):
        file = None
        for found in re.finditer(r"`(tests/[\w/]+\.py)?(?:::(test_\w+)(?:\[[^\]`]*\])?)?`", page.read_text("utf-8")):
            file = ROOT / found[1] if found[1] else file
            if found[0] == "``" or file is None:
                continue
            if not file.is_file() or (found[2] and f"def {found[2]}(" not in file.read_text("utf-8")):
                wrong.append(f"{page.name}: {found[0]}")
    assert not wrong


def test_calls_on_the_page_on_systems_can_be_made():
    """Functions and their named arguments are there, and models that are named are known."""
    text, n_calls = (DOCS / "systems.md").read_text("utf-8"), 0
    for room, name, rest in re.findall(r"`(?:sfm\.)?(tl|pp|train|models|metrics)\.(\w+)(\([^`]*\))?[^`]*`", text):
        function, n_calls = getattr(getattr(sfm, room), name), n_calls + 1
        call = ast.parse(f"f{rest or '()'}", mode="eval").body
        while not isinstance(call.func, ast.Name):  # f(...).method(...)
            call = call.func.value
        known = inspect.signature(function).parameters
        if not any(one.kind is one.VAR_KEYWORD for one in known.values()):  # options of a model are its own
            assert {word.arg for word in call.keywords} <= set(known), (name, rest)
        if name in ("load", "embed_cells"):
            (model,) = (one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, str))
            assert model in sfm.models.list_models().index, model
    assert n_calls >= 25


def cases_of(file: Path, name: str) -> int:
    """Cases of a test, as its marks list them."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        spec = importlib.util.spec_from_file_location(f"counted_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "tests"))
    marks = [mark for mark in getattr(getattr(module, name), "pytestmark", []) if mark.name == "parametrize"]
    return math.prod(len(list(mark.args[1])) for mark in marks)


def test_faults_on_the_page_on_reliability_are_counted_as_their_tests_count_them():
    file, wrong, n_counted = None, [], 0
    for line in (DOCS / "reliability.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        named = re.fullmatch(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`", cells[-1])
        file = ROOT / named[1] if named and named[1] else file
        written = [cell for cell in cells[1:2] if cell.isdigit()] + re.findall(r"\((\d+) cases", line)
        if named and named[2] and len(written) == 1:
            n_counted += 1
            if int(written[0]) != cases_of(file, named[2]):
                wrong.append(f"{named[2]}: {written[0]}, and it has {cases_of(file, named[2])}")
    assert not wrong
    assert n_counted >= 10


# --------------------------------------------------------------------------------------------- docstrings on pages


def public_docstrings():
    for room in ("", "pp", "tl", "pl", "io", "get", "models", "train", "metrics", "datasets"):
        module = getattr(sfm, room) if room else sfm
        for name in getattr(module, "__all__", []):
            if callable(one := getattr(module, name)):
                yield f"spatialfm.{room}.{name}".replace("..", "."), one


def test_returned_values_in_sentences_are_one_field_and_types_are_left():
    docstrings = script("docstrings")
    said = ["None. Writes", "", "- `a`: one,", "  or two."]
    text = ["Sum.", "", "Returns", "-------", *said, "", "Raises", "------", "E"]
    section = ["In sentences", "------------", *said, "", ".. end of the sentences", ""]
    assert docstrings.returns_as_text(text) == ["Sum.", "", *section, "Raises", "------", "E"]
    left = ["Sum.", ".. rubric:: In sentences", "", *said, "", ".. end of the sentences", "", ":raises E:"]
    field = [":returns: None. Writes", "", "          - `a`: one,", "            or two.", "", ""]
    assert docstrings.returns_as_field(left) == ["Sum.", *field, ":raises E:"]
    typed = ["Returns", "-------", "Path", "    Of the store.", ""]
    assert docstrings.returns_as_text(typed) == typed
    assert docstrings.fields_as_parameters(["A.", "Attributes", "----------", "x", "    One."])[1] == "Parameters"


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="docs extra")
def test_no_sentence_of_a_docstring_is_taken_for_a_type():
    """As napoleon writes fields: what it took for names is bold, and for types in italics."""
    from sphinx.ext.napoleon import Config, NumpyDocstring

    docstrings = script("docstrings")
    own = [("Writes", "params_style"), docstrings.SENTENCES]
    config = Config(napoleon_use_rtype=True, napoleon_custom_sections=own)
    n_returns, wrong = 0, []
    for name, one in public_docstrings():
        lines = (inspect.getdoc(one) or "").splitlines()
        docstrings.prepare(None, "class" if inspect.isclass(one) else "function", name, one, None, lines)
        lines = NumpyDocstring(lines, config).lines()
        docstrings.finish(None, "", name, one, None, lines)
        shown = "\n".join(lines)
        assert docstrings.SENTENCES not in shown
        n_returns += ":returns:" in shown
        shown = re.sub(r"``[^`]*``", "", shown)
        for field in re.findall(r"^:(?:returns|rtype): (.*(?:\n .*|\n$)*)", shown, re.MULTILINE):
            if re.search(r"^\s*\* (\*\*|\*\w)|^\*\w|\*\*[^*]*`", field, re.MULTILINE):
                wrong.append((name, field[:80]))
    assert not wrong
    assert n_returns > 100


def test_fields_of_classes_are_described_on_their_pages():
    import dataclasses

    docstrings = script("docstrings")
    missing = []
    for name, one in public_docstrings():
        if not (inspect.isclass(one) and dataclasses.is_dataclass(one)):
            continue
        lines = (inspect.getdoc(one) or "").splitlines()
        docstrings.prepare(None, "class", name, one, None, lines)
        described = set()
        for head, end in docstrings.sections(lines, ("Parameters",)):
            heads = [line for line in lines[head + 2 : end] if line and not line.startswith(" ")]
            described = {part.strip() for line in heads for part in line.split(",")}
        missing += [f"{name}: {one.name}" for one in dataclasses.fields(one) if one.init and one.name not in described]
    assert not missing


@pytest.mark.skipif(importlib.util.find_spec("sphinx_autodoc_typehints") is None, reason="docs extra")
def test_ranges_of_numbers_are_not_shown_as_types():
    from types import SimpleNamespace
    from typing import Annotated

    from sphinx_autodoc_typehints import format_annotation

    config = SimpleNamespace(typehints_formatter=script("docstrings").type_shown)
    plain = format_annotation(int | None, SimpleNamespace())
    assert format_annotation(Annotated[int, "at least 1"] | None, config) == plain


def test_examples_show_numbers_without_their_type():
    for name, one in public_docstrings():
        assert not re.search(r"np\.(float|int|str|bool)\w*\(", inspect.getdoc(one) or ""), name


def test_every_parameter_of_a_method_has_its_own_text():
    """Of classes that have a page, in the fields of which a parameter without a text would be a bare name."""
    lacking, n_methods = [], 0
    for room in ("datasets", "get", "io", "metrics", "models", "pl", "pp", "tl", "train"):
        module = importlib.import_module(f"spatialfm.{room}")
        for name in module.__all__:
            shown = getattr(module, name)
            if not inspect.isclass(shown) or issubclass(shown, BaseException):
                continue
            methods = [one for key, one in vars(shown).items() if inspect.isfunction(one) and not key.startswith("_")]
            for method in methods:
                n_methods += 1
                texts = parameter_texts(inspect.getdoc(method) or "")
                lacking += [
                    f"{name}.{method.__name__}: {one}"
                    for one in list(inspect.signature(method).parameters)[1:]
                    if not texts.get(one)
                ]
    assert lacking == []
    assert n_methods > 20
