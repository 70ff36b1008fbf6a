"""The table of cells: numbers against scipy and skimage, geometry by construction, refusals with nothing written."""

from __future__ import annotations

import json
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from anndata import AnnData
from scipy import ndimage
from skimage.measure import regionprops_table
from spatialdata.transformations import Scale, Sequence, Translation

import spatialfm as sfm
from spatialfm._errors import ClinicalError, ElementError, PanelError, SpatialfmWarning, TableError

MPP = {"axes": ("x", "y")}


@pytest.fixture
def two_samples(make_sdata, make_tissue):
    return make_sdata(s1=make_tissue(1), s2=make_tissue(2, size=70), chunks=(1, 32, 32), mpp=0.5)


def pixels(sdata, sample):
    return sdata[f"image_{sample}"].values, sdata[f"cells_{sample}"].values


def refused(sdata, error, match, **options):
    with pytest.raises(error, match=match):
        sfm.pp.cell_table(sdata, **options)
    assert "table" not in sdata.tables


# ---- what is written ----


def test_table_is_that_of_scipy_and_skimage(two_samples):
    assert sfm.pp.cell_table(two_samples) is None
    table = two_samples["table"]
    start = 0
    for sample in ("s1", "s2"):
        image, labels = pixels(two_samples, sample)
        ids = np.unique(labels)[1:]
        part = table[start : start + len(ids)]
        start += len(ids)
        assert list(part.obs_names) == [f"{sample}_{i}" for i in ids]
        assert set(part.obs["region"]) == {f"cells_{sample}"}
        assert set(part.obs["sample"]) == {sample}
        np.testing.assert_array_equal(part.obs["cell_id"], ids)
        mean = np.stack([ndimage.mean(channel.astype(float), labels, ids) for channel in image], axis=1)
        np.testing.assert_allclose(part.X, mean, rtol=1e-6)
        dense = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        shapes = regionprops_table(
            dense, properties=("area", "centroid", "perimeter", "eccentricity", "solidity", "axis_major_length")
        )
        np.testing.assert_allclose(part.obs["area"], shapes["area"] * 0.25)
        np.testing.assert_allclose(part.obs["perimeter"], shapes["perimeter"] * 0.5)
        np.testing.assert_allclose(part.obs["axis_major_length"], shapes["axis_major_length"] * 0.5)
        np.testing.assert_allclose(part.obs["eccentricity"], shapes["eccentricity"], atol=1e-7)
        np.testing.assert_allclose(part.obs["solidity"], shapes["solidity"])
        centroid = np.stack([shapes["centroid-1"], shapes["centroid-0"]], axis=1)
        np.testing.assert_allclose(part.obsm["spatial"], (centroid + 0.5) * 0.5)
    assert start == table.n_obs
    assert table.X.dtype == np.float32
    assert table.obsm["spatial"].dtype == np.float64
    assert list(table.var_names) == ["m0", "m1", "m2"]
    attrs = table.uns["spatialdata_attrs"]
    assert (attrs["region"], attrs["region_key"], attrs["instance_key"]) == (
        ["cells_s1", "cells_s2"],
        "region",
        "cell_id",
    )


def test_table_annotates_its_labels_and_survives_a_store(two_samples, tmp_path):
    sfm.pp.cell_table(two_samples, quantiles=[0.5])
    matched = sd.match_table_to_element(two_samples, "cells_s2", table_name="table")
    assert matched.n_obs == len(np.unique(two_samples["cells_s2"].values)) - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        two_samples.write(tmp_path / "store.zarr")
        back = sd.read_zarr(tmp_path / "store.zarr")["table"]
    np.testing.assert_array_equal(back.X, two_samples["table"].X)
    assert dict(back.uns["spatialfm"]["table"]) == two_samples["table"].uns["spatialfm"]["table"]
    back.write_h5ad(tmp_path / "table.h5ad")
    assert list(ad.read_h5ad(tmp_path / "table.h5ad").obs["sample"].cat.categories) == ["s1", "s2"]


def test_copy_returns_and_writes_nothing(two_samples):
    before = dict(two_samples.attrs)
    table = sfm.pp.cell_table(two_samples, copy=True, samples="s2", morphology=False)
    assert isinstance(table, AnnData)
    assert list(two_samples.tables) == []
    assert two_samples.attrs == before
    assert list(table.obs) == ["region", "cell_id", "sample", "area"]
    assert list(table.obs["sample"].cat.categories) == ["s2"]


