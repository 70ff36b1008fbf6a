"""Whole images as a decoder predicts them: against plain numpy, the released decoder, and runs that were killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import spatialdata as sd
import torch
from spatialdata.transformations import get_transformation
from stand_in import Painter, Sums

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ElementError, ModelError, PanelError
from spatialfm.embed.paint.blend import Painting, edge_weights
from spatialfm.embed.paint.job import PaintJob
from spatialfm.embed.paint.masks import draw_mask, generator_of
from spatialfm.pp.elements import match_elements

CHANNELS = ["CD3", "CD20", "CD68"]
STATISTICS = {"CD3": (50.0, 20.0), "CD20": (70.0, 40.0), "CD68": (10.0, 80.0)}
RECIPE = {"statistics": STATISTICS}


@pytest.fixture
def cohort(make_sdata, blobs):
    image, labels = blobs(1, side=70, n_cells=8)
    return make_sdata({"a": (image, labels)}, CHANNELS), image


def standardised(image):
    mean, std = np.array(list(STATISTICS.values())).T
    return (image.astype(np.float64) - mean[:, None, None]) / std[:, None, None]


def tiles(side):
    starts = [start for start in range(0, side - 32, 32)] + [side - 32]
    return [(y, x) for y in starts for x in starts]


def painted(seen, mode, weights, seed=0):
    """Every tile on its own; of pixels that were hidden anywhere, what the tiles predict that hid them."""
    sums, counts = np.zeros((2, *seen.shape)), np.zeros((2, *seen.shape))
    for y, x in tiles(seen.shape[1]):
        at = (slice(None), slice(y, y + 32), slice(x, x + 32))
        mask = draw_mask(mode, (len(seen), 4, 4), (0.6, 1.0), generator_of(seed, "image_a", y, x))
        hidden = mask.repeat(8, 1).repeat(8, 2)
        window, visible = seen[at], np.where(hidden, np.nan, seen[at])
        total, n = np.nansum(visible, 0), (~hidden).sum(0)
        around = np.nansum(visible) / max((~hidden).sum(), 1)
        predicted = np.where(hidden, total / np.maximum(n, 1) + 0.1 * around, window)
        for kind, part in enumerate((hidden, ~hidden)):
            sums[kind][at] += np.where(part, weights * predicted, 0)
            counts[kind][at] += np.where(part, weights, 0)
    was = counts[0] > 0
    return np.where(was, sums[0], sums[1]) / np.where(was, counts[0], counts[1]), was


@pytest.mark.parametrize("mode", ["independent", "niche"])
@pytest.mark.parametrize("overlap", ["mean", "feather"])
def test_hidden_tokens_are_predicted_from_the_others(cohort, mode, overlap):
    sdata, image = cohort
    sfm.tl.reconstruct(sdata, Painter(), mode=mode, overlap=overlap, recipe=RECIPE)
    weights = np.ones((32, 32)) if overlap == "mean" else edge_weights(32)
    expected, hidden = painted(standardised(image), mode, weights)
    element = sdata["image_a_reconstructed"]
    assert list(element.coords["c"].values) == CHANNELS
    np.testing.assert_allclose(element.values, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(sdata["image_a_reconstructed_hidden"].values, hidden)
    if mode == "niche":
        assert (hidden == hidden[:1]).all()


def test_a_marker_at_a_time_is_predicted_from_all_others(cohort):
    sdata, image = cohort
    sfm.tl.reconstruct(sdata, Painter(), mode="marker", markers=["CD68"], recipe=RECIPE | {"window": 64}, stride=40)
    seen, found = standardised(image), sdata["image_a_reconstructed"].values
    at = (slice(0, 6), slice(0, 6))  # of one tile alone
    expected = seen[:2, *at].mean(0) + 0.1 * seen[:2, :64, :64].mean()
    np.testing.assert_allclose(found[0, *at], expected, rtol=1e-5)
    assert "image_a_reconstructed_hidden" not in sdata.images


def test_a_marker_without_pixels_is_never_seen(cohort):
    """Its channel of zeros must not count for others, which are predicted a marker at a time."""
    sdata, image = cohort
    sfm.tl.reconstruct(
        sdata, Painter(), mode="marker", markers=["CD4", "CD3"], recipe=RECIPE | {"window": 64}, stride=40
    )
    seen, found = standardised(image), sdata["image_a_reconstructed"].values
    at = (slice(0, 6), slice(0, 6))
    for place, others in enumerate((seen, seen[1:])):
        expected = others[:, *at].mean(0) + 0.1 * others[:, :64, :64].mean()
        np.testing.assert_allclose(found[place, *at], expected, rtol=1e-5)


def test_intensities_are_those_of_the_image(cohort):
    sdata, image = cohort
    sfm.tl.reconstruct(sdata, Painter(), space="intensity", recipe=RECIPE)
    expected, _ = painted(standardised(image), "independent", np.ones((32, 32)))
    mean, std = np.array(list(STATISTICS.values())).T[..., None, None]
    np.testing.assert_allclose(sdata["image_a_reconstructed"].values, expected * std + mean, rtol=1e-4, atol=1e-3)


def test_what_is_hidden_depends_on_seed_and_place_alone(make_sdata, blobs, cohort):
    alone, image = cohort
    both = make_sdata({"b": blobs(2, side=70), "a": (image, None)}, CHANNELS)
    seeds = {}
    for name, sdata, seed in (("alone", alone, 0), ("both", both, 0), ("other", alone, 1)):
        sfm.tl.reconstruct(sdata, Painter(), recipe=RECIPE, random_state=seed, run={"batch_size": 1 + seed})
        seeds[name] = sdata["image_a_reconstructed_hidden"].values.copy()
    np.testing.assert_array_equal(seeds["alone"], seeds["both"])
    assert (seeds["alone"] != seeds["other"]).any()


def test_the_image_lies_where_its_sample_does_and_is_no_sample(make_sdata, blobs, tmp_path):
    image, labels = blobs(3, side=640, n_cells=30)
    sdata = make_sdata({"a": (image, labels)}, CHANNELS, mpp=0.25)
    sfm.tl.reconstruct(sdata, Painter(), mode="marker", markers=["CD3"], recipe=RECIPE | {"pixel_size": 0.5})
    before = [pair.image for pair in match_elements(sdata)]
    sfm.tl.reconstruct(sdata, Painter(), mode="marker", recipe=RECIPE, key_added="large")
    element = sdata["image_a_large"]
    assert [element[f"scale{i}"]["image"].shape for i in range(2)] == [(3, 640, 640), (3, 320, 320)]
    small = sdata["image_a_reconstructed"]
    assert small.shape == (1, 320, 320)
    matrix = get_transformation(small, "a").to_affine_matrix(("x", "y"), ("x", "y"))
    np.testing.assert_allclose(np.diag(matrix)[:2], 0.5)  # µm of a pixel, which is two of the image's
    assert [pair.image for pair in match_elements(sdata)] == before == ["image_a"]
    sdata.write(tmp_path / "a.zarr")
    back = sd.read_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(back["image_a_reconstructed"].values, small.values)
    assert [pair.image for pair in match_elements(back)] == ["image_a"]
    record = json.loads(back.attrs["spatialfm"]["imputed"]["image_a_reconstructed"]["record"])
    assert (record["imputed"], record["seen"], record["overlap"]) == (["CD3"], CHANNELS, "mean")


@pytest.mark.goldens
def test_the_released_decoder_on_an_image_of_one_tile(reference, make_sdata):
    """`v64m`: pixels as the official code takes them, so that nothing but tiles, masks and writing is between."""
    import importlib.util

    from spatialfm.embed.call import image_elements, request_of
    from spatialfm.embed.inputs import prepare_inputs
    from spatialfm.embed.paint.plan import find_targets, plan_paint
    from spatialfm.embed.paint.run import paint_images, read_written

    spec = importlib.util.spec_from_file_location("synthetic_weights", reference / "synthetic_weights.py")
    standin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(standin)
    goldens = np.load(reference / "goldens" / "virtues.npz")
    meta = json.loads(str(goldens["v64m/meta"]))
    encoder = sfm.models.load("virtues", weights="random")
    weights = standin.synthetic_weights(reference / "layouts" / "virtues.json")
    state = encoder.backbone.state_dict()
    assert {name: tuple(value.shape) for name, value in weights.items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }
    computed = {name: value for name, value in state.items() if name.endswith((".sin", ".cos"))}
    encoder.backbone.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()} | computed)
    vectors = standin.synthetic_input("marker_embeddings", 12, 640)
    shift = np.float32(8)  # no pixel of an image is negative
    for number, channels in enumerate(meta["channels"]):
        names = [f"marker {channel}" for channel in channels]
        pixels = standin.synthetic_input(f"v64m/{number}", len(channels), 64, 64)
        sdata = make_sdata({"a": (pixels + shift, None)}, names, mpp=1.0)
        recipe = {
            "preparation": None,
            "window": 64,
            "statistics": {name: (float(shift), 1.0) for name in names},
            "epsilon": 0.0,
        }
        panel = {"embeddings": {name: vectors[channel] for name, channel in zip(names, channels, strict=True)},
                 "on_unknown": "keep", "nuisance": "keep"}  # fmt: skip
        request = request_of(encoder, panel=panel, recipe=recipe, elements=image_elements(None, None), cells=False)
        inputs = prepare_inputs(sdata, match_elements(sdata, need_labels=False), encoder, request, tiles=True)
        plan = plan_paint(inputs, find_targets(inputs, None), mode="independent")
        mask = goldens[f"v64m/mask/{number}"]

        def passes(self, sample, starts, mask=mask):
            yield list(range(len(mask))), mask[None].repeat(len(starts), 0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PaintJob, "passes", passes)
            folder, _ = paint_images(plan, request.run, [torch.device("cpu")], overlap="mean", statistics=None)
        found = read_written(folder, 0, (0, 64, 0, 64), list(range(len(channels))))
        golden = goldens[f"v64m/reconstruction/{number}"]
        assert np.linalg.norm(found - golden) / np.linalg.norm(golden) < 1e-5


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
import spatialfm as sfm
from spatialfm.embed.paint.job import PaintJob
PaintJob.block_side = 128
store, cache, slow = sys.argv[1:]
sfm.settings.cache_dir, sfm.settings.progress, sfm.settings.verbosity = cache, False, 2
import spatialdata as sd, time
encoder = sfm.models.new_encoder("virtues", dim=8, heads=1, depth=2, decoder_depth=1)
if slow == "slow":
    paint = encoder.reconstruct
    def later(*given, **named):
        time.sleep(0.25)
        return paint(*given, **named)
    encoder.reconstruct = later
sfm.tl.reconstruct(sd.read_zarr(store), encoder, random_state=3, panel={"markers": ["CD3", "CD20", "CD68"]},
                   run={"batch_size": 1}, recipe={"statistics": {"CD3": (3, 1), "CD20": (3, 1), "CD68": (3, 1)}})
"""


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(make_sdata, blobs, tmp_path):
    make_sdata({"a": (blobs(4, side=300)[0], None)}, CHANNELS, mpp=1.0).write(tmp_path / "a.zarr")

    def start(cache, slow="fast"):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.zarr"), str(tmp_path / cache), slow]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    whole, stopped = start("whole"), start("killed", "slow")
    while stopped.poll() is None and len(list((tmp_path / "killed").glob("runs/*/block_*"))) < 3:
        time.sleep(0.02)
    os.kill(stopped.pid, signal.SIGKILL)
    stopped.communicate()
    assert not list((tmp_path / "killed").glob("imputed/*/00000"))
    again = start("killed")
    _, log = again.communicate(timeout=120)
    assert again.returncode == 0, log
    assert whole.wait(timeout=120) == 0
    whole.communicate()
    assert "resuming: " in log
    assert files_of(tmp_path / "killed" / "imputed") == files_of(tmp_path / "whole" / "imputed") != {}
    assert not list((tmp_path / "killed").rglob("block_*"))


