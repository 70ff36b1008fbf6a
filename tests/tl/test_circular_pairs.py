"""Each way to make labels of cells or groups of patients, against each test that could be circular with it."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmWarning

NEIGHBOURS = "neighborhood_composition"


@pytest.fixture(scope="module")
def made() -> AnnData:
    """Cells whose types are at random, with places where neighbours are known, and honest embeddings."""
    cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=120, random_state=0)
    cells.obs["type"] = np.random.default_rng(0).permutation(cells.obs["type"].astype(str))
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    niche = np.asarray(cells.obsm[NEIGHBOURS]).argmax(axis=1).astype(str)
    cells.obs["known"] = pd.Series(niche, index=cells.obs_names).where(np.arange(cells.n_obs) % 3 == 0)
    cells.obs["typed"] = cells.obs["type"].where(np.arange(cells.n_obs) % 3 == 0)
    return cells


def _first_share(cells: AnnData) -> np.ndarray:
    share = np.asarray(cells.obsm[NEIGHBOURS])[:, 0]
    return share > np.median(share)


def _components(cells: AnnData) -> None:
    from sklearn.decomposition import PCA

    cells.obsm["X_pca"] = PCA(3, random_state=0).fit_transform(np.asarray(cells.obsm[NEIGHBOURS]))


def _leiden_of_components(cells: AnnData) -> None:
    _components(cells)
    sfm.tl.leiden_sweep(cells, use_rep="X_pca", resolutions=[0.5], n_subsamples=0, key_added="n")


def _graph_of_another_name(cells: AnnData) -> None:
    from sklearn.neighbors import kneighbors_graph

    cells.obsp["mine"] = kneighbors_graph(np.asarray(cells.obsm[NEIGHBOURS]), 10)
    cells.uns["mine"] = {"connectivities_key": "mine", "params": {"use_rep": NEIGHBOURS}}  # as scanpy writes it
    sfm.tl.leiden_sweep(cells, neighbors_key="mine", resolutions=[0.5], n_subsamples=0, key_added="n")


def _side_by_side(cells: AnnData) -> None:
    cells.obsm["both"] = np.hstack([np.asarray(cells.obsm["X_latent"]), np.asarray(cells.obsm[NEIGHBOURS])])
    sfm.tl.cell_states(cells, 4, use_rep="both", key_added="n")


def _renamed(cells: AnnData) -> None:
    cells.obsm["mine"] = np.asarray(cells.obsm[NEIGHBOURS]).copy()
    sfm.tl.niches(cells, 4, use_rep="mine", key_added="n")


def _transferred(cells: AnnData) -> None:
    reference = cells.copy()
    sfm.tl.transfer_labels(reference, cells, "known", use_rep=NEIGHBOURS, C=1.0, key_added="n")


def _own(cells: AnnData, name: str, values) -> None:
    cells.obs[name] = pd.Categorical(np.asarray(values).astype(str))


QUICK = {"method": "lda", "calibrate": False}  # how it annotates does not matter here
CIRCULAR = {
    "annotate": lambda cells: sfm.tl.annotate(cells, "known", use_rep=NEIGHBOURS, key_added="n", **QUICK),
    "annotate a copy": lambda cells: _own(
        cells, "n", sfm.tl.annotate(cells, "known", use_rep=NEIGHBOURS, copy=True, **QUICK)["label"]
    ),
    "transfer_labels": _transferred,
    "cell_states of several": _side_by_side,
    "niches of a renamed key": _renamed,
    "leiden of components": _leiden_of_components,
    "leiden_sweep of a graph": _graph_of_another_name,
    "most frequent neighbour": lambda cells: _own(cells, "n", np.asarray(cells.obsm[NEIGHBOURS]).argmax(axis=1)),
    "a cut by hand": lambda cells: _own(cells, "n", _first_share(cells)),
}
HONEST = {
    "annotate": lambda cells: sfm.tl.annotate(cells, "typed", use_rep="X_latent", key_added="n", **QUICK),
    "cell_states": lambda cells: sfm.tl.cell_states(cells, 4, use_rep="X_latent", key_added="n"),
    "at random": lambda cells: _own(cells, "n", np.random.default_rng(1).integers(0, 3, cells.n_obs)),
    "by place": lambda cells: _own(cells, "n", cells.obsm["spatial"][:, 0] > np.median(cells.obsm["spatial"][:, 0])),
}


def quiet(call, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **options)


def both_tests(cells: AnnData) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tests that ask who lives next to whom, of the commonest label against the others."""
    label, kind = cells.obs["n"].astype(str), cells.obs["type"].value_counts().index[0]
    common = label.value_counts().index[0]
    contrast = sfm.tl.neighborhood_contrast(
        cells, "type", cell_type=kind, within="n", inside=common, n_neighbors=10, copy=True
    )
    cells.obsm["signatures"] = pd.DataFrame({"S": (label == common).to_numpy()}, index=cells.obs_names)
    return contrast, sfm.tl.score_signatures(cells, favorable=["S"], cluster_key="type").uns["neighborhood"]


