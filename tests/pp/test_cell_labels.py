"""Labels that are joined are those of the file, cell by cell; a file that does not fit writes nothing."""

from __future__ import annotations

import pandas as pd
import pytest
import spatialdata as sd

import spatialfm as sfm
from spatialfm._errors import InputFileError, TableError


@pytest.fixture
def cells():
    return sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=30, random_state=0)


@pytest.fixture(scope="module")
def sdata():
    sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=2, image_size=64, difficulty="easy", random_state=0)
    sfm.pp.cell_table(sdata)
    return sdata


def frame(cells, labels, **more):
    return pd.DataFrame({"cell": cells.obs_names[: len(labels)], "label": labels} | more)


def test_a_file_goes_out_and_comes_back_as_a_spreadsheet_writes_it(cells, tmp_path):
    names = list(cells.obs_names[[5, 3, 40]])
    path = sfm.io.write_cell_labels(cells, tmp_path / "labels.csv", cells=names)
    asked = pd.read_csv(path, encoding="utf-8-sig")
    assert asked["cell"].tolist() == names
    assert asked["label"].isna().all()
    asked["label"] = ["γδ T", "B", None]
    asked.to_csv(path, index=False, sep=";", decimal=",", encoding="utf-8-sig")  # as a German spreadsheet does
    sfm.pp.add_cell_labels(cells, path, "known")
    assert cells.obs["known"].dropna().to_dict() == {names[0]: "γδ T", names[1]: "B"}
    assert cells.obs["known"].cat.categories.tolist() == ["γδ T", "B"]


@pytest.mark.parametrize(
    ("rule", "expected"), [("keep", ["A", "B", "C"]), ("replace", ["A", "Z", "C"]), ("raise", None)]
)
def test_conflicts_by_rule(cells, rule, expected):
    sfm.pp.add_cell_labels(cells, frame(cells, ["A", "B"]), "known")
    before = cells.obs["known"].copy()
    if expected is None:
        with pytest.raises(TableError, match=r"1 cell has another label in obs\['known'\].*'B', now 'Z'"):
            sfm.pp.add_cell_labels(cells, frame(cells, ["A", "Z", "C"]), "known", on_conflict=rule)
        assert before.equals(cells.obs["known"])
        return
    sfm.pp.add_cell_labels(cells, frame(cells, ["A", "Z", "C"]), "known", on_conflict=rule)
    assert cells.obs["known"].tolist()[:3] == expected
    assert cells.obs["known"].notna().sum() == 3


def test_categories_keep_their_order_and_rows_without_label_change_nothing(cells):
    cells.obs["known"] = pd.Categorical(["B"] + [None] * 59, ["T", "B", "NK"])
    sfm.pp.add_cell_labels(cells, frame(cells, [None, "  ", "Mac", "NK"]), "known")
    expected = dict(zip(cells.obs_names[[0, 2, 3]], ["B", "Mac", "NK"], strict=True))
    assert cells.obs["known"].dropna().to_dict() == expected
    assert cells.obs["known"].cat.categories.tolist() == ["T", "B", "NK", "Mac"]
    sfm.pp.add_cell_labels(cells, frame(cells, ["B"]), "known", categories=["Mac", "NK", "B", "T", "DC"])
    assert cells.obs["known"].cat.categories.tolist() == ["Mac", "NK", "B", "T", "DC"]


