"""Whatever a function writes comes back from h5ad, zarr and a SpatialData's store as it was, and can be drawn.

The functions are taken from the package: one that is added has its calls as ``ROUND_TRIP`` in its own test, or an entry
here. Names are of the kind that users have and stores have not: slashes, spaces, Greek letters, categories in an order
of their own, numbers and truth as groups.
"""

from __future__ import annotations

import json
import warnings

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import spatialdata as sd
from geopandas import GeoDataFrame
from mirrored import values
from shapely import box
from spatialdata.models import ShapesModel, TableModel
from spatialdata.transformations import Identity
from stand_in import Painter

import spatialfm as sfm
from spatialfm._storable import write_obsm

TYPES = ["Mac/Mono", "γδ T", "CD8 T", "B cell (naïve)", "mac_mono", "."]
MARKERS = ["HLA-DR/DP", "CD3 (ε)", "α-SMA", "Ki 67", "CD20", "DAPI"]
ARMS = ["treated/late", "control"]  # not in the order of the alphabet


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def cohort() -> ad.AnnData:
    return cells_of_24()


def cells_of_24() -> ad.AnnData:
    """24 patients with 2 samples of 20 cells."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(24), 40)
    sample = np.repeat(np.arange(48), 20)
    n = len(patient)
    of_type = rng.integers(0, 6, n)
    third = patient % 3
    event = rng.random(24) < 0.8
    event[:6] = [True, False] * 3
    obs = pd.DataFrame(
        {
            "patient": pd.Categorical([f"P/{i} ä" for i in patient]),
            "sample": pd.Categorical([f"S {i}/1" for i in sample]),
            "phenotype": pd.Categorical.from_codes(of_type, [*TYPES, "never seen"]),
            "leiden": pd.Categorical(of_type.astype(str)),
            "arm": pd.Categorical.from_codes(patient % 2, ARMS, ordered=True),
            "stage": third + 1,
            "responded": patient % 2 == 0,
            "time": rng.exponential(20, 24)[patient] + 1,
            "event": event[patient],
            "time_point": pd.Categorical.from_codes(sample % 2, ["week 6", "baseline"]),
            "inside": rng.random(n) < 0.4,
        },
        index=[f"cell {i}" for i in range(n)],
    )
    obs["part"] = obs["phenotype"].where(rng.random(n) < 0.5)
    latent = rng.normal(size=(n, 5)) + 3 * np.eye(6)[of_type][:, :5] + 0.5 * (patient % 2)[:, None]
    cells = ad.AnnData(rng.gamma(2, size=(n, 6)).astype(np.float32), obs=obs, var=pd.DataFrame(index=MARKERS))
    cells.obsm["X_model"] = latent.astype(np.float32)
    cells.obsm["X_umap"] = latent[:, :2].copy()
    cells.obsm["X_attended"] = rng.gamma(2, size=(n, 6)).astype(np.float32)
    notes = {"model": "kronos", "family": "kronos", "output": "attention", "attention_head": 0, "n_components": ""}
    cells.uns["spatialfm"] = {"X_attended": notes | {"markers": json.dumps(MARKERS)}}
    cells.obsm["spatial"] = rng.uniform(0, 200, (n, 2))
    cells.uns["phenotype_colors"] = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"]
    return cells


def patients_of(cells: ad.AnnData) -> ad.AnnData:
    patients = sfm.tl.composition(cells, "phenotype", patient_key="patient")
    patients = patients[[f"P/{i} ä" for i in range(24)]].copy()
    patients.obs["status"] = pd.Categorical(["yes"] * 24).add_categories(["no"])
    kinds = np.where(np.arange(24) % 3 == 0, "death (other)", "relapse")
    patients.obs["outcome"] = pd.Categorical(np.where(patients.obs["event"].astype(bool), kinds, "alive/lost"))
    patients.obs["age"] = np.random.default_rng(1).normal(60, 9, 24)
    return patients


def _number(cells):
    """Of each cell, by its name: calls mean the same cells in any order of the table."""
    return cells.obs_names.str.removeprefix("cell ").astype(int).to_numpy()


def _first(cells, n):
    return cells[_number(cells) < n].copy()


def _rest(cells, n):
    return cells[_number(cells) >= n].copy()


def _signatures(cells):
    sfm.tl.discover_signatures(
        cells, use_rep="X_model", outcome="responded", resolutions=[0.5, 1.0], max_cells=None, n_folds=3, n_repeats=2,
        n_repeats_model=2, n_permutations=3, min_patients=3,
    )  # fmt: skip
    return cells


def _survival_signatures(cells):
    sfm.tl.discover_signatures(
        cells, use_rep="X_model", outcome=("time", "event"), resolutions=[0.5, 1.0], max_cells=None, n_folds=3,
        n_repeats=2, n_repeats_model=2, n_permutations=3, min_patients=3,
    )  # fmt: skip
    return cells


def _named_signatures(cells):
    cells.obsm["signatures"] = pd.DataFrame(
        {"Mac/Mono": cells.obs["phenotype"] == "Mac/Mono", "CD8 T": cells.obs["phenotype"] == "CD8 T"}
    )
    return cells


def _run(name, cells, *args, **kwargs):
    getattr(sfm.tl, name)(cells, *args, **kwargs)
    return cells


def _bags(cells):
    """A network of the layout of STAMP whose weights mean nothing."""
    import tempfile

    import torch

    from spatialfm.learn.bag_published import StampMIL

    torch.manual_seed(0)
    network = StampMIL(cells.obsm["X_model"].shape[1], 2, width=8, n_heads=8, n_layers=1, feedforward=8)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(network.state_dict(), f"{folder}/model.pth")
        sfm.tl.predict_bags(cells, f"{folder}/model.pth", use_rep="X_model", classes=["a/b", "c"], gradients=True)
    return cells


def _in_context(cells):
    from spatialfm.models.context import new_context

    shape = {"in_dim": cells.obsm["X_model"].shape[1], "dim": 8, "hidden": 8, "heads": 2, "depth": 1}
    model = new_context("stofm", shape, 0, 3.0)
    cells.obsm["spatial"][:, 0] += 1000.0 * cells.obs["patient"].astype("category").cat.codes  # patients side by side
    return _run("embed_context", cells, use_rep="X_model", model=model, library_key="arm")


def _together(cells):
    patients = _on_patients("compare_composition", cells, "arm")
    sfm.tl.correct_together({"a/b": patients})
    return patients


def _cores(cells, group_key, **kwargs):
    """Several samples of each patient, compared as they are."""
    odd = _number(cells) % 2 == 1
    cells.obs["core"] = cells.obs["patient"].astype(str) + np.where(odd, "/1", "/2")
    cells.obs["when"] = np.where(odd, "after", "before")
    samples = sfm.tl.composition(cells, "phenotype", library_key="core", patient_key=None)
    return _run("compare_composition", samples, group_key, n_permutations=99, **kwargs)


def _calibrated(cells):
    """A marker with a slash in its name, imputed for all patients and measured in two of three."""
    write_obsm(cells, "X_imputed", pd.DataFrame({"CD8/a": cells.X[:, 0] * 1.1}, index=cells.obs_names))
    hidden = (cells.obs["patient"].astype("category").cat.codes % 3 == 0).to_numpy()
    cells.var_names = ["CD8/a", *cells.var_names[1:]]
    cells.X[hidden, 0] = np.nan
    seen = json.dumps(list(cells.var_names[1:]))
    cells.uns["spatialfm"]["X_imputed"] = {"method": "linear", "seen": seen, "space": "intensity"}
    sfm.tl.calibrate_imputation(cells, coverage=0.8, n_levels=2, n_bootstrap=100, n_permutations=99)
    return cells


def _on_patients(name, cells, *args, **kwargs):
    return _run(name, patients_of(cells), *args, **kwargs)


def _standardized(cells):
    sfm.pp.standardize(cells, use_rep="X_model", batch_key="arm")
    sfm.pp.standardize(cells, batch_key="arm", method="rank")
    return cells


def _transferred(cells):
    target = _first(cells, 400)
    sfm.tl.transfer_signatures(_named_signatures(cells), target, use_rep="X_model", n_trees=10)
    return target


def _scored(cells):
    return sfm.tl.score_signatures(_named_signatures(cells), favorable=["Mac/Mono"], cluster_key="phenotype")


def _curves(cells):
    patients = _on_patients("kaplan_meier", cells, "arm")
    sfm.tl.logrank(patients, "arm", pairwise=True, trend=True)
    return patients


def _incidence(cells):
    patients = patients_of(cells)
    sfm.tl.cumulative_incidence(patients, "arm", censored_value="alive/lost", event_key="outcome", n_permutations=999)
    return patients


def _predicted(cells):
    """Half of the patients by what the other half made."""
    patients = patients_of(cells)
    first = patients.obs_names.isin([f"P/{i} ä" for i in range(12)])
    source, target = patients[first].copy(), patients[~first].copy()
    sfm.tl.cox(source, "γδ T", strata="responded")
    sfm.tl.cut_point(source, "Mac/Mono", key_added="cut", n_permutations=100)
    sfm.tl.stratify(source, 2, time_key="time", event_key="event")
    for key, cut in (("cox", "median"), ("cut", None), ("risk_group", None)):
        sfm.tl.predict_survival(source, target, key=key, cut=cut, **COMMON)
    return target


def _niches(cells):
    sfm.tl.neighborhood_composition(cells, "phenotype", library_key="sample", n_neighbors=6)
    sfm.tl.niches(cells, 4)
    return cells


RELAPSE = {"event_key": "outcome", "event_value": "relapse", "censored_value": "alive/lost"}
COMMON = {"n_bootstrap": 100}
CELLS = {  # what is written into a table of cells or patients
    "embed_samples": [
        lambda c: sfm.tl.embed_samples(c, use_rep="X_model", model="transport", n_points=2),
        lambda c: sfm.tl.embed_samples(c, use_rep="X", model="statistics", quantiles=[0.5]),
    ],
    "predict_expression": [
        lambda c: _run("predict_expression", c, "X_model", MARKERS[:3], n_folds=3),
        lambda c: _run("predict_expression", c, "X_model", "X", n_folds=2, alpha="cv", pca=None, log1p=True),
    ],
    "align": [
        lambda c: _run("align", c, "X_model", "X", n_components=4, max_epochs=2, batch_key="arm"),
        lambda c: _run("align", c, "X_model", "X", n_components=4, max_epochs=1, loss="siglip", head_a="linear"),
    ],
    "annotate": [
        lambda c: _run("annotate", c, "part", use_rep="X_model", method="bcos"),
        lambda c: _run("annotate", c, "part", use_rep="X_model", method="linear", C=1.0),
        lambda c: _run("annotate", c, "leiden", use_rep="X_model", method="spreading"),
        lambda c: _run("annotate", c, "leiden", use_rep="X", method="lda", coverage=0.5, coverage_of="cells"),
    ],
    "calibrate_imputation": [_calibrated],
    "classify_samples": [
        lambda c: _run("classify_samples", c, label_key="arm", use_rep=["X_model", "X"], n_components=2, n_draws=4)
    ],
    "cluster_agreement": [lambda c: _run("cluster_agreement", c, "phenotype", use_rep=["X_model", "X"], n_seeds=1)],
    "compare_composition": [
        lambda c: _on_patients("compare_composition", c, "arm"),
        lambda c: _on_patients("compare_composition", c, "stage"),
        lambda c: _on_patients("compare_composition", c, "responded"),
        lambda c: _cores(c, "when", pair_key="patient"),
        lambda c: _cores(c, "arm", model="mixed"),
        lambda c: _cores(c, "arm", time_key="when"),
    ],
    "correct_together": [_together],
    "compare_enrichment": [lambda c: _run("compare_enrichment", c, "phenotype", "arm", n_neighbors=6, min_expected=1)],
    "composition": [patients_of],
    "added_value": [lambda c: _on_patients("added_value", c, "CD8 T", ["stage"], **COMMON)],
    "compare_concordance": [lambda c: _on_patients("compare_concordance", c, ["CD8 T", "γδ T"])],
    "concordance": [lambda c: _on_patients("concordance", c, "CD8 T", **COMMON)],
    "cox": [lambda c: _on_patients("cox", c, ["arm", "γδ T", "stage"])],
    "coxnet": [lambda c: _on_patients("coxnet", c, covariates="arm", n_alphas=5, n_folds=3, n_inner_folds=2, **COMMON)],
    "cumulative_incidence": [_incidence],
    "cut_point": [
        lambda c: _on_patients("cut_point", c, "Mac/Mono", n_permutations=100),
        lambda c: _on_patients("cut_point", c, "CD8 T", n_permutations=100),
    ],
    "discover_signatures": [_signatures, _survival_signatures],
    "distribution_shift": [
        lambda c: _run(
            "distribution_shift", c, use_rep="X_model", time_key="time_point", group_key="arm", min_cells=10,
            n_cells=5, n_repeats=2, epsilon=0.1,
        )
    ],
    "embed_context": [_in_context],
    "evaluate_annotation": [lambda c: _run("evaluate_annotation", c, "phenotype", use_rep=["X_model", "X"], C=1.0)],
    "few_shot_samples": [
        lambda c: _run(
            "few_shot_samples", c, label_key="arm", use_rep="X_model", cluster_key="phenotype", n_clusters=4, n_draws=3
        )
    ],
    "evaluate_reconstruction": [lambda c: _run("evaluate_reconstruction", c, markers=MARKERS[:2], n_bootstrap=100)],
    "fine_gray": [lambda c: _on_patients("fine_gray", c, ["arm", "γδ T", "stage"], **RELAPSE)],
    "kaplan_meier": [_curves],
    "leiden_sweep": [
        lambda c: _run("leiden_sweep", c, use_rep="X_model", resolutions=(0.2, 0.5, 1.0), n_subsamples=2)
    ],
    "logrank": [lambda c: _on_patients("logrank", c, "stage"), lambda c: _on_patients("logrank", c, "responded")],
    "marker_attention": [lambda c: _run("marker_attention", c, "X_attended", "phenotype")],
    "marker_positivity": [lambda c: _run("marker_positivity", _first(c, 200), markers=MARKERS[:2], min_cells=20)],
    "mil": [
        lambda c: _run("mil", c, use_rep="X_model", label_key="arm", n_folds=2, n_seeds=1, max_epochs=2, hidden=4),
        lambda c: _run(
            "mil", c, use_rep="X_model", time_key="time", event_key="event", n_folds=2, n_seeds=1, max_epochs=2,
            hidden=4,
        ),
        lambda c: _run(
            "mil", c, use_rep="X_model", label_key="arm", n_folds=2, n_seeds=1, max_epochs=2, head="bcos",
            gradients=True,
        ),
    ],
    "predict_bags": [_bags],
    "name_clusters": [
        lambda c: _run("name_clusters", c, "phenotype", {"a": MARKERS[:2], "b": MARKERS[2:]}, min_match=0.1)
    ],
    "neighborhood_composition": [
        lambda c: _run("neighborhood_composition", c, "phenotype", library_key="sample", n_neighbors=6)
    ],
    "neighborhood_contrast": [
        lambda c: _run("neighborhood_contrast", c, "phenotype", cell_type="Mac/Mono", within="inside")
    ],
    "niches": [_niches],
    "power": [
        lambda c: _on_patients(
            "power", c, "composition", 2.0, cell_type="Mac/Mono", group_key="arm", n_patients=[8, 12], n_simulations=20
        ),
        lambda c: _on_patients("power", c, "survival", 2.0, n_patients=[8, 12], n_simulations=20),
    ],
    "predict_survival": [_predicted],
    "risk_ratio": [lambda c: _on_patients("risk_ratio", c, "arm", ["Mac/Mono", "γδ T"], threshold=0.17)],
    "rmst": [lambda c: _on_patients("rmst", c, "arm"), lambda c: _on_patients("rmst", c, "responded", horizon=2.0)],
    "score_signatures": [_scored],
    "surprise": [lambda c: _run("surprise", c, n_folds=2)],
    "select_panel": [
        lambda c: _run("select_panel", c, 3, n_folds=2, n_random=2),
        lambda c: _run("select_panel", c, 2, target="label", label_key="phenotype", n_folds=2, n_random=0),
    ],
    "stratify": [
        lambda c: _on_patients(
            "stratify", c, 3, time_key="time", event_key="event", merge_into=2, cross_fit=3, n_permutations=3
        )
    ],
    "survival_forest": [
        lambda c: _on_patients(
            "survival_forest", c, covariates=["arm", "stage"], n_trees=5, min_samples_leaf=3, n_importance=1, n_folds=3,
            **COMMON,
        )
    ],
    "propose_types": [
        lambda c: _run("propose_types", c, "leiden_part", use_rep="X_model", C=1.0)
        if c.obs.__setitem__("leiden_part", c.obs["leiden"].where(c.obs["leiden"] != "2")) is None else c,
    ],
    "label_report": [lambda c: _run("label_report", c, "part", use_rep="X_model", C=1.0)],
    "add_cell_labels": [
        lambda c: [
            sfm.pp.add_cell_labels(c, pd.DataFrame({"cell": ["cell 0", "cell 1"], "label": ["γ/δ", None]}), "by_eye"), c
        ][1],
        lambda c: [sfm.pp.add_cell_labels(c, _first(c, 40), "part", column="part"), c][1],
    ],
    "suggest_labels": [
        lambda c: _run("suggest_labels", _run("annotate", c, "part", use_rep="X_model", method="linear", C=1.0), "part",
                       use_rep="X_model", n=6),
    ],
    "tissue_clusters": [
        lambda c: _run("tissue_clusters", c, 3, use_rep="X_model"),
        lambda c: _run("tissue_clusters", c, 2, use_rep="X_model", within_sample=True),
    ],
    "transfer_signatures": [_transferred],
}  # fmt: skip
CELLS["standardize"] = [_standardized]
CELLS["transfer_labels"] = [
    lambda c: [sfm.tl.transfer_labels(_first(c, 480), q := _rest(c, 480), "leiden", use_rep="X_model"), q][1],
    lambda c: [sfm.tl.transfer_labels(_first(c, 480), q := _rest(c, 480), "phenotype", use_rep="X_model"), q][1],
]
# of the functions' own tests: calls that take the cells of `cohort` and return the table that was written into
CELLS |= values("ROUND_TRIP", "tl") | values("ROUND_TRIP", "pp")
IN_SDATA = {  # written into a SpatialData, see `slides`
    "perturb_markers",
    "cell_table", "add_clinical", "add_samples", "embed_cells", "embed_tiles", "tile_labels", "paint_tiles",
    "segment_regions", "pixie",
    "impute_markers", "reconstruct",
    "detect_artifacts", "fix_labels", "segment_cells", "set_outcome", "tissue",
}  # fmt: skip
WRITE_NOTHING = {
    "build_index", "search", "search_samples", "channel_quality", "marker_statistics", "marker_table",
    "match_markers", "check_labels", "plan_embedding", "segmentation_quality",
}  # fmt: skip


def _contributions(cells):
    """Of ``method="bcos"``; other methods have none."""
    if "contributions" in cells.uns.get("part_predicted", {}):
        sfm.pl.contributions(cells, "part_predicted", show=False)


DRAWN = {
    "annotation_scores": ("evaluate_annotation", lambda a: sfm.pl.annotation_scores(a, show=False)),
    "attention": ("mil", lambda a: sfm.pl.attention(a, "S 0/1", cluster_key="phenotype", show=False)),
    "cluster_tree": ("leiden_sweep", lambda a: sfm.pl.cluster_tree(a, show=False)),
    "compare_composition": ("compare_composition", lambda a: sfm.pl.compare_composition(a, show=False)),
    "compare_enrichment": ("compare_enrichment", lambda a: sfm.pl.compare_enrichment(a, show=False)),
    "contributions": ("annotate", _contributions),
    "concordance": ("compare_concordance", lambda a: sfm.pl.concordance(a, show=False)),
    "composition": ("composition", lambda a: sfm.pl.composition(a, group_key="arm", show=False)),
    "cumulative_incidence": ("cumulative_incidence", lambda a: sfm.pl.cumulative_incidence(a, show=False)),
    "calibration": ("predict_survival", lambda a: sfm.pl.calibration(a, show=False)),
    "decision_curve": ("predict_survival", lambda a: sfm.pl.decision_curve(a, show=False)),
    "forest": ("cox", lambda a: sfm.pl.forest(a, show=False)),
    "kaplan_meier": ("kaplan_meier", lambda a: sfm.pl.kaplan_meier(a, show=False)),
    "label_report": ("label_report", lambda a: sfm.pl.label_report(a, show=False)),
    "marker_attention": ("marker_attention", lambda a: sfm.pl.marker_attention(a, show=False)),
    "neighborhood_contrast": ("neighborhood_contrast", lambda a: sfm.pl.neighborhood_contrast(a, show=False)),
    "reconstruction_scores": ("evaluate_reconstruction", lambda a: sfm.pl.reconstruction_scores(a, show=False)),
    "panel_curve": ("select_panel", lambda a: sfm.pl.panel_curve(a, show=False)),
    "positivity": ("marker_positivity", lambda a: sfm.pl.positivity(a, MARKERS[0], show=False)),
    "power": ("power", lambda a: sfm.pl.power(a, show=False)),
    "shift": ("distribution_shift", lambda a: sfm.pl.shift(a, show=False)),
    "signatures": ("discover_signatures", lambda a: sfm.pl.signatures(a, show=False)),
    "sample_scores": ("classify_samples", lambda a: sfm.pl.sample_scores(a, show=False)),
    "signature_scores": ("discover_signatures", lambda a: sfm.pl.signature_scores(a, show=False)),
    "survival_auc": ("coxnet", lambda a: sfm.pl.survival_auc(a, show=False)),
}
DRAWN |= values("DRAWN", "pl")  # of the figures' own tests: the function that writes, and the call that draws
DRAWN_OF_SDATA = {
    "style",
    "reconstruction",
    "cell_gallery",
    "cells",
    "search_results",
    "segmentation",
    "tile_map",
    "tissue",
}


def test_every_function_is_here():
    functions = {*sfm.tl.__all__, *sfm.pp.__all__} - {"Index"}
    assert functions == set(CELLS) | IN_SDATA | WRITE_NOTHING
    assert set(sfm.pl.__all__) == set(DRAWN) | DRAWN_OF_SDATA


def stored(table: ad.AnnData, kind: str, folder) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # of keys that the next anndata refuses
        warnings.filterwarnings("ignore", message=".*(zarr|Zarr|consolidated|auto_shard).*")
        if kind == "h5ad":
            table.write_h5ad(folder / "a.h5ad")
            return ad.read_h5ad(folder / "a.h5ad")
        if kind == "zarr":
            table.write_zarr(folder / "a.zarr")
            return ad.read_zarr(folder / "a.zarr")
        sdata = sd.SpatialData(tables={"table": TableModel.parse(table)})
        sdata.write(folder / "s.zarr")
        return sd.read_zarr(folder / "s.zarr")["table"]


def same(one: object, two: object, where: str) -> None:
    """Values, kinds, categories and their order."""
    if isinstance(one, dict) or hasattr(one, "items") and not isinstance(one, pd.DataFrame | pd.Series):
        assert set(one) == set(two), where
        for name in one:
            same(one[name], two[name], f"{where}/{name}")
    elif isinstance(one, pd.DataFrame):
        assert list(one.columns) == list(two.columns), where
        assert list(one.index) == list(two.index), where
        assert one.index.name == two.index.name, where
        for name in one:
            same(one[name], two[name], f"{where}/{name}")
    elif isinstance(one, pd.Series):
        if isinstance(one.dtype, pd.CategoricalDtype):
            assert list(one.cat.categories) == list(two.cat.categories), where
            assert one.cat.ordered == two.cat.ordered, where
        else:
            assert one.dtype.kind == two.dtype.kind, where
        assert one.isna().tolist() == two.isna().tolist(), where
        assert one.dropna().tolist() == two.dropna().tolist(), where
    elif isinstance(one, np.ndarray | list):
        one, two = np.asarray(one), np.asarray(two)
        assert one.shape == two.shape, where
        text = one.dtype.kind in "OUT"
        assert text or one.dtype.kind == two.dtype.kind, where
        assert one.tolist() == two.tolist() if text else np.array_equal(one, two, equal_nan=one.dtype.kind == "f"), (
            where
        )
    elif isinstance(one, float):
        assert one == two or (np.isnan(one) and np.isnan(two)), where
    else:
        assert type(one)(two) == one, where
        assert isinstance(two, type(one)), where


def same_table(one: ad.AnnData, two: ad.AnnData) -> None:
    for part in ("obs", "var", "obsm", "layers"):
        same(getattr(one, part), getattr(two, part), part)
    same({name: value for name, value in one.uns.items() if name != "spatialdata_attrs"},
         {name: value for name, value in two.uns.items() if name != "spatialdata_attrs"}, "uns")  # fmt: skip


# what is written as no other: frames, graphs, nested records, text beside numbers, groups in an order of their own
TO_ZARR = {
    "annotate", "compare_composition", "cox", "discover_signatures", "kaplan_meier", "leiden_sweep", "mil", "power",
    "score_signatures",
}  # fmt: skip
RUNS = [(name, number) for name, runs in CELLS.items() for number in range(len(runs))]
EACH = pytest.mark.parametrize(("name", "number"), RUNS)


@pytest.fixture(scope="module")
def patients(cohort) -> ad.AnnData:
    """The patients before any function writes into them."""
    return patients_of(cohort)


def added(table: ad.AnnData, *before: ad.AnnData) -> ad.AnnData:
    """What a function wrote, without what was there before: each column is several arrays in a store."""
    base = next((one for one in before if table.obs_names.equals(one.obs_names)), None)
    if base is None:
        return table
    table = table.copy()
    for name in [name for name in base.obs if name in table.obs and table.obs[name].equals(base.obs[name])]:
        del table.obs[name]
    for part in ("obsm", "layers"):
        here, there = getattr(table, part), getattr(base, part)
        for name in [name for name in there if name in here and np.array_equal(np.asarray(here[name]), there[name])]:
            del here[name]
    for name in ("phenotype_colors", "spatialfm", "composition"):
        if name in table.uns and set(table.uns[name]) == set(base.uns.get(name, ())):
            del table.uns[name]
    return table


def comes_back(table, kind, folder):
    """The table from a store of a kind."""
    if kind == "sdata":  # its own rule for the names of the user's columns
        table = table.copy()
    back = stored(table, kind, folder)
    same_table(table, back)
    return back


def is_drawn(table, name):
    for of, draw in DRAWN.values():
        if of == name:
            draw(table)
            plt.close("all")


@pytest.mark.filterwarnings("ignore")
@EACH
def test_a_result_comes_back_and_can_be_drawn(cohort, patients, name, number, tmp_path):
    table = CELLS[name][number](cohort.copy())
    new = added(table, cohort, patients)
    is_to_be_drawn = name in {of for of, _ in DRAWN.values()}
    back = comes_back(table if is_to_be_drawn else new, "h5ad", tmp_path)
    if number == 0:  # its own rules for names; a store of zarr takes several times as long to write as h5ad
        TableModel.validate(new)
        if name in TO_ZARR:
            comes_back(new, "sdata", tmp_path)
    is_drawn(back, name)


@pytest.mark.slow  # a SpatialData writes its tables as anndata does, to the same kind of store
@pytest.mark.filterwarnings("ignore")
@EACH
def test_a_result_can_be_drawn_from_each_kind_of_store(cohort, name, number, tmp_path):
    table = CELLS[name][number](cohort.copy())
    for kind in ("h5ad", "zarr", "sdata"):
        is_drawn(comes_back(table, kind, tmp_path), name)


def test_names_of_types_and_markers_are_read_as_they_are(cohort, tmp_path):
    cells = _niches(_run("annotate", cohort.copy(), "part", use_rep="X_model", method="linear", C=1.0))
    sfm.tl.marker_attention(cells, "X_attended", "phenotype")
    before = cells.obsm["part_predicted_probability"].to_numpy()
    for kind in ("h5ad", "sdata"):
        back = stored(cells, kind, tmp_path)
        table = sfm.get.table(back, "part_predicted_probability")
        assert list(table.columns) == TYPES
        assert np.array_equal(table, before)
        assert list(sfm.get.table(back, "niche", "composition").columns) == [*TYPES, "never seen"]
        assert list(sfm.get.table(back, "marker_attention_z").columns) == MARKERS
        ax = sfm.pl.marker_attention(back, marker="HLA-DR/DP", sample="S 3/1", show=False)
        assert ax.get_title(loc="left") == "S 3/1"


@pytest.mark.filterwarnings("ignore")
def test_results_are_read_on_from_a_store(cohort, tmp_path):
    """Tools take up the results of others from a store."""
    target = _transferred(cohort.copy())
    back = stored(target, "h5ad", tmp_path)
    scores = sfm.tl.score_signatures(back, favorable=["Mac/Mono"])
    assert scores.var_names.tolist() == ["Mac/Mono", "CD8 T"]
    inside = sfm.tl.neighborhood_contrast(back, "phenotype", cell_type="γδ T", within="Mac/Mono", copy=True)
    assert inside.index.tolist() == TYPES  # anndata drops unused categories


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Images, tables and elements after every function that writes into a SpatialData."""
    sfm.settings.cache_dir, sfm.settings.progress = tmp_path_factory.mktemp("cache"), False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdata = sfm.datasets.simulate_cohort(
            n_patients=2,
            n_samples=1,
            image_size=128,
            artifacts=["fold"],
            artifact_rate=1.0,
            random_state=0,
            difficulty="easy",
        )
        samples = list(sdata["samples"].obs_names)
        sfm.pp.cell_table(sdata)
        clinical = pd.DataFrame(
            {
                "patient": sdata["samples"].obs["patient"].astype(str).tolist(),
                "OS (months)": [1.5, None],
                "Stage/Grade": ["III/2", None],
                "arm": pd.Categorical(["b", "a"], ["b", "a"], ordered=True),
                "responded": [True, None],
                "mixed": ["x", 2.5],
            }
        )
        sfm.pp.add_clinical(sdata, clinical, on="patient")
        names = list(sdata["samples"].obs_names)
        sfm.pp.add_samples(sdata, pd.DataFrame({"sample": names, "Site/No": [f"{name}/1" for name in names]}))
        sfm.pp.set_outcome(sdata, time_key="time", event_key="event", event_value=1)
        cells = sdata["table"]
        rng = np.random.default_rng(0)
        cells.obs["phenotype"] = pd.Categorical.from_codes(rng.integers(0, 6, cells.n_obs), TYPES)
        sfm.tl.embed_cells(sdata, "mean-intensity")
        sfm.tl.embed_cells(sdata, "classical", reduce={"n_components": 5})
        sfm.tl.embed_tiles(sdata, "mean-intensity", size=32, cluster_key="phenotype", min_tissue=0.0)
        sfm.tl.tile_labels(sdata, "phenotype")
        tiles = sdata["tiles"]
        tiles.obs["kind"] = pd.Categorical.from_codes(np.arange(tiles.n_obs) % 3, ["Mac/Mono", "γδ T", "CD8 T"])
        sfm.tl.paint_tiles(sdata, "kind")
        sfm.tl.pixie(sdata, side=4, n_pixel_clusters=5, n_clusters=4)
        drawn = GeoDataFrame({"class": ["Mac/Mono", "CD8 T"], "geometry": [box(0, 0, 20, 64), box(44, 0, 64, 64)]})
        sdata["drawn"] = ShapesModel.parse(drawn, transformations={samples[0]: Identity()})
        sfm.tl.segment_regions(sdata, "mean-intensity", annotations="drawn", C=1.0)
        sfm.tl.detect_artifacts(
            sdata, "mean-intensity", annotations={samples[0]: f"artifacts_{samples[0]}"}, C=1.0, min_tokens=1
        )
        painter, seen = Painter(), {"markers": ["CD3", "CD20", "CD68"]}
        sfm.tl.reconstruct(sdata, painter, panel=seen)
        sfm.tl.impute_markers(sdata, painter, markers=["FOXP3"], panel=seen)
        sfm.pp.fix_labels(sdata, "cells_P001_1", background=1)  # a cell that is none
        sfm.pp.tissue(sdata, "otsu")
        sfm.pp.segment_cells(sdata, key_added="found")
        path = tmp_path_factory.mktemp("store") / "cohort.zarr"
        sdata.write(path)
    sfm.settings.reset()
    return sdata, sd.read_zarr(path), path.parent


