"""VirTues' preparation, from raw pixels to the vector of a cell, against the released steps in numpy and scipy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy.ndimage import gaussian_filter
from stand_in import StandIn

import spatialfm as sfm
from spatialfm._errors import ArgumentError, PanelError, SpatialfmWarning
from spatialfm.embed.windows.tiles import TileJob

CHANNELS = ["CD3", "CD20", "CD68"]


class Patches(StandIn):
    """Each position's vector is what is under it: prepared as for VirTues, and then looked at."""

    card = dataclasses.replace(
        sfm.models.card("virtues"),
        name="patches",
        marker_vocabulary="none",
        outputs=("patch", "summary"),
        default_output="patch",
        embedding_dim=None,
    )

    options: dict = {}

    def __init__(self, reading="released"):
        super().__init__()
        recipe = self.card.recipe.replace(preparation=f"virtues-{reading}")
        self.card = dataclasses.replace(self.card, recipe=self.card.settle(recipe))

    def look(self, pixels):
        b, m, h, w = pixels.shape
        tokens = pixels.reshape(b, m, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3, 5).flatten(3)
        return {"patch": pixels.flatten(1), "summary": tokens}


def tiles_of(size):
    """Release: stride 42, and one more flush with the end."""
    return sorted({*range(0, size - 128 + 1, 42), size - 128})


def cell_vectors(field, labels):
    """Release: each 8-pixel patch of each tile counts for a cell as often as it holds pixels of it."""
    sums, weights = {}, {}
    for top in tiles_of(field.shape[1]):
        for left in tiles_of(field.shape[2]):
            for y in range(top, top + 128, 8):
                for x in range(left, left + 128, 8):
                    ids, counts = np.unique(labels[y : y + 8, x : x + 8], return_counts=True)
                    for label, count in zip(ids[ids > 0], counts[ids > 0], strict=True):
                        vector = field[:, y : y + 8, x : x + 8].ravel()
                        sums[label] = sums.get(label, 0) + count * vector
                        weights[label] = weights.get(label, 0) + count
    return np.stack([sums[label] / weights[label] for label in sorted(sums)])


def released(image, clip, mean, std, padding=120):
    """Zeros around, clip, log1p, standardise, blur last."""
    clip, mean, std = (np.asarray(part, float)[:, None, None] for part in (clip, mean, std))
    field = np.pad(image.astype(np.float64), ((0, 0), (padding, padding), (padding, padding)))
    standardised = (np.log1p(np.clip(field, 0, clip)) - mean) / (std + 1e-8)
    return gaussian_filter(standardised, 1.0, radius=1, mode="mirror", axes=(1, 2))


@pytest.fixture
def sample():
    """Counts with cells at the borders."""
    rng = np.random.default_rng(0)
    image = rng.poisson(3, (3, 60, 75)).astype(np.uint16)
    labels = np.zeros((60, 75), np.int32)
    for label, (y, x) in enumerate([(0, 0), (0, 66), (52, 0), (51, 68), (24, 31), (30, 50)], start=1):
        labels[y : y + 9, x : x + 7] = label
        image[:, y : y + 9, x : x + 7] += rng.integers(5, 60, (3, 1, 1)).astype(np.uint16)
    return image, labels


def embedded(sdata, encoder=None, **arguments):
    table = sfm.tl.embed_cells(sdata, encoder or Patches(), copy=True, **arguments)
    return table.obsm["X_patches"], sfm.get.record(table, "X_patches")


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.float32, np.int32])
def test_cells_are_those_of_the_released_steps(make_sdata, sample, dtype):
    image, labels = sample
    found, notes = embedded(make_sdata({"a": (image.astype(dtype), labels)}, CHANNELS, mpp=1.0))
    field = released(image, notes["clip"]["a"], notes["normalization_mean"], notes["normalization_std"])
    expected = cell_vectors(field, np.pad(labels, 120))
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5
    # the record's numbers are those of raw pixels: a percentile of counts, means of log1p of counts
    assert notes["preparation"] == notes["recipe"]["preparation"] == "virtues-released"
    assert notes["intensity_max"] == {"a": 1.0}
    assert notes["clip_source"] == {"a": "image"}
    assert 10 < min(notes["clip"]["a"])
    assert np.log1p(3) * 0.8 < min(notes["normalization_mean"])


