"""Images of several sources together: units, pixel sizes, panels, statistics."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import correlate1d
from spatialdata.models import TableModel
from window_models import PANEL, PROTEINS, ById, ByProtein, described, pictures

import spatialfm as sfm
from spatialfm._errors import ClinicalError, ElementError, PanelError, PixelSizeError, SpatialfmWarning
from spatialfm.models.encoder import MarkerEntry
from spatialfm.train import Windows

SMALL = {"size": 32, "crop": 16, "recipe": {"tissue": "all"}}


@pytest.fixture
def two(make_sdata):
    """A sample `a` in each of two objects, 16 and 8 bits."""
    eight = (pictures(1) // 256).astype(np.uint8)
    return [make_sdata({"a": (pictures(0), None)}, PANEL), make_sdata({"a": (eight, None)}, PANEL)]


def test_statistics_are_of_all_sources_together(two):
    recipe = {"tissue": "all", "intensity_max": {"sources[0]/a": 65535, "sources[1]/a": 255}}
    windows = Windows(two, ById(), **SMALL | {"recipe": recipe})
    pixels = [two[0]["image_a"].data[1].compute() / 65535, two[1]["image_a"].data[1].compute() / 255]
    row = windows.markers.loc["CD3"]
    np.testing.assert_allclose([row["mean"], row["std"]], [np.mean(pixels), np.std(pixels)], rtol=1e-5)
    assert windows.table.groupby(["source", "sample"]).size().to_dict() == {("source0", "a"): 9, ("source1", "a"): 9}


def test_images_of_other_pixel_types_need_their_ranges(two):
    with pytest.raises(PanelError, match=r"different pixel types \(sources\[0\]/a: uint16; sources\[1\]/a: uint8\)"):
        Windows(two, ById(), **SMALL)
    with pytest.raises(PanelError, match="names sample 'z', which the sources do not have"):
        Windows(two, ById(), **SMALL | {"recipe": {"intensity_max": {"z": 255}}})


def test_data_sets_that_are_standardised_apart_may_have_other_units(two):
    windows = Windows(two, ByProtein(), **SMALL, panel=PROTEINS)
    for number, standard in enumerate(windows.standards):
        place = windows.images[number].markers.index("CD3")
        raw = two[number]["image_a"].data[1].compute().astype(float)
        logs = np.log1p(np.minimum(raw, np.quantile(raw, 0.99)))
        np.testing.assert_allclose([standard.mean[place], standard.std[place]], [logs.mean(), logs.std()], rtol=1e-4)


def test_stores_of_one_folder_are_one_data_set(two, make_sdata, tmp_path):
    for number in (0, 1):
        make_sdata({f"s{number}": (pictures(number), None)}, PANEL).write(tmp_path / "cohort" / f"{number}.zarr")
    windows = Windows([tmp_path / "cohort", two[0]], ByProtein(), **SMALL, panel=PROTEINS)
    assert (windows.standards[0].mean == windows.standards[1].mean).all()
    assert (windows.standards[0].mean != windows.standards[2].mean).any()
    assert windows.table["source"].unique().tolist() == ["cohort", "source1"]


def test_all_images_are_brought_to_one_pixel_size(make_sdata):
    """0.4 and 0.5 µm are both what KRONOS saw, and more than 10 % apart: all go to the coarser."""
    fine = make_sdata({"a": (pictures(0, side=120), None)}, PANEL, mpp=0.4)
    coarse = make_sdata({"b": (pictures(1), None)}, PANEL, mpp=0.5)
    windows = Windows([fine, coarse], ById(), **SMALL)
    assert [image.raw.shape for image in windows.images] == [(96, 96), (96, 96)]
    assert [image.mpp for image in windows.images] == pytest.approx([0.5, 0.5])
    alone = Windows(fine, ById(), **SMALL)
    assert alone.images[0].raw.shape == (120, 120)


def test_an_unknown_pixel_size_is_refused_and_can_be_given(make_sdata):
    from spatialdata.transformations import Identity, set_transformation

    sdata = make_sdata({"a": (pictures(0), None)}, PANEL)
    set_transformation(sdata["image_a"], Identity(), "a")
    with pytest.raises(PixelSizeError, match="pixel size of image 'image_a' is unknown"):
        Windows(sdata, ById(), **SMALL)
    assert len(Windows(sdata, ById(), **SMALL, elements={"mpp": 0.5})) == 9


def test_panels_are_resolved_apart(make_sdata):
    """A channel that one image alone has can be named; markers= keeps what each image has of them."""
    other = ["DAPI", "Target 7", "CD20", "CD8", "CD45"]
    sdata = make_sdata({"a": (pictures(0), None), "b": (pictures(1), None)}, {"a": PANEL, "b": other})
    with pytest.raises(PanelError, match="Target 7"):
        Windows(sdata, ById(), **SMALL)
    windows = Windows(sdata, ById(), **SMALL, panel={"mapping": {"Target 7": "CD3"}})
    assert windows.images[1].markers == ("DAPI", "CD3", "CD20", "CD8", "CD45")
    assert windows.markers.loc["CD3", "n_images"] == 2
    chosen = Windows(
        sdata, ById(), **SMALL, panel={"mapping": {"Target 7": "CD3"}, "markers": ["CD68", "CD3", "DAPI", "CD45"]}
    )
    assert [image.markers for image in chosen.images] == [("CD68", "CD3", "DAPI"), ("CD3", "DAPI", "CD45")]
    raw = sdata["image_b"].data.compute()
    place = chosen.images[1].markers.index("CD45")
    np.testing.assert_allclose(chosen.images[1].reader.pixels(0, 4, 0, 4)[place], raw[4, :4, :4] / 65535, rtol=1e-6)


def test_published_statistics_and_ids_are_those_of_the_encoder(make_sdata):
    class Published(ById):
        vocabulary = (MarkerEntry("CD3", 7, 0.25, 0.125), MarkerEntry("DAPI", 3, 0.5, 0.25))

    sdata = make_sdata({"a": (pictures(0), None)}, PANEL)
    with pytest.warns(UserWarning, match="no published statistics for CD8, CD20, CD68"):
        windows = Windows(sdata, Published(), **SMALL)
    table = windows.markers
    assert table.loc[["CD3", "DAPI"], "id"].tolist() == [7, 3]
    assert not {3, 7} & set(table.loc[["CD8", "CD20", "CD68"], "id"])
    assert table.loc["CD3", ["mean", "std", "from"]].tolist() == [0.25, 0.125, "published"]
    assert table.loc["CD8", "from"] == "cohort"
    cd8 = sdata["image_a"].data[2].compute() / 65535
    np.testing.assert_allclose(table.loc["CD8", ["mean", "std"]].astype(float), [cd8.mean(), cd8.std()], rtol=1e-5)
    anew = Windows(sdata, Published(), **SMALL | {"recipe": {"tissue": "all", "statistics": "cohort"}})
    assert set(anew.markers["from"]) == {"cohort"}


def test_named_stains_of_nuclei_are_taken_and_others_are_not(make_sdata):
    sdata = make_sdata({"a": (pictures(0), None)}, ["Iridium X", "CD3", "CD8", "CD20", "CD68"])
    options = {"panel": {"on_unknown": "keep"}}
    with pytest.raises(PanelError, match="needs a stain of nuclei, and image 'a' of"):
        Windows(sdata, ById(), **SMALL, **options)
    assert Windows(sdata, ById(), **SMALL, **options, nuclear="Iridium X").images[0].nuclear == (0,)


def test_a_sample_with_two_rows_is_refused(make_sdata):
    """Of two patients, the one of the last row would hold."""
    sdata = make_sdata({"a": (pictures(0), None)}, PANEL)
    obs = pd.DataFrame({"patient": ["p1", "p2"]}, index=["a", "a"])
    sdata.tables["samples"] = TableModel.parse(ad.AnnData(obs=obs))
    with pytest.raises(ClinicalError, match="more than one row of 1 sample: 'a'"):
        Windows(sdata, ById(), **SMALL)


def test_what_is_known_of_samples_is_by_their_names(make_sdata):
    """The table of samples may have other rows, in another order."""
    sdata = described(make_sdata({"a": (pictures(0), None), "b": (pictures(1), None)}, PANEL), organ=["skin", "lung"])
    sdata.tables["samples"] = sdata["samples"][::-1].copy()
    windows = Windows(sdata, ById(), **SMALL, strata="organ")
    assert windows.table.groupby("sample")["organ"].first().to_dict() == {"a": "skin", "b": "lung"}


def test_images_by_name_are_found_in_the_source_that_has_them(make_sdata):
    sources = [make_sdata({name: (pictures(0), None)}, PANEL) for name in ("a", "b")]
    assert Windows(sources, ById(), **SMALL, elements={"image": ["image_b"]}).table["sample"].unique().tolist() == ["b"]
    with pytest.raises(ElementError, match="image_z"):
        Windows(sources, ById(), **SMALL, elements={"image": ["image_z"]})


def test_sources_of_one_image_each_are_said_to_be_standardised_apart(two, make_sdata):
    with pytest.warns(UserWarning, match="2 sources of one image each: every image is standardised by statistics of"):
        Windows(two, ByProtein(), **SMALL, panel=PROTEINS)


def test_published_statistics_of_a_data_set_and_its_clipping_values_are_taken(make_sdata):
    """Tables in spora's layout; `a` is an image of theirs, and is clipped where they say."""
    sdata = make_sdata({"a": (pictures(0), None)}, PANEL)
    names = PANEL[1:]
    tables = {
        "means": pd.DataFrame([[6.0, 6.5, 7.0, 7.5]], columns=names),
        "stds": pd.DataFrame([[0.5, 1.0, 2.0, 4.0]], columns=names),
        "quantiles": pd.DataFrame([[900.0, 1200.0, 1500.0, 1800.0]], columns=names, index=["a"]),
    }
    recipe = {"tissue": "all", "statistics": tables}
    window = Windows(sdata, ByProtein(), **SMALL | {"recipe": recipe}, panel=PROTEINS)[4]
    raw = sdata["image_a"].data[2].compute().astype(float)
    truth = (np.log1p(np.minimum(raw, 1200)) - 6.5) / (1 + 1e-8)
    kernel = np.exp([-0.5, 0, -0.5]) / np.exp([-0.5, 0, -0.5]).sum()
    for axis in (0, 1):
        truth = correlate1d(truth, kernel, axis, mode="mirror")
    np.testing.assert_allclose(window.pixels[window.names.index("CD8")], truth[32:64, 32:64], atol=2e-5)