@pytest.mark.parametrize("way", list(CIRCULAR))
def test_labels_of_neighbours_are_not_tested_by_neighbours(made, way):
    _origin.forget()
    cells = made.copy()
    quiet(CIRCULAR[way], cells)
    with pytest.warns(SpatialfmWarning, match="Circular: .*neighbours.*no p-values"):
        contrast, signature = both_tests(cells)
    assert contrast["p_patients"].isna().all()
    assert contrast["relative_change"].notna().any()
    assert signature["p_patients"].isna().all()


@pytest.mark.parametrize("way", list(HONEST))
def test_other_labels_are_tested(made, way):
    _origin.forget()
    cells = made.copy()
    quiet(HONEST[way], cells)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Circular")
        contrast, signature = both_tests(cells)
    assert contrast["p_patients"].notna().any()
    assert signature["p_patients"].notna().any()


@pytest.mark.parametrize(
    "way", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow), "copy", "part", "concat", "renamed"]
)
def test_labels_stay_circular_wherever_they_go(made, way, tmp_path):
    _origin.forget()
    cells = made.copy()
    CIRCULAR["annotate"](cells)
    if way in ("h5ad", "zarr"):
        quiet(getattr(cells, f"write_{way}"), tmp_path / f"c.{way}")
        _origin.forget()
        cells = getattr(ad, f"read_{way}")(tmp_path / f"c.{way}")
    elif way == "part":
        cells = cells[cells.obs["patient"] != cells.obs["patient"].iloc[0]].copy()
    elif way == "concat":
        half = cells.obs["patient"].isin(cells.obs["patient"].unique()[:4]).to_numpy()
        cells = ad.concat([cells[half], cells[~half]])
        assert not cells.uns
    elif way == "renamed":
        cells.obs["mine"] = cells.obs.pop("n")
        cells.obs["n"] = cells.obs.pop("mine")
    else:
        cells = cells.copy()
    with pytest.warns(SpatialfmWarning, match="Circular"):
        contrast, _ = both_tests(cells)
    assert contrast["p_patients"].isna().all()


@pytest.fixture(scope="module")
def cohort() -> AnnData:
    """Cells of 24 patients, two time points, neighborhoods and niches."""
    cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=80, random_state=1)
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=10)
    sfm.tl.niches(cells, 4)
    return cells


def _grouped(cells: AnnData, of: str, how: str) -> AnnData:
    patients = sfm.tl.composition(cells, of, patient_key="patient")
    rng = np.random.default_rng(0)
    if how == "stratify":
        sfm.tl.stratify(patients, 2, key_added="g")
    else:
        patients.obs["time"], patients.obs["event"] = rng.exponential(10, 24), 1
        sfm.tl.cut_point(patients, patients.var_names[0], n_permutations=100, key_added="g")
    return patients


@pytest.mark.parametrize("how", ["stratify", "cut_point"])
def test_groups_of_fractions_are_not_tested_by_fractions(cohort, how):
    _origin.forget()
    patients = quiet(_grouped, cohort, "type", how)
    with pytest.warns(SpatialfmWarning, match="Circular: .*the fractions of 'type'"):
        table = sfm.tl.compare_composition(patients, "g", copy=True)
    assert table["p_value"].isna().all()
    level, name = str(patients.obs["g"].iloc[0]), patients.var_names[0]
    with pytest.warns(SpatialfmWarning, match="Circular"):
        ratio = sfm.tl.risk_ratio(
            patients, "g", [name], group=level, threshold=float(np.median(patients.X[:, 0])), copy=True
        )
    assert ratio["p_value"].isna().all()


