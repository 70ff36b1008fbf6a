"""Groups, scores and outcomes that follow a batch are said."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning
from spatialfm.cohort.batches import batch_columns, of_cells, tell_batches


def warned(function, *args, **kwargs) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args, **kwargs)
    return [
        str(w.message) for w in caught if issubclass(w.category, SpatialfmWarning) and "follow obs" in str(w.message)
    ]


BATCHES = ["slide", "Slide_ID", "staining batch", "batch_date", "tma", "run_no", "site"]
OTHERS = ["stage", "websites", "brunch", "daytime", "platelets", "sample", "patient"]


@pytest.mark.parametrize(("name", "is_batch"), [*((x, True) for x in BATCHES), *((x, False) for x in OTHERS)])
def test_batches_are_known_by_their_names(name, is_batch):
    assert (batch_columns(pd.DataFrame({name: ["a", "a", "b", "b"]})) == [name]) == is_batch


def test_a_column_in_which_every_row_is_its_own_is_none():
    assert batch_columns(pd.DataFrame({"slide": list("abcd"), "run": ["x"] * 4})) == []


def test_groups_that_are_the_slides_are_said_and_others_are_not():
    batches = pd.DataFrame({"slide": np.repeat(["S1", "S2"], 10), "age": range(20)})
    groups = pd.Series(np.repeat(["low", "high"], 10))
    (text,) = warned(tell_batches, "The groups", groups, batches, "Go on with care.")
    assert text.startswith("The groups follow obs['slide']: they are the same within each of its 2 levels.")
    assert text.endswith("They may be the batch's. Go on with care.")
    assert warned(tell_batches, "The groups", groups, batches, "", ignore=["slide"]) == []
    assert warned(tell_batches, "The groups", pd.Series(["low", "high"] * 10), batches, "") == []


def test_numbers_that_follow_a_batch_in_part_are_said_with_their_share():
    rng = np.random.default_rng(0)
    batches = pd.DataFrame({"run": np.repeat([1, 2, 3], 10)})
    scores = pd.Series(rng.normal(size=30) + 2.0 * batches["run"])
    (text,) = warned(tell_batches, "The scores", scores, batches, "")
    within = sum(((part - part.mean()) ** 2).sum() for _, part in scores.groupby(batches["run"]))
    r2 = 1 - within / ((scores - scores.mean()) ** 2).sum()
    assert f"{1 - (1 - r2) * 29 / 27:.0%} of their variance between patients is between its 3 levels" in text


@pytest.mark.slow
def test_cohorts_without_a_batch_effect_are_rarely_warned_of():
    rng = np.random.default_rng(0)
    n = 0
    for _ in range(100):
        batches = pd.DataFrame({"slide": np.repeat(list("abc"), 8), "site": rng.permutation(np.repeat([1, 2], 12))})
        n += bool(warned(tell_batches, "The groups", pd.Series(rng.choice(["x", "y"], 24)), batches, ""))
    assert n <= 4


def test_cells_become_shares_of_each_patient_and_batches_of_patients():
    obs = pd.DataFrame(
        {"patient": list("aaab"), "slide": [1, 1, 1, 2], "run": [1, 2, 1, 1]}, index=[f"c{i}" for i in range(4)]
    )
    shares, batches = of_cells(AnnData(obs=obs), pd.Series(list("xxyy"), index=obs.index))
    np.testing.assert_allclose(shares.loc[["a", "b"], ["x", "y"]], [[2 / 3, 1 / 3], [0, 1]])
    assert batches.to_dict() == {
        "slide": {"a": 1, "b": 2}
    }  # a run that differs within a patient is not one of patients


@pytest.fixture(scope="module")
def stained():
    """Four slides of four patients; half of them were stained brighter, and nothing else differs."""
    cells = sfm.datasets.simulate_cells(
        16, cells_per_patient=60, patients_per_slide=4, batch_effect=0.0, random_state=0
    )
    cells.obs["slide"] = cells.obs["slide"].astype(str)
    bright = cells.obs["slide"].isin(sorted(cells.obs["slide"].unique())[:2]).to_numpy()
    cells.obsm["X_stained"] = cells.obsm["X_latent"] + 6.0 * bright[:, None]
    return cells


def test_leiden_tells_of_clusters_that_are_slides(stained):
    options = {"resolutions": [0.3], "n_subsamples": 2}
    texts = warned(sfm.tl.leiden_sweep, stained.copy(), use_rep="X_stained", **options)
    assert any("obs['slide']" in text for text in texts)
    assert warned(sfm.tl.leiden_sweep, stained.copy(), use_rep="X_latent", **options) == []
    even = stained.copy()
    sfm.pp.standardize(even, use_rep="X_stained", batch_key="slide")
    assert warned(sfm.tl.leiden_sweep, even, use_rep="X_stained_standardized", **options) == []


def test_groups_of_patients_that_are_slides_are_said(stained):
    cells = stained.copy()
    sfm.tl.leiden_sweep(cells, use_rep="X_stained", resolutions=[0.3], n_subsamples=2)
    patients = sfm.tl.composition(cells, "leiden_sweep", patient_key="patient")
    patients.obs["slide"] = cells.obs.groupby("patient", observed=True)["slide"].first().reindex(patients.obs_names)
    (text,) = warned(sfm.tl.stratify, patients, 2, use_outcome=False)
    assert "The groups follow obs['slide']" in text
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    patients.obs["slide"] = cells.obs.groupby("patient", observed=True)["slide"].first().reindex(patients.obs_names)
    assert warned(sfm.tl.stratify, patients, 2, use_outcome=False) == []


def test_outcomes_and_scores_that_follow_a_slide_are_said(stained):
    cells = stained.copy()
    bright = cells.obs["slide"].isin(sorted(cells.obs["slide"].unique())[:2])
    cells.obs["response"] = bright.map({True: "yes", False: "no"})
    options = {"label_key": "response", "use_rep": "X_stained", "n_components": 4, "n_draws": 3}
    texts = warned(sfm.tl.classify_samples, cells, **options)
    assert any("'response'" in text and "obs['slide']" in text for text in texts)
    find = {"use_rep": "X_stained", "outcome": "response", "positive": "yes", "resolutions": [0.5], "n_permutations": 0}
    texts = warned(sfm.tl.discover_signatures, cells, nested=False, min_patients=2, n_folds=3, **find)
    assert any("'response'" in text and "obs['slide']" in text for text in texts)