def test_samples_come_in_the_order_asked_for(two_samples):
    table = sfm.pp.cell_table(two_samples, samples=["s2", "s1"], copy=True, morphology=False)
    assert list(pd.unique(table.obs["sample"])) == ["s2", "s1"]


@pytest.mark.parametrize("chunks", [(3, 90, 90), (1, 13, 40), (2, 90, 7)])
def test_blocks_change_nothing(make_sdata, make_tissue, monkeypatch, chunks):
    monkeypatch.setattr("spatialfm.pp.measure.BLOCK_PIXELS", 300)
    expected = sfm.pp.cell_table(make_sdata(s=make_tissue()), quantiles=[0.3, 0.5], copy=True)
    found = sfm.pp.cell_table(make_sdata(s=make_tissue(), chunks=chunks), quantiles=[0.3, 0.5], copy=True)
    np.testing.assert_allclose(found.X, expected.X, rtol=1e-6)
    np.testing.assert_array_equal(found.layers["q30"], expected.layers["q30"])
    np.testing.assert_array_equal(found.obsm["spatial"], expected.obsm["spatial"])
    pd.testing.assert_frame_equal(found.obs, expected.obs, rtol=1e-9, atol=1e-9)


def test_quantiles_become_layers(two_samples):
    table = sfm.pp.cell_table(two_samples, quantiles=(0.5, 0.975), copy=True, samples=["s1"], morphology=False)
    image, labels = pixels(two_samples, "s1")
    assert set(table.layers) - {None} == {"q50", "q97.5"}  # anndata 0.13 lists X among the layers, as None
    for i, label in enumerate(table.obs["cell_id"]):
        for name, q in {"q50": 0.5, "q97.5": 0.975}.items():
            expected = np.quantile(image[:, labels == label].astype(float), q, axis=1)
            np.testing.assert_allclose(table.layers[name][i], expected, rtol=1e-6)
    assert table.layers["q50"].dtype == np.float32


def test_different_panels_are_united_and_what_lacks_is_nan_and_recorded(make_sdata, make_tissue):
    sdata = make_sdata(
        s1=make_tissue(1),
        s2=make_tissue(2, n_channels=2),
        channels={"s1": ["CD3", "CD8", "DNA"], "s2": ["DNA", "CD20"]},
    )
    table = sfm.pp.cell_table(sdata, quantiles=0.5, copy=True, morphology=False)
    assert list(table.var_names) == ["CD3", "CD8", "DNA", "CD20"]
    of_s2 = (table.obs["sample"] == "s2").to_numpy()
    np.testing.assert_array_equal(np.isnan(table.X[of_s2]).all(axis=0), [True, True, False, False])
    np.testing.assert_array_equal(np.isnan(table.X[~of_s2]).any(axis=0), [False, False, False, True])
    image, labels = pixels(sdata, "s2")
    ids = np.unique(labels)[1:]
    np.testing.assert_allclose(
        table[of_s2, "DNA"].X[:, 0], ndimage.mean(image[0].astype(float), labels, ids), rtol=1e-6
    )
    assert not np.isnan(table[of_s2, "CD20"].layers["q50"]).any()
    record = table.uns["spatialfm"]["table"]
    assert json.loads(record["markers_missing"]) == {"s1": ["CD20"], "s2": ["CD3", "CD8"]}
    assert json.loads(record["samples"])["s2"] == {
        "image": "image_s2",
        "labels": "cells_s2",
        "coordinate_system": "s2",
        "unit": "µm",
        "labels_pixel_size": [0.5, 0.5],
        "n_cells": len(ids),
    }
    assert all(isinstance(value, str) for value in record.values())


# ---- geometry ----


def blocky(step=6, n=8):
    """A cell every `step` pixels, each with its own constant intensity in two channels."""
    labels = np.zeros((n * step, n * step), np.int32)
    for i in range(n):
        for j in range(n):
            labels[i * step : i * step + step - 2, j * step : j * step + step - 2] = i * n + j + 1
    return np.stack([labels * 3.0, labels**2]).astype(np.float32), labels


