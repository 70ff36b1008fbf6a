"""Kinds of results that the tools write: how each is recognised, and its n, its correction and its caveat in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of result.

    Attributes
    ----------
    function
        Function of `sfm.tl` that writes it.
    title
        What a reader calls it.
    parts
        Keys that such a result has, with the columns that its tables have, and with the parameters.
    correction
        How its p-values are corrected for their number.
    caveat
        What its numbers do not show.
    values
        Single numbers that are shown.
    tables
        Tables that are shown, with a caption each.
    p_values
        Where its p-values are: ``(table or "", column, corrected column or "")``.
    by
        Who writes it, where that is not the one function.
    """

    function: str
    title: str
    parts: Mapping[str, tuple[str, ...]]
    correction: str
    caveat: str
    values: tuple[str, ...] = ()
    tables: tuple[tuple[str, str], ...] = ()
    p_values: tuple[tuple[str, str, str], ...] = ()
    by: str = ""

    @property
    def written_by(self) -> str:
        """Who writes it, in words."""
        return self.by or f"sfm.tl.{self.function}"

    def fits(self, record: Record) -> bool:
        """Whether a result is of this kind."""
        for name, columns in self.parts.items():
            part = record.get(name)
            if part is None:
                return False
            if columns and not set(columns) <= set(part if isinstance(part, Mapping) else getattr(part, "columns", ())):
                return False
        return True


NO_TEST = "No test is made."
ONE_TEST = "One test: there is nothing to correct within it."
BH = "Benjamini-Hochberg over the rows of the table (q)."
HELD_OUT = "Scores of patients that took no part in fitting."
NESTED = "The score is of patients that took no part in fitting; intervals allow for the folds that share patients."

