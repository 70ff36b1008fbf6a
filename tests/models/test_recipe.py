"""A model's recipe is the model's: nobody outside of `models` knows one by name, and an encoder brings its own."""

from __future__ import annotations

import ast
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.models import Encoder, EncoderOutput, ModelCard, Weights
from spatialfm.models.preparation import Preparation, PreparedPixels
from spatialfm.models.registry import _ENTRIES

SRC = Path(sfm.__file__).parent
CHANNELS = ["DAPI", "CD3", "CD20"]
ALLOWED = {"classical"}  # the default of signatures
WORDS = {
    ("pp/panel.py", "kronos"),
    ("pp/panel_index.py", "kronos"),
    ("pp/segmentation.py", "virtues"),
    ("pp/segmenters.py", "virtues"),
    ("train/data.py", "virtues"),
    ("train/finetune.py", "kronos"),
    ("train/pretrain.py", "virtues"),
    ("train/tuning.py", "kronos"),
    ("cohort/intensities.py", "mean-intensity"),
    ("train/cell_probe.py", "mean-intensity"),
    ("reporting/methods.py", "virtues"),
}  # a column of the marker table, named by its paper; a method of segmentation, likewise; defaults; floors; a citation


@cache
def names() -> set[str]:
    """Names and families of our models; other tests register more."""
    cards = [sfm.models.card(name) for name in sfm.models.list_models().index]
    ours = [card for card in cards if _ENTRIES[card.name].build.__module__.startswith("spatialfm.")]
    return {card.name for card in ours} | {card.family for card in ours}


def literals(source: str) -> list[tuple[int, str]]:
    """Strings of a module that are values: neither docstrings nor parts of messages."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


def known(path: str, source: str) -> list[str]:
    of_models = names() - ALLOWED
    if not any(name in source for name in of_models):
        return []  # most files: to parse them takes time
    return [
        f"{path}:{line} knows {text!r}"
        for line, text in literals(source)
        if text in of_models and (path, text) not in WORDS
    ]


def test_nothing_outside_of_models_knows_a_model_by_name():
    found = []
    for path in sorted(SRC.rglob("*.py")):
        where = path.relative_to(SRC).as_posix()
        if where.startswith(("models/", "_demo")):  # the demonstration shows a model
            continue
        with tokenize.open(path) as file:
            found += known(where, file.read())
    assert not found, "\n".join(found)


def test_the_search_finds_what_it_looks_for():
    assert known("embed/x.py", 'if card.normalization == "virtues":\n    pass') == ["embed/x.py:1 knows 'virtues'"]
    assert not known("embed/x.py", '"""kronos"""\nraise E("kronos takes this")\nmodel = "classical"')


# ---- an encoder from outside


@dataclass(frozen=True)
class Halved(PreparedPixels):
    """Pixels less the brightest value of the image's tissue, halved."""

    top: float = 0.0

    def pixels(self, y0, y1, x0, x1):
        return (self.reader.pixels(y0, y1, x0, x1) - np.float32(self.top)) / 2

    def highest(self):
        return np.zeros(len(self.reader.channels))

    def notes(self):
        return {"top": self.top}


@dataclass(frozen=True)
class Halving(Preparation):
    name: str = "halving"
    words: str = "halved"

    def prepare(self, reader, tissue, known=None):
        mask, step = tissue.find()
        height, width = reader.shape
        whole = reader.pixels(0, height, 0, width)
        inside = np.kron(mask, np.ones((step, step), bool))[:height, :width]
        return Halved(reader, float(whole[:, inside].max()))


RECIPE = sfm.Recipe(
    window=8, background="keep", scaling="raw", preparation=Halving(), normalization="marker statistics", epsilon=0.5
)


class FromOutside(Encoder):
    card = ModelCard(
        name="from-outside", family="example", title="Sum of each marker", license="BSD-3-Clause", commercial=True,
        gated=False, reference="-", trained_on="nothing", mpp=0.5, recipe=RECIPE, outputs=("patch",),
        needs_weights=False,
    )  # fmt: skip
    weights, options = Weights("none"), {}

    def forward(self, pixels, markers=None, *, mask=None):
        return EncoderOutput(patch=pixels.sum((2, 3)))


@pytest.fixture
def cohort(make_sdata, blobs):
    samples = {"a": blobs(0), "b": blobs(1, side=120)}
    return samples, make_sdata(samples, CHANNELS)


def closed_form(image, labels, cells, mean, std, top):
    """Sums over windows of 8 pixels around rounded centroids of ((pixel - top) / 2 - mean) / (std + 0.5)."""
    outside = (0 - top) / 2  # a window that leaves the image
    field = np.pad((image.astype(float) - top) / 2, ((0, 0), (8, 8), (8, 8)), constant_values=outside)
    rows = []
    for label in cells:
        y, x = (np.floor(np.argwhere(labels == label).mean(axis=0) + 0.5 + 1e-6)).astype(int)
        window = field[:, y + 4 : y + 12, x + 4 : x + 12]
        rows.append(((window - mean[:, None, None]) / (std[:, None, None] + 0.5)).sum((1, 2)))
    return np.array(rows)


def test_an_encoder_from_outside_brings_its_own_preparation(cohort):
    samples, sdata = cohort
    table = sfm.tl.embed_cells(sdata, FromOutside(), recipe={"tissue": "all"}, copy=True)
    notes = sfm.get.record(table, "X_from_outside")
    tops = {name: float(image.max()) for name, (image, _) in samples.items()}
    pixels = np.concatenate([(image.reshape(3, -1) - tops[name]) / 2.0 for name, (image, _) in samples.items()], axis=1)
    np.testing.assert_allclose(notes["normalization_mean"], pixels.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(notes["normalization_std"], pixels.std(axis=1), rtol=1e-5)
    assert notes["top"] == tops
    assert notes["preparation"] == notes["recipe"]["preparation"] == "halving"
    for name, (image, labels) in samples.items():
        mine = table[table.obs["sample"] == name]
        expected = closed_form(image, labels, mine.obs["cell_id"], pixels.mean(axis=1), pixels.std(axis=1), tops[name])
        np.testing.assert_allclose(mine.obsm["X_from_outside"], expected, rtol=1e-3, atol=1e-2)


def test_its_recipe_comes_back_from_the_record(cohort):
    _, sdata = cohort
    table = sfm.tl.embed_cells(sdata, FromOutside(), copy=True)
    again = sfm.tl.embed_cells(sdata, FromOutside(), recipe=sfm.get.recipe(table, "X_from_outside"), copy=True)
    np.testing.assert_array_equal(again.obsm["X_from_outside"], table.obsm["X_from_outside"])
    with pytest.raises(ModelError, match="from-outside has no preparation 'virtues-paper'; There are: halving"):
        sfm.tl.embed_cells(sdata, FromOutside(), recipe={"preparation": "virtues-paper"}, copy=True)


def test_statistics_of_pixels_prepared_in_another_way_are_refused(cohort):
    _, sdata = cohort
    table = sfm.tl.embed_cells(sdata, FromOutside(), copy=True)
    notes = sfm.get.record(table, "X_from_outside")
    with pytest.raises(sfm._errors.PanelError, match="prepared by 'halving', and here they are prepared by nothing"):
        sfm.tl.embed_cells(sdata, FromOutside(), recipe={"preparation": None, "statistics": notes}, copy=True)


def test_what_decides_its_pixels_is_part_of_what_is_kept():
    reader = type("R", (), {"channels": (0,)})()
    one, two = Halved(reader, 1.0), Halved(reader, 2.0)
    assert one.preparation != two.preparation
    assert one.preparation == Halved(reader, 1.0).preparation
