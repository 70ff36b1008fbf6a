"""The probe of annotated cells: which cells, that embeddings belong to them, and that patients are kept apart."""

from __future__ import annotations

import numpy as np
import pytest
import spatialdata as sd
import torch
from sklearn.model_selection import GroupKFold
from tiny_training import register_mean_of_pixels

import spatialfm as sfm
from spatialfm._errors import ClinicalError, PanelError, SpatialfmWarning, TableError
from spatialfm.train import cell_probe
from spatialfm.train.cell_probe import CellProbe, CellReading, ProbeCells, cells_of, embedded, probed, reading_of


@pytest.fixture(scope="module")
def cohort():
    sdata = sfm.datasets.simulate_cohort(n_patients=3, n_samples=1, image_size=96, random_state=0, difficulty="easy")
    sfm.pp.cell_table(sdata)
    table = sdata["table"]
    table.obs["patient"] = table.obs["sample"].astype(str).str.split("_").str[0].to_numpy()
    table.obs["kind"] = np.where(np.asarray(table[:, "CD3"].X).ravel() > np.median(table[:, "CD3"].X), "T", "other")
    table.obs.iloc[5, table.obs.columns.get_loc("kind")] = None
    return sdata


def test_cells_are_taken_evenly(cohort, monkeypatch):
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 24)
    cells = cells_of(cohort, "kind", "patient")
    names, counts = np.unique(np.char.add(cells.patients.astype(str), cells.labels.astype(str)), return_counts=True)
    assert len(names) == 6
    assert counts.tolist() == [4] * 6
    assert cells.sdata["table"].obs["kind"].tolist() == cells.labels.tolist()
    assert cohort["table"].n_obs > 24


def test_embeddings_are_those_of_the_same_cells(cohort, monkeypatch):
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 20)
    cells = cells_of(cohort, "kind", "patient")
    whole = sfm.tl.embed_cells(cohort, "mean-intensity", copy=True)
    expected = whole[cells.sdata["table"].obs_names].obsm["X_mean_intensity"]
    np.testing.assert_allclose(embedded(sfm.models.load("mean-intensity"), cells), expected, rtol=1e-5, atol=1e-6)


def test_no_classifier_has_seen_the_patient():
    """Labels that are the patient's own cannot be told in another patient, however clear they are within."""
    rng = np.random.default_rng(0)
    patients, within = np.repeat(np.arange(6), 60), np.tile([0, 1], 180)
    values = rng.standard_normal((360, 4))
    values[:, 0] += 6 * within  # told in all patients alike
    cells = ProbeCells(None, within.astype(str), patients.astype(str))
    assert probed(values, cells) == {"probe_linear": 1.0, "probe_knn": pytest.approx(1, abs=0.03)}
    flipped = np.where(patients % 2 == 0, within, 1 - within)  # means the other thing in every second patient
    own = probed(np.c_[values, 6 * np.eye(6)[patients]], ProbeCells(None, flipped.astype(str), patients.astype(str)))
    assert max(own.values()) < 0.75


def test_scores_stand_beside_mean_intensities_and_the_encoder_is_as_before(cohort, monkeypatch):
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 40)
    encoder = sfm.models.new_encoder("kronos", dim=16, depth=1, heads=2, grid=4)
    check = CellProbe(lambda: encoder, cells_of(cohort, "kind", "patient"))
    found = check(0)
    assert set(found) == {f"probe_{head}{of}" for head in ("linear", "knn") for of in ("", "_mean_intensity")}
    assert found["probe_linear_mean_intensity"] > 0.8  # of which the labels were made
    assert encoder.training
    assert all(one.requires_grad for one in encoder.parameters())
    with torch.no_grad():  # other weights are embedded anew, not taken from a cache
        for one in encoder.parameters():
            one.mul_(0.0)
    assert check(1)["probe_knn"] != found["probe_knn"]
    assert CellProbe(lambda: encoder, check.cells, active=False)(0) == {}


def test_cells_are_read_as_the_windows_are(cohort, monkeypatch):
    """Pixels over 4,000, vectors of one's own, tiles as large as a crop: as in training, and not those of the card."""
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 20)
    cells = cells_of(cohort, "kind", "patient")
    encoder = sfm.models.new_encoder("virtues", dim=16, depth=2, heads=2, hidden=16).eval()
    vectors = {name: np.random.default_rng(seed).normal(size=640) for seed, name in enumerate(["CD3", "CD31"])}
    panel = {"embeddings": vectors, "markers": ["CD3", "CD31"]}
    recipe = {"preparation": None, "scaling": "range", "intensity_max": 4000.0}
    windows = sfm.train.Windows(cohort, encoder, size=32, crop=16, panel=panel, recipe=recipe)
    found = embedded(encoder, cells, reading_of(windows, cells))
    told = {**panel, "on_unknown": "drop"}
    tiles = {"window": 16, "stride": 5, "padding": 15}
    asked = {"panel": told, "recipe": recipe | tiles, "copy": True, "key_added": "X", "on_missing": "drop"}
    np.testing.assert_allclose(found, sfm.tl.embed_cells(cells.sdata, encoder, **asked).obsm["X"], rtol=1e-4, atol=1e-5)
    assert np.abs(found - embedded(encoder, cells, CellReading(panel=told))).max() > 0.01


