"""Multiple instance learning: patients as bags of cells, and which cells a prediction rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._origin import Origin, remember
from ..._outcome import remembered_outcome
from ..._preparation import BY_TRAINING
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.case_depth import CasesDepth, class_cases, number_cases, survival_cases
from ...cohort.cases import Cases, OnMissing, in_order, read_cases
from ...cohort.checks import check_anndata
from ...cohort.fitted import fitted_on_all
from ...cohort.late_entry import tell_late_entry
from ...cohort.outcome import EventValue, event_text, named_outcome
from ...cohort.records import MilRecord
from ...cohort.representation import representation
from ...cohort.selected import remember_cases, told_apart
from ...learn.bag_tasks import ClassTask, SurvivalTask, Task, TaskName, read_task, task_columns
from ...learn.case_scores import summarize
from ...stats.folds import held_out_part, stratified_folds
from ...stats.permutation import permutation_p

if TYPE_CHECKING:
    from anndata import AnnData
    from tqdm.auto import tqdm

    from ...learn.bag_training import BagRecipe

HIDDEN = {"attention": 256, "transformer": 64}  # of a head: VirTues; Wagner et al. 2023 (512 in 8 heads)


@public
def mil(
    adata: AnnData,
    *,
    use_rep: str,
    label_key: str | None = None,
    target_key: str | None = None,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    task: TaskName | None = None,
    model: Literal["attention", "transformer"] = "attention",
    bag: Literal["patient", "sample"] = "patient",
    n_folds: int = 5,
    n_seeds: int = 5,
    n_permutations: int = 0,
    cells_per_patient: CasesDepth = "auto",
    n_heads: int = 8,
    hidden: int | None = None,
    n_layers: int = 2,
    dropout: float = 0.0,
    learning_rate: float = 1e-4,
    batch_size: int = 16,
    max_epochs: int = 100,
    patience: int = 10,
    validation_size: float = 0.2,
    max_cells: int = 512,
    positive: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    on_missing: OnMissing = "raise",
    device: str | None = None,
    random_state: int = 0,
    key_added: str = "mil",
    copy: bool = False,
) -> MilRecord | None:
    """Predict a class, a number or survival of patients from their cells, and show which cells it rests on.

    A network weighs the cells of a patient by attention, averages them by these weights and predicts from that; it
    is told the answer for the patient only. The recipe is VirTues' (Methods, *Tissue-level classification*): gated
    attention with eight heads of 256, Adam at 1e-4, 16 bags a step, at most 100 epochs, stopped when the loss of 20 %
    of the training patients has not fallen for 10 epochs, five seeds with their own validation parts. Unlike there,
    where images are split, patients are. All scores and all attention are of patients that the network at hand has
    never seen, in the cross-validation that STAMP reports (El Nahhas et al., arXiv 2312.10944).

    Parameters
    ----------
    adata
        Cells or tiles.
    use_rep
        Key of ``obsm`` or ``"X"``. Columns are standardised by the cells that a network is trained on.
    label_key
        Column of ``obs`` with a class: cross-entropy, classes weigh alike.
    target_key
        Column with a number: squared error.
    time_key
        Column with the time: Cox's partial likelihood over the patients of a step. The default with
        ``task="survival"`` is what the table remembers (:func:`spatialfm.pp.set_outcome`).
    event_key
        Column with the event (1, or true); default as `time_key`.
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored
        (default: as the table remembers).
    task
        Follows from the columns; when given, they must fit it.
    model
        ``"attention"``, or ``"transformer"``: cells see each other in `n_layers` layers before a class token is read.
    bag
        ``"patient"``: one bag of all cells of a patient. ``"sample"``: one a sample, whose predictions are averaged
        (not for survival, where a patient's time would count several times).
    n_folds
        Parts of the patients, each held out once.
    n_seeds
        Networks for each fold; their predictions and attention are averaged.
    n_permutations
        Shuffles of what is predicted between patients; for each, all is done again (``n_folds * n_seeds`` networks).
    cells_per_patient
        Cells of each patient that are drawn: ``"all"`` (published); ``"even"``, as many as all have; a number; or
        ``"auto"``: all, unless their numbers go with what is predicted; then, with a warning, equally many are drawn.
        Those that are not drawn have no attention.
    n_heads
        Heads of attention.
    hidden
        Width of each head (default: 256, transformer 64).
    n_layers
        Layers of the transformer.
    dropout
        Share of features left out in training.
    learning_rate
        Step size of Adam.
    batch_size
        Bags of one step.
    max_epochs
        Most epochs of training.
    patience
        Epochs without a lower validation loss, after which it stops.
    validation_size
        Share of the training patients whose loss decides that.
    max_cells
        Cells of a bag that a step of training sees; of more, a random part, drawn each time. Predictions are made from
        all cells (by the transformer in parts of this size).
    positive
        Of two classes, the one that ``f1`` and ``average_precision`` are of (default: the last, in the order of
        categories or of the alphabet).
    patient_key
        Column of ``obs`` with the patient. None: each sample is a case.
    library_key
        Column of ``obs`` with the sample.
    on_missing
        What becomes of patients without label, number, time or event: ``"raise"``, or ``"drop"``.
    device
        Torch device (default: ``sfm.settings.device``).
    random_state
        Seed of folds, validation parts and networks. Results repeat on a CPU.
    key_added
        Key that is written.
    copy
        Return the record, with ``attention`` as a series, instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written: ``obs[f"{key_added}_attention"]``, float32, attention of the networks that
    did not see the patient, times the cells of the bag: 1 is a cell like the average one of its bag, and numbers can be
    compared between bags (NaN for patients that were left out); ``uns[key_added]`` with

    - ``patients``: truth, ``n`` (cells), ``fold`` and the prediction without the patient: ``p_<class>`` (a slash in the
      name becomes ``_``), ``predicted``, or ``risk`` (log hazard, which has no common zero between folds);
    - ``summary``: each score with mean over seeds and folds, ``sd``, ``low`` and ``high`` (95 %, Student's t over
      folds, with the variance that folds have which share training patients), ``p_value`` (of the first score, from
      `n_permutations`), and ``p_two_sided``, a test of held-out predictions within folds, with the same allowance: of
      ``auroc`` (two classes) by van Elteren's, of ``pearson`` by correlation, of ``concordance`` by the score test of
      Cox regression;
    - ``classes`` (classification): AUROC, average precision and F1 of each class against the rest, with intervals over
      folds, ``p_two_sided`` as above, and ``p_t_test`` of the published protocol (t-test of held-out probabilities);
    - ``folds``: every score of every fold and seed, with epochs and sizes, to be compared between representations by
      ``sfm.metrics.compare_representations(..., run=["fold", "seed"])``; ``params``.

    Raises
    ------
    TableError
        If a column is missing, a representation holds NaN, there is one class, or patients are too few for the folds.
    ClinicalError
        If a patient has two values, or a sample two patients.
    SurvivalError
        If times or events cannot be used.

    Notes
    -----
    ``p_value`` repeats everything on shuffled outcomes and holds for any cohort: report it. ``p_two_sided`` takes the
    variance of predictions within folds (1 + K / (K - 1)) times, as networks of K folds share training patients
    (Nadeau and Bengio, 2003; without, it falls below 0.05 in one of six cohorts of 60 patients without effect).
    ``p_t_test``, the published one, takes held-out predictions for independent and is too small by as much.

    The recipe was made for hundreds of images and more. With 40 patients an epoch has two steps, and 100 epochs at 1e-4
    may end before attention is far from even. A warning then states that networks were still improving; pass a
    larger `learning_rate` (1e-3) or `max_epochs`, and decide on it by ``validation_loss``, not by the scores. On two
    CPU cores one network takes about a minute for 60 bags of 200 cells: start with fewer `n_seeds`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=24, cells_per_patient=40, effect_size=3.0, random_state=0)
    >>> sfm.tl.mil(
    ...     cells, use_rep="X_latent", label_key="response", n_folds=2, n_seeds=1, n_heads=2, hidden=8, max_epochs=3
    ... )
    >>> cells.uns["mil"]["patients"].columns.tolist()
    ['label', 'n', 'fold', 'p_non-responder', 'p_responder']
    >>> round(float(cells.obs["mil_attention"].mean()), 3)
    1.0
    """
    check_anndata(adata, "mil", key_added)
    keys = None
    alone = (time_key is None) != (event_key is None) and remembered_outcome(adata) is None  # refused with the task
    if not alone and (task == "survival" or time_key is not None or event_key is not None):
        keys = named_outcome(adata, time_key, event_key, event_value)
    if keys is not None:
        time_key, event_key, event_value = keys.time, keys.event, keys.value
    name, columns = task_columns(task, label_key, target_key, time_key, event_key)
    if name == "survival":
        tell_late_entry(adata, "mil", str(time_key))
    _check(model, bag, name, n_folds, n_seeds, n_permutations, validation_size)
    from ...learn.bag_training import BagRecipe

    recipe = BagRecipe(
        model, n_heads, hidden or HIDDEN[model], n_layers, dropout, learning_rate, batch_size, max_epochs, patience,
        max_cells,
    )  # fmt: skip
    _check_recipe(recipe)
    common = {"patient_key": patient_key, "library_key": library_key, "on_missing": on_missing}
    cases = read_cases(adata, columns, **common)
    task_read = read_task(name, cases, list(columns), positive, n_folds, event_value)
    cases, numbers = _equal(adata, cases, task_read, list(columns), cells_per_patient, random_state)
    part, cases = in_order(adata, cases)
    values = representation(part, use_rep)

    plan = _Plan(n_folds, n_seeds, recipe, bag, validation_size, device, random_state)
    with progress_bar(
        total=plan.n_networks * (1 + n_permutations),
        desc="networks",
    ) as bar:
        runs, predicted, attention, fold = _cross_validate(values, cases, task_read, plan, bar)
        null = _shuffled(values, cases, task_read, plan, n_permutations, bar)
    record = _record(runs, predicted, cases, task_read, fold, null)
    record["params"] = {"use_rep": use_rep, "task": name, "columns": list(columns), "bag": bag, "n_folds": n_folds}
    record["params"] |= {
        "preparation": BY_TRAINING,
        "n_seeds": n_seeds,
        "n_permutations": n_permutations,
        "validation_size": validation_size,
        "random_state": random_state,
    }
    record["params"] |= vars(recipe) | cases.params()
    record["params"] |= {"event_value": event_text(event_value), "outcome_from": keys.source if keys else "", **numbers}
    record["params"]["fitted_on_all"] = fitted_on_all(adata, use_rep)
    record["params"]["positive"] = task_read.classes.positive_name if isinstance(task_read, ClassTask) else ""
    _warn_unfinished(record["folds"], recipe)
    best = record["summary"].iloc[0]
    logger.info("%s %.3f (95 %% interval over folds %.3f to %.3f)", *best[["score", "mean", "low", "high"]])
    of_all = np.full(adata.n_obs, np.nan, np.float32)
    of_all[cases.rows] = attention
    column = f"{key_added}_attention"
    made = Origin("mil", "held out", tuple(map(str, columns)), column=key_added)
    held_out = told_apart(task_read.columns, task_read.classes.names if isinstance(task_read, ClassTask) else [])
    remember_cases(None if copy else adata, made, record["patients"], held_out, task_read.truth())
    attended = pd.Series(of_all, index=adata.obs_names, name=column)
    remember(None if copy else adata, made, attended)
    if copy:
        return record | {"attention": attended}
    adata.obs[column] = of_all
    write_uns(adata, key_added, record)
    return None


@dataclass(frozen=True)
class _Plan:
    n_folds: int
    n_seeds: int
    recipe: BagRecipe
    bag: str
    validation_size: float
    device: str | None
    random_state: int

    @property
    def n_networks(self) -> int:
        return self.n_folds * self.n_seeds


def _cross_validate(
    values: np.ndarray, cases: Cases, task: Task, plan: _Plan, bar: tqdm
) -> tuple[list[dict], np.ndarray, np.ndarray, np.ndarray]:
    """Runs of all folds and seeds; means of held-out predictions and of attention; fold of each case."""
    from ...learn.bag_training import bags_of_cases, predict_cases, train
    from ...models.encoder import resolve_device

    where, recipe = resolve_device(plan.device), plan.recipe
    fold = stratified_folds(task.strata, plan.n_folds, np.random.default_rng(plan.random_state))
    bags, case_of_bag = bags_of_cases(values, cases, plan.bag)
    target = task.target(case_of_bag)
    predicted = np.zeros((len(cases.names), len(task.columns)))
    attention, runs = np.zeros(len(values), np.float32), []
    for number, seed in product(range(plan.n_folds), range(plan.n_seeds)):
        test, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        rng = np.random.default_rng((plan.random_state, number, seed))
        validation = rest[held_out_part(task.strata[rest], plan.validation_size, rng)]
        fit = np.setdiff1d(rest, validation)
        parts = [np.flatnonzero(np.isin(case_of_bag, part)) for part in (fit, validation, test)]
        trained = train(bags, target, parts[0], parts[1], recipe, int(rng.integers(2**31)), where)
        outputs = predict_cases(
            trained, bags, parts[2], case_of_bag, predicted.shape, attention, plan.n_seeds, recipe, where
        )
        predicted[test] += outputs[test] / plan.n_seeds
        run = {"fold": number, "seed": seed, "n_train": len(fit), "n_validation": len(validation)}
        run |= {"n_test": len(test), "n_epochs": trained.n_epochs, "best_epoch": trained.best_epoch}
        run |= {"validation_loss": trained.loss, "predicted": outputs}
        runs.append(run | task.scores(outputs[test], test))
        bar.update()
    return runs, predicted, attention, fold


def _equal(
    adata: AnnData, cases: Cases, task: Task, keys: list[str], cells: CasesDepth, random_state: int
) -> tuple[Cases, dict[str, Any]]:
    """The cases with equally many cells where their numbers go with what is predicted."""
    if isinstance(task, ClassTask):
        codes, names = task.classes.codes, task.classes.names
        return class_cases(adata, cases, codes, names, keys[0], cells, random_state)
    if isinstance(task, SurvivalTask):
        return survival_cases(adata, cases, task.time, task.event, keys, cells, random_state)
    return number_cases(adata, cases, task.values, keys[0], cells, random_state)


def _shuffled(values: np.ndarray, cases: Cases, task: Task, plan: _Plan, n_permutations: int, bar: tqdm) -> np.ndarray:
    """The first score of the task for each shuffle."""
    null = []
    for shuffle in range(n_permutations):
        order = np.random.default_rng((plan.random_state, 1, shuffle)).permutation(len(cases.names))
        runs, *_ = _cross_validate(values, cases, task.shuffled(order), plan, bar)
        null.append(float(_over_seeds(runs, task.score_names[:1]).mean().iloc[0]))
    return np.array(null)


def _over_seeds(runs: list[dict], scores: Sequence[str]) -> pd.DataFrame:
    """Scores of each fold, means over seeds."""
    return pd.DataFrame(runs).groupby("fold")[list(scores)].mean()


def _record(
    runs: list[dict], predicted: np.ndarray, cases: Cases, task: Task, fold: np.ndarray, null: np.ndarray
) -> dict[str, pd.DataFrame]:
    patients = pd.DataFrame(task.truth(), index=pd.Index(cases.names, name=cases.unit))
    patients["n"] = np.bincount(cases.codes, minlength=len(cases.names))
    patients["fold"] = fold
    for i, column in enumerate(task.columns):
        patients[column] = predicted[:, i]
    scores = task.score_names
    folds = _over_seeds(runs, scores).reset_index()
    summary = summarize(folds, [], scores, 1 / (len(folds) - 1), published=False)
    summary["p_value"] = np.nan
    summary.loc[0, "p_value"] = float(permutation_p(null, summary["mean"].iloc[0]))
    summary["p_two_sided"] = summary["score"].map(task.tests(predicted, fold)).astype(float)
    folds = pd.DataFrame([{key: value for key, value in run.items() if key != "predicted"} for run in runs])
    record = {"patients": patients, "summary": summary, "folds": folds}
    if isinstance(task, ClassTask):
        held_out = [(run["fold"], run["predicted"]) for run in runs]
        record["classes"] = task.details(held_out, predicted, fold)
    return record


def _warn_unfinished(folds: pd.DataFrame, recipe: BagRecipe) -> None:
    n = int((folds["best_epoch"] == recipe.max_epochs).sum())
    if 2 * n > len(folds):
        warn(
            f"{n} of {len(folds)} networks were still getting better after max_epochs={recipe.max_epochs}. Pass a "
            f"larger max_epochs=, or learning_rate= ({recipe.learning_rate:g} now)."
        )


def _check(
    model: str, bag: str, task: str, n_folds: int, n_seeds: int, n_permutations: int, validation_size: float
) -> None:
    if model not in HIDDEN:
        raise TableError(f"model={model!r} is neither 'attention' nor 'transformer'.")
    if bag not in ("patient", "sample"):
        raise TableError(f"bag={bag!r} is neither 'patient' nor 'sample'.")
    if bag == "sample" and task == "survival":
        raise TableError("bag='sample' would count the time of a patient once for each sample. Pass bag='patient'.")
    if n_folds < 2 or n_seeds < 1 or n_permutations < 0:
        raise TableError(
            f"n_folds={n_folds}, n_seeds={n_seeds}, n_permutations={n_permutations}: two folds, one seed and no "
            "permutation are the least."
        )
    if not 0 < validation_size < 1:
        raise TableError(f"validation_size={validation_size} is not a share between 0 and 1. Pass for example 0.2.")


def _check_recipe(recipe: BagRecipe) -> None:
    least = {"n_heads": 1, "hidden": 1, "n_layers": 1, "batch_size": 1, "max_epochs": 1, "patience": 1, "max_cells": 1}
    for name, value in least.items():
        if getattr(recipe, name) < value:
            raise TableError(f"{name}={getattr(recipe, name)} is too small. Pass {value} or more.")
    if not recipe.learning_rate > 0 or not 0 <= recipe.dropout < 1:
        raise TableError(
            f"learning_rate={recipe.learning_rate}, dropout={recipe.dropout}: above 0, and from 0 to below 1."
        )
