"""What may happen on the way of a long run, and what the engine promises whatever happens."""

from __future__ import annotations

import dataclasses
import errno
import resource
import shutil
import signal

import dask.array as da
import numpy as np
import pytest
from stand_in import Sums

import spatialfm as sfm
from spatialfm._errors import ModelError, RunError
from spatialfm.embed.pixels import open as opening
from spatialfm.embed.pixels.decoded import Decoded
from spatialfm.embed.windows.crop import CropJob
from spatialfm.embed.windows.tiles import TileJob

CHANNELS = ["DAPI", "CD3"]


@pytest.fixture
def samples(blobs):
    return {f"s{number:02d}": blobs(number, n_channels=2, side=50, n_cells=5) for number in range(1, 13)}


@pytest.fixture
def small(make_sdata, blobs):
    return make_sdata({"a": blobs(0, n_channels=2), "b": blobs(1, n_channels=2, side=90)}, CHANNELS)


class Drive:
    """An image on a drive that may be lost."""

    def __init__(self, image):
        self.image, self.lost = image, False
        self.shape, self.dtype, self.ndim = image.shape, image.dtype, image.ndim

    def __getitem__(self, key):
        if self.lost:
            raise OSError(errno.EIO, "Input/output error")
        return self.image[key]


@pytest.mark.parametrize("devices", ["cpu", ["cpu", "cpu"]])
def test_a_read_error_in_the_ninth_image_keeps_what_is_finished(make_sdata, samples, devices, monkeypatch):
    monkeypatch.setattr(opening, "Decoded", lambda: Decoded(0))  # as in images that memory cannot hold
    sdata = make_sdata(samples, CHANNELS)
    drive = Drive(samples["s09"][0])
    sdata.images["image_s09"].data = da.from_array(drive, chunks=(1, 64, 64), asarray=False)
    whole = sfm.tl.embed_cells(sdata, Sums(), copy=True)

    def before(n):
        drive.lost = n > 0

    with pytest.raises(RunError, match=r"image 'image_s09'.*Input/output error.*Finished blocks are kept"):
        sfm.tl.embed_cells(sdata, Sums(before), run={"devices": devices})
    assert not sdata.tables
    drive.lost = False
    rest = Sums()
    again = sfm.tl.embed_cells(sdata, rest, copy=True)
    np.testing.assert_array_equal(again.obsm["X_sums"], whole.obsm["X_sums"])
    n_last = int(whole.obs["region"].isin([f"cells_s{n:02d}" for n in range(8, 13)]).sum())
    assert 0 < rest.n_windows <= n_last


@pytest.mark.parametrize("options", [{}, {"recipe": {"mode": "tile", "window": 16, "stride": 8, "padding": 8}}])
def test_two_devices_give_what_one_gives(small, monkeypatch, options):
    one = sfm.tl.embed_cells(small, Sums(), copy=True, **options)
    for job in (CropJob, TileJob):
        monkeypatch.setattr(job, "block_side", 30)
    seen = []
    two = sfm.tl.embed_cells(small, Sums(seen.append), copy=True, run={"devices": ["cpu", "cpu"]}, **options)
    np.testing.assert_allclose(two.obsm["X_sums"], one.obsm["X_sums"], rtol=1e-5)
    assert seen.count(0) == 2  # both encoders had a first batch


def test_several_outputs_come_from_one_pass(small):
    for options in ({}, {"recipe": {"mode": "tile", "window": 16, "stride": 8, "padding": 8}}):
        encoder = Sums()
        both = sfm.tl.embed_cells(small, encoder, outputs=("marker", "patch"), copy=True, **options)
        n_windows, alone = encoder.n_windows, Sums()
        for output in ("marker", "patch"):
            single = sfm.tl.embed_cells(small, alone, outputs=output, copy=True, **options)
            np.testing.assert_array_equal(both.obsm[f"X_sums_{output}"], single.obsm["X_sums"])
            assert sfm.get.record(both, f"X_sums_{output}")["output"] == output
        assert alone.n_windows == 2 * n_windows
        assert set(both.obsm) == {"spatial", "X_sums_marker", "X_sums_patch"}
    reduced = sfm.tl.embed_cells(small, Sums(), outputs=("marker", "patch"), reduce={"n_components": 1}, copy=True)
    bases = {name: sfm.get.basis(reduced, f"X_sums_{name}") for name in ("marker", "patch")}
    again = sfm.tl.embed_cells(small, Sums(), outputs=("marker", "patch"), reduce={"basis": bases}, copy=True)
    np.testing.assert_allclose(again.obsm["X_sums_marker"], reduced.obsm["X_sums_marker"], rtol=1e-4, atol=1e-4)
    with pytest.raises(ModelError, match=r"reduce=..basis.: .... is one basis for outputs"):
        sfm.tl.embed_cells(small, Sums(), outputs=("marker", "patch"), reduce={"basis": bases["patch"]})
    with pytest.raises(ModelError, match=r"reduce=..basis.: .... has none for output 'patch'"):
        sfm.tl.embed_cells(small, Sums(), outputs=("marker", "patch"), reduce={"basis": {"marker": bases["marker"]}})


