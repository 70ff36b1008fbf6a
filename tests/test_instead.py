"""Objects of another kind than a function wants: every public function says what to pass instead."""

from __future__ import annotations

import re
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from spatialdata import SpatialData
from spatialdata.models import Image2DModel
from test_arguments import FUNCTIONS, fits, hints
from torch.nn import Linear

import spatialfm as sfm
from spatialfm._errors import ArgumentTypeError
from spatialfm._instead import instead_of


@pytest.fixture(scope="module")
def objects():
    pixels = np.zeros((1, 4, 4), np.uint8)
    table = AnnData(np.zeros((2, 1), np.float32))
    return {
        "an AnnData": table,
        "a SpatialData": SpatialData(images={"image_a": Image2DModel.parse(pixels, dims=("c", "y", "x"))}),
        "a list of AnnData": [table, table],
        "a list of models": ["kronos", "virtues"],
        "a path of a store": Path("cohort.zarr"),
        "a path of a table": Path("cells.h5ad"),
        "a path of an image": Path("slide.ome.tif"),
        "a path of a list": Path("cohort.csv"),
    }


def wanted(hint: object) -> list[str]:
    names = [name for name in ("SpatialData", "AnnData", "Encoder") if re.search(rf"\b{name}\b", str(hint))]
    return [] if "Mapping" in str(hint) else names


CASES = [
    (name, argument, hint)
    for name, function in FUNCTIONS.items()
    for argument, hint in hints(function).items()
    if wanted(hint)
]


@pytest.mark.parametrize(("name", "argument", "hint"), CASES, ids=[f"{name}({one})" for name, one, _ in CASES])
def test_every_public_function_says_what_to_pass(name, argument, hint, objects):
    refused = {what: value for what, value in objects.items() if not fits(value, hint)}
    assert refused
    for what, value in refused.items():
        with pytest.raises(ArgumentTypeError) as caught:
            FUNCTIONS[name](**{argument: value})
        sentence = str(caught.value).partition(f"{argument} must be ")[2].partition(". ")[2]
        assert sentence
        assert sentence in [instead_of(value, kind) for kind in wanted(hint)], f"{what}: {caught.value}"


def test_there_are_as_many_as_there_are_functions_that_take_one():
    assert len(CASES) > 90
    assert {"tl.embed_cells", "pp.cell_table", "pl.cells", "tl.cox", "io.write", "get.record"} <= {
        name for name, _, _ in CASES
    }


@pytest.mark.parametrize(
    ("value", "kind", "sentence"),
    [
        ("a/cohort.zarr", "SpatialData", "Read it first: spatialdata.read_zarr('a/cohort.zarr')."),
        ("a/cohort.zarr/", "AnnData", "Read it first: spatialdata.read_zarr('a/cohort.zarr/')['table']."),
        (Path("cells.h5ad"), "AnnData", "Read it first: anndata.read_h5ad('cells.h5ad')."),
        (
            "cells.h5ad",
            "SpatialData",
            "'cells.h5ad' is a table without images: pass the SpatialData",
        ),
        ("s.ome.tiff", "SpatialData", "Read it first: sdata = sfm.io.read_tiff('s.ome.tiff')."),
        ("s.qptiff", "AnnData", "then sfm.pp.cell_table(sdata), and pass sdata['table']."),
        ("cohort.csv", "SpatialData", "Read it first: sdata = sfm.io.read_cohort('cohort.csv')."),
        (["kronos", "virtues"], "Encoder", "A call takes one model: call it once for each of them."),
        (Path("weights.pt"), "Encoder", "sfm.models.load(<name>, weights='weights.pt')"),
        (sfm.models.Encoder, "Encoder", "Pass an encoder, not its class"),
        (Linear(1, 1), "Encoder", "wrap it in a class of sfm.models.Encoder"),
        (AnnData(np.zeros((1, 1))), "Encoder", "The data goes first, then the model."),
        ([AnnData(np.zeros((1, 1)))], "AnnData", "anndata.concat([...], label='sample')"),
        ({"a": AnnData(np.zeros((1, 1)))}, "AnnData", "anndata.concat({<name>: ...}, label='sample')"),
        ([SpatialData(), SpatialData()], "SpatialData", "spatialdata.concatenate([...], attrs_merge='unique')"),
        (pd.DataFrame({"a": [1]}), "AnnData", "anndata.AnnData(obs=frame)"),
        (pd.DataFrame({"a": [1]}), "SpatialData", "sfm.io.read_cohort(table) opens the files"),
        (np.zeros((1, 2, 2)), "SpatialData", "Image2DModel.parse(array"),
        (da.zeros((1, 2, 2)), "SpatialData", "Image2DModel.parse(array"),
        (np.zeros((2, 2)), "AnnData", "anndata.AnnData(array)"),
        (Image2DModel.parse(np.zeros((1, 4, 4))), "SpatialData", "spatialdata.SpatialData(images="),
        (["a.tif", "b.tif"], "SpatialData", "A call takes one object: pass one of them."),
        ([], "AnnData", ""),
        (3, "AnnData", ""),
        ("a.zarr", "Recipe", ""),
    ],
)
def test_sentences(value, kind, sentence):
    assert sentence in instead_of(value, kind)
    assert bool(sentence) == bool(instead_of(value, kind))


def test_a_loaded_encoder_in_the_place_of_data():
    encoder = sfm.models.load("classical")
    assert instead_of(encoder, "SpatialData") == "The SpatialData goes first, then the model."


def test_the_table_named_table_is_proposed_before_others():
    tables = {name: AnnData(np.zeros((1, 1), np.float32)) for name in ("table", "zebra")}
    assert instead_of(SpatialData(tables=tables), "AnnData") == "Pass one of its tables, for example sdata['table']."
    assert "sdata['zebra']" in instead_of(SpatialData(tables={"zebra": tables["zebra"]}), "AnnData")
