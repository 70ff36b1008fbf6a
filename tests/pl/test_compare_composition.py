"""Figures of compositions compared."""

from __future__ import annotations

import warnings

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.pl._compare_composition import q_text


@pytest.fixture
def patients():
    cells = sfm.datasets.simulate_cells(24, cells_per_patient=200, effect_of="CD8 T", effect_size=-4.0, random_state=0)
    patients = sfm.tl.composition(cells, "type", patient_key="patient")
    sfm.tl.compare_composition(patients, "response")
    return patients


def test_dots_are_the_fractions_and_types_come_by_p(patients):
    ax = sfm.pl.compare_composition(patients, show=False)
    table = patients.uns["compare_composition"]["table"].sort_values("p_value")
    assert [label.get_text() for label in ax.get_xticklabels()] == list(table.index)
    dots = [part.get_offsets()[:, 1] for part in ax.collections]
    assert len(dots) == 2 * len(table)
    groups = ["non-responder", "responder"]
    for i, name in enumerate(table.index):
        for j, group in enumerate(groups):
            mine = patients[patients.obs["response"] == group, name].X.ravel()
            np.testing.assert_allclose(dots[2 * i + j], mine)
    shown = [text.get_text() for text in ax.texts]
    assert shown[: len(table)] == [q_text(q) for q in table["q_value"]]
    assert shown[len(table) + 1 : 2 * len(table) + 1] == [q_text(q) for q in table["q_reference"]]
    weights = [text.get_fontweight() == "bold" for text in ax.texts[: len(table)]]
    assert weights == table["significant"].tolist()
    sizes = patients.obs["response"].value_counts()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        f"{name} (n = {sizes[name]})" for name in groups
    ]


@pytest.mark.parametrize(
    ("kind", "columns"), [("effect", ("effect", "effect")), ("reference", ("log2_fold_change", "log2"))]
)
def test_effects_and_intervals_are_those_of_the_table(patients, kind, columns):
    ax = sfm.pl.compare_composition(patients, kind=kind, sort=False, show=False)
    table = patients.uns["compare_composition"]["table"]
    bars = [line for line in ax.get_lines() if line.get_linewidth() == 1.8]
    dots = [line for line in ax.get_lines() if line.get_marker() == "o" and line.get_markersize() == 6]
    name, prefix = columns[:2]
    np.testing.assert_allclose([dot.get_xdata()[0] for dot in dots], table[name])
    np.testing.assert_allclose([bar.get_xdata()[0] for bar in bars], table[f"{prefix}_low"])
    np.testing.assert_allclose([bar.get_xdata()[1] for bar in bars], table[f"{prefix}_high"])
    significant = "significant" if kind == "effect" else "significant_reference"
    assert [dot.get_color() == "0.55" for dot in dots] == (~table[significant]).tolist()
    rings = [line for line in ax.get_lines() if line.get_markersize() == 10]
    assert len(rings) == (0 if kind == "effect" else table["in_reference"].sum())
    assert "more in responder →" in ax.get_xlabel()


def test_types_can_be_chosen_and_axes_given(patients, tmp_path):
    _, ax = plt.subplots()
    assert sfm.pl.compare_composition(patients, types=["Tumor", "CD8 T"], ax=ax, show=False) is ax
    assert [label.get_text() for label in ax.get_xticklabels()] == ["Tumor", "CD8 T"]
    figure = sfm.pl.compare_composition(patients, title="Types", save=tmp_path / "types.pdf", return_fig=True)
    assert figure.axes[0].get_title(loc="left") == "Types"
    assert (tmp_path / "types.pdf").stat().st_size > 1000


@pytest.mark.parametrize(("kind", "axis"), [("dots", "xaxis"), ("effect", "yaxis"), ("reference", "yaxis")])
def test_the_axis_says_what_the_names_are_of(patients, kind, axis):
    """Niches are called by numbers, which say nothing alone."""
    ax = sfm.pl.compare_composition(patients, kind=kind, show=False)
    assert getattr(ax, axis).get_label_text() == "type"
    del patients.uns["composition"]
    ax = sfm.pl.compare_composition(patients, kind=kind, show=False)
    assert getattr(ax, axis).get_label_text() == ""


