"""Folders of steinbock: what is joined from which file, units, what is told, and the way to a survival curve."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import tifffile
from reading import measured, survival_of
from reading_steinbock import edges, read_measured, read_plain, write
from scipy import ndimage
from skimage.measure import regionprops

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ClinicalError, InputFileError, PixelSizeError, SpatialfmWarning, TableError


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "steinbock"
    path.mkdir()
    return path


def test_nothing_is_told_of_a_complete_folder(folder):
    write(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpatialfmWarning)
        sdata = read_measured(folder)
    assert sdata.attrs["spatialfm"]["panel"]["channel_ids"] == {"DNA1": "Ir191", "CD3 (ε)": "Er170", "CD8a": "Dy162"}
    record = sdata.attrs["spatialfm"]["samples"]["slide_1_001"]
    assert (record["mpp"], record["mpp_source"], record["mpp_field"]) == (1.0, "metadata", "images.csv")


def test_samples_have_what_images_csv_states(folder):
    write(folder)
    obs = read_plain(folder)["samples"].obs
    assert obs["acquisition_id"].tolist() == [1, 2]
    assert obs["acquisition_description"].tolist() == ["tumour 1", "tumour 2"]
    assert obs["source_file"].tolist() == ["slide 1.mcd"] * 2
    assert obs["recovered"].tolist() == [False, False]
    assert "num_channels" not in obs  # the image itself says so


@pytest.mark.parametrize("mpp", [1.0, 2.0])
def test_places_lengths_areas_and_distances_are_in_um(folder, mpp):
    samples = write(folder, mpp=mpp)
    table = read_measured(folder)["table"]
    truth = measured(samples)
    np.testing.assert_allclose(table.obsm["spatial"], truth[["x", "y"]])
    shapes = [one for sample in samples for one in regionprops(sample.labels)]
    np.testing.assert_allclose(table.obs["area"], [one.area * mpp**2 for one in shapes])
    np.testing.assert_allclose(table.obs["axis_major_length"], [one.axis_major_length * mpp for one in shapes])
    np.testing.assert_allclose(table.obs["eccentricity"], [one.eccentricity for one in shapes])
    distances = table.obsp["spatial_distances"]
    expected = {
        (f"{sample.name}_{row.Object}", f"{sample.name}_{row.Neighbor}"): row.Distance * mpp
        for sample in samples
        for row in edges(sample).itertuples()
    }
    start, end = table.obsp["spatial_connectivities"].nonzero()
    found = {(table.obs_names[i], table.obs_names[j]): distances[i, j] for i, j in zip(start, end, strict=True)}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[edge] for edge in expected], list(expected.values()))


def test_rows_of_the_tables_are_joined_by_id_and_not_by_place(folder):
    samples = write(folder)
    for seed, name in enumerate(("regionprops", "intensities")):
        path = folder / name / "slide 1_001.csv"
        pd.read_csv(path).sample(frac=1, random_state=seed).to_csv(path, index=False)
    table = read_measured(folder)["table"]
    shapes = {f"{sample.name}_{one.label}": one for sample in samples for one in regionprops(sample.labels)}
    np.testing.assert_allclose(
        table.obs["eccentricity"], [shapes[name].eccentricity for name in table.obs_names], atol=1e-6
    )
    truth = (
        measured(samples).assign(name=lambda frame: frame["sample"] + "_" + frame["id"].astype(str)).set_index("name")
    )
    np.testing.assert_allclose(table.X, truth.loc[table.obs_names, table.var_names], rtol=1e-6)
    np.testing.assert_allclose(table.obsm["spatial"], truth.loc[table.obs_names, ["x", "y"]])


def test_edges_keep_their_direction(folder):
    """A nearest neighbour need not be one in return."""
    write(folder, second=False)
    pd.DataFrame({"Object": [1, 5], "Neighbor": [3, 3], "Distance": [8.0, 8.0]}).to_csv(
        folder / "neighbors" / "slide 1_001.csv", index=False
    )
    table = read_measured(folder)["table"]
    rows, columns = table.obsp["spatial_connectivities"].nonzero()
    assert [
        (table.obs["cell_id"].iloc[i], table.obs["cell_id"].iloc[j]) for i, j in zip(rows, columns, strict=True)
    ] == [
        (1, 3),
        (5, 3),
    ]


def test_neighbours_by_expansion_have_no_distance(folder):
    samples = write(folder)
    for sample, file in zip(samples, ("slide 1_001", "slide 1_002"), strict=True):
        edges(sample).assign(Distance=np.nan).to_csv(folder / "neighbors" / f"{file}.csv", index=False)
    table = read_measured(folder)["table"]
    assert "spatial_distances" not in table.obsp
    assert table.obsp["spatial_connectivities"].nnz == sum(len(edges(sample)) for sample in samples)


def test_an_edge_that_occurs_twice_is_refused(folder):
    """Sparse matrices would add the two up."""
    samples = write(folder)
    frame = edges(samples[0])
    pd.concat([frame, frame.iloc[:1]]).to_csv(folder / "neighbors" / "slide 1_001.csv", index=False)
    with pytest.raises(TableError, match="'slide_1_001': an edge occurs twice"):
        read_measured(folder)


@pytest.mark.parametrize("wrong", ["8.-", "-1", "inf"])
def test_distances_that_are_none_are_refused(folder, wrong):
    samples = write(folder)
    frame = edges(samples[0]).astype({"Distance": object})
    frame.loc[1, "Distance"] = wrong
    frame.to_csv(folder / "neighbors" / "slide 1_001.csv", index=False)
    with pytest.raises(
        TableError, match=f"slide 1_001.csv' has distances that are negative, infinite or text: '{wrong}"
    ):
        read_measured(folder)


def test_a_cell_that_is_its_own_neighbour_is_refused(folder):
    samples = write(folder)
    frame = edges(samples[0])
    frame.loc[0, "Neighbor"] = frame.loc[0, "Object"]
    frame.to_csv(folder / "neighbors" / "slide 1_001.csv", index=False)
    with pytest.raises(TableError, match="'slide_1_001': a cell is its own neighbour"):
        read_measured(folder)


def test_an_image_that_was_not_segmented_has_no_tables(folder):
    write(folder)
    for name in ("masks/slide 1_002.tiff", "intensities/slide 1_002.csv", "neighbors/slide 1_002.csv"):
        (folder / name).unlink()
    with pytest.warns(SpatialfmWarning, match="1 image has no mask, and so no cells: 'slide_1_002'"):
        sdata = read_measured(folder)
    assert set(sdata["table"].obs["sample"]) == {"slide_1_001"}
    assert list(sdata.images) == ["image_slide_1_001", "image_slide_1_002"]


def test_a_field_without_cells_stays_without_rows(folder):
    """steinbock writes tables with a header, and none of neighbours."""
    samples = write(folder)
    tifffile.imwrite(folder / "masks" / "slide 1_002.tiff", np.zeros_like(samples[1].labels))
    for name in ("intensities", "regionprops"):
        path = folder / name / "slide 1_002.csv"
        path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    (folder / "neighbors" / "slide 1_002.csv").unlink()
    sdata = read_measured(folder)
    np.testing.assert_allclose(sdata["table"].obsm["spatial"], measured(samples[:1])[["x", "y"]])
    assert sdata["samples"].n_obs == 2


def test_images_are_not_read_for_the_tables(folder, monkeypatch):
    import spatialfm.io._reader as reader

    write(folder)
    inner, read = reader.read_page, []
    monkeypatch.setattr(
        reader, "read_page", lambda level, page, *rest: read.append(page.path) or inner(level, page, *rest)
    )
    read_measured(folder)
    assert read
    assert all("masks" in path for path in read)


@pytest.mark.parametrize(("um", "mpp"), [(28.1, 1.0), (27.95, 1.0), (28 * 0.333, 0.333), (56.0, 2.0)])
def test_sides_of_a_region_that_was_drawn_by_hand(folder, um, mpp):
    """A few tenths of a µm more than its pixels have."""
    write(folder, second=False)
    frame = pd.read_csv(folder / "images.csv")
    frame["acquisition_width_um"], frame["acquisition_height_um"] = um, 20 * mpp
    frame.to_csv(folder / "images.csv", index=False)
    assert read_plain(folder).attrs["spatialfm"]["samples"]["slide_1_001"]["mpp"] == pytest.approx(mpp)


@pytest.mark.parametrize(("image", "mask"), [("uint16", "uint32"), ("float64", "uint8"), ("int32", "int32")])
def test_pixels_of_the_types_that_steinbock_can_be_told_to_write(folder, image, mask):
    """Of some, the file has no metadata of ImageJ but the six axes as tifffile writes them."""
    samples = write(folder)
    for sample, file in zip(samples, ("slide 1_001", "slide 1_002"), strict=True):
        for name, pixels, dtype in (("img", sample.pixels, image), ("masks", sample.labels[None], mask)):
            stack = pixels.astype(dtype)[None, None, :, :, :, None]
            imagej = dtype in ("uint8", "uint16", "float32")
            tifffile.imwrite(folder / name / f"{file}.tiff", stack, imagej=imagej)
    sdata = read_plain(folder)
    for sample in samples:
        np.testing.assert_array_equal(sdata.images[f"image_{sample.name}"].values, sample.pixels)
        np.testing.assert_array_equal(sdata.labels[f"cells_{sample.name}"].values, sample.labels)


def test_the_graph_is_where_squidpy_looks(folder):
    import squidpy as sq

    samples = write(folder)
    table = read_measured(folder)["table"]
    table.obs["kind"] = pd.Categorical(np.arange(table.n_obs) % 2)
    counts = sq.gr.interaction_matrix(table, "kind", normalized=False, copy=True)
    kind = {
        (sample, label): i % 2
        for i, (sample, label) in enumerate(table.obs[["sample", "cell_id"]].itertuples(index=False))
    }
    expected = np.zeros((2, 2))
    for sample in samples:
        for row in edges(sample).itertuples():
            expected[kind[sample.name, row.Object], kind[sample.name, row.Neighbor]] += 1
    np.testing.assert_array_equal(counts, expected)


def test_cells_that_were_not_measured_are_told(folder):
    write(folder)
    for name in ("intensities", "regionprops"):
        path = folder / name / "slide 1_001.csv"
        frame = pd.read_csv(path)
        frame[frame["Object"] != 3].to_csv(path, index=False)
    edited = pd.read_csv(folder / "neighbors" / "slide 1_001.csv")
    edited[(edited["Object"] != 3) & (edited["Neighbor"] != 3)].to_csv(
        folder / "neighbors" / "slide 1_001.csv", index=False
    )
    with pytest.warns(
        SpatialfmWarning, match="1 cell has pixels in a mask and no row in the intensities.*slide_1_001: 3"
    ):
        table = read_measured(folder)["table"]
    assert "slide_1_001_3" not in table.obs_names


def test_without_masks_places_are_those_of_the_region_properties(folder):
    samples = write(folder)
    sdata = sfm.io.read_steinbock(folder, masks=False, intensities=True, regionprops=True)
    assert not list(sdata.labels)
    np.testing.assert_allclose(sdata["table"].obsm["spatial"], measured(samples)[["x", "y"]])
    with pytest.raises(TableError, match="no position"):
        sfm.io.read_steinbock(folder, masks=False, intensities=True)


def test_images_that_were_sorted_out_are_told_and_left_out(folder):
    write(folder)
    (folder / "img" / "slide 1_002.tiff").unlink()
    with pytest.warns(SpatialfmWarning) as caught:
        sdata = read_plain(folder)
    told = " ".join(str(one.message) for one in caught)
    assert "images.csv has 1 row without an image, which is left out: 'slide 1_002.tiff'" in told
    assert "1 mask has no image and is left out: 'slide 1_002.tiff'" in told
    assert list(sdata.images) == ["image_slide_1_001"]


def test_an_image_without_mask_has_no_cells(folder):
    write(folder)
    (folder / "masks" / "slide 1_002.tiff").unlink()
    with pytest.warns(SpatialfmWarning, match="1 image has no mask, and so no cells: 'slide_1_002'"):
        sdata = sfm.io.read_steinbock(folder)
    assert set(sdata["table"].obs["sample"]) == {"slide_1_001"}
    assert sdata["samples"].n_obs == 2


def test_several_folders_of_masks(folder):
    samples = write(folder)
    (folder / "masks_large").mkdir()
    for file, sample in zip(("slide 1_001", "slide 1_002"), samples, strict=True):
        tifffile.imwrite(folder / "masks_large" / f"{file}.tiff", (sample.labels * 2).astype(np.uint16))
    sdata = sfm.io.read_steinbock(folder, masks="masks_large", cell_table=False)
    np.testing.assert_array_equal(sdata.labels["cells_slide_1_001"].values, samples[0].labels * 2)
    assert not list(sfm.io.read_steinbock(folder, masks=False).labels)
    with pytest.raises(InputFileError, match="masks='none': .* contains no TIFF"):
        sfm.io.read_steinbock(folder, masks="none")


def test_names_and_pixel_size_in_place_of_those_of_the_files(folder):
    write(folder)
    (folder / "images.csv").unlink()
    with pytest.warns(SpatialfmWarning, match="1 µm per pixel is assumed"):
        sdata = sfm.io.read_steinbock(folder, channel_names={"CD8a": "CD8"}, cell_table=False)
    assert sdata.images["image_slide_1_001"].coords["c"].values.tolist() == ["DNA1", "CD3 (ε)", "CD8"]
    sdata = sfm.io.read_steinbock(folder, channel_names={"CD8a": "CD8"}, mpp=0.5, intensities=True)
    assert sdata["table"].var_names.tolist() == ["DNA1", "CD3 (ε)", "CD8"]
    assert sdata.attrs["spatialfm"]["samples"]["slide_1_001"]["mpp"] == 0.5
    (folder / "panel.csv").unlink()
    sdata = sfm.io.read_steinbock(folder, channel_names=["a", "b", "c"], mpp=1, cell_table=False)
    assert sdata.images["image_slide_1_001"].coords["c"].values.tolist() == ["a", "b", "c"]


def test_sizes_that_are_not_known_beside_others(folder):
    write(folder, mpp=2.0)
    frame = pd.read_csv(folder / "images.csv")
    frame.loc[1, "acquisition_width_um"] = np.nan
    frame.to_csv(folder / "images.csv", index=False)
    with pytest.raises(PixelSizeError, match="1 sample .'slide_1_002'., while that of 'slide_1_001' is .2 µm."):
        read_plain(folder)


def test_pixels_that_are_not_square_are_refused(folder):
    write(folder)
    frame = pd.read_csv(folder / "images.csv")
    frame["acquisition_height_um"] *= 3
    frame.to_csv(folder / "images.csv", index=False)
    with pytest.raises(PixelSizeError, match="not square .1 x 3 µm by images.csv"):
        read_plain(folder)


def test_all_problems_are_in_one_error(folder):
    write(folder)
    for name in ("001", "002"):
        tifffile.imwrite(folder / "masks" / f"slide 1_{name}.tiff", np.ones((9, 9), np.uint16))
    with pytest.raises(InputFileError) as error:
        read_plain(folder)
    assert "2 problems" in str(error.value)
    assert "'slide_1_001'" in str(error.value)
    assert "'slide_1_002'" in str(error.value)


def test_tables_need_the_intensities(folder):
    write(folder)
    with pytest.raises(ArgumentError, match="neighbors= .* intensities=True"):
        sfm.io.read_steinbock(folder, neighbors=True)
    with pytest.raises(InputFileError, match="No folder .*intensities_2"):
        sfm.io.read_steinbock(folder, intensities="intensities_2")


@pytest.mark.parametrize("names", [["slide_1_001", "slide_1_002"], ["slide 1_001", "slide 1_002"], None])
def test_clinical_table_by_sample_or_file(folder, tmp_path, names):
    write(folder)
    names = names or ["slide 1_001.tiff", "slide 1_002.tiff"]
    frame = pd.DataFrame({"roi": names[::-1], "case": ["007", "p1"], "time": [3.5, 8.0], "event": [1, 0]})
    frame.to_csv(tmp_path / "clinical.csv", index=False)
    sdata = sfm.io.read_steinbock(folder, clinical=tmp_path / "clinical.csv", library_key="roi", patient_key="case")
    obs = sdata["samples"].obs
    assert obs["patient"].tolist() == ["p1", "007"]
    assert obs["time"].tolist() == [8.0, 3.5]
    assert obs["acquisition_id"].tolist() == [1, 2]
    cells = sdata["table"].obs
    assert (cells.loc[cells["sample"] == "slide_1_001", "patient"] == "p1").all()


def test_clinical_table_without_a_sample_or_a_patient(folder):
    write(folder)
    frame = pd.DataFrame({"sample": ["slide_1_001"], "patient": ["p1"]})
    with pytest.raises(ClinicalError, match="no row for 1 sample: 'slide_1_002'"):
        sfm.io.read_steinbock(folder, clinical=frame)
    frame = pd.DataFrame({"sample": ["slide_1_001", "slide_1_002"], "patient": ["p1", None]})
    with pytest.raises(ClinicalError, match="1 sample has no patient in column 'patient': 'slide_1_002'"):
        sfm.io.read_steinbock(folder, clinical=frame)


def test_from_the_folder_to_the_survival_curve(folder):
    """A simulated cohort in this layout leads to the groups and curves of the cohort itself."""
    cohort = sfm.datasets.simulate_cohort(n_patients=6, n_samples=1, image_size=64, random_state=0, difficulty="easy")
    names = cohort.images["image_" + cohort["samples"].obs_names[0]].coords["c"].values
    rows = "".join(f"M{i},{name},1\n" for i, name in enumerate(names))
    (folder / "panel.csv").write_text(f"channel,name,keep\n{rows}")
    for name in ("img", "masks"):
        (folder / name).mkdir()
    for sample in cohort["samples"].obs_names:
        tifffile.imwrite(folder / "img" / f"{sample}.tiff", cohort.images[f"image_{sample}"].values, imagej=True)
        tifffile.imwrite(folder / "masks" / f"{sample}.tiff", cohort.labels[f"cells_{sample}"].values.astype("uint16"))
    clinical = cohort["samples"].obs[["patient", "time", "event"]].rename_axis("sample").reset_index()

    sdata = sfm.io.read_steinbock(folder, clinical=clinical, mpp=0.5)
    patients = survival_of(sdata)

    sfm.pp.cell_table(cohort)
    expected = survival_of(cohort)
    np.testing.assert_allclose(patients.X, expected[patients.obs_names].X)
    assert patients.obs["risk_group"].tolist() == expected.obs.loc[patients.obs_names, "risk_group"].tolist()
    pd.testing.assert_frame_equal(patients.uns["kaplan_meier"]["table"], expected.uns["kaplan_meier"]["table"])
    assert patients.n_obs == 6


@pytest.mark.real_data
def test_a_real_folder(real_data):
    """Images and masks of the IMC Segmentation Pipeline, in steinbock's layout."""
    root = real_data / "imc_raw"
    sdata = sfm.io.read_steinbock(root, mpp=1)
    assert sorted(sdata.images) == [f"image_20210305_NE_mockData2_00{i}" for i in (1, 2, 3)]
    panel = pd.read_csv(root / "panel.csv")
    for sample in sdata["samples"].obs_names:
        pixels = tifffile.imread(root / "img" / f"{sample}.tiff")
        mask = tifffile.imread(root / "masks" / f"{sample}.tiff")
        image = sdata.images[f"image_{sample}"]
        assert image.coords["c"].values.tolist() == panel["name"].tolist()
        np.testing.assert_array_equal(image.values, pixels)
        cells = sdata["table"][sdata["table"].obs["sample"] == sample]
        ids = np.unique(mask)[1:]
        assert cells.obs["cell_id"].tolist() == ids.tolist()
        means = np.stack([ndimage.mean(plane, mask, ids) for plane in pixels.astype(float)], axis=1)
        np.testing.assert_allclose(cells.X, means, rtol=1e-5)


def test_two_masks_of_one_image_are_refused(tmp_path):
    write(tmp_path)
    file = next((tmp_path / "masks").rglob("*.tiff"))
    (tmp_path / "masks" / "old").mkdir()
    shutil.copy(file, tmp_path / "masks" / "old" / file.name)
    with pytest.raises(InputFileError, match=f"{file.name}' and .*{file.name}' would be of one image"):
        sfm.io.read_steinbock(tmp_path)