def test_labels_at_half_resolution_give_the_same_table(make_sdata):
    image, labels = blocky()
    full = sfm.pp.cell_table(make_sdata(s=(image, labels)), copy=True, quantiles=[0.5])
    half = make_sdata(s=(image, labels[::2, ::2]), labels_to_system=Scale([1.0, 1.0], **MPP))
    found = sfm.pp.cell_table(half, copy=True, quantiles=[0.5])
    np.testing.assert_array_equal(found.X, full.X)
    np.testing.assert_array_equal(found.layers["q50"], full.layers["q50"])
    np.testing.assert_allclose(found.obsm["spatial"], full.obsm["spatial"])
    np.testing.assert_allclose(found.obs["area"], full.obs["area"])


def test_labels_at_twice_the_resolution_give_the_same_table(make_sdata):
    image, labels = blocky()
    full = sfm.pp.cell_table(make_sdata(s=(image, labels)), copy=True, quantiles=[0.5])
    twice = make_sdata(s=(image, np.kron(labels, np.ones((2, 2), int))), labels_to_system=Scale([0.25, 0.25], **MPP))
    found = sfm.pp.cell_table(twice, copy=True, quantiles=[0.5])
    np.testing.assert_array_equal(found.X, full.X)
    np.testing.assert_array_equal(found.layers["q50"], full.layers["q50"])
    np.testing.assert_allclose(found.obsm["spatial"], full.obsm["spatial"])


def test_an_offset_between_labels_and_image_is_followed(make_sdata):
    image, labels = blocky()
    full = sfm.pp.cell_table(make_sdata(s=(image, labels)), copy=True, quantiles=[0.5])
    # the crop starts at row 12 and column 18 of the image: 6 and 9 µm
    shift = Sequence([Scale([0.5, 0.5], **MPP), Translation([9.0, 6.0], **MPP)])
    found = sfm.pp.cell_table(
        make_sdata(s=(image, labels[12:, 18:]), labels_to_system=shift), copy=True, quantiles=[0.5]
    )
    expected = full[found.obs_names]
    assert found.n_obs == 6 * 5
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.layers["q50"], expected.layers["q50"])
    np.testing.assert_allclose(found.obsm["spatial"], expected.obsm["spatial"])
    np.testing.assert_allclose(found.obs["area"], expected.obs["area"])


def test_cells_outside_of_the_image_are_named_or_dropped(make_sdata):
    image, labels = blocky()
    shift = Sequence(
        [Scale([0.5, 0.5], **MPP), Translation([0.0, 3 * 6 * 0.5], **MPP)]
    )  # 3 rows of cells below the image
    sdata = make_sdata(s=(image, labels), labels_to_system=shift)
    refused(
        sdata, TableError, r"24 cells of labels 'cells_s' with no pixel of image 'image_s'.*'s_41'.*and 19 more.*drop"
    )
    with pytest.warns(SpatialfmWarning, match="Cells are left out: 24 cells of labels 'cells_s' with no pixel"):
        table = sfm.pp.cell_table(sdata, on_missing="drop", copy=True, quantiles=[0.5])
    assert list(table.obs["cell_id"]) == list(range(1, 41))
    # cell k is on what was the image of cell k + 24
    np.testing.assert_array_equal(table.X[:, 0], 3.0 * np.arange(25, 65))
    np.testing.assert_array_equal(table.layers["q50"], table.X)


def test_multiscale_elements_are_read_at_full_resolution(make_sdata, make_tissue):
    single = sfm.pp.cell_table(make_sdata(s=make_tissue()), copy=True)
    multi = sfm.pp.cell_table(make_sdata(s=make_tissue(), levels=[2]), copy=True)
    np.testing.assert_allclose(multi.X, single.X, rtol=1e-6)
    pd.testing.assert_frame_equal(multi.obs, single.obs)


def test_without_a_pixel_size_pixels_are_the_unit_and_a_warning_says_so(make_sdata):
    image, labels = blocky()
    sdata = make_sdata(s=(image, labels), mpp=None)
    with pytest.warns(SpatialfmWarning, match=r"No pixel size is known for 1 image \('image_s'\).*set_transformation"):
        sfm.pp.cell_table(sdata)
    assert sdata["table"].obs["area"].iloc[0] == 16
    assert json.loads(sdata["table"].uns["spatialfm"]["table"]["samples"])["s"]["unit"] == "pixel"


