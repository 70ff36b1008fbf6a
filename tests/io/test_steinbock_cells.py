"""Cells as steinbock measured them, held against their mask; and the graph of neighbours."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import dask.array as da
import numpy as np
import pandas as pd
import pytest

from spatialfm._errors import InputFileError, SpatialfmWarning, TableError
from spatialfm.io._steinbock_cells import add_graph, graph_of, read_cell_frame, warn_of_unmeasured
from spatialfm.io._steinbock_folder import SteinbockSample

LABELS = np.zeros((8, 10), np.uint16)
LABELS[1:4, 1:4], LABELS[2:6, 6:8], LABELS[6, 2] = 2, 5, 9
CENTRES = {2: (2.0, 2.0), 5: (3.5, 6.5), 9: (6.0, 2.0)}  # y, x
SAMPLE = SteinbockSample("s", Path("s.tiff"), Path("s_mask.tiff"), (None, None, None), None)


@pytest.fixture
def write(tmp_path):
    def make(ids=(5, 2), places=None, values=None, props=None):
        places = CENTRES if places is None else places
        for folder, columns in (
            ("intensities", values or {"Ir191": [1.0, 2.0]}),
            ("regionprops", {
                "centroid-0": [places[one][0] for one in ids], "centroid-1": [places[one][1] for one in ids],
                "area": [8.0, 9.0], "axis_major_length": [4.0, 3.0], "eccentricity": [0.5, 0.0],
            }),
        ):  # fmt: skip
            (tmp_path / folder).mkdir(exist_ok=True)
            own = props if folder == "regionprops" and props else ids
            pd.DataFrame({"Object": own} | columns).to_csv(tmp_path / folder / "s.csv", index=False)
        return tmp_path

    return make


def read(folder, labels=LABELS, mpp=2.0, props=True):
    mask = None if labels is None else da.from_array(labels)
    return read_cell_frame(
        SAMPLE, {"Ir191": "DNA"}, mask, mpp, folder / "intensities", folder / "regionprops" if props else None
    )


@pytest.mark.parametrize("labels", [LABELS, None])
def test_positions_lengths_and_areas_are_in_um(write, labels):
    frame, unmeasured = read(write(), labels)
    assert frame.ids.tolist() == [5, 2]
    assert frame.xy.tolist() == [[14, 8], [5, 5]]  # x, y of the centres of pixels of 2 µm
    assert frame.obs["area"].tolist() == [32, 36]
    assert frame.obs["axis_major_length"].tolist() == [8, 6]
    assert frame.obs["eccentricity"].tolist() == [0.5, 0]
    assert frame.intensities.to_dict("list") == {"DNA": [1, 2]}
    assert unmeasured.tolist() == ([9] if labels is not None else [])


def test_properties_are_put_in_the_order_of_the_intensities(write):
    folder = write(props=(2, 5), places={5: CENTRES[2], 2: CENTRES[5]})
    assert read(folder, None)[0].obs["area"].tolist() == [36, 32]


def test_without_properties_positions_are_those_of_the_mask(write):
    frame, _ = read(write(), props=False)
    assert frame.xy.tolist() == [[14, 8], [5, 5]]
    with pytest.raises(TableError, match="have no position"):
        read(write(), None, props=False)


def test_tables_of_other_masks_are_refused(write):
    with pytest.raises(TableError, match=r"1 cell of 2 have another centroid .* \(cell 5: 6.5, 4.1 and 6.5, 3.5"):
        read(write(places=CENTRES | {5: (4.1, 6.5)}))
    with pytest.raises(TableError, match="were measured with other masks"):
        read(write(ids=(5, 7), places=CENTRES | {7: (0, 0)}))
    with pytest.raises(TableError, match=r"not of the same cells: 2 ids in one of them only \(2, 9"):
        read(write(props=(5, 9)))


def test_tables_that_are_none_are_refused(write, tmp_path):
    with pytest.raises(TableError, match="has 1 id more than once: 5"):
        read(write(ids=(5, 5)))
    with pytest.raises(TableError, match="columns that are not in the panel: 'Er170'"):
        read(write(values={"Er170": [1.0, 2.0]}))
    with pytest.raises(TableError, match="columns that are not numbers: 'Ir191'"):
        read(write(values={"Ir191": ["x", "y"]}))
    write()
    (tmp_path / "intensities" / "s.csv").unlink()
    with pytest.raises(InputFileError, match="No table"):
        read(tmp_path)


def test_cells_without_a_row_are_told_once():
    with pytest.warns(SpatialfmWarning, match="3 cells have pixels in a mask .*: a: 4, 5; b: 1") as seen:
        warn_of_unmeasured({"a": np.array([4, 5]), "b": np.array([1]), "c": np.array([], int)})
    assert len(seen) == 1


CELLS = pd.DataFrame({"sample": ["s", "t", "s"], "cell_id": [5, 5, 2]})


def graph(tmp_path, **columns):
    table = {"Object": [5, 2], "Neighbor": [2, 5], "Distance": [3.0, 3.0]} | columns
    pd.DataFrame(table).to_csv(tmp_path / "s.csv", index=False)
    return graph_of([SAMPLE], tmp_path, CELLS, {"s": 2.0})


def test_edges_join_rows_of_their_sample_with_distances_in_um(tmp_path):
    matrices = graph(tmp_path)
    expected = np.zeros((3, 3))
    expected[0, 2] = expected[2, 0] = 1
    np.testing.assert_array_equal(matrices["spatial_connectivities"].toarray(), expected)
    np.testing.assert_array_equal(matrices["spatial_distances"].toarray(), 6 * expected)
    adata = ad.AnnData(obs=CELLS.set_index(pd.Index(list("abc"))))
    add_graph(adata, matrices, "folder")
    assert adata.uns["spatial_neighbors"]["distances_key"] == "spatial_distances"


def test_neighbours_without_distances_have_none(tmp_path):
    assert list(graph(tmp_path, Distance=[None, None])) == ["spatial_connectivities"]
    with pytest.raises(TableError, match="are missing and others are not"):
        graph(tmp_path, Distance=[1.0, None])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Object": [5, 7]}, "neighbours name 1 cell that the table lacks: 7"),
        ({"Object": [5, 5], "Neighbor": [2, 2]}, "an edge occurs twice"),
        ({"Neighbor": [5, 5]}, "a cell is its own neighbour"),
        ({"Distance": [-1.0, 2.0]}, "has distances that are negative"),
    ],
)
def test_graphs_that_are_none_are_refused(tmp_path, columns, message):
    with pytest.raises(TableError, match=message):
        graph(tmp_path, **columns)
