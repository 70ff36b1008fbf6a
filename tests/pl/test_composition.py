from __future__ import annotations

import re

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from scipy.sparse import csc_array, csr_matrix

import spatialfm as sfm
from spatialfm._errors import TableError
from spatialfm.pl._figure import color_cycle


@pytest.fixture
def samples() -> AnnData:
    rng = np.random.default_rng(0)
    frames = []
    for i in range(8):
        n = 50 + 10 * i
        types = rng.choice(["T", "B", "tumor"], n, p=rng.dirichlet([2, 2, 4]))
        frames.append(pd.DataFrame({"sample": f"s{i}", "type": types, "response": ["yes", "no"][i % 2]}))
    obs = pd.concat(frames, ignore_index=True)
    obs.index = obs.index.astype(str)
    return sfm.tl.composition(AnnData(obs=obs), "type", patient_key=None)


def bars(ax) -> pd.DataFrame:
    """Heights by name of the row below and phenotype."""
    names = {position: label.get_text() for position, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)}
    heights = {}
    for container in ax.containers:
        for bar in container:
            heights[names[round(bar.get_x() + bar.get_width() / 2, 6)], container.get_label()] = (
                bar.get_height(), bar.get_y(),
            )  # fmt: skip
    table = pd.Series({key: value[0] for key, value in heights.items()}).unstack()
    top = pd.Series({key: sum(value) for key, value in heights.items()}).unstack().max(axis=1)
    np.testing.assert_allclose(top, 1)
    return table


def test_bars_are_the_fractions(samples):
    ax = sfm.pl.composition(samples, show=False)
    expected = samples.to_df()
    drawn = bars(ax)
    pd.testing.assert_frame_equal(drawn.loc[expected.index, expected.columns], expected, check_names=False)
    order = [label.get_text() for label in ax.get_xticklabels()]
    most = expected.mean().idxmax()
    assert order == list(expected.sort_values(most, ascending=False, kind="stable").index)
    assert ax.get_ylabel() == "Fraction of cells"
    assert ax.get_xlabel() == "sample"
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["tumor", "T", "B"]  # from the top down
    assert legend.get_title().get_text() == "type"


FORMS = {
    "sparse": csr_matrix,
    "a sparse array by columns": csc_array,
    "lazy": lambda x: da.from_array(x, chunks=(3, 2)),
    "lazy and sparse": lambda x: da.from_array(x, chunks=(3, 3)).map_blocks(csr_matrix),
    "float32": lambda x: x.astype(np.float32),
    "by columns": np.asfortranarray,
}


@pytest.mark.parametrize("kind", ["bar", "heatmap"])
@pytest.mark.parametrize("form", FORMS)
def test_fractions_are_drawn_whatever_holds_them(samples, form, kind):
    """A table of 2,000 samples and 60 types is often kept sparse."""
    plain = sfm.pl.composition(samples, kind=kind, show=False)
    formed = samples.copy()
    formed.X = FORMS[form](np.asarray(samples.X))
    ax = sfm.pl.composition(formed, kind=kind, show=False)
    if kind == "bar":
        pd.testing.assert_frame_equal(bars(ax), bars(plain), rtol=1e-6)
        return
    shown, expected = (next(one for one in a.collections if isinstance(one, QuadMesh)).get_array() for a in (ax, plain))
    np.testing.assert_allclose(shown, expected, rtol=1e-6)


def test_groups_stand_apart(samples):
    ax = sfm.pl.composition(samples, group_key="response", sort_by="B", show=False)
    expected = samples.to_df().assign(response=samples.obs["response"])
    order = [label.get_text() for label in ax.get_xticklabels()]
    by_hand = [
        name
        for group in ("no", "yes")
        for name in expected[expected["response"] == group].sort_values("B", ascending=False).index
    ]
    assert order == by_hand
    gaps = np.diff(ax.get_xticks())
    assert np.flatnonzero(gaps > 1.01).tolist() == [3]
    assert [text.get_text() for text in ax.texts] == ["no\nn = 4", "yes\nn = 4", "response"]


def test_missing_groups_are_called_unknown(samples):
    samples.obs["response"] = samples.obs["response"].astype(object)
    samples.obs.loc[["s0", "s1"], "response"] = None
    ax = sfm.pl.composition(samples, group_key="response", show=False)
    assert [re.split(r"\n|, ", text.get_text())[0] for text in ax.texts] == ["no", "yes", "unknown", "response"]


