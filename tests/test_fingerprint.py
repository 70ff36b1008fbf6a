"""A figure shows what holds for the table: results of data that changed since are refused, other tests left out."""

from __future__ import annotations

import json
import warnings

import anndata as ad
import dask.array
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy.sparse import csr_matrix

import spatialfm as sfm
from spatialfm._errors import SpatialfmWarning, TableError
from spatialfm._fingerprint import changed_since, changes, digest, fingerprint
from spatialfm.pl._figure import stored_colors


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def patients() -> ad.AnnData:
    """60 patients; those of arm b die three times as fast."""
    rng = np.random.default_rng(0)
    arm = np.repeat(["a", "b"], 30)
    time = rng.exponential(np.where(arm == "a", 30, 10)) + 0.1
    obs = pd.DataFrame({"arm": arm, "time": time, "event": rng.random(60) < 0.9}, index=[f"P{i}" for i in range(60)])
    counts = rng.integers(5, 40, (60, 3)).astype(float)
    patients = ad.AnnData(counts / counts.sum(axis=1, keepdims=True), obs=obs, var=pd.DataFrame(index=list("xyz")))
    patients.layers["counts"] = counts
    return patients


def test_order_and_kind_of_storage_do_not_count(patients, tmp_path):
    made_of = fingerprint(patients, ["arm", "time", "event"], x=True)
    shuffled = patients[np.random.default_rng(1).permutation(60), ["z", "x", "y"]].copy()
    assert fingerprint(shuffled, ["arm", "time", "event"], x=True) == made_of
    shuffled.write_h5ad(tmp_path / "p.h5ad")
    assert changes(ad.read_h5ad(tmp_path / "p.h5ad"), made_of) == []
    other = patients.copy()
    other.obs["arm"] = pd.Categorical(other.obs["arm"], ["b", "a"], ordered=True)
    other.obs["event"] = other.obs["event"].astype(int)
    other.obs["more"] = 1
    assert changes(other, made_of) == []


@pytest.mark.parametrize("what", ["arm", "time", "event"])
def test_changes_of_equal_counts_are_seen(patients, what):
    """Two patients that swap their values leave every group as large as it was."""
    made_of = fingerprint(patients, ["arm", "time", "event"])
    values = patients.obs[what].to_numpy().copy()
    other = np.flatnonzero(values != values[0])[0]
    values[[0, other]] = values[[other, 0]]
    patients.obs[what] = values
    assert changes(patients, made_of) == [f"obs[{what!r}]"]


def test_rows_and_values_are_compared(patients):
    made_of = fingerprint(patients, ["arm"], x=True)
    assert changes(patients[:59].copy(), made_of) == ["the rows (60 then, 59 now)"]
    renamed = patients.copy()
    renamed.obs_names = ["other", *renamed.obs_names[1:]]
    assert changes(renamed, made_of) == ["the rows (of other names)"]
    patients.X[0] = patients.X[0][::-1].copy()
    assert changes(patients, made_of) == ["X"]
    patients.obs["arm"] = patients.obs["arm"].where(patients.obs_names != "P3")
    assert changes(patients, made_of) == ["obs['arm']", "X"]
    assert json.loads(made_of)["n"] == 60


def test_digest_is_of_pairs_not_of_sets():
    assert digest("ab", [1, 2], ["x", "y"]) == digest("ba", [2, 1], ["y", "x"])
    assert digest("ab", [1, 2]) != digest("ab", [2, 1])
    assert digest("ab", [1, 2], ["x", "y"]) != digest("ab", [1, 2], ["y", "x"])


def title(patients) -> str:
    """What stands above the names of the groups, without the column that they are of."""
    text = sfm.pl.kaplan_meier(patients, show=False).get_legend().get_title().get_text()
    assert text.splitlines()[-1] == "arm"
    return "\n".join(text.splitlines()[:-1])


def test_the_p_value_of_an_earlier_test_is_not_shown(patients):
    """Shuffled groups of the same sizes, tested first; then the real ones."""
    real = patients.obs["arm"].copy()
    patients.obs["arm"] = np.random.default_rng(3).permutation(real)
    sfm.tl.kaplan_meier(patients, "arm")
    sfm.tl.logrank(patients, "arm")
    assert title(patients).startswith("log-rank p = ")
    patients.obs["arm"] = real
    sfm.tl.kaplan_meier(patients, "arm")
    assert patients.uns["kaplan_meier"]["groups"]["n"].to_dict() == patients.uns["logrank"]["groups"]["n"].to_dict()
    with pytest.warns(SpatialfmWarning, match=r"other patients, groups or outcomes.*Run sfm.tl.logrank"):
        assert title(patients) == ""
    sfm.tl.logrank(patients, "arm")
    one, two = (patients.obs[patients.obs["arm"] == arm] for arm in "ab")
    truth = logrank_test(one["time"], two["time"], one["event"], two["event"]).p_value
    assert truth < 0.001
    assert patients.uns["logrank"]["p_value"] == pytest.approx(truth, rel=1e-6)
    assert title(patients) == "log-rank p < 0.001"


