"""Risk ratios, against SciPy."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats.contingency import relative_risk

import spatialfm as sfm
from spatialfm._errors import SurvivalError, TableError


def patients():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": [f"P{i}" for i in range(40)]}, index=[f"P{i}" for i in range(40)])
    obs["group"] = pd.Categorical(np.where(np.arange(40) < 18, "high", "low"), ["low", "high"])
    obs["nest"] = rng.random(40) < 0.4
    obs["follicle"] = (np.arange(40) >= 30).astype(float)
    return AnnData(X=rng.random((40, 1)), obs=obs, var=pd.DataFrame(index=["B"]))


def test_against_scipy():
    samples = patients()
    sfm.tl.risk_ratio(samples, "group", ["nest", "B"], threshold=0.5)
    table = samples.uns["risk_ratio"]["table"]
    for name, present in (("nest", samples.obs["nest"].to_numpy()), ("B", samples.X[:, 0] > 0.5)):
        high = (samples.obs["group"] == "high").to_numpy()
        expected = relative_risk(high[present].sum(), present.sum(), high[~present].sum(), (~present).sum())
        interval = expected.confidence_interval(0.95)
        row = table.loc[name, ["risk_ratio", "ci_low", "ci_high"]].to_numpy(float)
        np.testing.assert_allclose(row, [expected.relative_risk, interval.low, interval.high], rtol=1e-9)


def test_nobody_in_the_group_has_it():
    table = sfm.tl.risk_ratio(patients(), "group", "follicle", copy=True)
    assert table.loc["follicle", "in_group_with"] == 0
    assert table.loc["follicle", "risk_ratio"] == pytest.approx((0.5 / 11) / (18.5 / 31))
    assert table.loc["follicle", "ci_low"] > 0


def test_refusals():
    samples = patients()
    for arguments, message in [
        (("group", "none"), "No column 'none' in obs and no such name in var"),
        (("group", "group"), "neither true or false nor a number"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.tl.risk_ratio(samples, *arguments)
    with pytest.raises(TableError, match="No patients have 'B'"):
        sfm.tl.risk_ratio(samples, "group", "B", threshold=2)
    with pytest.raises(TableError, match="No group 'middle'"):
        sfm.tl.risk_ratio(samples, "group", "B", group="middle")
    samples.obs["patient"] = "P0"
    with pytest.raises(SurvivalError, match="several times"):
        sfm.tl.risk_ratio(samples, "group", "B")
