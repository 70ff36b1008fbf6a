"""The same call on other data: what is in the cache is never taken for what was asked."""

from __future__ import annotations

import shutil

import dask.array as da
import numpy as np
import pytest
import spatialdata as sd
import tifffile
import torch

import spatialfm as sfm
from spatialfm import _identity
from spatialfm.embed.pixels.content import content_digest
from spatialfm.embed.run import store

CHANNELS = ["DAPI", "CD3", "CD20"]


@pytest.fixture(autouse=True)
def small_memory():
    """Every embedding stays on disk, and is taken from there when the same is asked again."""
    sfm.settings.result_memory = 16
    sfm.settings.verbosity = 0


@pytest.fixture
def data(blobs):
    image, labels = blobs(0, side=90, n_cells=9)
    return image.astype(np.uint16) * 100, labels


def embedded(sdata, model="classical", **options):
    table = sfm.tl.embed_cells(sdata, model, copy=True, **options)
    key = next(key for key in table.obsm if key.startswith("X_"))
    return np.asarray(table.obsm[key])


def without_cache(tmp_path, sdata, *args, **options):
    """What a fresh machine makes of it."""
    before, sfm.settings.cache_dir = sfm.settings.cache_dir, tmp_path / "fresh"
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    try:
        return embedded(sdata, *args, **options)
    finally:
        sfm.settings.cache_dir = before


def one_pixel(image, labels):
    y, x = np.argwhere(labels == labels.max())[0]
    image[1, y, x] += 500


def one_label(image, labels):
    y, x = np.argwhere(labels == labels.max())[-1]
    labels[y, x] = 0


def two_channels(image, labels):
    image[[0, 1]] = image[[1, 0]]


def relabelled(image, labels):
    ids = np.unique(labels)[1:3]
    first, second = (labels == label for label in ids)
    labels[first], labels[second] = ids[1], ids[0]


@pytest.mark.parametrize("change", [one_pixel, one_label, two_channels, relabelled], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("kept_in", "model"), [("memory", "classical"), ("memory", "mean-intensity"), ("zarr", "mean-intensity")]
)
def test_corrected_data_get_their_own_embedding(change, kept_in, model, data, make_sdata, tmp_path):
    image, labels = data
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    sfm.pp.cell_table(sdata)
    if kept_in == "zarr":
        sdata.write(tmp_path / "a.zarr")
        sdata = sd.read_zarr(tmp_path / "a.zarr")
    before = embedded(sdata, model)
    change(image, labels)
    if kept_in == "zarr":  # behind the SpatialData that is open
        sd_of = {"images": ("image_a", image), "labels": ("cells_a", labels)}
        for kind, (name, values) in sd_of.items():
            import zarr

            zarr.open_array(str(tmp_path / "a.zarr" / kind / name / "s0"), mode="r+")[:] = values
        found = embedded(sdata, model)
    else:
        sdata = make_sdata({"a": (image, labels)}, CHANNELS)
        found = embedded(sdata, model)
    assert not np.array_equal(found, before)
    np.testing.assert_array_equal(found, without_cache(tmp_path, sdata, model))
    np.testing.assert_array_equal(embedded(sdata, model), found)


def test_an_array_that_is_changed_in_place_behind_the_sdata_is_seen(data, tmp_path):
    from spatialdata.models import Image2DModel, Labels2DModel
    from spatialdata.transformations import Scale

    image, labels = data
    lazy = da.from_array(image, chunks=(3, 150, 150), name="image", inline_array=True)
    sdata = sd.SpatialData(
        images={
            "image_a": Image2DModel.parse(
                lazy, dims="cyx", c_coords=CHANNELS, transformations={"a": Scale([0.5, 0.5], axes="xy")}
            )
        },
        labels={"cells_a": Labels2DModel.parse(labels, dims="yx", transformations={"a": Scale([0.5, 0.5], axes="xy")})},
    )
    before = embedded(sdata)
    values = sdata.images["image_a"].data
    first = content_digest(values)
    image[:, :, :] = image[:, ::-1, ::-1].copy()
    seen = not np.array_equal(values.compute(), image[:, ::-1, ::-1])
    assert (content_digest(values) != first) == seen  # dask may have taken a copy
    found = embedded(sdata)
    np.testing.assert_array_equal(found, without_cache(tmp_path, sdata))
    assert np.array_equal(found, before) != seen


