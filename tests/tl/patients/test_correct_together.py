"""Several result tables corrected as one family."""

from __future__ import annotations

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from statsmodels.stats.multitest import multipletests

import spatialfm as sfm
from spatialfm._errors import ArgumentError, TableError
from spatialfm.pl._compare_composition import q_text


def compared(p, names=None, key="compare_composition") -> AnnData:
    table = pd.DataFrame({"p_value": p, "p_reference": 1.0}, index=names or [f"type {i}" for i in range(len(p))])
    return AnnData(obs=pd.DataFrame(index=["a"]), uns={key: {"table": table, "params": {"alpha": 0.05}}})


def test_all_tests_are_one_family():
    fine, coarse = compared([0.001, 0.02, np.nan, 0.9]), compared([0.012, 0.5], ["T", "B"])
    for method in ("fdr_bh", "fdr_by", "holm"):
        table = sfm.tl.correct_together({"fine": fine, "coarse": coarse}, method=method)
        p = np.array([0.001, 0.02, 0.9, 0.012, 0.5])
        expected = multipletests(p, method=method)[1]
        np.testing.assert_allclose(fine.uns["compare_composition"]["table"]["q_together"].dropna(), expected[:3])
        np.testing.assert_allclose(coarse.uns["compare_composition"]["table"]["q_together"], expected[3:])
        assert list(table["q_together"].dropna()) == sorted(expected)
        assert np.isnan(fine.uns["compare_composition"]["table"]["q_together"].iloc[2])
        assert fine.uns["compare_composition"]["together"]["n_tests"] == 5
    first = table.iloc[0]
    assert (first["analysis"], first["name"]) == ("fine", "type 0")


def test_what_one_table_calls_many_do_not():
    """Twenty resolutions without an effect: each table alone calls some, together none in most."""
    alone, together = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        results = {str(i): compared(rng.random(5)) for i in range(20)}
        tables = [one.uns["compare_composition"]["table"]["p_value"] for one in results.values()]
        alone.append(any((multipletests(p, method="fdr_bh")[1] < 0.05).any() for p in tables))
        together.append(sfm.tl.correct_together(results, copy=True)["significant_together"].any())
        assert "q_together" not in results["0"].uns["compare_composition"]["table"]
    assert np.mean(alone) > 0.5
    assert np.mean(together) < 0.15


def test_tables_of_other_functions_and_other_columns():
    pairs = pd.DataFrame({"cell_type": ["T", "B"], "neighbour": ["B", "B"], "p_value": [0.01, 0.2]})
    samples = compared([0.3], key="other")
    samples.uns["other"]["table"]["p_value"] = 0.04
    table = sfm.tl.correct_together({"pairs": pairs, "types": samples}, key="other")
    assert table["name"].tolist() == ["T | B", "type 0", "B | B"]
    np.testing.assert_allclose(table["q_together"], [0.03, 0.06, 0.2])
    assert pairs["significant_together"].tolist() == [True, False]
    frame = sfm.tl.correct_together({"a": compared([0.001])}, p_column="p_reference", copy=True)
    assert frame["q_together"].tolist() == [1.0]


def test_real_comparisons_are_saved_and_drawn(tmp_path):
    cells = sfm.datasets.simulate_cells(12, cells_per_patient=150, effect_of="CD8 T", effect_size=-4.0, random_state=0)
    results = {}
    for column in ("type", "niche"):
        results[column] = sfm.tl.composition(cells, column, patient_key="patient")
        sfm.tl.compare_composition(results[column], "response", n_permutations=99)
    table = sfm.tl.correct_together(results)
    results["type"].write_h5ad(tmp_path / "p.h5ad")
    back = ad.read_h5ad(tmp_path / "p.h5ad").uns["compare_composition"]["table"]
    mine = table[table["analysis"] == "type"].set_index("name")["q_together"]
    np.testing.assert_allclose(back["q_together"], mine[back.index])
    ps = [one.uns["compare_composition"]["table"]["p_value"].dropna() for one in results.values()]
    right = pd.Series(multipletests(pd.concat(ps), method="fdr_bh")[1], pd.concat(ps).index)
    for kind, words in (("dots", "bold: q < 0.05 of"), ("effect", "coloured: q < 0.05 of")):
        ax = sfm.pl.compare_composition(results["type"], kind=kind, show=False)
        texts = [text.get_text() for text in ax.texts]
        assert q_text(right["CD8 T"]) in texts
        assert any(f"{words} {len(right)} tests together" in text for text in texts)
    plt.close("all")


def test_stars_are_those_of_all_tests_together():
    cells = sfm.datasets.simulate_cells(8, cells_per_patient=150, random_state=0)
    cells.obs["arm"] = cells.obs["patient"].isin(cells.obs["patient"].unique()[:4]).map({True: "a", False: "b"})
    cells.obs["left"] = cells.obsm["spatial"][:, 0] < np.median(cells.obsm["spatial"][:, 0])
    sfm.tl.compare_enrichment(cells, "type", "arm", n_neighbors=6)
    sfm.tl.neighborhood_contrast(cells, "type", cell_type="Tumor", within="left")
    for key, column, draw in (
        ("compare_enrichment", "p_value", sfm.pl.compare_enrichment),
        ("neighborhood_contrast", "p_patients", sfm.pl.neighborhood_contrast),
    ):
        table = cells.uns[key]["table"]
        table.iloc[0, table.columns.get_loc(column)] = 1e-4
        table["significant"] = table[column] < 0.001
        others = pd.DataFrame({column: np.ones(5000)})
        for results, stars in (({"own": cells}, True), ({"own": cells, "others": others}, False)):
            sfm.tl.correct_together(results, key=key, p_column=column)
            n = int(cells.uns[key]["together"]["n_tests"])
            ax = draw(cells, show=False)
            texts = [text.get_text() for text in ax.texts]
            assert any(text.strip().endswith("*") for text in texts) == stars
            assert any(f"q < 0.05 of {n} tests together" in text for text in [*texts, ax.get_title(loc="left")])
            plt.close("all")


def test_what_holds_no_p_values_is_refused():
    for results, arguments, message in [
        ({}, {}, "results= is empty"),
        ({"a": compared([0.1])}, {"key": "absent"}, r"No table in uns\['absent'\] of 'a'"),
        ({"a": compared([0.1])}, {"p_column": "p"}, "No column 'p' in the table of 'a'"),
        ({"a": compared([1.1])}, {}, "outside of 0 to 1"),
    ]:
        with pytest.raises((TableError, ArgumentError), match=message):
            sfm.tl.correct_together(results, **arguments)
