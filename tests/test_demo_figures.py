"""Figures of the demo: which patients, means, limits and colours are drawn, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from spatialfm import _demo_figures as figures
from spatialfm import pl
from spatialfm.pl import _figure, _forest, _heatmap


@pytest.fixture(autouse=True)
def closed(monkeypatch):
    monkeypatch.setattr(_figure, "letter_panels", lambda axes: None)
    yield
    plt.close("all")


@pytest.fixture
def heatmap(monkeypatch):
    """Table and options of each heatmap that is asked for."""
    asked = []
    monkeypatch.setattr(_heatmap, "draw_heatmap", lambda ax, table, **options: asked.append((table, options)))
    return asked


def phenotypes():
    obs = pd.DataFrame({"phenotype": pd.Categorical(list("BTTB"), ["T", "B", "none"])}, index=list("1234"))
    table = ad.AnnData(np.full((4, 2), 100.0), obs=obs, var=pd.DataFrame(index=["CD3", "CD20"]))
    table.layers["z"] = np.array([[-1.0, 2.0], [1.0, -1.0], [2.0, 0.0], [0.0, 4.0]])
    return table


def test_means_are_of_the_z_scores_of_the_cells_that_are_counted(heatmap):
    figures.phenotype_markers(phenotypes(), "phenotype", {"T": "red", "B": "blue"})
    ((table, options),) = heatmap
    assert table.index.tolist() == ["T (2)", "B (2)"]  # none has no cell
    assert table.to_numpy().tolist() == [[1.5, -0.5], [-0.5, 3.0]]
    assert options["colors"] == {"T (2)": "red", "B (2)": "blue"}


def test_neighbours_are_named_in_order_and_a_few_extremes_do_not_take_the_colours(heatmap):
    names = [f"t{i:02d}" for i in range(10)]
    table = ad.AnnData(obs=pd.DataFrame({"phenotype": pd.Categorical(names)}, index=names))
    scores = np.full((10, 10), -2.0)
    scores[0, 1] = 50.0
    scores[3, 4] = np.nan
    table.uns["phenotype_nhood_enrichment"] = {"zscore": scores}
    figures.neighborhood_enrichment(table)
    ((drawn, options),) = heatmap
    assert options["limit"] == 2.0  # 95 of 99 numbers are of this size
    assert drawn.loc["t00", "t01"] == 50


def ratios(*rows, index):
    return pd.DataFrame(rows, columns=["hazard_ratio", "ci_low", "ci_high"], index=index)


def test_the_patients_with_least_and_most_of_the_niche_of_the_regression_are_shown(monkeypatch):
    patients = ad.AnnData(
        np.array([[0.5, 0.1], [0.2, 0.9], [0.3, 0.4]]),
        obs=pd.DataFrame(index=["p1", "p2", "p3"]),
        var=pd.DataFrame(index=["B", "Treg niche"]),
    )
    patients.uns["cox"] = {"table": ratios((2, 1, 3), (1, 1, 1), index=["Treg niche", "age"])}
    samples = SimpleNamespace(obs=pd.DataFrame({"patient": ["p3", "p2", "p2", "p1"]}, index=list("dcba")))
    asked = []
    monkeypatch.setattr(pl, "cells", lambda sdata, sample, title, **_: asked.append((sample, title)))
    figures.tissue({"samples": samples}, patients)
    assert asked == [
        ("a", "a: patient with least Treg niche"), ("a", "phenotypes found"),
        ("c", "c: patient with most Treg niche"), ("c", "phenotypes found"),
    ]  # fmt: skip


def test_both_panels_of_ratios_have_one_scale_that_holds_all_intervals(monkeypatch):
    hazards = ratios((2, 0.6, 3), (1, 0.95, 1.05), index=["a", "b"]).assign(p_holm=[0.0123, np.nan])
    patients = ad.AnnData(obs=pd.DataFrame(index=["p1"]))
    patients.uns["cox"] = {"table": ratios((4, 0.5, 12), (1, 0.9, 1.1), index=["a", "age"])}
    asked = {}
    monkeypatch.setattr(pl, "forest", lambda patients, xlim, title, **_: asked.update(below=xlim, title=title))
    monkeypatch.setattr(
        _forest, "draw_ratios", lambda ax, table, names, notes, xlim: asked.update(names=names, notes=notes, above=xlim)
    )
    figures.hazard_ratios(patients, hazards)
    assert asked["below"] == asked["above"] == pytest.approx((0.5 / 1.2, 12 * 1.2))
    assert asked["names"] == ["a (per SD)", "b (per SD)"]
    assert asked["notes"] == ["corrected p = 0.012", ""]
    assert asked["title"].startswith("a, stage and age")
    patients.uns["cox"]["table"] = hazards = hazards.assign(ci_low=0.95, ci_high=1.02)
    figures.hazard_ratios(patients, hazards)
    assert asked["above"] == pytest.approx((0.9 / 1.2, 1.1 * 1.2))  # 1 is in sight


def test_all_are_drawn_in_both_formats_and_niches_take_the_colour_of_their_phenotype(monkeypatch, tmp_path):
    names = (
        *("tissue", "umap", "phenotype_markers", "neighborhood_enrichment", "compositions", "survival_curves"),
        "hazard_ratios",
    )
    for name in names:
        monkeypatch.setattr(figures, name, lambda *_, name=name: plt.figure(figsize=(0.2, 0.2), label=name))
    cells = phenotypes()
    cells.obs["phenotype"] = pd.Categorical(["B", "Treg", "Treg", "B"], ["B", "Treg"])
    niches = ["B niche", "Tumor + Treg", "Treg", "something"]
    patients = ad.AnnData(np.zeros((1, 4)), var=pd.DataFrame(index=niches))
    paths = figures.draw_all({}, cells, patients, pd.DataFrame(), tmp_path, "X_m")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert [path.name[:2] for path in paths[::2]] == [f"{i}_" for i in range(1, 8)]
    assert {path.suffix for path in paths} == {".png", ".pdf"}
    of = figures.COLORS
    assert cells.uns["phenotype_colors"] == [of["B"], of["Treg"]]
    assert list(patients.uns["niche_colors"]) == [of["B"], of["Tumor"], of["Treg"], "#444444"]
    assert not plt.get_fignums()


def test_colours_of_phenotypes_are_apart():
    rgb = np.array([plt.matplotlib.colors.to_rgb(color) for color in figures.COLORS.values()])
    distance = np.linalg.norm(rgb[:, None] - rgb[None], axis=2) + 9 * np.eye(len(rgb))
    assert distance.min() > 0.2


def test_slides_of_the_map_lie_over_each_other_in_no_order():
    n = 60
    obs = pd.DataFrame({"phenotype": pd.Categorical(["B"] * n), "slide": pd.Categorical(["S1"] * 30 + ["S2"] * 30)})
    table = ad.AnnData(obs=obs.set_axis([f"c{i}" for i in range(n)]))
    table.uns["phenotype_colors"] = [figures.COLORS["B"]]
    table.obsm["X_umap"] = np.column_stack([np.arange(n), np.zeros(n)]).astype(float)
    figure = figures.umap(table, "X_m")
    places = np.concatenate([points.get_offsets()[:, 0] for points in figure.axes[1].collections])
    assert sorted(places) == list(range(n))
    assert 5 < (places[:30] >= 30).sum() < 25
    assert all(points.get_rasterized() for ax in figure.axes for points in ax.collections)
    assert figure.axes[0].get_title() == "phenotypes on X_m"