def test_numbers_are_names_of_classes_and_names_stay_text(cells, tmp_path):
    cells.obs_names = [f"{i:03d}" for i in range(cells.n_obs)]
    (tmp_path / "a.csv").write_text("cell,label\n007,1\n010,2\n", encoding="utf-8")
    sfm.pp.add_cell_labels(cells, tmp_path / "a.csv", "known")
    assert cells.obs["known"].dropna().to_dict() == {"007": "1", "010": "2"}
    cells.obs["known"] = cells.obs["known"].astype(float)  # as somebody's code may leave it
    sfm.pp.add_cell_labels(cells, pd.DataFrame({"cell": ["011"], "label": [2]}), "known")
    assert cells.obs["known"].dropna().to_dict() == {"007": "1", "010": "2", "011": "2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(cell=["x1", *f["cell"][1:]]), "1 of 3 cells of the table of labels are not in obs_names"),
        (lambda f: pd.concat([f, f[:1]]), "several rows, first .*, each with one label"),
        (lambda f: pd.concat([f, f[:1].assign(label="other")]), "their labels differ"),
        (lambda f: f.assign(cell=[None, *f["cell"][1:]]), "1 row of the table of labels with a label and without"),
        (lambda f: f.assign(label=None), "No row of the table of labels has a label"),
        (lambda f: f.assign(label=["T cell", "t  Cell", "B"]), "'T cell' and 't  Cell' read alike"),
        (lambda f: f.assign(label=["a", "b", "A"]), "'a' and 'A' read alike"),
        (lambda f: f.assign(label=["Mac", "Mac\u200b", "B"]), "read alike"),  # a sign that cannot be seen
        (
            lambda f: f.assign(label=["A", "nan", "B"]),
            "The label 'nan' of the table or of obs.'known'. would be a type",
        ),
        (lambda f: f.assign(label=["A", " None", "B"]), "The label 'None' of the table"),
        (lambda f: f.drop(columns="label"), "no column 'label' .column=."),
        (lambda f: f.assign(x=0.0, y=0.0), "lie elsewhere than x and y"),
        (lambda f: f.assign(label=[0.5, 1, 2]), "numbers that are not whole"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(cells, change, message):
    with pytest.raises(TableError, match=message):
        sfm.pp.add_cell_labels(cells, change(frame(cells, ["A", "B", "C"])), "known")
    assert "known" not in cells.obs


def test_labels_outside_of_the_categories_are_refused(cells):
    with pytest.raises(TableError, match="1 label of the table or of obs.'known'. not in categories=, first 'Tumour'"):
        sfm.pp.add_cell_labels(cells, frame(cells, ["Tumour"]), "known", categories=["Tumor"])
    with pytest.raises(TableError, match="identifies the cells"):
        sfm.pp.add_cell_labels(cells, frame(cells, ["A"]), "region")


def test_cells_that_were_segmented_again(cells):
    moved = frame(cells, ["A", "B"], x=cells.obsm["spatial"][:2, 0] + [0, 3.0], y=cells.obsm["spatial"][:2, 1])
    with pytest.raises(TableError, match="1 of 2 labelled cells lie elsewhere"):
        sfm.pp.add_cell_labels(cells, moved, "known")
    sfm.pp.add_cell_labels(cells, moved, "known", check_positions=False)
    assert cells.obs["known"].notna().sum() == 2


def test_labels_of_a_column_in_napari_come_back_through_the_store(sdata, tmp_path):
    """As napari-spatialdata's selection leaves them: a column of truth values, rows merged and numbered anew."""
    seen = sd.SpatialData(tables={"table": sdata["table"].copy()})
    obs = seen["table"].obs
    chosen = obs.index[[1, 4, len(obs) - 1]]
    obs["B_cell"] = pd.Categorical(obs.index.isin(chosen))
    turned = obs.sample(frac=1, random_state=0)
    table = seen["table"][turned.index].copy()
    table.obs = turned.reset_index(drop=True)
    table.obs.index = table.obs.index.astype(str)
    seen.tables["table"] = table
    sfm.io.write(seen, tmp_path / "annotated.zarr")

    cells = sdata["table"].copy()
    sfm.pp.add_cell_labels(cells, sd.read_zarr(tmp_path / "annotated.zarr")["table"], "known", column="B_cell")
    assert cells.obs_names[cells.obs["known"] == "B_cell"].tolist() == chosen.tolist()
    assert cells.obs["known"].notna().sum() == 3
    stored = sdata["table"].copy()
    stored.obs["known"] = cells.obs["known"]
    other = cells.copy()
    del other.obs["known"]
    sfm.pp.add_cell_labels(other, stored, "again", column="known")
    assert other.obs["again"].dropna().to_dict() == cells.obs["known"].dropna().to_dict()


def test_a_table_of_other_cells_is_refused(sdata):
    cells = sdata["table"].copy()
    other = cells.copy()
    other.obs["region"] = other.obs["region"].astype(str) + "_b"
    other.obs["type"] = "B"
    with pytest.raises(TableError, match="are not in obs_names, first 'cells_.*_b: 1'"):
        sfm.pp.add_cell_labels(cells, other, "known", column="type")


@pytest.mark.parametrize(("step", "said"), [(-1, "one lower"), (1, "one higher")])
def test_names_that_are_numbered_by_one_apart_are_told(sdata, step, said):
    adata = sdata["table"].copy()
    adata = adata[adata.obs["sample"] == adata.obs["sample"].iloc[0]].copy()
    names = [f"{name.rpartition('_')[0]}_{int(name.rpartition('_')[2]) + step}" for name in adata.obs_names]
    table = pd.DataFrame({"cell": names, "label": "B"})
    with pytest.raises(TableError, match=f"numbers cells {said} than they are here"):
        sfm.pp.add_cell_labels(adata, table, "known")
    with pytest.raises(TableError, match="Pass the table of these cells, or leave the rows out"):
        sfm.pp.add_cell_labels(adata, table.assign(cell=[f"{name}999" for name in names]), "known")


def test_a_file_that_is_not_there(cells, tmp_path):
    with pytest.raises(InputFileError):
        sfm.pp.add_cell_labels(cells, tmp_path / "no.csv", "known")
