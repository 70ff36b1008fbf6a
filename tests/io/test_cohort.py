"""A cohort from a table: what it holds, and that everything wrong is told at once."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile
from spatialdata import read_zarr

import spatialfm as sfm
from spatialfm._errors import ClinicalError, InputFileError, PanelError, SpatialfmWarning
from spatialfm.io._assemble import panel_difference

NAMES = ["DAPI", "CD3", "CD8", "CD20", "Ki67"]


def write_ome(path, pixels, names=NAMES, mpp=0.5):
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
    tifffile.imwrite(path, pixels, metadata=metadata, compression="zlib")


@pytest.fixture
def cohort(tmp_path, pixels, mask):
    """Three samples of two patients, in a folder next to the table; sizes differ."""
    folder = tmp_path / "study" / "tiff"
    folder.mkdir(parents=True)
    rows = []
    for i, (sample, patient) in enumerate([("001", "07"), ("002", "07"), ("s3", "11")]):
        write_ome(folder / f"{sample}.ome.tif", pixels[:, i:])
        tifffile.imwrite(folder / f"{sample}_mask.tif", mask[i:])
        rows.append(
            {
                "sample": sample,
                "image": f"tiff/{sample}.ome.tif",
                "labels": f"tiff/{sample}_mask.tif",
                "patient": patient,
                "grade": [2, 3, 3][i],
                "subtype": ["LumA", None, "HER2"][i],
                "time": [10.5, 3.0, np.nan][i],
                "responder": [True, False, True][i],
            }
        )
    return pd.DataFrame(rows), tmp_path / "study"


def test_everything_a_cohort_holds(cohort, pixels, mask):
    frame, folder = cohort
    frame.to_csv(folder / "cohort.csv", index=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sdata = sfm.io.read_cohort(folder / "cohort.csv")
    samples = ["001", "002", "s3"]
    assert list(sdata.images) == [f"image_{s}" for s in samples]
    assert list(sdata.labels) == [f"cells_{s}" for s in samples]
    assert sorted(sdata.coordinate_systems) == samples
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(sdata.images[f"image_{sample}"].values, pixels[:, i:])
        np.testing.assert_array_equal(sdata.labels[f"cells_{sample}"].values, mask[i:])

    table = sdata["samples"]
    assert table.shape == (3, 0)
    assert list(table.obs_names) == samples
    assert list(table.obs.columns) == ["patient", "grade", "subtype", "time", "responder"]
    assert list(table.obs["patient"]) == ["07", "07", "11"]
    assert table.obs["grade"].tolist() == [2, 3, 3]
    assert table.obs["subtype"].isna().tolist() == [False, True, False]
    assert table.obs["time"].isna().tolist() == [False, False, True]
    assert table.obs["responder"].tolist() == [True, False, True]

    cells = sdata["table"]
    assert cells.n_obs == 9
    assert cells.obs_names[0] == "001_1"
    assert list(cells.obs["patient"]) == ["07"] * 6 + ["11"] * 3
    assert list(cells.obs["grade"]) == [2] * 3 + [3] * 6
    np.testing.assert_allclose(cells.X[0], pixels[:, mask == 1].mean(axis=1), rtol=1e-6)

    assert set(sdata.attrs["spatialfm"]["samples"]) == set(samples)
    assert sdata.attrs["spatialfm"]["panel"] == {"union": NAMES, "samples": dict.fromkeys(samples, NAMES)}


def test_it_can_be_written_and_read_back(cohort, tmp_path):
    frame, folder = cohort
    sdata = sfm.io.read_cohort(frame, base_path=folder)
    back = read_zarr(sfm.io.write(sdata, tmp_path / "cohort.zarr"))
    assert back.attrs["spatialfm"] == sdata.attrs["spatialfm"]
    obs = back["samples"].obs
    assert list(obs.index) == ["001", "002", "s3"]
    assert obs["subtype"].isna().tolist() == [False, True, False]
    assert obs["time"].tolist()[:2] == [10.5, 3.0]
    np.testing.assert_array_equal(back["table"].X, sdata["table"].X)
    for name in sdata.images:
        np.testing.assert_array_equal(back.images[name].values, sdata.images[name].values)


def test_pixels_stay_on_disk(cohort, count_decoding):
    frame, folder = cohort
    sfm.io.read_cohort(frame, base_path=folder, cell_table=False)
    assert count_decoding == {"segments": 0, "raw": 0}


def test_tables_of_other_kinds(cohort, tmp_path, monkeypatch):
    frame, folder = cohort
    frame.to_csv(folder / "cohort.tsv", sep="\t", index=False)
    by_path = sfm.io.read_cohort(folder / "cohort.tsv", cell_table=False)
    monkeypatch.chdir(folder)
    numbers = frame.assign(sample=[1, 2, 3], patient=[7.0, 7.0, 11.0])
    by_frame = sfm.io.read_cohort(numbers, cell_table=False)
    assert list(by_path.images) == ["image_001", "image_002", "image_s3"]
    assert list(by_frame.images) == ["image_1", "image_2", "image_3"]
    assert list(by_frame["samples"].obs["patient"]) == ["7", "7", "11"]
    assert numbers["patient"].tolist() == [7.0, 7.0, 11.0]  # the user's frame is left alone


def test_other_columns_pixel_sizes_and_samples_without_mask(cohort, pixels):
    frame, folder = cohort
    for sample in ("002", "s3"):
        write_ome(folder / f"tiff/{sample}.ome.tif", pixels[:, int(sample[-1]) - 1 :], mpp=None)
    frame = frame.rename(columns={"sample": "roi", "image": "file", "labels": "cells", "patient": "case"})
    frame["um"] = [np.nan, 0.25, np.nan]
    frame.loc[1, "cells"] = None
    sdata = sfm.io.read_cohort(
        frame,
        library_key="roi",
        image_column="file",
        labels_column="cells",
        patient_key="case",
        mpp_column="um",
        clinical_keys=["grade"],
        mpp=0.5,
        base_path=folder,
    )
    records = sdata.attrs["spatialfm"]["samples"]
    assert [records[sample]["mpp"] for sample in ("001", "002", "s3")] == [0.5, 0.25, 0.5]
    assert list(sdata.labels) == ["cells_001", "cells_s3"]
    assert list(sdata["samples"].obs.columns) == ["patient", "grade"]
    assert set(sdata["table"].obs["sample"]) == {"001", "s3"}
    no_masks = sfm.io.read_cohort(
        frame.drop(columns="cells"),
        library_key="roi",
        image_column="file",
        patient_key="case",
        mpp=0.5,
        base_path=folder,
    )
    assert list(no_masks.tables) == ["samples"]


def test_samples_with_different_panels(cohort, pixels):
    frame, folder = cohort
    write_ome(folder / "tiff/002.ome.tif", pixels[:4, 1:], names=["CD8", "DAPI", "CD3", "FOXP3"])
    with pytest.warns(SpatialfmWarning) as caught:
        sdata = sfm.io.read_cohort(frame, base_path=folder)
    (message,) = [str(w.message) for w in caught if w.category is SpatialfmWarning and "panels" in str(w.message)]
    for part in ("3 channels of 6", "'CD20' is not in '002'", "'FOXP3' is not in '001', 's3'", "All samples are kept"):
        assert part in message
    panel = sdata.attrs["spatialfm"]["panel"]
    assert panel["union"] == [*NAMES, "FOXP3"]
    assert panel["samples"]["002"] == ["CD8", "DAPI", "CD3", "FOXP3"]
    assert list(sdata["table"].var_names) == [*NAMES, "FOXP3"]
    assert np.isnan(sdata["table"][sdata["table"].obs["sample"] == "002", "CD20"].X).all()
    assert panel_difference({"a": ["x", "y"], "b": ["y", "x"]}) == ""


def test_panels_of_65535_channels_are_compared_at_once():
    names = [f"channel {i}" for i in range(65_535)]
    start = time.process_time()
    assert "1 channel of 65535" in panel_difference({"a": names, "b": names[:-1]}).replace(",", "")
    assert time.process_time() - start < 5  # each with all others took minutes


def test_everything_wrong_is_told_at_once_before_reading(cohort, monkeypatch):
    frame, folder = cohort
    wrong = pd.concat([frame, frame.iloc[[0]], frame.iloc[[2]].assign(sample="a b"), frame.iloc[[2]]])
    wrong = wrong.reset_index(drop=True)
    wrong.loc[1, "image"] = "tiff/gone.tif"
    wrong.loc[2, "labels"] = "tiff/gone_mask.tif"
    wrong.loc[1, "patient"] = None
    wrong.loc[5, "sample"] = "S3"
    wrong["mpp"] = [0.5, 0.5, -1, 0.5, 0.5, 0.5]
    monkeypatch.setattr("spatialfm.io._elements.read_sample", None)  # opening any file would be another error
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(InputFileError) as caught:
        sfm.io.read_cohort(wrong, base_path=folder)
    message = str(caught.value)
    for part in (
        "6 problems",
        "row 1 (sample '002'): no patient in column 'patient'",
        f"row 1 (sample '002'): no file '{folder / 'tiff/gone.tif'}'",
        f"row 2 (sample 's3'): no file '{folder / 'tiff/gone_mask.tif'}'",
        "row 2 (sample 's3'): -1.0 in column 'mpp' is not a pixel size",
        "row 3: sample '001' is also in row 0",
        "row 5: sample 'S3' is also in row 2",
    ):
        assert part in message, message
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_what_files_refuse_is_told_for_all_of_them(cohort, pixels, mask):
    frame, folder = cohort
    (folder / "tiff/001.ome.tif").write_bytes(b"no image")
    tifffile.imwrite(folder / "tiff/s3_mask.tif", mask[:40])
    with pytest.raises(InputFileError) as caught:
        sfm.io.read_cohort(frame, base_path=folder)
    for part in ("2 problems", "sample '001': ", "is not a TIFF", "sample 's3': ", "40 x 90", "68 x 90"):
        assert part in str(caught.value)
    write_ome(folder / "tiff/001.ome.tif", pixels, names=["a", "a", "b", "c", "d"])
    tifffile.imwrite(folder / "tiff/s3_mask.tif", mask[2:])
    with pytest.raises(PanelError, match=r"sample '001': Duplicate channel names.*'a' at positions \[0, 1\]"):
        sfm.io.read_cohort(frame, base_path=folder)


@pytest.mark.parametrize(
    ("change", "options", "error", "parts"),
    [
        ({"patient": None}, {}, ClinicalError, ["no column 'patient'", "'sample', 'image'", "patient_key=<column>"]),
        ({}, {"image_column": "path"}, ClinicalError, ["no column 'path'", "image_column=<column>"]),
        ({}, {"labels_column": "path"}, ClinicalError, ["no column 'path'", "labels_column=None"]),
        ({}, {"clinical_keys": ["age"]}, ClinicalError, ["clinical_keys names 'age'", "'grade'"]),
        ({"case": "grade"}, {"patient_key": "case"}, ClinicalError, ["Column 'patient'", "patient_key"]),
        ({"day": "2020-01-01"}, {}, ClinicalError, ["'day'", "dates", "number of days"]),
    ],
)
def test_columns_that_are_missing_or_cannot_be_kept(cohort, change, options, error, parts):
    frame, folder = cohort
    for column, value in change.items():
        if value is None:
            frame = frame.drop(columns=column)
        else:
            frame[column] = frame[value] if value in frame else pd.Timestamp(value)
    with pytest.raises(error) as caught:
        sfm.io.read_cohort(frame, base_path=folder, **options)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_tables_that_are_none(tmp_path, cohort):
    frame, folder = cohort
    with pytest.raises(InputFileError, match=r"No file '.*cohort\.csv'"):
        sfm.io.read_cohort(tmp_path / "cohort.csv")
    (tmp_path / "cohort.xlsx").write_bytes(b"PK")
    with pytest.raises(InputFileError, match=r"cohort\.xlsx' is a spreadsheet.*CSV UTF-8.*read_excel.*openpyxl"):
        sfm.io.read_cohort(tmp_path / "cohort.xlsx")
    with pytest.raises(InputFileError, match="has no rows"):
        sfm.io.read_cohort(frame.iloc[:0])


def test_one_mask_for_two_images_is_said(tmp_path, pixels, mask):
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    tifffile.imwrite(tmp_path / "m.tif", mask)
    rows = [{"sample": s, "image": f"{s}.tif", "labels": "m.tif", "patient": "p"} for s in "ab"]
    with pytest.warns(SpatialfmWarning, match=r"Samples 'a', 'b' have the same mask '.*m\.tif'\. Correct the paths"):
        sfm.io.read_cohort(pd.DataFrame(rows), base_path=tmp_path, mpp=1.0, cell_table=False)


def test_samples_without_mask_among_others_are_said(tmp_path, pixels, mask):
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    tifffile.imwrite(tmp_path / "m.tif", mask)
    rows = [{"sample": s, "image": f"{s}.tif", "labels": "m.tif" if s == "a" else None, "patient": "p"} for s in "abc"]
    with pytest.warns(SpatialfmWarning, match=r"2 samples have no path in column 'labels'.*: 'b', 'c'\."):
        sdata = sfm.io.read_cohort(pd.DataFrame(rows), base_path=tmp_path, mpp=1.0)
    assert sdata["table"].obs["sample"].unique().tolist() == ["a"]
    assert sdata["samples"].obs_names.tolist() == ["a", "b", "c"]


def test_warnings_come_once_for_all_samples(tmp_path, pixels):
    rows = []
    for i in range(5):
        tifffile.imwrite(tmp_path / f"s{i}.tif", pixels)
        rows.append({"sample": f"s{i}", "image": f"s{i}.tif", "patient": "p"})
    rows.append({"sample": "again", "image": "s0.tif", "patient": "q"})
    with pytest.warns(SpatialfmWarning) as caught:
        sfm.io.read_cohort(pd.DataFrame(rows), base_path=tmp_path)
    messages = [str(w.message) for w in caught if w.category is SpatialfmWarning]
    assert len(messages) == 3
    assert all(w.filename == __file__ for w in caught if w.category is SpatialfmWarning)
    assert "'s0', 'again' have the same image" in messages[0]
    assert "No pixel size" in messages[1]
    assert "and 3 more" in messages[1]
    assert "No channel names" in messages[2]


@pytest.mark.parametrize(("encoding", "separator"), [("utf-16", ";"), ("cp1252", ";"), ("utf-8-sig", "\t")])
def test_tables_as_spreadsheets_save_them(tmp_path, pixels, encoding, separator):
    rows = [
        ["Probe", "Bild", "Maske", "Patient", "Größe", "Alter", ""],
        ["001", "a.ome.tif", "NA", "07", "1,5", "61", ""],
    ]
    rows += [["NA", "b.ome.tif", "", "7", "2,25", "48", ""]]
    text = "".join(separator.join(row) + "\r\n" for row in rows)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    for name in "ab":
        write_ome(tmp_path / f"{name}.ome.tif", pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error" if encoding != "cp1252" else "ignore", SpatialfmWarning)
        sdata = sfm.io.read_cohort(
            tmp_path / "t.csv", library_key="Probe", image_column="Bild", labels_column="Maske", patient_key="Patient"
        )
    assert list(sdata.images) == ["image_001", "image_NA"]
    assert not list(sdata.labels)
    obs = sdata["samples"].obs
    assert list(obs["patient"]) == ["07", "7"]
    assert list(obs["Größe"]) == [1.5, 2.25]
    assert list(obs["Alter"]) == [61, 48]
    assert list(obs) == ["patient", "Größe", "Alter"]


def test_a_patient_that_reads_like_a_missing_value_is_asked_about(cohort):
    frame, folder = cohort
    frame["patient"] = ["07", "NA", "NA"]
    frame.to_csv(folder / "cohort.csv", index=False)
    with pytest.raises(InputFileError, match=r"'patient'.*reads 'NA' in 2 rows, from row 1 on"):
        sfm.io.read_cohort(folder / "cohort.csv")
    sdata = sfm.io.read_cohort(frame, base_path=folder, cell_table=False)  # a frame is taken as it is
    assert list(sdata["samples"].obs["patient"]) == ["07", "NA", "NA"]


def test_samples_without_a_cell_are_kept_and_named_once(tmp_path, pixels, mask):
    for name in "abc":
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
        tifffile.imwrite(tmp_path / f"{name}_mask.tif", mask if name == "a" else np.zeros_like(mask))
    frame = pd.DataFrame({"sample": list("abc"), "patient": list("abc")})
    paths = {"image": "{sample}.tif", "labels": "{sample}_mask.tif", "base_path": tmp_path}
    with pytest.warns(SpatialfmWarning) as caught:
        sdata = sfm.io.read_cohort(frame, **paths, mpp=0.5, channel_names=NAMES[: len(pixels)])
    said = [str(one.message) for one in caught if "no cell" in str(one.message)]
    assert len(said) == 1
    assert "'b', 'c'" in said[0]
    assert sdata["table"].obs["sample"].unique().tolist() == ["a"]
    assert sdata["samples"].obs_names.tolist() == ["a", "b", "c"]