def test_labels_with_oblong_pixels_have_no_shapes(make_sdata):
    image, labels = blocky()
    sdata = make_sdata(s=(image, labels[::2]), labels_to_system=Scale([0.5, 1.0], **MPP))
    refused(sdata, ElementError, r"Pixels of labels 'cells_s' are not square \(1 x 0.5 µm\).*morphology=False")
    table = sfm.pp.cell_table(sdata, morphology=False, copy=True)
    np.testing.assert_allclose(table.obs["area"], 16 * 0.25)
    np.testing.assert_array_equal(table.X[:, 0], 3.0 * np.arange(1, 65))


# ---- refusals ----


def test_an_existing_table_is_kept_unless_told(two_samples):
    sfm.pp.cell_table(two_samples, morphology=False)
    first = two_samples["table"]
    first.obsm["X_kronos"] = np.ones((first.n_obs, 2))
    with pytest.raises(TableError, match="already has a table 'table'.*embeddings.*overwrite=True"):
        sfm.pp.cell_table(two_samples)
    assert two_samples["table"] is first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sfm.pp.cell_table(two_samples, overwrite=True, morphology=False)
    assert "X_kronos" not in two_samples["table"].obsm
    sfm.pp.cell_table(two_samples, table_name="second", samples="s1", morphology=False)
    assert set(two_samples.tables) == {"table", "second"}


def test_pixels_that_are_not_finite_are_counted(make_sdata):
    image, labels = blocky()
    image[1, :2, :3] = np.nan
    sdata = make_sdata(s=(image, labels))
    refused(sdata, ElementError, r"Image 'image_s', channel 'm1': 6 pixels of cells.*such as 0")
    with pytest.raises(ElementError) as refusal:
        sfm.pp.cell_table(sdata)
    exec(str(refusal.value).split("such as 0: ")[1].rstrip("."), {"sdata": sdata, "numpy": np})  # runs as it stands
    sfm.pp.cell_table(sdata)
    assert np.isfinite(sdata["table"].X).all()


def test_empty_labels(make_sdata):
    image, labels = blocky()
    sdata = make_sdata(a=(image, labels), b=(image, labels * 0))
    refused(sdata, TableError, r"1 labels element holds no cell.*'cells_b'.*samples=\[...\]")
    with pytest.warns(SpatialfmWarning, match="'cells_b'.*no row in the table"):
        sfm.pp.cell_table(sdata, on_missing="drop")
    assert sdata["table"].uns["spatialdata_attrs"]["region"] == ["cells_a"]
    assert json.loads(sdata["table"].uns["spatialfm"]["table"]["samples"])["b"]["n_cells"] == 0
    alone = make_sdata(b=(image, labels * 0))
    with pytest.warns(SpatialfmWarning, match="no row"):
        refused(alone, TableError, "No cell in 1 sample", on_missing="drop")


def test_labels_that_are_no_labels(make_sdata):
    image, labels = blocky()
    try:
        floats = make_sdata(s=(image, labels.astype(np.float32)))
    except ValueError:  # spatialdata 0.8 refuses them itself
        floats = None
    if floats is not None:
        refused(floats, ElementError, "'cells_s'.*is stored as float32.*fix_labels")
    refused(make_sdata(s=(image, -labels)), ElementError, r"'cells_s'.*negative numbers \(-64")


def test_two_channels_of_one_name(make_sdata):
    image, labels = blocky()
    sdata = make_sdata(s=(image, labels))
    sdata["image_s"].coords["c"] = ["CD3", "CD3"]
    refused(sdata, PanelError, "'image_s' has more than one channel 'CD3'.*set_channel_names")


def test_labels_used_twice(two_samples):
    both = {"s1": "cells_s1", "s2": "cells_s1"}
    from spatialdata.transformations import set_transformation

    set_transformation(two_samples["cells_s1"], Scale([0.5, 0.5], **MPP), "s2")
    refused(two_samples, ElementError, "'cells_s1' is used for samples 's1' and 's2'", labels=both)


@pytest.mark.parametrize(
    ("options", "match"), [({"quantiles": 50}, "from 0 to 1"), ({"on_missing": "keep"}, "must be 'raise' or 'drop'")]
)
def test_bad_arguments(two_samples, options, match):
    refused(two_samples, ValueError, match, **options)


# ---- clinical columns ----