def test_statistics_are_those_of_tissue_before_the_blur(make_sdata, sample, monkeypatch):
    """With two samples, whose tissue is known: background that is all zero."""
    image, labels = sample
    other = np.zeros((3, 90, 64), np.uint16)
    other[:, 20:70, 10:50] = np.random.default_rng(1).poisson(9, (3, 50, 40)) + 1
    mask = {"a": np.ones((60, 75), bool), "b": (other > 0).all(0)}
    images = {"a": image, "b": other}
    use_tissue(monkeypatch, mask)
    sdata = make_sdata(
        {"a": (image, labels), "b": (other, np.pad(labels, ((0, 30), (0, 0)))[:, :64])}, CHANNELS, mpp=1.0
    )
    logged, clips = {}, {}
    for name, pixels in images.items():
        clips[name] = np.quantile(pixels[:, mask[name]], 0.99, axis=1)
        logged[name] = np.log1p(np.minimum(pixels, clips[name][:, None, None]))
    blurred = {
        name: gaussian_filter(part.astype(float), 1.0, radius=1, mode="mirror", axes=(1, 2))
        for name, part in logged.items()
    }
    for recipe, parts in (("released", logged), ("paper", blurred)):
        _, notes = embedded(sdata, Patches(recipe), on_missing="drop")
        pixels = np.concatenate([parts[name][:, mask[name]] for name in ("a", "b")], axis=1)
        np.testing.assert_allclose(notes["normalization_mean"], pixels.mean(axis=1), rtol=1e-5)
        np.testing.assert_allclose(notes["normalization_std"], pixels.std(axis=1), rtol=1e-5)
        for name in images:
            np.testing.assert_allclose(notes["clip"][name], clips[name], rtol=1e-6)
        assert notes["preparation"] == f"virtues-{recipe}"


def use_tissue(monkeypatch, masks):
    """Tissue that is known, wherever it is asked for."""
    from spatialfm.embed.pixels import prepared
    from spatialfm.embed.pixels import statistics as stats

    def known(reader, *args, **kwargs):
        return masks[reader.name.removeprefix("image_")], 1

    for module in (prepared, stats):
        monkeypatch.setattr(module, "find_tissue", known)


