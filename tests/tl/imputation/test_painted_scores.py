"""Whose image it is, and pixels that are drawn evenly, each with what was predicted of it."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm.embed.paint import expected
from spatialfm.tl.imputation import painted_scores
from spatialfm.tl.imputation.painted_scores import draw_pixels, patients_of_samples


def test_the_patient_of_a_sample_is_that_of_its_cells():
    obs = pd.DataFrame({"sample": ["a", "a", "b"], "patient": ["p", "p", "q"]}, index=list("xyz"))
    sdata = SimpleNamespace(tables={"table": ad.AnnData(obs=obs)})
    assert patients_of_samples(sdata, ["b", "a"], "table", "patient", "sample") == ["q", "p"]
    with pytest.raises(TableError, match="1 sample has no cells in the table, first 'c'"):
        patients_of_samples(sdata, ["a", "c"], "table", "patient", "sample")
    with pytest.raises(TableError, match="No table 'cells' in sdata"):
        patients_of_samples(sdata, ["a"], "cells", "patient", "sample")
    obs["patient"] = ["p", "q", "q"]
    with pytest.raises(TableError):
        patients_of_samples(SimpleNamespace(tables={"table": ad.AnnData(obs=obs)}), ["a"], "table", "patient", "sample")


def test_a_patient_in_two_spellings_is_refused():
    obs = pd.DataFrame({"sample": ["a", "b", "c"], "patient": ["P0", " p0", "q"]}, index=list("xyz"))
    with pytest.raises(TableError, match="several ways"):
        patients_of_samples(SimpleNamespace(tables={"table": ad.AnnData(obs=obs)}), ["a"], "table", "patient", "sample")


def test_a_patient_of_two_studies_is_told_of():
    obs = pd.DataFrame(
        {"sample": list("abc"), "patient": ["P1", "P1", "P2"], "study": ["one", "two", "two"]}, index=list("xyz")
    )
    with pytest.warns(SpatialfmWarning, match=r"1 of 2 patients has rows of several by obs\['study'\], first 'P1'"):
        patients_of_samples(SimpleNamespace(tables={"table": ad.AnnData(obs=obs)}), ["a"], "table", "patient", "sample")


@pytest.mark.parametrize("draws", [False, True])
def test_rows_are_pixels_with_what_was_predicted_of_them(monkeypatch, draws):
    """Each pixel is its own number, and the prediction ten times that; half of the second channel was hidden."""
    monkeypatch.setattr(painted_scores, "SIDE", 4)
    image = np.stack([np.arange(48.0).reshape(6, 8), 100 + np.arange(48.0).reshape(6, 8)])
    masks = np.zeros((2, 6, 8), bool)
    masks[1, :, :4] = True

    def part(values):
        return lambda number, box: values[:, box[0] : box[1], box[2] : box[3]]

    monkeypatch.setattr(expected, "measured_pixels", lambda job, number, box: part(image)(number, box))
    painting = SimpleNamespace(
        job=SimpleNamespace(mean=np.zeros(2), draws=draws), shape=lambda number: (2, 6, 8),
        region=part(10 * image), hidden=part(masks),
    )  # fmt: skip
    rows, predicted = draw_pixels(painting, ["p", "q"], 8, 0)
    np.testing.assert_allclose(predicted, 10 * rows.measured)
    assert rows.patients.tolist() == ["p"] * 8 + ["q"] * 8  # two of each of four squares
    assert len(np.unique(rows.measured[:8, 0])) == 8
    y, x = np.divmod(rows.measured[:8, 0].astype(int), 8)
    squares, counts = np.unique(y // 4 * 2 + x // 4, return_counts=True)
    assert (squares.tolist(), counts.tolist()) == ([0, 1, 2, 3], [2] * 4)
    if draws:
        np.testing.assert_array_equal(rows.hidden[:8, 1], x < 4)
        # the mean of what is visible in the square: none of the second channel on the left
        assert (rows.visible[:8, 1][x < 4] == 0).all()
