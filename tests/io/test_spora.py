"""Data sets in spora's layout: channels, splits, annotations, and statistics that an embedding takes."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import zarr
from reading_spora import CHANNELS, PASSED, STATISTICS, write_data_set
from stand_in import StandIn

import spatialfm as sfm
from spatialfm._errors import InputFileError, PanelError, SpatialfmWarning

pytestmark = pytest.mark.filterwarnings("ignore:Samples have different panels:spatialfm._errors.SpatialfmWarning")


def test_split_patients_and_annotations_are_columns(tmp_path):
    samples = write_data_set(tmp_path)
    sdata = sfm.io.read_spora(tmp_path)
    obs = sdata["samples"].obs
    assert obs.columns.tolist() == ["patient", "modality", "split", "overall_survival"]
    assert obs["split"].tolist() == ["train", "test"]
    table = sdata["table"]
    np.testing.assert_array_equal(table.obs["cell_type_atlas"] == "T cell", table.obs["cell_id"] % 3 == 0)
    assert table.obs.groupby("split", observed=True)["sample"].unique().map(list).to_dict() == {
        "train": [samples[0].name],
        "test": [samples[1].name],
    }
    for sample in samples:
        tissue = sdata[f"tissue_{sample.name}"]
        assert tissue.dtype == np.uint8
        np.testing.assert_array_equal(tissue.values, sample.labels > 0)
    record = sdata.attrs["spatialfm"]
    assert record["panel"]["uniprot"] == {"CD3": "P07766", "CD20": "P11836", "CD68": "P34810"}
    assert record["spora"] == {
        "dataset": tmp_path.name,
        "modality": "imc",
        "statistics": str((tmp_path / STATISTICS).resolve()),
    }


def test_channels_that_failed_and_masks_on_request(tmp_path):
    first, _ = write_data_set(tmp_path)
    everything = sfm.io.read_spora(tmp_path, samples=first.name, qc_pass=False, tissue=False, cell_table=False)
    image = everything[f"image_{first.name}"]
    assert image.coords["c"].values.tolist() == list(CHANNELS)
    np.testing.assert_array_equal(image.values[[0, 1, 2, 4]], first.pixels)
    assert list(everything.labels) == [f"cells_{first.name}"]
    assert list(everything["samples"].obs_names) == [first.name]


@pytest.mark.parametrize("words", [("True", "False"), ("yes", "no"), (1.0, 0.0), (1, 0)])
def test_truth_is_read_as_it_is_written(tmp_path, words):
    """The word False is not empty, and so would be true."""
    samples = write_data_set(tmp_path)
    expected = sfm.io.read_spora(tmp_path, cell_table=False, tissue=False)
    for name in ("channels_per_tissue.parquet", "channels.parquet"):
        path = next((tmp_path / "imc").rglob(name), None)
        if path is None:
            continue
        frame = pd.read_parquet(path)
        truths = [one for one in frame if pd.api.types.is_bool_dtype(frame[one].dtype)]
        assert truths
        frame[truths] = frame[truths].map(lambda value: words[0] if value else words[1])
        frame.to_parquet(path)
    found = sfm.io.read_spora(tmp_path, cell_table=False, tissue=False)
    for sample in samples:
        channels = found[f"image_{sample.name}"].coords["c"].values.tolist()
        assert channels == expected[f"image_{sample.name}"].coords["c"].values.tolist()


def test_truth_that_is_neither_is_refused(tmp_path):
    from spatialfm.io._spora_folder import _truths

    frame = pd.DataFrame({"CD3": [True, None, "maybe"]})
    with pytest.raises(PanelError, match="has 'maybe' in column 'CD3', which is neither true nor false"):
        _truths(frame, tmp_path / "m.parquet")
    assert _truths(frame[:2], tmp_path)["CD3"].tolist() == [True, False]


def test_rows_of_another_modality_are_not_taken(tmp_path):
    """The same tissue was imaged twice, and split in another way."""
    write_data_set(tmp_path)
    path = tmp_path / "metadata/tissues.parquet"
    frame = pd.read_parquet(path)
    pd.concat([frame.assign(modality="codex", split=["test", "train"]), frame]).to_parquet(path)
    assert sfm.io.read_spora(tmp_path, cell_table=False)["samples"].obs["split"].tolist() == ["train", "test"]


def test_what_was_not_downloaded_is_said(tmp_path):
    first, second = write_data_set(tmp_path)
    shutil.rmtree(tmp_path / "imc/1_0mpp/images" / f"{second.name}.ome.zarr")
    (tmp_path / "segmentations/1_0mpp/cell_masks/instances" / f"{first.name}.npz").unlink()
    with pytest.warns(SpatialfmWarning) as warned:
        sdata = sfm.io.read_spora(tmp_path)
    said = " ".join(str(one.message) for one in warned)
    assert "1 row of tissues.parquet has no image of 'imc'" in said
    assert f"1 sample has no mask in '{tmp_path}/segmentations/1_0mpp/cell_masks/instances'" in said
    assert "table" not in sdata.tables


def test_cells_of_images_without_mask_are_not_asked_for(tmp_path):
    first, second = write_data_set(tmp_path)
    (tmp_path / "segmentations/1_0mpp/cell_masks/instances" / f"{second.name}.npz").unlink()
    with pytest.warns(SpatialfmWarning, match="1 sample has no mask"):
        sdata = sfm.io.read_spora(tmp_path)
    assert sdata["table"].obs["sample"].unique().tolist() == [first.name]
    assert (sdata["table"].obs["cell_type_atlas"] == "T cell").sum() == (np.unique(first.labels)[1:] % 3 == 0).sum()


class Tokens(StandIn):
    """A model whose pixels are prepared as VirTues' are, without its weights."""

    card = dataclasses.replace(
        sfm.models.card("virtues"),
        name="tokens",
        marker_vocabulary="none",
        outputs=("patch", "summary"),
        default_output="patch",
        embedding_dim=None,
    )
    options: dict = {}

    def look(self, pixels):
        tokens = pixels.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).mean((-1, -3))  # (b, m, h / 8, w / 8)
        return {"patch": pixels.mean((-1, -2)), "summary": tokens.permute(0, 2, 3, 1)}


