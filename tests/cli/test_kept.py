"""A cohort that grows, shrinks or changes: the tables of a run from scratch, and only what changed is worked on."""

from __future__ import annotations

import json
import os
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
import tifffile
from cli_cohort import SETTINGS, write_cohort

from spatialfm.cli import _kept, main
from spatialfm.embed.windows.crop import CropJob
from spatialfm.io import _write as writing
from spatialfm.pp import segment_run, segmentation

STAGES = ("read", "segment", "embed")
N = 5
SEGMENT = "segment:\n  method: watershed\n  nuclear: DAPI\n  diameter: 5\n"


class Cohort:
    """Files of a cohort, a folder of results, and what was worked on."""

    def __init__(self, folder, settings, masks, monkeypatch):
        self.folder, self.out = folder, folder / "results"
        write_cohort(folder, N, masks=masks)
        (folder / "config.yaml").write_text(settings, encoding="utf-8")
        self.rows = pd.read_csv(folder / "cohort.csv")
        self.encoded, self.segmented = set(), set()
        encode, segment = CropJob.encode_block, segmentation.segment_tiles

        def encode_block(job, block, *args):
            self.encoded.add(job.readers[block.sample].name.removeprefix("image_"))
            return encode(job, block, *args)

        def segment_tiles(job, *args):
            self.segmented.add(job.sample)
            return segment(job, *args)

        monkeypatch.setattr(CropJob, "encode_block", encode_block)
        monkeypatch.setattr(segmentation, "segment_tiles", segment_tiles)

    def run(self, rows, out=None):
        """Do the stages until the cells are embedded; what each said."""
        rows.to_csv(self.folder / "cohort.csv", index=False)
        self.encoded.clear()
        self.segmented.clear()
        out = out or self.out
        for stage in STAGES:
            source = str(self.folder / "config.yaml")
            assert main([stage, source, "--out", str(out)]) == 0
        return said(out)

    def check_as_from_scratch(self, rows):
        """Compare all that there is with a run in a new folder, and remove that."""
        done, new = (set(self.encoded), set(self.segmented)), self.folder / "new"
        self.run(rows, new)
        found, expected = (ad.read_h5ad(out / "stages" / "embed.h5ad") for out in (self.out, new))
        assert list(found.obs_names) == list(expected.obs_names)
        np.testing.assert_array_equal(found.obsm["X_mean_intensity"], expected.obsm["X_mean_intensity"])
        cells, expected = (ad.read_h5ad(out / "stages" / "segment.h5ad") for out in (self.out, new))
        pd.testing.assert_frame_equal(cells.obs, expected.obs)
        np.testing.assert_array_equal(cells.X, expected.X)
        for store in (name for name in ("cohort.zarr", "masks.zarr") if (new / name).exists()):
            one, two = (sd.read_zarr(out / store) for out in (self.out, new))
            assert list(one.images) == list(two.images)
            assert list(one.labels) == list(two.labels)
            assert one.attrs == two.attrs
            for kind in ("images", "labels"):
                for name, element in getattr(one, kind).items():
                    np.testing.assert_array_equal(element.data, getattr(two, kind)[name].data)
            notes = [json.loads((out / store / "zarr.json").read_bytes()) for out in (self.out, new)]
            assert notes[0]["consolidated_metadata"] == notes[1]["consolidated_metadata"]
        assert warned(self.out) == warned(new)
        shutil.rmtree(new)
        return done


def warned(out):
    """Notes of each stage."""
    stages = json.loads((out / "state.json").read_text(encoding="utf-8"))["stages"]
    return {name: sorted(stages[name]["notes"]) for name in STAGES}


def said(out):
    """Findings of each stage."""
    stages = json.loads((out / "state.json").read_text(encoding="utf-8"))["stages"]
    return {name: " ".join(stages[name]["findings"]) for name in STAGES if name in stages}


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    return Cohort(tmp_path, SETTINGS, True, monkeypatch)


@pytest.fixture
def unmasked(tmp_path, monkeypatch):
    return Cohort(tmp_path, SETTINGS + SEGMENT, False, monkeypatch)


def test_only_a_sample_that_was_added_is_read_segmented_and_embedded(unmasked, monkeypatch):
    monkeypatch.setattr(segment_run, "MUCH_MORE", 0.0)  # each mask comes with a warning
    rows = unmasked.rows
    unmasked.run(rows.iloc[1:4])
    assert unmasked.encoded == unmasked.segmented == {"S1", "S2", "S3"}
    findings = unmasked.run(rows.iloc[:4])  # one more, which is the first of all
    assert "read before, and left as they were: 3 of 4 images" in findings["read"]
    assert "segmented by 'watershed': 1 sample (S0)" in findings["segment"]
    assert "segmented before by 'watershed', and left as they were: 3 samples" in findings["segment"]
    assert "3 of 4 images: encoded before, and taken as they were" in findings["embed"]
    assert sum("may be missed" in note for note in warned(unmasked.out)["segment"]) == 4
    assert unmasked.check_as_from_scratch(rows.iloc[:4]) == ({"S0"}, {"S0"})

    findings = unmasked.run(rows.iloc[[0, 3, 4]])  # two go, one comes
    assert "read before, and left as they were: 2 of 3 images" in findings["read"]
    assert unmasked.check_as_from_scratch(rows.iloc[[0, 3, 4]]) == ({"S4"}, {"S4"})


@pytest.mark.slow
def test_nothing_is_worked_on_where_samples_only_go(unmasked):
    rows = unmasked.rows
    unmasked.run(rows.iloc[:4])
    findings = unmasked.run(rows.iloc[[0, 3]])
    assert "read before, and left as they were: 2 of 2 images" in findings["read"]
    assert "segmented by" not in findings["segment"]
    assert unmasked.check_as_from_scratch(rows.iloc[[0, 3]]) == (set(), set())


