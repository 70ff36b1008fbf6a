"""Every function of imputation answers without any weights: by regression, or by nearest cells."""

from __future__ import annotations

import numpy as np
import pytest

import spatialfm as sfm

METHODS = ["linear", "knn"]


@pytest.fixture(scope="module")
def sdata():
    """Four patients with images and cells."""
    made = sfm.datasets.simulate_cohort(n_patients=4, n_samples=1, image_size=128, difficulty="easy", random_state=0)
    sfm.pp.cell_table(made)
    return made


@pytest.fixture
def cells():
    return sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=80, random_state=0)


@pytest.mark.parametrize("mode", ["independent", "marker", "niche"])
def test_reconstruct(sdata, mode):
    sfm.tl.reconstruct(sdata, method="linear", mode=mode, markers=["CD20"], key_added=f"as_{mode}")
    assert np.isfinite(sdata[f"image_P001_1_as_{mode}"].values).all()
    assert (f"image_P001_1_as_{mode}_hidden" in sdata.images) == (mode != "marker")


@pytest.mark.parametrize("method", METHODS)
def test_impute_markers_of_cells_and_calibrate_imputation(cells, method):
    lacking = cells.obs["patient"].cat.codes.to_numpy() == 0
    cells.X[lacking, cells.var_names.get_loc("CD8")] = np.nan
    sfm.tl.impute_markers(cells, markers=["CD8"], method=method, space="intensity")
    assert np.isfinite(cells.obsm["X_imputed"].loc[lacking, "CD8"]).all()
    scores = sfm.tl.calibrate_imputation(cells, n_bootstrap=50, n_permutations=19)
    assert scores.loc["CD8", "r"] > 0.5
    assert (cells.obsm["X_imputed_lower"] <= cells.obsm["X_imputed_upper"])[lacking].all(axis=None)


@pytest.mark.parametrize("method", METHODS)
def test_impute_markers_of_images(sdata, method):
    """Two other patients were stained for the marker."""
    source = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, difficulty="easy", random_state=9)
    sfm.pp.cell_table(source)
    source["table"].obs["patient"] = [f"other {name}" for name in source["table"].obs["patient"]]
    sfm.tl.impute_markers(sdata, markers=["CD20"], method=method, source=source, key_added=method)
    found = sdata["table"].obsm[f"X_{method}"]["CD20"]
    assert np.isfinite(found).all()
    assert found.std() > 0
    assert sdata[f"image_P001_1_{method}"].shape == (1, 128, 128)


def test_evaluate_reconstruction(cells):
    scores = sfm.tl.evaluate_reconstruction(cells, markers=["CD8"], n_bootstrap=0)
    r = scores.query("marker == 'CD8' and score == 'r'").set_index("method")["mean"]
    assert min(r[METHODS]) > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_surprise(cells, method):
    sfm.tl.surprise(cells, method=method)
    assert np.isfinite(cells.layers["surprise"]).all()


@pytest.mark.parametrize("method", METHODS)
def test_select_panel(cells, method):
    ranking = sfm.tl.select_panel(cells, 4, method=method, n_folds=2, n_random=1, max_cells=100)
    assert ranking["chosen"].sum() == 4
    assert cells.uns["panel"]["curve"]["score"].is_monotonic_increasing


@pytest.mark.parametrize("method", METHODS)
def test_perturb_markers(cells, method):
    table = sfm.tl.perturb_markers(cells, None, {"CD8": 0.0}, cells=list(cells.obs_names[:9]), method=method)
    assert table.loc["embedding", "n_chosen"] == 9
    assert np.isfinite(table["difference"]).all()


@pytest.mark.parametrize("method", ["mixture", "otsu"])
def test_marker_positivity(cells, method):
    sfm.tl.marker_positivity(cells, markers=["CD20"], method=method)
    assert np.isfinite(cells.layers["positive"][:, cells.var_names.get_loc("CD20")]).all()
