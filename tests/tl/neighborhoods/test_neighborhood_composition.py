from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from elsewhere import cosmx_like

import spatialfm as sfm
from spatialfm._errors import ArgumentError, SpatialfmWarning, TableError
from spatialfm._fingerprint import DATA


def brute_force(cells: AnnData, *, radius=None, n_neighbors=None, include_self=False) -> np.ndarray:
    """All distances, all pairs, in plain loops."""
    xy, sample = cells.obsm["spatial"], cells.obs["sample"].to_numpy()
    types = list(cells.obs["type"].cat.categories)
    result = np.zeros((cells.n_obs, len(types)))
    for i in range(cells.n_obs):
        distance = np.hypot(*(xy - xy[i]).T)
        distance[sample != sample[i]] = np.inf
        distance[i] = np.inf
        near = np.flatnonzero(distance <= radius) if radius else np.argsort(distance)[:n_neighbors]
        for j in [*near, i] if include_self else near:
            result[i, types.index(cells.obs["type"].iloc[j])] += 1
        result[i] /= max(result[i].sum(), 1)
    return result


@pytest.mark.parametrize("size", [{"radius": 22.0}, {"n_neighbors": 7}])
@pytest.mark.parametrize("include_self", [False, True])
def test_equals_brute_force(cells, size, include_self):
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", include_self=include_self, **size)
    expected = brute_force(cells, include_self=include_self, **size)
    written = cells.obsm["neighborhood_composition"]
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, expected, atol=1e-6)
    np.testing.assert_allclose(written.sum(axis=1), 1, atol=1e-6)
    record = cells.uns["neighborhood_composition"]
    assert list(record["categories"]) == ["tumor", "T", "B", "NK"]
    assert {key: value for key, value in record["params"].items() if key != DATA} == {
        "cluster_key": "type",
        "library_key": "sample",
        "spatial_key": "spatial",
        "include_self": include_self,
        **size,
        **({"radius_unit": "unknown"} if "radius" in size else {}),
    }


@pytest.mark.parametrize("size", [{"radius": 22.0}, {"n_neighbors": 7}])
def test_with_an_older_squidpy(cells, size, monkeypatch):
    import squidpy as sq

    if not hasattr(sq.gr, "spatial_neighbors"):
        pytest.skip("this squidpy has no spatial_neighbors any more")
    new = sfm.tl.neighborhood_composition(cells, "type", library_key="sample", copy=True, **size)
    monkeypatch.delattr(sq.gr, "spatial_neighbors_radius", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        old = sfm.tl.neighborhood_composition(cells, "type", library_key="sample", copy=True, **size)
    pd.testing.assert_frame_equal(new, old)


def test_order_of_cells_does_not_matter(cells):
    order = np.random.default_rng(1).permutation(cells.n_obs)
    straight = sfm.tl.neighborhood_composition(cells, "type", library_key="sample", radius=25, copy=True)
    shuffled = sfm.tl.neighborhood_composition(cells[order].copy(), "type", library_key="sample", radius=25, copy=True)
    # anndata drops the category that no cell has when it subsets
    pd.testing.assert_frame_equal(shuffled.loc[straight.index], straight.drop(columns="NK"))


def test_cells_on_the_same_spot_are_neighbours():
    cells = AnnData(
        obs=pd.DataFrame({"type": ["T", "B"]}, index=["a", "b"]), obsm={"spatial": np.array([[1.0, 1.0], [1.0, 1.0]])}
    )
    table = sfm.tl.neighborhood_composition(cells, "type", radius=1, copy=True)
    np.testing.assert_array_equal(table[["B", "T"]], [[1, 0], [0, 1]])


def test_lone_cells_are_zero_and_counted(cells):
    cells.obsm["spatial"][:3] += [[1000, 0], [2000, 0], [3000, 0]]
    with pytest.warns(SpatialfmWarning, match=r"3 of 300 cells have no neighbour.*Raise radius="):
        sfm.tl.neighborhood_composition(cells, "type", library_key="sample", radius=25)
    assert cells.uns["neighborhood_composition"]["n_without_neighbors"] == 3
    assert (cells.obsm["neighborhood_composition"][:3] == 0).all()
    assert not np.isnan(cells.obsm["neighborhood_composition"]).any()


def test_the_users_graph_stays(cells):
    from scipy.sparse import csr_matrix

    own = csr_matrix(np.eye(cells.n_obs))
    cells.obsp["spatial_connectivities"] = own.copy()
    cells.uns["spatial_neighbors"] = {"mine": 1}
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", radius=20)
    assert (cells.obsp["spatial_connectivities"] != own).nnz == 0
    assert list(cells.obsp) == ["spatial_connectivities"]
    assert cells.uns["spatial_neighbors"] == {"mine": 1}


def test_copy_writes_nothing(cells):
    table = sfm.tl.neighborhood_composition(cells, "type", library_key="sample", radius=20, copy=True)
    assert table.shape == (300, 4)
    assert list(table.index) == list(cells.obs_names)
    assert list(cells.obsm) == ["spatial"]
    assert not cells.uns


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {}, r"exactly one of radius= .* and n_neighbors="),
        ({}, {"radius": 5, "n_neighbors": 5}, r"exactly one"),
        ({}, {"n_neighbors": 68}, r"1 of 4 libraries .* n_neighbors=68: 's2 \(68 cells\)'.*radius= .*at most 67"),
        ({}, {"radius": 5, "library_key": None}, r"holds 4 samples in obs\['sample'\].*library_key=\"sample\""),
        ({}, {"radius": 5, "library_key": "slide"}, r"No column 'slide' in obs \(library_key=\); found 'sample'"),
        ({}, {"radius": 5, "cluster_key": "kind"}, r"No column 'kind' in obs \(cluster_key=\)"),
        ({}, {"radius": 5, "spatial_key": "xy"}, r"No coordinates 'xy' in obsm.*found 'spatial'"),
        (
            {"type": [None] * 2 + ["T"] * 298},
            {"radius": 5},
            r"2 of 300 cells have no value in obs\['type'\].*'c0', 'c1'",
        ),
        ({"sample": [None] + ["s"] * 299}, {"radius": 5}, r"1 of 300 cells have no value in obs\['sample'\]"),
    ],
)
def test_refusals(cells, change, arguments, message):
    for key, value in change.items():
        cells.obs[key] = value
    arguments = {"cluster_key": "type", "library_key": "sample", **arguments}
    with pytest.raises(TableError, match=message):
        sfm.tl.neighborhood_composition(cells, **arguments)
    assert list(cells.obsm) == ["spatial"]
    assert not cells.uns


