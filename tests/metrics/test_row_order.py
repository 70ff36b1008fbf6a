"""Who sorts one of two columns is told: scores would be those of other patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import SurvivalError, TableError

N = 30


@pytest.fixture
def patients() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"risk": rng.normal(size=N), "event": rng.random(N) < 0.7}, index=[f"P{i}" for i in range(N)])
    table["time"], table["fold"] = rng.exponential(np.exp(-table["risk"])), np.arange(N) % 2
    return table


@pytest.mark.parametrize("name", ["event", "risk", "fold", "survival"])
def test_an_outcome_and_a_risk_in_another_order_are_refused(patients, name):
    columns = {"event": patients["event"], "risk": patients["risk"]}
    more = {"survival": pd.DataFrame({0.1: np.linspace(0.3, 0.9, N)}, index=patients.index)}
    columns |= {"folds": patients["fold"]} if name == "fold" else more | {"times": [0.1]} if name == "survival" else {}
    name = {"fold": "folds"}.get(name, name)
    sfm.metrics.survival(patients["time"], **columns, n_bootstrap=0)
    with pytest.raises(SurvivalError, match=rf"{name}= has the rows of time= in another order, first 'P29'.*loc\[time"):
        sfm.metrics.survival(patients["time"], **columns | {name: columns[name][::-1]}, n_bootstrap=0)


def test_arrays_and_other_names_are_taken_by_place(patients):
    time, event, risk = (patients[name] for name in ("time", "event", "risk"))
    scores = sfm.metrics.survival(time, event, risk, n_bootstrap=0)["scores"]
    for other in (risk.to_numpy(), list(risk), risk.reset_index(drop=True), risk.add_prefix("case ")):
        pd.testing.assert_frame_equal(sfm.metrics.survival(time, event, other, n_bootstrap=0)["scores"], scores)


def test_probabilities_in_another_order_are_refused():
    names = [f"c{i}" for i in range(6)]
    truth = pd.Series(list("TTTBBB"), index=names)
    probability = pd.DataFrame({"T": [0.9, 0.8, 0.6, 0.3, 0.2, 0.1]}, index=names).assign(
        B=lambda table: 1 - table["T"]
    )
    assert sfm.metrics.classification(truth, probability, ["T", "B"]).loc["macro", "f1"] == 1
    assert sfm.metrics.classification(truth, probability[["B", "T"]], ["B", "T"]).loc["macro", "f1"] == 1
    with pytest.raises(TableError, match=r"columns of probability= are 'B', 'T', and classes= 'T', 'B'"):
        sfm.metrics.classification(truth, probability[["B", "T"]], ["T", "B"])
    with pytest.raises(TableError, match=r"probability= has the rows of truth= in another order"):
        sfm.metrics.classification(truth, probability[::-1], ["T", "B"])


def test_groups_of_a_search_in_another_order_are_refused():
    cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=20, random_state=0)
    index = sfm.tl.build_index(cells, "X_latent")
    slide = cells.obs["patient"].astype(str)
    hits = sfm.tl.search(index, cells, k=3, exclude=slide, exclude_of=slide)
    assert (hits["query_patient"] != hits["hit_patient"]).all()
    for name, groups in {"exclude": (slide[::-1], slide), "exclude_of": (slide, slide[::-1])}.items():
        with pytest.raises(TableError, match=rf"^{name}= has the rows of .* in another order"):
            sfm.tl.search(index, cells, k=3, exclude=groups[0], exclude_of=groups[1])