@pytest.mark.parametrize(
    ("model", "first", "second"),
    [
        ("classical", {}, {"recipe": {"intensity_max": 40_000.0}}),
        ("classical", {}, {"markers": ["CD3", "DAPI", "CD20"]}),
        ("classical", {}, {"panel": {"mapping": {"DAPI": "CD8"}}}),
        ("kronos", {"weights": "random"}, {"token_overlap": True}),
        ("kronos", {"weights": "random"}, {"weights": "random", "recipe": {"background": "keep"}}),
        (
            "kronos",
            {"weights": "random"},
            {"weights": "random", "recipe": {"statistics": dict.fromkeys(CHANNELS, (0.1, 0.2))}},
        ),
    ],
    ids=["intensity_max", "order of markers", "mapping", "option", "background", "stats"],
)
def test_other_options_get_their_own_embedding(model, first, second, data, make_sdata, tmp_path):
    sdata = make_sdata({"a": data}, CHANNELS)
    other = model
    if "token_overlap" in second:
        other, second = sfm.models.load(model, weights="random", **second), {}
    before = embedded(sdata, model, **first)
    found = embedded(sdata, other, **second)
    assert not np.array_equal(found, before) or second.get("panel")
    np.testing.assert_array_equal(found, without_cache(tmp_path, sdata, other, **second))
    np.testing.assert_array_equal(embedded(sdata, model, **first), before)


def test_a_weights_file_that_is_replaced_under_its_name_is_read_anew(data, make_sdata, tmp_path):
    sdata = make_sdata({"a": data}, CHANNELS)
    encoder = sfm.models.load("kronos", weights="random")
    path = tmp_path / "kronos.pt"
    state = encoder.state_dict()
    torch.save(state, path)
    options = {"weights": str(path), "markers": CHANNELS, "recipe": {"intensity_max": 65535.0, "statistics": "cohort"}}
    before = embedded(sdata, "kronos", **options)
    table = sfm.tl.embed_cells(sdata, "kronos", copy=True, **options)
    first = sfm.get.record(table, "X_kronos")["weights_sha256"]
    name = max((n for n in state if "blocks" in n and state[n].ndim == 2), key=lambda n: state[n].numel())
    torch.save(state | {name: state[name] + 0.05}, path)
    found = embedded(sdata, "kronos", **options)
    assert not np.allclose(found, before)
    np.testing.assert_array_equal(found, without_cache(tmp_path, sdata, "kronos", **options))
    table = sfm.tl.embed_cells(sdata, "kronos", copy=True, **options)
    assert sfm.get.record(table, "X_kronos")["weights_sha256"] != first


def test_a_page_of_a_tiff_that_is_corrected_gets_its_own_embedding(data, tmp_path):
    image, labels = data
    tifffile.imwrite(tmp_path / "cells.tif", labels)

    def read():
        return sfm.io.read_tiff(tmp_path / "a.tif", labels=tmp_path / "cells.tif", mpp=0.5, channel_names=CHANNELS)

    tifffile.imwrite(tmp_path / "a.tif", image)
    before = embedded(read())
    memory = tifffile.memmap(tmp_path / "a.tif", mode="r+")
    memory[2] = np.roll(memory[2], 3, axis=1)
    memory.flush()
    found = embedded(read())
    assert not np.array_equal(found, before)
    np.testing.assert_array_equal(found, without_cache(tmp_path, read()))


@pytest.mark.parametrize("change", [one_pixel, one_label, two_channels], ids=lambda f: f.__name__)
def test_a_run_that_was_stopped_does_not_go_on_with_blocks_of_other_data(
    change, data, make_sdata, tmp_path, monkeypatch
):
    from spatialfm.embed.windows.crop import CropJob

    image, labels = data
    monkeypatch.setattr(CropJob, "block_side", 30)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    written, inner = [], store.BlockStore.write

    def stop_after_some(self, block, **arrays):
        inner(self, block, **arrays)
        written.append(block)
        if len(written) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.BlockStore, "write", stop_after_some)
        with pytest.raises(KeyboardInterrupt):
            embedded(sdata)
    change(image, labels)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    np.testing.assert_array_equal(embedded(sdata), without_cache(tmp_path, sdata))


def test_another_version_of_the_recipe_takes_nothing_of_the_old(data, make_sdata, monkeypatch):
    sdata = make_sdata({"a": data}, CHANNELS)
    embedded(sdata)
    folders = {path.name for kind in ("embeddings", "statistics") for path in (sfm.settings.cache_dir / kind).iterdir()}
    monkeypatch.setattr(_identity, "RECIPE", _identity.RECIPE + 1)
    embedded(sdata)
    now = {path.name for kind in ("embeddings", "statistics") for path in (sfm.settings.cache_dir / kind).iterdir()}
    assert folders < now
    assert len(now) == 2 * len(folders)


def test_components_are_those_that_the_memory_at_hand_asks_for(data, make_sdata, tmp_path):
    sdata = make_sdata({"a": data}, CHANNELS)
    options = {"reduce": {"n_components": 3}}
    embedded(sdata, **options)  # incremental, as the rows do not fit
    sfm.settings.result_memory = "1 GiB"
    found = embedded(sdata, **options)
    np.testing.assert_array_equal(found, without_cache(tmp_path, sdata, **options))
