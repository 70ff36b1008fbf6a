"""Two representations of the same rows in one space, in which each finds the other."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, listed, warn
from ..._keys import PATIENT_KEY, UNS
from ..._logging import logger
from ..._preparation import BY_TRAINING
from ..._public import public
from ..._ranges import at_least, between
from ..._storable import write_uns
from ...cohort.cases import sorted_codes
from ...cohort.checks import check_anndata, obs_column, tell_split
from ...cohort.comparability import how_made
from ...cohort.fitted import fitted_on_all
from ...cohort.representation import representation
from ...metrics._batch_effect import batch_effect, check_sizes
from ...metrics._cross_modal import pair_table
from ...stats.folds import three_parts
from .applied import HEADS, check_asked, columns_of, known_alignment, project, seen_before

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

    from ...cohort.records import AlignedRecord
    from ...learn.alignment import AlignmentRecipe

PARTS = ("train", "validation", "test")


@public
def align(
    adata: AnnData,
    rep_a: str,
    rep_b: str,
    *,
    other: AnnData | None = None,
    source: AnnData | None = None,
    loss: Literal["clip", "siglip"] = "clip",
    head_a: Literal["linear", "mlp"] = "mlp",
    head_b: Literal["linear", "mlp"] = "mlp",
    n_components: int = 128,
    dropout: float = 0.2,
    temperature: Annotated[float, between(0.01, 1.0)] = 0.07,
    batch_size: Annotated[int, at_least(2)] = 64,
    learning_rate: float = 1e-3,
    weight_decay: Annotated[float, at_least(0.0)] = 0.01,
    max_epochs: int = 100,
    patience: int = 5,
    test_size: float = 0.2,
    validation_size: float = 0.2,
    split_key: str | None = None,
    batch_key: str | None = None,
    n_candidates: Annotated[int, at_least(2)] = 64,
    patient_key: str = PATIENT_KEY,
    device: str | None = None,
    random_state: int = 0,
    key_added: str = "aligned",
    copy: bool = False,
) -> AlignedRecord | None:
    """Bring two representations of the same cells, tiles or samples into one space by contrastive learning.

    A head on each projects it, and both are trained so that the two projections of a row are closer to each other than
    to those of other rows: image and proteins, image and RNA, two panels, H&E and multiplex. Heads and losses are those
    of HESCAPE (arXiv 2508.01490): 128 components, temperature 0.07 (trained, the scale at most 100), batches of 64,
    AdamW, a cosine schedule with 4 % warm-up, gradients of at most 5, stopped when the validation loss has not fallen
    by 0.01 for five epochs. The encoders themselves stay as they are. Two things differ: projections have length 1 in
    the loss, too; and the learning rate is 1e-3 (1e-5 was for encoders that are trained along).

    Patients are on one side: some are trained on, some decide when to stop, and the others are never seen. Scores are
    of these.

    Parameters
    ----------
    adata
        Cells, tiles or samples.
    rep_a
        Key of ``obsm`` or ``"X"``. Columns are standardised by the training rows.
    rep_b
        The other one.
    other
        Table that holds `rep_b` of the same rows, by their names (default: `adata`).
    source
        Table that was aligned before: its heads (``uns[key_added]``) project these rows, and nothing is trained. All
        patients are scored but those that the heads have seen, by name or by their values. One of the two
        representations is enough, to find rows of one cohort by the other modality of another; there is no score then.
        Columns must be in the same order, which names (of ``"X"``, a table in ``obsm``, a record) tell; an array alone
        does not.
    loss
        ``"clip"``: the partner among all rows of the batch; ``"siglip"``: each pair by itself, true or false.
    head_a
        Of `rep_a`: ``"mlp"`` (two layers, twice as wide as the space) or ``"linear"``.
    head_b
        Of `rep_b`.
    n_components
        Columns of the common space.
    dropout
        Share of features of ``"mlp"`` left out in training.
    temperature
        At the start of training.
    batch_size
        Rows of a step. The more, the more rivals the partner has.
    learning_rate
        Of AdamW, the highest.
    weight_decay
        Of AdamW.
    max_epochs
        Most passes over the training rows.
    patience
        Epochs without a lower validation loss after which training stops.
    test_size
        Share of the patients that are never seen.
    validation_size
        Share of the others that decide when to stop.
    split_key
        Column of ``obs`` with ``"train"``, ``"validation"`` or ``"test"`` of each patient, instead of a random split.
    batch_key
        Column of ``obs`` with the batch or slide: the batch effect of both representations and of both projections is
        measured (:func:`spatialfm.metrics.batch_effect`), as HESCAPE names it as the main obstacle.
    n_candidates
        Rows among which a partner is sought, see :func:`spatialfm.metrics.cross_modal`.
    patient_key
        Column of ``obs`` with the patient.
    device
        Torch device (default: ``sfm.settings.device``).
    random_state
        Seed of the split, the weights and the batches. Results repeat on a CPU.
    key_added
        Key that is written, and beginning of others.
    copy
        Return the record, with the projections as ``a`` and ``b`` and the split as ``split``, instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written: ``obsm[f"X_{key_added}_a"]`` and ``obsm[f"X_{key_added}_b"]``, float32
    ``(n, n_components)``, rows of length 1, each with its record: an index of one is searched with the other, see
    `spatialfm.tl.search`; ``obs[f"{key_added}_split"]``, the part of each row; ``uns[key_added]`` with

    - ``scores``: `spatialfm.metrics.cross_modal` of the test patients, among all of their rows and among the row's own
      patient (``among``);
    - ``training``: loss of each epoch; ``batch_effect`` with `batch_key` (``rows``: of which patients); ``params``;
    - ``heads``: weights of the heads and scale of the columns, for `source`.

    Raises
    ------
    TableError
        If there are fewer than three patients, a representation is missing or holds NaN, `other` has other rows, or a
        patient is in two parts of `split_key`. With `source`: if it holds no heads, was aligned otherwise, or its
        representations have other columns.

    Warns
    -----
    SpatialfmWarning
        If the loss was still falling at the last epoch, validation has fewer rows than a batch, or patients were seen
        when `source` was aligned.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=5, cells_per_patient=80, random_state=0)
    >>> sfm.tl.align(cells, "X_latent", "X", n_components=8, max_epochs=5, patience=5)
    >>> index = sfm.tl.build_index(cells, "X_aligned_a")
    >>> hits = sfm.tl.search(index, cells[:1], k=1, use_rep="X_aligned_b", exclude=None)
    >>> len(hits)
    1

    The same heads on a second cohort:

    >>> others = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=80, random_state=1)
    >>> others.obs["patient"] = "other " + others.obs["patient"].astype(str)
    >>> sfm.tl.align(others, "X_latent", "X", source=cells)
    >>> int(others.uns["aligned"]["scores"]["n"].iloc[0])
    240
    """
    check_anndata(adata, "align", None if copy else key_added)
    if (other is None or other is adata) and rep_a == rep_b:
        raise TableError(f"rep_a and rep_b are both {rep_a!r}: every row is its own partner. Pass two representations.")
    names = {side: f"X_{key_added}_{side}" for side in "ab"}
    if not copy and (lost := sorted({rep_a, rep_b} & set(names.values()))):
        raise TableError(f"key_added={key_added!r} would overwrite {lost[0]!r}, which is aligned. Pass another name.")
    from ...learn.alignment import AlignmentRecipe
    from ...models.encoder import resolve_device

    recipe = AlignmentRecipe(
        loss, head_a, head_b, n_components, dropout, temperature, batch_size, learning_rate, weight_decay, max_epochs,
        patience,
    )  # fmt: skip
    tables = (adata, _same_rows(adata, other))
    _check_batches(adata, batch_key)
    tell_split(adata, patient_key)
    how = {"test_size": test_size, "validation_size": validation_size, "split_key": split_key}
    if source is None:
        alignment = _trained(tables, (rep_a, rep_b), recipe, how, patient_key, random_state, resolve_device(device))
    else:
        alignment = _applied(
            source, key_added, tables, (rep_a, rep_b), recipe, how, patient_key, resolve_device(device)
        )
    record: dict[str, Any] = {}
    if len(alignment.spaces) == 2 and (alignment.part == 2).any():
        record["scores"] = _scores(alignment.spaces, names, alignment.patients, alignment.part == 2, n_candidates)
    record |= alignment.record
    if batch_key is not None:
        all_spaces = alignment.values | {names[side]: space for side, space in alignment.spaces.items()}
        record["batch_effect"] = _batch_effect(adata, all_spaces, alignment.part == 2, batch_key, patient_key)
    record["params"] |= {"patient_key": patient_key, "n_candidates": n_candidates}
    _tell(record, max_epochs)
    split = pd.Series(
        pd.Categorical.from_codes(alignment.part, PARTS), index=adata.obs_names, name=f"{key_added}_split"
    )
    if copy:
        return record | alignment.spaces | {"split": split}  # type: ignore[return-value]
    adata.obs[split.name] = split
    for name in names.values():  # of an earlier call that had both sides
        adata.obsm.pop(name, None)
        adata.uns.get(UNS, {}).pop(name, None)
    seen = str(split.name) if (alignment.part != 2).any() else ""
    notes = {}
    for side, space in alignment.spaces.items():
        adata.obsm[names[side]] = space
        notes[names[side]] = _notes(rep_a if side == "a" else rep_b, alignment.recipe, alignment.checksum, seen)
    adata.uns[UNS] = dict(adata.uns.get(UNS, {})) | notes
    write_uns(adata, key_added, record)
    return None


@dataclass(frozen=True)
class _Made:
    """Projections by side, what was projected by its name, patients as codes and their parts, and the record."""

    spaces: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    patients: np.ndarray
    part: np.ndarray
    recipe: AlignmentRecipe
    checksum: str
    record: dict[str, Any]


def _trained(
    tables: tuple[AnnData, AnnData], reps: tuple[str, str], recipe: AlignmentRecipe, how: dict[str, Any],
    patient_key: str, random_state: int, device: torch.device,
) -> _Made:  # fmt: skip
    """New heads."""
    from ...learn.alignment import fit_alignment

    adata, other = tables
    one, two = (representation(table, rep, f"rep_{side}") for table, rep, side in zip(tables, reps, "ab", strict=True))
    patients, part = _split(adata, patient_key, **how, seed=random_state)
    # what is drawn does not depend on the order of the table, nor where names repeat
    order = np.lexsort((two.max(axis=1), one.max(axis=1), np.asarray(adata.obs_names, dtype=str)))
    fit, validation = (order[part[order] == number] for number in (0, 1))
    _check_sizes(fit, validation, recipe.batch_size)
    aligned = fit_alignment(one, two, fit, validation, recipe, random_state, device)
    spaces = {side: aligned.project(values, side, device) for side, values in (("a", one), ("b", two))}
    made = [json.dumps(how_made(table, rep)) for table, rep in zip(tables, reps, strict=True)]
    fitted = [fitted_on_all(table, rep) for table, rep in zip(tables, reps, strict=True)]
    params = vars(recipe) | how | {"split_key": how["split_key"] or "", "random_state": random_state}
    params |= {"rep_a": reps[0], "rep_b": reps[1], "made_a": made[0], "made_b": made[1]}
    params |= {"preparation": BY_TRAINING, "best_epoch": aligned.best_epoch}
    params["fitted_on_all"] = ", ".join(dict.fromkeys(filter(None, fitted)))
    record = {"training": aligned.history, HEADS: aligned.stored(), "params": params}
    values = dict(zip(reps, (one, two), strict=True))
    return _Made(spaces, values, patients, part, recipe, aligned.checksum(), record)


def _applied(
    source: AnnData, key: str, tables: tuple[AnnData, AnnData], reps: tuple[str, str], asked: AlignmentRecipe,
    how: dict[str, Any], patient_key: str, device: torch.device,
) -> _Made:  # fmt: skip
    """Heads that another table was aligned with."""
    from ...learn.alignment import stored_alignment

    known = known_alignment(source, key)
    usual = {name: one.default for name, one in inspect.signature(align).parameters.items()}
    check_asked(known, vars(asked) | how, usual)
    values = {side: columns_of(known, side, table, rep) for side, table, rep in zip("ab", tables, reps, strict=True)}
    recipe = known.recipe()
    aligned = stored_alignment(known.heads, recipe, device)
    spaces = project(aligned, values, known, device)
    part = seen_before(known, source, key, tables[0], patient_key)
    patients = sorted_codes(obs_column(tables[0], patient_key, "patient_key", rows="rows"))[0]
    params = dict(known.params) | {"applied_from": "source", "n_patients_seen": len(set(patients[part != 2]))}
    there = {rep: one for rep, one in zip(reps, values.values(), strict=True) if one is not None}
    return _Made(spaces, there, patients, part, recipe, aligned.checksum(), {"params": params})


def _same_rows(adata: AnnData, other: AnnData | None) -> AnnData:
    """The other table, its rows in the order of the first; one of other rows is refused."""
    if other is None:
        return adata
    for table, argument in ((adata, "adata"), (other, "other")):
        if not table.obs_names.is_unique:
            raise TableError(f"obs_names of {argument}= repeat: partners could not be distinguished. Make them unique.")
    missing, more = adata.obs_names.difference(other.obs_names), other.obs_names.difference(adata.obs_names)
    if len(missing) or len(more):
        raise TableError(
            f"adata and other= are not of the same rows: {counted(len(missing), 'row')} of {adata.n_obs} "
            f"{'is' if len(missing) == 1 else 'are'} in adata alone ({listed(missing, 3)}), {len(more)} of "
            f"{other.n_obs} in other alone ({listed(more, 3)}). Pass those of both: shared = "
            "adata.obs_names.intersection(other.obs_names), then adata[shared].copy() and other[shared].copy()."
        )
    return other if (adata.obs_names == other.obs_names).all() else other[adata.obs_names]


def _split(
    adata: AnnData, patient_key: str, *, split_key: str | None, test_size: float, validation_size: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Patient of each row, as a code, and its part: 0 to train on, 1 to stop on, 2 to test on."""
    codes, names = sorted_codes(obs_column(adata, patient_key, "patient_key", rows="rows"))
    if len(names) < 3:
        raise TableError(
            f"{counted(len(names), 'patient')} in obs[{patient_key!r}] (patient_key=): three are the least, one each "
            "to train on, to stop on and to test on."
        )
    if split_key is None:
        return codes, three_parts(len(names), test_size, validation_size, np.random.default_rng(seed))[codes]
    column = obs_column(adata, split_key, "split_key", rows="rows").astype(str)
    if wrong_parts := sorted(set(column) ^ set(PARTS)):
        raise TableError(
            f"obs[{split_key!r}] (split_key=) must hold 'train', 'validation' and 'test', each at least once; "
            f"{wrong_parts[0]!r} is {'missing' if wrong_parts[0] in PARTS else 'something else'}."
        )
    pairs = pd.DataFrame({"patient": codes, "part": column.to_numpy()}).drop_duplicates()
    if (twice := pairs["patient"].duplicated()).any():
        raise TableError(
            f"obs[{split_key!r}] (split_key=) puts patient {names[pairs['patient'][twice].iloc[0]]!r} on two sides: "
            "scores would be of patients that were trained on. Give all rows of a patient the same part."
        )
    return codes, pd.Categorical(column, categories=PARTS).codes.astype(int)


