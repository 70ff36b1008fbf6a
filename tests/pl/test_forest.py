from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from lifelines import CoxPHFitter
from lifelines.datasets import load_rossi

import spatialfm as sfm
from spatialfm._errors import TableError


@pytest.fixture
def patients() -> AnnData:
    obs = load_rossi().rename(columns={"week": "time", "arrest": "event"})
    obs["wexp"] = pd.Categorical(obs["wexp"].map({0: "none", 1: "some"}))
    obs.index = obs.index.astype(str)
    adata = AnnData(obs=obs)
    sfm.tl.cox(adata, ["fin", "wexp", "prio"], test_proportional_hazards=False)
    return adata


def test_draws_the_table(patients):
    ax = sfm.pl.forest(patients, show=False)
    table = patients.uns["cox"]["table"]
    (points,) = [line for line in ax.get_lines() if line.get_marker() == "s"]
    np.testing.assert_allclose(points.get_xdata(), table["hazard_ratio"])
    segments = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
    np.testing.assert_allclose(segments, table[["ci_low", "ci_high"]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["fin", "wexp: some (vs. none)", "prio"]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "Hazard ratio (95 % interval)"
    assert ax.get_title(loc="left") == "432 patients, 114 events"
    first = table.iloc[0]
    assert ax.texts[0].get_text().startswith(f"{first['hazard_ratio']:.2f} ({first['ci_low']:.2f} to ")
    assert 1 in ax.get_xticks()


def test_clusters_are_named(patients):
    sfm.tl.cox(patients, "fin", se_cluster_key="age", test_proportional_hazards=False)
    ax = sfm.pl.forest(patients, show=False)
    assert ax.get_title(loc="left") == f"432 rows in {patients.obs['age'].nunique()} clusters, 114 events"


def test_standardised_covariates_say_so(patients):
    sfm.tl.cox(patients, ["prio", "wexp"], standardize=True, test_proportional_hazards=False)
    ax = sfm.pl.forest(patients, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["prio (per SD)", "wexp: some (vs. none)"]


def test_labels_do_not_run_into_each_other(patients):
    figure = sfm.pl.forest(patients, return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    for labels in (ax.get_xticklabels(), ax.texts):
        boxes = [label.get_window_extent() for label in labels]
        assert all(box.x1 <= figure.bbox.x1 + 1 for box in boxes)
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_long_names_leave_the_axis_its_width(patients):
    patients.obs["histology"] = patients.obs["wexp"].map({"none": "ductal", "some": "mixed, mostly fibroblast-rich"})
    sfm.tl.cox(patients, ["age", "histology"], test_proportional_hazards=False)
    figure = sfm.pl.forest(patients, return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    assert ax.get_window_extent().width / figure.dpi == pytest.approx(2.4, abs=0.2)  # 1.5 in a figure of 6.2
    boxes = [label.get_window_extent() for label in ax.get_xticklabels()]
    assert not any(one.overlaps(two) for one, two in zip(boxes, boxes[1:], strict=False))
    assert sfm.pl.forest(patients, figsize=(6.2, 2), return_fig=True).get_figwidth() == 6.2


def test_refuses_when_not_run(patients):
    with pytest.raises(TableError, match=r"No Cox regression in uns\['x'\]; uns has 'cox'.*sfm.tl.cox"):
        sfm.pl.forest(patients, key="x")


def test_two_figures_can_have_one_scale(patients):
    sfm.tl.cox(patients, "age", test_proportional_hazards=False)
    limits = [sfm.pl.forest(patients, xlim=(0.1, 10), show=False).get_xlim() for _ in range(2)]
    np.testing.assert_allclose(limits, [(0.1, 10)] * 2)
    with pytest.raises(TableError, match="not ratios on either side of 1"):
        sfm.pl.forest(patients, xlim=(2, 10), show=False)


def test_labels_of_ratios_over_many_decades_do_not_run_into_each_other(patients, check_boxes):
    sfm.tl.cox(patients, "age", test_proportional_hazards=False)
    patients.uns["cox"]["table"]["ci_high"] = 3e6
    figure = sfm.pl.forest(patients, return_fig=True)
    figure.canvas.draw()
    labels = [label for label in figure.axes[0].get_xticklabels() if label.get_text()]
    assert "1" in [label.get_text() for label in labels]
    check_boxes(figure, [label.get_window_extent() for label in labels])


@pytest.fixture
def structures() -> AnnData:
    """30 of 265 patients against 6 of 276, whose ratio in VirTues' paper is 5.2; and none against three."""
    obs = pd.DataFrame({"risk": ["high"] * 265 + ["low"] * 276})
    obs["follicle"] = [1] * 30 + [0] * 235 + [1] * 6 + [0] * 270
    obs["rare"] = [0] * 265 + [1] * 3 + [0] * 273
    adata = AnnData(obs=obs.set_index("P" + obs.index.astype(str)))
    sfm.tl.risk_ratio(adata, "risk", ["follicle", "rare"])
    return adata


def test_risk_ratios_are_drawn_with_their_patients(structures):
    ax = sfm.pl.forest(structures, key="risk_ratio", show=False)
    (points,) = [line for line in ax.get_lines() if line.get_marker() == "s"]
    np.testing.assert_allclose(points.get_xdata(), [30 / 265 * 276 / 6, 0])
    first, second = (segment[:, 0] for segment in ax.collections[0].get_segments())
    np.testing.assert_allclose(first, [2.20, 12.31], atol=0.005)
    assert second[0] == ax.get_xlim()[0]  # open to the side of 0
    assert second[1] > 1
    texts = [text.get_text() for text in ax.texts]
    assert texts[0] == "5.21 (2.20 to 12.31), p < 0.001; 30 of 265 against 6 of 276"
    assert texts[1].endswith("0 of 265 against 3 of 276")
    assert ax.get_xlabel() == "Risk ratio (95 % interval)"
    assert ax.get_title(loc="left") == "risk: high against all others"


def test_the_other_question_and_what_it_is_adjusted_for_are_named(structures):
    structures.obs["age"] = np.random.default_rng(0).normal(60, 9, structures.n_obs)
    sfm.tl.risk_ratio(structures, "risk", "follicle", given="structure", covariates="age", alpha=0.1)
    ax = sfm.pl.forest(structures, key="risk_ratio", show=False)
    assert ax.get_xlabel() == "Risk ratio at equal age (90 % interval)"
    assert ax.get_title(loc="left") == "risk: high, with a structure against without"
    assert ax.texts[0].get_text().endswith("30 of 36 against 235 of 505")


def test_intervals_that_go_on_beyond_the_axis_end_in_arrows(structures):
    structures.obs["only"] = [1] * 20 + [0] * 521  # in the group alone: an infinite ratio
    sfm.tl.risk_ratio(structures, "risk", ["follicle", "rare", "only"])
    ax = sfm.pl.forest(structures, key="risk_ratio", xlim=(0.5, 8), show=False)
    arrows = {line.get_marker(): line for line in ax.get_lines() if line.get_marker() in ("<", ">")}
    assert {marker: line.get_ydata().tolist() for marker, line in arrows.items()} == {"<": [1], ">": [0, 2]}
    assert {marker: set(line.get_xdata()) for marker, line in arrows.items()} == {"<": {0.5}, ">": {8}}
    assert ax.texts[2].get_text().startswith("∞ (")
    assert " to ∞), p < 0.001; 20 of 265 against 0 of 276" in ax.texts[2].get_text()
    assert {0.5, 8} & set(ax.get_xticks()) == {0.5}  # an end that is a round number has its number


def test_a_ratio_that_is_not_known_is_not_written_as_a_number(structures):
    sfm.tl.risk_ratio(structures, "risk", ["follicle", "rare"], covariates=_age(structures))
    ax = sfm.pl.forest(structures, key="risk_ratio", show=False)
    assert ax.texts[1].get_text().startswith("not estimable, p = ")


def _age(structures: AnnData) -> str:
    structures.obs["age"] = np.random.default_rng(0).normal(60, 9, structures.n_obs)
    return "age"


def test_ratios_of_small_units_keep_the_digits_that_tell_them_from_1():
    obs = load_rossi().rename(columns={"week": "time", "arrest": "event"})
    obs["days"] = obs.pop("age") * 365.25
    adata = AnnData(obs=obs.set_index(obs.index.astype(str)))
    sfm.tl.cox(adata, "days", test_proportional_hazards=False)
    fit = CoxPHFitter().fit(obs[["time", "event", "days"]], "time", "event").summary.loc["days"]
    low, high = fit["exp(coef) lower 95%"], fit["exp(coef) upper 95%"]
    ax = sfm.pl.forest(adata, show=False)
    assert ax.texts[0].get_text().startswith(f"{fit['exp(coef)']:.4f} ({low:.4f} to {high:.4f})")


def test_what_an_outcome_made_and_circles_are_named(structures):
    record = structures.uns["risk_ratio"]
    record["params"] |= {"by_outcome": "yes", "circular": "groups were made from these fractions"}
    record["table"]["p_value"] = np.nan
    ax = sfm.pl.forest(structures, key="risk_ratio", show=False)
    assert "optimistic: the outcome made a feature" in ax.get_xlabel()
    assert "circular: no p-values" in ax.get_xlabel()
    assert ax.texts[0].get_text() == "5.21 (2.20 to 12.31), 30 of 265 against 6 of 276"


def test_risk_ratios_that_were_changed_are_refused(structures):
    del structures.uns["risk_ratio"]["table"]["n_group"]
    with pytest.raises(TableError, match=r"is not as sfm\.tl\.risk_ratio writes it"):
        sfm.pl.forest(structures, key="risk_ratio", show=False)


def test_risk_ratios_of_other_patients_are_refused(structures):
    with pytest.raises(TableError, match="the rows .* changed since"):
        sfm.pl.forest(structures[10:].copy(), key="risk_ratio", show=False)
    structures.obs["follicle"] = ~structures.obs["follicle"].astype(bool)
    with pytest.raises(TableError, match=r"obs\['follicle'\] changed since"):
        sfm.pl.forest(structures, key="risk_ratio", show=False)
