"""Results in ``uns`` that were edited, cut or made by another function are refused in a sentence, or drawn."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import spatialfm as sfm
from spatialfm import _origin
from spatialfm._errors import SpatialfmError, TableError
from spatialfm.pl._results import FINITE, NAMES, PARTS, SHARED, TableWith

FILE = Path(__file__).resolve().parents[1] / "test_round_trip.py"
spec = importlib.util.spec_from_file_location("round_trip_registry", FILE)
registry = importlib.util.module_from_spec(spec)
spec.loader.exec_module(registry)

# function that draws, and which of its kinds: function that made, key, call
FIGURES: dict[str, tuple[str, str, Callable]] = {
    "annotation_scores": ("evaluate_annotation", "annotation", lambda a: sfm.pl.annotation_scores(a, show=False)),
    "attention": ("mil", "mil", lambda a: sfm.pl.attention(a, "S 0/1", show=False)),
    "calibration": ("predict_survival", "cox_predicted", lambda a: sfm.pl.calibration(a, show=False)),
    "cluster_tree": ("leiden_sweep", "leiden_sweep", lambda a: sfm.pl.cluster_tree(a, show=False)),
    "compare_composition": (
        "compare_composition", "compare_composition", lambda a: sfm.pl.compare_composition(a, show=False),
    ),
    "compare_composition: effect": (
        "compare_composition", "compare_composition",
        lambda a: sfm.pl.compare_composition(a, kind="effect", show=False),
    ),
    "compare_composition: reference": (
        "compare_composition", "compare_composition",
        lambda a: sfm.pl.compare_composition(a, kind="reference", show=False),
    ),
    "compare_enrichment": (
        "compare_enrichment", "compare_enrichment", lambda a: sfm.pl.compare_enrichment(a, show=False),
    ),
    "concordance": (
        "compare_concordance", "compare_concordance", lambda a: sfm.pl.concordance(a, show=False),
    ),
    "contributions": (
        "annotate", "part_predicted", lambda a: sfm.pl.contributions(a, "part_predicted", show=False),
    ),
    "cumulative_incidence": (
        "cumulative_incidence", "cumulative_incidence", lambda a: sfm.pl.cumulative_incidence(a, show=False),
    ),
    "decision_curve": ("predict_survival", "cox_predicted", lambda a: sfm.pl.decision_curve(a, show=False)),
    "forest": ("cox", "cox", lambda a: sfm.pl.forest(a, show=False)),
    "kaplan_meier": ("kaplan_meier", "kaplan_meier", lambda a: sfm.pl.kaplan_meier(a, show=False)),
    "label_report": ("label_report", "label_report", lambda a: sfm.pl.label_report(a, show=False)),
    "marker_attention": ("marker_attention", "marker_attention", lambda a: sfm.pl.marker_attention(a, show=False)),
    "neighborhood_contrast": (
        "neighborhood_contrast", "neighborhood_contrast", lambda a: sfm.pl.neighborhood_contrast(a, show=False),
    ),
    "panel_curve": ("select_panel", "panel", lambda a: sfm.pl.panel_curve(a, show=False)),
    "surprise": ("surprise", "surprise", lambda a: sfm.pl.surprise(a, show=False)),
    "positivity": (
        "marker_positivity", "positive",
        lambda a: sfm.pl.positivity(a, registry.MARKERS[0], samples="S 0/1", bins=5, show=False),
    ),
    "power": ("power", "power", lambda a: sfm.pl.power(a, show=False)),
    "reconstruction_scores": (
        "evaluate_reconstruction", "reconstruction", lambda a: sfm.pl.reconstruction_scores(a, show=False),
    ),
    "shift": ("distribution_shift", "distribution_shift", lambda a: sfm.pl.shift(a, show=False)),
    "sample_scores": ("classify_samples", "classify_samples", lambda a: sfm.pl.sample_scores(a, show=False)),
    "sample_scores: few shots": (
        "few_shot_samples", "few_shot_samples",
        lambda a: sfm.pl.sample_scores(a, key="few_shot_samples", show=False),
    ),
    "signature_scores": ("discover_signatures", "signatures", lambda a: sfm.pl.signature_scores(a, show=False)),
    "signatures": ("discover_signatures", "signatures", lambda a: sfm.pl.signatures(a, show=False)),
    "survival_auc": ("coxnet", "coxnet", lambda a: sfm.pl.survival_auc(a, show=False)),
}  # fmt: skip
NOT_OF_UNS = {
    "style",
    "cell_gallery",
    "cells",
    "composition",
    "reconstruction",
    "search_results",
    "segmentation",
    "tile_map",
    "tissue",
}
WRONG = {
    "None": None,
    "text": "x",
    "a number": 3,
    "a list": [],
    "an array": np.zeros(3),
    "a table": pd.DataFrame({"a": [1]}),
}


def test_every_figure_of_a_result_is_here():
    assert set(sfm.pl.__all__) == {name.split(":")[0] for name in FIGURES} | NOT_OF_UNS


@pytest.fixture(scope="module")
def made():
    """The table with the result of each function; made when first asked for."""
    cohort, kept = registry.cohort._get_wrapped_function()(), {}

    def of(name: str):
        if name not in kept:
            _origin.forget()
            kept[name] = registry.CELLS[name][0](cohort.copy())
        return kept[name]

    return of


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def with_result(table, key: str, result: object):
    """A table with another result; the rest is shared, and is not written to by figures."""
    other = table.copy()
    other.uns = {name: value for name, value in table.uns.items() if name != key} | {key: result}
    return other


def edits(result: Mapping, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Callable[[dict], object]]]:
    """Each single change of a result, in words and as a function of a copy of it."""
    for name, value in result.items():
        where = "/".join((*path, name))
        yield f"{where} is gone", lambda one, name=name: one.pop(name)
        for word, wrong in WRONG.items():
            yield f"{where} is {word}", lambda one, name=name, wrong=wrong: one.__setitem__(name, wrong)
        if isinstance(value, pd.DataFrame):
            yield f"{where} has no rows", lambda one, name=name: one.__setitem__(name, one[name].iloc[:0])
            for column in value.columns:
                gone = {"columns": column}
                yield (
                    f"{where} has no {column}",
                    lambda one, name=name, gone=gone: one.__setitem__(name, one[name].drop(**gone)),
                )
                for word, wrong in {"text": "q", "NaN": np.nan}.items():
                    yield (
                        f"{where}: {column} is {word}",
                        lambda one, name=name, new={column: wrong}: one.__setitem__(name, one[name].assign(**new)),
                    )
        elif isinstance(value, Mapping):
            for words, edit in edits(value, (*path, name)):
                yield words, lambda one, name=name, edit=edit: edit(one[name])


def fate(draw: Callable, table) -> str:
    """``drawn``, the message of a refusal, or the foreign error."""
    try:
        draw(table)
    except SpatialfmError as error:
        return str(error)
    except Exception as error:
        return f"FOREIGN {type(error).__name__}: {error!s:.150}"
    finally:
        plt.close("all")
    return "drawn"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("figure", FIGURES)
def test_what_a_figure_needs_and_has_not_is_named(figure, made):
    function, key, draw = FIGURES[figure]
    table = made(function)
    draw(table)
    needed = {name: kind for name, kind in PARTS[function].items() if not name.endswith("?")}
    if figure in ("calibration", "decision_curve"):  # say more of the part that is theirs
        needed.pop("calibration" if figure == "calibration" else "decision_curve")
    for part, kind in needed.items():
        changed = copy.deepcopy(dict(table.uns[key]))
        del changed[part]
        if (figure, part) != ("attention", "patients"):  # drawn without what is known of the patient
            with pytest.raises(TableError, match=r"uns\['?.*sfm\.tl\.|uns has") as caught:
                draw(with_result(table, key, changed))
            assert len(str(caught.value)) < 900
        for column, of in kind.columns.items() if isinstance(kind, TableWith) else ():
            if column.endswith("?"):
                continue
            # text is a name like any other; a number that could not be had is a gap
            refused = {"gone": True, "text": of in (float, int, FINITE)}
            refused["gap"] = len(table.uns[key][part]) > 0 and of in (int, FINITE, str, NAMES)
            for change in (name for name, is_refused in refused.items() if is_refused):
                changed = copy.deepcopy(dict(table.uns[key]))
                frame = changed[part]
                other = frame.assign(**{column: "q" if change == "text" else np.nan})
                changed[part] = frame.drop(columns=column) if change == "gone" else other
                with pytest.raises(TableError, match=rf"{column}|uns has"):
                    draw(with_result(table, key, changed))
    for part in (name.rstrip("?") for name, kind in SHARED["params?"].items() if kind is not list):
        if part in table.uns[key].get("params", {}):
            changed = copy.deepcopy(dict(table.uns[key]))
            changed["params"][part] = np.zeros(3)
            with pytest.raises(TableError, match=rf"\['{part}'\] is"):
                draw(with_result(table, key, changed))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("figure", FIGURES)
def test_what_is_no_result_is_refused(figure, made):
    function, key, draw = FIGURES[figure]
    table = made(function)
    for wrong in (*WRONG.values(), {}):
        assert not fate(draw, with_result(table, key, wrong)).startswith("FOREIGN"), wrong
    other = made("kaplan_meier" if function != "kaplan_meier" else "cox")
    for name, result in other.uns.items():
        assert not fate(draw, with_result(table, key, result)).startswith("FOREIGN"), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("figure", FIGURES)
def test_each_single_change_of_a_result_is_refused_or_drawn(figure, made):
    function, key, draw = FIGURES[figure]
    table = made(function)
    before = copy.deepcopy(dict(table.uns[key]))
    foreign, tried = [], 0
    for words, edit in edits(before):
        changed = copy.deepcopy(before)
        edit(changed)
        tried += 1
        if (what := fate(draw, with_result(table, key, changed))).startswith("FOREIGN"):
            foreign.append(f"{words}: {what}")
    assert tried > 50
    assert not foreign, f"{len(foreign)} of {tried}:\n" + "\n".join(foreign[:30])


@pytest.mark.parametrize("damage", ["x", "{}", "[]", 3, None, '{"n": 3}'])
def test_a_record_of_the_data_that_was_edited_is_named(damage, made):
    table = made("cox")
    changed = copy.deepcopy(dict(table.uns["cox"]))
    changed["params"]["data"] = damage
    if damage is None:  # as results of earlier versions have none
        sfm.pl.forest(with_result(table, "cox", changed), show=False)
        return
    with pytest.raises(TableError, match=r"uns\['cox'\]\['params'\]\['data'\] is not as it was written"):
        sfm.pl.forest(with_result(table, "cox", changed), show=False)


def test_cells_without_a_place_are_counted():
    """One missing coordinate made the size of the figure NaN."""
    cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=30, random_state=0)
    cells.obs["mil_attention"] = 1.0
    cells.obsm["spatial"][0] = np.nan
    sample = str(cells.obs["sample"].iloc[0])
    with pytest.raises(TableError, match=f"1 of 30 cells of sample '{sample}' have no finite coordinate"):
        sfm.pl.attention(cells, sample, show=False)
    sfm.pl.attention(cells, str(cells.obs["sample"].iloc[-1]), show=False)