def test_nothing_overlaps(patients, check_boxes):
    figure = sfm.pl.compare_composition(patients, return_fig=True)
    figure.canvas.draw()
    renderer, ax = figure.canvas.get_renderer(), figure.axes[0]
    check_boxes(figure, [text.get_window_extent(renderer) for text in ax.texts])
    check_boxes(figure, [text.get_window_extent(renderer) for text in ax.get_yticklabels() if text.get_text()])
    assert all(label.get_text().endswith("%") for label in ax.get_yticklabels())


def test_the_test_is_named(patients):
    for method, text in [(None, "q: ranks and means"), ("clr-t", "q: t-test of log-ratios")]:
        sfm.tl.compare_composition(patients, "response", method=method)
        ax = sfm.pl.compare_composition(patients, show=False)
        assert any(found.get_text().startswith(text) for found in ax.texts)


def test_three_groups_have_dots_and_no_intervals(patients):
    sfm.tl.compare_composition(patients, "stage", groups=["I", "II", "III"])
    ax = sfm.pl.compare_composition(patients, show=False)
    assert len(ax.get_legend().get_texts()) == 3
    with pytest.raises(TableError, match=r"have no interval. Pass kind=\"dots\""):
        sfm.pl.compare_composition(patients, kind="effect")


def test_types_without_a_test_are_said_so(patients):
    patients.X[:, 0] = 0
    patients.X /= patients.X.sum(axis=1, keepdims=True)
    sfm.tl.compare_composition(patients, "response")
    ax = sfm.pl.compare_composition(patients, kind="effect", show=False)
    assert "not tested" in [text.get_text() for text in ax.texts]


