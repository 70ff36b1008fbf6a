"""Sections on phenotypes and niches: counts, and how much of a phenotype a niche has, by hand."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm.reporting import cells as module
from spatialfm.reporting.elements import Html
from spatialfm.reporting.source import ReportKeys, read_source


@pytest.fixture
def drawn(monkeypatch):
    """Values that heatmaps are asked for, instead of figures."""
    asked = []
    monkeypatch.setattr(module, "heatmap", lambda values, *_: asked.append(values))
    monkeypatch.setattr(module, "drawn", lambda draw, alt, caption: draw() or Html(f"{alt} {caption}"))
    return asked


def source(phenotype="type", niche="niche", markers=()):
    """Niche 1: two T and two B; niche 2: four B; one more T without niche."""
    obs = pd.DataFrame(
        {"type": pd.Categorical(list("TTBBBBBBT")), "niche": pd.Categorical([*"11112222", None])},
        index=[f"c{i}" for i in range(9)],
    )
    values = np.arange(9 * len(markers), dtype=np.float32).reshape(9, len(markers))
    table = ad.AnnData(values, obs=obs, var=pd.DataFrame(index=list(markers)))
    keys = ReportKeys("sample", "patient", phenotype, niche, None, None, None, ())
    return read_source(table, samples=None, patients=None, keys=keys)


def test_a_ratio_is_over_the_share_of_all_cells(drawn):
    section = module.niches_section(source())
    (ratio,) = drawn
    # T: 2 of 4 in niche 1 and none in niche 2, 3 of 9 in all; B: 2 of 4 and 4 of 4, 6 of 9 in all
    assert ratio.loc["1"].to_dict() == pytest.approx({"B": np.log2(0.5 * 9 / 6), "T": np.log2(0.5 * 9 / 3)})
    assert ratio.loc["2", "B"] == pytest.approx(np.log2(9 / 6))
    assert ratio.loc["2", "T"] < -module.LIMIT  # finite, so that it is drawn as beyond the end and not as missing
    assert np.isfinite(ratio.to_numpy()).all()
    assert "1 cell of 9 have none." in "".join(section.body)


def test_composition_that_tl_niches_left_is_shown_and_no_ratio_of_niches_to_themselves(drawn):
    made = source(phenotype="niche")
    made.cells.uns["niche"] = {
        "enrichment": pd.DataFrame({"T": [1.0, -2.0]}, index=["1", "2"]),
        "composition": pd.DataFrame({"T": [0.5, 0.125]}, index=["1", "2"]),
        "params": {"use_rep": "X_near"},
    }
    text = "".join(module.niches_section(made).body)
    (values,) = drawn
    assert values["T"].tolist() == [1, -2]
    assert "Enrichment of X_near in each niche" in text
    assert 'value="0.125"' in text


def test_markers_are_drawn_in_deviations_and_told_in_their_units(drawn):
    text = "".join(module.phenotypes_section(source(markers=["CD3"])).body)
    (scores,) = drawn
    # 0 to 8, one a cell: mean 4, variance 60 / 9; T has 0, 1 and 8
    assert scores.loc["T", "CD3"] == pytest.approx((3 - 4) / np.sqrt(60 / 9))
    assert "Heatmap of 2 phenotypes by 1 marker." in text
    assert 'value="4.5"' in text  # of B: 2 to 7
    assert "have none" not in text


def test_what_is_not_there_is_said(drawn):
    made = source()
    bare = replace(made, keys=replace(made.keys, phenotype=None, niche=None))
    assert "phenotype_key= names one" in "".join(module.phenotypes_section(bare).body)
    assert "niche_key= names one" in "".join(module.niches_section(bare).body)
    assert "no values of markers" in "".join(module.phenotypes_section(source()).body)
    assert not drawn