@pytest.mark.slow
def test_masks_that_came_along_and_rows_in_another_order(cohort):
    rows = cohort.rows
    cohort.run(rows.iloc[:3])
    findings = cohort.run(rows.iloc[[3, 1, 0, 2]])
    assert "read before, and left as they were: 3 of 4 images, 3 of 4 masks" in findings["read"]
    assert cohort.check_as_from_scratch(rows.iloc[[3, 1, 0, 2]])[0] == {"S3"}


def replaced(path, change):
    """Replace a file by one of the same size and time, as a copy that keeps times does."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    change(content)
    other = path.with_suffix(".other")
    other.write_bytes(bytes(content))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_an_image_or_mask_of_the_same_size_and_time_is_noticed(cohort):
    rows = cohort.rows.iloc[:3]
    cohort.run(rows)
    image = cohort.folder / "S1.ome.tif"
    before = tifffile.imread(image)
    place = image.read_bytes().index(before.tobytes())

    def brighter(content):  # of one pixel
        content[place : place + 4] = (before.ravel()[:1] + 50).tobytes()

    replaced(image, brighter)
    assert (tifffile.imread(image) != before).sum() == 1
    findings = cohort.run(rows)
    assert "left as they were: 2 of 3 images, 3 of 3 masks" in findings["read"]
    assert cohort.check_as_from_scratch(rows)[0] == {"S1"}

    mask = cohort.folder / "S2_mask.tif"
    pixels = tifffile.imread(mask)
    where = mask.read_bytes().index(pixels.tobytes())

    def fewer(content):
        content[where : where + pixels.nbytes] = np.where(pixels == 1, 0, pixels).astype(pixels.dtype).tobytes()

    replaced(mask, fewer)
    findings = cohort.run(rows)
    assert "left as they were: 3 of 3 images, 2 of 3 masks" in findings["read"]
    assert cohort.check_as_from_scratch(rows)[0] == {"S2"}


def test_stages_that_are_asked_for_keep_nothing(unmasked):
    rows = unmasked.rows.iloc[:2]
    unmasked.run(rows)
    for stage in STAGES:
        unmasked.encoded.clear()
        unmasked.segmented.clear()
        assert main([stage, str(unmasked.out), "--redo", stage]) == 0
        assert unmasked.segmented == ({"S0", "S1"} if stage == "segment" else set())
        assert unmasked.encoded == ({"S0", "S1"} if stage == "embed" else set())
        assert "before" not in said(unmasked.out)[stage]


@pytest.mark.slow
def test_with_other_settings_all_is_segmented_anew(unmasked):
    rows = unmasked.rows.iloc[:3]
    unmasked.run(rows)
    config = unmasked.folder / "config.yaml"
    config.write_text(config.read_text().replace("diameter: 5", "diameter: 6"))
    unmasked.run(rows)
    assert unmasked.segmented == {"S0", "S1", "S2"}
    unmasked.check_as_from_scratch(rows)


def test_an_image_that_was_edited_in_the_results_is_read_again(cohort):
    config, store = str(cohort.folder / "config.yaml"), cohort.out / "cohort.zarr"
    cohort.rows.iloc[:2].to_csv(cohort.folder / "cohort.csv", index=False)
    assert main(["read", config]) == 0
    before = sd.read_zarr(store)["image_S1"].data.compute()
    chunk = next(path for path in (store / "images" / "image_S1").rglob("*") if path.name.isdigit() and path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    cohort.rows.iloc[:3].to_csv(cohort.folder / "cohort.csv", index=False)
    assert main(["read", config]) == 0
    assert "left as they were: 1 of 3 images" in said(cohort.out)["read"]
    np.testing.assert_array_equal(sd.read_zarr(store)["image_S1"].data, before)


def test_a_ledger_that_is_damaged_keeps_nothing(cohort):
    cohort.run(cohort.rows.iloc[:2])
    (cohort.out / "stages" / "read_kept.json").write_text("{")
    findings = cohort.run(cohort.rows.iloc[:3])
    assert "before" not in findings["read"]
    assert cohort.encoded == {"S2"}  # pixels are known by themselves


SLOW = pytest.mark.slow


@pytest.mark.parametrize("step", [pytest.param("write", marks=SLOW), "move", pytest.param("put", marks=SLOW)])
def test_reading_that_fails_leaves_the_old_images_and_goes_on(cohort, monkeypatch, step):
    rows = cohort.rows
    cohort.run(rows.iloc[:3])
    with monkeypatch.context() as patch:

        def stopped(*args, **kwargs):
            raise KeyboardInterrupt

        if step == "write":
            patch.setattr(sd.SpatialData, "write", stopped)
        elif step == "move":
            patch.setattr("zarr.consolidate_metadata", stopped)
        else:
            patch.setattr(writing, "_put", stopped)
        rows.iloc[:4].to_csv(cohort.folder / "cohort.csv", index=False)
        assert main(["read", str(cohort.folder / "config.yaml")]) == 130
    assert len(sd.read_zarr(cohort.out / "cohort.zarr").images) == 3
    assert not [path for path in cohort.out.iterdir() if path.name.startswith(".")]
    findings = cohort.run(rows.iloc[:4])
    assert "left as they were: 3 of 4 images" in findings["read"]
    assert cohort.check_as_from_scratch(rows.iloc[:4])[0] == {"S3"}


def test_other_versions_of_what_reads_keep_nothing(cohort, monkeypatch):
    cohort.run(cohort.rows.iloc[:2])
    monkeypatch.setattr(_kept, "version_of", lambda package: "another")
    findings = cohort.run(cohort.rows.iloc[:3])
    assert "before" not in findings["read"]