def test_a_run_that_is_stopped_anywhere_ends_with_the_same_bytes(make_sdata, blobs, tmp_path, monkeypatch):
    """While tiles are predicted, and while the image is written."""
    sdata = make_sdata({"a": (blobs(4, side=160)[0], None)}, CHANNELS)
    monkeypatch.setattr(PaintJob, "block_side", 32)

    def stop_at(number):
        def stop(n):
            if n >= number:
                raise KeyboardInterrupt

        return stop

    def paint(encoder):
        sfm.tl.reconstruct(sdata, encoder, recipe=RECIPE, run={"batch_size": 1})

    sfm.settings.cache_dir = tmp_path / "whole"
    whole = Painter()
    paint(whole)
    sfm.settings.cache_dir = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        paint(Painter(stop_at(9)))
    assert not list((tmp_path / "stopped").glob("imputed/*"))
    n_kept = len(list((tmp_path / "stopped").glob("runs/*/block_*")))
    assert n_kept >= 7
    rest, values = Painter(), Painting.values

    def stop_writing(self, sample, box, slots=None):
        if slots == [1]:
            raise KeyboardInterrupt
        return values(self, sample, box, slots)

    with monkeypatch.context() as patch:
        patch.setattr(Painting, "values", stop_writing)
        with pytest.raises(KeyboardInterrupt):
            paint(rest)
    assert rest.n_windows == whole.n_windows - n_kept == 25 - n_kept
    paint(last := Painter())
    assert last.n_windows == 0  # all blocks were there
    assert files_of(tmp_path / "stopped" / "imputed") == files_of(tmp_path / "whole" / "imputed") != {}
    assert not list((tmp_path / "stopped").rglob("block_*"))
    assert not list((tmp_path / "stopped").rglob("*.partial"))


