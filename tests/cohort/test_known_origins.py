"""A column that repeats the values of patients is judged by patients, however many cells these have."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from spatialfm import _origin
from spatialfm._errors import SpatialfmWarning
from spatialfm._origin import Origin, remember
from spatialfm.cohort.circular import NEIGHBOURS, made_of_niches, made_of_tissue
from spatialfm.cohort.known_origins import origins
from spatialfm.cohort.selected import columns_of

CELLS = 60
NICHES = Origin("niches", "neighborhood", of=NEIGHBOURS)
HELD_OUT = Origin("coxnet", "held out", ("time", "event"))


@pytest.fixture(autouse=True)
def _forget():
    _origin.forget()


def cells(labels, niche, key: str = "patient") -> AnnData:
    """Cells of patients with a label each; `niche` is asked for the niches of a patient's cells."""
    patient = np.repeat(np.arange(len(labels)), CELLS)
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({key: [f"P{i}" for i in patient], "response": np.asarray(labels)[patient]})
    obs["niche"] = np.concatenate([[str(n) for n in niche(i, rng)] for i in range(len(labels))])
    table = AnnData(obs=obs.set_index(obs[key] + "_" + obs.index.astype(str)).rename_axis(None))
    remember(table, NICHES, table.obs["niche"])
    return table


def own_niches(i, rng):
    """Niches that no other patient has, as a batch effect makes them."""
    return 2 * i + rng.integers(0, 2, CELLS)


@pytest.mark.parametrize("n", [6, 20, 40])
def test_niches_of_single_patients_make_no_label(n):
    """Any label follows from such niches: of 20 cohorts with random labels nine in ten were called circular."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        for seed in range(3):
            table = cells(np.random.default_rng(seed).permutation(np.arange(n) % 2), own_niches)
            assert made_of_tissue(table, ["response"]) == made_of_niches(table, "response") == ""


@pytest.mark.parametrize("key", ["patient", "Case-ID", "sample", "who"])
def test_labels_that_are_groups_of_niches_are_known_by_as_many_patients_as_it_takes(key):
    """One of C(20, 10) labels is this one: e^12.1, against e^1.4 of groupings of four niches; of 8 patients e^4.2."""

    def shared(labels):
        return cells(labels, lambda i, rng: 2 * labels[i] + rng.integers(0, 2, CELLS), key)

    by = [key] if key == "who" else []
    table = shared(np.arange(20) % 2)
    assert "made by sfm.tl.niches" in made_of_niches(table, "response", by)
    table.obs.loc[table.obs_names[0], "niche"] = "3"  # one cell that does not follow
    table.uns.clear()
    _origin.forget()
    remember(table, NICHES, table.obs["niche"])
    with pytest.warns(SpatialfmWarning, match="perhaps"):
        assert made_of_niches(table, "response", by) == ""
    _origin.forget()
    assert made_of_tissue(shared(np.arange(8) % 2), ["response"], by) == ""
    _origin.forget()
    with pytest.warns(SpatialfmWarning, match="perhaps made by sfm.tl.niches.*Too few patients to decide"):
        assert made_of_tissue(shared(np.arange(14) % 2), ["response"], by) == ""


def test_each_cell_has_to_follow_and_not_one_of_each_patient():
    labels = np.arange(20) % 2
    table = cells(labels, lambda i, rng: np.r_[2 * labels[i], rng.integers(0, 4, CELLS - 1)])
    assert made_of_niches(table, "response") == ""


def test_groups_that_the_table_records_need_no_proof():
    """Niches may be those of patients."""
    table = cells(np.arange(6) % 2, lambda i, rng: np.full(CELLS, i))
    known = origins(table, columns_of(table, ["niche", "response"]))
    assert [one.origin.function for one in known["obs:niche"]] == ["niches"]
    assert "obs:response" not in known


def test_a_risk_of_six_patients_is_known_among_their_cells():
    """The cells of the largest patient were set aside as a frequent value, and five were too few."""
    names = [f"P{i}" for i in range(6)]
    risk = pd.Series(np.random.default_rng(0).normal(size=6), index=names, name="risk")
    remember(None, HELD_OUT, risk)
    patient = np.repeat(names, [10, 20, 30, 40, 50, 90])
    obs = pd.DataFrame({"patient": patient, "mine": risk[patient].to_numpy()}, index=[f"c{i}" for i in range(240)])
    (known,) = origins(AnnData(obs=obs), columns_of(AnnData(obs=obs), ["mine"]))["obs:mine"]
    assert (known.origin.function, known.sure, known.n) == ("coxnet", True, 240)


def test_the_age_of_ten_patients_is_no_sum_of_numbers_that_their_cells_repeat():
    """Ten weights explain ten values without remainder; cells that repeat them prove nothing."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(10), 20)
    obs = pd.DataFrame({"patient": [f"P{i}" for i in patient]}, index=[f"c{i}" for i in range(200)])
    table = AnnData(obs=obs)
    for i in range(12):
        column = pd.Series(rng.normal(size=10)[patient], index=table.obs_names, name=f"risk {i}")
        remember(table, HELD_OUT, column, place=f"obs:risk {i}")
        table.obs[column.name] = column
    table.obs["age"] = rng.normal(60, 10, 10)[patient]
    table.obs["old"] = table.obs["age"] > table.obs["age"].median()
    assert set(origins(table, columns_of(table, ["age", "old", "risk 3"]))) == {"obs:risk 3"}