KINDS = (
    Kind(
        "calibrate_imputation", "Error of imputed markers",
        {"summary": ("coverage", "shift_p"), "patients": (), "levels": (), "shift": ("p_value",)},
        "Largest difference over the markers that were seen (shift_p); not corrected for the markers that were "
        "imputed, nor the p-value of each new patient for the number of patients.",
        "Coverage is that of patients who were held out in turn, on average. The test of shift looks at the markers "
        "that were seen, and not at how the imputed one depends on them.",
        tables=(("summary", "Scores by marker, and coverage of the intervals."), ("shift", "Each new patient.")),
        p_values=(("summary", "shift_p", ""), ("shift", "p_value", "")),
    ),
    Kind(
        "kaplan_meier", "Kaplan-Meier curves", {"table": ("survival", "at_risk"), "groups": ("median",)}, NO_TEST,
        "Bands hold at each time alone, not for the whole curve. A median that is not reached is not shown. Late "
        "parts of a curve rest on the few who are still at risk.",
    ),
    Kind(
        "cumulative_incidence", "Cumulative incidence", {"table": ("incidence",), "groups": ("events",)},
        "One test (Gray's) for each event; not corrected for the number of events.",
        "Bands hold at each time alone. Incidence of one event depends on how frequent the others are.",
        tables=(("groups", "Patients and events."), ("tests", "Test between the groups, for each event: Gray's, or "
                "of Fine and Gray's regression at equal covariates.")),
        p_values=(("tests", "p_value", ""),),
    ),
    Kind(
        "rmst", "Restricted mean survival time", {"horizon": (), "groups": ("rmst",)},
        "Holm over the pairs of groups (p adjusted).",
        "Means are up to the horizon: what happens later does not count.",
        values=("horizon",),
        tables=(("groups", "Mean time up to the horizon."),
                ("differences", "Pairs of groups. difference: b less a; ratio: b over a.")),
        p_values=(("differences", "p_value", "p_adjusted"),),
    ),
    Kind(
        "logrank", "Log-rank test", {"statistic": (), "p_value": (), "dof": (), "groups": ("observed", "expected")},
        ONE_TEST + " Pairs of groups, where they are tested, are corrected after Holm (p adjusted).",
        "It tests whether any difference is there, not how large it is, and it misses differences that change sign "
        "with time.",
        values=("statistic", "dof", "p_value", "p_value_chi_squared", "p_value_unadjusted", "test"),
        tables=(("groups", "Observed and expected events of each group."), ("pairwise", "Pairs of groups.")),
        p_values=(("", "p_value", ""), ("pairwise", "p_value", "p_adjusted")),
    ),
    Kind(
        "fine_gray", "Fine and Gray's regression", {"table": ("hazard_ratio",), "other_events": ()},
        "p-values of the terms are not corrected for their number.",
        "Ratios are of the subdistribution: they say how the incidence differs, not the rate among those at risk.",
        values=("other_events", "events_per_term", "wald_statistic", "wald_dof", "wald_p_value", "se_method"),
        tables=(("table", "Terms, with subdistribution hazard ratios."),),
        p_values=(("table", "p_value", ""),),
    ),
    Kind(
        "cox", "Cox regression", {"table": ("hazard_ratio",), "concordance": (), "se_method": ()},
        "p-values of the terms are not corrected for their number.",
        "Hazard ratios hold as far as hazards are proportional. The concordance is of the same patients that the model "
        "was fitted on, and so is optimistic.",
        values=(
            "events_per_term", "concordance", "lr_statistic", "lr_dof", "lr_p_value", "wald_p_value",
            "ph_global_p_value", "se_method", "distribution", "degrees_of_freedom", "n_clusters",
        ),
        tables=(("table", "Terms of the regression. ph p value: test of proportional hazards."),),
        p_values=(("table", "p_value", ""),),
    ),
    Kind(
        "regressions", "One Cox regression for each type",
        {"regressions": ("term", "hazard_ratio", "p_value", "p_holm")},
        "Holm over all regressions that were made together (p holm).",
        "What has the smallest p here looks better than it is: a claim needs patients that took no part in the choice. "
        "Fractions of one patient add up to 1: where one raises the hazard, another seems to lower it.",
        tables=(("regressions", "One row per regression, with its own n, events and caveats."),),
        p_values=(("regressions", "p_value", "p_holm"),),
        by="the command survival, with sfm.tl.cox",
    ),
    Kind(
        "compare_concordance", "Comparison of concordances", {"scores": ("c_index",), "table": ("score_1", "score_2")},
        "Benjamini-Hochberg over the pairs of scores (q).",
        "A score that was fitted on these patients is optimistic here, and wins against one that was not.",
        values=("n_pairs",),
        tables=(("scores", "Concordance of each score."), ("table", "Differences between scores.")),
        p_values=(("table", "p_value", "q_value"),),
    ),
    Kind(
        "concordance", "Concordance of a score", {"c_index": (), "n_pairs": ()}, NO_TEST,
        "A score that was fitted on these patients is optimistic here.",
        values=("c_index", "ci_low", "ci_high", "n_pairs"),
    ),
    Kind(
        "added_value", "Added value over covariates", {"explained": (), "table": ("c_index", "c_corrected")}, ONE_TEST,
        "c_corrected is the concordance less the optimism of the bootstrap; c_index is of the same patients.",
        values=("lr_statistic", "lr_dof", "p_value", "explained", "events_per_term"),
        tables=(("table", "Concordance without and with the features."),),
        p_values=(("", "p_value", ""),),
    ),
    Kind(
        "cut_point", "Cut of a continuous value", {"naive_p_value": (), "candidates": ("cut",)},
        "The p-value is corrected for the choice among all cuts. The naive one is not, and must not be reported.",
        "Groups of the best cut are optimistic: curves and hazard ratios of them look better than they are.",
        values=(
            "cut", "statistic", "p_value", "p_value_unadjusted", "p_value_lausen_schumacher", "naive_p_value",
            "higher_risk", "n_low", "n_high",
        ),
        p_values=(("", "p_value", ""),),
    ),
    Kind(
        "stratify", "Groups of patients", {"groups": ("n",), "centers": (), "params": ("outcome_decides",)},
        "One test where outcomes were permuted; no test otherwise.",
        "Groups are those of k-means on compositions: k-means finds groups in any cohort.",
        tables=(("groups", "Patients of each group, with observed and expected events where the outcome was used."),),
    ),
    Kind(
        "survival_models", "Survival model of many features", {"optimistic_harrell": (), "scores": ("value",)},
        "One test where outcomes were permuted; no test otherwise.", NESTED,
        by="sfm.tl.coxnet or sfm.tl.survival_forest",
        values=("optimistic_harrell", "p_value"),
        tables=(("scores", "Scores of the nested cross-validation, and of the same patients where it says so."),),
        p_values=(("", "p_value", ""),),
    ),
    Kind(
        "predict_survival", "Model of another cohort, applied here", {"kind": (), "doubts": ()},
        "One test between groups, where there are some.",
        "The model had no say in these patients. Scores of few events are uncertain.",
        values=("kind", "p_value", "test"),
        tables=(("scores", "Scores on this cohort."), ("calibration_large", "Calibration."),
                ("group_table", "Groups.")),
        p_values=(("", "p_value", ""),),
    ),
    Kind(
        "compare_composition", "Compositions between groups of patients", {"table": ("p_reference", "carriers")},
        BH + " Shares and changes within the frame (reference) are corrected apart.",
        "Shares add up to 1: where one type grows, the shares of others fall. only_share marks types that may differ "
        "for that reason alone.",
        tables=(("table", "One row per type."),),
        p_values=(("table", "p_value", "q_value"), ("table", "p_reference", "q_reference")),
    ),
    Kind(
        "compare_enrichment", "Neighbours between groups of patients", {"table": ("cell_type", "neighbour", "p_value")},
        BH, "Pairs of types are not independent of each other.",
        tables=(("table", "One row per pair of types."),),
        p_values=(("table", "p_value", "q_value"),),
    ),
    Kind(
        "neighborhood_contrast", "Neighbours inside and outside", {"table": ("relative_change", "p_patients")},
        "Benjamini-Hochberg over the types (q patients).",
        "p_cells counts cells, which are not independent: p_patients is the one to report.",
        tables=(("table", "One row per type of neighbour."),),
        p_values=(("table", "p_patients", "q_patients"),),
    ),
    Kind(
        "distribution_shift", "Shift between time points", {"table": ("null_distance", "shift")},
        "Benjamini-Hochberg over the rows of a measure (q).",
        "A difference in null_distance means that the tissue of one group is more diverse, which raises the distance "
        "without any shift.",
        tables=(("comparison", "Groups of patients compared."), ("table", "Each patient.")),
        p_values=(("comparison", "p_value", "q_value"),),
    ),
    Kind(
        "risk_ratio", "Ratios of frequency", {"table": ("risk_ratio", "p_value")}, BH,
        "Intervals of small counts are wide or open.",
        tables=(("table", "One row per structure."),),
        p_values=(("table", "p_value", "q_value"),),
    ),
    Kind(
        "power", "Power of a study", {"needed": ("n_patients",), "table": ("power",)}, NO_TEST,
        "Power is of the effect that was assumed. An effect taken from a small pilot is mostly too large.",
        tables=(("needed", "Patients that are needed."), ("table", "Power by numbers of patients and cells.")),
    ),
    Kind(
        "discover_signatures", "Signatures of an outcome",
        {"scores": ("score", "p_value"), "clusters": ("q_value",), "signatures": (), "null": ()},
        "The nested score and its p-value are of the whole search. Clusters: Benjamini-Hochberg over candidates (q), "
        "and the share of shuffles in which any candidate scores as high (p max).",
        "The score as published was selected on the patients that it is tested on: the nested score is the one to "
        "report.",
        tables=(("scores", "Scores of the model."), ("signatures", "Signatures that were chosen.")),
        p_values=(("scores", "p_value", ""), ("clusters", "p_value", "q_value")),
    ),
    Kind(
        "score_signatures", "Types of cells in signatures",
        {"enrichment": ("log2_enrichment", "p_value", "q_value")}, BH,
        "Signatures that were found in these patients differ from other cells by their making.",
        tables=(("enrichment", "One row per signature and type."),),
        p_values=(("enrichment", "p_value", "q_value"),),
    ),
    Kind(
        "classify_samples", "Classification of patients",
        {"summary": ("mean", "low_published"), "draws": (), "patients": ()},
        "One p-value for each row of the summary; not corrected for the number of representations.", NESTED,
        by="sfm.tl.classify_samples or sfm.tl.few_shot_samples",
        tables=(("summary", HELD_OUT), ("comparison", "Representations compared.")),
        p_values=(("summary", "p_value", ""), ("comparison", "p_value", "")),
    ),
    Kind(
        "mil", "Prediction from bags of cells", {"summary": ("mean",), "folds": (), "patients": ("fold",)},
        "One p-value for the first score; not corrected for the number of scores.", NESTED,
        tables=(("summary", HELD_OUT), ("classes", "Each class against the rest.")),
        p_values=(("summary", "p_value", ""),),
    ),
    Kind(
        "evaluate_annotation", "Quality of an annotation", {"folds": (), "summary": ("mean",), "differences": ()},
        "p-values of differences are not corrected for the number of embeddings.", NESTED,
        tables=(("summary", "Scores over held-out patients."), ("differences", "Embeddings compared.")),
        p_values=(("differences", "p_value", ""),),
    ),
    Kind(
        "cluster_agreement", "Agreement of clusters with labels", {"table": ("ari", "nmi")}, NO_TEST,
        "Agreement with labels measures what the labels hold, no more.",
        tables=(("table", "Agreement of each clustering."),),
    ),
    Kind(
        "leiden_sweep", "Clusterings at several resolutions",
        {"table": ("stability",), "edges": (), "suggested": ()}, NO_TEST,
        "Stability says that clusters come back in other cells of the same cohort, not that they are types of cells. "
        "Clusters may follow slides or patients.",
        values=("suggested", "reason"),
        tables=(("table", "One row per resolution."),),
    ),
    Kind(
        "niches", "Niches", {"sizes": ("n",), "composition": (), "params": ("n_niches",)}, NO_TEST,
        "Niches are those of k-means, which finds as many as it is asked for.",
    ),
    Kind(
        "tissue_clusters", "Kinds of tissue", {"sizes": (), "params": ("n_clusters",)}, NO_TEST,
        "Clusters are those of k-means, which finds as many as it is asked for.",
        tables=(("sizes", "Tiles of each cluster and sample."),),
    ),
    Kind(
        "marker_attention", "Attention to markers",
        {"mean": (), "median": (), "sd": (), "score": (), "n": ("n",)}, NO_TEST,
        "Attention shows what a model looks at, not what matters biologically.",
        tables=(("mean", "Mean z-score of attention."), ("n", "Rows of each type.")),
    ),
    Kind(
        "transfer_signatures", "Signatures of another cohort",
        {"signatures": ("accuracy_cells", "accuracy_patients")}, NO_TEST,
        "Cells of high novelty resemble nothing that the classifier was trained on.",
        tables=(("signatures", "Accuracy of each signature in its own cohort."),),
    ),
)  # fmt: skip


