"""``spatialfm phenotype``: signatures that can be used, and names of clusters."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from cli_cohort import CELL, GAP, SIDE, write_cohort

from spatialfm._errors import TableError
from spatialfm.cli import main
from spatialfm.cli.phenotype import (
    CLUSTER,
    PHENOTYPE,
    UNLABELLED,
    _embedding,
    _heatmap,
    _marker_profiles,
    _named,
    usable_signatures,
)


def cells():
    """Ten cells of each of three clusters, each bright in one channel; a channel that one sample lacks."""
    values = np.ones((30, 4), np.float32)
    for number in range(3):
        values[10 * number : 10 * number + 10, number] = 100 + np.arange(10)
    values[:5, 3] = np.nan
    obs = pd.DataFrame({CLUSTER: pd.Categorical(np.repeat(["0", "1", "2"], 10)), "slide": list("ab") * 15})
    obs.index = obs.index.map(str)
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=["CD3e", "CD20", "panCK", "CD68"]))


def test_signatures_are_those_whose_markers_are_measured_under_any_of_their_names():
    found = usable_signatures({"T": ["CD3"], "Tumor": ["Cytokeratin", "CD3"], "X": ["CD8"]}, ["CD3e", "panCK"])
    assert found == {"T": ("CD3e",), "Tumor": ("panCK", "CD3e")}
    assert usable_signatures({"X": ["CD8"]}, ["CD3e"]) == {}
    assert usable_signatures({"B": ["CD20", "CD3-"]}, ["CD3e", "CD20"]) == {"B": ("CD20", "CD3e-")}


def test_default_signatures_are_the_common_ones_that_the_panel_has():
    assert list(usable_signatures(None, ["CD3", "CD8", "CD20"])) == ["CD8 T", "B"]


def test_clusters_are_named_by_what_is_bright_in_them():
    table = cells()
    profiles = _marker_profiles(table, CLUSTER, "slide")
    assert list(profiles.var_names) == ["CD3", "CD20", "pan-Cytokeratin"]  # CD68 is not measured in every cell
    named = _named(table, profiles, {"T": ["CD3"], "B": ["CD20"], "Tumor": ["Cytokeratin"]}, {})
    assert named.tolist() == ["T"] * 10 + ["B"] * 10 + ["Tumor"] * 10


def test_imputed_markers_are_not_clustered_as_an_embedding():
    table = cells()
    table.obsm["X_imputed"] = pd.DataFrame({"CD8": np.ones(30)}, index=table.obs_names)
    table.uns["spatialfm"] = {"X_imputed": {"imputed": '["CD8"]'}}
    with pytest.raises(TableError, match="No embedding in obsm; found 'X_imputed'. Pass phenotype.use_rep"):
        _embedding(table)
    table.obsm["X_virtues"] = np.ones((30, 2))
    assert _embedding(table) == "X_virtues"


def test_names_of_the_user_go_before():
    table = cells()
    profiles = _marker_profiles(table, CLUSTER, None)
    named = _named(table, profiles, {"T": ["CD3"]}, {"1": "Mine"})
    assert named.tolist() == ["T"] * 10 + ["Mine"] * 10 + ["Other"] * 10
    with pytest.raises(TableError, match="there is no cluster '7'; there are '0', '1', '2'"):
        _named(table, profiles, None, {"7": "Mine"})


def test_without_any_signature_clusters_keep_their_numbers():
    table = cells()
    named = _named(table, _marker_profiles(table, CLUSTER, None), {"X": ["CD8"]}, {})
    assert set(named) == {"cluster 0", "cluster 1", "cluster 2"}


def test_the_heatmap_has_the_means_of_each_phenotype_with_its_number_of_cells():
    import matplotlib.pyplot as plt

    table = cells()
    profiles = _marker_profiles(table, CLUSTER, None)
    profiles.obs[PHENOTYPE] = _named(table, profiles, {"T": ["CD3"]}, {"1": "B"})
    figure = _heatmap(profiles)
    ax, bar = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["T (10)", "B (10)", "Other (10)"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["CD3", "CD20", "pan-Cytokeratin"]
    # of 30 cells, the 10 that are bright stand sqrt(2) standard deviations above the mean, the others sqrt(1/2) below
    expected = np.full((3, 3), -np.sqrt(0.5)) + np.eye(3) * (np.sqrt(2) + np.sqrt(0.5))
    np.testing.assert_allclose(ax.collections[0].get_array(), expected, atol=0.01)
    assert "z-score" in bar.get_ylabel()
    plt.close(figure)


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory):
    """A cohort whose cells are QuPath's polygons, with planted types as classes in a column of the table."""
    folder = tmp_path_factory.mktemp("classes")
    truth = write_cohort(folder, 2)
    truth.loc[truth.index % 9 == 0, "type"] = ""  # QuPath leaves some without a class
    parts = []
    for sample, cells in truth.groupby("sample"):
        y, x = (GAP + (CELL + GAP) * place for place in divmod(cells["cell_id"].to_numpy() - 1, SIDE))
        ids = [f"{sample}-{number}" for number in cells["cell_id"]]
        corners = [(0, 0), (0, CELL), (CELL, CELL), (CELL, 0), (0, 0)]
        features = [
            {
                "type": "Feature", "id": one, "properties": {"objectType": "cell"},
                "geometry": {"type": "Polygon", "coordinates": [[[int(b + dx), int(a + dy)] for dx, dy in corners]]},
            }
            for one, a, b in zip(ids, y, x, strict=True)
        ]  # fmt: skip
        (folder / f"{sample}.geojson").write_text(json.dumps(features))
        places = {"Centroid X µm": x + CELL / 2, "Centroid Y µm": y + CELL / 2, "Cell: CD3 mean": 1.0}
        parts.append(pd.DataFrame({"Image": f"{sample}.ome.tif", "Object ID": ids, "Object type": "Cell", **places}))
        parts[-1]["Classification"] = cells["type"].to_numpy()
    pd.concat(parts).to_csv(folder / "measurements.tsv", sep="\t", index=False)
    table = pd.read_csv(folder / "cohort.csv")
    table["labels"] = table["sample"] + ".geojson"
    table.assign(kind="qupath", measurements="measurements.tsv").to_csv(folder / "cohort.csv", index=False)
    for command in (["read", str(folder / "cohort.csv"), "--out", str(folder / "out")], ["segment"], ["embed"]):
        options = [] if command[0] == "read" else [str(folder / "out")]
        options += ["--model", "mean-intensity"] if command[0] == "embed" else []
        assert main([*command, *options, "--quiet"]) == 0
    return folder / "out", truth["type"].tolist()


def stage(out, name):
    return ad.read_h5ad(out / "stages" / f"{name}.h5ad").obs


def test_classes_of_the_files_come_with_the_cells_and_are_not_mixed_with_names_of_clusters(with_classes):
    out, types = with_classes
    cells = stage(out, "segment")
    assert "phenotype" not in cells
    assert cells["phenotype_given"].astype("string").fillna("").tolist() == types
    assert main(["phenotype", str(out), "--quiet"]) == 0
    found = stage(out, "phenotype")["phenotype"]
    assert found.notna().all()
    assert found.groupby(stage(out, "phenotype")["cluster"], observed=True).nunique().eq(1).all()  # of clusters


@pytest.mark.slow
def test_classes_are_the_phenotypes_where_that_is_asked_for(with_classes, capsys):
    out, types = with_classes
    assert main(["phenotype", str(out), "--label-key", "phenotype_given", "--quiet"]) == 0
    found = stage(out, "phenotype")["phenotype"].tolist()
    assert found == [one or UNLABELLED for one in types]
    assert (out / "figures" / "phenotypes_markers.png").is_file()
    assert main(["phenotype", str(out), "--label-key", "class"]) == 1
    assert "The cells have no column 'class' (phenotype.label_key); found" in capsys.readouterr().err