def test_two_devices_make_the_same_bytes(make_sdata, blobs, tmp_path, monkeypatch):
    sdata = make_sdata({"a": (blobs(4, side=160)[0], None)}, CHANNELS)
    monkeypatch.setattr(PaintJob, "block_side", 32)
    for devices in ("cpu", ["cpu", "cpu"]):
        sfm.settings.cache_dir = tmp_path / str(len(devices))
        sfm.tl.reconstruct(sdata, Painter(), recipe=RECIPE, run={"devices": devices, "batch_size": 1})
    one, two = (files_of(tmp_path / name / "imputed") for name in ("3", "2"))
    assert one == two != {}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize("mode", ["independent", "marker"])
def test_a_compiled_decoder_gives_the_same_pixels(cohort, mode):
    sdata, _ = cohort
    tiny = sfm.models.new_encoder("virtues", dim=16, heads=2, depth=2, decoder_depth=1)
    told = {"mode": mode, "recipe": {"window": 32}, "panel": {"markers": CHANNELS}}
    sfm.tl.reconstruct(sdata, tiny, **told)
    plain = sdata["image_a_reconstructed"].values
    sfm.tl.reconstruct(sdata, tiny, **told, run={"compile": True}, key_added="compiled")
    compiled = sdata["image_a_compiled"].values
    assert compiled.std() > 0
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)


