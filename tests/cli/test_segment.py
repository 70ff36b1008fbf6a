"""``spatialfm segment``: masks where there are none, those that are there, and none that is out of date."""

from __future__ import annotations

import json

import numpy as np
import pytest
import spatialdata as sd
import tifffile
from cli_cohort import SIDE, write_cohort
from small_head import untrained_set

import spatialfm as sfm
from spatialfm.cli import main
from spatialfm.cli.segment import samples_of_one_number


@pytest.fixture
def unmasked(tmp_path):
    """A cohort that has no masks, read."""
    write_cohort(tmp_path / "data", 2, masks=False)
    assert main(["read", str(tmp_path / "data" / "cohort.csv"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    return tmp_path


def segmented(out, capsys, *options):
    capsys.readouterr()
    assert main(["segment", str(out), "--json", *options]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    return stage["findings"]


def test_cells_that_nobody_drew_are_found(unmasked, capsys):
    import anndata as ad

    found = segmented(unmasked / "out", capsys, "--method", "watershed", "--diameter", "5")
    assert found == ["segmented by 'watershed': 2 samples (S0, S1)", "72 cells in 2 samples, 4 markers measured"]
    table = ad.read_h5ad(unmasked / "out" / "stages" / "segment.h5ad")
    assert table.obs["sample"].value_counts().to_dict() == {"S0": SIDE**2, "S1": SIDE**2}  # as many as were planted
    assert list(sd.read_zarr(unmasked / "out" / "masks.zarr").labels) == ["cells_S0", "cells_S1"]
    assert not sd.read_zarr(unmasked / "out" / "cohort.zarr").labels  # what was read stays as it was read


def test_samples_without_a_cell_are_named_and_left_out(tmp_path, capsys):
    import anndata as ad

    write_cohort(tmp_path, 3)
    mask = tifffile.imread(tmp_path / "S1_mask.tif")
    tifffile.imwrite(tmp_path / "S1_mask.tif", np.zeros_like(mask))
    assert main(["read", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["segment", str(tmp_path / "out"), "--json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert [one for one in stage["notes"] if "without a cell" in one] == [
        "1 sample has a mask without a cell, and so no row in the table of cells: 'S1'."
    ]
    table = ad.read_h5ad(tmp_path / "out" / "stages" / "segment.h5ad")
    assert table.obs["sample"].value_counts().to_dict() == {"S0": SIDE**2, "S2": SIDE**2}


def test_phenotypes_of_the_network_go_with_the_cells(unmasked, capsys):
    import anndata as ad

    head = str(untrained_set(unmasked / "virtues-sp31"))
    found = segmented(unmasked / "out", capsys, "--method", "virtues", "--weights", head)
    table = ad.read_h5ad(unmasked / "out" / "stages" / "segment.h5ad")
    assert found[0] == "segmented by 'virtues': 2 samples (S0, S1)"
    assert "phenotypes by VirTues, in column 'virtues_phenotype': " in found[-2]
    sdata = sd.read_zarr(unmasked / "out" / "cohort.zarr")
    sfm.pp.segment_cells(sdata, "virtues", weights=head)
    said = sdata["cells_phenotypes"].obs
    assert table.n_obs == len(said) > 5
    assert table.obs["virtues_phenotype"].astype(str).to_dict() == said["phenotype"].astype(str).to_dict()
    assert table.obs["virtues_phenotype_share"].between(0, 1).all()


def test_cells_that_are_numbered_anew_have_no_phenotypes(unmasked, capsys):
    options = ["--method", "virtues", "--weights", "virtues-sp31", "--on-pieces", "split"]
    assert main(["segment", str(unmasked / "out"), *options]) == 1
    assert "segment.on_pieces: 'split' numbers cells anew" in capsys.readouterr().err


def test_masks_that_come_later_take_the_place_of_those_made_here(unmasked, capsys):
    segmented(unmasked / "out", capsys, "--method", "watershed", "--diameter", "5")
    write_cohort(unmasked / "data", 2)
    assert main(["read", str(unmasked / "out"), "--quiet"]) == 0
    found = segmented(unmasked / "out", capsys)
    assert found[0] == "every sample has a mask: nothing to segment"
    assert not (unmasked / "out" / "masks.zarr").exists()


def test_without_a_method_the_samples_are_named(unmasked, capsys):
    assert main(["segment", str(unmasked / "out")]) == 1
    assert "2 samples without mask: 'S0', 'S1'" in capsys.readouterr().err
    assert not list((unmasked / "out" / "stages").glob("*.h5ad"))


def test_methods_and_channels_are_checked_before_anything_is_done(unmasked, capsys):
    assert main(["segment", str(unmasked / "out"), "--method", "watershd"]) == 1
    assert "segment.method: 'watershd' is not" in capsys.readouterr().err
    assert main(["segment", str(unmasked / "out"), "--method", "watershed", "--nuclear", "DAPY"]) == 1
    assert "segment.nuclear: no channel is the marker 'DAPY'. Did you mean 'DAPI'?" in capsys.readouterr().err


@pytest.mark.parametrize("merged", [False, True])
def test_a_mask_of_where_cells_are_is_refused_before_anything_is_read(merged, tmp_path, capsys):
    write_cohort(tmp_path, 2)
    path = tmp_path / "S1_mask.tif"
    mask = tifffile.imread(path)
    if merged:  # all cells touch: one piece, of more than 10,000 µm²
        mask = np.ones_like(mask)
    tifffile.imwrite(path, (mask > 0) * np.uint8(255))
    arguments = ["run", str(tmp_path / "cohort.csv"), "--out", str(tmp_path / "out")]
    arguments += ["--set", "read.mpp=3"] if merged else []
    assert main(arguments) == 1
    said = capsys.readouterr().err
    for part in (
        "1 sample has one number besides 0: 'S1'",
        "labels_encoding: rgb",
        "method: watershed",
        "on_pieces: keep",
    ):
        assert part in said
    assert not (tmp_path / "out").exists()


def test_a_single_cell_of_the_largest_number_is_not_taken_for_a_mask_of_where_cells_are(tmp_path):
    write_cohort(tmp_path, 2)
    path = tmp_path / "S1_mask.tif"
    tifffile.imwrite(path, (tifffile.imread(path) == 8) * np.uint8(255))
    assert samples_of_one_number(sfm.io.read_cohort(tmp_path / "cohort.csv", cell_table=False)) == []