def test_refuses_bad_coordinates_and_other_objects(cells):
    from spatialdata import SpatialData

    cells.obsm["spatial"][4, 0] = np.nan
    with pytest.raises(TableError, match=r"1 of 300 cells have no finite coordinate.*'c4'"):
        sfm.tl.neighborhood_composition(cells, "type", library_key="sample", radius=5)
    with pytest.raises(ArgumentError, match=r"a SpatialData\): adata must be an AnnData.*sdata\['table'\]"):
        sfm.tl.neighborhood_composition(SpatialData(), "type", radius=5)


def test_result_is_written_and_read_back(cells, tmp_path):
    from anndata import read_h5ad, read_zarr

    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", radius=20)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    cells.write_zarr(tmp_path / "cells.zarr")
    for back in (read_h5ad(tmp_path / "cells.h5ad"), read_zarr(tmp_path / "cells.zarr")):
        np.testing.assert_array_equal(back.obsm["neighborhood_composition"], cells.obsm["neighborhood_composition"])
        assert list(back.uns["neighborhood_composition"]["categories"]) == ["tumor", "T", "B", "NK"]
        assert back.uns["neighborhood_composition"]["params"]["radius"] == 20


def test_fields_of_a_table_made_elsewhere_are_no_neighbours():
    cells = cosmx_like()["table"]
    cells.obs["type"] = cells.obs["fov"].to_numpy()  # neighbours of one's own field are of one's own type
    before = list(cells.obsm)
    with pytest.raises(TableError, match=r"2 samples in obs\['fov_labels'\].*library_key=\"fov_labels\""):
        sfm.tl.neighborhood_composition(cells, "type", n_neighbors=5)
    assert list(cells.obsm) == before
    table = sfm.tl.neighborhood_composition(cells, "type", n_neighbors=5, library_key="fov_labels", copy=True)
    np.testing.assert_array_equal(table.to_numpy(), np.eye(2)[cells.obs["fov"].astype(int) - 1])


def test_of_equally_far_cells_the_same_are_neighbours_in_any_order_of_the_table():
    """Centres on whole pixels, two of them on one place: most cells have neighbours that are equally far."""
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
    places[7] = places[40]
    types = pd.Categorical(rng.choice(["a", "b", "c"], len(places)))
    cells = AnnData(obs=pd.DataFrame({"type": types}, index=[f"cell {n}" for n in range(len(places))]))
    cells.obsm["spatial"] = places
    own = sfm.tl.neighborhood_composition(cells, "type", n_neighbors=6, copy=True)
    for _ in range(3):
        other = sfm.tl.neighborhood_composition(
            cells[rng.permutation(len(places))].copy(), "type", n_neighbors=6, copy=True
        )
        pd.testing.assert_frame_equal(other.loc[own.index], own)
    # a corner has two cells at distance 1, one at the root of 2 and two at 2: the sixth is one of two at the root of 5
    corner = cells.obs["type"].iloc[[1, 12, 13, 2, 24]].value_counts().reindex(own.columns)
    sixth = own.iloc[0] * 6 - corner
    assert sixth.round(6).isin([0, 1]).all()
    assert sixth.sum() == pytest.approx(1)