def test_an_embedding_takes_the_published_statistics(tmp_path):
    first, _ = write_data_set(tmp_path, side=130)
    sdata = sfm.io.read_spora(tmp_path, samples=first.name)
    statistics = sdata.attrs["spatialfm"]["spora"]["statistics"]
    adata = sfm.tl.embed_cells(
        sdata, Tokens(), recipe={"statistics": statistics}, panel={"on_unknown": "keep", "nuisance": "keep"}, copy=True
    )
    record = sfm.get.record(adata, "X_tokens")
    means = {name: (CHANNELS.index(name) + 1) / 2 for name in PASSED}
    assert record["normalization_mean"] == list(means.values())
    assert record["normalization_std"] == pytest.approx([2 / 3 * mean for mean in means.values()])
    assert record["clip_source"] == {first.name: "published"}
    assert record["clip"][first.name] == [6.0 + CHANNELS.index(name) for name in PASSED]


def test_folders_that_are_something_else(tmp_path):
    with pytest.raises(InputFileError, match="not a data set in spora's layout"):
        sfm.io.read_spora(tmp_path)
    write_data_set(tmp_path)
    with pytest.raises(InputFileError, match="no channels.parquet of 'codex'; it has 'imc'"):
        sfm.io.read_spora(tmp_path, "codex")
    (tmp_path / "metadata/tissues.parquet").unlink()
    with pytest.raises(InputFileError, match="No file '.*tissues.parquet'"):
        sfm.io.read_spora(tmp_path)


@pytest.mark.real_data
def test_cords_2024(real_data, tmp_path):
    """The published files of one image; its pixels, which are not among them, are made up."""
    if not (real_data / "cords_spora").is_dir():
        pytest.skip("no data set of spora")
    name = "cords2024cancer_ocmzljpb_0001"
    with pytest.raises(InputFileError, match=f"'{name}': .* has metadata but no pixels"):
        sfm.io.read_spora(real_data / "cords_spora")
    folder = tmp_path / "cords"
    shutil.copytree(real_data / "cords_spora", folder)
    stored = zarr.open_array(str(folder / f"imc/1_0mpp/images/{name}.ome.zarr/0"), mode="r+")
    corner = np.random.default_rng(0).poisson(3, (43, 60, 50)).astype("float32")
    stored[:, :60, :50] = corner
    sdata = sfm.io.read_spora(folder, cell_table=False)
    image = sdata[f"image_{name}"]
    assert image.shape == (43, 697, 597)
    np.testing.assert_array_equal(image[:, :60, :50].values, corner)
    # the image's own labels say "Collagen I", "CD45RA" and "vWF"; the table of the data set names both antibodies
    names = image.coords["c"].values.tolist()
    assert names == pd.read_parquet(folder / "imc/channels.parquet")["channel_name"].tolist()
    assert {"Collagen I+Fibronectin", "CD45RA+CD45RO", "CD31+vWF"} <= set(names)
    assert sdata.attrs["spatialfm"]["samples"][name]["mpp"] == 1.0
    assert int(sdata[f"cells_{name}"].max()) == 2185
    stats = pd.read_parquet(folder / "tiling/1_0mpp/default/128_tile_stats.parquet")
    assert int(sdata[f"tissue_{name}"].sum()) == stats["total_valid_pixels"].item()
    row = sdata["samples"].obs.loc[name]
    assert (row["patient"], row["split"], row["overall_survival"], row["grade_merged"]) == (
        "ocmzljpb", "test", 3604, "1-2",
    )  # fmt: skip
    assert sdata.attrs["spatialfm"]["panel"]["uniprot"]["CD31+vWF"] == "P04275"
    assert "Iridium" not in sdata.attrs["spatialfm"]["panel"]["uniprot"]