def test_few_decoded_pixels_are_kept_and_they_change_nothing(cohort, monkeypatch):
    """Memory does not follow the image: what was decoded is forgotten at a limit that is far below that of crops."""
    from spatialfm.embed.paint import plan
    from spatialfm.embed.pixels.decoded import Decoded

    sdata, _ = cohort
    sfm.tl.reconstruct(sdata, Painter(), recipe=RECIPE)
    every, held = sdata["image_a_reconstructed"].values, []
    region = Decoded.region

    def watched(self, *arguments, **options):
        found = region(self, *arguments, **options)
        held.append((self.held, self.limit))
        return found

    monkeypatch.setattr(Decoded, "region", watched)
    monkeypatch.setattr(plan, "KEPT", 13_000)  # of 14,700
    monkeypatch.setattr(PaintJob, "block_side", 32)
    sfm.tl.reconstruct(sdata, Painter(), recipe=RECIPE, key_added="other")
    np.testing.assert_array_equal(sdata["image_a_other"].values, every)
    limits = [limit for _, limit in held]
    painting = held[limits.index(13_000) :]  # what comes before is read for statistics
    assert {limit for _, limit in painting} == {13_000}
    assert painting
    assert max(n for n, _ in painting) <= 13_000


def test_pixels_are_stored_in_half_the_space_on_request(cohort):
    sdata, _ = cohort
    sfm.tl.reconstruct(sdata, Painter(), recipe=RECIPE)
    full = sdata["image_a_reconstructed"].values
    sfm.tl.reconstruct(sdata, Painter(), recipe=RECIPE, run={"precision": "float16"})
    assert sdata["image_a_reconstructed"].dtype == np.float16
    np.testing.assert_array_equal(sdata["image_a_reconstructed"].values, full.astype(np.float16))