@pytest.mark.parametrize("layer", [None, "clr"])
def test_heatmap_values(samples, layer):
    ax = sfm.pl.composition(samples, kind="heatmap", layer=layer, group_key="response", show=False)
    meshes = [c for c in ax.collections if isinstance(c, QuadMesh)]
    values = np.concatenate([mesh.get_array() for mesh in meshes], axis=1)
    order = [label.get_text() for label in ax.get_xticklabels()]
    expected = pd.DataFrame(samples.X if layer is None else samples.layers[layer], samples.obs_names, samples.var_names)
    np.testing.assert_allclose(values, expected.loc[order].T)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(samples.var_names)
    limits = {mesh.get_clim() for mesh in meshes}
    assert len(limits) == 1  # one scale for all groups
    low, high = limits.pop()
    assert (low, high) == pytest.approx((values.min(), values.max()) if layer is None else (-high, high))
    assert ax.get_ylabel() == "type"
    assert ax.figure.axes[1].get_ylabel() == ("Fraction of cells" if layer is None else "Centred log-ratio")


def test_colours(samples):
    ax = sfm.pl.composition(samples, palette={"T": "red", "B": "blue", "tumor": "black"}, show=False)
    assert {c.get_label(): to_hex(c[0].get_facecolor()) for c in ax.containers} == {
        "T": "#ff0000", "B": "#0000ff", "tumor": "#000000",
    }  # fmt: skip
    samples.uns["type_colors"] = ["#123456", "#654321", "#aaaaaa"]
    ax = sfm.pl.composition(samples, show=False)
    assert [to_hex(c[0].get_facecolor()) for c in ax.containers] == samples.uns["type_colors"]


def test_a_type_keeps_its_colour_where_columns_are_selected_or_sorted_anew():
    cells = AnnData(obs=pd.DataFrame({"patient": list("aabb"), "type": list("xyzx")}, index=list("1234")))
    cells.obs["sample"], cells.obs["type"] = cells.obs["patient"], cells.obs["type"].astype("category")
    cells.uns["type_colors"] = ["#111111", "#222222", "#333333"]
    patients = sfm.tl.composition(cells, "type")[:, ["z", "x", "y"]].copy()
    ax = sfm.pl.composition(patients, show=False)
    drawn = {bar.get_label(): to_hex(bar[0].get_facecolor()) for bar in ax.containers}
    assert drawn == {"z": "#333333", "x": "#111111", "y": "#222222"}


@pytest.mark.parametrize("n", [3, 8, 15, 29, 60])
def test_colours_are_different(n):
    assert len(set(color_cycle(n))) == n


def test_many_rows_are_counted_instead_of_named():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"sample": np.repeat([f"s{i}" for i in range(60)], 5), "type": rng.choice(["a", "b"], 300)})
    obs["patient"] = obs["sample"]
    obs.index = obs.index.astype(str)
    ax = sfm.pl.composition(sfm.tl.composition(AnnData(obs=obs), "type", patient_key="patient"), show=False)
    assert len(ax.get_xticks()) == 0
    assert ax.get_xlabel() == "60 patients"


@pytest.mark.parametrize("kind", ["bar", "heatmap"])
def test_nothing_is_cut_off(samples, kind, check_boxes):
    figure = sfm.pl.composition(samples, group_key="response", kind=kind, title="A title", return_fig=True)
    figure.canvas.draw()
    ax = figure.axes[0]
    texts = [*ax.texts, ax._left_title, ax.xaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    if kind == "bar":
        boxes.append(ax.get_legend().get_window_extent())
    check_boxes(figure, boxes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_key": "stage"}, r"No column 'stage' in obs \(group_key=\); found 'sample', 'response'"),
        ({"sort_by": "NK"}, r"No phenotype 'NK' \(sort_by=\); found 'B', 'T', 'tumor'"),
        ({"kind": "heatmap", "layer": "log"}, r"No layer 'log' \(layer=\); found 'counts', 'clr'"),
        ({"layer": "clr"}, r'Bars show fractions, not layer \'clr\'.*kind="heatmap"'),
        ({"palette": ["red"]}, r"palette= has 1 colours for 3 categories"),
    ],
)
def test_refusals(samples, arguments, message):
    with pytest.raises(TableError, match=message):
        sfm.pl.composition(samples, **arguments)


def test_refuses_what_is_no_composition(samples):
    samples.X = samples.X * 2
    with pytest.raises(TableError, match=r"do not add up to 1.*sfm.tl.composition"):
        sfm.pl.composition(samples)
    samples.obs["age"] = np.linspace(30, 60, 8)
    assert not plt.get_fignums()