@pytest.mark.parametrize("changed", ["time", "event"])
def test_the_p_value_of_other_outcomes_is_not_shown(patients, changed):
    sfm.tl.logrank(patients, "arm")
    patients.obs[changed] = patients.obs[changed].to_numpy()[::-1].copy()
    sfm.tl.kaplan_meier(patients, "arm")
    with pytest.warns(SpatialfmWarning, match="its p-value is not shown"):
        assert title(patients) == ""


def test_the_event_that_was_meant_counts(patients):
    patients.obs["status"] = np.where(patients.obs["event"], "dead", "alive")
    sfm.tl.logrank(patients, "arm", event_key="status", event_value="dead")
    sfm.tl.kaplan_meier(patients, "arm", event_key="status", event_value="alive")
    with pytest.warns(SpatialfmWarning, match="its p-value is not shown"):
        assert title(patients) == ""
    sfm.tl.kaplan_meier(patients, "arm", event_key="status", event_value="dead")
    assert title(patients) == "log-rank p < 0.001"


def _cells(n_patients=8):
    cells = sfm.datasets.simulate_cells(n_patients=n_patients, cells_per_patient=200, random_state=0)
    cells.obs["nest"] = cells.obs["niche"] == "tumor nest"
    return cells


def _sweep():
    cells = _cells(3)
    sfm.tl.leiden_sweep(cells, use_rep="X_latent", resolutions=(0.3, 1.0), n_subsamples=0)
    return cells, sfm.pl.cluster_tree, None


def _contrast():
    cells = _cells()
    sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest", n_neighbors=4)
    return cells, sfm.pl.neighborhood_contrast, "type"


def _patients_of(make, draw, column):
    def call(patients):
        make(patients)
        return patients, draw, column

    return call


RESULTS = {
    "kaplan_meier": _patients_of(lambda p: sfm.tl.kaplan_meier(p, "arm"), sfm.pl.kaplan_meier, "arm"),
    "forest": _patients_of(lambda p: sfm.tl.cox(p, ["arm", "x"]), sfm.pl.forest, "arm"),
    "compare_composition": _patients_of(
        lambda p: sfm.tl.compare_composition(p, "arm"), sfm.pl.compare_composition, "arm"
    ),
    "survival_auc": _patients_of(
        lambda p: sfm.tl.coxnet(p, n_alphas=4, n_folds=3, n_inner_folds=2, n_bootstrap=100), sfm.pl.survival_auc, "time"
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*RESULTS, "cluster_tree", "neighborhood_contrast"])
def test_results_of_changed_data_are_refused(patients, name):
    if name in RESULTS:
        table, draw, column = RESULTS[name](patients)
    else:
        table, draw, column = _sweep() if name == "cluster_tree" else _contrast()
    draw(table, show=False)
    draw(table[::-1].copy(), show=False)  # another order of rows is not a change
    with pytest.raises(TableError, match=r"was made of other data: the rows \(\d+ then, \d+ now\) changed.*Run sfm.tl"):
        draw(table[: table.n_obs - 5].copy(), show=False)
    if column is not None:
        table.obs[column] = table.obs[column].to_numpy()[np.r_[table.n_obs - 1, : table.n_obs - 1]]
        with pytest.raises(TableError, match=rf"was made of other data: obs\['{column}'\] changed since"):
            draw(table, show=False)


def test_values_that_the_groups_were_compared_by_count(patients):
    sfm.tl.compare_composition(patients, "arm")
    patients.X = patients.X[:, ::-1].copy()
    with pytest.raises(TableError, match="was made of other data: X changed"):
        sfm.pl.compare_composition(patients, show=False)


def test_nothing_is_starred_where_patients_are_too_few():
    cells = _cells(3)
    with pytest.warns(SpatialfmWarning, match="five are the least"):
        sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest", n_neighbors=4)
    table = cells.uns["neighborhood_contrast"]["table"]
    assert table["q_cells"].isna().all()  # the z-test over cells would have starred
    assert not table["significant"].any()
    ax = sfm.pl.neighborhood_contrast(cells, show=False)
    texts = [text.get_text() for text in ax.texts]
    assert not any(text.endswith("*") for text in texts)
    assert texts[-1].startswith("not tested: 1 patient has cells inside and outside, 5 are the least")
    with pytest.warns(SpatialfmWarning, match="nothing is called significant"):
        sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="nest", n_neighbors=4, patient_key=None)
    table = cells.uns["neighborhood_contrast"]["table"]
    assert (table["q_cells"] < 0.05).any()  # asked for, and yet no star
    assert not table["significant"].any()