def test_tables_of_slides_come_back(slides):
    sdata, back, folder = slides
    assert set(back.tables) == {"table", "samples", "tiles", "tokens", "artifact_tokens", "truth"}
    for name in sdata.tables:
        same_table(sdata[name], back[name])
        (folder / name).mkdir()  # each is in a store of zarr already
        same_table(sdata[name], stored(sdata[name], "h5ad", folder / name))
    assert {"kind_P001_1", "regions_P001_1", "artifact_map_P001_1"} <= set(back.labels)
    assert np.array_equal(sdata["cells_P001_1_fixed"], back["cells_P001_1_fixed"])
    for name in ("kind_P001_1", "regions_P001_1", "artifact_map_P001_1"):
        assert np.array_equal(sdata[name], back[name])
        assert back.attrs["spatialfm"]["maps"][name] == sdata.attrs["spatialfm"]["maps"][name]
    assert np.array_equal(sdata["tissue_P001_1"], back["tissue_P001_1"])
    assert np.array_equal(sdata["found_P001_1"], back["found_P001_1"])
    assert back.attrs["spatialfm"]["segmentation"] == sdata.attrs["spatialfm"]["segmentation"]
    assert back.attrs["spatialfm"]["tissue"] == sdata.attrs["spatialfm"]["tissue"]
    assert back.attrs["spatialfm"]["maps"]["regions_P001_1"]["categories"] == ["CD8 T", "Mac/Mono"]
    assert list(sfm.get.table(back["tokens"], "regions_probability").columns) == ["CD8 T", "Mac/Mono"]


