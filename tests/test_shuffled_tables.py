"""Numbers do not depend on the order of the rows of a table: what a shuffled one gives is the same, by names.

The functions are taken from the package, their calls from `test_round_trip.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import test_round_trip as calls
from stand_in import Painter

import spatialfm as sfm
from spatialfm import _origin

SORTED = "tl/test_sorted_tables.py asks it"
NOTHING_WRITTEN = "it writes into no table; its own test asks it"
IMAGES = "rows are found by their labels in images"
EXCEPT = {
    **dict.fromkeys(
        ["added_value", "cluster_agreement", "compare_enrichment", "concordance", "cumulative_incidence", "cut_point",
         "logrank", "risk_ratio", "rmst", "stratify"], SORTED,
    ),
    **dict.fromkeys(calls.WRITE_NOTHING, NOTHING_WRITTEN),
    **dict.fromkeys(calls.IN_SDATA, IMAGES),
    "power": "simulated patients, of which the table gives moments",
    "correct_together": "takes the p-values of compare_composition together",
}  # fmt: skip
NOT_COMPARED = {"origins", "seconds", "times", "virtual_cells"}  # in the order of the table, or of clocks
ROUNDING = 2e-5  # sums in another order; of float32
SIGNATURES = {
    "outcome": "responded", "resolutions": [0.5, 1.0], "max_cells": None, "n_folds": 3, "n_repeats": 2,
    "n_repeats_model": 2, "n_permutations": 3, "min_patients": 3,
}  # fmt: skip
OPTIONS = {  # other ways through a function, of which the first call of `test_round_trip.py` is one
    "marker_attention": {"max_cells": 20, "use_rep": "X_attended", "cluster_key": "phenotype"},
    "evaluate_reconstruction": {"n_cells": 20, "n_bootstrap": 100, "n_folds": 3, "methods": ["knn"]},
    "surprise": {"method": "knn", "n_folds": 2},
    "leiden_sweep": {"use_rep": "X_model", "sketch": 200, "resolutions": (0.5, 1.0), "n_subsamples": 2},
    "discover_signatures": {"use_rep": "X", "cells_per_patient": 20, **SIGNATURES},
    "tissue_clusters": {"n_clusters": 2, "use_rep": "X_model", "within_sample": True},
    "cell_states": {"n_states": 12, "use_rep": "X"},
    "niches": {"n_niches": 6, "use_rep": "X_model", "patient_key": None},
    "label_report": {"label_key": "part", "use_rep": "X_model", "C": 1.0},
}
LIMITS = {  # numbers of rows above which some are drawn
    "spatialfm.learn.imputers.MAX_ROWS": 200,
    "spatialfm.learn.k_means.MINI_BATCH_FROM": 500,
    "spatialfm.learn.k_means.BATCH": 100,
    "spatialfm.learn.label_noise.AMONG": 100,
    "spatialfm.learn.swapped.MOST": 10,
    "spatialfm.tl.phenotypes.leiden_sweep.BLOCK": 150,
}


@pytest.fixture(scope="module")
def tables() -> tuple[ad.AnnData, ad.AnnData, ad.AnnData]:
    """Cells in the order of their numbers, the same shuffled, and their patients."""
    cells = calls.cells_of_24()
    return cells, shuffled(cells, 7), calls.patients_of(cells)


def shuffled(table: ad.AnnData, seed: int) -> ad.AnnData:
    with ad.settings.override(remove_unused_categories=False):  # a selection of rows would lose them
        return table[np.random.default_rng(seed).permutation(table.n_obs)].copy()


def same(one: object, two: object, where: str) -> None:
    """Whether two results say the same of each name."""
    if isinstance(one, pd.DataFrame | pd.Series):
        assert sorted(one.index.astype(str)) == sorted(two.index.astype(str)), where
        two = two.loc[one.index] if one.index.is_unique else two
        for name in one if isinstance(one, pd.DataFrame) else ():
            same(one[name], two[name], f"{where}/{name}")
    elif hasattr(one, "items"):
        assert set(one) == set(two), where
        for name in set(one) - NOT_COMPARED:
            same(one[name], two[name], f"{where}/{name}")
        return
    if isinstance(one, pd.DataFrame):
        return
    a, b = np.asarray(one), np.asarray(two)
    assert a.shape == b.shape, where
    if a.dtype.kind in "fiub":
        np.testing.assert_allclose(a.astype(float), b.astype(float), rtol=ROUNDING, atol=ROUNDING, err_msg=where)
    else:
        assert pd.Series(a.ravel()).equals(pd.Series(b.ravel())), where


def compare(run: Callable[[ad.AnnData], ad.AnnData], cells: ad.AnnData, turned: ad.AnnData) -> None:
    one = run(cells.copy())
    _origin.forget()
    two = run(turned.copy())
    _origin.forget()
    assert sorted(one.obs_names) == sorted(two.obs_names)
    order = two.obs_names.get_indexer(one.obs_names)
    same(one.obs, two.obs, "obs")
    for part in ("obsm", "layers"):
        for name, values in getattr(one, part).items():
            others = getattr(two, part)[name]
            same(values, others if isinstance(others, pd.DataFrame) else others[order], f"{part}/{name}")
    if one.X is not None:
        same(one.X, two.X[order], "X")
    same(one.uns, two.uns, "uns")


def test_every_function_is_here():
    assert {*sfm.tl.__all__, *sfm.pp.__all__} - {"Index"} == set(calls.CELLS) | set(EXCEPT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in calls.CELLS if name not in EXCEPT])
def test_a_shuffled_table_gives_the_same(tables, monkeypatch, name):
    cells, turned, patients = tables
    of = {id_of(cells): patients, id_of(turned): shuffled(patients, 8)}
    monkeypatch.setattr(calls, "patients_of", lambda one: of[id_of(one)].copy())
    compare(calls.CELLS[name][0], cells, turned)


def id_of(table: ad.AnnData) -> str:
    return str(table.obs_names[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPTIONS)
def test_draws_of_a_shuffled_table_are_the_same(tables, monkeypatch, name):
    for where, limit in LIMITS.items():
        monkeypatch.setattr(where, limit)
    compare(lambda table: calls._run(name, table, **OPTIONS[name]), *tables[:2])


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_is_there_is_taken_in_the_order_of_names(tables):
    import scanpy as sc

    cells = tables[0].copy()
    sc.pp.neighbors(cells, use_rep="X_model")
    compare(
        lambda table: calls._run("leiden_sweep", table, resolutions=(0.5, 1.0), n_subsamples=2),
        cells, shuffled(cells, 7),
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_harmony_moves_the_cells_of_a_shuffled_table_alike(tables):
    pytest.importorskip("harmonypy")
    compare(
        lambda table: [sfm.pp.standardize(table, use_rep="X_model", batch_key="arm", method="harmony"), table][1],
        *tables[:2],
    )


def test_a_table_in_the_order_of_its_names_is_taken_as_it_is():
    from sklearn.cluster import KMeans

    values = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    cells = ad.AnnData(obs=pd.DataFrame(index=[f"c{i:03}" for i in range(300)]), obsm={"X_model": values})
    codes = KMeans(5, n_init=3, random_state=0).fit(values).labels_
    states = sfm.tl.cell_states(cells, 5, use_rep="X_model", patient_key=None, copy=True)
    rank = np.argsort(np.argsort(-np.bincount(codes), kind="stable"))
    assert states.astype(int).tolist() == (rank[codes] + 1).tolist()


@pytest.mark.filterwarnings("ignore")
def test_cells_on_which_a_model_is_judged_are_those_of_a_shuffled_table():
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    options = {"modes": ["marker"], "panel": {"markers": ["CD3", "CD20", "CD68"]}, "n_folds": 3}
    options |= {"n_cells": 10, "n_pixels": 50, "n_bootstrap": 100}
    one = sfm.tl.evaluate_reconstruction(sdata, Painter(), **options)
    sdata["table"] = shuffled(sdata["table"], 1)
    same(one, sfm.tl.evaluate_reconstruction(sdata, Painter(), **options), "summary")
