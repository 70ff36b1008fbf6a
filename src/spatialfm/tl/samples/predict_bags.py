"""Published networks of multiple instance learning, applied to patients."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import TableError
from ..._fingerprint import DATA, fingerprint
from ..._keys import PATIENT_KEY, SAMPLE_KEY
from ..._logging import logger
from ..._public import public
from ...cohort.cases import Cases, in_order, read_cases
from ...cohort.checks import check_anndata
from ...cohort.records import BagsRecord
from ...cohort.representation import representation
from ...learn.bag_tasks import TaskName
from .mil import cells_of, write_bags

if TYPE_CHECKING:
    from anndata import AnnData

    from ...learn.bag_apply import BagPredictions

TASKS = ("classification", "regression", "survival")
MEDIAN = "train_pred_median"  # in STAMP's files of survival: the median risk of the patients that it was trained on


@public(all_threads=True)
def predict_bags(
    adata: AnnData,
    weights: str | PathLike,
    *,
    use_rep: str,
    classes: Sequence[str] | None = None,
    task: TaskName | None = None,
    gradients: bool = False,
    patient_key: str | None = PATIENT_KEY,
    library_key: str | None = SAMPLE_KEY,
    device: str | None = None,
    key_added: str = "bags",
    copy: bool = False,
) -> BagsRecord | None:
    """Predict patients with a published network of multiple instance learning, such as STAMP's or HistoBistro's.

    The file says whose network it holds and how large it is. Its tensors must be those of the network, all of them and
    no others. All tiles of a patient are one bag, as in STAMP, and columns are taken as they are: both were trained on
    features without standardisation. The numbers are those of the official code.

    Parameters
    ----------
    adata
        Tiles or cells with the features that the network was trained on (HistoBistro's files: CTransPath, 768 columns).
    weights
        Checkpoint: a file of Lightning (``.ckpt``, ``.pth``), a state dict, or ``.safetensors``. Python objects in it
        are not made, so that no code of a file is run.
    use_rep
        Key of ``obsm``, or ``"X"``.
    classes
        Names of the classes, in the order of the outputs. Default: those of the file (STAMP's have them), or
        ``"0"``, ``"1"``, ... A network with a single output, as HistoBistro's, tells two classes apart, the second of
        which it is the logit of.
    task
        What outputs mean. Default: as the file says (STAMP's do), or classification.
    gradients
        Also write ``obsm[f"{key_added}_gradient"]``, as :func:`spatialfm.tl.mil` does.
    patient_key
        Column of ``obs`` with the patient. None: each sample is a case.
    library_key
        Column of ``obs`` with the sample.
    device
        Torch device (default: ``sfm.settings.device``).
    key_added
        Key that is written.
    copy
        Return the record, with what is written to ``obs`` and ``obsm``, instead of writing.

    Returns
    -------
    None, or with `copy` the record. Written: ``uns[key_added]`` with ``patients`` (``n`` cells; ``p_<class>`` and
    ``predicted``, the class with the highest; or the number as ``predicted``; or ``risk``, a log hazard, with
    ``risk_group`` where the file has the median risk of its training patients, as STAMP's do) and ``params``;
    ``obs[f"{key_added}_attention"]``, attention of the class token in the last layer, 1 for a cell like the average one
    of its bag (:func:`spatialfm.pl.attention` draws it).

    Raises
    ------
    WeightsError
        If the file holds neither network, or tensors are missing, unexpected or of another shape.
    TableError
        If `use_rep` has another number of columns than the network takes, or holds NaN.

    Notes
    -----
    Published networks were trained on stained slides of the same kind as they are to be used on. Probabilities for
    other images are numbers without meaning.

    Examples
    --------
    A network with STAMP's names and weights that mean nothing:

    >>> import pathlib, tempfile
    >>> import torch
    >>> import spatialfm as sfm
    >>> from spatialfm.learn.bag_published import StampMIL
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=20, random_state=0)
    >>> network = StampMIL(cells.obsm["X_latent"].shape[1], 2, width=16, n_heads=8, feedforward=16)
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "stamp.ckpt"
    >>> torch.save({"state_dict": {f"model.{k}": v for k, v in network.state_dict().items()}}, file)
    >>> sfm.tl.predict_bags(cells, file, use_rep="X_latent", classes=["MSS", "MSI"])
    >>> cells.uns["bags"]["patients"].columns.tolist()
    ['n', 'p_MSS', 'p_MSI', 'predicted']
    """
    check_anndata(adata, "predict_bags", None if copy else key_added)
    from ...learn.bag_apply import PublishedTarget, apply, check_width, class_names, n_outputs_of
    from ...learn.bag_published import network_of
    from ...learn.bag_training import bags_of_cases
    from ...models.encoder import resolve_device
    from ...models.lightning import read_lightning

    path = Path(weights).expanduser()
    state, told = read_lightning(path)
    network = network_of(state, told.get("n_heads"))
    width = representation_width(adata, use_rep)
    check_width(network, width, use_rep, str(path))
    n_outputs = n_outputs_of(network)
    target = PublishedTarget(_task(task, told, n_outputs), n_outputs)
    names = class_names(None if classes is None else list(classes), told.get("categories"), n_outputs)
    cases = read_cases(adata, {}, patient_key=patient_key, library_key=library_key, on_missing="raise")
    part, cases = in_order(adata, cases)
    bags, _ = bags_of_cases(representation(part, use_rep), cases, "patient")
    applied = apply(network, bags, target, gradients, resolve_device(device))
    patients = _patients(applied, cases, target.task, names, told.get(MEDIAN))
    record = {"patients": patients, "params": cases.params()}
    record["params"] |= {"use_rep": use_rep, "weights": path.name, "network": type(network).__name__}
    record["params"] |= {"task": target.task, "classes": names if target.task == "classification" else []}
    record["params"][DATA] = fingerprint(adata, [patient_key, library_key], obsm=[use_rep])
    outputs = _outputs(target.task, names, n_outputs)
    of_cells = cells_of(adata, cases, applied.attention, {"gradient": applied.gradient}, outputs, key_added)
    logger.info("%s: %d %ss predicted by %s", path.name, len(cases.names), cases.unit, type(network).__name__)
    if copy:
        return record | of_cells  # type: ignore[return-value]
    write_bags(adata, record, of_cells, key_added)
    return None


def representation_width(adata: AnnData, use_rep: str) -> int:
    """Columns of a representation; its values are looked at later."""
    return representation(adata[:1], use_rep).shape[1]


def _task(task: TaskName | None, told: dict[str, Any], n_outputs: int) -> TaskName:
    said = told.get("task")
    chosen: TaskName = task or (said if said in TASKS else "classification")  # type: ignore[assignment]
    if chosen != "classification" and n_outputs > 1:
        raise TableError(
            f"task={chosen!r} is one number, and the network gives {n_outputs}. Pass task='classification'."
        )
    return chosen


def _outputs(task: str, names: list[str], n_outputs: int) -> list[str]:
    if task != "classification":
        return ["risk" if task == "survival" else "predicted"]
    return names if n_outputs > 1 else names[1:]


def _patients(applied: BagPredictions, cases: Cases, task: str, names: list[str], median: object) -> pd.DataFrame:
    table = pd.DataFrame(index=pd.Index(cases.names, name=cases.unit))
    table["n"] = np.bincount(cases.codes, minlength=len(cases.names))
    if task != "classification":
        table[_outputs(task, names, 1)[0]] = applied.predicted[:, 0]
        if task == "survival" and isinstance(median, int | float):
            table["risk_group"] = np.where(applied.predicted[:, 0] > median, "high", "low")
        return table
    for k, name in enumerate(names):
        table[f"p_{name}"] = applied.predicted[:, k]
    table["predicted"] = np.array(names, dtype=object)[applied.predicted.argmax(axis=1)]
    return table