def _check_sizes(fit: np.ndarray, validation: np.ndarray, batch_size: int) -> None:
    for rows, what in ((fit, "training"), (validation, "validation")):
        if len(rows) < 2:
            raise TableError(f"The {what} patients have {counted(len(rows), 'row')}: a partner needs a rival.")
        if len(rows) < batch_size:
            warn(
                f"The {what} patients have {len(rows)} rows, fewer than batch_size={batch_size}: they are one batch, "
                "whose loss is not on the scale of others."
            )


def _check_batches(adata: AnnData, batch_key: str | None) -> None:
    """Refuse before training what the batch effect could not be measured of."""
    if batch_key is not None:
        sizes = obs_column(adata, batch_key, "batch_key", rows="rows").astype(str).value_counts()
        check_sizes(sizes.to_numpy(), batch_key)


def _scores(
    spaces: dict[str, np.ndarray], names: dict[str, str], patients: np.ndarray, test: np.ndarray, n_candidates: int
) -> pd.DataFrame:
    """Scores of the test patients, among all of their rows and among those of the row's own patient."""
    one, two = (spaces[side][test] for side in "ab")
    tables, sizes = [], np.unique(patients[test], return_counts=True)[1]
    for among in ("all", "patient"):
        if (sizes.max() if among == "patient" else test.sum()) < 2:
            continue  # samples: a patient has one
        table = pair_table(one, two, patients[test], (names["a"], names["b"]), (1, 5, 10), n_candidates, among)
        tables.append(table.assign(among=among))
    return pd.concat(tables, ignore_index=True)