def test_columns_of_samples_are_joined(two_samples, add_samples):
    frame = pd.DataFrame(
        {"patient": ["p9", "p7", "p1"], "grade": [np.nan, 3.0, 1.0], "sample": ["s2", "s1", "s0"]},
        index=["s2", "s1", "s0"],
    )
    add_samples(two_samples, frame)
    sfm.pp.cell_table(two_samples, morphology=False)
    obs = two_samples["table"].obs
    assert list(obs) == ["region", "cell_id", "sample", "area", "patient", "grade"]
    assert dict(obs.groupby("sample", observed=True)["patient"].first()) == {"s1": "p7", "s2": "p9"}
    assert list(obs["patient"].cat.categories) == ["p7", "p9"]
    assert (obs.loc[obs["sample"] == "s1", "grade"] == 3).all()
    assert obs.loc[obs["sample"] == "s2", "grade"].isna().all()


def test_a_sample_without_row_or_a_taken_column_is_refused(two_samples, add_samples):
    add_samples(two_samples, pd.DataFrame({"patient": ["p"]}, index=["s1"]))
    refused(two_samples, ClinicalError, r"sdata\['samples'\] has no row for 1 sample: 's2'; it has 's1'")
    add_samples(two_samples, pd.DataFrame({"area": [1.0, 2.0]}, index=["s1", "s2"]))
    refused(two_samples, ClinicalError, r"Column 'area' of sdata\['samples'\] is also written by cell_table")


# ---- known cells ----


def known(sdata):
    """One row per cell, shuffled, with a phenotype that says which cell it is."""
    rows = [(s, i) for s in ("s1", "s2") for i in np.unique(sdata[f"cells_{s}"].values)[1:]]
    frame = pd.DataFrame(rows, columns=["sample", "cell_id"])
    frame["phenotype"] = [f"{s}/{i}" for s, i in rows]
    frame["score"] = np.arange(len(frame)) / 7
    return frame.sample(frac=1, random_state=0).reset_index(drop=True)


@pytest.mark.parametrize("kind", ["int", "float", "text", "category", "anndata"])
def test_known_cells_find_their_labels(two_samples, kind):
    cells = known(two_samples)
    cells["cell_id"] = {
        "int": cells["cell_id"],
        "float": cells["cell_id"].astype(float),
        "text": cells["cell_id"].astype(str),
        "category": cells["cell_id"].astype(str).astype("category"),
        "anndata": cells["cell_id"],
    }[kind]
    if kind == "anndata":
        cells = AnnData(obs=cells.set_axis(cells.index.astype(str), axis=0))
    sfm.pp.cell_table(two_samples, cells=cells, morphology=False)
    obs = two_samples["table"].obs
    expected = obs["sample"].astype(str) + "/" + obs["cell_id"].astype(str)
    assert (obs["phenotype"].astype(str) == expected).all()
    np.testing.assert_allclose(obs["score"], np.arange(len(obs)) / 7)
    assert isinstance(obs["phenotype"].dtype, pd.CategoricalDtype)


def test_rows_and_labels_that_are_alone_are_counted_or_dropped(two_samples, caplog):
    cells = known(two_samples)
    lost = cells[["sample", "cell_id"]].iloc[:3]
    stray = pd.DataFrame({"sample": ["s1", "s9"], "cell_id": [999, 1], "phenotype": ["?", "?"]})
    cells = pd.concat([cells.iloc[3:], stray])
    names = [f"{s}_{i}" for s, i in lost.itertuples(index=False)]
    refused(
        two_samples,
        TableError,
        r"2 rows without label \('s1_999', 's9_1'\) and 3 labels without row .*on_missing=\"drop\"",
        cells=cells,
    )
    with caplog.at_level("WARNING", logger="spatialfm"):
        sfm.pp.cell_table(two_samples, cells=cells, on_missing="drop", morphology=False)
    assert "2 rows of cells= without label, 3 labels without row" in caplog.text
    table = two_samples["table"]
    assert table.n_obs == len(cells) - 2
    assert not set(names) & set(table.obs_names)
    assert "?" not in table.obs["phenotype"].cat.categories
    image, labels = pixels(two_samples, "s1")
    part = table[table.obs["sample"] == "s1"]
    np.testing.assert_allclose(
        part.X[:, 0], ndimage.mean(image[0].astype(float), labels, part.obs["cell_id"]), rtol=1e-6
    )