def test_what_a_regression_warned_of_stands_in_its_figure(patients):
    with pytest.warns(SpatialfmWarning, match="events for 2 terms"):
        sfm.tl.cox(patients[25:40].copy(), ["arm", "x"], key_added="cox")
    few = patients[25:40].copy()
    with pytest.warns(SpatialfmWarning, match="events for 2 terms"):
        sfm.tl.cox(few, ["arm", "x"])
    n = few.obs["event"].sum()
    label = sfm.pl.forest(few, show=False).get_xlabel()
    assert f"{n / 2:.2g} events per term: ratios are exaggerated" in label
    sfm.tl.cox(patients, "arm", test_proportional_hazards=False)
    assert sfm.pl.forest(patients, show=False).get_xlabel() == "Hazard ratio (95 % interval)"


def test_groups_keep_their_colours(patients):
    patients.obs["stage"] = pd.Categorical(["I", "II", "III"] * 20)
    patients.uns["stage_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    assert stored_colors(patients, "stage", ["II", "III"]) == ["#00ff00", "#0000ff"]
    some = patients[patients.obs["stage"] != "I"].copy()
    some.obs["stage"] = some.obs["stage"].cat.set_categories(["I", "II", "III"])
    some.uns["stage_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    sfm.tl.kaplan_meier(some, "stage")
    ax = sfm.pl.kaplan_meier(some, show=False, at_risk=False)
    assert {line.get_color() for line in ax.lines} == {"#00ff00", "#0000ff"}
    assert stored_colors(patients, "stage", ["IV"]) is None


@pytest.mark.parametrize("kind", ["array", "table", "sparse"])
def test_embeddings_are_compared(patients, tmp_path, kind):
    values = np.random.default_rng(2).normal(size=(60, 4)).astype(np.float32)
    values[3, 1], values[4, 2] = np.nan, -0.0
    kinds = {
        "array": values,
        "table": pd.DataFrame(values, index=patients.obs_names, columns=list("abcd")),
        "sparse": csr_matrix(values),
    }
    patients.obsm["X_model"] = kinds[kind]
    made_of = fingerprint(patients, obsm=["X_model", None, "X_absent"])
    assert changes(patients[::-1].copy(), made_of) == []
    patients.write_h5ad(tmp_path / "p.h5ad")
    assert changes(ad.read_h5ad(tmp_path / "p.h5ad"), made_of) == []
    for other in (values[:, ::-1], values[np.r_[1, 0, 2:60]], values[:, :3], values + np.float32(1e-6)):
        changed = patients.copy()
        changed.obsm["X_model"] = other.copy()
        assert changes(changed, made_of) == ["obsm['X_model']"]
    del patients.obsm["X_model"]  # as to save space: nothing that is there is another one
    assert changes(patients, made_of) == []
    assert changes(patients, fingerprint(patients, obsm=["X"])) == []
    assert "X" in json.loads(fingerprint(patients, obsm=["X"]))


def test_embeddings_that_stay_on_disk_are_read_in_parts(patients, monkeypatch):
    values = np.random.default_rng(0).normal(size=(patients.n_obs, 7))
    patients.obsm["X_model"] = values
    in_memory, sizes = fingerprint(patients, obsm=["X_model"]), []
    monkeypatch.setattr("spatialfm._fingerprint.READ", 7 * 11)
    monkeypatch.setattr("spatialfm._fingerprint.dense", lambda part: sizes.append(part.shape) or np.asarray(part))
    patients.obsm["X_model"] = dask.array.from_array(values, chunks=(13, 7))
    assert fingerprint(patients, obsm=["X_model"]) == in_memory
    assert max(sizes) == (11, 7)
    assert sum(rows for rows, _ in sizes) == patients.n_obs


def test_other_rows_of_a_table_with_text_are_seen(patients):
    patients.obsm["calls"] = pd.DataFrame({"a": ["x", "y"] * 30, "b": 1.0}, index=patients.obs_names)
    made_of = fingerprint(patients, obsm=["calls"])
    assert changes(patients[::-1].copy(), made_of) == []
    patients.obsm["calls"].iloc[0, 0] = "y"
    assert changes(patients, made_of) == ["obsm['calls']"]


def test_markers_are_compared_one_by_one(patients):
    made_of = fingerprint(patients, markers=["z", "x"])
    of_counts = fingerprint(patients, markers=["z", "x"], layer="counts")
    part = patients[:, ["z"]].copy()
    assert changes(part, made_of) == changes(part, of_counts) == []  # others may be left out
    patients.X[5, 1] += 1  # of y, which was not used
    assert changes(patients, made_of) == []
    patients.X[5, 2] += 1
    assert changes(patients, made_of) == ["'z' in X"]
    patients.layers["counts"][:, [0, 2]] += 1
    assert changes(patients, of_counts) == ["'z' in layers['counts']", "'x' in layers['counts']"]


def _panel():
    cells = _cells(4)
    sfm.tl.select_panel(cells, 4, n_random=2)
    return cells, sfm.pl.panel_curve, True, "patient"


def _surprise():
    cells = _cells(4)
    sfm.tl.surprise(cells)
    return cells, sfm.pl.surprise, True, "sample"


def _positive():
    cells = _cells(4)
    sfm.tl.marker_positivity(cells, markers=["CD3", "CD20"])
    return cells, lambda table, **how: sfm.pl.positivity(table, "CD20", **how), False, "sample"


def _reconstructed():
    cells = _cells(4)
    sfm.tl.evaluate_reconstruction(cells, markers=["CD3", "CD20"], n_bootstrap=20)
    return cells, sfm.pl.reconstruction_scores, True, "patient"


def _added_up():
    cells = _cells(3)
    cells.obs["known"] = cells.obs["type"].where(np.arange(cells.n_obs) % 4 == 0)
    sfm.tl.annotate(cells, "known", use_rep="X", method="bcos")
    return cells, lambda table, **how: sfm.pl.contributions(table, "known_predicted", **how), True, "known_predicted"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [_panel, _surprise, _positive, _reconstructed, _added_up])
def test_results_of_cells_are_refused_once_these_changed(make):
    """Fewer rows are refused where a figure is of all of them; other intensities and other names in every one."""
    cells, draw, of_all, column = make()
    draw(cells, show=False)
    draw(cells[::-1].copy(), show=False)
    part = cells[:-5].copy()
    if of_all:
        with pytest.raises(TableError, match=r"made of other data: the rows \(\d+ then, \d+ now\) changed.*Run sfm.tl"):
            draw(part, show=False)
    else:
        draw(part, show=False)
    renamed = cells.copy()
    names = renamed.obs[column].astype(str)
    renamed.obs[column] = names.where(names != names.iloc[0], "another")
    with pytest.raises(TableError, match=rf"made of other data: obs\['{column}'\] changed since"):
        draw(renamed, show=False)
    cells.X = cells.X / 2
    with pytest.raises(TableError, match=r"made of other data: ('\w+' in )?X"):
        draw(cells, show=False)


@pytest.mark.filterwarnings("ignore")
def test_scores_of_another_embedding_of_the_same_name_are_refused():
    cells = _cells(6)
    sfm.tl.classify_samples(cells, label_key="response", use_rep="X_latent", n_components=[2], n_draws=3)
    sfm.pl.sample_scores(cells, show=False)
    cells.obsm["X_latent"] = cells.obsm["X_latent"][:, ::-1].copy()
    with pytest.raises(TableError, match=r"made of other data: obsm\['X_latent'\] changed"):
        sfm.pl.sample_scores(cells, show=False)


def test_niches_of_types_that_changed_say_so():
    cells = _cells(3)
    sfm.tl.neighborhood_composition(cells, "type", n_neighbors=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sfm.tl.niches(cells, 3)
        sfm.tl.niches(cells[100:].copy(), 3)  # neighbours of those that are left are the same
    cells.obs["type"] = cells.obs["type"].to_numpy()[::-1].copy()
    with pytest.warns(SpatialfmWarning, match=r"neighborhood_composition'\] was made of other data: obs\['type'\]"):
        sfm.tl.niches(cells, 3)
    sfm.tl.neighborhood_composition(cells, "type", n_neighbors=8)
    sfm.tl.niches(cells, 3)
    assert changed_since(cells, cells.uns["niche"], "niche", "niches") is None
    cells.obs["niche"] = cells.obs["niche"].cat.rename_categories({"1": "tumor"})
    assert "obs['niche'] changed since" in changed_since(cells, cells.uns["niche"], "niche", "niches")


def test_places_and_samples_that_neighbours_were_found_in_count():
    cells, draw, _ = _contrast()
    cells.obsm["spatial"] = cells.obsm["spatial"][::-1].copy()
    with pytest.raises(TableError, match=r"made of other data: obsm\['spatial'\] changed"):
        draw(cells, show=False)
