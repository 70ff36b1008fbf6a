"""``spatialfm niches``: what is said of each niche, and the neighbourhoods that settings may ask for."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm.cli._analysis import Analysis
from spatialfm.cli._config import Config, Draft
from spatialfm.cli._stages import STAGES
from spatialfm.cli._yaml import Document
from spatialfm.cli.niches import STAGE, described, niches


def test_a_niche_is_told_by_the_two_most_enriched_of_those_that_are_enriched():
    enrichment = pd.DataFrame(
        {"B": [1.0, -1.0, 0.0], "T": [2.0, 1.5, -0.1], "Tumor": [0.5, 0.0, -3.0]}, index=["T + B", "T", "mixed"]
    )
    cells = pd.Series(pd.Categorical(["T"] * 3 + ["T + B"] * 5 + ["mixed"], ["mixed", "T + B", "T"]))
    assert described(enrichment, cells) == [
        ("T + B", 5, "4.0 times T, 2.0 times B"),
        ("T", 3, "2.8 times T"),  # 2 to the power of 1.5
        ("mixed", 1, "as everywhere"),
    ]


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, False),
        ({"n_neighbors": 5}, True),
        ({"radius": None}, True),
        ({"radius": None, "n_neighbors": 5}, False),
    ],
)
def test_a_neighbourhood_is_a_radius_or_a_number(settings, refused):
    draft = Draft(Document({"niches": settings}), STAGES, Path("s.yaml"))
    STAGE.check(draft)
    problems = ["niches.radius: set one of radius and n_neighbors, and the other to null."]
    assert draft.problems == problems * refused


def test_two_tissues_apart_are_two_niches(tmp_path, monkeypatch):
    """Twelve T cells and, 500 µm away, 24 B cells: 3 and 1.5 times as many as everywhere."""
    analysis = Analysis(Config(tmp_path / "c.csv", tmp_path, random_state=1), STAGES)
    obs = pd.DataFrame({"sample": "a", "phenotype": pd.Categorical(["T"] * 12 + ["B"] * 24)})
    table = ad.AnnData(np.ones((36, 1), np.float32), obs=obs.set_axis([f"c{i}" for i in range(36)]))
    at = np.arange(36)
    table.obsm["spatial"] = np.column_stack([at % 6 * 8.0, at // 6 * 8.0 + 500.0 * (at >= 12)])
    drawn = []
    monkeypatch.setattr(analysis, "cells", lambda upto, embedding: table)
    monkeypatch.setattr(analysis, "write_figure", lambda name, draw: drawn.append(name))
    first, *lines = niches(analysis, n_niches=2).findings
    assert first == "2 niches:"
    assert sorted(line.split(": ")[1] for line in lines) == ["12 cells, 3.0 times T", "24 cells, 1.5 times B"]
    assert drawn == ["niches_example"]
    composition = pd.read_csv(tmp_path / "tables" / "niches_composition.csv", index_col=0)
    assert sorted(composition["T"]) == [0, 1]
    enrichment = pd.read_csv(tmp_path / "tables" / "niches_enrichment.csv", index_col=0)
    assert enrichment["T"].max() == pytest.approx(np.log2(3), abs=0.001)
    added = ad.read_h5ad(tmp_path / "stages" / "niches.h5ad")
    assert added.obs["niche"].nunique() == 2
    assert "phenotype" not in added.obs
