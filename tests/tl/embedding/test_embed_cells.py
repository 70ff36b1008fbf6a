"""`embed_cells` against plain numpy, cell by cell, and the promises that it makes."""

from __future__ import annotations

import dataclasses
import json
import logging

import numpy as np
import pytest
import spatialdata as sd
import torch
from spatialdata.transformations import Scale, Sequence, Translation, set_transformation
from stand_in import StandIn, card_of

import spatialfm as sfm
from spatialfm._errors import ArgumentError, CoordinateError, ElementError, ModelError, PanelError, RunError, TableError
from spatialfm._keys import UNTRAINED
from spatialfm.embed.windows.crop import CropJob

CHANNELS = ["DAPI", "CD3", "CD20"]


class Moments(StandIn):
    """Sum and first moments of what it is given: wrong by a pixel, and a number changes."""

    card = card_of(
        "moments",
        embedding_dim=3,
        mpp=0.5,
        recipe=sfm.Recipe(window=32),
        outputs=("patch", "marker"),
        default_output="marker",
    )

    def __init__(self, stop_after: int | None = None):
        super().__init__()
        self.stop_after = stop_after

    def look(self, pixels):
        if self.stop_after is not None and self.n_windows > self.stop_after:
            raise KeyboardInterrupt
        ramp = torch.arange(pixels.shape[-1], dtype=pixels.dtype)
        by_y, by_x = (pixels.sum(-1) * ramp).sum(-1), (pixels.sum(-2) * ramp).sum(-1)
        marker = torch.stack([pixels.sum((-2, -1)), by_y, by_x], dim=-1)
        return {"patch": marker.mean(1), "marker": marker}


def expected_rows(image, labels, *, window=32, intensity_max=255.0, background="zero"):
    """The recipe, one cell after the other."""
    half, rows = window // 2, []
    padded = np.pad(image.astype(np.float64) / intensity_max, ((0, 0), (half, half), (half, half)))
    around = np.pad(labels, half)
    for label in np.unique(labels[labels > 0]):
        y, x = (int(np.floor(axis.mean() + 0.5)) for axis in np.nonzero(labels == label))
        crop, mask = padded[:, y : y + window, x : x + window], around[y : y + window, x : x + window] == label
        crop = crop * mask if background == "zero" else crop
        ramp = np.arange(window)
        moments = [crop.sum((1, 2)), (crop * ramp[:, None]).sum((1, 2)), (crop * ramp).sum((1, 2))]
        rows.append(np.stack(moments, axis=1).ravel())
    return np.array(rows)


@pytest.fixture
def samples(blobs):
    return {"a": blobs(0), "b": blobs(1, side=110)}


@pytest.fixture
def sdata(make_sdata, samples):
    return make_sdata(samples, CHANNELS)


@pytest.mark.parametrize("background", ["zero", "keep"])
def test_rows_are_those_of_a_loop_over_cells(sdata, samples, background):
    sfm.tl.embed_cells(sdata, Moments(), recipe={"background": background})
    table = sdata["table"]
    expected = np.concatenate([expected_rows(*samples[name], background=background) for name in ("a", "b")])
    assert table.obsm["X_moments"].dtype == np.float32
    np.testing.assert_allclose(table.obsm["X_moments"], expected, rtol=1e-5, atol=1e-4)
    ids = [f"{name}_{label}" for name in ("a", "b") for label in np.unique(samples[name][1]) if label]
    assert list(table.obs_names) == ids


@pytest.mark.parametrize(("batch_size", "block"), [(1, 1024), (7, 40), (64, 17)])
def test_result_does_not_depend_on_batches_or_blocks(sdata, monkeypatch, batch_size, block):
    whole = sfm.tl.embed_cells(sdata, Moments(), copy=True).obsm["X_moments"]
    monkeypatch.setattr(CropJob, "block_side", block)
    again = sfm.tl.embed_cells(sdata, Moments(), run={"batch_size": batch_size}, copy=True).obsm["X_moments"]
    np.testing.assert_allclose(again, whole, rtol=1e-5)


def test_rows_follow_the_table_and_not_the_labels(sdata, samples):
    sfm.pp.cell_table(sdata)
    order = np.random.default_rng(0).permutation(sdata["table"].n_obs)
    sfm.tl.embed_cells(sdata, Moments())
    straight = sdata["table"].obsm["X_moments"]
    sdata.tables["table"] = sdata["table"][order].copy()
    sfm.tl.embed_cells(sdata, Moments(), key_added="X_again")
    np.testing.assert_allclose(sdata["table"].obsm["X_again"], straight[order], rtol=1e-6)
    np.testing.assert_allclose(sdata["table"].obsm["X_again"], sdata["table"].obsm["X_moments"], rtol=1e-6)


