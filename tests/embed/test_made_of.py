"""A cohort that grows: blocks of earlier runs are taken where they would be the same, and never otherwise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stand_in import StandIn, Sums, card_of

import spatialfm as sfm
from spatialfm._errors import ModelError
from spatialfm.embed.windows.crop import CropJob
from spatialfm.embed.windows.tiles import TileJob
from spatialfm.models.recipe import Recipe

CHANNELS = ["DAPI", "CD3"]


class Scaled(StandIn):
    """Means of pixels that are divided by the standard deviation over the cohort."""

    card = card_of("scaled", mpp=0.5, recipe=Recipe(window=16, normalization="scale"))

    def look(self, pixels):
        return {"patch": pixels.mean((2, 3))}


@pytest.fixture
def samples(blobs):
    return {name: blobs(number, n_channels=2, side=60, n_cells=6) for number, name in enumerate("abcd")}


@pytest.fixture
def embed(make_sdata, samples, tmp_path, monkeypatch):
    """Embed some samples with blocks that stay, and count windows; the same from scratch."""
    monkeypatch.setattr(CropJob, "block_side", 30)
    monkeypatch.setattr(TileJob, "block_side", 30)

    def both(names, model=Sums, changed=None, keep=tmp_path / "kept", before=lambda n: None, run=None, **arguments):
        sdata = make_sdata({name: (changed or samples)[name] for name in names}, CHANNELS)
        encoder = model(before)
        grown = sfm.tl.embed_cells(sdata, encoder, copy=True, run={"keep": keep, **(run or {})}, **arguments)
        key = next(iter(grown.obsm.keys() - {"spatial"}))
        anew = sfm.tl.embed_cells(sdata, scratch := model(), copy=True, **arguments)
        np.testing.assert_array_equal(grown.obsm[key], anew.obsm[key])
        assert list(grown.obs_names) == list(anew.obs_names)
        return encoder.n_windows, scratch.n_windows

    return both


def n_cells(samples, names):
    return sum(len(np.unique(samples[name][1])) - 1 for name in names)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"recipe": {"mode": "tile", "stride": 8}}, {"reduce": {"n_components": 2}}, {"outputs": ["patch"]}],
)
def test_only_samples_that_were_added_are_encoded(embed, samples, arguments):
    done, scratch = embed("bc", **arguments)
    assert done == scratch > 0
    empty = int("reduce" in arguments)  # a window by which the number of columns is known
    assert embed("bc", **arguments)[0] == empty  # the same call again
    alone = embed("a", keep=None, **arguments | {"reduce": None})[0]
    assert embed("abc", **arguments)[0] == alone + empty  # whatever comes first in the table
    assert embed("ac", **arguments)[0] == empty  # one was removed
    assert embed("ca", **arguments)[0] == empty  # others come first
    assert embed("abc", **arguments)[0] > empty  # what was not used is not kept
    if not arguments:
        assert alone == n_cells(samples, "a")


def test_a_changed_image_mask_or_panel_is_encoded_anew(embed, samples):
    embed("abc")
    image, labels = samples["b"]
    brighter = image.copy()
    brighter[0, 0, 0] += 1  # of a pixel that is in no cell, too
    assert embed("abc", changed=samples | {"b": (brighter, labels)})[0] == n_cells(samples, "b")
    fewer = np.where(labels == labels.max(), 0, labels)
    changed = samples | {"b": (image, fewer)}
    assert embed("abc", changed=changed)[0] == n_cells(changed, "b")
    assert embed("abc", changed=changed, markers=["CD3"])[0] == n_cells(changed, "abc")
    assert embed("abc", changed=changed, markers=["CD3"], run={"batch_size": 2})[0] == n_cells(changed, "abc")
    assert embed("abc", changed=changed, markers=["CD3"], run={"batch_size": 2})[0] == 0


def test_statistics_of_the_whole_cohort_do_all_anew_and_the_log_says_so(embed, samples, caplog):
    caplog.set_level("INFO", "spatialfm")
    embed("ab", model=Scaled)
    assert embed("abc", model=Scaled)[0] == n_cells(samples, "abc")
    text = "0 of 3 images: encoded before, and taken as they were. Changed: the statistics of the markers, which are "
    assert text + "of the whole cohort, so that every image is encoded anew\n" in caplog.text
    given = {"statistics": {"CD3": (0.1, 0.2), "DAPI": (0.3, 0.1)}}
    embed("ab", model=Scaled, recipe=given)
    caplog.clear()
    assert embed("abc", model=Scaled, recipe=given)[0] == n_cells(samples, "c")
    assert "2 of 3 images: encoded before, and taken as they were\n" in caplog.text


def test_a_run_that_was_stopped_is_taken_up_by_one_of_more_samples(embed, samples):
    def stop(n):
        if n >= n_cells(samples, "ab"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed("abc", before=stop, run={"batch_size": 1})
    assert embed("abcd", run={"batch_size": 1})[0] == n_cells(samples, "cd")


def test_damaged_blocks_and_those_of_another_version_are_encoded_again(embed, samples, tmp_path, monkeypatch):
    embed("ab")
    block = sorted((tmp_path / "kept").glob("*/block_*"))[0]
    path = block / "marker.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    n = len(np.load(path))
    assert embed("abc")[0] == n_cells(samples, "c") + n
    note = json.loads((sorted((tmp_path / "kept").glob("*/block_*"))[0] / "block.json").read_text())
    assert set(note) == {"run", "block", "name", "arrays"}
    monkeypatch.setattr("spatialfm.embed.made_of.__version__", "9.9")
    assert embed("abcd")[0] == n_cells(samples, "abcd")
    assert embed("abcd", run={"resume": False})[0] == n_cells(samples, "abcd")


def test_copies_of_an_image_are_taken_as_often_as_they_are_there(embed, samples):
    twice = samples | {"b": samples["a"]}
    embed("ab", changed=twice)
    assert embed("abc", changed=twice)[0] == n_cells(samples, "c")


def test_the_folder_holds_what_the_last_call_used_and_nothing_else(embed, samples, tmp_path):
    embed("ab")
    embed("bc")
    folders = list((tmp_path / "kept").iterdir())
    assert len(folders) == 1
    names = {path.name for path in folders[0].iterdir()}
    assert "made_of.json" in names
    assert sum(len(np.load(one)) for one in folders[0].glob("block_*/marker.npy")) == n_cells(samples, "bc")
    assert not list((sfm.settings.cache_dir / "runs").glob("*"))


def test_where_there_are_no_blocks_of_cells_it_is_refused(make_sdata, samples, tmp_path):
    from spatialfm.embed.call import Run
    from spatialfm.embed.session import run_blocks

    with pytest.raises(ModelError, match="keep= holds blocks of cells"):
        run_blocks(None, [], "a" * 64, Run(keep=tmp_path), [], 1, lambda store: None)
