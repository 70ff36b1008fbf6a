"""``sfm.pp.segment_cells(method="virtues")`` from pixels to labels and phenotypes, and what it refuses."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import spatialdata as sd
import torch
from safetensors.torch import load_file, save_file
from scipy.ndimage import gaussian_filter
from small_head import untrained_set
from spatialdata.models import Image2DModel
from spatialdata.transformations import Scale

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, ModelError, PanelError, SpatialfmWarning, WeightsError
from spatialfm.models.instances import find_instances
from spatialfm.models.virtues_segmenter import HEAD_FILE, PHENOTYPES, load_segmenter

CHANNELS = ["CD3", "CD20", "DAPI", "Autofluorescence"]
HISTONE = {"nuclear": "histone"}  # as the encoder was made


@pytest.fixture(autouse=True)
def _cache(tmp_path):
    sfm.settings.cache_dir = tmp_path / "cache"
    yield
    sfm.settings.reset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return untrained_set(tmp_path_factory.mktemp("set") / "virtues-sp31")


def image_of(size, mpp=1.0, channels=CHANNELS, sample="a", seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.poisson(2, (len(channels), *size)).astype(np.uint16)
    for _ in range(size[0] * size[1] // 250):
        y, x = rng.integers(0, size[0] - 9), rng.integers(0, size[1] - 9)
        pixels[:, y : y + 9, x : x + 9] += rng.integers(0, 40, (len(channels), 1, 1)).astype(np.uint16)
    image = Image2DModel.parse(
        pixels, dims=("c", "y", "x"), c_coords=channels, transformations={sample: Scale([mpp, mpp], axes=("x", "y"))}
    )
    return pixels, sd.SpatialData(images={f"image_{sample}": image})


def as_released(pixels: np.ndarray) -> np.ndarray:
    """Clipped at the 99th percentile, log1p, standardised, blurred: every pixel is tissue, and there is one image."""
    pixels = pixels.astype(np.float64)
    logged = np.log1p(np.clip(pixels, 0, np.quantile(pixels, 0.99, axis=(1, 2), keepdims=True)))
    standard = (logged - logged.mean((1, 2), keepdims=True)) / (logged.std((1, 2), keepdims=True) + 1e-8)
    return gaussian_filter(standard, 1.0, radius=1, mode="mirror", axes=(1, 2))


def logits_of(folder: Path, field: np.ndarray, sdata) -> np.ndarray:
    """All windows of an image, one after the other, averaged with InstanSeg's bell."""
    record = sdata.attrs["spatialfm"]["segmentation"]["cells_a"]
    assert json.loads(record["markers"]) == ["CD3", "CD20", "DAPI"]
    from spatialfm.embed.markers.proteins import find_embeddings

    vectors = find_embeddings(["CD3", "CD20", "DAPI"], None, 640, nuclear="histone").vectors
    markers = torch.tensor(np.stack([vectors[name] for name in ("CD3", "CD20", "DAPI")]), dtype=torch.float32)
    segmenter = load_segmenter(sfm.models.load("virtues", weights=folder, nuclear="histone"), folder)
    axis = np.linspace(-1, 1, 128)
    bell = np.exp(-(axis[:, None] ** 2 + axis**2) / 0.5)
    height, width = field.shape[1:]
    total, weight = np.zeros((14, height, width)), np.zeros((height, width))
    for y in sorted({*range(0, height - 127, 64), height - 128}):
        for x in sorted({*range(0, width - 127, 64), width - 128}):
            window = torch.tensor(field[:3, y : y + 128, x : x + 128], dtype=torch.float32)[None]
            with torch.inference_mode():
                total[:, y : y + 128, x : x + 128] += bell * segmenter(window, markers)[0].numpy()
            weight[y : y + 128, x : x + 128] += bell
    return total / weight


