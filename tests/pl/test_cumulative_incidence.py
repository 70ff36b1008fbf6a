"""Figures of cumulative incidence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm

WORDS = {0: "alive", 1: "relapse", 2: "death"}


def cohort(n: int = 80, seed: int = 0, few: int | None = None) -> AnnData:
    """Two events with hazards 1 and 0.5, the first doubled in group b; x is noise."""
    rng = np.random.default_rng(seed)
    arm = np.arange(n) < (n // 2 if few is None else few)
    one, two, limit = rng.exponential(1 / (1 + arm)), rng.exponential(2, n), rng.uniform(0, 3, n)
    time = np.minimum(np.minimum(one, two), limit)
    cause = np.where(limit <= np.minimum(one, two), 0, np.where(one < two, 1, 2))
    obs = pd.DataFrame({"time": time.round(2) + 0.01, "event": cause, "x": rng.normal(size=n)})
    obs["arm"] = np.where(arm, "b", "a")
    obs["what"] = obs["event"].map(WORDS)
    return AnnData(obs=obs.set_axis([f"P{i}" for i in range(n)]))


@pytest.mark.parametrize("event", [None, "relapse"])
def test_figure(event):
    samples = cohort()
    sfm.tl.cumulative_incidence(samples, "arm", event_key="what", censored_value="alive")
    ax = sfm.pl.cumulative_incidence(samples, event_value=event, time_unit="years", show=False)
    tests = samples.uns["cumulative_incidence"]["tests"].set_index("event")["p_value"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    title = ax.get_legend().get_title().get_text()
    if event is None:
        assert len(labels) == 4
        assert labels[0].startswith("a: death (n = 40, ")
        assert title.startswith("death: Gray p = ")
    else:
        assert [label.split(" (")[0] for label in labels] == ["a", "b"]
        assert title == f"Gray {sfm.pl._kaplan_meier.format_p(tests['relapse'])}"
    lines = [line for line in ax.lines if len(line.get_xdata()) > 5]
    table = samples.uns["cumulative_incidence"]["table"]
    shown = table[(table["event"] == (event or "death")) & (table["group"] == "a")]
    np.testing.assert_allclose(lines[0].get_ydata(), shown["incidence"])


def test_figure_refuses_other_events():
    from spatialfm._errors import TableError

    samples = cohort()
    with pytest.raises(TableError, match="No curves of cumulative incidence"):
        sfm.pl.cumulative_incidence(samples, show=False)
    sfm.tl.cumulative_incidence(samples)
    with pytest.raises(TableError, match=r"No curves of 'relapse' \(event_value=\).*'1', '2'"):
        sfm.pl.cumulative_incidence(samples, event_value="relapse", show=False)
    samples.obs["event"] = 1
    with pytest.raises(TableError, match=r"changed since"):
        sfm.pl.cumulative_incidence(samples, show=False)
