"""Which columns are means of markers, and that what an embedding did to them is undone."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import spatialfm as sfm
from spatialfm.cohort.intensities import Intensities, intensities


@pytest.fixture(scope="module")
def embedded():
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.tl.embed_cells(sdata, "classical")
    sfm.tl.embed_cells(sdata, "mean-intensity")
    return sdata["table"]


def test_means_of_classical_are_the_means_of_the_table(embedded):
    found = intensities(embedded, "X_classical")
    channels = next(iter(sfm.get.record(embedded, "X_classical")["channels"].values()))
    assert len(found.names) == len(channels) >= 10
    assert found.compressed
    for number, channel in enumerate(channels):
        raw = found.of(np.asarray(embedded.obsm["X_classical"]), number)
        mean = np.asarray(embedded[:, channel].X).ravel()
        kept = mean > 0
        ratio = raw[kept] / mean[kept]  # in units of the marker's standard deviation, the same for all cells
        np.testing.assert_allclose(ratio, np.median(ratio), rtol=2e-2)


def test_means_are_all_columns_of_the_plain_baseline_and_of_the_table(embedded):
    plain = intensities(embedded, "X_mean_intensity")
    assert len(plain.places) == embedded.obsm["X_mean_intensity"].shape[1]
    assert not plain.compressed
    np.testing.assert_array_equal(
        plain.of(embedded.obsm["X_mean_intensity"], 3), embedded.obsm["X_mean_intensity"][:, 3]
    )
    table = intensities(embedded, "X")
    assert table.names == tuple(embedded.var_names)
    # what a model of ours made of an image is known to be intensities; a table may have been transformed by hand
    measured = [intensities(embedded, rep).as_measured for rep in ("X_classical", "X_mean_intensity", "X")]
    assert measured == [True, True, False]


def test_networks_components_fractions_and_logarithms_are_none(embedded):
    cells = embedded.copy()
    cells.obsm["X_other"] = np.zeros((cells.n_obs, 3))
    assert intensities(cells, "X_other") is None
    notes = dict(cells.uns["spatialfm"])
    notes["X_other"] = {**notes["X_classical"], "model": "kronos", "feature_names": ""}
    notes["X_classical"] = {**notes["X_classical"], "n_components": 5}
    cells.uns["spatialfm"] = notes
    assert intensities(cells, "X_other") is None
    assert intensities(cells, "X_classical") is None
    for mark in ("composition", "log1p"):
        marked = cells.copy()
        marked.uns[mark] = {}
        assert intensities(marked, "X") is None


def test_the_record_is_read_from_a_store_too(embedded, tmp_path):
    embedded.copy().write_h5ad(tmp_path / "cells.h5ad")
    back = ad.read_h5ad(tmp_path / "cells.h5ad")
    one, two = (intensities(cells, "X_classical") for cells in (embedded, back))
    assert one.names == two.names
    np.testing.assert_allclose(one.mean, two.mean)
    np.testing.assert_allclose(one.sd, two.sd)


@pytest.mark.parametrize("compressed", [True, False])
def test_an_intensity_of_0_comes_back_as_0_from_what_was_standardised_as_float32(compressed):
    """Rounding falls on either side of 0, the same for all cells of a marker."""
    rng = np.random.default_rng(0)
    raw = rng.lognormal(-3, 1, (400, 12)) * (rng.random((400, 12)) < 0.3)
    scale = np.arcsinh(raw) if compressed else raw
    mean, sd = scale.mean(axis=0), scale.std(axis=0)
    stored = ((scale.astype(np.float32) - mean.astype(np.float32)) / sd.astype(np.float32)).astype(np.float32)
    means = Intensities(tuple("abcdefghijkl"), np.arange(12), mean, sd, compressed)
    for number in range(12):
        back = means.of(stored, number)
        np.testing.assert_array_equal(back == 0, raw[:, number] == 0)
        np.testing.assert_allclose(back, raw[:, number], rtol=1e-3)