def test_rows_of_samples_that_were_not_asked_for_are_no_loss(two_samples):
    sfm.pp.cell_table(two_samples, cells=known(two_samples), samples="s2", morphology=False)
    assert set(two_samples["table"].obs["sample"]) == {"s2"}


def test_one_sample_needs_no_sample_column(two_samples):
    cells = known(two_samples).query("sample == 's1'").drop(columns="sample").rename(columns={"cell_id": "label"})
    options = {"cells": cells, "instance_key": "label", "morphology": False}
    refused(two_samples, TableError, r"no column 'sample'.*library_key=None", samples="s1", **options)
    refused(two_samples, TableError, "needs one sample, but there are 2", library_key=None, **options)
    sfm.pp.cell_table(two_samples, samples="s1", library_key=None, **options)
    assert (two_samples["table"].obs["phenotype"].str[3:] == two_samples["table"].obs["cell_id"].astype(str)).all()
    assert "label" not in two_samples["table"].obs


def test_cells_that_cannot_be_joined(two_samples):
    cells = known(two_samples)
    twice = pd.concat([cells, cells.iloc[:2]])
    refused(two_samples, TableError, "2 rows more than one for the same sample and label.*drop_duplicates", cells=twice)
    twice.iloc[-1, twice.columns.get_loc("phenotype")] = "B"  # which of two is right is not for us to say
    refused(two_samples, TableError, "2 rows more than one .*Keep the right one", cells=twice)
    refused(two_samples, TableError, "no column 'cell_id'.*instance_key=", cells=cells.drop(columns="cell_id"))
    halves = cells.assign(cell_id=cells["cell_id"] + 0.5)
    refused(two_samples, TableError, rf"'cell_id' of cells=.*{len(cells)} rows of {len(cells)}", cells=halves)
    words = cells.assign(cell_id=["x", *cells["cell_id"].astype(str)[1:]])
    refused(two_samples, TableError, "1 row of .* cannot be read as such: 'x'", cells=words)
    refused(
        two_samples,
        TableError,
        r"1 row names no sample in column 'sample' of cells=.*cells\[cells\['sample'\].notna\(\)\]",
        cells=cells.assign(sample=[None, *cells["sample"][1:]]),
    )
    shifted = cells.assign(cell_id=cells["cell_id"] + 2_100_000_000)
    refused(two_samples, TableError, "No row of cells= fits a label", cells=shifted, on_missing="drop")
    refused(two_samples, TableError, "Column 'area' of cells=.*rename", cells=cells.assign(area=-1.0))
    refused(two_samples, TableError, "'Area' of cells= differs from 'area'.*case", cells=cells.assign(Area=-1.0))
    refused(two_samples, TableError, "Columns 'a b' and 'A_b'", cells=cells.assign(**{"a b": 1, "A_b": 2}))
    dates = cells.assign(day=pd.Timestamp("2020-01-01"))
    refused(two_samples, TableError, "'day' of cells= holds dates", cells=dates)


# ---- real images ----


def from_files(make_sdata, image, mask, sample, mpp, **options):
    import tifffile

    return make_sdata(**{sample: (tifffile.imread(image), tifffile.imread(mask))}, mpp=mpp, **options)


@pytest.mark.real_data
def test_opal_against_inform(make_sdata, real_data):
    folder = real_data / "opal_mif"
    stains = ["Alexa 594", "Cy3", "Cy5", "DAPI", "FITC"]
    image, mask = folder / "images/FIHC4_2.ome.tif", folder / "masks/FIHC4_2_cell(nuc+cyto).tif"
    sdata = from_files(make_sdata, image, mask, "FIHC4_2", 0.4972, channels=stains)
    (path,) = folder.glob("original/*cell_seg_data.txt")
    inform = pd.read_csv(path, sep="\t", na_values="#N/A")
    sfm.pp.cell_table(sdata, cells=inform, library_key=None, instance_key="Cell ID")
    table = sdata["table"]
    assert table.n_obs == len(inform) == 270
    # inForm measures the whole cell, with a membrane one pixel wide that this mask leaves out
    means = [f"Entire_Cell_{s.replace(' ', '_')}_Mean_Normalized_Counts_Total_Weighting" for s in stains]
    for j, column in enumerate(means):
        theirs = table.obs[column].to_numpy()
        assert np.corrcoef(table.X[:, j], theirs)[0, 1] > 0.99
        assert np.median(np.abs(table.X[:, j] / theirs - 1)) < 0.06
    assert np.corrcoef(table.obs["area"], table.obs["Entire_Cell_Area_pixels"])[0, 1] > 0.99
    position = table.obs[["Cell_X_Position", "Cell_Y_Position"]].to_numpy() * 0.4972
    assert np.median(np.linalg.norm(table.obsm["spatial"] - position, axis=1)) < 1.5  # µm