def test_an_embedding_beyond_the_limit_stays_on_disk(small):
    whole = sfm.tl.embed_cells(small, Sums(), copy=True).obsm["X_sums"]
    sfm.settings.result_memory = 16
    sfm.tl.embed_cells(small, Sums())
    lazy = small["table"].obsm["X_sums"]
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), whole)
    repeated = Sums()
    again = sfm.tl.embed_cells(small, repeated, copy=True)
    assert not repeated.n_windows  # what a finished run has left on disk is not made again ...
    np.testing.assert_array_equal(np.asarray(again.obsm["X_sums"]), whole)
    sfm.tl.embed_cells(small, repeated, run={"resume": False}, copy=True)
    assert repeated.n_windows == small["table"].n_obs  # ... unless asked for
    kept = sfm.get.marker_embedding(small["table"], "X_sums", "CD3")
    np.testing.assert_array_equal(np.asarray(kept), whole[:, 1:])


class Apart(Sums):
    """The same for a model that may not see beyond the image."""

    card = dataclasses.replace(Sums.card, name="apart", pads=False)


def test_a_model_that_cannot_pad_sees_windows_inside_the_image(make_sdata):
    image, labels = np.ones((2, 60, 70), np.uint8), np.zeros((60, 70), np.int32)
    labels[0:4, 0:4], labels[30:34, 30:34], labels[55:60, 66:70] = 1, 2, 3
    sdata = make_sdata({"a": (image, labels)}, CHANNELS)
    inside = sfm.tl.embed_cells(sdata, Apart(), recipe={"background": "keep"}, copy=True).obsm["X_apart"]
    padded = sfm.tl.embed_cells(sdata, Sums(), recipe={"background": "keep"}, copy=True).obsm["X_sums"]
    np.testing.assert_allclose(inside, 256 / 255, rtol=1e-5)
    assert (padded[[0, 2]] < 0.6).all()
    np.testing.assert_allclose(padded[1], 256 / 255, rtol=1e-5)
    for options in ({"recipe": {"window": 64}}, {"recipe": {"window": 64, "mode": "tile"}}):
        with pytest.raises(
            ModelError, match=r"Image 'image_a' has 60 x 70 pixels.*a window 64.*smaller recipe=..window"
        ):
            sfm.tl.embed_cells(sdata, Apart(), **options)
    with pytest.raises(ModelError, match=r"window 64.*apart cannot pad"):
        sfm.tl.embed_tiles(sdata, Apart(), size=64)
    with pytest.raises(ModelError, match=r"a window 64, and recipe=..padding.: 0. forbids"):
        sfm.tl.embed_cells(sdata, Sums(), recipe={"mode": "tile", "window": 64, "padding": 0})


def test_bad_pixels_become_zero_on_request(make_sdata, blobs):
    image, labels = blobs(0, n_channels=2)
    image = image.astype(np.float32)
    bad, fixed = image.copy(), image.copy()
    bad[1, 70, 70], bad[0, 3, 4], fixed[1, 70, 70], fixed[0, 3, 4] = np.inf, np.nan, 0, 0
    sdata = make_sdata({"a": (fixed, labels)}, CHANNELS)
    expected = sfm.tl.embed_cells(sdata, Sums(), copy=True).obsm["X_sums"]
    sfm.pp.cell_table(sdata)
    sdata.images["image_a"] = make_sdata({"a": (bad, labels)}, CHANNELS)["image_a"]
    with pytest.raises(RunError, match=r"on_nan.: 'zero'"):
        sfm.tl.embed_cells(sdata, Sums())
    with pytest.warns(sfm._errors.SpatialfmWarning, match=r"image_a"):
        sfm.tl.embed_cells(sdata, Sums(), recipe={"on_nan": "zero"})
    np.testing.assert_array_equal(sdata["table"].obsm["X_sums"], expected)
    assert sfm.get.record(sdata["table"], "X_sums")["on_nan"] == "zero"


