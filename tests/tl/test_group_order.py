"""Groups, classes and types stand in the order of the categorical, whatever their names sort as."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm

ARMS = ["untreated", "drug", "both"]  # by name they would be the other way round
KINDS = ["Tumor", "CD8 T", "other"]
TWO = ARMS[:2]


@pytest.fixture(scope="module")
def cells():
    adata = sfm.datasets.simulate_cells(n_patients=18, cells_per_patient=60, random_state=0)
    number = adata.obs["patient"].astype(str).str[-2:].astype(int)
    adata.obs["arm"] = pd.Categorical.from_codes(number % 3, ARMS)
    adata.obs["half"] = pd.Categorical.from_codes(number % 2, TWO)
    kind = adata.obs["type"].astype(str)
    adata.obs["kind"] = pd.Categorical(kind.where(kind.isin(KINDS[:2]), "other"), KINDS)
    adata.obs["when"] = pd.Categorical.from_codes(np.arange(adata.n_obs) % 2, ["pre", "after"])
    return adata


@pytest.fixture(scope="module")
def patients(cells):
    table = sfm.tl.composition(cells, "kind")
    assert list(table.obs["arm"].cat.categories) == ARMS
    return table


def appear(column: pd.Series) -> list[str]:
    return list(dict.fromkeys(column.astype(str)))


OF_PATIENTS = {
    "kaplan_meier": lambda p: appear(sfm.tl.kaplan_meier(p, "arm", copy=True)["table"]["group"]),
    "logrank": lambda p: list(sfm.tl.logrank(p, "arm", n_permutations=999, copy=True)["groups"].index),
    "cumulative_incidence": lambda p: appear(
        sfm.tl.cumulative_incidence(p, "arm", censored_value=0, n_permutations=999, copy=True)["table"]["group"]
    ),
    "rmst": lambda p: list(sfm.tl.rmst(p, "arm", horizon=5.0, n_permutations=999, copy=True)["groups"].index),
}


@pytest.mark.parametrize("function", sorted(OF_PATIENTS))
def test_groups_of_patients(patients, function):
    assert OF_PATIENTS[function](patients) == ARMS


def test_groups_of_a_comparison(patients, cells):
    sfm.tl.compare_composition(patients, "half", n_permutations=99)
    record = patients.uns["compare_composition"]
    assert list(record["params"]["groups"]) == TWO
    assert list(record["table"].index) == KINDS
    table = sfm.tl.compare_enrichment(cells, "kind", "half", n_neighbors=5, copy=True)
    assert (appear(table["group_1"]), appear(table["group_2"])) == ([TWO[0]], [TWO[1]])
    assert appear(table["cell_type"]) == KINDS


def test_types_of_cells(cells):
    assert list(sfm.tl.composition(cells, "kind").var_names) == KINDS
    assert list(sfm.tl.neighborhood_composition(cells, "kind", n_neighbors=5, copy=True).columns) == KINDS
    contrast = sfm.tl.neighborhood_contrast(
        cells, "kind", cell_type="other", within="half", inside=TWO[0], n_neighbors=5, copy=True
    )
    assert list(contrast.index) == KINDS


def test_classes_of_classifiers(cells, patients):
    options = {"use_rep": "X_latent", "C": 1.0, "copy": True}
    assert list(sfm.tl.annotate(cells, "kind", **options)["label"].cat.categories) == KINDS
    moved = sfm.tl.transfer_labels(cells, cells[:60].copy(), "kind", use_rep="X_latent", copy=True)
    assert list(moved["label"].cat.categories) == KINDS
    sfm.tl.evaluate_annotation(cells, "kind", use_rep="X_latent", C=1.0, min_cells=5)
    assert appear(cells.uns["annotation"]["folds"]["class"]) == [*KINDS, "macro"]
    found = sfm.tl.classify_samples(patients, label_key="arm", use_rep="X", n_components=None, n_draws=3, copy=True)
    columns = [name.partition(":")[2] for name in found["patients"].columns if ":" in name]
    assert columns == ARMS


def test_time_points_and_groups_of_shifts(cells):
    sfm.tl.distribution_shift(
        cells, use_rep="X_latent", time_key="when", group_key="half", library_key=None, min_cells=10, n_cells=10,
        n_repeats=2, epsilon=0.5,
    )  # fmt: skip
    params = cells.uns["distribution_shift"]["params"]
    assert (list(params["time_points"]), list(params["groups"])) == (["pre", "after"], TWO)