def test_cells_and_phenotypes_are_those_of_the_released_steps(folder):
    pixels, sdata = image_of((128, 170))
    options = {**HISTONE, "recipe": {"tissue": "all"}}
    sfm.pp.segment_cells(sdata, "virtues", weights=folder, options=options)
    labels = sdata["cells_a"].values
    logits = logits_of(folder, as_released(pixels), sdata)
    classifier = load_segmenter(
        sfm.models.load("virtues", weights=folder, nuclear="histone"), folder
    ).head.pixel_classifier
    with torch.inference_mode():
        expected = find_instances(torch.tensor(logits[:5], dtype=torch.float32), classifier)
    sizes = np.bincount(expected.ravel())
    expected[sizes[expected] < 15] = 0
    pairs, shared = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1, return_counts=True)
    same = shared[(pairs[0] > 0) & (pairs[1] > 0)].sum() + shared[(pairs[0] == 0) & (pairs[1] == 0)].sum()
    assert labels.max() > 20
    assert sdata.attrs["spatialfm"]["segmentation"]["cells_a"]["min_area_um2"] == 15  # as released
    assert same / labels.size > 0.995  # rounding may move a pixel across a threshold
    table = sdata["cells_phenotypes"]
    assert table.obs_names[0] == "a_1"
    assert list(table.var_names) == [name for name in PHENOTYPES if name not in ("None", "Unknown")]
    every = np.exp(logits[5:]) / np.exp(logits[5:]).sum(0)
    kept = [1, 2, 3, 4, 5, 6, 8]
    for row, cell in enumerate(table.obs["cell_id"]):
        inside = labels == cell
        among = every[kept][:, inside] / every[kept][:, inside].sum(0)
        counts = np.bincount(among.argmax(0), minlength=7)
        best = int(table.obs["phenotype"].cat.codes.iloc[row])
        assert counts[best] >= counts.max() - 1
        assert np.allclose(table.X[row], among.mean(1), atol=1e-3)
        assert table.obs["phenotype_probability"].iloc[row] == pytest.approx(among[best].mean(), abs=1e-3)
        assert table.obs["phenotype_share"].iloc[row] == pytest.approx(
            counts[best] / counts.sum(), abs=1.01 / counts.sum()
        )
        assert table.obs["phenotype_unknown"].iloc[row] == pytest.approx(
            every[[0, 7]][:, inside].sum(0).mean(), abs=1e-3
        )


def test_what_was_done_is_recorded_and_the_cell_table_takes_phenotypes(folder):
    _, sdata = image_of((130, 128))
    sfm.pp.segment_cells(sdata, "virtues", weights=folder / HEAD_FILE, options=HISTONE, min_area=30, tile_size=80)
    record = sdata.attrs["spatialfm"]["segmentation"]["cells_a"]
    assert (record["method"], record["model"], record["commercial_use"]) == ("virtues", "virtues", True)
    assert record["channels"] == ["CD3", "CD20", "DAPI"]
    assert "Autofluorescence" in json.loads(record["markers_dropped"])
    assert len(record["sha256"]) == len(record["encoder_sha256"]) == 64
    assert record["sha256"] != record["encoder_sha256"]
    assert (record["mpp"], record["mpp_network"], record["min_area_um2"], record["tile_size"]) == (1.0, 1.0, 30, 80)
    labels = sdata["cells_a"].values
    assert np.bincount(labels.ravel())[1:].min() >= 30
    assert record["n_cells"] == labels.max() == sdata["cells_phenotypes"].n_obs
    sfm.pp.cell_table(sdata, cells=sdata["cells_phenotypes"])
    assert sdata["table"].obs["phenotype"].tolist() == sdata["cells_phenotypes"].obs["phenotype"].tolist()
    assert "phenotype_unknown" in sdata["table"].obs
    with pytest.raises(ElementError, match=r"Table 'table' annotates labels 'cells_a'"):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, overwrite=True)
    del sdata.tables["table"]
    with pytest.raises(ElementError, match=r"already has labels 'cells_a'"):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder)
    sfm.pp.segment_cells(sdata, "virtues", weights=folder, options=HISTONE, overwrite=True)
    assert sdata["cells_phenotypes"].n_obs == sdata["cells_a"].values.max() > record["n_cells"]


def test_pixels_of_another_size_are_brought_to_those_of_the_network(folder):
    """Pixels of 0.5 µm, each of the first image four times: the same cells, at the pixels of the image."""
    pixels, sdata = image_of((128, 130))
    fine = Image2DModel.parse(
        pixels.repeat(2, 1).repeat(2, 2),
        dims=("c", "y", "x"),
        c_coords=CHANNELS,
        transformations={"b": Scale([0.5, 0.5], axes=("x", "y"))},
    )
    other = sd.SpatialData(images={"image_b": fine})
    for one in (sdata, other):
        sfm.pp.segment_cells(
            one, "virtues", weights=folder, options={**HISTONE, "recipe": {"tissue": "all", "resampling": "area"}}
        )
    coarse, found = sdata["cells_a"].values, other["cells_b"].values
    assert found.shape == (256, 260)
    assert np.array_equal(found, found[::2, ::2].repeat(2, 0).repeat(2, 1))
    assert (found[::2, ::2] > 0).mean() == pytest.approx((coarse > 0).mean(), abs=0.02)
    record = other.attrs["spatialfm"]["segmentation"]["cells_b"]
    assert (record["mpp"], record["mpp_network"]) == (0.5, 1.0)


