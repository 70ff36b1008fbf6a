"""Panels by a model whose predictions are known: each marker is read off its partner, and off nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from stand_in import Painter, Sums

import spatialfm as sfm
from spatialfm._errors import ElementError, ModelError, PanelError, TableError
from spatialfm._fingerprint import changes

CHANNELS = ["CD3", "CD20", "CD68", "CD4", "CD8", "FOXP3"]  # the first three, and the partner of each
RECIPE = {"statistics": {name: (70.0, 30.0) for name in CHANNELS}}
SIDE, WINDOW = 64, 32


class Partners(Painter):
    """A marker that is hidden is what its partner is, and 0, the mean, where that is hidden, too."""

    def reconstruct(self, pixels, markers, mask=None):
        self.before(self.n_windows)
        self.n_windows += len(pixels)
        hidden = mask.repeat_interleave(8, -1).repeat_interleave(8, -2)
        seen = torch.where(hidden, 0, pixels)
        return torch.where(hidden, seen.roll(3, dims=1), pixels)


@pytest.fixture
def cohort(make_sdata, blobs):
    """Four patients; partners are alike, and the pairs differ in how much."""
    samples, rng = {}, np.random.default_rng(0)
    for number in range(4):
        image, labels = blobs(number, side=SIDE, n_cells=14)
        noise = rng.normal(0, [[[4]], [[9]], [[14]]], image.shape) + rng.normal(0, 6, (3, 1, 1))
        partner = np.clip(image + noise, 0, 255).astype(np.uint8)
        samples[f"s{number}"] = (np.concatenate([image, partner]), labels)
    sdata = make_sdata(samples, CHANNELS)
    sfm.pp.cell_table(sdata)
    sdata["table"].obs["patient"] = ["P" + name[1:] for name in sdata["table"].obs["sample"].astype(str)]
    return sdata, samples


def cells_of_tiles(samples) -> dict[str, np.ndarray]:
    """Standardised means ``(n, 6)`` of the cells of each patient that lie in a tile as a whole, one by one."""
    out = {}
    for name, (image, labels) in samples.items():
        z, rows = (image.astype(float) - 70) / 30, []
        for y in range(0, SIDE, WINDOW):
            for x in range(0, SIDE, WINDOW):
                for label in np.unique(labels[y : y + WINDOW, x : x + WINDOW]):
                    at = np.argwhere(labels == label)
                    edges = [(0, y, at[:, 0].min()), (0, x, at[:, 1].min())]
                    cut = any(start > 0 and low <= start for _, start, low in edges)
                    cut |= y + WINDOW < SIDE and at[:, 0].max() >= y + WINDOW - 1
                    cut |= x + WINDOW < SIDE and at[:, 1].max() >= x + WINDOW - 1
                    if label > 0 and not cut:
                        rows.append(z[:, labels == label].mean(axis=1))
        out["P" + name[1:]] = np.array(rows)
    return out


def score_of(panel: list[str], patient: str, cells: dict[str, np.ndarray]) -> float:
    """One minus the error in variances of the other patients, who weigh alike from 50 cells on."""
    others = [values for name, values in cells.items() if name != patient]
    weights = [min(len(values), 50) for values in others]
    mean = np.average([values.mean(0) for values in others], axis=0, weights=weights)
    variance = np.average([((values - mean) ** 2).mean(0) for values in others], axis=0, weights=weights)
    errors, own = np.zeros(6), cells[patient]
    for place, name in enumerate(CHANNELS):
        partner = (place + 3) % 6
        if name not in panel:
            said = own[:, partner] if CHANNELS[partner] in panel else 0
            errors[place] = ((own[:, place] - said) ** 2).mean()
    return float(1 - (errors / variance).mean())


def chosen(ranking: pd.DataFrame) -> list[str]:
    return ranking.index[ranking["chosen"]].tolist()


def test_one_of_each_pair_is_chosen_and_scores_are_those_worked_out_by_hand(cohort):
    sdata, samples = cohort
    encoder = Partners()
    ranking = sfm.tl.select_panel(sdata, 3, encoder, method="model", keep=[], n_folds=4, recipe=RECIPE)
    assert sorted(CHANNELS.index(name) % 3 for name in chosen(ranking)) == [0, 1, 2]
    table = sdata["table"]
    assert sorted(table.var_names[table.var["panel"]]) == sorted(chosen(ranking))
    record, cells = table.uns["panel"], cells_of_tiles(samples)
    assert record["params"]["n_cells"] == sum(map(len, cells.values()))
    assert 8 < record["params"]["n_tiles"] <= 16  # in some no cell lies as a whole
    panels = ranking["share"]
    same = panels[panels > 0].index  # where all folds have one panel, it is known which was scored
    if (panels[same] == 1).all():
        for patient, score in record["patients"]["3"].items():
            assert score == pytest.approx(score_of(chosen(ranking), patient, cells), abs=1e-5)
    curve = record["curve"]
    assert curve["score"].iloc[-1] > curve["score"].iloc[0]
    assert record["whole"] == 1
    name = chosen(ranking)[0]
    partner = CHANNELS[(CHANNELS.index(name) + 3) % 6]
    assert ranking.loc[name, "substitute"] == partner  # the only one that tells the model anything


def test_what_regression_makes_of_the_same_panels_stands_beside(cohort):
    sdata, samples = cohort
    sfm.tl.select_panel(sdata, 2, Partners(), method="model", keep=[], n_folds=4, n_random=0, recipe=RECIPE)
    curve = sdata["table"].uns["panel"]["curve"]
    # the table says the cells and the patients that were scored
    table = sdata["table"].copy()
    made_of = table.uns["panel"]["params"]["data"]
    assert changes(table, made_of) == []
    table.obs["patient"] = "one"
    assert changes(table, made_of) == ["obs['patient']"]
    assert "the rows" in changes(table[1:], made_of)[0]
    expected, cells = [], cells_of_tiles(samples)
    panel = curve["markers"].iloc[1].split(", ")
    seen = [CHANNELS.index(name) for name in panel]
    for patient, own in cells.items():
        others = [values for name, values in cells.items() if name != patient]
        weights = np.array([min(len(values), 50) for values in others], float)
        mean = np.average([values.mean(0) for values in others], axis=0, weights=weights)
        scale = np.sqrt(np.average([((v - mean) ** 2).mean(0) for v in others], axis=0, weights=weights))
        z = [(values - mean) / scale for values in others]
        product = np.average([one.T @ one / len(one) for one in z], axis=0, weights=weights)
        beta = np.linalg.solve(product[np.ix_(seen, seen)] + 0.01 * np.eye(2), product[seen])
        own = (own - mean) / scale
        errors = ((own - own[:, seen] @ beta) ** 2).mean(0)
        errors[seen] = 0
        expected.append(1 - errors.mean())
    record = sdata["table"].uns["panel"]["ranking"]
    if (record["share"][panel] == 1).all():
        assert curve["linear"].iloc[1] == pytest.approx(np.mean(expected), abs=1e-5)
    gain = curve["gain_over_linear"].iloc[1]
    assert gain == pytest.approx(curve["score"].iloc[1] - curve["linear"].iloc[1])
    assert curve["gain_over_linear_low"].iloc[1] < gain < curve["gain_over_linear_high"].iloc[1]
    assert curve["chosen_by_linear"].notna().all()


def test_a_call_that_was_stopped_goes_on_and_ends_with_the_same_numbers(cohort, monkeypatch):
    from spatialfm.tl.imputation import panel_by_model

    sdata, _ = cohort
    told = {"method": "model", "keep": [], "n_folds": 2, "n_random": 1, "recipe": RECIPE}
    whole = Partners()
    first = sfm.tl.select_panel(sdata, 3, whole, **told, run={"resume": False})
    for path in sfm.settings.cache_dir.rglob("panels-*.npz"):
        path.unlink()
    monkeypatch.setattr(panel_by_model, "SAVED_EVERY", -1.0)

    def stopped(n: int) -> None:
        if n >= whole.n_windows // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sfm.tl.select_panel(sdata, 3, Partners(stopped), **told)
    rest = Partners()
    again = sfm.tl.select_panel(sdata, 3, rest, **told)
    pd.testing.assert_frame_equal(first, again)
    assert 0 < rest.n_windows <= whole.n_windows // 2 + 16


def test_tiles_are_few_where_few_are_asked_for(cohort):
    sdata, _ = cohort
    encoder = Partners()
    sfm.tl.select_panel(
        sdata,
        2,
        encoder,
        method="model",
        keep=[],
        max_tiles=4,
        n_random=0,
        n_folds=2,
        recipe=RECIPE,
        markers=CHANNELS[:4],
    )
    params = sdata["table"].uns["panel"]["params"]
    assert params["n_tiles"] == 4
    assert params["n_patients"] == 4  # evenly from all
    assert encoder.n_windows <= 4 * 2**4  # each panel of four candidates once


def test_refusals(cohort):
    sdata, _ = cohort
    table = sdata["table"]
    told = {"method": "model", "recipe": RECIPE}
    for error, said, call in (
        (TableError, "passed together", {"method": "model"}),
        (TableError, "passed together", {"model": Partners()}),
        (ModelError, "'sums' has no decoder", {"model": Sums(), "method": "model"}),
        (TableError, "not target='label'", {"model": Partners(), **told, "target": "label", "label_key": "sample"}),
        (TableError, "not layer=", {"model": Partners(), **told, "layer": "raw"}),
        (PanelError, "n_markers=9, and there are 6 candidates", {"model": Partners(), **told, "n_markers": 9}),
        (PanelError, "No marker 'CD99' among", {"model": Partners(), **told, "keep": ["CD99"]}),
        (PanelError, "1 candidate is left", {"model": Partners(), **told, "markers": ["CD3"]}),
        (PanelError, "No marker 'Ki-67' in all images", {"model": Partners(), **told, "markers": ["CD3", "Ki67"]}),
        (TableError, "has 2 patients: at least 3", {"model": Partners(), **told, "patient_key": "two"}),
    ):
        table.obs["two"] = np.where(table.obs["sample"].astype(str) == "s0", "a", "b")
        with pytest.raises(error, match=said):
            sfm.tl.select_panel(sdata, call.pop("n_markers", 3), call.pop("model", None), **call)
    with pytest.raises(ElementError, match="Pass the SpatialData"):
        sfm.tl.select_panel(table, 3, Partners(), **told)
    assert "panel" not in table.uns
