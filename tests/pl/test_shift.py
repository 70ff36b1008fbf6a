"""Figures of shifts between time points."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.pl._figure import p_text
from spatialfm.pl._shift import barycentres


def cohort(times=("before", "after"), groups=("non-responder", "responder"), n_patients=8, n_cells=60) -> AnnData:
    """Cells on a plane; those of the second group move by (2, 1) at each time point."""
    rng = np.random.default_rng(0)
    rows = [(f"P{i:02d}", groups[i % len(groups)], time) for i in range(n_patients) for time in times]
    obs = pd.DataFrame(rows, columns=["patient", "response", "time_point"])
    obs = obs.loc[obs.index.repeat(n_cells)].reset_index(drop=True)
    obs.index = obs.index.astype(str)
    obs["response"] = pd.Categorical(obs["response"], groups)
    points = rng.normal(size=(len(obs), 2))
    points += np.outer((obs["response"] == groups[-1]) * obs["time_point"].map(list(times).index), [2.0, 1.0])
    cells = AnnData(obs=obs, obsm={"X_umap": points, "X_model": points})
    arguments = {
        "use_rep": "X_model",
        "time_key": "time_point",
        "time_points": list(times),
        "library_key": None,
        "epsilon": 0.05,
    }
    group_key = "response" if len(groups) > 1 else None
    sfm.tl.distribution_shift(cells, **arguments, group_key=group_key, min_cells=40, n_repeats=2)
    return cells


def heights(ax, color) -> list[float]:
    """Values of the dots of one colour."""
    dots = [line for line in ax.get_lines() if line.get_marker() == "o" and line.get_color() == color]
    return sorted(float(y) for line in dots for y in np.atleast_1d(line.get_ydata()))


def ends(ax) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Start, end and width of the arrows."""
    return [
        (np.array(text.xyann), np.array(text.xy), text.arrow_patch.get_linewidth())
        for text in ax.texts
        if getattr(text, "arrow_patch", None) is not None
    ]


@pytest.mark.parametrize("measure", ["distance", "shift"])
def test_dots_and_medians_are_those_of_the_table(measure):
    cells = cohort()
    axes = sfm.pl.shift(cells, measure=measure, palette=["#0072B2", "#D55E00"], show=False)
    table = cells.uns["distribution_shift"]["table"]
    for group, color in (("non-responder", "#0072b2"), ("responder", "#d55e00")):
        mine = table[table["group"] == group]
        np.testing.assert_allclose(heights(axes[2], color), np.sort(mine[measure]))
        black = [line.get_ydata()[0] for line in axes[2].get_lines() if line.get_color() == "black"]
        assert any(np.isclose(mine[measure].median(), black))
    row = cells.uns["distribution_shift"]["comparison"].set_index("measure").loc[measure]
    texts = [text.get_text() for text in axes[2].texts]
    assert f"{p_text(row['p_value'])}\nr = {row['effect']:.2f}" in texts
    assert "before → after" in texts
    moved, others = (table.loc[table["group"] == one, measure].array for one in ("responder", "non-responder"))
    apart = np.subtract.outer(np.asarray(moved), np.asarray(others))
    assert row["effect"] == pytest.approx(np.sign(apart).mean())
    assert axes[2].get_xlabel() == "r > 0: more in responder"
    assert [label.get_text() for label in axes[2].get_xticklabels()] == ["non-responder\n(n = 4)", "responder\n(n = 4)"]


def test_null_distances_stand_beside_distances_only():
    cells = cohort()
    table = cells.uns["distribution_shift"]["table"]
    axes = sfm.pl.shift(cells, show=False)
    drawn = np.concatenate([part.get_offsets()[:, 1] for part in axes[2].collections if len(part.get_offsets()) == 4])
    np.testing.assert_allclose(np.sort(drawn), np.sort(table["null_distance"]))
    assert "halves of one time point" in [text.get_text() for text in axes[2].get_legend().get_texts()]
    axes = sfm.pl.shift(cells, measure="shift", show=False)
    assert "halves of one time point" not in [text.get_text() for text in axes[2].get_legend().get_texts()]


def test_arrows_lead_from_mean_to_mean():
    cells = cohort()
    axes = sfm.pl.shift(cells, show=False)
    obs, points = cells.obs, cells.obsm["X_umap"]
    arrows = ends(axes[1])
    thin, thick = [a for a in arrows if a[2] < 2], [a for a in arrows if a[2] > 2]
    assert (len(thin), len(thick)) == (8, 2)

    def mean(**values):
        mine = np.all([(obs[key] == value).to_numpy() for key, value in values.items()], axis=0)
        return points[mine].mean(axis=0)

    np.testing.assert_allclose(thin[0][0], mean(patient="P00", time_point="before"))
    np.testing.assert_allclose(thin[0][1], mean(patient="P00", time_point="after"))
    # all patients have equally many cells: the mean of means is the mean of the group's cells
    np.testing.assert_allclose(thick[1][0], mean(response="responder", time_point="before"))
    np.testing.assert_allclose(thick[1][1], mean(response="responder", time_point="after"))
    low, high = np.array([axes[1].get_xlim(), axes[1].get_ylim()]).T
    for start, end, _ in arrows:
        assert (start > low).all()
        assert (start < high).all()
        assert (end > low).all()
        assert (end < high).all()


