"""Samples as vectors: numpy, transport in closed form, clinical columns, another cohort, refusals."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from spatialdata.transformations import Identity, Scale, set_transformation

import spatialfm as sfm
from spatialfm._errors import ModelError, SpatialfmError, SpatialfmWarning, TableError
from spatialfm.models import slide
from spatialfm.models.encoder import Weights
from spatialfm.stats.transport import wasserstein


@pytest.fixture(scope="module")
def cells() -> AnnData:
    return sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, n_samples=2, random_state=0)


def of_sample(cells: AnnData, name: str) -> np.ndarray:
    return cells.obsm["X_latent"][(cells.obs["sample"] == name).to_numpy()].astype(float)


def test_mean_and_statistics_are_those_of_numpy(cells):
    mean = sfm.tl.embed_samples(cells, use_rep="X_latent")
    found = sfm.tl.embed_samples(cells, use_rep="X_latent", model="statistics", quantiles=[0.25, 0.5])
    assert found.shape == (8, 4 * 32)
    for row, name in enumerate(mean.obs_names):
        values = of_sample(cells, name)
        np.testing.assert_allclose(mean.X[row], values.mean(axis=0), rtol=1e-4, atol=1e-5)
        right = [values.mean(axis=0), values.std(axis=0), *np.quantile(values, [0.25, 0.5], axis=0)]
        np.testing.assert_allclose(found.X[row], np.concatenate(right), rtol=1e-4, atol=1e-5)
    assert found.var_names[[0, 32, 64, 96]].tolist() == [f"X_latent_0 {kind}" for kind in ("mean", "sd", "q25", "q50")]


def test_rows_are_samples_with_their_clinical_columns(cells):
    found = sfm.tl.embed_samples(cells, use_rep="X_latent")
    first = cells.obs.drop_duplicates("sample").set_index("sample")
    assert found.obs_names.tolist() == first.index.tolist()
    for column in ("patient", "age", "response", "time"):
        assert found.obs[column].astype(str).tolist() == first[column].astype(str).tolist()
    assert "type" not in found.obs
    assert found.obs["n_rows"].tolist() == [30] * 8


def shifted(shifts: np.ndarray, n: int = 40) -> tuple[AnnData, np.ndarray]:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(n, 3))
    values = np.concatenate([cloud + shift for shift in shifts])
    obs = pd.DataFrame(
        {"sample": np.repeat([f"s{i}" for i in range(len(shifts))], n)}, [f"c{i}" for i in range(len(values))]
    )
    return AnnData(obs=obs, obsm={"X_m": values}), cloud


def test_distances_of_shifted_samples_are_those_of_wasserstein():
    shifts = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [1, 1, 1]])
    table, cloud = shifted(shifts)
    reference = AnnData(np.zeros((1, 1)))
    reference.uns["embed_samples"] = {
        "reference": cloud, "scale": np.stack([np.zeros(3), np.ones(3)]), "params": {"use_rep": "X_m"},
    }  # fmt: skip
    found = sfm.tl.embed_samples(table, use_rep="X_m", model="transport", reference=reference)
    for one in range(4):
        np.testing.assert_allclose(found.X[one], (cloud + shifts[one]).ravel() / np.sqrt(40), atol=1e-5)
        for two in range(4):
            distance = np.linalg.norm(found.X[one] - found.X[two])
            assert distance == pytest.approx(np.linalg.norm(shifts[one] - shifts[two]), abs=1e-5)
            right = wasserstein(*(table.obsm["X_m"][table.obs["sample"] == f"s{i}"] for i in (one, two)))
            assert distance == pytest.approx(right, abs=1e-5)


def test_transport_sees_what_the_mean_does_not():
    rng = np.random.default_rng(0)
    wide = np.concatenate([rng.normal(size=(60, 2)) * [1 + 3 * (i % 2), 1] for i in range(6)])
    for sample in range(6):
        wide[60 * sample : 60 * sample + 60] -= wide[60 * sample : 60 * sample + 60].mean(axis=0)
    obs = pd.DataFrame({"sample": np.repeat([f"s{i}" for i in range(6)], 60)}, [f"c{i}" for i in range(360)])
    table = AnnData(obs=obs, obsm={"X_m": wide})
    assert np.abs(sfm.tl.embed_samples(table, use_rep="X_m").X).max() < 1e-6
    found = sfm.tl.embed_samples(table, use_rep="X_m", model="transport", n_points=8).X
    apart = np.linalg.norm(found[:, None] - found, axis=2)
    same = np.add.outer(np.arange(6), np.arange(6)) % 2 == 0
    assert apart[same].max() < apart[~same].min()


def test_another_cohort_is_embedded_by_the_same_points(cells):
    first = sfm.tl.embed_samples(cells, use_rep="X_latent", model="transport", n_points=4)
    part = cells[cells.obs["sample"].isin(first.obs_names[:2])].copy()
    again = sfm.tl.embed_samples(part, use_rep="X_latent", model="transport", reference=first)
    np.testing.assert_allclose(again.X, first.X[:2], atol=1e-5)
    assert first.uns["embed_samples"]["params"]["fitted_on_all"] == "reference points of obsm['X_latent']"
    assert again.uns["embed_samples"]["params"]["fitted_on_all"] == ""
    with pytest.raises(TableError, match="'X_latent' with 32 columns; use_rep='X' has 12"):
        sfm.tl.embed_samples(cells, use_rep="X", model="transport", reference=first)
    with pytest.raises(TableError, match="holds no reference points"):
        sfm.tl.embed_samples(cells, use_rep="X", model="transport", reference=cells)


@pytest.mark.parametrize("model", ["mean", "transport"])
def test_the_order_of_rows_decides_nothing(cells, model):
    order = np.random.default_rng(0).permutation(cells.n_obs)
    how = {"use_rep": "X_latent", "model": model, "n_points": 3, "max_rows": 20}
    one = sfm.tl.embed_samples(cells, **how)
    two = sfm.tl.embed_samples(cells[order].copy(), **how)[one.obs_names]
    np.testing.assert_allclose(two.X, one.X, atol=1e-4)


@pytest.mark.parametrize("rep", ["X", "X_latent"])
def test_another_cohort_in_another_unit_is_told(cells, rep):
    first = sfm.tl.embed_samples(cells, use_rep=rep, model="transport", n_points=4)
    values = np.asarray(cells.X if rep == "X" else cells.obsm[rep], float)
    np.testing.assert_allclose(first.uns["embed_samples"]["moments"], [values.mean(0), values.std(0)], rtol=1e-4)
    part = cells[cells.obs["sample"].isin(first.obs_names[:2])].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = sfm.tl.embed_samples(part, use_rep=rep, model="transport", reference=first)
    if rep == "X":
        part.X = part.X * 100
    else:
        part.obsm[rep] = part.obsm[rep] * 100
    for earlier in (first, second):
        with pytest.warns(SpatialfmWarning, match="as if it were in another unit"):
            sfm.tl.embed_samples(part, use_rep=rep, model="transport", reference=earlier)


def test_reference_points_are_of_the_same_columns_in_the_same_order(cells):
    first = sfm.tl.embed_samples(cells, use_rep="X", model="transport", n_points=3)
    turned = cells[:, cells.var_names[::-1]].copy()
    with pytest.raises(TableError, match="columns are not the same, or not in the same order"):
        sfm.tl.embed_samples(turned, use_rep="X", model="transport", reference=first)
    back = turned[:, cells.var_names].copy()
    again = sfm.tl.embed_samples(back, use_rep="X", model="transport", reference=first)
    np.testing.assert_array_equal(again.X, first.X)
    one, other = cells.copy(), cells.copy()
    one.uns["spatialfm"] = {"X_latent": {"model": "virtues", "weights_sha256": "a"}}
    other.uns["spatialfm"] = {"X_latent": {"model": "virtues", "weights_sha256": "b"}}
    first = sfm.tl.embed_samples(one, use_rep="X_latent", model="transport", n_points=3)
    with pytest.raises(TableError, match="weights_sha256 is 'a' there and 'b' here"):
        sfm.tl.embed_samples(other, use_rep="X_latent", model="transport", reference=first)
    with pytest.raises(TableError, match="is recorded in reference= alone"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model="transport", reference=first)
    with pytest.raises(TableError, match='reference= belongs to model="transport"'):
        sfm.tl.embed_samples(one, use_rep="X_latent", reference=first)


def test_a_function_of_the_user(cells):
    given = []

    def furthest(features, places):
        given.append((features.shape, places.shape))
        return features[np.linalg.norm(places, axis=1).argmax()]

    found = sfm.tl.embed_samples(cells, use_rep="X_latent", model=furthest)
    assert found.uns["embed_samples"]["params"]["model"] == "furthest"
    assert set(given) == {((30, 32), (30, 2))}
    mine = (cells.obs["sample"] == found.obs_names[3]).to_numpy()
    right = cells.obsm["X_latent"][mine][np.linalg.norm(cells.obsm["spatial"][mine], axis=1).argmax()]
    np.testing.assert_allclose(found.X[3], right, rtol=1e-5)
    with pytest.raises(TableError, match=r"gave an array of shape \(\) for sample"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model=lambda features, places: 1.0)
    lengths = iter(range(3, 20))
    with pytest.raises(TableError, match="gave 4 numbers for sample .* and 3 for"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model=lambda features, places: np.ones(next(lengths)))


@pytest.mark.parametrize("tile_size", [None, 256.0])
def test_tiles_in_pixels_are_those_in_micrometers(make_sdata, monkeypatch, tile_size):
    """One image of 0.5 µm per pixel: what says so is its transformation, or the call, or nothing."""
    image, given = np.random.default_rng(0).integers(50, 200, (1, 1024, 1536)).astype(np.uint8), []
    half = Scale([0.5, 0.5], axes=("y", "x"))

    class Code:
        def encode_slide_from_patch_features(self, features, coords, size):
            given.append(coords.tolist())
            return features.mean(0, keepdim=True)

    def stand_in(name, weights, *, trust_remote_code, device):
        return slide.SlideEncoder(slide.SLIDE_CARDS[name], Code(), Weights(str(weights), "0" * 64), device)

    def tiles_of(transformation, told):
        sdata = make_sdata({"a": (image, None)}, ["DAPI"])
        set_transformation(sdata["image_a"], transformation, "a")
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=512, min_tissue=0.0, elements={"mpp": told} if told else None)
        tiles = sdata["tiles"]
        tiles.obsm["X_conch"] = np.ones((tiles.n_obs, 768), np.float32)
        return tiles

    monkeypatch.setattr(slide, "load_slide_encoder", stand_in)
    arguments = {"use_rep": "X_conch", "model": "titan", "trust_remote_code": True, "tile_size": tile_size}
    for tiles in (tiles_of(half, None), tiles_of(Identity(), 0.5)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", SpatialfmWarning)  # tiles are as large as TITAN takes them
            found = sfm.tl.embed_samples(tiles, **arguments)
            places = sfm.tl.embed_samples(tiles, use_rep="X_conch", model=lambda features, places: places.ravel())
        assert found.uns["embed_samples"]["params"]["tile_size"] == 256.0
        assert places.X.ravel().tolist() == [128, 128, 384, 128, 640, 128, 128, 384, 384, 384, 640, 384]
    assert given == [[[x, y] for y in (0, 512) for x in (0, 512, 1024)]] * 2
    unknown = tiles_of(Identity(), None)
    with pytest.raises(TableError, match=r"Places of 1 sample \('a'\) are in pixels of unknown size"):
        sfm.tl.embed_samples(unknown, **arguments)
    with pytest.warns(SpatialfmWarning, match="model= is given them in pixels, not in µm"):
        sfm.tl.embed_samples(unknown, use_rep="X_conch", model=lambda features, places: places.ravel())


def test_a_slide_encoder_is_given_tiles_and_their_distance(monkeypatch):
    rng = np.random.default_rng(0)
    step = np.arange(8)
    obs = pd.DataFrame({"sample": np.repeat(["s1", "s2"], 8)}, [f"t{i}" for i in range(16)])
    places = 256.0 * np.tile(np.stack([step % 4, step // 4], axis=1), (2, 1)) + 128
    tiles = AnnData(obs=obs, obsm={"X_conch": rng.normal(size=(16, 768)), "spatial": places})

    class Code:
        def encode_slide_from_patch_features(self, features, coords, size):
            assert (size, sorted(coords.tolist())[:3]) == (512, [[0, 0], [0, 512], [512, 0]])
            return features.mean(0, keepdim=True)

    def stand_in(name, weights, *, trust_remote_code, device):
        return slide.SlideEncoder(slide.SLIDE_CARDS[name], Code(), Weights(str(weights), "0" * 64), device)

    monkeypatch.setattr(slide, "load_slide_encoder", stand_in)
    found = sfm.tl.embed_samples(tiles, use_rep="X_conch", model="titan", weights="folder", trust_remote_code=True)
    np.testing.assert_allclose(found.X[1], tiles.obsm["X_conch"][8:].mean(axis=0), rtol=1e-4, atol=1e-5)
    params = found.uns["embed_samples"]["params"]
    assert (params["model"], params["tile_size"], params["license"]) == ("titan", 256.0, "CC-BY-NC-ND-4.0")


def test_refusals(cells):
    cells = cells.copy()
    cells.obsm["X_nan"] = np.where(np.arange(240)[:, None] == 3, np.nan, cells.obsm["X_latent"])
    with pytest.raises(TableError, match="1 of 240 rows of 'X_nan' hold NaN"):
        sfm.tl.embed_samples(cells, use_rep="X_nan")
    with pytest.raises(TableError, match="model='median' is not one of 'mean', 'statistics', 'transport', 'titan'"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model="median")
    with pytest.raises(ModelError, match="takes features of CONCH v1.5"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model="titan", trust_remote_code=True)
    with pytest.raises(ModelError, match="nobody has published its weights"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model="threads")
    with pytest.raises(TableError, match=r"\(30, as the smallest has\) are 240 different ones, fewer than n_p"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", model="transport", n_points=500)
    with pytest.raises(TableError, match="No column 'slice'"):
        sfm.tl.embed_samples(cells, use_rep="X_latent", library_key="slice")
    cells.obs["patient"] = ["P1", "P2"] * 120
    with pytest.raises(SpatialfmError, match="belong to more than one patient"):
        sfm.tl.embed_samples(cells, use_rep="X_latent")


def _tiles_of(distances, jitter=0.0):
    """Two rows of four tiles in each sample, so far apart in µm."""
    step = np.arange(8)
    grid = np.stack([step % 4, step // 4], axis=1) + jitter * (step % 2)[:, None]
    names = [f"s{i}" for i in range(len(distances))]
    obs = pd.DataFrame({"sample": np.repeat(names, 8)}, [f"t{i}" for i in range(8 * len(distances))])
    places = np.concatenate([distance * grid + 7.0 for distance in distances])
    return AnnData(obs=obs, obsm={"X_conch": np.ones((len(obs), 768), np.float32), "spatial": places})


def _corners(monkeypatch, tiles, **options):
    """What the slide encoder is told of each sample."""
    given = []

    class Code:
        def encode_slide_from_patch_features(self, features, coords, size):
            given.append(sorted(coords.tolist()))
            return features.mean(0, keepdim=True)

    def stand_in(name, weights, *, trust_remote_code, device):
        return slide.SlideEncoder(slide.SLIDE_CARDS[name], Code(), Weights(str(weights), "0" * 64), device)

    monkeypatch.setattr(slide, "load_slide_encoder", stand_in)
    sfm.tl.embed_samples(tiles, use_rep="X_conch", model="titan", weights="f", trust_remote_code=True, **options)
    return given


def test_each_sample_has_the_grid_of_its_own_tiles(monkeypatch):
    """Of tiles twice as far apart than most, one grid for all left every other place empty."""
    grid = sorted([512 * x, 512 * y] for x in range(4) for y in range(2))
    with pytest.warns(SpatialfmWarning, match=r"Tiles of 's0' are 256 µm apart and those of 's2' 512 µm"):
        given = _corners(monkeypatch, _tiles_of([256.0, 256.0, 512.0]))
    assert given == [grid] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _corners(monkeypatch, _tiles_of([256.0, 255.2])) == [grid] * 2  # pixels of 0.4985 µm
        assert _corners(monkeypatch, _tiles_of([256.0, 256.0], jitter=1e-6)) == [grid] * 2


def test_few_tiles_without_a_neighbour_are_on_the_grid_of_the_others(monkeypatch):
    tiles = _tiles_of([256.0, 256.0, 256.0])
    tiles = tiles[np.r_[0:16, [16, 19]]].copy()  # the third sample has the first and the last tile of a row
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = _corners(monkeypatch, tiles)
    assert given[2] == [[0, 0], [3 * 512, 0]]
    assert _corners(monkeypatch, tiles[16:].copy())[0] == [[0, 0], [512, 0]]  # by themselves nothing tells


def test_tiles_between_the_places_of_a_grid_are_counted(monkeypatch):
    tiles = _tiles_of([256.0])
    with pytest.warns(SpatialfmWarning, match=r"6 tiles of 8 of sample 's0' lie between .* grid of 190 µm"):
        _corners(monkeypatch, tiles, tile_size=190.0)
