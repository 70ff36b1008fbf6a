"""Networks on bags, cross-validated: each patient is judged by networks that did not see it in any way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..cohort.cases import Cases
from ..cohort.column_names import summed_by_name
from ..stats.folds import held_out_part, stratified_folds
from ..stats.permutation import permutation_p, shuffled_order
from .bag_maps import Shares, bcos_shares, gradient_shares
from .bag_statistics import class_statistics, number_statistics, over_folds, survival_statistics
from .bag_tasks import ClassTask, NumberTask, SurvivalTask, Task, outputs_of
from .bag_training import BagRecipe, Bags, Trained, bags_of_cases, predict_cases, train
from .case_scores import summarize

if TYPE_CHECKING:
    import torch
    from tqdm.auto import tqdm

RISK_GROUPS = ("low", "high")


@dataclass(frozen=True)
class BagTraining:
    """How networks are trained and judged.

    Attributes
    ----------
    recipe
        Of the networks.
    bag
        ``"patient"`` or ``"sample"``.
    n_folds, n_seeds, validation_size, random_state
        Folds, networks of each, share of the training cases that stops them, seed.
    device
        Torch device.
    gradients
        Whether gradients of outputs are followed back to cells.
    """

    recipe: BagRecipe
    bag: str
    n_folds: int
    n_seeds: int
    validation_size: float
    random_state: int
    device: torch.device
    gradients: bool = False

    @property
    def n_networks(self) -> int:
        """Networks of one cross-validation."""
        return self.n_folds * self.n_seeds


@dataclass
class Held:
    """What networks say of cases that they did not see, means over seeds."""

    fold: np.ndarray  # (cases,)
    predicted: np.ndarray  # (cases, columns)
    attention: np.ndarray  # (cells,)
    runs: list[dict] = field(default_factory=list)
    thresholds: np.ndarray | None = None  # (folds,) medians of the risk of training cases
    gradient: np.ndarray | None = None  # (cells, outputs)
    contribution: np.ndarray | None = None  # (cells, outputs), exact
    columns: np.ndarray | None = None  # (cases, outputs, columns + 2): shares, intercept, and the output


def cross_validate(
    values: np.ndarray, cases: Cases, task: Task, plan: BagTraining, bar: tqdm, *, alone: bool = False
) -> Held:
    """Train the networks of all folds and seeds; nothing of a held-out case is seen, not by early stopping either.

    Parameters
    ----------
    values
        ``(cells, columns)`` of the rows of `cases`.
    alone
        Whether scores are all that is asked for, as of shuffled outcomes.
    """
    recipe = plan.recipe
    fold = stratified_folds(task.strata, plan.n_folds, np.random.default_rng(plan.random_state))
    bags, case_of_bag = bags_of_cases(values, cases, plan.bag)
    target = task.target(case_of_bag)
    held = _empty(values, cases, task, plan, fold, target.n_outputs, alone)
    for number in range(plan.n_folds):
        test, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        of_rest = np.zeros(len(rest))
        for seed in range(plan.n_seeds):
            rng = np.random.default_rng((plan.random_state, number, seed))
            validation = rest[held_out_part(task.strata[rest], plan.validation_size, rng)]
            fit = np.setdiff1d(rest, validation)
            parts = [np.flatnonzero(np.isin(case_of_bag, part)) for part in (fit, validation, test, rest)]
            trained = train(bags, target, parts[0], parts[1], recipe, int(rng.integers(2**31)), plan.device)
            shape, share = held.predicted.shape, plan.n_seeds
            outputs = predict_cases(
                trained, bags, parts[2], case_of_bag, shape, held.attention, share, recipe, plan.device
            )
            held.predicted[test] += outputs[test] / share
            run = {"fold": number, "seed": seed, "n_train": len(fit), "n_validation": len(validation)}
            run |= {"n_test": len(test), "n_epochs": trained.n_epochs, "best_epoch": trained.best_epoch}
            run |= {"validation_loss": trained.loss, "predicted": outputs}
            held.runs.append(run | task.scores(outputs[test], test))
            if held.thresholds is not None:
                unused = np.zeros(len(values), np.float32)
                known = predict_cases(trained, bags, parts[3], case_of_bag, shape, unused, share, recipe, plan.device)
                of_rest += known[rest, 0] / share
            _follow(held, trained, bags, parts[2], case_of_bag, plan)
            bar.update()
        if held.thresholds is not None:
            held.thresholds[number] = np.median(of_rest)
    return held


def _empty(
    values: np.ndarray, cases: Cases, task: Task, plan: BagTraining, fold: np.ndarray, n_outputs: int, alone: bool
) -> Held:
    held = Held(fold, np.zeros((len(cases.names), len(task.columns))), np.zeros(len(values), np.float32))
    if alone:
        return held
    if isinstance(task, SurvivalTask):
        held.thresholds = np.zeros(plan.n_folds)
    if plan.gradients:
        held.gradient = np.zeros((len(values), n_outputs), np.float32)
    if plan.recipe.head == "bcos":
        held.contribution = np.zeros((len(values), n_outputs))
        held.columns = np.zeros((len(cases.names), n_outputs, values.shape[1] + 2))
    return held


def _follow(
    held: Held, trained: Trained, bags: Bags, chosen: np.ndarray, case_of_bag: np.ndarray, plan: BagTraining
) -> None:
    """Add what the outputs for held-out bags rest on; the output of a case is the mean over its bags and the seeds."""
    for bag in chosen:
        case = case_of_bag[bag]
        weight = 1 / (plan.n_seeds * np.count_nonzero(case_of_bag == case))
        if held.gradient is not None:
            of_bag = gradient_shares(trained, bags, int(bag), plan.recipe, plan.device)
            held.gradient[bags.rows[bag]] += of_bag.cells * weight
        if held.contribution is not None and held.columns is not None:
            exact: Shares = bcos_shares(trained, bags, int(bag), plan.recipe, plan.device)
            held.contribution[bags.rows[bag]] += exact.cells * weight
            row = np.column_stack([exact.columns, exact.intercept, exact.output])
            held.columns[case] += row * weight


def shuffled_scores(
    values: np.ndarray,
    cases: Cases,
    task: Task,
    plan: BagTraining,
    n_permutations: int,
    bar: tqdm,
    blocks: np.ndarray | None = None,
) -> np.ndarray:
    """The first score of the task for each shuffle of the outcomes, within blocks (codes) where there are any."""
    null = []
    for shuffle in range(n_permutations):
        rng = np.random.default_rng((plan.random_state, 1, shuffle))
        order = shuffled_order(len(cases.names), rng, blocks)
        held = cross_validate(values, cases, task.shuffled(order), plan, bar, alone=True)
        null.append(float(_over_seeds(held.runs, task.score_names[:1]).mean().iloc[0]))
    return np.array(null)


def _over_seeds(runs: list[dict], scores: Sequence[str]) -> pd.DataFrame:
    """Scores of each fold, means over seeds."""
    return pd.DataFrame(runs).groupby("fold")[list(scores)].mean()


def record_of(held: Held, cases: Cases, task: Task, null: np.ndarray, columns: Sequence[str]) -> dict[str, Any]:
    """Tables of a result.

    Parameters
    ----------
    columns
        Names of the columns that networks saw, for the shares of a B-cos one.
    """
    patients = pd.DataFrame(task.truth(), index=pd.Index(cases.names, name=cases.unit))
    patients["n"] = np.bincount(cases.codes, minlength=len(cases.names))
    patients["fold"] = held.fold
    for i, column in enumerate(task.columns):
        patients[column] = held.predicted[:, i]
    scores = task.score_names
    folds = _over_seeds(held.runs, scores).reset_index()
    summary = summarize(folds, [], scores, 1 / (len(folds) - 1), published=False)
    summary["p_value"] = np.nan
    summary.loc[0, "p_value"] = float(permutation_p(null, summary["mean"].iloc[0]))
    summary["p_two_sided"] = summary["score"].map(task.tests(held.predicted, held.fold)).astype(float)
    folds = pd.DataFrame([{key: value for key, value in run.items() if key != "predicted"} for run in held.runs])
    record: dict[str, Any] = {"patients": patients, "summary": summary, "folds": folds}
    if held.thresholds is not None:
        high = held.predicted[:, 0] > held.thresholds[held.fold]
        patients["risk_group"] = np.array(RISK_GROUPS)[high.astype(int)]
    if isinstance(task, ClassTask):
        runs = [(run["fold"], run["predicted"]) for run in held.runs]
        record["classes"] = task.details(runs, held.predicted, held.fold)
    record["statistics_folds"] = _statistics(held, task)
    record["statistics"] = over_folds(record["statistics_folds"])
    if held.columns is not None:
        record["contributions"] = _shares_table(held.columns, patients.index, outputs_of(task), columns)
    return record


def _statistics(held: Held, task: Task) -> pd.DataFrame:
    if isinstance(task, ClassTask):
        return class_statistics(task.classes.codes, task.classes.names, held.predicted, held.fold)
    if isinstance(task, NumberTask):
        return number_statistics(task.values, held.predicted[:, 0], held.fold)
    return survival_statistics(task.time, task.event, held.predicted[:, 0], held.fold, held.thresholds)


def _shares_table(shares: np.ndarray, cases: pd.Index, outputs: list[str], columns: Sequence[str]) -> pd.DataFrame:
    """One row per case and output: the share of each column, the intercept, and the output that they add up to."""
    rows = pd.MultiIndex.from_product([cases, outputs])
    keys = pd.DataFrame({str(cases.name): rows.get_level_values(0), "output": rows.get_level_values(1)})
    summed, names = summed_by_name(shares[..., :-2], columns)
    whole = np.concatenate([summed, shares[..., -2:]], axis=2).reshape(len(rows), -1)
    return keys.join(pd.DataFrame(whole, columns=[*names, "intercept", "total"]))
