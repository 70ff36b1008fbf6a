"""Images by regression without weights: against scikit-learn, and planted relations; nothing hidden is looked at."""

from __future__ import annotations

import json
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import spatialfm as sfm
from spatialfm._errors import ArgumentError, PanelError, RunError, SpatialfmWarning, TableError
from spatialfm.embed.paint.job import PaintJob
from spatialfm.tl.imputation.reconstruct_linear import patients_of

CHANNELS = ["CD3", "CD20", "CD68"]
ONE_TILE = {"window": 64}


def image_of(seed, sign=1.0, side=64):
    """CD68 is a combination of the two others."""
    rng = np.random.default_rng(seed)
    one, two = rng.gamma(2.0, 50.0, (2, side, side))
    return np.stack([one, two, 5000 + sign * (2 * one - two) + rng.normal(0, 5, one.shape)]).astype(np.float32)


@pytest.fixture
def cohort(make_sdata):
    images = {name: image_of(seed) for seed, name in enumerate("abc")}
    return make_sdata({name: (image, None) for name, image in images.items()}, CHANNELS), images


def record_of(sdata, name):
    return json.loads(sdata.attrs["spatialfm"]["imputed"][name]["record"])


def test_a_whole_marker_is_predicted_by_a_fit_to_other_patients(cohort):
    sdata, images = cohort
    sfm.tl.reconstruct(sdata, method="linear", mode="marker", markers=["CD68"], space="intensity", recipe=ONE_TILE)
    for name, image in images.items():
        others = np.concatenate([images[other].reshape(3, -1) for other in images if other != name], axis=1)
        plain = LinearRegression().fit(others[:2].T, others[2]).predict(image[:2].reshape(2, -1).T)
        found = sdata[f"image_{name}_reconstructed"].values
        np.testing.assert_allclose(found.ravel(), plain, rtol=1e-3, atol=0.1)
        record = record_of(sdata, f"image_{name}_reconstructed")
        assert sorted(record["fitted_on"]) == sorted(set(images) - {name})
        assert (record["method"], record["imputed"], record["mode"]) == ("linear", ["CD68"], "marker")
        np.testing.assert_allclose(record["normalization_mean"], others.mean(axis=1), rtol=1e-5)
        np.testing.assert_allclose(record["normalization_std"], others.std(axis=1), rtol=1e-5)


def test_values_are_standardised_by_what_was_fitted_on(cohort):
    sdata, _ = cohort
    told = {"method": "linear", "mode": "marker", "markers": ["CD68"], "recipe": ONE_TILE}
    sfm.tl.reconstruct(sdata, **told, space="intensity")
    intensity = sdata["image_b_reconstructed"].values
    sfm.tl.reconstruct(sdata, **told)
    record = record_of(sdata, "image_b_reconstructed")
    mean, std = record["normalization_mean"][2], record["normalization_std"][2]
    np.testing.assert_allclose(sdata["image_b_reconstructed"].values, (intensity - mean) / std, rtol=1e-4, atol=1e-4)


def test_samples_of_one_patient_predict_each_other_never(make_sdata):
    """In the patient with two samples the relation is the other way round: only others may be asked."""
    images = {"a": image_of(0, -1.0), "b": image_of(1, -1.0), "c": image_of(2), "d": image_of(3)}
    sdata = make_sdata({name: (image, None) for name, image in images.items()}, CHANNELS)
    clinical = pd.DataFrame({"sample": list("abcd"), "patient": ["P1", "P1", "P2", "P3"]})
    sfm.pp.add_samples(sdata, clinical)
    sfm.tl.reconstruct(sdata, method="linear", mode="marker", markers=["CD68"], recipe=ONE_TILE)
    r = [
        np.corrcoef(sdata[f"image_{name}_reconstructed"].values.ravel(), images[name][2].ravel())[0, 1] for name in "ab"
    ]
    assert max(r) < -0.9
    assert record_of(sdata, "image_a_reconstructed")["fitted_on"] == ["c", "d"]


@pytest.mark.parametrize("mode", ["independent", "niche"])
def test_what_is_hidden_is_not_looked_at(cohort, make_sdata, mode):
    """Hidden pixels of one tile are set to anything: what is predicted of them stays."""
    sdata, images = cohort
    told = {"method": "linear", "mode": mode, "space": "intensity", "recipe": ONE_TILE}
    sfm.tl.reconstruct(sdata, **told)
    hidden = {name: sdata[f"image_{name}_reconstructed_hidden"].values > 0 for name in images}
    found = {name: sdata[f"image_{name}_reconstructed"].values.copy() for name in images}
    changed = {name: (np.where(hidden[name], 7000.0, image).astype(np.float32), None) for name, image in images.items()}
    other = make_sdata(changed, CHANNELS)
    sfm.tl.reconstruct(other, **told)
    for name in images:
        assert hidden[name].any()
        again = other[f"image_{name}_reconstructed"].values
        np.testing.assert_allclose(again[hidden[name]], found[name][hidden[name]], rtol=1e-5)