@pytest.mark.real_data
def test_spleen_counts(make_sdata, real_data):
    folder = real_data / "spleen_imc"
    sdata = sd.SpatialData()
    for sample in ("r2", "r4", "r12", "r20"):
        stem = f"spleen315_{sample}"
        one = from_files(
            make_sdata, folder / f"images/{stem}.ome.tif", folder / f"masks/{stem}_cellmask.tif", sample, 1.0
        )
        sdata = sd.concatenate([sdata, one])
    sfm.pp.cell_table(sdata, morphology=False)
    counts = sdata["table"].obs["sample"].value_counts()
    assert counts.to_dict() == {"r2": 3992, "r4": 5222, "r12": 2655, "r20": 4381}


@pytest.mark.real_data
def test_bnhl_published_cells(make_sdata, real_data):
    folder = real_data / "bnhl_codex"
    image, mask = folder / "images/crop101_5ch.ome.tif", folder / "masks/crop101_cellmask.tif"
    cells = pd.read_csv(folder / "cells_crop101_labels.csv")
    sdata = from_files(make_sdata, image, mask, "crop", 0.377)
    sfm.pp.cell_table(sdata, cells=cells, library_key=None, instance_key="cell")
    obs = sdata["table"].obs
    assert len(obs) == 56
    assert obs["label_name"].value_counts().to_dict() == cells["label_name"].value_counts().to_dict()
    # the published centroids are those of the uncropped image: the offset is the same for all cells inside
    offset = obs[["centroid-1", "centroid-0"]].to_numpy() - (sdata["table"].obsm["spatial"] / 0.377 - 0.5)
    assert (np.abs(offset - np.median(offset, axis=0)).max(axis=1) < 1e-6).mean() > 0.5

    five_hundred = pd.read_csv(folder / "cells_crop500_label_codes.csv")
    image, mask = folder / "images/crop500_5ch_uint16.ome.tif", folder / "masks/crop500_cellmask.tif"
    sdata = from_files(make_sdata, image, mask, "crop", 0.377)
    sfm.pp.cell_table(sdata, cells=five_hundred, library_key=None, instance_key="cell", morphology=False)
    published = sdata["table"].obs[["Hoechst", "CD4", "CD8", "FOXP3", "BCL6"]]
    np.testing.assert_allclose(sdata["table"].X, published, rtol=1e-6)


@pytest.mark.real_data
def test_dcis_matched_cells(make_sdata, real_data):
    folder = real_data / "dcis_mibi"
    name = "Point2203_pt1072_31606"
    image, mask = folder / f"images/{name}.ome.tif", folder / f"masks/{name}_cellmask.tif"
    cells = pd.read_csv(folder / "cells_Point2203_matched_labels.csv")
    sure = cells[cells["best_match_is_assigned"] & (cells["match_cost"] < 0.05)]
    sdata = from_files(make_sdata, image, mask, "Point2203", 0.5)
    options = {"library_key": None, "instance_key": "label"}
    with pytest.raises(TableError, match=rf"0 rows without label \(none\) and {602 - len(sure)} labels without row"):
        sfm.pp.cell_table(sdata, cells=sure, **options)
    sfm.pp.cell_table(sdata, cells=sure, on_missing="drop", **options)
    table = sdata["table"]
    assert table.n_obs == len(sure) < 602
    np.testing.assert_array_equal(table.obs["area"], table.obs["area_px"] * 0.25)
    centroid = table.obsm["spatial"] / 0.5 - 0.5
    np.testing.assert_allclose(centroid, table.obs[["centroid_x", "centroid_y"]], atol=0.0051)  # rounded to hundredths
    sfm.pp.cell_table(sdata, cells=cells, overwrite=True, morphology=False, **options)
    assert sdata["table"].n_obs == 602
