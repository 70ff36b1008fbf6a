"""Labels that are digits, numbers or truth, and groups in an order of their own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.cohort.checks import named

HEADS = ["linear", "forest", "knn"]
KINDS = {
    "leiden": lambda codes: pd.Categorical(codes.astype(str)),
    "digits": lambda codes: codes.astype(str),
    "integers": lambda codes: codes,
    "with gaps": lambda codes: np.where(np.arange(len(codes)) % 5 == 0, np.nan, codes.astype(float)),
    "own order": lambda codes: pd.Categorical.from_codes(codes, ["10", "2", "1"], ordered=True),
}


@pytest.fixture
def cells() -> AnnData:
    """240 cells of three well separated classes, of six patients."""
    rng = np.random.default_rng(0)
    codes = np.tile([0, 1, 2], 80)
    obs = pd.DataFrame({"code": codes, "patient": [f"p{i}" for i in np.arange(240) // 40]}, index=map(str, range(240)))
    return AnnData(obs=obs, obsm={"X_m": 5 * np.eye(3)[codes] + rng.normal(size=(240, 3))})


# a forest is slow, and sees labels of all kinds as the others do
SLOW_PAIRS = {("forest", kind) for kind in ("leiden", "digits", "with gaps")}
PAIRS = [
    pytest.param(head, kind, marks=pytest.mark.slow if (head, kind) in SLOW_PAIRS else ())
    for kind in KINDS
    for head in HEADS
]


@pytest.mark.parametrize(("head", "kind"), PAIRS)
def test_labels_of_every_kind_are_learned(cells, head, kind):
    cells.obs["label"] = KINDS[kind](cells.obs["code"].to_numpy())
    names = ["10", "2", "1"] if kind == "own order" else ["0", "1", "2"]
    truth = np.array(names)[cells.obs["code"]]
    annotated = sfm.tl.annotate(cells, "label", use_rep="X_m", method=head, C=1.0, copy=True)["label"]
    moved = sfm.tl.transfer_labels(cells, cells.copy(), "label", use_rep="X_m", method=head, copy=True)["label"]
    for found in (annotated, moved):
        assert list(found.cat.categories) == names
        assert found.cat.ordered == (kind == "own order")
        assert (found.astype(str).to_numpy() == truth).mean() > 0.98
    table = sfm.tl.evaluate_annotation(cells, "label", use_rep="X_m", heads=head, C=1.0, n_folds=3)
    assert (table.query("score == 'f1' and use_rep == 'X_m'")["mean"] > 0.98).all()
    assert set(cells.uns["annotation"]["folds"]["class"]) == {*names, "macro"}


@pytest.mark.parametrize("head", HEADS)
def test_truth_is_a_label(cells, head):
    cells.obs["label"] = cells.obs["code"] == 1
    found = sfm.tl.annotate(cells, "label", use_rep="X_m", method=head, C=1.0, copy=True)["label"]
    assert list(found.cat.categories) == ["False", "True"]
    assert ((found == "True").to_numpy() == cells.obs["label"]).mean() > 0.98


def test_a_number_and_its_text_are_not_merged(cells):
    cells.obs["label"] = pd.Series([1, "1", "b"] * 80, index=cells.obs_names, dtype=object)
    for call in (
        lambda: sfm.tl.annotate(cells, "label", use_rep="X_m"),
        lambda: sfm.tl.evaluate_annotation(cells, "label", use_rep="X_m"),
        lambda: sfm.tl.cluster_agreement(cells, "label", use_rep="X_m"),
        lambda: sfm.tl.transfer_labels(cells, cells.copy(), "label", use_rep="X_m"),
    ):
        with pytest.raises(TableError, match=r"obs\['label'\] \(label_key=\) holds .*which read alike"):
            call()
    hits = pd.DataFrame({"query": ["a"], "hit": ["b"], "rank": [1], "distance": [0.0]})
    labels = pd.Series({"a": 1, "b": 1})
    assert sfm.metrics.retrieval(hits, labels=labels, k=[1], n_chance=1)["value"].iloc[0] == 1
    with pytest.raises(TableError, match="as number and as text"):
        sfm.metrics.retrieval(hits, labels=labels, query_labels=labels.astype(str), k=[1], n_chance=1)
    with pytest.raises(TableError, match="pass both as text"):
        sfm.metrics.classification([1, 2], np.eye(2), ["1", "2"])


ANSWERS = {
    "annotate, trees": lambda a: sfm.tl.annotate(a, "label", use_rep="X_m", method="trees", copy=True),
    "annotate, forest": lambda a: sfm.tl.annotate(a, "label", use_rep="X_m", method="forest", C=1.0, copy=True),
    "transfer_labels": lambda a: sfm.tl.transfer_labels(a, a.copy(), "label", use_rep="X_m", copy=True),
    "propose_types": lambda a: sfm.tl.propose_types(a, "label", use_rep="X_m", C=1.0, copy=True),
    "label_report": lambda a: sfm.tl.label_report(a, "label", use_rep="X_m", C=1.0).drop(columns="likelier"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_text_and_categories_in_any_order_give_the_same(cells, name, monkeypatch):
    """Folds, trees and votes that are equal do not depend on the order in which a table has its types."""
    monkeypatch.setattr("spatialfm.learn.heads.trees.N_TREES", 20)
    cells.obsm["X_m"] = cells.obsm["X_m"] * [1, 0.3, 0.3] + np.random.default_rng(1).normal(size=(240, 3))
    text = np.array(["a", "b", "c"], dtype=object)[cells.obs["code"]]
    text[np.random.default_rng(2).random(240) < 0.5] = None
    forms = (text, pd.Categorical(text, ["c", "a", "b"]), pd.Categorical(text, ["b", "never", "c", "a"]))
    answers = []
    for form in forms:
        cells.obs["label"] = form
        answers.append(ANSWERS[name](cells))
    for answer, order in zip(answers[1:], (["c", "a", "b"], ["b", "c", "a"]), strict=True):
        if "label" in answer:
            assert list(answer["label"].cat.categories) == order
            answer["label"] = answer["label"].astype(str)
        pd.testing.assert_frame_equal(answer, answers[0].astype({"label": str} if "label" in answer else {}))


def test_tables_of_types_stand_in_the_order_of_the_categories(cells):
    text = np.array(["a", "b", "c"], dtype=object)[cells.obs["code"]]
    cells.obs["label"] = pd.Categorical(text, ["c", "a", "b"])
    sfm.tl.annotate(cells, "label", use_rep="X_m", method="lda", key_added="given")
    table = sfm.get.table(cells, "given_probability")
    assert list(table) == ["c", "a", "b"]
    assert (table.idxmax(axis=1).to_numpy() == cells.obs["given"].astype(str)).all()
    assert (table.idxmax(axis=1).to_numpy() == text).mean() > 0.95
    sfm.tl.label_report(cells, "label", use_rep="X_m", C=1.0)
    assert list(cells.uns["label_report"]["types"].index) == ["c", "a", "b"]


def test_orders():
    assert list(named(pd.Series([10, 2, 1]), "k").cat.categories) == ["1", "2", "10"]
    assert list(named(pd.Series(["b", "a"]), "k").cat.categories) == ["a", "b"]
    column = pd.Series(pd.Categorical(["b", "a"], ["c", "b", "a"], ordered=True))
    assert list(named(column, "k").cat.categories) == ["b", "a"]
    assert named(column, "k").cat.ordered
    mixed = named(pd.Series([2, "x", None], dtype=object), "k")
    assert list(mixed.cat.categories) == ["2", "x"]
    assert mixed.isna().tolist() == [False, False, True]
    assert list(named(pd.Series([1.0, np.nan, 2.0]), "k", whole=True).cat.categories) == ["1", "2"]
    assert list(named(pd.Series([1.5, 2.0]), "k", whole=True).cat.categories) == ["1.5", "2.0"]


@pytest.fixture
def patients() -> AnnData:
    rng = np.random.default_rng(0)
    arm = pd.Categorical(np.repeat(["treated", "control"], 10), ["treated", "control", "never"], ordered=True)
    obs = pd.DataFrame({"arm": arm, "dose": np.repeat([10, 2], 10), "has": rng.random(20) < 0.5})
    obs["time"], obs["event"] = rng.exponential(10, 20), 1
    x = rng.dirichlet([1, 1, 1], 20)
    return AnnData(x, obs=obs.set_index(obs.index.map(str)), var=pd.DataFrame(index=list("xyz")))


def test_groups_are_compared_in_their_order(patients):
    table = sfm.tl.compare_composition(patients, "arm", copy=True)
    assert (set(table["group_1"]), set(table["group_2"])) == ({"treated"}, {"control"})
    dose = sfm.tl.compare_composition(patients, "dose", copy=True)
    assert (dose["group_1"].iloc[0], dose["group_2"].iloc[0]) == ("2", "10")
    curves = sfm.tl.kaplan_meier(patients, "arm", copy=True)
    assert curves["groups"].index.tolist() == ["treated", "control"]
    assert sfm.tl.kaplan_meier(patients, "dose", copy=True)["groups"].index.tolist() == ["2", "10"]
    assert sfm.tl.logrank(patients, "arm", copy=True)["groups"].index.tolist() == ["treated", "control"]
    cox = sfm.tl.cox(patients, "arm", copy=True)["table"]
    assert (cox["level"].item(), cox["reference"].item()) == ("control", "treated")


def test_a_category_without_patients_is_no_group(patients):
    """The last group is looked at: of those that there are."""
    table = sfm.tl.risk_ratio(patients, "arm", "has", copy=True)
    has, control = patients.obs["has"].to_numpy(), (patients.obs["arm"] == "control").to_numpy()
    assert table.loc["has", "in_group_with"] == (has & control).sum()
    counts = [[(has & control).sum(), (has & ~control).sum()], [(~has & control).sum(), (~has & ~control).sum()]]
    assert table.loc["has", "p_value"] == pytest.approx(stats.fisher_exact(counts).pvalue)


def test_neighbourhoods_are_compared_in_the_order_of_groups():
    cells = sfm.datasets.simulate_cells(n_patients=6, cells_per_patient=100, random_state=0)
    first = cells.obs["patient"].isin(cells.obs["patient"].unique()[:3])
    cells.obs["arm"] = pd.Categorical(np.where(first, "treated", "control"), ["treated", "control"])
    table = sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=6, copy=True)
    assert set(table["group_1"]) == {"treated"}
    mirrored = cells.copy()
    mirrored.obs["arm"] = mirrored.obs["arm"].cat.reorder_categories(["control", "treated"])
    other = sfm.tl.compare_enrichment(mirrored, "type", "arm", n_neighbors=6, copy=True)
    np.testing.assert_allclose(other["difference"], -table["difference"])