def kind_of(record: Record) -> Kind | None:
    """The kind of a result, if it is one of ours."""
    return next((kind for kind in KINDS if kind.fits(record)), None)


def counts_of(record: Record) -> dict[str, int]:
    """Patients, events and cells that a result rests on, as far as it says so."""
    params = record.get("params", {})
    params = params if isinstance(params, Mapping) else {}
    stated = {name: record.get(name, params.get(name)) for name in ("n", "events", "n_patients", "n_cells")}
    groups = record.get("groups")
    if stated["n"] is None and isinstance(groups, pd.DataFrame) and "n" in groups:
        by_group = groups[groups["event"] == groups["event"].iloc[0]] if "event" in groups else groups
        stated["n"] = int(by_group["n"].sum())
        if "events" in groups and stated["events"] is None:
            stated["events"] = int(groups["events"].sum())
    each = record.get("regressions")
    if isinstance(each, pd.DataFrame) and {"n", "events"} <= set(each):  # the most, as some may lack patients
        stated |= {name: each[name].max() for name in ("n", "events") if each[name].notna().any()}
    if stated["n"] is None and stated["n_patients"] is None:
        stated["n_patients"] = _of_two_groups(record.get("table"))
    counts = {name: int(value) for name, value in stated.items() if isinstance(value, int | float | np.number)}
    if "n" in counts and "n_clusters" not in record:  # rows of the table are patients
        counts = {
            "n_patients": counts["n"],
            **{name: n for name, n in counts.items() if name not in ("n", "n_patients")},
        }
    return counts


def _of_two_groups(table: object) -> int | None:
    """Patients of a comparison whose table has them by group, where all rows have the same."""
    pairs = (("n_1", "n_2"), ("n_group", "n_others"))
    for one, other in pairs:
        if isinstance(table, pd.DataFrame) and {one, other} <= set(table) and len(table):
            sums = (table[one] + table[other]).unique()
            return int(sums[0]) if len(sums) == 1 and sums[0] else None  # 0: nothing in groups
    return None