def test_sixteen_bit_images_are_scaled_by_their_range(make_sdata, samples):
    wide = {name: (image.astype(np.uint16) * 257, labels) for name, (image, labels) in samples.items()}
    rows = [
        sfm.tl.embed_cells(make_sdata(cohort, CHANNELS), Moments(), copy=True).obsm["X_moments"]
        for cohort in (samples, wide)
    ]
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-5)
    sdata = make_sdata(samples, CHANNELS)
    half = sfm.tl.embed_cells(sdata, Moments(), recipe={"intensity_max": 510}, copy=True).obsm["X_moments"]
    np.testing.assert_allclose(2 * half, rows[0], rtol=1e-5)


def test_an_offset_between_image_and_labels_is_applied(make_sdata, samples):
    image, labels = samples["a"]
    straight = sfm.tl.embed_cells(make_sdata({"a": (image, labels)}, CHANNELS), Moments(), copy=True)
    cut = np.ascontiguousarray(labels[20:, 30:])  # labels that begin at row 20, column 30 of the image
    sdata = make_sdata({"a": (image, cut)}, CHANNELS)
    moved = Sequence([Scale([0.5, 0.5], axes=("x", "y")), Translation([15.0, 10.0], axes=("x", "y"))])
    set_transformation(sdata["cells_a"], {"a": moved}, set_all=True)
    offset = sfm.tl.embed_cells(sdata, Moments(), copy=True)
    whole = [f"a_{label}" for label in np.unique(cut[cut > 0]) if (cut == label).sum() == (labels == label).sum()]
    assert len(whole) > 5
    np.testing.assert_allclose(offset[whole].obsm["X_moments"], straight[whole].obsm["X_moments"], rtol=1e-5)


