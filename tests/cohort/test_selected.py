"""What an outcome made is known wherever it goes: under other names, in other tables, in files, in a session."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import ArgumentError, SpatialfmWarning, SurvivalError, TableError
from spatialfm.cohort.circular import remember_groups

N = 60
KEYS = {"time_key": "time", "event_key": "event"}
MADE = r"made by sfm\.tl\.{}.*outcome.*same patients"
HELD_OUT = r"predicted by sfm\.tl\.{} in cross-validation.*n_permutations="


def cohort(seed: int = 0, n: int = N, prefix: str = "P") -> AnnData:
    """Patients without any effect."""
    rng = np.random.default_rng(seed)
    obs = pd.DataFrame({"time": rng.exponential(10, n), "event": rng.uniform(size=n) < 0.7})
    obs["event"] = obs["event"].astype(int)
    obs["age"], obs["sex"] = rng.normal(60, 10, n), rng.choice(["f", "m"], n)
    obs["patient"] = [f"{prefix}{i}" for i in range(n)]
    var = pd.DataFrame(index=["B", "T", "NK", "tumor"])
    return AnnData(rng.dirichlet(np.ones(4), n), obs=obs.set_index("patient", drop=False).rename_axis(None), var=var)


def merged(samples: AnnData, **options) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpatialfmWarning)
        sfm.tl.stratify(samples, 6, merge_into=2, **KEYS, **options)


def coxnet(samples: AnnData, **options):
    return sfm.tl.coxnet(samples, n_folds=3, n_inner_folds=3, n_bootstrap=100, n_alphas=5, **options)


def refused(samples: AnnData, key: str, match: str, tests=("logrank", "cox")) -> None:
    calls = {
        "logrank": lambda: sfm.tl.logrank(samples, key),
        "cox": lambda: sfm.tl.cox(samples, ["age", key] if "age" in samples.obs else key),
        "concordance": lambda: sfm.tl.concordance(samples, key, n_bootstrap=100),
        "cut_point": lambda: sfm.tl.cut_point(samples, key, n_permutations=100),
        "coxnet": lambda: coxnet(samples, use_rep=None, covariates=key),
    }
    before = set(samples.uns)
    for name in tests:
        with pytest.raises(SurvivalError, match=match):
            calls[name]()
    assert set(samples.uns) == before


def test_groups_that_the_outcome_merged_are_refused_and_marked_on_request():
    samples = cohort()
    merged(samples)
    refused(samples, "risk_group", MADE.format("stratify"), ("logrank", "cox", "concordance"))
    test = sfm.tl.logrank(samples, "risk_group", on_selected="mark", copy=True)
    assert test["optimistic"]
    assert "stratify" in test["params"]["selected"]
    assert test["params"]["by_outcome"] == "yes"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sfm.tl.cox(samples, "risk_group", on_selected="mark", copy=True)
    assert fit["optimistic"]
    assert any("stratify" in doubt for doubt in fit["doubts"])
    with pytest.warns(SpatialfmWarning, match="optimistic"):
        assert sfm.tl.kaplan_meier(samples, "risk_group", copy=True)["optimistic"]


@pytest.mark.parametrize(
    "way", ["copy=True", "renamed", "recoded", "dropped", "cohorts joined", "csv", "order", "part"]
)
def test_groups_are_known_wherever_they_go(way, tmp_path):
    samples, key = cohort(), "g"
    if way == "copy=True":
        samples.obs["g"] = sfm.tl.cut_point(samples, "tumor", n_permutations=100, copy=True)["groups"]
    else:
        sfm.tl.cut_point(samples, "tumor", n_permutations=100)
        if way == "renamed":
            samples.obs = samples.obs.rename(columns={"tumor_group": "g"})
        elif way == "recoded":
            samples.obs["g"] = (samples.obs["tumor_group"] == "high").astype(int)
        elif way == "dropped":
            samples.obs["g"] = samples.obs.pop("tumor_group").astype(str)
            samples.uns.clear()
        elif way == "cohorts joined":
            other = cohort(1, prefix="Q")
            other.obs["tumor_group"] = np.random.default_rng(0).choice(["low", "high"], N)
            samples, key = ad.concat([samples, other]), "tumor_group"
            assert not samples.uns
        elif way == "csv":
            samples.obs.to_csv(tmp_path / "obs.csv", index=False)
            samples, key = AnnData(obs=pd.read_csv(tmp_path / "obs.csv")), "tumor_group"
            samples.obs.index = [f"row {i}" for i in range(N)]
            del samples.obs["patient"]
        elif way == "order":
            samples, key = samples[np.random.default_rng(0).permutation(N)].copy(), "tumor_group"
            samples.uns.clear()
        elif way == "part":
            samples, key = samples[:40].copy(), "tumor_group"
            samples.uns.clear()
    refused(samples, key, MADE.format("cut_point"))


def test_groups_are_known_in_another_session(tmp_path):
    samples = cohort()
    sfm.tl.cut_point(samples, "tumor", n_permutations=100)
    samples.obs["high"] = samples.obs["tumor_group"] == "high"
    for suffix in ("h5ad", "zarr"):
        getattr(samples, f"write_{suffix}")(tmp_path / f"p.{suffix}")
        _origin.forget()
        back = getattr(ad, f"read_{suffix}")(tmp_path / f"p.{suffix}")
        refused(back, "tumor_group", MADE.format("cut_point"))
        refused(back, "high", MADE.format("cut_point"))
        refused(back[:50].copy(), "high", MADE.format("cut_point"))


@pytest.mark.parametrize("how", ["as it is", "above the median", "thirds", "ranks", "rounded", "float32"])
def test_cross_validated_risk_is_known(how):
    samples = cohort(3)
    coxnet(samples)
    risk = samples.obs["coxnet"]
    samples.obs["r"] = {
        "as it is": risk, "above the median": risk > risk.median(), "ranks": risk.rank(),
        "thirds": pd.cut(risk, [-9, risk.quantile(0.3), risk.quantile(0.8), 9], labels=["a", "b", "c"]),
        "rounded": risk.round(2),
        "float32": risk.astype("float32"),
    }[how]  # fmt: skip
    assert risk.nunique() > N / 2
    tests = (
        ("logrank", "cox") if how in ("above the median", "thirds") else ("cox", "concordance", "cut_point", "coxnet")
    )
    refused(samples, "r", HELD_OUT.format("coxnet"), tests)


def test_copy_of_a_survival_forest_is_known():
    samples = cohort(4)
    found = sfm.tl.survival_forest(samples, n_folds=2, n_bootstrap=100, n_trees=10, n_importance=0, copy=True)
    samples.obs["mine"] = found["predictions"]["risk"]
    refused(samples, "mine", HELD_OUT.format("survival_forest"), ("cox", "concordance"))


def test_features_of_a_model_of_few_are_not_taken_for_its_risk():
    """A model of one feature may put patients in its order: the feature is as it was."""
    samples = cohort(5)
    samples.obs["time"] = np.exp(-samples.obs["age"] / 3)
    samples.obs["event"] = 1
    samples.obs["old"] = samples.obs["age"] > 60
    coxnet(samples, use_rep=None, covariates="age")
    assert abs(samples.obs["coxnet"].corr(samples.obs["age"], method="spearman")) > 0.99
    for key in ("age", "old"):
        sfm.tl.concordance(samples, key, n_bootstrap=100, copy=True)
    sfm.tl.logrank(samples, "old")


def test_clinical_columns_are_none_of_it():
    samples = cohort(6)
    merged(samples)
    sfm.tl.cut_point(samples, "tumor", n_permutations=100)
    coxnet(samples)
    for key in ("age", "tumor", "T"):
        result = sfm.tl.concordance(samples, key, n_bootstrap=100, copy=True)
        assert not result["optimistic"]
        assert not result["params"]["selected"]
    assert not sfm.tl.logrank(samples, "sex", copy=True)["optimistic"]


def test_a_column_that_was_written_anew_is_not_held_to_its_name():
    samples = cohort(7)
    merged(samples)
    samples.obs["risk_group"] = np.random.default_rng(1).permutation(np.repeat(["low", "high"], N // 2))
    assert not sfm.tl.logrank(samples, "risk_group", copy=True)["optimistic"]


def test_other_patients_of_the_same_names_are_others():
    one, two = cohort(8), cohort(9)
    sfm.tl.cut_point(one, "tumor", n_permutations=100)
    two.obs["tumor_group"] = np.where(two.to_df()["tumor"] > one.uns["tumor_group"]["cut"], "high", "low")
    assert not sfm.tl.logrank(two, "tumor_group", copy=True)["optimistic"]


def test_groups_that_were_only_named_may_be_compared_but_not_ordered():
    samples = cohort(10)
    sfm.tl.stratify(samples, 3, **KEYS)
    assert not sfm.tl.logrank(samples, "risk_group", copy=True)["optimistic"]
    for call in (
        lambda: sfm.tl.logrank(samples, "risk_group", trend=True),
        lambda: sfm.tl.concordance(samples, "risk_group", n_bootstrap=100),
        lambda: sfm.tl.cox(samples, "risk_group"),
    ):
        with pytest.raises(SurvivalError, match="named in order of risk by sfm.tl.stratify"):
            call()
    sfm.tl.stratify(samples, 2, **KEYS, key_added="two")
    sfm.tl.cox(samples, "two", copy=True)


def test_groups_of_groups_keep_their_origin():
    """Groups made without outcome, of what an outcome has made."""
    samples = cohort(3)
    coxnet(samples)
    scores = AnnData(samples.obs[["coxnet"]].assign(other=samples.obs["age"]).to_numpy(), obs=samples.obs.copy())
    del scores.obs["coxnet"], scores.obs["age"]
    scores.obs["age"] = np.random.default_rng(0).normal(size=N)
    scores.var_names = ["risk", "years"]
    sfm.tl.stratify(scores, 2, key_added="g")
    refused(scores, "g", HELD_OUT.format("coxnet"))
    with pytest.raises(SurvivalError, match="predicted by"):
        sfm.tl.stratify(scores, 2, **KEYS)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ArgumentError, match="must be 'raise' or 'mark'"):
        sfm.tl.logrank(cohort(), "sex", on_selected="ignore")


@pytest.fixture(scope="module")
def search() -> tuple[AnnData, list]:
    """Cells without effect, among which signatures were searched, and what the session remembers of it."""
    _origin.forget()
    cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=50, effect_size=0.0, random_state=2)
    rng = np.random.default_rng(0)
    names = cells.obs["patient"].astype(str)
    time = dict(zip(names.unique(), rng.exponential(10, 24), strict=True))
    cells.obs["time"], cells.obs["event"] = names.map(time).astype(float), 1
    sfm.tl.discover_signatures(
        cells, use_rep="X_latent", outcome=("time", "event"), resolutions=[1.0], n_permutations=0, n_repeats=1,
        n_repeats_nested=1,
    )  # fmt: skip
    return cells, list(_origin._memory)


@pytest.fixture
def searched(search) -> AnnData:
    """Those cells, in a session that has searched them."""
    cells, remembered = search
    _origin._memory[:] = remembered
    return cells.copy()


SIGNATURES = MADE.format("discover_signatures") + r".*nested=True"


def test_signatures_are_known_in_the_table_of_patients(searched, tmp_path):
    patients = sfm.tl.score_signatures(searched)
    name = patients.var_names[0]
    for key in (name, "signature_score"):
        refused(patients, key, SIGNATURES, ("cox", "concordance", "cut_point", "coxnet"))
    if patients.obs["risk_group"].nunique() > 1:
        refused(patients, "risk_group", SIGNATURES, ("logrank",))
    with pytest.raises(SurvivalError, match=SIGNATURES):
        coxnet(patients, use_rep="X")
    with pytest.raises(SurvivalError, match=SIGNATURES):
        sfm.tl.stratify(patients, 2, **KEYS)
    patients.write_h5ad(tmp_path / "patients.h5ad")
    _origin.forget()
    refused(ad.read_h5ad(tmp_path / "patients.h5ad"), name, SIGNATURES, ("cox", "concordance"))


def test_signatures_are_known_when_shares_are_made_by_hand(searched):
    signature = searched.obsm["signatures"].iloc[:, 0]
    by_patient = searched.obs.groupby("patient", observed=True)[["time", "event"]].first()
    by_patient["share"] = signature.groupby(searched.obs["patient"], observed=True).mean()
    refused(AnnData(obs=by_patient), "share", SIGNATURES, ("cox", "concordance"))
    by_patient["share"] = searched.uns["signatures"]["patients"]["nested"]
    refused(AnnData(obs=by_patient), "share", HELD_OUT.format("discover_signatures"), ("cox", "concordance"))


@pytest.mark.parametrize("layer", [None, "clr"])
def test_compositions_of_a_copied_signature_are_known(searched, layer):
    searched.obs["mine"] = np.where(searched.obsm["signatures"].iloc[:, 0], "in", "out")
    patients = sfm.tl.composition(searched, "mine", patient_key="patient")
    with pytest.raises(SurvivalError, match=SIGNATURES):
        sfm.tl.cox(patients, "in", layer=layer)
    types = sfm.tl.composition(searched, "type", patient_key="patient")
    assert not sfm.tl.concordance(types, types.var_names[0], n_bootstrap=100, copy=True)["params"]["selected"]


def marked(cells: AnnData) -> AnnData:
    cells.obs["mine"] = np.where(cells.obsm["signatures"].iloc[:, 0], "in", "out")
    return cells


def test_niches_of_cells_in_a_signature_are_known(searched):
    """Who lives around the cells that an outcome chose was chosen by it as well."""
    cells = marked(searched)
    sfm.tl.neighborhood_composition(cells, "mine", library_key="sample", n_neighbors=5, key_added="around")
    sfm.tl.niches(cells, 3, use_rep="around")
    patients = sfm.tl.composition(cells, "niche", patient_key="patient")
    refused(patients, patients.var_names[0], SIGNATURES, ("cox", "concordance"))
    sfm.tl.neighborhood_composition(cells, "type", library_key="sample", n_neighbors=5)
    sfm.tl.niches(cells, 3, key_added="of_types")
    types = sfm.tl.composition(cells, "of_types", patient_key="patient")
    assert not sfm.tl.cox(types, types.var_names[0], copy=True)["params"]["selected"]


def test_labels_that_were_learned_from_a_signature_are_known(searched):
    cells = marked(searched)
    cells.obs["some"] = cells.obs["mine"].where(np.random.default_rng(0).uniform(size=cells.n_obs) < 0.3)
    sfm.tl.annotate(cells, "some", use_rep="X_latent", method="linear")
    patients = sfm.tl.composition(cells, "some_predicted", patient_key="patient")
    refused(patients, "in", SIGNATURES, ("cox", "concordance"))
    # by what they were learned from, whatever they look like
    cells.obs["learned"] = np.random.default_rng(1).choice(["yes", "no"], cells.n_obs)
    remember_groups(cells, "annotate", "X_latent", cells.obs["learned"], written=True, labels="some")
    patients = sfm.tl.composition(cells, "learned", patient_key="patient")
    refused(patients, "yes", SIGNATURES, ("cox",))


def test_labels_that_were_transferred_from_a_signature_are_named_in_other_patients(searched):
    cells = marked(searched)
    other = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=50, effect_size=0.0, random_state=3)
    time = np.random.default_rng(9).exponential(10, 24)
    codes = pd.factorize(other.obs["patient"])[0]
    other.obs["time"], other.obs["event"] = time[codes], 1
    sfm.tl.transfer_labels(cells, other, "mine", use_rep="X_latent")
    patients = sfm.tl.composition(other, "mine_transferred", patient_key="patient")
    result = sfm.tl.concordance(patients, "in", n_bootstrap=100, copy=True)
    assert not result["optimistic"]
    assert "other patients" in result["params"]["selected"]
    again = cells[::2].copy()  # the same patients
    del again.obs["mine"]
    sfm.tl.transfer_labels(cells, again, "mine", use_rep="X_latent")
    patients = sfm.tl.composition(again, "mine_transferred", patient_key="patient")
    refused(patients, "in", MADE.format("discover_signatures"), ("cox",))


@pytest.mark.parametrize("rep", ["signatures", "as numbers"])
def test_patients_are_not_classified_by_cells_that_an_outcome_chose(searched, rep):
    searched.obsm["as numbers"] = searched.obsm["signatures"].to_numpy(float)
    searched.obs["early"] = np.where(searched.obs["time"] < searched.obs["time"].median(), "yes", "no")
    options = {"label_key": "early", "copy": True}
    for call, more in (
        (sfm.tl.classify_samples, {"n_components": None, "n_draws": 5}),
        (sfm.tl.few_shot_samples, {"n_clusters": 2, "n_support": 3, "n_draws": 5}),
        (sfm.tl.mil, {"n_folds": 2, "n_seeds": 1, "hidden": 4, "n_heads": 1, "max_epochs": 1}),
    ):
        with pytest.raises(TableError, match=MADE.format("discover_signatures")):
            call(searched, use_rep=rep, **options, **more)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpatialfmWarning)
            record = call(searched, use_rep=rep, on_selected="mark", **options, **more)
            assert "discover_signatures" in record["params"]["selected"]
            assert not call(searched, use_rep="X_latent", **options, **more)["params"]["selected"]


def test_signatures_of_other_patients_may_be_tested_and_are_named(searched):
    other = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=50, effect_size=0.0, random_state=3)
    names = other.obs["patient"].astype(str)
    time = dict(zip(names.unique(), np.random.default_rng(9).exponential(10, 24), strict=True))
    other.obs["time"], other.obs["event"] = names.map(time).astype(float), 1
    sfm.tl.transfer_signatures(searched, other, use_rep="X_latent", n_trees=10)
    patients = sfm.tl.score_signatures(other)
    result = sfm.tl.concordance(patients, "signature_score", n_bootstrap=100, copy=True)
    assert not result["optimistic"]
    assert "other patients" in result["params"]["selected"]
    # the same cells under other names are not other patients
    again = searched.copy()
    again.obs_names = [f"x{i}" for i in range(again.n_obs)]
    again.obs["patient"] = "x" + again.obs["patient"].astype(str)
    del again.obsm["signatures"], again.uns["signatures"], again.uns["spatialfm"]
    sfm.tl.transfer_signatures(searched, again, use_rep="X_latent", n_trees=10)
    refused(sfm.tl.score_signatures(again), "signature_score", MADE.format("discover_signatures"), ("concordance",))


def test_classes_predicted_in_draws_are_known():
    samples = cohort(12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sfm.tl.classify_samples(samples, label_key="sex", use_rep="X", n_components=None, n_draws=10)
        shots = sfm.tl.few_shot_samples(
            samples, label_key="sex", use_rep="X", n_clusters=4, n_support=5, n_draws=10, copy=True
        )
    table = samples.uns["classify_samples"]["patients"]
    samples.obs["p"] = table.iloc[:, -1]
    samples.obs["q"] = table.iloc[:, -2] > 0.5
    samples.obs["shots"] = shots["patients"].iloc[:, -1]
    refused(samples, "p", HELD_OUT.format("classify_samples"), ("cox", "concordance", "cut_point"))
    refused(samples, "q", HELD_OUT.format("classify_samples"), ("logrank",))
    refused(samples, "shots", HELD_OUT.format("few_shot_samples"), ("cox",))
    assert not sfm.tl.logrank(samples, "sex", copy=True)["optimistic"]
    samples.obsm["scores"] = samples.obs[["p", "age"]].to_numpy()
    with pytest.raises(TableError, match="predicted by sfm.tl.classify_samples"):
        sfm.tl.classify_samples(samples, label_key="sex", use_rep="scores", n_components=None, n_draws=10)


def test_a_label_that_is_predicted_without_error_is_not_taken_for_its_prediction():
    samples = cohort(13)
    samples.obs["sex"] = np.where(samples.to_df()["tumor"] > samples.to_df()["tumor"].median(), "f", "m")
    samples.obsm["one"] = (samples.obs["sex"] == "f").to_numpy(float)[:, None] + 0.001 * samples.obs[["age"]].to_numpy()
    sfm.tl.classify_samples(samples, label_key="sex", use_rep="one", n_components=None, n_draws=30)
    assert not sfm.tl.logrank(samples, "sex", copy=True)["optimistic"]


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 12, 20, 30])
def test_columns_by_chance_are_not_recognised(n):
    """Whatever a cohort's own columns are, with the same names of patients, among many that outcomes have made."""
    from spatialfm._origin import Origin, known, remember
    from spatialfm._origin_match import recognise, rows_of

    rng, names = np.random.default_rng(0), [f"P{i}" for i in range(n)]
    for i in range(30):
        groups = pd.Series(pd.Categorical(rng.choice(["low", "high"], n)), index=names, name="g")
        remember(None, Origin("cut_point", "selected", ("time",), column=f"g{i}"), groups)
        ranks = pd.Series(rng.integers(-3, 4, n), index=names, name="r")
        remember(None, Origin("score_signatures", "selected", ("time",), column=f"r{i}"), ranks)
        risk = pd.Series(rng.normal(size=n), index=names, name="p")
        remember(None, Origin("coxnet", "held out", ("time",), column=f"p{i}"), risk)
    references, sure, perhaps = known(AnnData(obs=pd.DataFrame(index=names))), 0, 0
    rows = rows_of(pd.Index(names), [])
    for _ in range(30):
        for values in (rng.choice(["a", "b"], n), rng.choice(["x", "y", "z"], n), rng.normal(size=n)):
            found = recognise(pd.Series(values, index=names), rows, references, "obs:mine")
            sure += any(one.sure for one in found)
            perhaps += bool(found)
    assert sure == 0
    assert perhaps <= 2  # of 90: less than one in a hundred is reported as perhaps so