def test_messages_name_the_options_of_this_function(folder):
    _, sdata = image_of((128, 128))
    with pytest.warns(SpatialfmWarning, match=r'pass options=\{"panel": \{"mapping": \{"Autofluorescence": "<marker>"'):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, options=HISTONE)


def test_it_says_so_where_no_marker_is_of_nuclei(folder):
    _, sdata = image_of((128, 128))
    encoder = sfm.models.load("virtues", weights=folder, nuclear="histone")
    encoder.nuclear = None
    with pytest.warns(
        SpatialfmWarning, match=r"No marker of nuclei is among the 2 markers.*'DAPI' would be one.*histone"
    ):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, options={"encoder": encoder})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="No marker of nuclei", category=SpatialfmWarning)
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, options=HISTONE, overwrite=True)


def test_a_head_without_phenotypes_writes_labels_alone(folder, tmp_path):
    _, sdata = image_of((128, 128))
    tensors = {n: t for n, t in load_file(folder / HEAD_FILE).items() if not n.startswith("decoder_phenotypes.")}
    save_file(tensors, tmp_path / HEAD_FILE)
    options = {**HISTONE, "encoder": folder, "model": "virtues"}
    sfm.pp.segment_cells(sdata, "virtues", weights=tmp_path, options=options)
    assert sdata["cells_a"].values.any()
    assert not sdata.tables


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": None}, ArgumentError, r"needs the weights of its head\. Pass weights=<path>: the folder"),
        ({"options": {"modle": "virtues"}}, ArgumentError, r"has no 'modle'\..*'model'"),
        ({"options": {"recipe": {"window": 64}}}, ArgumentError, r"'window'.*windows of 128 pixels"),
        ({"options": {"recipe": {"mode": "crop"}}}, ArgumentError, r"'mode'.*cannot be chosen"),
        ({"options": {"model": "kronos"}}, ArgumentError, r"'kronos'.* has no head; virtues and virtues-sp32 have one"),
        ({"options": {"encoder": 7}}, ArgumentError, r"must be a file, a folder or an encoder.*not a int"),
        ({"options": {"phenotypes": "T cell"}}, ArgumentError, r"is one name. Pass a list"),
        ({"options": {"batch_size": 0}}, ArgumentError, r"batch_size.*at least 1"),
        ({"options": {"phenotypes": ["T", "B"]}}, ModelError, r"has 9 phenotypes, and 2 are named"),
        ({"options": {"panel": {"markers": ["Autofluorescence"]}}}, PanelError, r"protein"),
        ({"nuclear": "DAPI"}, ArgumentError, r"nuclear= belongs to other methods.*'histone'"),
        ({"membrane": ["CD3"]}, ArgumentError, r"membrane= belongs to other methods"),
        ({"tile_size": 40}, ArgumentError, r"smaller than their overlap of 64 pixels"),
        ({"samples": "none"}, ElementError, r"No sample 'none'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder, arguments, error, message):
    _, sdata = image_of((128, 128))
    with pytest.raises(error, match=message):
        sfm.pp.segment_cells(sdata, "virtues", **{"weights": folder, **arguments})
    assert not sdata.labels
    assert not sdata.tables


def test_files_that_are_not_there_or_of_an_unknown_set_are_refused(folder, tmp_path):
    _, sdata = image_of((128, 128))
    (tmp_path / HEAD_FILE).write_bytes((folder / HEAD_FILE).read_bytes())
    with pytest.raises(ArgumentError, match=r"does not say which set of weights.*'virtues-sp32'"):
        sfm.pp.segment_cells(sdata, "virtues", weights=tmp_path)
    with pytest.raises(WeightsError, match=r"no model\.safetensors beside it. Pass options=\{'encoder'"):
        sfm.pp.segment_cells(sdata, "virtues", weights=tmp_path / HEAD_FILE, options={"model": "virtues"})
    wide = sfm.models.new_encoder("virtues", dim=32, depth=4, heads=2, decoder_depth=1)
    with pytest.raises(ModelError, match=r"takes tokens of width 64, and 'virtues' has tokens of width 32"):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, options={"encoder": wide})
    with pytest.raises(ModelError, match=r"takes an encoder of VirTues, not 'mean-intensity'"):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, options={"encoder": sfm.models.load("mean-intensity")})
    with pytest.raises(ArgumentError, match=r"'nuclear'.*not loaded yet"):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, options={"encoder": wide, "nuclear": "histone"})
    assert not sdata.labels


def test_names_of_other_elements_are_refused(folder):
    _, sdata = image_of((128, 128))
    sdata.images["cells_phenotypes"] = sdata["image_a"]
    with pytest.raises(ElementError, match=r"table 'cells_phenotypes': sdata\.images holds an element of that name"):
        sfm.pp.segment_cells(sdata, "virtues", weights=folder, image="image_a")
