"""Windows against pixels, statistics and refusals that were worked out by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.stats import chisquare
from window_models import EMBEDDINGS, PANEL, PROTEINS, ById, ByProtein, described, pictures

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, ModelError, PanelError, RunError, SpatialfmWarning
from spatialfm.train import Windows
from spatialfm.train.batch import random_of

SMALL = {"size": 32, "crop": 16, "recipe": {"tissue": "all"}}


@pytest.fixture
def cohort(make_sdata):
    """Two images of other panels, three patients."""
    images = {"a": pictures(0), "b": pictures(1)[:4], "c": pictures(2)}
    sdata = make_sdata(
        {name: (image, None) for name, image in images.items()},
        {"a": PANEL, "b": [PANEL[k] for k in (1, 0, 2, 3)], "c": PANEL},
    )
    return described(sdata, patient=["p1", "p2", "p3"], tissue=["lung", "lung", "skin"])


def scaled_pixels(sdata, sample):
    return sdata[f"image_{sample}"].data.compute().astype(np.float64) / 65535


def test_windows_are_a_grid_over_each_image(cohort):
    windows = Windows(cohort, ById(), **SMALL)
    assert len(windows) == 3 * 9
    assert windows.table.groupby("sample").size().to_dict() == {"a": 9, "b": 9, "c": 9}
    assert windows.table[["y", "x"]].iloc[:4].to_numpy().tolist() == [[0, 0], [0, 32], [0, 64], [32, 0]]
    assert windows.table["patient"].unique().tolist() == ["p1", "p2", "p3"]


def test_pixels_are_standardised_by_statistics_of_the_whole_corpus(cohort):
    """CD3 is the second channel of `a` and `c` and the first of `b`, CD68 is in two images alone."""
    windows = Windows(cohort, ById(), **SMALL)
    cd3 = np.stack([scaled_pixels(cohort, "a")[1], scaled_pixels(cohort, "b")[0], scaled_pixels(cohort, "c")[1]])
    cd68 = np.stack([scaled_pixels(cohort, "a")[4], scaled_pixels(cohort, "c")[4]])
    found = windows.markers
    np.testing.assert_allclose(found.loc["CD3", ["mean", "std"]].astype(float), [cd3.mean(), cd3.std()], rtol=1e-5)
    np.testing.assert_allclose(found.loc["CD68", ["mean", "std"]].astype(float), [cd68.mean(), cd68.std()], rtol=1e-5)
    assert found["n_images"].to_dict() == {"DAPI": 3, "CD3": 3, "CD8": 3, "CD20": 3, "CD68": 2}
    window = windows[int(np.flatnonzero(windows.table["sample"] == "b")[5])]  # rows 32 to 63, columns 64 to 95
    place = window.names.index("CD3")
    truth = (cd3[1][32:64, 64:96] - cd3.mean()) / cd3.std()
    np.testing.assert_allclose(window.pixels[place], truth, atol=1e-4)


def test_a_marker_has_one_id_in_every_panel(cohort):
    windows = Windows(cohort, ById(), **SMALL)
    ids = [dict(zip(one.names, one.markers.tolist(), strict=True)) for one in (windows[0], windows[9], windows[18])]
    assert ids[0] == ids[2]
    assert ids[1] == {name: ids[0][name] for name in ids[1]}
    assert len(set(ids[0].values())) == len(PANEL)
    assert windows.markers["id"].to_dict() == ids[0]


def test_given_statistics_are_taken(cohort):
    table = pd.DataFrame({"mean": np.arange(5) / 100, "std": 0.02}, index=PANEL)
    windows = Windows(cohort, ById(), **SMALL | {"recipe": {"tissue": "all", "statistics": table}})
    window = windows[0]
    truth = (scaled_pixels(cohort, "a")[:, :32, :32] - np.arange(5)[:, None, None] / 100) / 0.02
    np.testing.assert_allclose(window.pixels, truth, atol=1e-4)
    assert set(windows.markers["from"]) == {"given"}


def test_virtues_pixels_are_those_of_an_embedding_run_by_hand(cohort):
    """Clipped at the 99th percentile of the image, log(1 + x), standardised over the source, blurred last."""
    windows = Windows(cohort, ByProtein(), **SMALL, panel=PROTEINS)
    raw = {name: cohort[f"image_{name}"].data.compute().astype(np.float64) for name in "abc"}
    logs = {
        name: np.log1p(np.minimum(image, np.quantile(image, 0.99, axis=(1, 2), keepdims=True)))
        for name, image in raw.items()
    }
    cd3 = np.concatenate([logs["a"][1].ravel(), logs["b"][0].ravel(), logs["c"][1].ravel()])
    window = windows[13]  # the middle of `b`
    kernel = np.exp([-0.5, 0, -0.5]) / np.exp([-0.5, 0, -0.5]).sum()
    truth = (logs["b"][0] - cd3.mean()) / (cd3.std() + 1e-8)
    for axis in (0, 1):
        truth = correlate1d(truth, kernel, axis, mode="mirror")
    truth = truth[32:64, 32:64]
    np.testing.assert_allclose(window.pixels[window.names.index("CD3")], truth, atol=2e-4)
    assert "DAPI" not in window.names
    assert (window.markers.numpy() == np.stack([EMBEDDINGS[name] for name in window.names])).all()


def test_a_data_set_has_statistics_of_its_own_where_the_model_is_standardised_so(cohort):
    one = Windows(cohort, ByProtein(), **SMALL, panel=PROTEINS)
    apart = Windows(cohort, ByProtein(), **SMALL, panel=PROTEINS, dataset_key="tissue")
    assert one.markers["mean"].notna().all()
    assert apart.markers["mean"].isna().all()
    logs = [np.log1p(np.minimum(image, np.quantile(image, 0.99))) for image in cohort["image_c"].data.compute()[1:2]]
    standard = apart.standards[2]
    place = apart.images[2].markers.index("CD3")
    np.testing.assert_allclose([standard.mean[place], standard.std[place]], [logs[0].mean(), logs[0].std()], rtol=1e-4)


def test_crops_lie_everywhere_in_their_window_as_likely(make_sdata):
    """Pixels tell their place: row * 128 + column."""
    image = np.broadcast_to((np.arange(96)[:, None] * 128 + np.arange(96)).astype(np.uint16), (5, 96, 96)).copy()
    windows = Windows(make_sdata({"a": (image, None)}, PANEL), ById(), **SMALL, augment=False)
    mean, std = windows.standards[0].mean[0], windows.standards[0].std[0]
    corners = []
    for place in range(680):
        sample = windows.sample(4, random_of(0, 0, place, 1))  # rows and columns 32 to 63
        pixels = np.rint((sample.pixels[0].numpy() * std + mean) * 65535).astype(int)
        y, x = divmod(int(pixels[0, 0]), 128)
        assert (pixels == pixels[0, 0] + np.arange(16)[:, None] * 128 + np.arange(16)).all()
        corners.append((y - 32, x - 32))
    for axis in np.array(corners).T:
        assert chisquare(np.bincount(axis, minlength=17)).pvalue > 1e-3
        assert axis.max() == 16


def test_a_sample_depends_on_its_generator_alone(cohort):
    windows = Windows(cohort, ById(), **SMALL, augment={"intensity": 0.2, "blur": 1, "noise": 0.1})
    state = np.random.get_state()[1].copy()  # noqa: NPY002  what nothing here may draw from
    torch_state = torch.get_rng_state()
    first = windows.sample(4, random_of(0, 7, 3, 1))
    windows.sample(5, random_of(0, 7, 4, 1))
    again = windows.sample(4, random_of(0, 7, 3, 1))
    assert torch.equal(first.pixels, again.pixels)
    assert first.names == again.names
    assert not torch.equal(first.pixels, windows.sample(4, random_of(0, 8, 3, 1)).pixels)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_changed_sample_is_its_window_turned_and_brighter_before_it_is_standardised(cohort):
    windows = Windows(cohort, ById(), **SMALL, channels="all", augment={"intensity": 0.2})
    mean, std = (part[:, None, None] for part in (windows.standards[0].mean, windows.standards[0].std))
    plain = windows[0].pixels.numpy() * std + mean
    orbit = [np.rot90(one, k, (1, 2)) for one in (plain, plain[..., ::-1]) for k in range(4)]
    seen = set()
    for place in range(90):
        sample = windows.sample(0, random_of(0, 0, place, 1), crop=False).pixels.numpy() * std + mean
        factors = sample.mean((1, 2)) / plain.mean((1, 2))
        assert ((factors > 1 / 1.201) & (factors < 1.201)).all()
        assert factors.std() > 0
        found = [
            n for n, one in enumerate(orbit) if np.allclose(one * factors[:, None, None], sample, rtol=1e-3, atol=1e-5)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(range(8))


def test_crop_channels_and_augment_can_be_left_out(cohort):
    windows = Windows(cohort, ById(), **SMALL)
    rng = random_of(0, 0, 0, 1)
    assert windows.sample(0, rng, crop=False).pixels.shape == (3, 32, 32)
    assert windows.sample(0, rng, channels=False).pixels.shape == (5, 16, 16)
    plain = windows.sample(0, random_of(0, 0, 0, 1), crop=False, channels=False, augment=False)
    assert torch.equal(plain.pixels, windows[0].pixels)


def test_drawn_channels_are_those_that_are_named(cohort):
    windows = Windows(cohort, ById(), **SMALL, augment=False)
    for place in range(20):
        one = windows.sample(0, random_of(0, 0, place, 1), crop=False)
        assert one.names[0] == "DAPI"
        places = [PANEL.index(name) for name in one.names]
        assert torch.equal(one.pixels, windows[0].pixels[places])
        assert one.markers.tolist() == windows[0].markers[places].tolist()


def test_strata_are_combinations_of_columns(cohort):
    windows = Windows(cohort, ById(), **SMALL, strata=["tissue"])
    assert [len(one) for one in windows.strata] == [18, 9]
    assert len(Windows(cohort, ById(), **SMALL, strata=["tissue", "patient"]).strata) == 3


def test_no_patient_is_on_both_sides_and_statistics_are_of_those_trained_on(cohort):
    windows = Windows(cohort, ById(), **SMALL)
    train, held_out = windows.split(["p1"])
    assert set(train.table["patient"]) == {"p2", "p3"}
    assert set(held_out.table["patient"]) == {"p1"}
    cd3 = np.stack([scaled_pixels(cohort, "b")[0], scaled_pixels(cohort, "c")[1]])
    for part in (train, held_out):
        np.testing.assert_allclose(part.markers.loc["CD3", "mean"], cd3.mean(), rtol=1e-5)
    window = held_out[0]
    truth = (scaled_pixels(cohort, "a")[1][:32, :32] - cd3.mean()) / cd3.std()
    np.testing.assert_allclose(window.pixels[1], truth, atol=1e-4)


def test_a_patient_in_two_spellings_is_not_split(cohort):
    windows = Windows(cohort, ById(), **SMALL)
    windows.table = windows.table.assign(patient=windows.table["patient"].replace({"p2": " P1"}))
    with pytest.raises(ClinicalError, match=r"spells 1 patient in several ways.*sdata\[\"samples\"\].obs"):
        windows.split(["p1"])


def test_what_is_split_can_be_split_again(cohort):
    """Statistics are of `c` alone then, and nothing is copied."""
    train, _ = Windows(cohort, ById(), **SMALL).split(["p1"])
    inner, tuned = train.split(["p2"])
    assert set(inner.table["patient"]) == {"p3"}
    assert set(tuned.table["patient"]) == {"p2"}
    np.testing.assert_allclose(tuned.markers.loc["CD3", "mean"], scaled_pixels(cohort, "c")[1].mean(), rtol=1e-5)
    assert inner.images is train.images
    assert tuned.markers["n_images"].to_dict() == {"CD3": 1, "DAPI": 1, "CD8": 1, "CD20": 1}


def test_what_is_shown_of_windows(cohort):
    assert repr(Windows(cohort, ById(), **SMALL)) == "27 windows of 32 px, 3 images, 1 source, 5 markers, for by-id"


def test_a_fingerprint_changes_with_whatever_decides_a_step(cohort, make_sdata):
    windows = Windows(cohort, ById(), **SMALL)
    same = Windows(cohort, ById(), **SMALL)
    assert windows.fingerprint() == same.fingerprint()
    others = [
        Windows(cohort, ById(), **SMALL | {"crop": 24}),
        Windows(cohort, ById(), **SMALL, stride=16),
        Windows(cohort, ById(), **SMALL, channels="all"),
        Windows(cohort, ById(), **SMALL, augment={"noise": 0.1}),
        Windows(cohort, ById(), **SMALL, samples=["a", "b"]),
        windows.split(["p1"])[0],
    ]
    assert len({one.fingerprint() for one in [windows, *others]}) == 1 + len(others)


def test_it_can_be_sent_to_another_process(cohort):
    windows = Windows(cohort, ById(), **SMALL)
    there = pickle.loads(pickle.dumps(windows))
    assert torch.equal(there[3].pixels, windows[3].pixels)
    assert there.fingerprint() == windows.fingerprint()


def test_small_images_are_left_out_and_named(make_sdata):
    sdata = make_sdata({"a": (pictures(0), None), "tiny": (pictures(1, side=24), None)}, PANEL)
    with pytest.warns(
        SpatialfmWarning, match=r"1 image of 2 smaller than a window of 32 pixels .*'tiny'.* \(24 x 24\)"
    ):
        windows = Windows(sdata, ById(), **SMALL)
    assert set(windows.table["sample"]) == {"a"}
    with pytest.raises(ModelError, match="All 2 images are smaller than a window of 128 pixels"):
        Windows(sdata, ById(), size=128, crop=64)


def test_images_are_brought_to_the_pixel_size_of_the_model(make_sdata):
    """96 pixels of 0.25 µm are 65 of 0.37, the smallest that the model was trained on."""
    sdata = make_sdata({"a": (pictures(0), None)}, PANEL, mpp=0.25)
    windows = Windows(sdata, ById(), size=24, crop=16, recipe={"tissue": "all"})
    assert sorted(set(windows.table["y"])) == [0, 24, 65 - 24]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"size": 32, "crop": 40}, ModelError, "crop=40 must be 1 to 32"),
        ({"size": 32, "crop": 12}, ModelError, "crop=12 must be a multiple of 8"),
        ({"stride": 0}, ArgumentError, "stride must be a whole number of at least 1"),
        ({"strata": ["organ"]}, ClinicalError, "Column 'organ' has no value for 3 samples"),
        ({"dataset_key": "site"}, ClinicalError, "Column 'site' has no value for 3 samples"),
        ({"panel": {"markers": ["CD3", "CD8"]}}, PanelError, "channels='nuclear' needs a stain of nuclei"),
        ({"panel": {"markers": ["DAPI", "CD8"]}}, PanelError, "draws 2 markers beside the stain of nuclei"),
        ({"panel": {"markers": ["CD99"]}}, PanelError, "None of panel=.* is in any image"),
        ({"panel": {"markers": ["DAPI", "CD3", "CD8", "CD99"]}}, PanelError, "No marker 'CD99' in the images"),
        ({"panel": {"mapping": {"CD98": "CD3"}}}, PanelError, "names channel 'CD98', which no image has"),
        ({"strata": ["y"]}, ClinicalError, "strata= names 'y', a column of windows.table itself"),
        ({"samples": ["z"]}, ValueError, "No sample 'z' in the sources"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(cohort, change, kind, message, monkeypatch):
    monkeypatch.setattr("spatialfm.train.data.moments_of", lambda *_: pytest.fail("pixels were read"))
    with pytest.raises(kind, match=message):
        Windows(cohort, ById(), **SMALL | change)


def test_markers_without_protein_are_named_and_dropped_on_request_alone(cohort):
    with pytest.raises(PanelError, match=r"1 marker without protein embedding: DAPI .*'on_unknown': 'drop'"):
        Windows(cohort, ByProtein(), **SMALL, panel={"embeddings": EMBEDDINGS})
    assert "DAPI" not in Windows(cohort, ByProtein(), **SMALL, panel=PROTEINS).markers.index


def test_no_window_with_tissue_is_refused(make_sdata, cohort):
    mask = np.zeros((96, 96), np.uint8)
    mask[:4, :4] = 1
    with pytest.raises(ModelError, match=r"No window of 32 pixels holds 30% of tissue in any of 1 image\b"):
        Windows(cohort, ById(), **SMALL | {"recipe": {"tissue": {"a": mask}}}, samples=["a"])


def test_a_model_that_normalises_in_its_own_way_is_refused(cohort):
    with pytest.raises(ModelError, match="normalises pixels in its own way"):
        Windows(cohort, sfm.models.load("openphenom", weights="random"), **SMALL)


def test_windows_of_a_run_are_kept_and_compared(cohort, tmp_path):
    Windows(cohort, ById(), **SMALL).keep(tmp_path)
    Windows(cohort, ById(), **SMALL).keep(tmp_path)
    assert len(pd.read_parquet(tmp_path / "windows.parquet")) == 27
    with pytest.raises(RunError, match="what differs is crop"):
        Windows(cohort, ById(), **SMALL | {"crop": 24}).keep(tmp_path)


def test_arguments_are_checked_and_typos_answered(cohort):
    with pytest.raises(TypeError, match=r"^Windows\(\) has no argument 'min_tisue'. Did you mean 'min_tissue'"):
        Windows(cohort, ById(), min_tisue=0.2)
    with pytest.raises(ArgumentError, match=r"Windows\(channels='some'\): channels must be 'all', 'nuclear', 'share'"):
        Windows(cohort, ById(), channels="some")


@pytest.mark.parametrize("kind", [ById, ByProtein])
def test_windows_are_what_an_embedding_of_tiles_shows_the_model(cohort, kind):
    shown = []

    class Seen(kind):
        def look(self, pixels):
            shown.append(pixels.clone())
            return super().look(pixels)

        def __deepcopy__(self, memo):
            return self

    options = {"panel": PROTEINS} if kind is ByProtein else {}
    samples = ["a", "c"]
    sfm.tl.embed_tiles(cohort, Seen(), size=32, samples=samples, recipe={"tissue": "all"}, **options)
    windows = Windows(cohort, kind(), **SMALL, samples=samples, **options)
    assert len(windows) == sum(map(len, shown)) == 18
    for index, tile in enumerate(torch.cat(shown)):
        assert torch.equal(windows[index].pixels, tile)
