"""Expression predicted from an embedding, in patients held out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, listed, warn
from ..._keys import PATIENT_KEY, UNS
from ..._logging import logger
from ..._preparation import BY_TRAINING
from ..._progress import progress_bar
from ..._public import public
from ..._ranges import above, at_least
from ..._storable import named_table, write_obsm, write_uns
from ...cohort.cases import sorted_codes
from ...cohort.checks import as_names, check_anndata, obs_column, order_of_names, tell_split
from ...cohort.fitted import fitted_on_all
from ...cohort.representation import marker_values, representation
from ...get import record as read_record
from ...learn.expression_probe import ProbeRecipe, column_pearson, fit_predict
from ...stats.fold_scores import t_interval
from ...stats.folds import stratified_folds

if TYPE_CHECKING:
    from anndata import AnnData

    from ...cohort.records import ExpressionRecord

FEWEST = 3  # rows of a fold
PROTOCOLS: dict[str, dict[str, Any]] = {
    "hest": {"pca": 256, "alpha": "published"},
    "hest-paper": {"pca": None, "alpha": "published"},
}


@public
def predict_expression(
    adata: AnnData,
    use_rep: str,
    targets: str | Sequence[str] | pd.DataFrame,
    *,
    layer: str | None = None,
    log1p: bool = False,
    protocol: Literal["hest", "hest-paper"] = "hest",
    head: Literal["ridge", "forest"] = "ridge",
    pca: Annotated[int | Literal["protocol"] | None, at_least(1)] = "protocol",
    alpha: Annotated[float | Literal["protocol", "published", "cv"], above(0.0)] = "protocol",
    n_trees: int = 70,
    n_folds: int | None = None,
    patient_key: str = PATIENT_KEY,
    n_jobs: int = 1,
    random_state: int = 0,
    key_added: str = "predicted_expression",
    copy: bool = False,
) -> ExpressionRecord | None:
    """Predict genes, proteins or any numbers of each row from an embedding, by the probe of the HEST-Benchmark.

    Each patient is left out in turn (Jaume et al., HEST-1k, NeurIPS 2024): on the others, the columns of the embedding
    are standardised and reduced to 256 principal components, and a ridge regression without intercept, with the penalty
    100 / (features · targets), is fitted to all targets; its predictions are correlated with the truth over all rows of
    the patient, target by target. The score is the mean over targets, then over patients.

    Which model ranks first depends on the protocol: the benchmark's code reduces to 256 components, and the table of
    its paper does not. The record states what was done.

    Parameters
    ----------
    adata
        Spots, tiles or cells.
    use_rep
        Key of ``obsm`` or ``"X"``.
    targets
        Names of ``var``; or ``"X"``, or a key of ``obsm``, for all of its columns; or a table with the same rows, by
        name.
    layer
        Layer that names of ``var`` are taken from (default: ``X``).
    log1p
        Whether the logarithm of one more is predicted, as published for counts of RNA (they are not divided by the
        total of a spot).
    protocol
        ``"hest"``: 256 components, as the benchmark's code and its page state; ``"hest-paper"``: no reduction, as the
        table of the paper.
    head
        ``"ridge"``, or ``"forest"`` (the benchmark's other one).
    pca
        Components at most, as many as there are rows and columns; None: no reduction. Departs from the protocol.
    alpha
        Penalty of ridge: a number, ``"published"``, or ``"cv"``, the one of 17 that does best in up to five parts of
        the training patients. Departs from the protocol.
    n_trees
        Trees of the forest.
    n_folds
        Parts of the patients that are left out in turn (default: each patient).
    patient_key
        Column of ``obs`` with the patient.
    n_jobs
        Threads of the forest.
    random_state
        Seed of the forest, and of the parts with `n_folds`.
    key_added
        Key that is written.
    copy
        Return the record, with ``predictions``, instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written: ``obsm[key_added]``, a table with the prediction of each target by the fit
    that did not see the patient; ``uns[key_added]`` with

    - ``summary``: ``pearson`` (mean over targets, then folds) with ``low`` and ``high`` (95 %, Student's t over folds,
      with the variance that folds have which share training patients), ``mse`` and ``mse_floor`` (of the mean of the
      training patients, targets in standard deviations), and ``explained`` (1 - mse / mse_floor: below 0 the mean does
      better);
    - ``targets``: the same of each target, with ``n_folds`` in which it varies;
    - ``folds``: of each fold the patients, ``n`` rows, ``pearson``, ``mse``, ``mse_floor``, ``n_targets`` that vary
      there, ``n_components`` and ``alpha``; ``params``, with the ``protocol`` and how it was departed from.

    Within a patient the floor does not vary, so that its correlation counts as 0, as that of any prediction that does
    not vary. Targets that do not vary in a patient are left out there. All fits share most of their patients: with ten
    that lie apart the interval held the mean of such cohorts in 0.93 of them, with nothing in common in 0.99.

    Raises
    ------
    TableError
        If there is one patient (two with ``alpha="cv"``), a target does not vary, names or rows are missing or repeat,
        values are NaN, targets are what they are predicted from, `layer` is passed for targets that are not of ``var``,
        or `key_added` is the embedding.

    Warns
    -----
    SpatialfmWarning
        If targets are counts that are not transformed, or the embedding (a column of ``"X"``, too) has a feature of the
        name of a target.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=60, random_state=0)
    >>> sfm.tl.predict_expression(cells, "X_latent", list(cells.var_names[:3]))
    >>> cells.uns["predicted_expression"]["params"]["protocol"]
    'hest'
    >>> bool(cells.uns["predicted_expression"]["summary"]["pearson"].iloc[0] > 0)
    True
    """
    check_anndata(adata, "predict_expression", None if copy else key_added)
    if key_added in (use_rep, targets if isinstance(targets, str) else None):
        raise TableError(f"key_added={key_added!r} is what is predicted from, or what is predicted: it would be lost.")
    x = representation(adata, use_rep)
    truth = _targets(adata, use_rep, targets, layer, log1p=log1p)
    codes, names = sorted_codes(obs_column(adata, patient_key, "patient_key", rows="rows"))
    tell_split(adata, patient_key)
    recipe, departures = _recipe(protocol, head, pca, alpha, n_trees)
    fold = _folds(codes, names, n_folds, patient_key, recipe, random_state)
    order = order_of_names(adata.obs_names)  # a forest draws rows by their place
    predicted, rows = _predict_all(x, truth, codes, fold, order, recipe, random_state, n_jobs)
    record: dict[str, Any] = _scores(truth, predicted, fold, codes, names, rows)
    record["params"] = vars(recipe) | {
        "protocol": ", ".join([protocol, *departures]), "use_rep": use_rep, "log1p": log1p, "layer": layer or "",
        "n_folds": int(fold.max()) + 1, "patient_key": patient_key, "random_state": random_state,
        "preparation": BY_TRAINING, "fitted_on_all": fitted_on_all(adata, use_rep),
    }  # fmt: skip
    top = record["summary"].iloc[0]
    logger.info("Pearson %.3f (%.3f to %.3f), %.1f %% explained", *top[["pearson", "low", "high"]], 100 * top.explained)
    table = pd.DataFrame(predicted, index=adata.obs_names, columns=truth.columns)
    if copy:
        return record | {"predictions": table}  # type: ignore[return-value]
    write_obsm(adata, key_added, table)
    notes = {name: record["params"][name] for name in ("protocol", "use_rep", "patient_key", "log1p")}
    adata.uns[UNS] = dict(adata.uns.get(UNS, {})) | {key_added: {"model": "expression probe"} | notes}
    write_uns(adata, key_added, record)
    return None


def _targets(
    adata: AnnData, use_rep: str, targets: str | Sequence[str] | pd.DataFrame, layer: str | None, *, log1p: bool
) -> pd.DataFrame:
    """Targets ``(rows, targets)``, after all refusals."""
    table = _given(adata, use_rep, targets, layer)
    _warn_of_features(adata, use_rep, [str(name) for name in table.columns])
    values = table.to_numpy(np.float64)
    if not np.isfinite(values).all():
        bad = ~np.isfinite(values).all(axis=0)
        raise TableError(
            f"{counted(int(bad.sum()), 'target holds', 'targets hold')} NaN or infinite values: "
            f"{listed(table.columns[bad], 3)}. Leave these targets out, or the rows that lack them."
        )
    if log1p:
        if (values < 0).any():
            raise TableError("log1p=True takes counts, and some targets are negative. Pass log1p=False.")
        values = np.log1p(values)
    elif (values >= 0).all() and (values % 1 == 0).all() and values.max(initial=0) > 1:
        warn("Targets are whole numbers, such as counts: the benchmark predicts their logarithm (log1p=True).")
    if (same := np.ptp(values, axis=0) == 0).any():
        raise TableError(
            f"{counted(int(same.sum()), 'target does', 'targets do')} not vary: {listed(table.columns[same], 3)}. "
            "No correlation is defined. Leave them out of targets=."
        )
    return pd.DataFrame(values, index=table.index, columns=table.columns)


def _given(
    adata: AnnData, use_rep: str, targets: str | Sequence[str] | pd.DataFrame, layer: str | None
) -> pd.DataFrame:
    of_var = not isinstance(targets, pd.DataFrame | str) or (isinstance(targets, str) and targets == "X")
    if layer is not None and not of_var:
        raise TableError(f"layer={layer!r} is where names of var are taken from, and targets= has its own values.")
    if isinstance(targets, pd.DataFrame):
        return _own_table(adata, targets)
    if isinstance(targets, str) and targets != "X":
        if targets == use_rep:
            raise TableError(f"targets= and use_rep= are both {use_rep!r}: it would be predicted from itself.")
        if targets not in adata.obsm:
            raise TableError(
                f"No {targets!r} in obsm (targets=); found 'X' and {listed(adata.obsm, 12)}. A single name of var is "
                f"given as a list: targets=[{targets!r}]."
            )
        if isinstance(adata.obsm[targets], pd.DataFrame):
            return _own_table(adata, named_table(adata, targets), by_name=False)
        values = representation(adata, targets, "targets")
        return pd.DataFrame(values, index=adata.obs_names, columns=[f"{targets}_{i}" for i in range(values.shape[1])])
    names = list(adata.var_names) if targets == "X" else as_names(targets)
    if not names or (missing := [name for name in names if name not in adata.var_names]):
        what = f"lacks {listed(missing, 3)}" if names else "is asked for no name"
        raise TableError(f"var {what} (targets=); it holds {listed(adata.var_names, 12)}.")
    if use_rep == "X" and layer is None:
        raise TableError(
            "targets= are columns of X, and so is use_rep='X': they would be predicted from themselves. Pass an "
            "embedding as use_rep=."
        )
    return pd.DataFrame(marker_values(adata, names, layer), index=adata.obs_names, columns=names)


def _own_table(adata: AnnData, table: pd.DataFrame, *, by_name: bool = True) -> pd.DataFrame:
    """A table of numbers with the rows of ours, in our order, found by their names or there already."""
    if kinds := [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]:
        raise TableError(f"Columns {listed(kinds, 3)} of targets= are not numbers. Leave them out.")
    if not table.shape[1]:
        raise TableError("targets= has no columns: there is nothing to predict.")
    if not by_name:
        return table
    if not table.index.is_unique or not table.columns.is_unique or not adata.obs_names.is_unique:
        raise TableError("Names of rows or columns of targets= (or of obs_names) repeat. Make them unique.")
    missing, more = adata.obs_names.difference(table.index), table.index.difference(adata.obs_names)
    if len(missing) or len(more):
        raise TableError(
            f"targets= has other rows than adata: {len(missing)} of {adata.n_obs} rows of adata are not in it "
            f"({listed(missing, 3)}), {len(more)} of its {len(table)} are not in adata ({listed(more, 3)}). Its index "
            "must be obs_names: targets=table.loc[adata.obs_names]."
        )
    return table.loc[adata.obs_names]


def _warn_of_features(adata: AnnData, use_rep: str, names: list[str]) -> None:
    """Say where measured features are predicted from themselves."""
    features = list(adata.var_names) if use_rep == "X" else list(getattr(adata.obsm.get(use_rep), "columns", ()))
    if use_rep in adata.uns.get(UNS, {}):
        features += read_record(adata, use_rep).get("feature_names") or []
    features = [str(feature) for feature in features]
    parts = {part for feature in features for part in (feature, *re.split(r"[\s_:/]+", feature))}
    if both := [name for name in names if name in parts]:
        warn(
            f"{use_rep!r} has features of {listed(both, 3)}, which are among the targets: where both are the same "
            "measurement, they are predicted from themselves."
        )


def _recipe(
    protocol: str, head: str, pca: int | str | None, alpha: float | str, n_trees: int
) -> tuple[ProbeRecipe, list[str]]:
    """What decides the probe, and how it departs from its protocol."""
    stated = PROTOCOLS[protocol]
    given = {"pca": pca, "alpha": alpha}
    used: dict[str, Any] = {name: stated[name] if value == "protocol" else value for name, value in given.items()}
    departures = [f"{name}={used[name]}" for name in used if used[name] != stated[name]]
    departures += [f"head={head}"] * (head != "ridge")
    return ProbeRecipe(head, used["pca"], used["alpha"], n_trees), departures  # type: ignore[arg-type]


def _folds(
    codes: np.ndarray, names: list[str], n_folds: int | None, patient_key: str, recipe: ProbeRecipe, seed: int
) -> np.ndarray:
    """Fold of each row; patients are never divided."""
    inner = recipe.alpha == "cv" and recipe.head == "ridge"
    need = max(3 if inner else 2, n_folds or 2)
    if len(names) < need:
        why = ", which alpha='cv' divides once more" if inner and need == 3 else ""
        raise TableError(
            f"{counted(len(names), 'patient')} in obs[{patient_key!r}] (patient_key=): {need} are the least{why}. In "
            "patients that were trained on, a score tells nothing of others."
        )
    fold = codes
    if n_folds is not None:
        fold = stratified_folds(np.zeros(len(names), int), n_folds, np.random.default_rng(seed))[codes]
    if (smallest := int(np.bincount(fold).min())) < FEWEST:
        raise TableError(
            f"A correlation over {counted(smallest, 'row')} tells nothing, and a "
            f"{'patient has' if n_folds is None else 'fold has'} no more: {FEWEST} are the least. Leave such patients "
            "out, or pass n_folds= to hold several out together."
        )
    return fold


def _predict_all(
    x: np.ndarray, truth: pd.DataFrame, codes: np.ndarray, fold: np.ndarray, order: np.ndarray, recipe: ProbeRecipe,
    seed: int, n_jobs: int,
) -> tuple[np.ndarray, list[dict[str, Any]]]:  # fmt: skip
    """Predictions of each row by the fit without its fold, the floor's error, and what each fit came to."""
    y = truth.to_numpy()
    predicted, rows = np.empty_like(y), []
    for number in progress_bar(range(int(fold.max()) + 1), desc="folds"):
        fit, test = order[fold[order] != number], np.flatnonzero(fold == number)
        fitted = fit_predict(x[fit], y[fit], codes[fit], x[test], recipe, seed, n_jobs)
        predicted[test] = fitted.values
        rows.append({"floor": y[fit].mean(axis=0), "n_components": fitted.n_components, "alpha": fitted.alpha})
    return predicted, rows