def test_what_cannot_run_is_refused_before_any_pixel_is_read(small, tmp_path):
    encoder = Sums()
    for arguments, message in [
        ({"run": {"client": "tcp://1.2.3.4"}}, r"client.*str"),
        ({"run": {"devices": []}}, r"run=..devices.: .... is an empty list"),
        ({"run": {"devices": ["cpu", "quantum"]}}, r"Device 'quantum' cannot be used"),
    ]:
        with pytest.raises((ModelError, RunError, sfm._errors.PanelError), match=message):
            sfm.tl.embed_cells(small, encoder, **arguments)
    (tmp_path / "file").write_text("not a folder")
    sfm.settings.cache_dir = tmp_path / "file"
    with pytest.raises(RunError, match=r"Cannot write finished blocks.*cache_dir"):
        sfm.tl.embed_cells(small, encoder)
    assert encoder.n_windows == 0
    assert not small.tables


def test_a_disk_that_takes_no_more_leaves_a_resumable_run(small, tmp_path, monkeypatch):
    monkeypatch.setattr(CropJob, "block_side", 40)
    sfm.pp.cell_table(small)
    expected = sfm.tl.embed_cells(small, "mean-intensity", copy=True).obsm["X_mean_intensity"]
    sfm.settings.cache_dir = tmp_path / "cache"
    # errors instead of a signal, for files of this process; nothing is printed meanwhile
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    sfm.settings.verbosity = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (130, limits[1]))  # less than one header and a row
    try:
        with pytest.raises(RunError) as refused:
            sfm.tl.embed_cells(small, "mean-intensity")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "Cannot write" in str(refused.value)
    assert "repeat the same call" in str(refused.value)
    assert "X_mean_intensity" not in small["table"].obsm
    sfm.tl.embed_cells(small, "mean-intensity")
    np.testing.assert_allclose(small["table"].obsm["X_mean_intensity"], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_a_compiled_encoder_gives_the_same_numbers(small):
    sfm.pp.cell_table(small)
    encoder = sfm.models.load("kronos", weights="random")
    plain = sfm.tl.embed_cells(small, encoder, copy=True).obsm["X_kronos"]
    compiled = sfm.tl.embed_cells(small, encoder, run={"compile": True}, copy=True)
    error = np.linalg.norm(compiled.obsm["X_kronos"] - plain) / np.linalg.norm(plain)
    assert error < 1e-5
    assert sfm.get.record(compiled, "X_kronos")["compiled"] == 1


def test_one_bar_counts_cells_and_one_windows(small, capsys, monkeypatch):
    monkeypatch.setattr(TileJob, "block_side", 40)
    sfm.settings.progress = True
    sfm.tl.embed_cells(small, Sums(), recipe={"mode": "tile", "window": 16, "stride": 8, "padding": 8})
    shown = capsys.readouterr().err
    n_cells = small["table"].n_obs
    assert f"{n_cells}/{n_cells}" in shown
    assert "cell/s" in shown
    assert "image_a" in shown
    assert "image_b" in shown


def test_statistics_of_a_stopped_run_are_not_made_again(make_sdata, samples, monkeypatch):
    from spatialfm.embed.pixels import tissue

    class Scaled(Sums):
        card = dataclasses.replace(
            Sums.card, name="scaled", recipe=Sums.card.recipe.replace(normalization="marker statistics")
        )

    def stop(n):
        raise KeyboardInterrupt

    sdata = make_sdata({"a": samples["s01"], "b": samples["s02"]}, CHANNELS)
    folder = sfm.settings.cache_dir / "statistics"
    with pytest.raises(KeyboardInterrupt):
        sfm.tl.embed_cells(sdata, Scaled(stop))
    assert len(list(folder.iterdir())) == 4  # tissue and moments of two images
    found = tissue.tissue_mask
    monkeypatch.setattr(tissue, "tissue_mask", None)
    resumed = sfm.tl.embed_cells(sdata, Scaled(), copy=True)
    assert len(list(folder.iterdir())) == 4  # the end of one run takes nothing from others: all are true for good
    monkeypatch.setattr(tissue, "tissue_mask", found)
    fresh = sfm.tl.embed_cells(sdata, Scaled(), copy=True)
    np.testing.assert_array_equal(resumed.obsm["X_scaled"], fresh.obsm["X_scaled"])