def test_groups_of_a_table_whose_rows_were_renamed_are_known():
    """A part with new names and no patients has its column and its record still; other values there are others."""
    samples = cohort()
    merged(samples)
    part = samples[np.random.default_rng(1).permutation(N)[:40]].copy()
    part.obs_names, part.obs = [f"row {i}" for i in range(40)], part.obs.drop(columns="patient")
    _origin.forget()
    refused(part, "risk_group", MADE.format("stratify"), tests=["logrank"])
    part.obs["risk_group"] = np.random.default_rng(2).choice(["A", "B"], 40)
    sfm.tl.logrank(part, "risk_group", n_permutations=999)


def test_patients_in_a_column_of_another_name_are_found():
    """A table that was merged by pandas numbers its rows, in a new order."""
    samples = cohort(3)
    sfm.tl.cut_point(samples, "age", n_permutations=100, **KEYS)
    table = samples.obs.reset_index(drop=True).rename(columns={"patient": "ID", "age_group": "group"})
    table = table.drop(columns="age").sample(frac=1, random_state=0).reset_index(drop=True)
    table.index = table.index.astype(str)
    refused(AnnData(obs=table), "group", MADE.format("cut_point"), tests=["logrank"])


def test_a_table_that_was_read_is_known_when_it_is_joined(tmp_path):
    """anndata.concat drops uns; what a table brought along was seen when it was used."""
    samples = cohort()
    merged(samples)
    samples.write_h5ad(tmp_path / "one.h5ad")
    _origin.forget()
    read = ad.read_h5ad(tmp_path / "one.h5ad")
    sfm.tl.kaplan_meier(read, "sex")
    joined = ad.concat([read, cohort(7, 30, "Q")], join="outer")
    joined = joined[joined.obs["risk_group"].notna()].copy()
    joined.obs["renamed"] = joined.obs["risk_group"].astype(str)
    refused(joined, "renamed", MADE.format("stratify"), tests=["logrank"])


def test_the_only_column_of_a_classifier_is_not_its_prediction():
    """A probability of one column rises with it; the column was there before, and may be tested."""
    rng = np.random.default_rng(0)
    score = rng.normal(size=40)
    obs = pd.DataFrame({"response": np.where(score + rng.normal(size=40) > 0, "R", "N"), "score": score, "event": 1})
    obs["time"], obs["patient"] = rng.exponential(size=40), [f"one{i}" for i in range(40)]
    obs.index = pd.Index(obs["patient"].tolist())
    patients = ad.AnnData(score[:, None].copy(), obs=obs, var=pd.DataFrame(index=["A"]))
    options = {"label_key": "response", "use_rep": "X", "n_draws": 20}
    sfm.tl.classify_samples(patients, n_components=None, **options)
    sfm.tl.cox(patients, "score", copy=True)
    predicted = patients.uns["classify_samples"]["patients"]["X_0:R"].loc[patients.obs_names].to_numpy()
    assert np.abs(pd.Series(score).corr(pd.Series(predicted), method="spearman")) > 0.9
    sfm.tl.few_shot_samples(patients, n_clusters=None, n_support=3, **options)
    sfm.tl.cox(patients, "score", copy=True)
