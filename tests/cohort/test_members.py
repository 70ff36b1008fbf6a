"""Signatures are true or false: whatever else a column holds is refused, not counted as true."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError

N = 240


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": np.repeat([f"P{i}" for i in range(6)], N // 6)}, index=[f"c{i}" for i in range(N)])
    obs["sample"] = obs["patient"]
    return AnnData(rng.normal(size=(N, 3)), obs=obs)


@pytest.fixture
def inside():
    return np.arange(N) % 4 == 0


def score(cells, column):
    cells.obsm["signatures"] = pd.DataFrame({"S": column}, index=cells.obs_names)
    return sfm.tl.score_signatures(cells, favorable=["S"])


@pytest.mark.parametrize("dtype", [bool, int, float, "boolean", "Int64", "category"])
def test_true_and_false_are_read_however_they_are_kept(cells, inside, dtype):
    column = pd.Series(inside, index=cells.obs_names)
    column = column.astype(dtype) if dtype != "category" else column.astype("category")
    assert np.allclose(score(cells, column).X, 0.25)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda x: np.where(x, "True", "False"), "holds 'True', 'False'; a signature is true or false"),
        (lambda x: pd.Categorical(np.where(x, "yes", "no")), "holds 'yes', 'no'"),
        (lambda x: np.where(x, 0.9, 0.1), "> 0.5"),
        (lambda x: np.where(x, np.nan, 0.0), "60 cells have no value in column 'S'"),
        (lambda x: x + 1, "a signature is true or false"),
    ],
)
def test_what_is_neither_is_refused(cells, inside, values, message):
    with pytest.raises(TableError, match=message):
        score(cells, values(inside))
    other = AnnData(np.random.default_rng(1).normal(size=(40, 3)), obs=pd.DataFrame(index=[f"d{i}" for i in range(40)]))
    with pytest.raises(TableError, match=message):
        sfm.tl.transfer_signatures(cells, other, use_rep="X")
    assert not other.obsm


def test_the_code_that_is_proposed_runs(cells, inside):
    for values in (np.where(inside, "yes", "no"), np.where(inside, 0.9, 0.1)):
        with pytest.raises(TableError) as error:
            score(cells, values)
        code = str(error.value).split("for example ")[1].rstrip(".")
        exec(code, {"adata": cells})
        assert np.allclose(sfm.tl.score_signatures(cells, favorable=["S"]).X, 0.25)


def test_a_table_without_columns_holds_no_signature(cells):
    cells.obsm["signatures"] = pd.DataFrame(index=cells.obs_names)
    with pytest.raises(TableError, match="there are no signatures"):
        sfm.tl.score_signatures(cells, favorable=[])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_signatures_of_an_outcome_that_changed_say_so():
    cells = sfm.datasets.simulate_cells(16, cells_per_patient=100, effect_of="CD8 T", effect_size=-4.0, random_state=0)
    sfm.tl.discover_signatures(
        cells, use_rep="X_latent", outcome="response", positive="responder", resolutions=[1.0], n_permutations=0,
        nested=False,
    )  # fmt: skip
    assert cells.obsm["signatures"].shape[1]

    def score(table):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sfm.tl.score_signatures(table, "signatures")
        return [str(one.message) for one in caught if "made of other data" in str(one.message)]

    assert score(cells) == score(cells[100:].copy()) == []  # cells that are left are in the signatures they were in
    corrected = cells.copy()
    corrected.obs["response"] = corrected.obs["response"].astype(str).replace("responder", "complete")
    assert "obs['response'] changed since. Run sfm.tl.discover_signatures again" in score(corrected)[0]
    own = cells.copy()
    own.obsm["signatures"] = ~own.obsm["signatures"]
    assert "obsm['signatures'] was made of other data: obsm['signatures'] changed" in score(own)[0]