@pytest.mark.parametrize("padding", [0, 5, 120])
def test_borders_follow_the_padding(make_sdata, sample, padding):
    image, labels = sample
    image, labels = (np.tile(part, (1,) * (part.ndim - 2) + (3, 2)) for part in (image, labels))  # larger than a tile
    labels = np.where(labels > 0, labels + 10 * (np.arange(labels.shape[0]) // 60)[:, None], 0)
    labels = np.where(labels > 0, labels + 100 * (np.arange(labels.shape[1]) // 75), 0).astype(np.int32)
    found, notes = embedded(make_sdata({"a": (image, labels)}, CHANNELS, mpp=1.0), recipe={"padding": padding})
    field = released(image, notes["clip"]["a"], notes["normalization_mean"], notes["normalization_std"], padding)
    expected = cell_vectors(field, np.pad(labels, padding))
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5


@pytest.mark.parametrize("side", [64, 100])
def test_blocks_do_not_matter(make_sdata, sample, monkeypatch, side):
    image, labels = sample
    sdata = make_sdata({"a": (image, labels)}, CHANNELS, mpp=1.0, chunks=16)
    whole, _ = embedded(sdata)
    monkeypatch.setattr(TileJob, "block_side", side)
    np.testing.assert_allclose(embedded(sdata)[0], whole, rtol=1e-5, atol=1e-5)


def test_crops_and_grids_have_the_same_pixels(make_sdata, sample):
    image, labels = sample
    sdata = make_sdata({"a": (image, labels)}, CHANNELS, mpp=1.0)
    found, notes = embedded(sdata, recipe={"mode": "crop", "window": 16})
    scale = (notes["clip"]["a"], notes["normalization_mean"], notes["normalization_std"])
    field = released(image, *scale)
    for row, label in zip(found, range(1, 7), strict=True):
        y, x = (int(np.floor(axis.mean() + 0.5)) + 120 for axis in np.nonzero(labels == label))
        np.testing.assert_allclose(row.reshape(3, 16, 16), field[:, y - 8 : y + 8, x - 8 : x + 8], rtol=1e-4, atol=1e-5)
    tiles = sfm.tl.embed_tiles(sdata, Patches(), size=32, min_tissue=0, copy=True)
    inside = released(image, *scale, padding=0)  # tiles are in the image: its border is mirrored
    np.testing.assert_allclose(tiles.obsm["X_patches"][0].reshape(3, 32, 32), inside[:, :32, :32], rtol=1e-4, atol=1e-5)
    last = tiles.obsm["X_patches"][-1].reshape(3, 32, 32)
    np.testing.assert_allclose(last, inside[:, -32:, -32:], rtol=1e-4, atol=1e-5)


def test_a_record_reproduces_and_another_scale_is_refused(make_sdata, sample):
    image, labels = sample
    first = make_sdata({"a": (image, labels)}, CHANNELS, mpp=1.0)
    second = make_sdata({"b": (image[::-1, ::-1].copy(), labels)}, CHANNELS, mpp=1.0)
    _, notes = embedded(first)
    found, again = embedded(second, recipe={"statistics": notes})
    assert again["normalization_mean"] == notes["normalization_mean"]
    assert again["normalization_std"] == notes["normalization_std"]
    assert again["normalization_source"] == ["given"] * 3
    assert again["stats"] == {"from": "record of patches", "names": dict(zip(CHANNELS, CHANNELS, strict=True))}
    field = released(image[::-1, ::-1], again["clip"]["b"], notes["normalization_mean"], notes["normalization_std"])
    expected = cell_vectors(field, np.pad(labels, 120))
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5
    stored = sfm.tl.embed_cells(first, Patches(), copy=True).uns["spatialfm"]["X_patches"]  # JSON text, as it is kept
    np.testing.assert_array_equal(embedded(second, recipe={"statistics": stored})[0], found)

    with pytest.raises(
        PanelError, match=r"prepared by 'virtues-released', and here they are prepared by 'virtues-paper'"
    ):
        embedded(second, Patches("paper"), recipe={"statistics": notes})
    before = {name: value for name, value in notes.items() if name != "preparation"}
    with pytest.raises(PanelError, match="prepared by nothing, and here they are prepared by 'virtues-released'"):
        embedded(second, recipe={"statistics": before})
    with pytest.raises(
        PanelError, match=r"kronos, whose pixels were normalised by 'scale'; patches takes 'marker statistics'"
    ):
        embedded(second, recipe={"statistics": notes | {"normalization": "scale", "model": "kronos"}})
    with pytest.raises(
        PanelError, match=r"patches, whose pixels were prepared by 'virtues-released', and here .* by nothing"
    ):
        sfm.tl.embed_cells(second, "kronos", weights="random", recipe={"statistics": notes}, copy=True)
    with pytest.raises(PanelError, match="without statistics of markers"):
        sfm.tl.embed_cells(second, "mean-intensity", recipe={"statistics": notes}, copy=True)


@pytest.mark.parametrize("factor", [1 / 65535, 1000.0])
def test_statistics_of_another_scale_are_named(make_sdata, sample, factor):
    sdata = make_sdata({"a": sample}, CHANNELS, mpp=1.0)
    _, notes = embedded(sdata)
    pairs = zip(notes["normalization_mean"], notes["normalization_std"], strict=True)
    plain = {name: (factor * mean, factor * std) for name, (mean, std) in zip(CHANNELS, pairs, strict=True)}
    with pytest.warns(SpatialfmWarning, match="do not seem to be of clipped, log-transformed pixels"):
        embedded(sdata, recipe={"statistics": plain})


def test_statistics_that_are_no_numbers_are_refused(make_sdata, sample):
    sdata = make_sdata({"a": sample}, CHANNELS, mpp=1.0)
    plain = dict.fromkeys(CHANNELS, (1.0, 1.0))
    for wrong in ((np.nan, 1.0), (1.0, -1.0), (1.0, np.inf)):
        with pytest.raises(PanelError, match="for CD20; both must be numbers"):
            embedded(sdata, recipe={"statistics": plain | {"CD20": wrong}})
    with pytest.raises(PanelError, match=r"statistics\['CD20'\] = 3 is not"):
        embedded(sdata, recipe={"statistics": plain | {"CD20": 3}})


def test_intensity_max_does_not_enter_a_logarithm(make_sdata, sample):
    sdata = make_sdata({"a": sample}, CHANNELS, mpp=1.0)
    whole, _ = embedded(sdata)
    with pytest.warns(SpatialfmWarning, match="intensity_max.: 255. changes nothing"):
        found, notes = embedded(sdata, recipe={"intensity_max": 255})
    np.testing.assert_array_equal(found, whole)
    assert notes["intensity_max"] == {"a": 1.0}


# ---- statistics published with a data set


@pytest.fixture
def published(tmp_path):
    """Factory of a folder in spora's layout."""

    def make(means, stds, quantiles=None, method="quantile_clipping_log1p/uq_0.99_image", resolution="1_0mpp"):
        folder = tmp_path / "study" / "imc" / resolution / "standardization" / method
        folder.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([means]).to_parquet(folder / "global_level_means.parquet")
        pd.DataFrame([stds]).to_parquet(folder / "global_level_stds.parquet")
        if quantiles is not None:
            quantiles.to_parquet(folder / "image_level_upper_quantiles.parquet")
        return tmp_path / "study", folder

    return make


MEANS = {"CD3e": 0.9, "CD20": 1.1, "CD68": 1.2, "H3": 3.0}
STDS = {"CD3e": 0.6, "CD20": 0.7, "CD68": 0.8, "H3": 1.0}


def test_published_statistics_of_a_data_set(make_sdata, sample, published):
    image, labels = sample
    quantiles = pd.DataFrame({name: [7.5, 90.0] for name in MEANS}, index=["study_0001", "study_0002"]).assign(
        CD68=[np.nan, 5]
    )
    root, folder = published(MEANS, STDS, quantiles)
    sdata = make_sdata({"study_0001": (image, labels), "mine": (image, labels)}, CHANNELS, mpp=1.0)
    for stats in (
        root,
        str(folder),
        folder.parents[1],
        {"means": folder / "global_level_means.parquet", "stds": pd.DataFrame([STDS]), "quantiles": quantiles},
        [
            folder / f"{name}.parquet"
            for name in ("global_level_means", "global_level_stds", "image_level_upper_quantiles")
        ],
    ):
        found, notes = embedded(sdata, recipe={"statistics": stats})
        np.testing.assert_allclose(notes["normalization_mean"], [0.9, 1.1, 1.2])
        np.testing.assert_allclose(notes["normalization_std"], [0.6, 0.7, 0.8])
        assert notes["normalization_source"] == ["given"] * 3
        assert notes["stats"]["names"] == {"CD3": "CD3e", "CD20": "CD20", "CD68": "CD68"}
        # the set's own image is clipped where the data set states it; a channel without value, and others, by image
        assert notes["clip"]["study_0001"][:2] == [7.5, 7.5]
        assert notes["clip"]["study_0001"][2] == notes["clip"]["mine"][2]
        assert notes["clip"]["mine"][0] > 10
        assert notes["clip_source"] == {"study_0001": "published, else image", "mine": "image"}
        field = released(image, notes["clip"]["study_0001"], [0.9, 1.1, 1.2], [0.6, 0.7, 0.8])
        expected = cell_vectors(field, np.pad(labels, 120))
        assert np.linalg.norm(found[:6] - expected) / np.linalg.norm(expected) < 1e-5


def test_published_statistics_that_do_not_fit(make_sdata, sample, published, tmp_path):
    sdata = make_sdata({"a": sample}, CHANNELS, mpp=1.0)
    root, folder = published(MEANS, STDS)
    with pytest.raises(PanelError, match=r"before any blur; patches takes those of pixels prepared by 'virtues-paper'"):
        embedded(sdata, Patches("paper"), recipe={"statistics": root})
    with pytest.raises(
        PanelError, match=r"clipped, log-transformed pixels before any blur; kronos takes those of pixels as they are"
    ):
        sfm.tl.embed_cells(sdata, "kronos", weights="random", recipe={"statistics": root}, copy=True)
    lacking = {"means": pd.DataFrame([{"CD3e": 1.0}]), "stds": pd.DataFrame([{"CD3e": 1.0}])}
    with pytest.raises(PanelError, match=r"no statistics for CD20, CD68; it has CD3e"):
        embedded(sdata, recipe={"statistics": lacking})
    twice = {name: pd.DataFrame([values | {"CD3d": 1.0}]) for name, values in (("means", MEANS), ("stds", STDS))}
    with pytest.raises(PanelError, match=r"several statistics for CD3 \(CD3e, CD3d\)"):
        embedded(sdata, recipe={"statistics": twice})
    with pytest.raises(PanelError, match="a mean or a standard deviation alone: H3"):
        embedded(
            sdata,
            recipe={"statistics": {"means": pd.DataFrame([MEANS]), "stds": pd.DataFrame([STDS]).drop(columns="H3")}},
        )
    with pytest.raises(PanelError, match="2 rows of means; one is expected"):
        embedded(sdata, recipe={"statistics": {"means": pd.DataFrame([MEANS, MEANS]), "stds": pd.DataFrame([STDS])}})
    with pytest.raises(PanelError, match="has no global_level_stds.parquet"):
        embedded(sdata, recipe={"statistics": {"means": pd.DataFrame([MEANS])}})
    with pytest.raises(PanelError, match="and not a folder"):
        embedded(sdata, recipe={"statistics": tmp_path / "nowhere"})
    with pytest.raises(PanelError, match="contains no global_level_means.parquet"):
        embedded(sdata, recipe={"statistics": tmp_path})
    with pytest.raises(ArgumentError, match="statistics must be"):
        embedded(sdata, recipe={"statistics": 3})
    for method in ("quantile_clipping/uq_0.99_image", "quantile_clipping_log1p/uq_0.95_image"):
        _, other = published(MEANS, STDS, method=method)
        with pytest.raises(PanelError, match=f"standardization {method}; those of quantile_clipping_log1p"):
            embedded(sdata, recipe={"statistics": other})
    _, fine = published(MEANS, STDS, resolution="0_5mpp")
    with pytest.raises(PanelError, match="of images at 0_5mpp"):
        embedded(sdata, recipe={"statistics": fine})


def test_the_channel_of_the_data_set_goes_before_its_namesakes(make_sdata, sample):
    """Two iridium channels have their own statistics; the channel's own name says which is meant."""
    image, labels = sample
    sdata = make_sdata({"a": (image, labels)}, ["Iridium", "CD20", "CD68"], mpp=1.0)
    means = {"Iridium": 2.0, "Iridium (V2)": 3.0, "CD20": 1.0, "CD68": 1.0}
    tables = {"means": pd.DataFrame([means]), "stds": pd.DataFrame([dict.fromkeys(means, 1.0)])}
    _, notes = embedded(sdata, recipe={"statistics": tables})
    assert notes["normalization_mean"] == [2.0, 1.0, 1.0]
    other = make_sdata({"a": (image, labels)}, ["191Ir", "CD20", "CD68"], mpp=1.0)
    with pytest.raises(PanelError, match=r"several statistics for DNA \(Iridium, Iridium \(V2\)\)"):
        embedded(other, recipe={"statistics": tables})


@pytest.mark.real_data
def test_published_statistics_of_cords_2024(make_sdata, real_data, sample):
    """43 channels: what the release ships for 2,040 images (values read off the files by hand)."""
    folder = real_data / "cords_spora"
    if not folder.is_dir():
        pytest.skip("no published statistics")
    names = pd.read_parquet(folder / "imc/channels.parquet")["channel_name"].tolist()
    known = {
        "H3": (0.7207, 0.9098),
        "CD3e": (0.1629, 0.3695),
        "CD20": (0.1148, 0.3956),
        "panCK": (1.3806, 1.5481),
        "VIM": (1.2697, 1.4044),
        "CD68": (0.4262, 0.6710),
        "Ki-67": (0.3849, 0.5360),
        "Iridium": (3.2608, 1.6280),
    }
    assert len(names) == 43
    names.remove("Iridium (V2)")  # the same marker as another channel
    image = np.random.default_rng(0).poisson(3, (42, 60, 75)).astype(np.uint16)
    sdata = make_sdata({"cords2024cancer_ocmzljpb_0001": (image, sample[1])}, names, mpp=1.0)
    _, notes = embedded(sdata, recipe={"statistics": folder}, panel={"on_unknown": "keep"})
    means = dict(zip(notes["stats"]["names"].values(), notes["normalization_mean"], strict=True))
    stds = dict(zip(notes["stats"]["names"].values(), notes["normalization_std"], strict=True))
    assert list(means) == names
    for name, (mean, std) in known.items():
        assert means[name] == pytest.approx(mean, abs=6e-5)
        assert stds[name] == pytest.approx(std, abs=6e-5)
    assert notes["clip_source"] == {"cords2024cancer_ocmzljpb_0001": "published"}
    quantiles = pd.read_parquet(next(folder.rglob("image_level_upper_quantiles.parquet")))
    expected = quantiles.loc["cords2024cancer_ocmzljpb_0001", names]
    np.testing.assert_allclose(notes["clip"]["cords2024cancer_ocmzljpb_0001"], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.real_data
def test_spleen_from_raw_pixels_to_the_encoders_input(real_data, monkeypatch):
    """IMC: the released scale of a real image, and how much smaller blurred pixels' standard deviations are."""
    folder = real_data / "spleen_imc"
    if not folder.is_dir():
        pytest.skip("no spleen images")
    raw = tifffile.imread(folder / "images/spleen315_r2.ome.tif").astype(np.float64)
    labels = tifffile.imread(folder / "masks/spleen315_r2_cellmask.tif")
    tissue = gaussian_filter(raw.sum(0), 5) > 2
    use_tissue(monkeypatch, {"r2": tissue})
    sample = {"sample": "r2", "patient": "spleen315", "image": folder / "images/spleen315_r2.ome.tif"}
    table = pd.DataFrame([sample | {"labels": folder / "masks/spleen315_r2_cellmask.tif"}])
    sdata = sfm.io.read_cohort(table, mpp=1.0)
    names = [str(name) for name in sdata["image_r2"].coords["c"].values]
    embedding = sfm.tl.embed_cells(sdata, Patches(), panel={"on_unknown": "keep"}, on_missing="drop", copy=True)
    notes = sfm.get.record(embedding, "X_patches")
    image = raw[[names.index(name) for name in notes["channels"]["r2"]]]

    clip = np.quantile(image[:, tissue], 0.99, axis=1)
    values = np.log1p(np.minimum(image, clip[:, None, None]))
    mean, std = values[:, tissue].mean(axis=1), values[:, tissue].std(axis=1)
    np.testing.assert_allclose(notes["clip"]["r2"], clip, rtol=1e-6)
    np.testing.assert_allclose(notes["normalization_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(notes["normalization_std"], std, rtol=1e-5)
    some = np.setdiff1d(labels[[0, 200, -1]], 0)  # of the borders and the middle
    expected = cell_vectors(released(image, clip, mean, std), np.pad(np.where(np.isin(labels, some), labels, 0), 120))
    found = embedding[[f"r2_{label}" for label in some]].obsm["X_patches"]
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5

    blurred = gaussian_filter(values, 1.0, radius=1, mode="mirror", axes=(1, 2))[:, tissue].std(axis=1)
    paper = sfm.tl.embed_cells(sdata, Patches("paper"), panel={"on_unknown": "keep"}, on_missing="drop", copy=True)
    np.testing.assert_allclose(sfm.get.record(paper, "X_patches")["normalization_std"], blurred, rtol=1e-5)
    assert (std / blurred > 1.05).all()