def test_cells_are_told_the_markers_of_the_training(cohort, monkeypatch):
    """Channels that training was told the markers of, and no other ones: not those that their names say."""
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 20)
    cells = cells_of(cohort, "kind", "patient")
    panel = {"markers": ["CD4", "CD3", "CD8"], "mapping": {"CD20": "CD4", "CD4": None}}
    windows = sfm.train.Windows(cohort, "kronos", size=32, crop=16, panel=panel, channels="all")
    found = reading_of(windows, cells).panel
    assert found["markers"] == ["CD4", "CD3", "CD8"]
    assert found["mapping"] == panel["mapping"]
    image = cells.sdata.images.pop(sorted(cells.sdata.images)[0])
    lacks = image.sel(c=[name for name in image.coords["c"].values if name != "CD3"])
    cells.sdata.images["image_other"] = lacks
    assert reading_of(windows, cells).panel["markers"] == ["CD4", "CD8"]
    cells.sdata.images["image_other"] = image.sel(c=["DAPI", "CD31"])
    with pytest.raises(PanelError, match="share none of the markers that panel= of windows= asks for"):
        reading_of(windows, cells)


def test_images_that_a_model_predicted_take_no_marker_away(cohort):
    panel = {"markers": ["CD8", "CD4", "CD3"]}
    windows = sfm.train.Windows(cohort, "kronos", size=32, crop=16, panel=panel, channels="all")
    cells = cells_of(cohort, "kind", "patient")
    image = cells.sdata["image_P001_1"]
    predicted = sd.models.Image2DModel.parse(
        image.data[:1], dims=("c", "y", "x"), c_coords=["CD8"],
        transformations=sd.transformations.get_transformation(image, get_all=True),
    )  # fmt: skip
    cells.sdata.images["image_P001_1_imputed"] = predicted
    assert reading_of(windows, cells).panel["markers"] == ["CD8", "CD4", "CD3"]


def test_a_class_of_one_patient_is_left_out_and_named(cohort):
    obs = cohort["table"].obs
    rare, first = obs["kind"].astype(object), obs["patient"] == obs["patient"].iloc[0]
    rare[rare.index[first][:3]] = "rare"
    with pytest.warns(SpatialfmWarning, match="1 class of column 'kind' that one patient alone has.*'rare'"):
        cells = cells_of(with_obs(cohort, obs.assign(kind=rare)), "kind", "patient")
    assert sorted(set(cells.labels)) == ["T", "other"]


def test_folds_whose_patients_have_all_cells_of_a_class():
    """Of six patients in five folds, two are tested at once; none of what is left has the other class."""
    patients, rng = np.repeat(np.arange(6), 20), np.random.default_rng(0)
    together = next(
        set(patients[test]) for _, test in GroupKFold(5).split(patients, None, patients) if len(set(patients[test])) > 1
    )
    labels = np.where(np.isin(patients, list(together)) & (np.arange(120) % 2 == 0), "A", "B")
    found = probed(rng.standard_normal((120, 3)), ProbeCells(None, labels, patients.astype(str)))
    assert all(0 < value < 0.6 for value in found.values())


def test_a_largest_value_for_each_sample_has_to_hold_for_the_probe(cohort, monkeypatch):
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 20)
    cells = cells_of(cohort, "kind", "patient")
    samples = [name.removeprefix("image_") for name in cohort.images]
    recipe = {"intensity_max": {name: 1000.0 * place for place, name in enumerate(samples, 1)}}
    windows = sfm.train.Windows(cohort, "kronos", size=32, crop=16, recipe=recipe)
    assert reading_of(windows, cells).recipe["intensity_max"] == recipe["intensity_max"]
    some = sfm.train.Windows(cohort, "kronos", size=32, crop=16, recipe={"intensity_max": {samples[0]: 1.0}},
                             samples=samples[:1])  # fmt: skip
    with pytest.raises(ClinicalError, match=f"a value for each sample, and none for {samples[1]!r}"):
        reading_of(some, cells)


@pytest.mark.slow  # embeds all cells twice beside the training
def test_a_run_writes_the_scores(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_probe, "MOST_CELLS", 20)
    sfm.train.pretrain(
        cohort, "kronos", out=tmp_path / "run", shape={"dim": 16, "depth": 1, "heads": 2, "grid": 4}, steps=1,
        objective=register_mean_of_pixels(), windows={"size": 32, "crop": 16}, batch_size=2, probe=cohort,
        label_key="kind", check_every=1,
    )  # fmt: skip
    import pandas as pd

    checks = pd.read_csv(tmp_path / "run" / "checks.csv")
    assert checks["probe_linear"].between(0, 1).all()
    assert checks["probe_linear_mean_intensity"].nunique() == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda obs: obs.assign(kind="T"), TableError, "has one class"),
        (
            lambda obs: obs.assign(kind=obs["patient"].where(obs["patient"] == "P001", "other")),
            TableError,
            "fewer than two classes in more than one patient",
        ),
        (lambda obs: obs.assign(patient="P1"), ClinicalError, "are of one patient"),
        (lambda obs: obs.assign(patient=np.where(np.arange(len(obs)) % 2, "P1", "p1 ")), ClinicalError, "several ways"),
    ],
)
@pytest.mark.filterwarnings("ignore:Left out of probe")
def test_what_cannot_be_judged_is_refused(cohort, change, error, message):
    with pytest.raises(error, match=message):
        cells_of(with_obs(cohort, change(cohort["table"].obs)), "kind", "patient")


def with_obs(cohort, obs):
    table = cohort["table"].copy()
    table.obs = obs
    return sd.SpatialData(images=dict(cohort.images), labels=dict(cohort.labels), tables={"table": table})