def test_groups_of_signatures_are_not_tested_by_their_shares(cohort):
    _origin.forget()
    cells = cohort.copy()
    kind = cells.obs["type"].astype(str)
    cells.obsm["signatures"] = pd.DataFrame({"A": (kind == "Tumor").to_numpy(), "B": (kind == "CD8 T").to_numpy()},
                                            index=cells.obs_names)  # fmt: skip
    patients = sfm.tl.score_signatures(cells, favorable=["B"])
    assert patients.obs["risk_group"].nunique() > 1
    with pytest.warns(SpatialfmWarning, match="Circular: .*score_signatures from the shares of signatures"):
        table = sfm.tl.risk_ratio(
            patients, "risk_group", ["A"], group="high", threshold=float(np.median(patients.X[:, 0])), copy=True
        )
    assert table["p_value"].isna().all()
    assert table["risk_ratio"].notna().all()


def test_groups_of_niches_are_not_tested_by_neighbours_nor_groups_of_states_by_shifts(cohort):
    _origin.forget()
    cells = cohort.copy()
    sfm.tl.niches(cells, 4)
    for of, tested in (("niche", False), ("type", True)):
        _origin.forget()  # both may find the same groups
        patients = _grouped(cells, of, "stratify")
        cells.obs["g"] = cells.obs["patient"].map(patients.obs.set_index("patient")["g"].astype(str)).astype(str)
        found = quiet(sfm.tl.compare_enrichment, cells, "type", "g", n_neighbors=6, min_expected=1.0, copy=True)
        assert found["p_value"].notna().any() == tested
        assert found["difference"].notna().any()
    cells.obs["when"] = np.where(np.arange(cells.n_obs) % 2, "after", "before")
    cells.obs["sample"] = cells.obs["patient"].astype(str) + cells.obs["when"]
    with pytest.warns(SpatialfmWarning, match="Circular"):
        shift = sfm.tl.distribution_shift(
            cells, use_rep="X_latent", time_key="when", group_key="g", time_points=["before", "after"], n_cells=15,
            n_repeats=2, min_cells=10, epsilon=0.05, copy=True,
        )  # fmt: skip
    assert shift["comparison"]["p_value"].isna().all()
    assert shift["comparison"]["effect"].notna().any()


def test_groups_that_a_share_divides_are_said(cohort):
    patients = sfm.tl.composition(cohort, "type", patient_key="patient")
    share, said = patients.X[:, 0], f"divides the patients exactly by their share of '{patients.var_names[0]}'"
    patients.obs["half"] = np.where(share > np.median(share), "more", "less")
    with pytest.warns(SpatialfmWarning, match=said):
        table = sfm.tl.compare_composition(patients, "half", copy=True)
    assert table["p_value"].notna().all()
    patients.obs["arm"] = np.random.default_rng(3).choice(["a", "b"], 24)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*divides the patients")
        sfm.tl.compare_composition(patients, "arm", copy=True)


@pytest.mark.parametrize("tool", ["classify_samples", "few_shot_samples", "mil"])
def test_groups_of_fractions_are_not_predicted_from_cells(cohort, tool):
    """The groups follow from the cells: that they are predicted says nothing of patients, and has no p-value."""
    _origin.forget()
    cells = cohort.copy()
    patients = quiet(_grouped, cells, "type", "stratify")
    group = patients.obs.set_index("patient")["g"].astype(str)
    cells.obs["g"] = cells.obs["patient"].map(group).astype(str)
    cells.obs["arm"] = np.where(cells.obs["patient"].astype(str).str[-1].astype(int) % 2, "a", "b")
    small = {"mil": {"n_folds": 2, "n_seeds": 1, "max_epochs": 1, "hidden": 4, "n_heads": 1}}
    small["few_shot_samples"] = {"n_clusters": 3, "n_draws": 4, "n_permutations": 9}
    small["classify_samples"] = {"n_components": 2, "n_draws": 4, "n_permutations": 9}
    call = getattr(sfm.tl, tool)
    with pytest.warns(SpatialfmWarning, match=r"Circular: obs\['g'\]: made by sfm.tl.stratify from the fractions of"):
        record = call(cells, use_rep="X_latent", label_key="g", copy=True, **small[tool])
    assert "stratify" in record["params"]["circular"]
    p = [name for name in record["summary"] if name.startswith("p_")]
    assert record["summary"][p].isna().all(axis=None)
    assert record["summary"]["mean"].notna().any()
    honest = quiet(call, cells, use_rep="X_latent", label_key="arm", copy=True, **small[tool])
    assert honest["params"]["circular"] == ""
    assert honest["summary"][p].notna().any(axis=None)