def _scores(
    truth: pd.DataFrame, predicted: np.ndarray, fold: np.ndarray, codes: np.ndarray, names: list[str],
    rows: list[dict[str, Any]],
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Scores over all, of each target and of each fold."""
    y = truth.to_numpy()
    scale, folds = y.std(axis=0), []
    each = {name: np.empty((len(rows), y.shape[1])) for name in ("pearson", "mse", "mse_floor")}
    for number, row in enumerate(rows):
        test = fold == number
        each["pearson"][number] = column_pearson(y[test], predicted[test])
        each["mse"][number] = (((predicted[test] - y[test]) / scale) ** 2).mean(axis=0)
        each["mse_floor"][number] = (((row["floor"] - y[test]) / scale) ** 2).mean(axis=0)
        varies = np.isfinite(each["pearson"][number])
        who = [names[code] for code in np.unique(codes[test])]
        line = {"patients": ", ".join(who), "n": int(test.sum()), "n_targets": int(varies.sum())}
        line |= {name: _mean(values[number][varies]) for name, values in each.items()}
        folds.append(line | {name: row[name] for name in ("n_components", "alpha")})
    of_folds = pd.DataFrame(folds)
    by_target = [_line({name: values[:, place] for name, values in each.items()}) for place in range(y.shape[1])]
    over_all = _line({name: of_folds[name].to_numpy() for name in each})
    return {
        "summary": pd.DataFrame([over_all]),
        "targets": pd.DataFrame(by_target, index=pd.Index(truth.columns.astype(str), name="target")),
        "folds": of_folds,
    }


def _line(scores: dict[str, np.ndarray]) -> dict[str, float]:
    """Means over the folds in which a target varies, with the interval of the correlation."""
    known = np.isfinite(scores["pearson"])
    n, values = int(known.sum()), scores["pearson"][known]
    low, high = t_interval(values, np.zeros(n, int)) if n > 1 else (np.nan, np.nan)
    mse, floor = (_mean(scores[name][known]) for name in ("mse", "mse_floor"))
    limits = {"low": max(low, -1.0), "high": min(high, 1.0)} if n > 1 else {"low": low, "high": high}
    return (
        {"pearson": _mean(values)}
        | limits
        | {"mse": mse, "mse_floor": floor, "explained": 1 - mse / floor, "n_folds": n}
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
