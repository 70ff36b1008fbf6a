"""Scores of folds and draws: summary with intervals, and differences of what was scored on the same cells."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from ...stats.fold_scores import paired_p, t_interval

SCORES = ("f1", "recall", "average_precision", "auroc", "calibration_error", "calibration_error_debiased")
OF_PROBABILITIES = SCORES[-2:]  # scores that classes do not have
BELOW_0 = -1.0  # least value of what chance is taken from; all other scores are 0 or more
NAMED = ("use_rep", "head")
ABSTAINING = ("surest_", "coverage", "set_size", "single")  # how columns begin that say what unsure cells cost
FLOORS = ("16 random numbers", "none")  # representations of the floors


def over_draws(macro: pd.DataFrame) -> pd.DataFrame:
    """Scores of each fold, the mean over its draws."""
    keys = [*NAMED, "asked", "partition", "fold"]
    kept = [name for name in macro.columns if name not in (*SCORES, *keys, "draw")]
    rules = {**dict.fromkeys(SCORES, "mean"), **dict.fromkeys(kept, "first")}
    return macro.groupby(keys, sort=False, as_index=False).agg(rules)


def summarise(macro: pd.DataFrame) -> pd.DataFrame:
    """One row per embedding, method, training size and score: mean, spread and interval over folds."""
    rows = []
    for (rep, head, size), part in over_draws(macro).groupby([*NAMED, "asked"], sort=False):
        for score in SCORES:
            values = part[score].to_numpy()
            least = BELOW_0 if score == "calibration_error_debiased" else 0.0
            low, high = np.clip(t_interval(values, part["partition"].to_numpy()), least, 1)
            rows.append(
                {
                    "use_rep": rep,
                    "head": head,
                    "n_train": size,
                    "score": score,
                    "preparation": part["preparation"].iloc[0],
                    "circular": bool(part["circular"].iloc[0]),
                    "mean": values.mean(),
                    "sd": values.std(ddof=1),
                    "low": low,
                    "high": high,
                    "n_folds": len(values),
                }
            )
    return pd.DataFrame(rows)


def by_class(folds: pd.DataFrame) -> pd.DataFrame:
    """Scores of each class: means over folds and draws, with the number of its cells that were tested (support)."""
    classes = folds[folds["class"] != "macro"]
    grouped = classes.groupby([*NAMED, "asked", "class"], sort=False)
    table = grouped[[score for score in SCORES if score not in OF_PROBABILITIES]].mean()
    once = classes["draw"] == 0
    table["support"] = classes[once].groupby([*NAMED, "asked", "class"], sort=False)["n"].sum()
    return table.reset_index().rename(columns={"asked": "n_train"})


def abstention(macro: pd.DataFrame) -> pd.DataFrame:
    """What is gained where unsure cells keep no label, and how sets do: means over folds and draws."""
    columns = [name for name in macro.columns if str(name).startswith(ABSTAINING)]
    table = macro.groupby([*NAMED, "asked"], sort=False)[columns].mean()
    return table.reset_index().rename(columns={"asked": "n_train"})


def mean_times(folds: pd.DataFrame) -> pd.DataFrame:
    """Seconds that it took to fit a method and to predict the tested cells, mean over folds and draws."""
    macro = folds[folds["class"] == "macro"]
    times = macro.groupby([*NAMED, "asked"], sort=False)["seconds"].mean()
    return times.reset_index().rename(columns={"asked": "n_train"})


def differences(macro: pd.DataFrame) -> pd.DataFrame:
    """The first minus the second, fold by fold: of two embeddings with one method, or two methods on one embedding."""
    rows, scored = [], over_draws(macro)
    scored = scored[~scored["use_rep"].isin(FLOORS)]
    for size, part in scored.groupby("asked", sort=False):
        tried = list(part[list(NAMED)].drop_duplicates().itertuples(index=False, name=None))
        runs = {one: part[(part["use_rep"] == one[0]) & (part["head"] == one[1])] for one in tried}
        runs = {one: table.sort_values(["partition", "fold"]) for one, table in runs.items()}
        for one, two in combinations(tried, 2):
            if one[0] != two[0] and one[1] != two[1]:
                continue
            partition = runs[one]["partition"].to_numpy()
            for score in SCORES:
                apart = runs[one][score].to_numpy() - runs[two][score].to_numpy()
                low, high = t_interval(apart, partition)
                rows.append(
                    {
                        "first": one[0],
                        "second": two[0],
                        "first_head": one[1],
                        "second_head": two[1],
                        "n_train": size,
                        "score": score,
                        "difference": apart.mean(),
                        "low": low,
                        "high": high,
                        "p_value": paired_p(apart, partition),
                    }
                )
    columns = ["first", "second", "first_head", "second_head", "n_train", "score", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "p_value"])
