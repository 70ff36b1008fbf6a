"""Windows read by the processes of a torch DataLoader."""

from __future__ import annotations

import numpy as np
import pytest
import spatialdata as sd
import torch
from torch.utils.data import DataLoader, Dataset
from window_models import PANEL, ById, pictures

import spatialfm as sfm
from spatialfm._errors import RunError, SpatialfmError
from spatialfm.embed.planned import plan_embedding_of
from spatialfm.train import Windows
from spatialfm.train.batch import random_of
from spatialfm.train.cells import CellWindows

from .tiny import encoder_of


class Drawn(Dataset):
    """Samples as a step draws them, with the number of threads of the process that reads them."""

    def __init__(self, windows):
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        sample = self.windows.sample(index, random_of(1, 0, index, 1))
        return sample.pixels, sample.names, torch.get_num_threads()


@pytest.fixture
def stored(make_sdata, tmp_path):
    make_sdata({"a": (pictures(0), None), "b": (pictures(1), None)}, PANEL).write(tmp_path / "cohort.zarr")
    return tmp_path / "cohort.zarr"


def compare(windows, context, workers, unread=None):
    # what the parent has read before is not to stand in the way of a fork: threads of its pool are gone there
    expected = [windows.sample(index, random_of(1, 0, index, 1)) for index in range(len(windows))]
    loader = DataLoader(
        Drawn(windows if unread is None else unread), batch_size=4, num_workers=workers, collate_fn=list,
        multiprocessing_context=context, timeout=120,
    )  # fmt: skip
    found = [one for batch in loader for one in batch]
    assert len(found) == len(windows)
    for (pixels, names, threads), sample in zip(found, expected, strict=True):
        assert torch.equal(pixels, sample.pixels)
        assert names == sample.names
        assert threads == 1


def test_workers_that_are_forked_read_the_same(stored):
    compare(Windows(stored, ById(), size=32, crop=16, recipe={"tissue": "all"}), "fork", 2)


def test_workers_read_the_same_of_what_is_packed(stored, tmp_path):
    windows = Windows(stored, ById(), size=32, crop=16, recipe={"tissue": "all"}, cache=tmp_path / "pack")
    compare(windows, "fork", 2)


def test_workers_read_the_same_windows_of_cells_after_the_parent_has_embedded_them(tmp_path):
    sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, difficulty="easy", random_state=0)
    sfm.pp.cell_table(sdata)
    sdata.write(tmp_path / "cohort.zarr")
    asked = {"markers": ["CD3", "CD20"], "outputs": None, "panel": None, "recipe": {"window": 32}, "reduce": None}
    plan = plan_embedding_of(
        sd.read_zarr(tmp_path / "cohort.zarr"), encoder_of("virtues"), weights=None, samples=None, table_name="table",
        on_missing="raise", key_added=None, run={"devices": "cpu"}, elements=None, **asked,
    )  # fmt: skip
    rows = np.arange(0, plan.table.n_obs, 4)
    windows = CellWindows(plan, rows, plan.table.obs["patient"].to_numpy(str)[rows])
    compare(
        windows, "fork", 1, unread=windows.part(np.arange(len(windows)))
    )  # what was read is kept, and not read again


@pytest.mark.slow
def test_workers_that_are_spawned_read_the_same(stored, tmp_path):
    compare(Windows(stored, ById(), size=32, crop=16, recipe={"tissue": "all"}), "spawn", 1)
    windows = Windows(stored, ById(), size=32, crop=16, recipe={"tissue": "all"}, cache=tmp_path / "pack")
    compare(windows, "spawn", 1)


def harm_chunk(store, image):
    """Damage the pixels of one chunk of an image."""
    chunks = sorted(path for path in (store / "images" / image).rglob("c/*/*/*") if path.is_file())
    assert chunks
    for chunk in chunks:
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
        chunk.write_bytes(content)


def test_an_image_that_becomes_unreadable_is_named_with_its_path(stored):
    windows = Windows(stored, ById(), size=32, crop=16, recipe={"tissue": "all"})
    harm_chunk(stored, "image_b")
    fresh = Windows.__new__(Windows)
    fresh.__setstate__(windows.__getstate__())  # nothing of it is in memory there
    index = int(np.flatnonzero(windows.table["sample"] == "b")[0])
    with pytest.raises(RunError, match=r"A window of image 'b' of .*cohort.zarr \(rows from \d+, columns from \d+\)"):
        fresh.sample(index, random_of(0, 0, 0, 1))


def test_an_image_that_cannot_be_read_is_named_before_the_first_step(stored):
    harm_chunk(stored, "image_b")
    with pytest.raises(SpatialfmError, match=r"image_b.*cohort.zarr"):
        Windows(stored, ById(), size=32, crop=16, recipe={"tissue": "all"})


def test_pixels_that_are_no_numbers_are_named_before_the_first_step(make_sdata):
    image = pictures(0).astype(np.float32)
    image[2, 40, 50] = np.nan
    sdata = make_sdata({"a": (image, None)}, PANEL)
    with pytest.raises(RunError, match=r"image_a.*CD8"):
        Windows(sdata, ById(), size=32, crop=16, recipe={"tissue": "all", "intensity_max": 65535.0})