def _batch_effect(
    adata: AnnData, spaces: dict[str, np.ndarray], test: np.ndarray, batch_key: str, patient_key: str
) -> pd.DataFrame:
    """Batch effect before and after, of the test patients where these are of two batches, otherwise of all."""
    from anndata import AnnData

    batches = obs_column(adata, batch_key, "batch_key", rows="rows").astype(str)
    enough = (batches[test].value_counts() >= 3).sum() > 1 and batches[test].value_counts().min() >= 3
    rows = test if enough else np.ones(adata.n_obs, bool)
    part = AnnData(obs=adata.obs.loc[rows, list(dict.fromkeys([batch_key, patient_key]))])
    for name, values in spaces.items():
        # on one scale, as the heads were given them
        own = values[rows].astype(np.float64)  # sums of many cells
        sd = own.std(axis=0)
        part.obsm[f"of {name}"] = (own - own.mean(axis=0)) / np.where(sd > 0, sd, 1)
    table = batch_effect(part, batch_key, use_rep=list(part.obsm), patient_key=patient_key)
    table["use_rep"] = table["use_rep"].str.removeprefix("of ")
    return table.assign(rows="test patients" if enough else "all patients")


def _notes(rep: str, recipe: AlignmentRecipe, checksum: str, split_key: str) -> dict[str, Any]:
    """The record of one projection; both sides agree in all that decides whether their columns mean the same."""
    return {
        "model": "alignment", "weights_sha256": checksum, "output": "aligned", "rep": rep, "split_key": split_key,
        "embedding_dim": recipe.n_components, "model_options": json.dumps(vars(recipe)), "markers": "[]",
    }  # fmt: skip


def _tell(record: dict[str, Any], max_epochs: int) -> None:
    if "training" in record and record["params"]["best_epoch"] == max_epochs:
        warn(f"The validation loss was lowest at the last of {max_epochs} epochs: pass a larger max_epochs=.")
    if "scores" not in record:
        return
    top = record["scores"].iloc[0]
    logger.info("%s to %s: %s %.3f (chance %.3f)", *top[["query", "found", "measure", "value", "chance"]])
