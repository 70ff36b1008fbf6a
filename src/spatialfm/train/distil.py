"""``sfm.train.distil_encoder``: a small encoder learns what a large one makes of the cells of a cohort."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import torch

from .._errors import ClinicalError, ModelError, counted
from .._identity import fingerprint
from .._keys import PATIENT_KEY, TABLE
from .._logging import logger
from .._public import public
from .._ranges import above, at_least
from .._wording import within
from ..embed.call import CALL_FIELDS
from ..embed.planned import EmbeddingPlan, plan_embedding_of
from ..embed.session import load_encoder, run_plan
from ..models.adapter import CARD, as_json, base_digest
from ..models.registry import card as card_of
from ..models.registry import load
from ..models.terms import check_terms
from ..models.trained import new_encoder, save_tuned
from .cell_objective import Rates
from .cell_probe import ProbeCells, probed
from .cells import CellWindows
from .checkpoint import writing
from .fabric import check_alone
from .likeness import Likeness, compressed
from .run_folder import Identity, RunFolder
from .split import check_patients, held_out_patients
from .steps import default_workers
from .stopped import tidied, train_stopped
from .trainer import TrainingPlan
from .tuned_cells import MOST_HELD_OUT, evenly
from .tuning import embeddings

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..embed.call import Panel
    from ..models.encoder import Encoder

REPORT = "report.csv"
TIMED = 64  # cells


@public(fields=CALL_FIELDS)
def distil_encoder(
    sdata: SpatialData,
    teacher: str | Encoder,
    student: str | Encoder,
    *,
    out: str | PathLike,
    weights: str | PathLike | None = None,
    shape: Mapping[str, Any] | None = None,
    patient_key: str = PATIENT_KEY,
    label_key: str | None = None,
    relational: Annotated[float, at_least(0)] = 1.0,
    steps: Annotated[int, at_least(1)] = 1000,
    batch_size: Annotated[int, at_least(2)] = 32,
    learning_rate: Annotated[float, above(0)] = 5e-4,
    weight_decay: Annotated[float, at_least(0)] = 0.01,
    validation: float | Sequence[str] = 0.2,
    check_every: Annotated[int, at_least(1)] = 50,
    patience: int = 5,
    markers: Sequence[str] | None = None,
    samples: Sequence[str] | None = None,
    panel: Panel | Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    teacher_recipe: Mapping[str, Any] | None = None,
    table_name: str = TABLE,
    accept_terms: bool = False,
    workers: Annotated[int, at_least(0)] | None = None,
    resume: bool = True,
    random_state: int = 0,
) -> Encoder:
    """Train a small encoder to give embeddings like those of a large one, on the cells of a cohort.

    The teacher embeds all cells once, as `spatialfm.tl.embed_cells` does, which goes on where it was ended. The student
    sees windows as it would embed them. Its loss is one minus the cosine between a linear map of its embedding and the
    teacher's leading principal components, and, relational (Park et al. 2019), the squared difference between the
    cosines of all pairs of cells of a batch among the student's own embeddings and among the teacher's. Patients that
    are held out say when to stop.

    Parameters
    ----------
    sdata
        Images, labels and cell table of the cohort; nothing is written into it.
    teacher
        Name of a model, or a loaded encoder.
    student
        Name of a model that can be trained, or an encoder that is, which stays as it is.
    out
        Folder to write. A run that was ended goes on in it.
    weights
        Weights of the teacher.
    shape
        Shape of the student where it is named, such as ``{"dim": 96, "depth": 4, "heads": 3}``, see
        `spatialfm.models.new_encoder`.
    patient_key
        Column of ``obs`` with the patients.
    label_key
        Column of ``obs`` with labels of cells: classifiers of both embeddings are cross-validated on cells of patients
        that the student was not trained on, for the report: by patient, or by cell where one patient is held out.
    relational
        Weight of the relational loss.
    steps
        Steps at most.
    batch_size
        Cells of a step.
    learning_rate
        Highest learning rate, as in `spatialfm.train.finetune`.
    weight_decay
        Of matrices (AdamW).
    validation
        Patients that are held out to stop on, by name or as a share of all.
    check_every
        Steps between two looks at them.
    patience
        Looks without improvement after which the run ends.
    markers
        Markers to use, for both.
    samples
        Samples to use (default: all).
    panel
        Which channels are which markers, for both, as in `spatialfm.tl.embed_cells`.
    table_name
        Table of the cells.
    recipe
        Fields to depart in from the recipe on the student's card.
    teacher_recipe
        Fields to depart in from the recipe on the teacher's card.
    accept_terms
        Whether you may derive a model from the teacher where its licence forbids to pass on derived ones.
    workers
        Processes that read windows. Default: a quarter of the cores.
    resume
        Whether to go on with the run in `out`; otherwise one that is there is refused.
    random_state
        Seed.

    Returns
    -------
    The student, as ``sfm.models.load(<its name>, weights=out)`` gives it. Besides its weights and card, `out` holds
    ``report.csv``: parameters, columns, cells per second (encoding, on this machine, not reading), the mean cosine
    between student and teacher on held-out patients, and the macro F1 of classifiers. ``losses.csv``, ``checks.csv``
    and ``curves.png`` are those of the run.

    Raises
    ------
    ModelError, TableError, ClinicalError
        Before the first step: a student without weights, one patient, terms that were not accepted.
    RunError
        If `out` holds a run of other data or parameters, or the loss is not a number.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=2, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.pp.cell_table(sdata)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     student = sfm.train.distil_encoder(
    ...         sdata,
    ...         "classical",
    ...         "virtues",
    ...         out=folder + "/small",
    ...         shape={"dim": 24, "depth": 2, "heads": 2, "decoder_depth": 1},
    ...         markers=["CD3", "CD20"],
    ...         recipe={"window": 32},
    ...         steps=2,
    ...         batch_size=4,
    ...         check_every=1,
    ...     )
    ...     report = pd.read_csv(folder + "/small/report.csv", index_col="encoder")
    >>> report.index.tolist()
    ['teacher: classical', 'student: virtues']
    """
    check_alone("Distillation")
    large = _teacher(teacher, weights, accept_terms)
    small = _student(student, shape, random_state)
    arguments = {"samples": samples, "markers": markers, "panel": panel, "table_name": table_name}
    of_teacher = {name: ("teacher_recipe", field) for name, (_, field) in CALL_FIELDS.of(["recipe"]).items()}
    with within(of_teacher):
        of_large = _plan(sdata, large, teacher_recipe, arguments)
    plans = [of_large, _plan(sdata, small, recipe, arguments)]
    said = {
        "teacher": large.card.name, "teacher weights": _digest(large), "student": small.card.name,
        "student weights": base_digest(small), "relational": relational, "steps": steps, "batch_size": batch_size,
        "learning_rate": learning_rate, "weight_decay": weight_decay, "check_every": check_every, "patience": patience,
        "validation": validation if isinstance(validation, float) else list(np.atleast_1d(validation)),
        "random_state": random_state,
    }  # fmt: skip
    cohort = _cohort(plans, patient_key, validation, batch_size, random_state)
    folder = RunFolder(Path(out).expanduser())
    with folder.held():
        parts = {
            "cells and images of the teacher": plans[0].run.identity,
            "cells and images of the student": plans[1].run.identity,
            "patients": fingerprint({"patients": cohort.patients.tolist()}),
        }
        folder.begin(Identity(as_json(said), parts), resume=resume)
        if not (folder.path / CARD).is_file():
            values = _rows(plans[0])
            learner = _learner(
                small, values, cohort, Rates(learning_rate, 10 * learning_rate, weight_decay), relational, batch_size
            )
            length = TrainingPlan(
                steps, batch_size, random_state, default_workers() if workers is None else workers,
                checkpoint_every=check_every, check_every=check_every,
            )  # fmt: skip
            loss, step = train_stopped(learner, cohort.training, cohort.held_out, folder, length, patience)
            trained = learner.encoder.eval().requires_grad_(False)
            report = _report(plans, [large, trained], values, learner, cohort, label_key)
            card = _card(large, cohort, said) | {"validation_loss": loss, "best_step": step}
            with writing(folder.path):
                report.to_csv(folder.path / REPORT)
                save_tuned(trained, folder.path, card, plans[1].request.recipe)
            tidied(folder)
            logger.info("%s", report.to_string())
    return load(small.card.name, weights=folder.path)


class _Cohort:
    """Cells that teacher and student both embed: windows of the student, split by patient."""

    def __init__(self, windows: CellWindows, rows: np.ndarray, patients: np.ndarray, is_held_out: np.ndarray) -> None:
        self.windows, self.rows, self.patients = windows, rows, patients
        places = np.flatnonzero(is_held_out)
        self.held_out_rows = rows[places]
        self.training = windows.part(np.flatnonzero(~is_held_out))
        self.held_out = windows.part(places[evenly(patients[places], MOST_HELD_OUT, 0)])


def _teacher(teacher: str | Encoder, weights: str | PathLike | None, accept_terms: bool) -> Encoder:
    check_terms(card_of(teacher) if isinstance(teacher, str) else teacher.card, accept_terms)
    encoder = load_encoder(teacher, weights)
    check_terms(encoder.card, accept_terms)
    return encoder.eval()


def _student(student: str | Encoder, shape: Mapping[str, Any] | None, random_state: int) -> Encoder:
    if isinstance(student, str):
        return new_encoder(student, random_state=random_state, **dict(shape or {}))
    if shape:
        raise ModelError("shape= is for a student by name; a loaded encoder has a shape. Leave it out.")
    if not any(True for _ in student.parameters()):
        raise ModelError(f"{student.card.name} has no weights that could learn. Pass student='virtues' with a shape=.")
    return copy.deepcopy(student).cpu().train().requires_grad_(True)


def _digest(encoder: Encoder) -> str:
    return base_digest(encoder) if any(True for _ in encoder.parameters()) else encoder.card.name


def _plan(
    sdata: SpatialData, encoder: Encoder, recipe: Mapping[str, Any] | None, arguments: Mapping[str, Any]
) -> EmbeddingPlan:
    return plan_embedding_of(
        sdata, encoder, weights=None, on_missing="drop", key_added=None, outputs=None, recipe=recipe, reduce=None,
        run={"devices": "cpu"} if encoder.training else None, elements=None, **arguments,
    )  # fmt: skip


def _rows(plan: EmbeddingPlan) -> np.ndarray:
    """Embeddings of the plan's cells, by their rows in the table; NaN for others."""
    results, _ = run_plan(plan.run, plan.request, plan.devices, plan.n_components)
    values = np.asarray(next(iter(results.values())).values, np.float32)
    whole = np.full((plan.table.n_obs, values.shape[1]), np.nan, np.float32)
    whole[plan.cells.rows] = values
    return whole