def test_refusals(patients):
    for arguments, message in [
        ({"key": "other"}, r"No comparison in uns\['other'\].*sfm.tl.compare_composition"),
        ({"types": ["NK"]}, r"No type 'NK' in the comparison"),
        ({"palette": ["red"]}, "1 colours for 2 categories"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.pl.compare_composition(patients, **arguments)
    other = patients[:, :3].copy()
    with pytest.raises(TableError, match="no longer have"):
        sfm.pl.compare_composition(other)


def test_pairs_are_joined_and_said_so(patients):
    samples = patients.copy()
    samples.obs["person"] = [f"P{i // 2}" for i in range(samples.n_obs)]
    samples.obs["when"] = ["before", "after"] * (samples.n_obs // 2)
    sfm.tl.compare_composition(samples, "when", pair_key="person", groups=["before", "after"])
    ax = sfm.pl.compare_composition(samples, show=False)
    lines = ax.collections[-1].get_segments()
    assert len(lines) == samples.n_obs // 2 * samples.n_vars
    first = samples.uns["compare_composition"]["table"].sort_values("p_value").index[0]
    np.testing.assert_allclose(lines[0][:, 1], samples[:2, first].X.ravel())
    assert any("within patients" in text.get_text() for text in ax.texts)


def test_a_group_without_a_type_points_out_of_the_axis(patients):
    samples = patients.copy()
    counts = samples.layers["counts"]
    counts[(samples.obs["response"] == "responder").to_numpy(), 0] = 0
    samples.X = counts / counts.sum(axis=1, keepdims=True)
    sfm.tl.compare_composition(samples, "response")
    table = samples.uns["compare_composition"]["table"]
    assert table["log2_fold_change"].iloc[0] == -np.inf
    ax = sfm.pl.compare_composition(samples, kind="reference", sort=False, show=False)
    arrows = [line for line in ax.get_lines() if line.get_marker() == "<"]
    assert [arrow.get_xdata()[0] for arrow in arrows] == [ax.get_xlim()[0]]


def test_rows_that_were_not_compared_are_not_drawn(patients):
    patients.obs["age"] = np.where(np.arange(patients.n_obs) < 5, np.nan, np.arange(patients.n_obs, dtype=float))
    sfm.tl.compare_composition(patients, "response", covariates="age", on_missing="drop")
    table = patients.uns["compare_composition"]["table"]
    ax = sfm.pl.compare_composition(patients, types=["CD8 T"], show=False)
    dots = [part.get_offsets()[:, 1] for part in ax.collections]
    assert [len(part) for part in dots] == table.loc["CD8 T", ["n_1", "n_2"]].tolist() != [12, 12]
    np.testing.assert_allclose(
        [np.median(np.asarray(part)) for part in dots], table.loc["CD8 T", ["median_1", "median_2"]].astype(float)
    )


def test_changes_are_of_the_samples_whose_time_is_known(patients):
    samples = patients.copy()
    samples.obs["person"] = [f"P{i // 2}" for i in range(samples.n_obs)]
    samples.obs["when"] = pd.Categorical(["pre", "post"] * (samples.n_obs // 2), ["pre", "post"])
    samples.obs["arm"] = ["drug", "drug", "none", "none"] * (samples.n_obs // 4)
    lone = samples[:2].copy()
    lone.obs_names = ["other 1", "other 2"]
    lone.obs["when"] = pd.Categorical([None, None], ["pre", "post"])  # of P0, at times that nobody knows
    both = anndata.concat([samples, lone])
    both.obs["when"] = pd.Categorical(both.obs["when"], ["pre", "post"])
    both.layers["counts"][-2:] = np.array([1000.0] + [0.0] * (both.n_vars - 1))
    both.X = both.layers["counts"] / both.layers["counts"].sum(axis=1, keepdims=True)
    options = {"time_key": "when", "patient_key": "person", "on_missing": "drop"}
    sfm.tl.compare_composition(both, "arm", **options)
    ax = sfm.pl.compare_composition(both, sort=False, show=False)
    first = samples[samples.obs["arm"] == "drug", both.var_names[0]].X.ravel()
    np.testing.assert_allclose(np.sort(ax.collections[0].get_offsets()[:, 1]), np.sort(first[1::2] - first[::2]))
    assert ax.get_ylabel() == "Change of the fraction of cells, pre to post"


@pytest.mark.parametrize("counted", [True, False])
def test_samples_of_a_patient_are_one_dot_as_in_the_test(patients, counted):
    """Two samples before and one after: their cells together, or the mean of their shares where cells are unknown."""
    samples = patients.copy()
    samples.obs["person"] = [f"P{i // 3}" for i in range(samples.n_obs)]
    samples.obs["when"] = ["before", "before", "after"] * (samples.n_obs // 3)
    before = samples.layers["counts"].reshape(samples.n_obs // 3, 3, -1)[:, :2].sum(axis=1)
    truth = before / before.sum(axis=1, keepdims=True)
    if not counted:
        samples.layers["counts"] = samples.layers["counts"] * 1.5  # no numbers of cells
        samples.layers["counts"][::3] *= 3
        truth = samples.X.reshape(samples.n_obs // 3, 3, -1)[:, :2].mean(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sfm.tl.compare_composition(samples, "when", pair_key="person", groups=["before", "after"])
    table = samples.uns["compare_composition"]["table"]
    np.testing.assert_allclose(table["median_1"].astype(float), np.median(truth, axis=0), rtol=1e-5)
    ax = sfm.pl.compare_composition(samples, sort=False, show=False)
    dots = [part.get_offsets()[:, 1] for part in ax.collections if len(part.get_offsets()) == samples.n_obs // 3]
    np.testing.assert_allclose(dots[0], truth[:, 0], rtol=1e-5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before (n = 8)", "after (n = 8)"]
    assert len(ax.collections[-1].get_segments()) == 8 * samples.n_vars


def test_samples_of_a_mixed_model_are_called_samples(patients):
    samples = patients.copy()
    samples.obs["person"] = [f"P{i // 2}" for i in range(samples.n_obs)]
    samples.obs["arm"] = ["drug", "drug", "none", "none"] * (samples.n_obs // 4)
    sfm.tl.compare_composition(samples, "arm", model="mixed", patient_key="person")
    ax = sfm.pl.compare_composition(samples, show=False)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["drug (n = 12 samples)", "none (n = 12 samples)"]


def test_the_rows_of_the_record_are_drawn(patients):
    sfm.tl.compare_composition(patients, "response")
    record = patients.uns["compare_composition"]
    assert set(record["params"]["rows"]) == set(patients.obs_names)
    record["params"]["rows"] = record["params"]["rows"][1:]
    ax = sfm.pl.compare_composition(patients, show=False)
    assert sum(len(part.get_offsets()) for part in ax.collections) == (patients.n_obs - 1) * patients.n_vars
    record["params"]["rows"] = np.array(["nobody"], dtype=object)
    with pytest.raises(TableError, match="names 'nobody'"):
        sfm.pl.compare_composition(patients)
