"""Which cells a model is fine-tuned on, and on which patients it stops."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, SpatialfmWarning, TableError
from spatialfm.train.tuned_cells import Sought, cells_of, evenly

from .test_cells import plan_of
from .tiny import encoder_of


@pytest.fixture(scope="module")
def plan():
    sdata = sfm.datasets.simulate_cohort(n_patients=5, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(sdata)
    return plan_of(sdata, encoder_of("dinov2"), recipe={"window": 14})


@pytest.fixture
def adata(plan):
    table = plan.table.copy()
    high = table[:, "CD3"].X.ravel() > np.median(table[:, "CD3"].X)
    table.obs["kind"] = pd.Series(np.where(high, "high", "low"), index=table.obs_names).astype(object)
    table.obs.loc[table.obs_names[::5], "kind"] = None
    return table


def found(plan, adata, sought=None, validation=0.2, batch_size=4):
    return cells_of(plan, sought or Sought("kind", None, "patient"), adata, validation, batch_size, 0)


def test_no_patient_is_on_both_sides_and_unlabelled_cells_are_on_neither(plan, adata):
    cells = found(plan, adata)
    training, held_out = cells.training.table, cells.held_out.table
    assert set(training["patient"]).isdisjoint(held_out["patient"])
    assert held_out["patient"].nunique() == 1
    names = [*training["cell"], *held_out["cell"]]
    labels = adata.obs["kind"]
    assert labels[names].notna().all()
    assert len(training) == labels[adata.obs["patient"].isin(set(training["patient"]))].notna().sum()
    for windows in (cells.training, cells.held_out):
        known = np.array(cells.targets.classes)[cells.targets.values[windows.numbers]]
        assert known.tolist() == labels[windows.table["cell"]].tolist()
    record = cells.record()
    assert record["training_patients"] == 4
    assert record["cells_by_class"] == labels[training["cell"]].value_counts().sort_index().to_dict()
    assert not any(name in str(record) for name in training["patient"])


def test_a_patient_in_two_spellings_is_not_on_both_sides(plan, adata):
    adata.obs["patient"] = adata.obs["patient"].astype(str).replace({"P002": "p001 "})
    with pytest.raises(ClinicalError, match="'P001' and 'p001 '.*would count as a patient"):
        found(plan, adata)


def test_a_cell_that_is_there_twice_is_not_on_both_sides(plan, adata):
    """The second time as one of another patient."""
    again = adata[:3].copy()
    again.obs["patient"] = "another"
    with pytest.raises(TableError, match=f"3 cells of adata= more than once: '{adata.obs_names[0]}'"):
        found(plan, ad.concat([adata, again]))


def test_patients_can_be_named_and_cells_chosen(plan, adata):
    cells = found(plan, adata, validation=["P002", "P004"])
    assert set(cells.held_out.table["patient"]) == {"P002", "P004"}
    few = adata[adata.obs["patient"].isin(["P001", "P003"]).to_numpy()]
    assert set(found(plan, few, validation=["P003"]).training.table["patient"]) == {"P001"}
    with pytest.raises(ClinicalError, match="validation= names patient 'P009'"):
        found(plan, adata, validation=["P009"])


def test_a_share_is_drawn_so_that_every_class_is_learned_where_that_can_be(plan, adata):
    rare = adata.copy()
    of_two = rare.obs["patient"].isin(["P001", "P002"]) & rare.obs["kind"].notna()
    rare.obs.loc[of_two, "kind"] = "rare"
    for seed in range(6):
        cells = cells_of(plan, Sought("kind", None, "patient"), rare, 0.4, 4, seed)
        assert "rare" in set(cells.training.table["stratum"])
    with pytest.warns(SpatialfmWarning, match="Only held-out patients have cells of 'rare'"):
        cells = found(plan, rare, validation=["P001", "P002", "P003"])
    assert cells.targets.classes == ("high", "low")
    assert set(cells.held_out.table["stratum"]) == {"high", "low"}
    with (
        pytest.warns(SpatialfmWarning, match="Only held-out patients"),
        pytest.raises(ClinicalError, match="Without cells of 'rare' there are no held-out patients"),
    ):
        found(plan, rare, validation=["P001", "P002"])
    rare.obs["kind"] = rare.obs["kind"].where(rare.obs["kind"].isna() | of_two, "high")
    with (
        pytest.warns(SpatialfmWarning, match="Only held-out patients"),
        pytest.raises(ClinicalError, match="no second class to learn"),
    ):
        found(plan, rare, validation=["P001", "P002", "P003"])


def test_numbers_are_standardised_on_the_cells_that_are_trained_on(plan, adata):
    adata.obs["age"] = np.where(np.arange(adata.n_obs) % 3 == 0, np.nan, np.arange(adata.n_obs, dtype=float))
    cells = found(plan, adata, Sought(None, ("CD20", "age"), "patient"))
    of_training = cells.targets.values[cells.training.numbers]
    np.testing.assert_allclose(np.nanmean(of_training, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(of_training, axis=0), 1, rtol=1e-9)
    raw = adata[cells.training.table["cell"].tolist()][:, "CD20"].X.ravel()
    assert np.corrcoef(raw, of_training[:, 0])[0, 1] > 0.999999
    assert cells.targets.columns == ("CD20", "age")
    assert len(cells.training.strata) == 4  # patients


def test_what_cannot_be_learned_is_refused_by_name(plan, adata):
    for sought in (Sought(None, None, "patient"), Sought("kind", ("CD3",), "patient")):
        with pytest.raises(ArgumentError, match="Pass one of label_key="):
            sought.check()
    with pytest.raises(TableError, match="No column 'type' in obs"):
        found(plan, adata, Sought("type", None, "patient"))
    with pytest.raises(TableError, match="No column 'person' in obs"):
        found(plan, adata, Sought("kind", None, "person"))
    with pytest.raises(TableError, match=r"'kind' \(targets=\) holds no numbers"):
        found(plan, adata, Sought(None, ("kind",), "patient"))
    one = adata.copy()
    one.obs["kind"] = "high"
    with pytest.raises(TableError, match=r"obs\['kind'\] has 1 class in"):
        found(plan, one)
    with pytest.raises(ClinicalError, match=r"of one patient by obs\['patient'\]"):
        found(plan, adata[(adata.obs["patient"] == "P001").to_numpy()])
    nameless = adata.copy()
    nameless.obs["patient"] = nameless.obs["patient"].astype(object)
    nameless.obs.loc[nameless.obs_names[1], "patient"] = None
    with pytest.raises(ClinicalError, match="1 labelled cell has no patient"):
        found(plan, nameless)
    flat = adata.copy()
    flat.obs["flat"] = 3.0
    with pytest.raises(TableError, match=r"'flat' \(targets=\) has one value"):
        found(plan, flat, Sought(None, ("flat",), "patient"))
    with pytest.raises(TableError, match="batch_size=5000, and"):
        found(plan, adata, batch_size=5000)
    others = adata.copy()
    others.obs_names = [f"x{i}" for i in range(others.n_obs)]
    with pytest.raises(TableError, match=r"No cell of adata= is in the table 'table' of the images: names are 'x0'"):
        found(plan, others)


def test_groups_are_thinned_alike():
    groups = np.array(["a"] * 50 + ["b"] * 50 + ["c"] * 2)
    chosen = evenly(groups, 12, 0)
    assert pd.Series(groups[chosen]).value_counts().to_dict() == {"a": 5, "b": 5, "c": 2}
    assert len(evenly(groups, 1000, 0)) == 102
