"""Figures of cumulative incidence."""

from __future__ import annotations

import numpy as np
import pytest
from competing import cohort

import spatialfm as sfm


@pytest.mark.parametrize("event", [None, "relapse"])
def test_figure(event):
    samples = cohort()
    sfm.tl.cumulative_incidence(samples, "arm", event_key="what", censored_value="alive")
    ax = sfm.pl.cumulative_incidence(samples, event_value=event, time_unit="years", show=False)
    tests = samples.uns["cumulative_incidence"]["tests"].set_index("event")["p_value"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    title = ax.get_legend().get_title().get_text()
    assert labels.pop() == "95 % interval at each time"
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


def test_covariates_of_the_test_are_named():
    samples = cohort()
    sfm.tl.cumulative_incidence(samples, "arm", covariates="x")
    ax = sfm.pl.cumulative_incidence(samples, event_value="1", show=False)
    text = ax.get_legend().get_title().get_text().replace("\n", " ")
    assert text.startswith("Fine-Gray (permutation) at equal x p ")
    assert "(unadjusted p " in text


def test_times_of_another_unit_are_named():
    from spatialfm._errors import SpatialfmWarning

    samples = cohort()
    samples.obs["survival_days"] = samples.obs["time"]
    sfm.tl.cumulative_incidence(samples, time_key="survival_days")
    with pytest.warns(SpatialfmWarning, match="'survival_days', which reads as days by its name"):
        sfm.pl.cumulative_incidence(samples, time_unit="months", show=False)