def test_coarse_images_are_resampled_to_the_models_pixels(make_sdata):
    """One smooth tissue seen at 0.5 and at 1 µm per pixel gives one embedding."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :200] + 0.5
    image, labels = np.zeros((3, 200, 200)), np.zeros((200, 200), np.int32)
    for label, (cy, cx) in enumerate([(40, 50), (100, 120), (150, 60)], start=1):
        distance = (y - cy) ** 2 + (x - cx) ** 2
        labels[distance < 12**2] = label
        image += rng.uniform(50, 150, (3, 1, 1)) * np.exp(-distance / (2 * 5**2))
    fine = make_sdata({"a": (image.astype(np.float32), labels)}, CHANNELS, mpp=0.5)
    halved = image.reshape(3, 100, 2, 100, 2).mean((2, 4)).astype(np.float32)
    coarse = make_sdata({"a": (halved, np.ascontiguousarray(labels[::2, ::2]))}, CHANNELS, mpp=1.0)
    rows = {
        name: sfm.tl.embed_cells(sdata, Moments(), copy=True).obsm["X_moments"].reshape(3, 3, 3)
        for name, sdata in (("fine", fine), ("coarse", coarse))
    }
    np.testing.assert_allclose(rows["coarse"][..., 0], rows["fine"][..., 0], rtol=0.02)
    centers = {name: value[..., 1:] / value[..., :1] for name, value in rows.items()}
    np.testing.assert_allclose(centers["coarse"], centers["fine"], atol=0.6)  # half a coarse pixel
    with pytest.warns(sfm._errors.SpatialfmWarning, match="without resampling"):
        kept = sfm.tl.embed_cells(coarse, Moments(), recipe={"resampling": "none"}, copy=True).obsm["X_moments"]
    np.testing.assert_allclose(kept.reshape(3, 3, 3)[..., 0], rows["fine"][..., 0] / 4, rtol=0.05)


def test_kronos_is_the_published_cell_recipe(make_sdata, samples, tmp_path):
    """Crop, x / range, (x - mean) / std, mask to zero, marker features concatenated (Online Methods)."""
    image, labels = samples["a"]
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    metadata = tmp_path / "marker_metadata.csv"
    metadata.write_text(
        "marker_name,marker_id,marker_mean,marker_std\nCD20,40,0.3,0.1\nDAPI,7,0.2,0.3\nCD3,12,0.1,0.2\nCD8,13,0.1,0.2\n"
    )
    encoder = sfm.models.load("kronos", weights="random", marker_metadata=metadata)
    sfm.tl.embed_cells(sdata, encoder)
    padded, around = np.pad(image / np.float32(255), ((0, 0), (32, 32), (32, 32))), np.pad(labels, 32)
    mean, std = np.array([0.2, 0.1, 0.3])[:, None, None], np.array([0.3, 0.2, 0.1])[:, None, None]
    windows = []
    for label in np.unique(labels[labels > 0]):
        y, x = (int(np.floor(axis.mean() + 0.5)) for axis in np.nonzero(labels == label))  # rows y - 32 to y + 31
        crop = (padded[:, y : y + 64, x : x + 64] - mean) / std
        windows.append(crop * (around[y : y + 64, x : x + 64] == label))
    with torch.inference_mode():
        expected = encoder(torch.tensor(np.array(windows), dtype=torch.float32), torch.tensor([7, 12, 40])).marker
    found = sdata["table"].obsm["X_kronos"]
    assert found.shape == (len(windows), 3 * 384)
    error = np.linalg.norm(found - expected.flatten(1).numpy()) / np.linalg.norm(expected.numpy())
    assert error < 1e-5
    np.testing.assert_array_equal(sfm.get.marker_embedding(sdata["table"], "X_kronos", "CD20"), found[:, 768:])
    notes = sfm.get.record(sdata["table"], "X_kronos")
    assert notes["marker_ids"] == [7, 12, 40]
    assert notes["normalization_source"] == ["published"] * 3
    assert notes["weights"] == UNTRAINED == "random (untrained)"


def test_an_interrupted_run_goes_on_where_it_was(sdata, monkeypatch):
    monkeypatch.setattr(CropJob, "block_side", 40)
    whole = sfm.tl.embed_cells(sdata, Moments(), run={"batch_size": 4}, copy=True)
    n_cells = whole.n_obs
    with pytest.raises(KeyboardInterrupt):
        sfm.tl.embed_cells(sdata, Moments(stop_after=n_cells // 2), run={"batch_size": 4}, copy=True)
    rest = Moments()
    again = sfm.tl.embed_cells(sdata, rest, run={"batch_size": 4}, copy=True)
    assert 0 < rest.n_windows < 0.8 * n_cells
    np.testing.assert_array_equal(again.obsm["X_moments"], whole.obsm["X_moments"])
    fresh = Moments()
    sfm.tl.embed_cells(sdata, fresh, run={"batch_size": 4}, copy=True)
    assert fresh.n_windows == n_cells  # a finished run leaves nothing behind


def test_another_call_does_not_take_blocks_of_this_one(sdata):
    with pytest.raises(KeyboardInterrupt):
        sfm.tl.embed_cells(sdata, Moments(stop_after=20), run={"batch_size": 4})
    other = Moments()
    sfm.tl.embed_cells(sdata, other, recipe={"background": "keep"}, run={"batch_size": 4})
    assert other.n_windows == sdata["table"].n_obs


def test_the_record_survives_a_store(sdata, tmp_path):
    sfm.tl.embed_cells(sdata, Moments(), markers=["CD20", "DAPI"])
    stored = sdata["table"].uns["spatialfm"]["X_moments"]
    assert all(isinstance(value, str | int | float) for value in stored.values())
    sdata.write(tmp_path / "cohort.zarr")
    table = sd.read_zarr(tmp_path / "cohort.zarr")["table"]
    notes = sfm.get.record(table, "X_moments")
    assert notes["markers"] == ["CD20", "DAPI"]
    assert notes["markers_dropped"] == {"CD3": "not among markers="}
    assert notes["window"] == 32
    assert notes["mpp_image"] == {"a": 0.5, "b": 0.5}
    assert {"torch", "spatialfm", "anndata"} <= set(notes["versions"])
    assert json.loads(stored["marker_ids"] or "null") is None
    np.testing.assert_array_equal(table.obsm["X_moments"], sdata["table"].obsm["X_moments"])
    np.testing.assert_array_equal(
        sfm.get.marker_embedding(table, "X_moments", "DAPI"), sdata["table"].obsm["X_moments"][:, 3:]
    )


def test_nothing_but_the_table_changes(sdata):
    before = {name: np.asarray(element).copy() for name, element in {**sdata.images, **sdata.labels}.items()}
    sfm.pp.cell_table(sdata)
    obs = sdata["table"].obs.copy()
    sfm.tl.embed_cells(sdata, Moments())
    assert set(sdata.tables) == {"table"}
    assert sdata["table"].obs.equals(obs)
    for name, values in before.items():
        np.testing.assert_array_equal(np.asarray(sdata[name]), values)
    untouched = sdata["table"].copy()
    copied = sfm.tl.embed_cells(sdata, Moments(), key_added="X_copy", copy=True)
    assert "X_copy" in copied.obsm
    assert "X_copy" not in sdata["table"].obsm
    assert set(untouched.uns["spatialfm"]) == set(sdata["table"].uns["spatialfm"])


def test_rows_and_labels_that_do_not_match_are_counted_and_named(sdata, caplog):
    sfm.pp.cell_table(sdata)
    table = sdata["table"][3:].copy()  # three labels lose their row
    ids = table.obs["cell_id"].to_numpy().copy()
    ids[0] = 9999  # and a row loses its label, which makes one more label without row
    table.obs["cell_id"] = ids
    sdata.tables["table"] = table
    with pytest.raises(
        TableError, match=r"1 row of table.*\(a_9999\).*4 labels without row \(a_3, a_6.*on_missing='drop'"
    ):
        sfm.tl.embed_cells(sdata, Moments())
    assert not sdata["table"].obsm.keys() & {"X_moments"}
    with caplog.at_level(logging.WARNING, "spatialfm"):
        sfm.tl.embed_cells(sdata, Moments(), on_missing="drop")
    assert "a_9999" in caplog.text
    assert sdata["table"].n_obs == table.n_obs - 1
    assert np.isfinite(sdata["table"].obsm["X_moments"]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"elements": {"image": "nothing"}}, ElementError, r"No image element 'nothing'.*'image_a'"),
        (
            {"elements": {"labels": {"a": "nuclei"}}},
            ElementError,
            r"No labels element 'nuclei' in sdata; found 'cells_a', 'cells_b'",
        ),
        ({"samples": ["z"]}, ElementError, r"No sample 'z'"),
        ({"samples": ["a"]}, TableError, r"also holds cells of cells_b.*copy=True"),
        ({"outputs": "token"}, ModelError, r"no output 'token' for cells; it offers \['patch', 'marker'\]"),
        ({"recipe": {"background": "black"}}, ArgumentError, r"background='black'"),
        ({"recipe": {"normalization": "zscore"}}, ArgumentError, r"normalization='zscore'"),
        ({"markers": ["CD68"]}, PanelError, r"No marker 'CD68'"),
        ({"run": {"devices": "quantum"}}, ModelError, r"Device 'quantum' cannot be used"),
        ({"run": {"precision": "int8"}}, ArgumentError, r"precision='int8'"),
        ({"weights": "some.pt"}, TableError, r"belongs to sfm.models.load"),
        ({"on_missing": "ignore"}, ArgumentError, r"on_missing='ignore'"),
    ],
)
def test_refusals_write_nothing(sdata, arguments, error, message):
    sfm.pp.cell_table(sdata)
    before = sdata["table"].copy()
    encoder = Moments()
    with pytest.raises(error, match=message):
        sfm.tl.embed_cells(sdata, encoder, **arguments)
    assert encoder.n_windows == 0
    assert set(sdata["table"].obsm) == set(before.obsm)
    assert set(sdata["table"].uns) == set(before.uns)


def test_elements_that_do_not_connect_are_refused(sdata):
    set_transformation(sdata["cells_b"], {"elsewhere": Scale([0.5, 0.5], axes=("x", "y"))}, set_all=True)
    with pytest.raises(CoordinateError, match=r"'image_b' \(in 'b'\) and labels 'cells_b' \(in 'elsewhere'\)"):
        sfm.tl.embed_cells(sdata, Moments())
    assert not sdata.tables


def test_pixels_that_are_nan_are_named(make_sdata, samples):
    image, labels = samples["a"]
    image = image.astype(np.float32)
    sdata = make_sdata({"a": (image.copy(), labels)}, CHANNELS)
    sfm.pp.cell_table(sdata)
    image[1, 70, 70] = np.inf
    sdata.images["image_a"] = make_sdata({"a": (image, labels)}, CHANNELS)["image_a"]
    with pytest.raises(RunError, match=r"NaN or infinite in 1 image: 'image_a' \(channel 'CD3': 1 pixel\)"):
        sfm.tl.embed_cells(sdata, Moments())
    assert "X_moments" not in sdata["table"].obsm


def test_without_a_model_it_is_classical(sdata):
    sfm.tl.embed_cells(sdata)
    values = sdata["table"].obsm["X_classical"]
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)  # standardised over all cells
    spread = values.std(axis=0)
    assert ((np.abs(spread - 1) < 1e-3) | (spread == 0)).all()


def test_mean_intensity_is_the_mean_of_the_table(sdata):
    sfm.tl.embed_cells(sdata, "mean-intensity")
    table = sdata["table"]
    np.testing.assert_allclose(sfm.get.features(table, "X_mean_intensity"), table.X / 255, rtol=1e-5)


def test_half_precision_on_request(sdata):
    full = sfm.tl.embed_cells(sdata, Moments(), copy=True).obsm["X_moments"]
    half = sfm.tl.embed_cells(sdata, Moments(), run={"precision": "float16"}, copy=True).obsm["X_moments"]
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, full, rtol=2e-3, atol=1e-2)


def test_virtues_prepares_pixels_and_shares_tokens_out(make_sdata, samples, caplog):
    """Clip, log1p, standardise over tissue, blur, tiles, pixel overlap: against the same steps on whole arrays."""
    from scipy.ndimage import correlate1d

    from spatialfm.embed.windows.tiles import share_out
    from spatialfm.models.virtues_pixels import KERNEL

    image, labels = samples["a"]
    image, labels = image[:, :128, :128].copy(), labels[:128, :128].copy()
    sdata = make_sdata({"a": (image, labels)}, ["DAPI", "CD3", "CD20"], mpp=1.0)
    encoder = sfm.models.load("virtues", weights="random")
    rng = np.random.default_rng(0)
    vectors = {name: rng.standard_normal(encoder.marker_dim).astype(np.float32) for name in ("CD3", "CD20")}
    tissue = np.add.outer(np.arange(128), np.arange(128)) > 60
    with caplog.at_level(logging.INFO, "spatialfm"):
        sfm.tl.embed_cells(sdata, encoder, panel={"embeddings": vectors}, recipe={"padding": 0, "tissue": tissue})
    assert "DAPI" in caplog.text  # left out by name: it has no protein and no embedding
    notes = sfm.get.record(sdata["table"], "X_virtues")
    assert notes["markers"] == ["CD3", "CD20"]
    assert notes["mode"] == "tile"

    values = image[1:].astype(np.float64)
    values = np.log1p(np.minimum(values, np.percentile(values[:, tissue], 99, axis=1)[:, None, None]))
    mean, std = values[:, tissue].mean(axis=1), values[:, tissue].std(axis=1)
    np.testing.assert_allclose(notes["normalization_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(notes["normalization_std"], std, rtol=1e-5)
    values = (values - mean[:, None, None]) / std[:, None, None]
    for axis in (1, 2):
        values = correlate1d(values, KERNEL, axis=axis, mode="mirror")
    pixels = torch.tensor(values, dtype=torch.float32)[None]
    ids = np.unique(labels[labels > 0])
    rows = np.searchsorted(ids, labels) + 1
    rows[labels == 0] = 0
    with torch.inference_mode():
        tokens = encoder(pixels, torch.from_numpy(np.stack([vectors["CD3"], vectors["CD20"]]))).summary
        _, (sums,), counted = share_out([tokens], torch.from_numpy(rows)[None], len(ids))
    expected = (sums / counted[:, None]).numpy()
    found = sdata["table"].obsm["X_virtues"]
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-4


def test_statistics_of_one_cohort_serve_another(make_sdata, samples):
    class Standard(Moments):
        card = dataclasses.replace(Moments.card, recipe=Moments.card.recipe.replace(normalization="marker statistics"))

    first, second = (make_sdata({name: value}, CHANNELS) for name, value in samples.items())
    sfm.tl.embed_cells(first, Standard())
    notes = sfm.get.record(first["table"], "X_moments")
    own = sfm.tl.embed_cells(second, Standard(), copy=True)
    reused = sfm.tl.embed_cells(second, Standard(), recipe={"statistics": notes}, copy=True)
    assert not np.allclose(reused.obsm["X_moments"], own.obsm["X_moments"], rtol=1e-3)
    again = sfm.get.record(reused, "X_moments")
    assert again["normalization_mean"] == notes["normalization_mean"]
    assert again["normalization_source"] == ["given"] * 3
    plain = dict(
        zip(notes["markers"], zip(notes["normalization_mean"], notes["normalization_std"], strict=True), strict=True)
    )
    same = sfm.tl.embed_cells(second, Standard(), recipe={"statistics": plain}, copy=True)
    np.testing.assert_array_equal(same.obsm["X_moments"], reused.obsm["X_moments"])
    del plain["CD3"]
    with pytest.raises(PanelError, match=r"recipe=..statistics.: .... contains no statistics for CD3"):
        sfm.tl.embed_cells(second, Standard(), recipe={"statistics": plain}, copy=True)


def test_principal_components_and_their_reuse(sdata, tmp_path):
    from sklearn.decomposition import PCA

    full = sfm.tl.embed_cells(sdata, Moments(), copy=True).obsm["X_moments"]
    sfm.tl.embed_cells(sdata, Moments(), reduce={"n_components": 3})
    table = sdata["table"]
    expected = PCA(3, svd_solver="full").fit(full.astype(np.float64))
    signs = np.sign(np.sum(expected.components_ * sfm.get.basis(table, "X_moments")["components"], axis=1))
    np.testing.assert_allclose(table.obsm["X_moments"], expected.transform(full) * signs, rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(
        sfm.get.basis(table, "X_moments")["explained"], expected.explained_variance_ratio_, rtol=1e-4
    )
    sdata.write(tmp_path / "cohort.zarr")
    basis = sfm.get.basis(sd.read_zarr(tmp_path / "cohort.zarr")["table"], "X_moments")
    again = sfm.tl.embed_cells(sdata, Moments(), reduce={"basis": basis}, key_added="X_again", copy=True)
    np.testing.assert_allclose(again.obsm["X_again"], table.obsm["X_moments"], rtol=1e-4, atol=1e-3)
    with pytest.raises(ModelError, match=r"reduce=..basis.: .... was made for 9 columns, and this embedding has 6"):
        sfm.tl.embed_cells(sdata, Moments(), markers=["CD3", "CD20"], reduce={"basis": basis})
    with pytest.raises(ModelError, match=r"reduce=..n_components.: 10. of an embedding of \d+ rows x 9 columns"):
        sfm.tl.embed_cells(sdata, Moments(), reduce={"n_components": 10})
    with pytest.raises(ModelError, match="belong to no marker"):
        sfm.get.marker_embedding(table, "X_moments", "CD3")


def test_batches_are_halved_until_they_fit(sdata, caplog):
    class Large(Moments):
        def forward(self, pixels, markers=None, *, mask=None):
            if len(pixels) > 5:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().forward(pixels, markers, mask=mask)

    expected = sfm.tl.embed_cells(sdata, Moments(), copy=True).obsm["X_moments"]
    with caplog.at_level(logging.WARNING, "spatialfm"):
        found = sfm.tl.embed_cells(sdata, Large(), run={"batch_size": 16}, copy=True).obsm["X_moments"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert [record.message for record in caplog.records if "out of memory" in record.message] == [
        "out of memory: going on with batches of 8",
        "out of memory: going on with batches of 4",
    ]

    class Never(Moments):
        def forward(self, pixels, markers=None, *, mask=None):
            raise MemoryError

    with pytest.raises(RunError, match=r"One window of 32 pixels does not fit.*Finished blocks are kept"):
        sfm.tl.embed_cells(sdata, Never(), run={"batch_size": 2})

    class Broken(Moments):
        def forward(self, pixels, markers=None, *, mask=None):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):  # an error of the model's own is not hidden
        sfm.tl.embed_cells(sdata, Broken(), run={"batch_size": 2})


def test_bfloat16_points_the_same_way(sdata):
    encoder = sfm.models.load("kronos", weights="random")
    rows = {
        dtype: sfm.tl.embed_cells(
            sdata, encoder, markers=["CD3", "CD20"], samples=["b"], run={"precision": dtype}, copy=True
        )
        for dtype in ("float32", "bfloat16")
    }
    exact, fast = (table.obsm["X_kronos"] for table in rows.values())
    assert fast.dtype == np.float32
    assert not np.array_equal(exact, fast)
    cosine = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert cosine.min() > 0.999
    assert sfm.get.record(rows["bfloat16"], "X_kronos")["computed_in"] == "bfloat16"
