"""Regions learned from a few shapes, against planted truth, the encoder itself and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import spatialdata as sd
import torch
from geopandas import GeoDataFrame
from shapely import Point, Polygon, box
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from spatialdata.models import ShapesModel
from spatialdata.transformations import Identity, Scale

import spatialfm as sfm
from spatialfm._errors import ArgumentError, CoordinateError, ElementError, ModelError, SpatialfmError, TableError
from spatialfm.pp.square_annotations import shares_of_shapes

CHANNELS = ["DAPI", "CD3", "CD20"]


def shapes(classes, geometries, system, transformation=None, **columns):
    frame = GeoDataFrame({"class": classes, "geometry": geometries, **columns})
    return ShapesModel.parse(frame, transformations={system: transformation or Identity()})


@pytest.fixture
def sdata(make_sdata):
    """Three images of 96 x 128 pixels of 0.5 µm; CD3 left of a slanted border, CD20 right of it."""
    rng = np.random.default_rng(0)
    images = {}
    y, x = np.mgrid[:96, :128]
    left = x + 0.5 < 40 + 0.4 * y
    for sample in "abc":
        image = rng.poisson(20, (3, 96, 128)).astype(np.uint8)
        image[1, left] += rng.poisson(30, left.sum()).astype(np.uint8)
        image[2, ~left] += rng.poisson(30, (~left).sum()).astype(np.uint8)
        images[sample] = (image, None)
    sdata = make_sdata(images, CHANNELS)
    # in a, in µm; the second is drawn in pixels, as a viewer would have it
    sdata["drawn_a"] = shapes(["T", "B", None], [box(0, 0, 14, 30), box(46, 5, 64, 40), box(20, 20, 30, 30)], "a")
    sdata["drawn_b"] = shapes(
        ["T", "B"], [box(0, 60, 40, 96), box(100, 0, 128, 30)], "b", Scale([0.5, 0.5], axes=("x", "y"))
    )
    sdata.truth = np.where(left, 2, 1)  # B, T
    return sdata


OPTIONS = {"annotations": "drawn_{sample}", "size": 16, "stride": 8, "C": 1.0}


def test_a_planted_border_is_found_where_nobody_drew(sdata, tmp_path):
    sfm.tl.segment_regions(sdata, "mean-intensity", **OPTIONS)
    assert sdata.attrs["spatialfm"]["maps"]["regions_c"]["categories"] == ["B", "T"]
    for sample in "abc":
        regions = np.asarray(sdata[f"regions_{sample}"])
        assert regions.shape == (24, 32)  # tokens of 16 pixels every 8: borders on multiples of 4
        assert (np.kron(regions, np.ones((4, 4), int)) == sdata.truth).mean() > 0.97
    with pytest.raises(ElementError, match="No labels element for image 'image_a'"):
        sfm.pp.cell_table(sdata)  # neither regions nor tokens are cells
    tokens = sdata["tokens"]
    assert tokens.n_obs == 3 * 11 * 15
    assert (
        tokens.obs["annotation"].notna().sum()
        == (tokens.obs["annotation"].notna() & (tokens.obs["sample"] != "c")).sum()
    )
    # the table annotates the raster of tokens: each token's own centre shows it
    for sample in "abc":
        mine = tokens[tokens.obs["sample"] == sample]
        column, row = np.floor(mine.obsm["spatial"] / 2).astype(int).T
        np.testing.assert_array_equal(np.asarray(sdata[f"tokens_{sample}"])[row, column], mine.obs["token_id"])
    sdata.write(tmp_path / "s.zarr")
    again = sd.read_zarr(tmp_path / "s.zarr")
    np.testing.assert_array_equal(np.asarray(again["regions_a"]), np.asarray(sdata["regions_a"]))
    assert again["tokens"].uns["regions"]["params"]["label_key"] == "class"
    assert set(again["tokens"].obs["region"]) == {"tokens_a", "tokens_b", "tokens_c"}


def test_tokens_are_means_and_the_probe_is_logistic_regression(sdata):
    sfm.tl.segment_regions(sdata, "mean-intensity", opening=0, closing=0, n_train=None, **OPTIONS)
    tokens, image = sdata["tokens"], np.asarray(sdata["image_a"])
    expected = [image[:, y : y + 16, x : x + 16].mean((1, 2)) / 255 for y in range(0, 81, 8) for x in range(0, 113, 8)]
    mine = (tokens.obs["sample"] == "a").to_numpy()
    np.testing.assert_allclose(tokens.obsm["X_mean_intensity"][mine], expected, rtol=1e-5)
    # a token of a is T where half of it or more is in box(0, 0, 14, 30) µm
    x, y = tokens.obsm["spatial"][mine].T
    inside = np.clip(np.minimum(x + 4, 14) - (x - 4), 0, 8) * np.clip(np.minimum(y + 4, 30) - (y - 4), 0, 8) / 64
    np.testing.assert_array_equal(tokens.obs["annotation"][mine] == "T", inside >= 0.5)
    known = tokens.obs["annotation"].notna().to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000))
    values = tokens.obsm["X_mean_intensity"]
    model.fit(values[known], tokens.obs["annotation"][known].astype(str))
    np.testing.assert_allclose(tokens.obsm["regions_probability"], model.predict_proba(values), atol=1e-6)
    # neither opened nor closed, the map is what the nearest token says
    predicted = tokens.obs["regions"].cat.codes.to_numpy()[mine].reshape(11, 15) + 1
    np.testing.assert_array_equal(np.asarray(sdata["regions_a"])[2:-2:2, 2:-2:2], predicted[:10, :14])


def test_tokens_of_a_vision_transformer_are_its_own(sdata):
    """Windows of 64 pixels, 16 tokens each: markers of a position side by side."""
    encoder = sfm.models.load("kronos", weights="random")
    options = {"annotations": "drawn_a", "size": 64, "samples": ["a"], "C": 1.0, "min_tokens": 1}
    sfm.tl.segment_regions(sdata, encoder, **options)
    tokens = sdata["tokens"]
    notes = sfm.get.record(tokens, "X_kronos")
    assert (notes["output"], notes["embedding_dim"], notes["token_side"]) == ("token", 384, 16)
    assert tokens.obsm["X_kronos"].shape[1] == notes["n_columns"] == 3 * 384
    mean, std = (np.array(notes[f"normalization_{name}"])[:, None, None] for name in ("mean", "std"))
    pixels = (np.asarray(sdata["image_a"]) / 255 - mean) / std
    with torch.inference_mode():
        first = encoder(torch.tensor(pixels[None, :, :64, :64], dtype=torch.float32), notes["marker_ids"]).token[0]
        last = encoder(torch.tensor(pixels[None, :, 32:96, 64:], dtype=torch.float32), notes["marker_ids"]).token[0]
    places = {tuple(place): row for row, place in enumerate((tokens.obsm["spatial"] * 2).astype(int))}
    assert len(places) == tokens.n_obs == 6 * 8  # 96 x 128 pixels, each once though windows overlap
    for window, top, side, row, column in ((first, 0, 0, 1, 2), (last, 32, 64, 3, 0)):
        found = tokens.obsm["X_kronos"][places[side + 16 * column + 8, top + 16 * row + 8]]
        np.testing.assert_allclose(found, window[:, row, column].flatten().numpy(), rtol=1e-3, atol=1e-4)
    assert np.asarray(sdata["regions_a"]).shape == (6, 8)


def test_tokens_that_overlap_have_half_the_spacing(sdata):
    encoder = sfm.models.load("kronos", weights="random", token_overlap=True)
    options = {"annotations": "drawn_a", "size": 64, "samples": ["a"], "C": 1.0, "markers": ["CD3", "CD20"]}
    sfm.tl.segment_regions(sdata, encoder, **options)
    assert sfm.get.record(sdata["tokens"], "X_kronos")["token_spacing"] == 8
    assert np.asarray(sdata["tokens_a"]).shape == (24, 32)
    assert (np.asarray(sdata["tokens_a"]) > 0).all()


def test_one_vector_a_position_where_the_model_has_it(sdata):
    encoder, rng = sfm.models.load("virtues", weights="random"), np.random.default_rng(0)
    vectors = {name: rng.normal(size=encoder.marker_dim).astype(np.float32) for name in CHANNELS}
    options = {"annotations": "drawn_a", "size": 64, "samples": ["a"], "C": 1.0, "min_tokens": 5}
    sfm.tl.segment_regions(sdata, encoder, panel={"embeddings": vectors}, **options)
    tokens = sdata["tokens"]
    notes = sfm.get.record(tokens, "X_virtues")
    assert notes["output"] == "summary"
    assert tokens.obsm["X_virtues"].shape[1] == notes["embedding_dim"] == encoder.card.embedding_dim
    # at 1 µm the model sees 48 x 64 pixels: tokens of 8 give 6 x 8, whatever windows they come from
    side = encoder.card.patch_size
    assert notes["token_side"] == side
    assert tokens.n_obs == (48 // side) * (64 // side)
    assert np.isfinite(tokens.obsm["X_virtues"]).all()


def test_niches_of_patients_that_nobody_annotated():
    """Circles around tumor and stroma cells of two patients; the map below the true cells of two others."""
    sdata = sfm.datasets.simulate_cohort(n_patients=6, n_samples=1, image_size=160, random_state=1, difficulty="easy")
    truth = sdata["truth"]
    niche = truth.obs["niche"].astype(str).replace({"vessel": "stroma"})
    samples = list(sdata["samples"].obs_names)
    for sample in samples[:4]:
        mine = ((truth.obs["sample"] == sample) & niche.isin(["tumor nest", "stroma"])).to_numpy()
        places = [Point(place) for place in truth.obsm["spatial"][mine]]
        sdata[f"drawn_{sample}"] = shapes(niche[mine].tolist(), places, sample, radius=np.full(mine.sum(), 5.0))
    sfm.tl.segment_regions(sdata, "mean-intensity", annotations="drawn_{sample}", size=32, stride=16, C=0.1)
    tokens = sdata["tokens"]
    assert set(tokens.obs["sample"][tokens.obs["annotation"].notna()]) == set(samples[:4])
    said, is_ = [], []
    for sample in samples[4:]:
        mine = ((truth.obs["sample"] == sample) & niche.isin(["tumor nest", "stroma"])).to_numpy()
        regions = np.asarray(sdata[f"regions_{sample}"])
        column, row = np.clip(np.floor(truth.obsm["spatial"][mine] / 4).astype(int), 0, 19).T
        said.append(np.array(["stroma", "tumor nest"])[regions[row, column] - 1])
        is_.append(niche[mine])
    assert balanced_accuracy_score(np.concatenate(is_), np.concatenate(said)) > 0.7
    scores = sfm.tl.evaluate_annotation(
        sdata["tokens"], "annotation", use_rep="X_mean_intensity", patient_key="patient", n_folds=4, C=0.1
    )
    assert scores.query("score == 'recall'")["mean"].iloc[0] > 0.7


def test_shares_are_areas_of_intersection():
    triangle = Polygon([(0, 0), (10, 0), (0, 10)])
    boxes = np.array([[0, 0, 5, 5], [5, 5, 10, 10], [0, 0, 10, 10], [4, 4, 8, 8]], float)
    shares = shares_of_shapes([triangle, box(20, 20, 30, 30)], boxes)
    np.testing.assert_allclose(shares, [[1, 0], [0, 0], [0.5, 0], [2 / 16, 0]])


def test_a_token_that_two_classes_claim_alike_is_not_learned_from(sdata):
    sdata["both"] = shapes(
        ["T", "B", "B", "T"], [box(0, 0, 30, 48), box(34, 0, 64, 48), box(10, 10, 20, 20), box(40, 0, 64, 12)], "a"
    )
    sfm.tl.segment_regions(sdata, "mean-intensity", **OPTIONS | {"annotations": {"a": "both"}})
    tokens = sdata["tokens"][sdata["tokens"].obs["sample"] == "a"]
    x, y = tokens.obsm["spatial"].T
    twice = (x > 44) & (y < 8)
    assert twice.any()
    assert tokens.obs["annotation"][twice].isna().all()
    assert tokens.obs["annotation"][(x > 44) & (y > 20)].eq("B").all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"annotations": "marked_{sample}"}, ElementError, r"No shapes element 'marked_\{sample\}'.*found 'drawn_a'"),
        ({"annotations": {"a": "marked"}}, ElementError, r"No shapes element 'marked' \(annotations=\)"),
        ({"annotations": {"d": "drawn_a"}}, ElementError, r"annotations= names sample 'd'"),
        ({"annotations": {"b": "drawn_a"}}, CoordinateError, r"'drawn_a' \(in 'a'\) are not in coordinate system 'b'"),
        ({"annotations": "alone"}, CoordinateError, r"'alone' are in 'elsewhere', and no sample is"),
        ({"annotations": {"a": "far"}}, ElementError, r"'far' \(x 900 to 950.*cover no token of image 'image_a'"),
        ({"annotations": {"a": "one"}}, TableError, r"hold 1 class \('T'\)"),
        ({"annotations": {"a": "few"}}, TableError, r"Class 'B' covers \d tokens?, fewer than min_tokens=10"),
        ({"annotations": {"a": "bare"}}, TableError, r"No shape of 'bare' has a value in column 'class'"),
        ({"label_key": "kind"}, TableError, r"No column 'kind' in shapes 'drawn_a'"),
        ({"opening": -1.0}, ArgumentError, r"opening=-1.0.*at least 0"),
        ({"closing": float("nan")}, ArgumentError, r"closing=nan.*at least 0"),
        ({"min_cover": 0}, SpatialfmError, r"min_cover=0 is not a share"),
        ({"stride": 32}, ModelError, r"stride=32 is larger than size=16"),
        ({"outputs": "token"}, ModelError, r"no output 'token' for tokens"),
        ({"key_added": "drawn"}, ElementError, r"'drawn_a' cannot be written: sdata.shapes"),
        ({"key_added": "tokens"}, ElementError, r"both 'tokens'"),
        ({"method": "svm"}, ArgumentError, r"method='svm'"),
    ],
)
def test_refusals_come_before_any_token_and_write_nothing(sdata, monkeypatch, arguments, error, message):
    sdata["alone"] = shapes(["T", "B"], [box(0, 0, 20, 20), box(40, 0, 60, 20)], "elsewhere")
    sdata["far"] = shapes(["T", "B"], [box(900, 0, 920, 20), box(930, 0, 950, 20)], "a")
    sdata["one"] = shapes(["T"], [box(0, 0, 40, 40)], "a")
    sdata["few"] = shapes(["T", "B"], [box(0, 0, 40, 40), box(50, 0, 60, 9)], "a")
    sdata["bare"] = shapes([None, None], [box(0, 0, 40, 40), box(50, 0, 60, 9)], "a")

    def no_run(*_, **__):
        pytest.fail("a token was encoded")

    monkeypatch.setattr("spatialfm.tl.regions.token_table.run_plan", no_run)
    with pytest.raises(error, match=message):
        sfm.tl.segment_regions(sdata, "mean-intensity", **OPTIONS | arguments)
    assert not sdata.labels
    assert not sdata.tables


def test_cells_and_their_masks_are_not_written_over(make_sdata, blobs):
    image, labels = blobs(side=64)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    sdata["drawn_a"] = shapes(["T", "B"], [box(0, 0, 14, 32), box(18, 0, 32, 32)], "a")
    sfm.pp.cell_table(sdata)
    cells = sdata["table"]
    for arguments, message in [
        ({"key_added": "cells"}, r"'cells_a' cannot be written: sdata.labels holds one.*key_added="),
        ({"table_name": "cells"}, r"'cells_a' cannot be written: sdata.labels holds one.*table_name="),
        ({"table_name": "table"}, r"table 'table' contains no tokens and is not written over"),
    ]:
        with pytest.raises(ElementError, match=message):
            sfm.tl.segment_regions(sdata, "mean-intensity", **OPTIONS | arguments)
    assert sdata["table"] is cells
    np.testing.assert_array_equal(np.asarray(sdata["cells_a"]), labels)
    for _ in range(2):  # its own elements it writes again
        sfm.tl.segment_regions(sdata, "mean-intensity", **OPTIONS)
