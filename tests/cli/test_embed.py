"""``spatialfm embed``: settings as the function takes them, and what is refused before hours of work."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from spatialdata.models import Image2DModel

import spatialfm.models as models
import spatialfm.tl as tl
from spatialfm._errors import ModelError
from spatialfm.cli._analysis import Analysis
from spatialfm.cli._config import Config, Draft
from spatialfm.cli._stages import STAGES
from spatialfm.cli._yaml import Document
from spatialfm.cli.embed import STAGE, _is_path, arguments, embed


def settings(**changes):
    return STAGE.settings(changes)


def test_defaults_ask_for_nothing_of_the_run_but_its_precision():
    asked = arguments(settings())
    assert asked["run"] == {"precision": "float32"}
    assert asked["reduce"] is None
    assert asked["model"] == "classical"


def test_settings_are_passed_on_by_their_place():
    asked = arguments(settings(devices="cpu", batch_size=4, precision="float16", n_components=8, markers=["CD3"]))
    assert asked["run"] == {"devices": "cpu", "batch_size": 4, "precision": "float16"}
    assert asked["reduce"] == {"n_components": 8}
    assert asked["markers"] == ["CD3"]
    assert set(asked) == {
        "model", "weights", "adapter", "markers", "outputs", "recipe", "panel", "run", "reduce",
    }  # fmt: skip


def problems(**changes):
    draft = Draft(Document({"embed": changes}), STAGES, Path("s.yaml"))
    STAGE.check(draft)
    return draft.problems


def test_sound_settings_have_no_problem():
    assert problems() == []
    assert "such as {window: 64}" in STAGE.options({})["recipe"].help  # the example is one of the default model
    assert problems(recipe={"window": 64}) == []
    assert problems(model="kronos", weights="owner/name") == []  # a hub's name is looked up when it is used


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"model": "clasical"}, "model", "No model 'clasical'"),
        ({"recipe": {"stryde": 64}}, "recipe", "stryde"),
        ({"panel": {"maping": {}}}, "panel", "maping"),
        ({"model": "kronos", "weights": "no/such.pt"}, "weights", "there is no file 'no/such.pt'"),
        ({"weights": "owner/name"}, "weights", "classical"),  # which has no weights
        ({"adapter": "no/such/folder"}, "adapter", "no/such/folder"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(changes, key, says):
    (problem,) = problems(**changes)
    assert problem.startswith(f"embed.{key}: ")
    assert says in problem


def test_files_are_told_from_names_of_a_hub():
    assert all(map(_is_path, ("./w", "/w", "~/w", "a/b.pt", "b.safetensors")))
    assert not any(map(_is_path, ("owner/name", "kronos")))


def images(**channels):
    made = {
        f"image_{name}": Image2DModel.parse(
            np.zeros((len(names), 4, 4), np.uint8), dims=("c", "y", "x"), c_coords=names
        )
        for name, names in channels.items()
    }
    return sd.SpatialData(images=made)


def test_channels_are_looked_at_before_the_first_stage():
    alike = images(a=["DAPI", "CD3"], b=["CD3", "CD20"])
    assert STAGE.before(settings(), alike) == []
    (problem,) = STAGE.before(settings(markers=["CD3", "CD8"]), alike)
    assert problem.startswith("embed.markers: no channel is the marker 'CD8'")
    (problem,) = STAGE.before(settings(), images(a=["DAPI"], b=["CD3"]))
    assert "no channel is in every sample" in problem
    (problem,) = STAGE.before(settings(), sd.SpatialData())
    assert "there are no images" in problem


def test_weights_that_cannot_be_had_are_found_before_the_first_stage(monkeypatch, tmp_path):
    def gate(*_, **__):
        raise ModelError("gated.")

    monkeypatch.setattr(models, "load", gate)
    assert STAGE.before(settings(model="kronos"), images(a=["CD3"])) == ["embed.weights: gated."]
    assert STAGE.before(settings(), images(a=["CD3"])) == []  # which needs none
    (tmp_path / "w.pt").touch()  # a file has been loaded when settings were checked
    assert STAGE.before(settings(model="kronos", weights=str(tmp_path / "w.pt")), images(a=["CD3"])) == []


def test_what_was_added_is_said_with_the_licence_of_its_weights(tmp_path, monkeypatch):
    analysis = Analysis(Config(tmp_path / "c.csv", tmp_path, given={"embed": {"n_components": 2}}), STAGES)
    table = ad.AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(1200)]))
    table.obsm["spatial"] = np.zeros((1200, 2))
    asked = {}

    def embed_cells(sdata, **call):
        asked.update(call)
        sdata["table"].obsm["X_m"] = np.zeros((1200, 3))
        sdata["table"].uns["spatialfm"] = {"X_m": {"license": "MIT"}, "table": {"license": "none"}}

    class Cohort(dict):
        images = {"image_a": None}

    monkeypatch.setattr(analysis, "whole", lambda upto: Cohort(table=table))
    monkeypatch.setattr(tl, "embed_cells", embed_cells)
    assert embed(analysis).findings == ["obsm['X_m']: 1,200 cells x 3 columns", "licence of the model: MIT"]
    assert asked["reduce"] == {"n_components": 2}
    assert list(ad.read_h5ad(tmp_path / "stages" / "embed.h5ad").obsm) == ["X_m"]