def _cohort(
    plans: Sequence[EmbeddingPlan],
    patient_key: str,
    validation: float | Sequence[str],
    batch_size: int,
    random_state: int,
) -> _Cohort:
    obs = plans[1].table.obs
    if patient_key not in obs:
        raise ClinicalError(f"No column {patient_key!r} in obs (patient_key=), by which cells are held out.")
    rows = np.intersect1d(plans[0].cells.rows, plans[1].cells.rows)
    rows = rows[obs[patient_key].notna().to_numpy()[rows]]
    patients = obs[patient_key].astype(str).to_numpy()[rows]
    check_patients(np.unique(patients), patient_key, "adata.obs")
    if (n := len(np.unique(patients))) < 2:
        raise ClinicalError(
            f"Cells are of {counted(n, 'patient')} by obs[{patient_key!r}], and some patients have to be held out to "
            "stop on. Add images of others."
        )
    windows = CellWindows(plans[1], rows, patients)
    chosen = held_out_patients(windows.table, patient_key, validation, random_state)
    cohort = _Cohort(windows, rows, patients, np.isin(patients, list(chosen)))
    if len(cohort.training) < batch_size:
        raise ClinicalError(
            f"batch_size={batch_size}, and {counted(len(cohort.training), 'cell')} to train on. Pass a smaller "
            "batch_size=."
        )
    return cohort