def test_patients_without_all_time_points_have_no_way():
    cells = pd.DataFrame({"x": [0.0, 2, 4, 9], "y": 0.0, "patient": list("AAAB"), "time": list("112") + ["1"]})
    centres = barycentres(cells, ["1", "2"])
    assert centres.index.tolist() == [("A", "1"), ("A", "2")]
    assert centres["x"].tolist() == [1.0, 4.0]


def test_three_time_points_three_groups_and_none(check_boxes):
    cells = cohort(times=("1 before", "2 on", "3 after"))
    figure = sfm.pl.shift(cells, return_fig=True)
    figure.canvas.draw()
    assert len([a for a in ends(figure.axes[1]) if a[2] > 2]) == 4
    assert {"1", "2"} <= {text.get_text() for text in figure.axes[1].texts}
    labels = [label for label in figure.axes[2].get_xticklabels() if label.get_text()]
    assert len(labels) == 6
    axes = sfm.pl.shift(cohort(groups=("a", "b", "c"), n_patients=9), show=False)
    assert len(axes[2].get_xticklabels()) == 3
    assert not [text for text in axes[2].texts if text.get_text().startswith("p ")]
    axes = sfm.pl.shift(cohort(groups=("all",)), show=False)
    assert [label.get_text() for label in axes[2].get_xticklabels()] == ["all patients\n(n = 8)"]


def test_nothing_overlaps(check_boxes):
    figure = sfm.pl.shift(cohort(), return_fig=True)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    ax = figure.axes[2]
    boxes = [text.get_window_extent(renderer) for text in (*ax.texts, *ax.get_xticklabels()) if text.get_text()]
    boxes += [each.get_legend().get_window_extent(renderer) for each in figure.axes]
    check_boxes(figure, boxes)


def test_given_axes_are_drawn_into_and_files_written(tmp_path):
    cells = cohort()
    figure, axes = plt.subplots(1, 3)
    assert sfm.pl.shift(cells, ax=axes, show=False)[0] is axes[0]
    sfm.pl.shift(cells, title="Shift", save=tmp_path / "shift.png", show=False)
    assert (tmp_path / "shift.png").stat().st_size > 10_000
    assert plt.fignum_exists(figure.number)


def test_refusals():
    cells = cohort()
    cells.obsm["X_three"] = np.zeros((cells.n_obs, 3))
    for arguments, message in [
        ({"key": "other"}, r"No shifts in uns\['other'\].*sfm.tl.distribution_shift"),
        ({"use_rep": "X_tsne"}, r"No 'X_tsne' in obsm .*sc.tl.umap"),
        ({"use_rep": "X_three"}, "does not hold two columns of numbers"),
        ({"palette": ["red"]}, "1 colours for 2 categories"),
        ({"ax": plt.subplots(1, 2)[1]}, "holds 2 axes; the figure needs three"),
    ]:
        with pytest.raises(TableError, match=message):
            sfm.pl.shift(cells, **arguments)
    del cells.obs["time_point"]
    with pytest.raises(TableError, match="No column 'time_point' in obs, which the shifts were measured by"):
        sfm.pl.shift(cells)


def test_fewer_cells_of_all_patients_are_drawn_and_a_lost_patient_is_refused():
    cells = cohort()
    thinned = cells[np.arange(0, cells.n_obs, 3)].copy()
    dots = []
    for table in (thinned, cells):
        ax = sfm.pl.shift(table, show=False)[2]
        lines = [line for line in ax.get_lines() if line.get_marker() == "o"]
        dots.append(sorted(float(y) for line in lines for y in np.atleast_1d(line.get_ydata())))
    assert len(dots[0]) >= 8
    assert dots[0] == dots[1]
    plt.close("all")
    without = cells[cells.obs["patient"] != "P03"].copy()
    with pytest.raises(TableError, match="includes 'P03', of whom this table has no cell"):
        sfm.pl.shift(without, show=False)
    relabelled = cells.copy()
    relabelled.obs["time_point"] = relabelled.obs["time_point"].map({"before": "after", "after": "before"})
    with pytest.raises(TableError, match="was made of other data"):
        sfm.pl.shift(relabelled, show=False)
