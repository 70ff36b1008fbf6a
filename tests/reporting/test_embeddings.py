"""What the page says of an embedding: its record, and what a reader must be warned of."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from spatialfm._keys import UNTRAINED
from spatialfm.reporting.embeddings import described, embeddings_section, records_of, spread
from spatialfm.reporting.source import ReportKeys, read_source

RECORD = {"model": "m", "n_cells": 4, "weights": "/data/w.pt", "commercial_use": 1, "markers": ["CD3", "CD20"]}


def source(*keys, **changes):
    table = ad.AnnData(obs=pd.DataFrame(index=list("abcd")))
    table.obsm["X_m"] = table.obsm["X_bare"] = np.zeros((4, 3))
    table.uns["spatialfm"] = {"X_m": RECORD | changes}
    return read_source(
        table, samples=None, patients=None, keys=ReportKeys("sample", "patient", None, None, None, None, None, keys)
    )


def text(**changes):
    return "".join(embeddings_section(source(**changes)).body)


def test_a_sound_embedding_has_no_caution():
    said = text()
    assert 'class="caution"' not in said
    assert "Markers used: CD3, CD20." in said
    assert "No marker was left out." in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_cells": 1234}, "The record is of 1,234 cells; the table has 4."),
        ({"weights": UNTRAINED}, "Weights are random"),
        ({"commercial_use": 0}, "excludes commercial use"),
        ({"domain_warnings": ["Pixels of 3 µm.", ""]}, "Pixels of 3 µm."),
    ],
)
def test_each_caution_alone(changes, says):
    said = text(**changes)
    assert says in said
    assert said.count('class="caution"') == 1


def test_left_out_channels_have_their_reason():
    said = text(markers_dropped={"CD99": "unknown marker"})
    assert "CD99" in said
    assert "unknown marker" in said
    assert "No marker was left out" not in said


def test_a_representation_without_record_is_said_and_given_no_methods():
    made = source("X_m", "X_bare")
    assert list(records_of(made)) == ["X_m"]
    assert "".join(embeddings_section(made).body).count("<h3>") == 2


def test_facts_are_those_of_the_record():
    notes = RECORD | {"weights": r"C:\models\w.pt", "mpp_image": {"a": 0.5, "b": 0.5}, "seconds": "?", "adapter": ""}
    notes["normalization_source"] = ["cohort", "cohort", "card"]
    found = described(notes, (7, 3))
    assert (found["cells"], found["columns"], found["markers"]) == (7, 3, 2)
    assert found["weights"] == "w.pt"
    assert found["statistics from"] == "card, cohort"
    assert (found["µm per pixel, images"], found["seconds"], found["adapter"]) == ("0.5", None, None)


def test_spread_counts_samples_by_value():
    assert spread({"a": 0.5, "b": 0.25, "c": 0.5}) == "0.5 (2 samples), 0.25 (1 sample)"
    assert (spread(None), spread(3), spread({"a": 1 / 3})) == ("", "3", "0.333333")