def _learner(
    student: Encoder, values: np.ndarray, cohort: _Cohort, rates: Rates, relational: float, batch_size: int
) -> Likeness:
    targets = compressed(values[cohort.rows], cohort.training.numbers)
    some = np.arange(min(batch_size, len(cohort.training)))
    first = embeddings(student.eval(), cohort.training, some, batch_size)
    return Likeness(student, cohort.windows.encoding(), targets, first.shape[1], rates, relational)


def _report(
    plans: Sequence[EmbeddingPlan],
    encoders: Sequence[Encoder],
    values: np.ndarray,
    learner: Likeness,
    cohort: _Cohort,
    label_key: str | None,
) -> pd.DataFrame:
    """One row for the teacher and one for the student."""
    rows = []
    table, judged = plans[1].table, cohort.held_out_rows
    places = np.searchsorted(cohort.rows, judged)
    own = embeddings(encoders[1], cohort.windows, places, TIMED).numpy()
    likeness = learner.likeness(torch.from_numpy(own), torch.from_numpy(places))
    for who, plan, encoder, vectors in zip(("teacher", "student"), plans, encoders, (values[judged], own), strict=True):
        row: dict[str, Any] = {
            "encoder": f"{who}: {encoder.card.name}",
            "parameters": sum(one.numel() for one in encoder.parameters()),
            "columns": vectors.shape[1],
            "cells_per_second": _speed(plan, encoder, cohort),
            "cosine_to_teacher": 1.0 if who == "teacher" else likeness,
        }
        if label_key is not None:
            labels = table.obs[label_key].iloc[judged]
            known = labels.notna().to_numpy()
            patients = cohort.patients[places]
            if len(np.unique(patients)) < 2:  # then other cells of the same
                patients = table.obs_names[judged].to_numpy(str)
            row |= probed(vectors[known], ProbeCells(None, labels[known].astype(str).to_numpy(), patients[known]))
        rows.append(row)
    return pd.DataFrame(rows).set_index("encoder")


def _speed(plan: EmbeddingPlan, encoder: Encoder, cohort: _Cohort) -> float:
    """Cells per second that are encoded, of windows that are in memory; the better of two."""
    rows = cohort.held_out_rows[:TIMED]
    windows = CellWindows(plan, rows, np.full(len(rows), ""))
    samples = [windows.sample(i, np.random.default_rng(0), augment=False) for i in range(len(rows))]
    best = np.inf
    for _ in range(3):  # the first sets up
        started = time.perf_counter()
        with torch.no_grad():
            windows.encoding()(encoder, samples)
        best = min(best, time.perf_counter() - started)
    return len(rows) / best


def _card(teacher: Encoder, cohort: _Cohort, said: Mapping[str, Any]) -> dict[str, Any]:
    n, patients = len(cohort.training), cohort.training.table[PATIENT_KEY].nunique()
    return {
        "license": teacher.card.license,
        "commercial": teacher.card.commercial,
        "trained_on": f"embeddings by {teacher.card.name} of {counted(n, 'cell')} of {counted(patients, 'patient')}",
        "distillation": as_json({**said, "terms": teacher.card.license}),
    }
