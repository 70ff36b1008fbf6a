"""Tables and files of a data set in spora's layout."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from spatialfm._errors import InputFileError, PanelError
from spatialfm.io._spora_folder import SporaLayout, find_layout, read_annotations, read_panel, read_tissues

CHANNELS = pd.DataFrame({"channel_name": ["CD3", "CD20", "DNA"], "qc_pass": [True, False, True]})
MEASURED = pd.DataFrame({"CD20": [1, 0], "CD3": [1, 1]}, index=pd.Index(["a", "b"], name="tissue_id"))


@pytest.fixture
def write(tmp_path):
    def make(channels=CHANNELS, measured=MEASURED, modality="imc", resolution="1_0mpp", images=("a", "b"), **metadata):
        folder = tmp_path / modality
        (folder / resolution / "images").mkdir(parents=True, exist_ok=True)
        for name in images:
            (folder / resolution / "images" / f"{name}.ome.zarr").mkdir()
        channels.to_parquet(folder / "channels.parquet")
        measured.to_parquet(folder / "channels_per_tissue.parquet")
        (tmp_path / "metadata").mkdir(exist_ok=True)
        for name, table in metadata.items():
            table.to_parquet(tmp_path / "metadata" / f"{name}.parquet")
        return tmp_path

    return make


def layout(root, *images) -> SporaLayout:
    files = {name: Path(name) for name in images or ("a", "b")}
    return SporaLayout(root, "imc", files, root, root, None, None, 1.0)


def test_a_modality_and_its_size_are_found(write):
    found = find_layout(write(), None, None)
    assert (found.modality, list(found.images), found.mpp) == ("imc", ["a", "b"], 1.0)
    assert found.statistics is None
    assert list(find_layout(found.root, "imc", ["b"]).images) == ["b"]
    with pytest.raises(InputFileError, match="samples= names 'x', of which there is no image"):
        find_layout(found.root, None, ["x"])


def test_one_of_several_modalities_must_be_chosen(write):
    root = write()
    write(modality="codex")
    with pytest.raises(InputFileError, match="has images of 'codex', 'imc'"):
        find_layout(root, None, None)
    assert find_layout(root, "codex", None).modality == "codex"
    with pytest.raises(InputFileError, match="of 'mibi'; it has 'codex', 'imc'"):
        find_layout(root, "mibi", None)


def test_the_size_is_that_of_the_only_folder(write):
    assert find_layout(write(resolution="0_65mpp"), None, None).mpp == 0.65


def test_other_folders_are_refused(write, tmp_path):
    with pytest.raises(InputFileError, match="is not a data set in spora's layout"):
        find_layout(tmp_path, None, None)
    with pytest.raises(InputFileError, match="names that cannot name elements"):
        find_layout(write(images=("a b",)), None, None)


def test_channels_of_an_image_are_those_that_it_has_in_the_order_of_the_table(write):
    panel = read_panel(layout(write()))
    assert panel.names("a") == ["CD20", "CD3"]
    assert panel.names("b") == ["CD3"]
    assert panel.passed == {"CD3", "DNA"}


def test_accessions_are_those_of_the_channels_that_have_one(write):
    root = write(CHANNELS.assign(uniprot_id=["P07766", None, None]))
    assert read_panel(layout(root)).accessions == {"CD3": "P07766"}


@pytest.mark.parametrize(
    ("channels", "measured", "message"),
    [
        (CHANNELS.iloc[[0, 0]], MEASURED, "channels.parquet' has the channel 'CD3' twice"),
        (CHANNELS.iloc[:1], MEASURED, "has channels that channels.parquet lacks: 'CD20'"),
        (CHANNELS, MEASURED.iloc[:1], "has no row for 1 image: 'b'"),
        (CHANNELS, MEASURED.iloc[[0, 1, 1]], "has an image twice"),
        (CHANNELS, MEASURED.assign(CD3=["yes", "perhaps"]), "has 'perhaps' in column 'CD3'"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(write, channels, measured, message):
    with pytest.raises(PanelError, match=message):
        read_panel(layout(write(channels, measured)))


def test_the_word_false_is_not_true(write):
    words = MEASURED.astype(object).assign(CD20=["False", ""], CD3=["TRUE", "1"])
    panel = read_panel(layout(write(measured=words)))
    assert panel.names("a") == ["CD3"]
    assert panel.names("b") == ["CD3"]


def test_an_index_that_was_written_along_is_no_channel(write):
    panel = read_panel(layout(write(measured=MEASURED.assign(level_0=[0, 1], index=[0, 1]))))
    assert list(panel.measured.columns) == ["CD20", "CD3"]


def test_rows_of_images_are_those_of_their_modality(write):
    tissues = pd.DataFrame({"tissue_id": ["b", "a", "a", "c"], "patient_id": ["p2", "p1", "q", "p3"]})
    tissues["modality"] = ["IMC", "imc", "codex", "imc"]
    frame, without = read_tissues(layout(write(tissues=tissues)))
    assert frame["patient_id"].to_dict() == {"a": "p1", "b": "p2"}
    assert without == 1
    with pytest.raises(InputFileError, match="has no row of 'imc' for 'd'"):
        read_tissues(layout(write(modality="x", images=(), tissues=tissues), "d"))


def test_annotations_of_cells_are_those_of_the_images(write):
    root = write(cells=pd.DataFrame({"tissue_id": ["a", "x"], "cell_id": [4, 5], "type": ["T", "B"], "index": [0, 1]}))
    assert read_annotations(layout(root)).to_dict("list") == {"sample": ["a"], "cell_id": [4], "type": ["T"]}
    assert read_annotations(layout(root, "z")) is None
    (root / "metadata" / "cells.parquet").unlink()
    assert read_annotations(layout(root)) is None