@pytest.mark.real_data
def test_windows_of_a_real_image_are_what_an_embedding_of_its_tiles_shows_the_model(real_data):
    sdata = sfm.io.read_tiff(real_data / "spleen_imc" / "images" / "spleen315_r2.ome.tif", mpp=1.0)
    names = sfm.pp.match_markers([str(name) for name in next(iter(sdata.images.values())).c.values])["marker"]
    vectors = {name: np.full(4, place, np.float32) for place, name in enumerate(names) if name not in ("", "DNA")}
    shown = []

    class Seen(ByProtein):
        def look(self, pixels):
            shown.append(pixels.clone())
            return super().look(pixels)

        def __deepcopy__(self, memo):
            return self

    panel = {"embeddings": vectors, "on_unknown": "drop"}
    windows = Windows(sdata, ByProtein(), size=256, crop=128, panel=panel)
    sfm.tl.embed_tiles(sdata, Seen(), size=256, panel=panel)
    assert len(windows) == sum(map(len, shown)) > 1
    assert all(torch.equal(windows[n].pixels, tile) for n, tile in enumerate(torch.cat(shown)))


def test_images_in_another_unit_are_told_of_across_panels(make_sdata):
    """12-bit counts beside 16-bit ones, as if of two microscopes: statistics of both together would fit neither."""
    dim = make_sdata({"b": (pictures(1)[:4] // 16, None)}, PANEL[:4])
    bright = make_sdata({"a": (pictures(0), None)}, PANEL)
    with pytest.warns(UserWarning, match=r"Pixels of 'b' are some 1[67] times darker than those of 'a'"):
        Windows([bright, dim], ById(), **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        same = {"intensity_max": {"a": 65535, "b": 65535 / 16}, "tissue": "all"}
        Windows([bright, dim], ById(), **SMALL | {"recipe": same})
