"""Which cells are positive: as they were drawn, in every sample by a threshold of its own."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

import spatialfm as sfm
from spatialfm._errors import PanelError, SpatialfmWarning, TableError

N = 600


@pytest.fixture(scope="module")
def drawn():
    """Log-normal intensities of two markers in four samples, of which one is stained three times as strongly.

    CD20 is there in every sample, CD3 in all but the last, whose cells are all negative.
    """
    rng = np.random.default_rng(0)
    names, strength = ["a", "b", "c", "d"], np.repeat([1.0, 1.0, 3.0, 1.0], N)
    sample = np.repeat(names, N)
    truth = rng.random((4 * N, 2)) < [0.3, 0.2]
    truth[sample == "d", 1] = False
    values = np.exp(rng.normal(np.where(truth, 3.0, 0.0), np.where(truth, 0.5, 0.4))) * strength[:, None]
    obs = pd.DataFrame({"sample": sample}, index=[f"c{i}" for i in range(4 * N)])
    cells = ad.AnnData(values.astype(np.float32), obs=obs, var=pd.DataFrame(index=["CD20", "CD3"]))
    return cells, truth


def test_cells_are_called_as_they_were_drawn_whatever_the_staining(drawn):
    cells, truth = drawn[0].copy(), drawn[1]
    sfm.tl.marker_positivity(cells)
    calls = cells.layers["positive"]
    assert calls.dtype == np.float32
    wrong = (calls > 0.5) != truth
    assert wrong.mean(axis=0).max() < 0.005
    record = cells.uns["positive"]
    assert record["status"]["CD20"].tolist() == ["split"] * 4
    assert record["status"]["CD3"].tolist() == ["split"] * 3 + ["no positives"]
    assert record["share"].loc["a", "CD20"] == pytest.approx(truth[:N, 0].mean(), abs=0.005)
    # the threshold of the sample that is stained three times as strongly is three times as high
    ratio = record["thresholds"].loc["c", "CD20"] / record["thresholds"].loc["a", "CD20"]
    assert ratio == pytest.approx(3, rel=0.15)


def test_the_unit_of_the_intensities_does_not_matter(drawn):
    cells = drawn[0]
    one = sfm.tl.marker_positivity(cells, copy=True)
    other = cells.copy()
    other.X = cells.X * 1e-3
    pd.testing.assert_frame_equal(sfm.tl.marker_positivity(other, copy=True), one, atol=1e-3)


def test_gates_are_taken_as_they_are_and_known_by_their_digest(drawn):
    cells = drawn[0].copy()
    gates = pd.DataFrame({"CD20": [2.0, 3, 4, 5], "CD3": [1.0, np.nan, 1, 1]}, index=list("abcd"))
    sfm.tl.marker_positivity(cells, method="gates", gates=gates)
    limit = np.repeat([2.0, 3, 4, 5], N)
    np.testing.assert_array_equal(cells.layers["positive"][:, 0], (cells.X[:, 0] > limit).astype(float))
    assert np.isnan(cells.layers["positive"][N : 2 * N, 1]).all()
    assert cells.uns["positive"]["thresholds"]["CD20"].tolist() == [2, 3, 4, 5]
    first = cells.uns["positive"]["params"]["gates"]
    sfm.tl.marker_positivity(cells, method="gates", gates=gates)
    assert cells.uns["positive"]["params"]["gates"] == first
    gates.loc["a", "CD20"] = 2.0000001
    sfm.tl.marker_positivity(cells, method="gates", gates=gates)
    assert cells.uns["positive"]["params"]["gates"] != first


def test_one_gate_for_all_samples(drawn):
    calls = sfm.tl.marker_positivity(drawn[0], markers="CD3", method="gates", gates={"CD3": 5}, copy=True)
    np.testing.assert_array_equal(calls["CD3"], drawn[0].X[:, 1] > 5)


def test_otsu_gives_zeros_and_ones(drawn):
    calls = sfm.tl.marker_positivity(drawn[0], method="otsu", copy=True)
    assert set(np.unique(calls)) == {0.0, 1.0}
    assert ((calls["CD20"] > 0.5) != drawn[1][:, 0]).mean() < 0.02


def test_calls_of_others_are_compared_sample_by_sample(drawn):
    cells, truth = drawn[0].copy(), drawn[1]
    theirs = truth.astype(float)
    theirs[:N, 0] = 1  # as a threshold below all cells of a sample would
    theirs[N : 2 * N : 3, 0] = 1 - theirs[N : 2 * N : 3, 0]
    cells.layers["theirs"] = theirs
    sfm.tl.marker_positivity(cells, compare_with="theirs")
    table = cells.uns["positive"]["agreement"].set_index(["sample", "marker"])
    assert table.loc[("a", "CD20"), "note"] == "nearly all positive"
    assert table.loc[("d", "CD3"), "note"] == "no cell positive"
    assert table.loc[("c", "CD20"), "note"] == ""
    ours = cells.layers["positive"][N : 2 * N, 0] > 0.5
    expected = cohen_kappa_score(ours, theirs[N : 2 * N, 0] > 0.5)
    assert table.loc[("b", "CD20"), "kappa"] == pytest.approx(expected, abs=1e-6)
    assert table.loc[("b", "CD20"), "share_others"] == pytest.approx(theirs[N : 2 * N, 0].mean())


def test_markers_of_one_population_are_not_called(drawn):
    cells = drawn[0].copy()
    cells.X[:, 1] = np.exp(np.random.default_rng(1).normal(size=4 * N))
    with pytest.warns(SpatialfmWarning, match="1 marker was not called.*'CD3'"):
        sfm.tl.marker_positivity(cells)
    assert np.isnan(cells.layers["positive"][:, 1]).all()
    assert set(cells.uns["positive"]["status"]["CD3"]) == {"unclear"}


def test_what_was_not_measured_is_not_called(drawn):
    cells = drawn[0].copy()
    cells.X[:N, 0] = np.nan
    sfm.tl.marker_positivity(cells)
    assert np.isnan(cells.layers["positive"][:N, 0]).all()
    assert not np.isnan(cells.layers["positive"][N:, 0]).any()
    assert cells.uns["positive"]["status"].loc["a", "CD20"] == "not measured"


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"markers": "CD4"}, PanelError, "No marker 'CD4'"),
        ({"layer": "raw"}, TableError, "No layer 'raw'"),
        ({"library_key": "slide"}, TableError, "No column 'slide'"),
        ({"method": "gates"}, TableError, "Thresholds of your own"),
        ({"gates": {"CD3": 1.0}}, TableError, "Thresholds of your own"),
        ({"method": "gates", "gates": {"CD4": 1.0}}, PanelError, "gates= has 'CD4'"),
        ({"method": "gates", "gates": pd.DataFrame({"CD3": [1.0]}, index=["a"])}, TableError, "no row for 3 samples"),
        ({"compare_with": "theirs"}, TableError, "No layer 'theirs'"),
        ({"compare_with": {"CD4": "x"}}, PanelError, "compare_with= has 'CD4'"),
    ],
)
def test_refusals_write_nothing(drawn, arguments, error, text):
    cells = drawn[0].copy()
    with pytest.raises(error, match=text):
        sfm.tl.marker_positivity(cells, **arguments)
    assert not cells.layers
    assert not cells.uns


def test_standardised_values_are_refused(drawn):
    cells = drawn[0].copy()
    cells.X = (cells.X - cells.X.mean(axis=0)) / cells.X.std(axis=0)
    with pytest.raises(TableError, match="2 markers were centred or standardised, first 'CD20'"):
        sfm.tl.marker_positivity(cells)


@pytest.mark.real_data
def test_calls_of_a_published_table_that_split_nothing_are_named(real_data):
    """Melanoma by imaging mass cytometry (Moldoveanu et al. 2022): many samples have all cells called positive."""
    table = pd.read_parquet(real_data / "melanoma_imc_table" / "cells.parquet")
    markers = ["CD3", "CD8A", "CD20"]
    obs = pd.DataFrame({"sample": table["sample_id"].astype(str).to_numpy()}, index=table.index.astype(str))
    cells = ad.AnnData(table[markers].to_numpy(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    cells.layers["theirs"] = table[[f"{name}+" for name in markers]].to_numpy(np.float32)
    sfm.tl.marker_positivity(cells, compare_with="theirs")
    notes = cells.uns["positive"]["agreement"].query("marker == 'CD20'").set_index("sample")
    share = table.groupby(table["sample_id"].astype(str))["CD20+"].mean()
    assert (notes["note"] == "nearly all positive").sum() == (share >= 0.99).sum() > 0
    assert (notes.loc[notes["note"] != "", "share"] < 0.1).all()