def test_what_is_learned_from_is_hidden_while_it_is_learned(cohort, monkeypatch):
    """A pixel that is predicted in the fit is in none of its inputs, and is one that the call itself sees."""
    from spatialfm.tl.imputation import reconstruct_linear

    draw, kept = reconstruct_linear._drawn, []
    monkeypatch.setattr(reconstruct_linear, "_drawn", lambda *given: kept.append(draw(*given)) or kept[-1])
    sfm.tl.reconstruct(cohort[0], method="linear", recipe=ONE_TILE)
    drawn = kept[0]
    assert drawn.learned.any()
    assert drawn.seen[drawn.learned].all()
    np.testing.assert_array_equal(drawn.filled[drawn.learned], drawn.around[drawn.learned])
    assert (drawn.filled[drawn.learned] != drawn.measured[drawn.learned]).all()


def test_hidden_tokens_are_predicted_from_channels_that_are_seen(cohort):
    sdata, images = cohort
    sfm.tl.reconstruct(sdata, method="linear", ratio=(0.3, 0.3), recipe=ONE_TILE)
    hidden = sdata["image_a_reconstructed_hidden"].values > 0
    known = hidden[2] & ~hidden[0] & ~hidden[1]
    found = sdata["image_a_reconstructed"].values[2]
    assert np.corrcoef(found[known], images["a"][2][known])[0, 1] > 0.9
    assert record_of(sdata, "image_a_reconstructed")["fitted_on"] == list("abc")


def test_niches_are_predicted_from_what_is_around(make_sdata):
    """Broad waves go on below what is hidden; noise does not. One image is enough."""
    y, x = np.mgrid[:64, :64] / 64
    waves = np.stack([np.sin(6 * y), np.cos(6 * x), np.sin(5 * x + y)]) * 100 + 200
    sdata = make_sdata({"a": (waves.astype(np.float32), None)}, CHANNELS)
    sfm.tl.reconstruct(sdata, method="linear", mode="niche", ratio=(0.5, 0.5), recipe=ONE_TILE)
    hidden = sdata["image_a_reconstructed_hidden"].values[0] > 0
    assert hidden.mean() == 0.5
    for found, wave in zip(sdata["image_a_reconstructed"].values, waves, strict=True):
        assert np.corrcoef(found[hidden], wave[hidden])[0, 1] > 0.8


