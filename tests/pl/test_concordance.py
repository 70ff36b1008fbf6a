"""Figures of concordances on the same patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError

pytestmark = pytest.mark.filterwarnings("ignore::spatialfm._errors.SpatialfmWarning")


def compared(groups=("a", "b"), **options):
    cells = sfm.datasets.simulate_cells(n_patients=9, cells_per_patient=120, random_state=0)
    names = list(cells.obs["patient"].unique())
    cells.obs["arm"] = [groups[names.index(one) % len(groups)] for one in cells.obs["patient"]]
    cells.obs["age"] = [float(names.index(one) ** 2 % 7) for one in cells.obs["patient"]]
    sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=6, **options)
    return cells


def patients():
    rng = np.random.default_rng(0)
    risk, age = rng.normal(size=(2, 70))
    obs = pd.DataFrame({"time": rng.exponential(np.exp(-risk - age)), "event": 1, "age": age})
    obs["good"], obs["poor"] = risk + 0.2 * rng.normal(size=70), risk + 3 * rng.normal(size=70)
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(70)]))


def test_concordances_and_their_difference():
    samples = patients()
    sfm.tl.compare_concordance(samples, ["poor", "good"])
    record = samples.uns["compare_concordance"]
    left, right = sfm.pl.concordance(samples, show=False)
    assert left.lines[1].get_xdata() == pytest.approx(record["scores"]["c_index"].to_numpy())
    assert right.lines[1].get_xdata() == pytest.approx(record["table"]["difference"].to_numpy())
    ends = right.collections[0].get_segments()[0][:, 0]
    assert ends == pytest.approx(record["table"][["ci_low", "ci_high"]].to_numpy()[0])
    assert [text.get_text() for text in right.get_yticklabels()] == ["good − poor"]


def test_added_value_shows_both_models():
    samples = patients()
    sfm.tl.added_value(samples, "good", "age", n_bootstrap=100)
    table = samples.uns["added_value"]["table"]
    left, right = sfm.pl.concordance(samples, key="added_value", show=False)
    assert left.lines[1].get_xdata() == pytest.approx(table["c_corrected"].to_numpy()[:2])
    assert left.lines[2].get_xdata() == pytest.approx(table["c_index"].to_numpy()[:2])
    assert [text.get_text() for text in left.get_yticklabels()] == ["age", "age\n+ good"]
    assert "likelihood ratio" in left.get_title(loc="left")
    with pytest.raises(TableError, match="No comparison of concordances"):
        sfm.pl.concordance(samples, key="cox", show=False)