def test_the_same_call_takes_what_it_wrote(cohort):
    sdata, _ = cohort
    encoder = Painter()
    sfm.tl.reconstruct(sdata, encoder, recipe=RECIPE)
    first, seen = sdata["image_a_reconstructed"].values, encoder.n_windows
    sfm.tl.reconstruct(sdata, encoder, recipe=RECIPE)
    assert encoder.n_windows == seen
    np.testing.assert_array_equal(sdata["image_a_reconstructed"].values, first)
    sfm.tl.reconstruct(sdata, encoder, recipe=RECIPE, run={"resume": False})
    assert encoder.n_windows == 2 * seen


def test_bad_input_is_refused_before_any_tile(cohort):
    sdata, _ = cohort
    encoder = Painter()
    elements = sorted(sdata.images)
    with pytest.raises(ModelError, match="'sums' has no decoder"):
        sfm.tl.reconstruct(sdata, Sums())
    with pytest.raises(ArgumentError, match="nothing is left to predict from"):
        sfm.tl.reconstruct(sdata, encoder, ratio=(1.0, 1.0), recipe=RECIPE)
    with pytest.raises(ArgumentError, match="smaller one first"):
        sfm.tl.reconstruct(sdata, encoder, ratio=(0.9, 0.6), recipe=RECIPE)
    with pytest.raises(PanelError, match="All channels are hidden"):
        sfm.tl.reconstruct(sdata, encoder, mode="marker", panel={"markers": ["CD3"]}, recipe=RECIPE)
    with pytest.raises(PanelError, match="'DAPI' is neither in the panel .* nor has a protein embedding"):
        sfm.tl.reconstruct(sdata, encoder, mode="marker", markers=["DAPI"], recipe=RECIPE)
    with pytest.raises(ModelError, match="from 1 to the side of a tile, 32"):
        sfm.tl.reconstruct(sdata, encoder, stride=33, recipe=RECIPE)
    sdata.labels["image_a_taken"] = sdata["cells_a"]
    with pytest.raises(ElementError, match="sdata.labels holds one of that name.*key_added="):
        sfm.tl.reconstruct(sdata, encoder, key_added="taken", recipe=RECIPE)
    assert encoder.n_windows == 0
    assert sorted(sdata.images) == elements
