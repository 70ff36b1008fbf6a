"""Multiple instance learning: patients as bags of cells, and which cells a prediction rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, warn
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._origin import Origin, remember
from ..._outcome import remembered_outcome
from ..._preparation import BY_TRAINING
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_obsm, write_uns
from ...cohort.adjusted import shuffling_blocks
from ...cohort.case_depth import CasesDepth, class_cases, number_cases, survival_cases
from ...cohort.cases import Cases, OnMissing, in_order, read_cases
from ...cohort.checks import check_anndata
from ...cohort.circular import made_of_tissue, repeated
from ...cohort.column_names import column_names
from ...cohort.fitted import fitted_on_all
from ...cohort.late_entry import tell_late_entry
from ...cohort.outcome import EventValue, event_text, named_outcome
from ...cohort.records import MilRecord
from ...cohort.replaced import remove_earlier
from ...cohort.representation import representation
from ...cohort.selected import OnSelected, check_cases, remember_cases, told_apart
from ...learn.bag_tasks import ClassTask, SurvivalTask, Task, TaskName, outputs_of, read_task, task_columns

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from ...learn.bag_training import BagRecipe

# width of a head: VirTues; Wagner et al. 2023 and STAMP (512 in 8 heads); B-cos units have no heads
HIDDEN = {"attention": 256, "transformer": 64, "stamp": 64, "histobistro": 64, "bcos": 1}


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
    head: Literal["attention", "transformer", "stamp", "histobistro", "bcos"] = "attention",
    bag: Literal["patient", "sample"] = "patient",
    n_folds: int = 5,
    n_seeds: int = 5,
    n_permutations: int = 0,
    block_key: str | None = None,
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
    weight_decay: float = 0.0,
    one_cycle: bool = False,
    padding: Literal["masked", "published"] = "masked",
    gradients: bool = False,
    positive: str | None = None,
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    on_missing: OnMissing = "raise",
    device: str | None = None,
    random_state: int = 0,
    on_selected: OnSelected = "raise",
    key_added: str = "mil",
    copy: bool = False,
) -> MilRecord | None:
    """Predict a class, a number or survival of patients from their cells, and show which cells it rests on.

    A network weighs the cells of a patient by attention, averages them by these weights and predicts from that; it
    is told the answer for the patient only. The recipe is VirTues' (Methods, *Tissue-level classification*): gated
    attention with eight heads of 256, Adam at 1e-4, 16 bags a step, at most 100 epochs, stopped when the loss of 20
    % of the training patients has not fallen for 10 epochs, five seeds with their own validation parts. Unlike
    there, where images are split, patients are; and ``"attention"`` starts even, with the linear model of mean cells
    as its last layer, and stays so unless the validation patients' loss falls below that of the start: in cohorts
    with few steps a random start would still decide the prediction. The last layer of ``"transformer"`` starts at
    zero. All scores and all attention are of patients that the network at hand has never seen, in the cross-validation
    that STAMP reports (El Nahhas et al., arXiv 2312.10944).

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
    head
        ``"attention"``: the above. ``"transformer"``: cells see each other in `n_layers` layers before a class token is
        read. ``"stamp"``, ``"histobistro"``: the same as these two published it, layer by layer (STAMP version 2, El
        Nahhas et al., Nature Protocols 2025; Wagner et al., Cancer Cell 2023); :func:`spatialfm.tl.predict_bags` takes
        their files. ``"bcos"``: B-cos units judge each cell and the bag is the mean over them, so that the shares of
        cells and of columns add up to the answer (Böhle et al., CVPR 2022); attention is a cell's part in all shares
        without their signs.
    bag
        ``"patient"``: one bag of all cells of a patient. ``"sample"``: one per sample, whose predictions are averaged
        (not for survival, where a patient's time would count several times).
    n_folds
        Parts of the patients, each held out once.
    n_seeds
        Networks for each fold; their predictions and attention are averaged.
    n_permutations
        Shuffles of what is predicted between patients; for each, all is done again (``n_folds * n_seeds`` networks).
    block_key
        Column of ``obs`` with the site or batch of each patient, within which outcomes are shuffled: what a site has of
        both outcome and tissue then makes no small p-value. Scores stay as they are.
    cells_per_patient
        Cells of each patient that are drawn: ``"all"`` (published); ``"even"``, as many as all have; a number; or
        ``"auto"``: all, unless their numbers go with what is predicted; then, with a warning, equally many are drawn.
        Those that are not drawn have no attention.
    n_heads
        Heads of attention.
    hidden
        Width of each head (default: 256, transformers 64); B-cos units have no heads.
    n_layers
        Layers of a transformer.
    dropout
        Share of features left out in training. Behind the linear layers of ``"stamp"`` it is 0.5, as published.
    learning_rate
        Step size of Adam.
    batch_size
        Bags of one step; of survival two or more.
    max_epochs
        Most epochs of training.
    patience
        Epochs without a lower validation loss, after which it stops.
    validation_size
        Share of the training patients whose loss decides that.
    max_cells
        Cells of a bag that a step of training sees; of more, a random part, drawn each time. Predictions are made from
        all cells (by a transformer in parts of this size).
    weight_decay
        Penalty on weights, by AdamW.
    one_cycle
        Let the step size rise from a 25th of `learning_rate` to it, and fall to almost nothing by `max_epochs`.
    padding
        What a transformer sees behind the end of a bag that is shorter than others of its step: ``"masked"``, nothing;
        ``"published"``, ``"stamp"`` only: bags are filled up with zeros to `max_cells` and no mask is passed, so that
        the zeros are cells in training, but not in validation and prediction.
    gradients
        Also write ``obsm[f"{key_added}_gradient"]``, see below. Memory then grows with the cells of the largest bag.
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
    on_selected
        What becomes of cells that are read by signatures which an outcome of these same patients made: ``"raise"``,
        since no score of them holds, or ``"mark"``: go on; the record states it.
    key_added
        Key that is written.
    copy
        Return the record, with ``attention`` as a series and what is written to ``obsm`` as tables.

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
    - ``folds``: every score of every fold and seed, with epochs (``best_epoch`` 0: attention made nothing better than
      the mean cell, and is even) and sizes, to be compared between representations by
      ``sfm.metrics.compare_representations(..., run_key=["fold", "seed"])``; ``params``;
    - ``statistics_folds``, ``statistics``: what STAMP prints of held-out predictions (means over seeds): of each fold,
      and means over folds with the t interval of independent folds, which is too narrow as folds share training
      patients; with classes AUROC, average precision and F1 of each against the rest, of numbers r2, correlation and
      errors;
    - of survival, ``risk_group`` in ``patients``: ``"high"`` above the median risk of the training patients of the fold
      (``threshold`` in ``statistics_folds``, with ``p_value``, the log-rank test of the two groups within the fold); a
      higher risk is expected to mean earlier events, no direction is chosen;
    - with ``head="bcos"``, ``contributions``: one row per patient and class, the share of each column (of a marker-wise
      embedding, of each marker), the ``intercept``, and the ``total`` that these add up to: the logit of the class, the
      log hazard, or the number (means over seeds).

    With `gradients`, ``obsm[f"{key_added}_gradient"]``: a table of cells by classes (or the one number), columns times
    the gradient of the logit, summed over columns: positive where a little more of what a cell is raises the answer.
    STAMP's heatmaps are ``softmax(abs(mean))`` of the same product over the tiles of a bag. With ``head="bcos"``,
    ``obsm[f"{key_added}_contribution"]``: the exact share of each cell in ``total``, without the intercept.

    Raises
    ------
    TableError
        If a column is missing, a representation holds NaN, there is one class, or patients are too few for the folds.
    ClinicalError
        If a patient has two values, or a sample two patients.
    SurvivalError
        If times or events cannot be used.

    Warns
    -----
    SpatialfmWarning
        If what is predicted was made of the same cells, as groups of patients by composition were: scores then say how
        well it is repeated, and have no p-values (``params["circular"]``).

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

    As STAMP trains: ``head="stamp", padding="published", one_cycle=True, weight_decay=0.01, dropout=0.25,
    max_epochs=32, batch_size=64, patience=16, validation_size=0.25, n_seeds=1``. Its cross-validation stops early on
    the fold that it then reports; here the patients who stop a network are always among those who train it. As
    HistoBistro: ``head="histobistro", learning_rate=2e-5, weight_decay=2e-5, max_epochs=8, batch_size=1,
    validation_size=0.25, n_seeds=1``. Both take columns as they are; here they are standardised.

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
    check_anndata(adata, "mil", None if copy else key_added)
    keys = None
    alone = (time_key is None) != (event_key is None) and remembered_outcome(adata) is None  # refused with the task
    if not alone and (task == "survival" or time_key is not None or event_key is not None):
        keys = named_outcome(adata, time_key, event_key, event_value)
    if keys is not None:
        time_key, event_key, event_value = keys.time, keys.event, keys.value
    name, columns = task_columns(task, label_key, target_key, time_key, event_key)
    if name == "survival":
        tell_late_entry(adata, "mil", str(time_key))
    _check(head, bag, padding, name)
    from ...learn.bag_folds import BagTraining, cross_validate, record_of, shuffled_scores
    from ...learn.bag_training import BagRecipe
    from ...learn.column_order import order_of_columns
    from ...models.encoder import resolve_device

    recipe = BagRecipe(
        head, n_heads, hidden or HIDDEN[head], n_layers, dropout, learning_rate, batch_size, max_epochs, patience,
        max_cells, weight_decay, one_cycle, padding,
    )  # fmt: skip
    _check_recipe(recipe, name)
    common = {"patient_key": patient_key, "library_key": library_key, "on_missing": on_missing}
    cases = read_cases(adata, columns, block_key=block_key, **common)
    blocks = shuffling_blocks(cases.table.get(block_key), block_key, cases.table[list(columns)], n_permutations)
    selected = check_cases(adata, "mil", use_rep, len(cases.names), on_selected)
    task_read = read_task(name, cases, list(columns), positive, n_folds, event_value)
    cases, numbers = _equal(adata, cases, task_read, list(columns), cells_per_patient, random_state)
    part, cases = in_order(adata, cases)
    values = representation(part, use_rep)
    columns_in = order_of_columns(values)  # weights are drawn column by column
    values = np.take(values, columns_in, axis=1)

    where = resolve_device(device)
    plan = BagTraining(recipe, bag, n_folds, n_seeds, validation_size, random_state, where, gradients)
    with progress_bar(
        total=plan.n_networks * (1 + n_permutations),
        desc="networks",
    ) as bar:
        held = cross_validate(values, cases, task_read, plan, bar)
        null = shuffled_scores(values, cases, task_read, plan, n_permutations, bar, blocks)
    if held.columns is not None:
        held.columns[..., :-2] = held.columns[..., np.argsort(columns_in)]  # as they stand in the table
    record = record_of(held, cases, task_read, null, column_names(adata, use_rep, values.shape[1]))
    record["params"] = {"use_rep": use_rep, "task": name, "columns": list(columns), "bag": bag, "n_folds": n_folds}
    record["params"] |= {"preparation": BY_TRAINING, "n_seeds": n_seeds, "n_permutations": n_permutations}
    record["params"] |= {"block_key": block_key or "", "validation_size": validation_size}
    record["params"] |= {"random_state": random_state} | vars(recipe) | cases.params()
    record["params"] |= {"event_value": event_text(event_value), "outcome_from": keys.source if keys else "", **numbers}
    record["params"]["fitted_on_all"] = fitted_on_all(adata, use_rep)
    circle = made_of_tissue(adata, list(columns), [patient_key, library_key])
    record["params"] |= {"circular": circle, **selected.params()}
    record["params"][DATA] = fingerprint(adata, [*columns, patient_key, library_key, block_key], obsm=[use_rep])
    record = repeated(record, circle)
    record["params"]["positive"] = task_read.classes.positive_name if isinstance(task_read, ClassTask) else ""
    _warn_unfinished(record["folds"], recipe)
    best = record["summary"].iloc[0]
    logger.info("%s %.3f (95 %% interval over folds %.3f to %.3f)", *best[["score", "mean", "low", "high"]])
    tables = {"gradient": held.gradient, "contribution": held.contribution}
    of_cells = cells_of(adata, cases, held.attention, tables, outputs_of(task_read), key_added)
    origin = Origin("mil", "held out", tuple(map(str, columns)), column=key_added)
    grouped = [*task_read.columns, *(["risk_group"] if "risk_group" in record["patients"] else [])]
    held_out = told_apart(grouped, task_read.classes.names if isinstance(task_read, ClassTask) else [])
    remember_cases(None if copy else adata, origin, record["patients"], held_out, task_read.truth())
    remember(None if copy else adata, origin, of_cells["attention"])
    if copy:
        return record | of_cells
    write_bags(adata, record, of_cells, key_added)
    return None


def cells_of(
    adata: AnnData, cases: Cases, attention: np.ndarray, tables: Mapping[str, np.ndarray | None], outputs: list[str],
    key: str,
) -> dict[str, pd.Series | pd.DataFrame]:  # fmt: skip
    """What is written for each cell, by what it is; NaN for the cells that did not take part."""
    of_all = cases.spread(attention, adata.n_obs)
    by_kind: dict[str, Any] = {"attention": pd.Series(of_all, index=adata.obs_names, name=f"{key}_attention")}
    for what, values in tables.items():
        if values is not None:
            by_kind[what] = pd.DataFrame(cases.spread(values, adata.n_obs), index=adata.obs_names, columns=outputs)
    return by_kind


def write_bags(
    adata: AnnData, record: Mapping[str, Any], of_cells: Mapping[str, pd.Series | pd.DataFrame], key: str
) -> None:
    """Record and what `cells_of` has found, in place of what an earlier call left under the key."""
    remove_earlier(adata, key)
    for what, values in of_cells.items():
        if isinstance(values, pd.Series):
            adata.obs[f"{key}_{what}"] = values
        else:
            write_obsm(adata, f"{key}_{what}", values)
    write_uns(adata, key, record)


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


def _warn_unfinished(folds: pd.DataFrame, recipe: BagRecipe) -> None:
    n = int((folds["best_epoch"] == recipe.max_epochs).sum())
    if 2 * n > len(folds):
        warn(
            f"{n} of {len(folds)} networks were still getting better after max_epochs={recipe.max_epochs}. Pass a "
            f"larger max_epochs=, or learning_rate= ({recipe.learning_rate:g} now)."
        )


def _check(head: str, bag: str, padding: str, task: str) -> None:
    if padding == "published" and head != "stamp":
        raise TableError(f"padding='published' is what STAMP does, not head={head!r}. Pass head='stamp', or 'masked'.")
    if bag == "sample" and task == "survival":
        raise TableError("bag='sample' would count the time of a patient once for each sample. Pass bag='patient'.")


def _check_recipe(recipe: BagRecipe, task: str) -> None:
    if task == "survival" and recipe.batch_size == 1:
        raise TableError(
            "batch_size=1 with survival learns nothing: Cox's likelihood compares the patients of a step. Pass for "
            "example batch_size=16."
        )
    if not recipe.weight_decay >= 0:
        raise TableError(f"weight_decay={recipe.weight_decay} is negative. Pass 0 for none.")