def test_a_run_that_is_stopped_ends_with_the_same_bytes(cohort, tmp_path, monkeypatch):
    sdata, _ = cohort
    monkeypatch.setattr(PaintJob, "block_side", 32)
    told = {"method": "linear", "recipe": {"window": 32}, "run": {"batch_size": 1}}
    sfm.settings.cache_dir = tmp_path / "whole"
    sfm.tl.reconstruct(sdata, **told)
    predict, n = PaintJob.predict, [0]

    def stop(self, *given):
        n[0] += 1
        if n[0] == 6:
            raise KeyboardInterrupt
        return predict(self, *given)

    monkeypatch.setattr(PaintJob, "predict", stop)
    sfm.settings.cache_dir = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        sfm.tl.reconstruct(sdata, **told)
    n_kept = len(list((tmp_path / "stopped").glob("runs/*/block_*")))
    sfm.tl.reconstruct(sdata, **told)
    assert n[0] == 6 + 12 - n_kept
    files = [{str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
             for folder in (tmp_path / "stopped" / "imputed", tmp_path / "whole" / "imputed")]  # fmt: skip
    assert files[0] == files[1] != {}


def test_channels_and_sizes_differ_between_samples(make_sdata):
    """Markers that not all images have are not seen; a constant channel tells nothing."""
    small, large = image_of(0, side=50), np.concatenate([image_of(1, side=150), np.zeros((1, 150, 150), np.float32)])
    sdata = make_sdata({"a": (small, None)}, CHANNELS)
    other = make_sdata({"b": (large, None)}, [*CHANNELS, "CD8"])
    sdata.images["image_b"] = other["image_b"]
    sfm.tl.reconstruct(sdata, method="linear", mode="marker")
    assert sdata["image_a_reconstructed"].shape == (3, 50, 50)
    assert sdata["image_b_reconstructed"].shape == (3, 150, 150)
    assert np.corrcoef(sdata["image_b_reconstructed"].values[2].ravel(), large[2].ravel())[0, 1] > 0.9
    dark = make_sdata({name: (np.zeros((2, 40, 40), np.uint16), None) for name in "ab"}, CHANNELS[:2])
    sfm.tl.reconstruct(dark, method="linear", space="intensity")
    assert (dark["image_a_reconstructed"].values == 0).all()


def test_whose_image_it_is_counts_for_whole_markers_alone(cohort, make_sdata, blobs):
    """A sample without cells has no patient in the cell table; hidden tokens need none."""
    image, labels = blobs(1, side=64, n_cells=6)
    sdata = make_sdata({"a": (image, labels), "b": (image, None)}, CHANNELS)
    sfm.pp.cell_table(sdata, samples=["a"])
    sdata["table"].obs["patient"] = "P1"
    sfm.tl.reconstruct(sdata, method="linear", recipe=ONE_TILE)
    assert sdata["image_b_reconstructed"].shape == (3, 64, 64)
    with pytest.raises(TableError, match="1 sample has no cells in the table, first 'b'"):
        sfm.tl.reconstruct(sdata, method="linear", mode="marker", recipe=ONE_TILE)


@pytest.mark.parametrize("table", ["samples", "table"])
def test_a_column_called_as_patients_are_is_asked_about(table):
    """Two images of one patient would teach each other."""
    obs = pd.DataFrame({"sample": list("abcd"), "PatientID": list("ppqr")}, index=list("abcd"))
    sdata = SimpleNamespace(tables={table: ad.AnnData(obs=obs)})
    with pytest.warns(SpatialfmWarning, match='each sample counts as a patient.*patient_key="PatientID"'):
        assert patients_of(sdata, ["a", "b"], "patient", "sample", "table") == ["a", "b"]
    assert patients_of(sdata, ["a", "b"], "PatientID", "sample", "table") == ["p", "p"]
    obs["PatientID"] = ["P0", " p0", "q", "r"]
    with pytest.raises(TableError, match="several ways"):
        patients_of(SimpleNamespace(tables={table: ad.AnnData(obs=obs)}), ["a", "b"], "PatientID", "sample", "table")


def test_a_patient_of_two_studies_is_told_of():
    obs = pd.DataFrame({"patient": ["P1", "P1", "P2"], "study": ["one", "two", "two"]}, index=list("abc"))
    with pytest.warns(SpatialfmWarning, match=r"1 of 2 patients has rows of several by obs\['study'\], first 'P1'"):
        patients_of(SimpleNamespace(tables={"samples": ad.AnnData(obs=obs)}), list("abc"), "patient", "sample", "table")


def test_bad_input_is_refused_before_work(cohort, make_sdata):
    sdata, images = cohort
    elements = sorted(sdata.images)
    encoder = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
    with pytest.raises(ArgumentError, match="pass model='virtues', or method='linear', which needs none"):
        sfm.tl.reconstruct(sdata)
    with pytest.raises(ArgumentError, match="method='linear' takes no model"):
        sfm.tl.reconstruct(sdata, encoder, method="linear")
    with pytest.raises(ArgumentError, match="weights= belongs to a model"):
        sfm.tl.reconstruct(sdata, method="linear", weights="file.pt")
    with pytest.raises(ArgumentError, match="'statistics'.*belongs to a model"):
        sfm.tl.reconstruct(sdata, method="linear", recipe={"statistics": {"CD3": (1, 1)}})
    with pytest.raises(PanelError, match="No marker 'CD4' in every image"):
        sfm.tl.reconstruct(sdata, method="linear", markers=["CD4"])
    with pytest.raises(PanelError, match="All channels are hidden"):
        sfm.tl.reconstruct(sdata, method="linear", mode="marker", panel={"markers": ["CD3"]})
    one = make_sdata({"a": (images["a"], None)}, CHANNELS)
    with pytest.raises(TableError, match="All images are of one patient.*mode='independent'"):
        sfm.tl.reconstruct(one, method="linear", mode="marker")
    wrong = images["a"].copy()
    wrong[0, 3, 4] = np.nan
    with pytest.raises(RunError, match="Pixels are NaN"):
        sfm.tl.reconstruct(make_sdata({"a": (wrong, None)}, CHANNELS), method="linear")
    sfm.pp.add_samples(sdata, pd.DataFrame({"sample": list("abc"), "patient": list("pqr")}))
    sdata["samples"].obs.loc["b", "patient"] = np.nan
    with pytest.raises(TableError, match="no patient of sample 'b'"):
        sfm.tl.reconstruct(sdata, method="linear", mode="marker")
    assert sorted(sdata.images) == elements