def test_orders_of_categories_are_kept_on_tiles(slides):
    tiles = slides[1]["tiles"].obs
    assert list(tiles["arm"].cat.categories) == ["b", "a"]
    assert tiles["arm"].cat.ordered
    assert list(tiles["label"].cat.categories) == TYPES


def test_slides_are_drawn_from_a_store(slides):
    _, back, _ = slides
    sfm.pl.cells(back, "P001_1", color="phenotype", channels=["DAPI"], labels="cells_P001_1", show=False)
    sfm.pl.tile_map(back, "P001_1", "label", show=False)
    sfm.pl.tissue(back, show=False)
    quality = sfm.pp.segmentation_quality(back, samples="P001_1", by="cell")
    sfm.pl.segmentation(back, "P001_1", quality, show=False)
    index = sfm.tl.build_index(back["table"], "X_mean_intensity")
    hits = sfm.tl.search(index, back["table"][:2].copy(), k=2)
    sfm.pl.search_results(hits, back, channels=["DAPI"], label_key="phenotype", k=2, show=False)
    assert sfm.get.record(back["table"], "X_classical")["model"] == "classical"
    assert sfm.get.basis(back["table"], "X_classical")["components"].shape[0] == 5
    assert list(sfm.get.features(back["table"], "X_mean_intensity").columns)


@pytest.mark.parametrize("key", ["a/b", "", ".", "__x"])
def test_keys_that_no_store_holds_are_refused_before_any_work(cohort, key):
    from spatialfm._errors import TableError

    cells, patients = cohort.copy(), patients_of(cohort)
    for call in (
        lambda: sfm.tl.annotate(cells, "part", use_rep="absent", key_added=key),
        lambda: sfm.tl.cox(patients, "absent", key_added=key),
        lambda: sfm.tl.leiden_sweep(cells, use_rep="absent", key_added=key),
    ):
        with pytest.raises(TableError, match="no store can hold"):
            call()


def test_index_comes_back(cohort, tmp_path):
    index = sfm.tl.build_index(cohort, "X_model")
    index.save(tmp_path / "index.npz")
    back = type(index).load(tmp_path / "index.npz")
    pd.testing.assert_frame_equal(sfm.tl.search(back, cohort[:3], k=4), sfm.tl.search(index, cohort[:3], k=4))
