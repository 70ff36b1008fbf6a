"""A check on annotated cells: what classifiers make of embeddings of them, beside mean intensities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._errors import ClinicalError, PanelError, TableError, counted, listed, warn
from .._keys import TABLE
from .._spelling import check_label_names
from ..embed.planned import plan_embedding_of
from ..embed.session import run_plan
from ..learn.probe import fit_head
from ..metrics import classification
from ..models import Encoder, load
from ..models.saved import PIXELS, TILES
from ..pp.elements import sample_images
from .corpus import asked_of
from .split import check_patients

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..embed.call import Panel
    from .data import Windows

MOST_CELLS = 2000
FOLDS = 5
HEADS: tuple[Literal["linear", "knn"], ...] = ("linear", "knn")
FEWEST = 2  # patients, and classes


@dataclass(frozen=True)
class ProbeCells:
    """Annotated cells of several patients.

    Attributes
    ----------
    sdata
        Their images and labels, and a table of them alone.
    labels, patients
        ``(n_cells,)`` each, in the order of the table.
    """

    sdata: SpatialData
    labels: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class CellReading:
    """How cells are read for an encoder.

    Attributes
    ----------
    recipe
        What departs from the recipe on its card.
    panel
        Fields of `spatialfm.Panel`.
    """

    recipe: Mapping[str, Any] | None = None
    panel: Mapping[str, Any] | None = None


def reading_of(windows: Windows, cells: ProbeCells) -> CellReading:
    """Cells as the windows of the training are read: pixels made in the same way, markers told by the same vectors.

    Tiles are as large as what a step sees.

    Raises
    ------
    ClinicalError
        If training states a largest value for each sample, and a sample of the cells has none.
    """
    told = windows.settings.reading
    recipe = {name: getattr(told, name) for name in (*PIXELS, *(TILES if told.mode == "tile" else ()))}
    largest = told.intensity_max
    if isinstance(largest, Mapping):
        known = {str(name).rpartition("/")[2]: value for name, value in largest.items()}
        samples = sorted(name.removeprefix("image_") for name in sample_images(cells.sdata))
        if lost := [name for name in samples if name not in known]:
            raise ClinicalError(
                f"intensity_max= of windows= has a value for each sample, and none for {listed(lost, 4)} of probe=. "
                "State them, too, or one value for all."
            )
        recipe["intensity_max"] = {name: known[name] for name in samples}
    return CellReading(recipe, _panel_of(windows.panel, cells))


def _panel_of(panel: Panel, cells: ProbeCells) -> dict[str, Any]:
    """The panel of the training as far as all images of the cells have it; what else they have, training did not see.

    Raises
    ------
    PanelError
        If they share none of the markers that were asked for.
    """
    from spatialdata.models import get_channel_names

    images = [cells.sdata.images[name] for name in sample_images(cells.sdata)]
    of_images = [asked_of(panel, tuple(map(str, get_channel_names(one)))) for one in images]
    told: dict[str, Any] = {"on_unknown": "drop", "nuisance": panel.nuisance, "embeddings": panel.embeddings}
    told["mapping"] = {name: marker for _, mapping in of_images for name, marker in mapping.items()} or None
    if panel.markers is not None:
        told["markers"] = [name for name in panel.markers if all(name in (markers or ()) for markers, _ in of_images)]
        if not told["markers"]:
            raise PanelError(
                f"The images of probe= share none of the markers that panel= of windows= asks for: "
                f"{listed(panel.markers, 8)}. Probe with images that have them."
            )
    return told


def cells_of(probe: SpatialData | str | PathLike, label_key: str | None, patient_key: str) -> ProbeCells:
    """Some annotated cells, as evenly over patients and classes as there are.

    Raises
    ------
    TableError
        If a column is missing, or there are fewer than two classes in more than one patient.
    ClinicalError
        If there are fewer than two patients, or one is spelled in two ways.
    """
    import spatialdata as sd

    whole = probe if isinstance(probe, sd.SpatialData) else sd.read_zarr(probe)
    if TABLE not in whole.tables:
        raise TableError(f"probe= has no table {TABLE!r} with annotated cells. Make one with sfm.pp.cell_table(sdata).")
    table = whole.tables[TABLE]
    if label_key is None:
        raise TableError(f"probe= needs label_key=, the column with labels of cells; found {listed(table.obs, 12)}.")
    for name in (label_key, patient_key):
        if name not in table.obs:
            raise TableError(f"No column {name!r} in the table of probe=; found {listed(table.obs, 12)}.")
    known = (table.obs[label_key].notna() & table.obs[patient_key].notna()).to_numpy()
    check_label_names(table.obs[label_key])
    labels = table.obs[label_key].astype(str).to_numpy()
    patients = table.obs[patient_key].astype(str).to_numpy()
    check_patients(np.unique(patients[known]), patient_key, 'probe["table"].obs')
    if len(np.unique(patients[known])) < FEWEST:
        raise ClinicalError(
            f"Annotated cells of probe= are of one patient by column {patient_key!r}, and classifiers are judged on "
            "others than they learn from. Annotate cells of another one."
        )
    if len(np.unique(labels[known])) < FEWEST:
        raise TableError(f"Column {label_key!r} of probe= has one class; classifiers tell apart two or more.")
    if alone := _of_one_patient(labels[known], patients[known]):
        warn(
            f"Left out of probe=: {counted(len(alone), 'class', 'classes')} of column {label_key!r} that one patient "
            f"alone has, so that no classifier can learn of another: {listed(alone, 6)}."
        )
        known &= ~np.isin(labels, alone)
        if len(np.unique(labels[known])) < FEWEST:
            raise TableError(
                f"Column {label_key!r} of probe= has fewer than two classes in more than one patient; classifiers are "
                "judged on patients that they have not seen. Annotate cells of other patients."
            )
    chosen = _evenly(labels, patients, np.flatnonzero(known))
    others = {name: one for name, one in whole.tables.items() if name != TABLE}
    thinned = sd.SpatialData(
        images=dict(whole.images), labels=dict(whole.labels), shapes=dict(whole.shapes), points=dict(whole.points),
        tables={**others, TABLE: table[chosen].copy()}, attrs=whole.attrs,
    )  # fmt: skip
    return ProbeCells(thinned, labels[chosen], patients[chosen])


def _of_one_patient(labels: np.ndarray, patients: np.ndarray) -> list[str]:
    return [name for name in sorted(set(labels)) if len(set(patients[labels == name])) < FEWEST]


def _evenly(labels: np.ndarray, patients: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows, at most `MOST_CELLS`: of each patient and class the same number, as far as there are that many."""
    rng = np.random.default_rng(0)
    groups: dict[tuple[str, str], list[int]] = {}
    for row in rng.permutation(rows):
        groups.setdefault((patients[row], labels[row]), []).append(int(row))
    turns = [(turn, row) for group in groups.values() for turn, row in enumerate(group)]
    return np.sort([row for _, row in sorted(turns)[:MOST_CELLS]])


class CellProbe:
    """A check: macro F1 of classifiers on embeddings of annotated cells, cross-validated by patient.

    Parameters
    ----------
    encoder
        Gives the encoder as it would be saved.
    cells
        Annotated cells.
    active
        Whether this process does it.
    reading
        How cells are read for the encoder; default: as its card says.
    """

    def __init__(
        self,
        encoder: Callable[[], Encoder],
        cells: ProbeCells,
        *,
        active: bool = True,
        reading: CellReading | None = None,
    ) -> None:
        self.encoder, self.cells, self.active, self.reading = encoder, cells, active, reading
        self.beside: dict[str, float] | None = None

    def __call__(self, step: int) -> dict[str, float]:
        """Scores of the encoder, and of mean intensities of the same cells."""
        if not self.active:
            return {}
        if self.beside is None:
            intensities = embedded(load("mean-intensity"), self.cells)
            self.beside = {f"{name}_mean_intensity": value for name, value in probed(intensities, self.cells).items()}
        encoder = self.encoder()
        training, wanting = encoder.training, [one.requires_grad for one in encoder.parameters()]
        device = encoder.device
        try:
            return probed(embedded(encoder.eval(), self.cells, self.reading), self.cells) | self.beside
        finally:
            encoder.to(device).train(training)
            for one, wants in zip(encoder.parameters(), wanting, strict=True):
                one.requires_grad_(wants)


def embedded(encoder: Encoder, cells: ProbeCells, reading: CellReading | None = None) -> np.ndarray:
    """Embeddings of the cells ``(n_cells, columns)``, in the order of their table."""
    reading = reading or CellReading(panel={"on_unknown": "drop"})
    by_marker = encoder.card.marker_vocabulary in ("ids", "protein embedding")
    arguments: dict[str, Any] = {
        "outputs": None,
        "markers": None,
        "panel": reading.panel if by_marker else None,
        "recipe": reading.recipe,
        "reduce": None,
        "run": {"devices": str(encoder.device), "resume": False},
        "elements": None,
    }
    plan = plan_embedding_of(
        cells.sdata,
        encoder,
        weights=None,
        samples=None,
        table_name=TABLE,
        on_missing="drop",
        key_added=None,
        **arguments,
    )
    results, _ = run_plan(plan.run, plan.request, plan.devices, plan.n_components)
    values = np.asarray(next(iter(results.values())).values, dtype=np.float64)
    rows = np.asarray(plan.cells.rows)
    if len(rows) != len(cells.labels):
        raise TableError(f"{len(cells.labels) - len(rows)} of the cells of probe= have no label in their image.")
    return values[np.argsort(rows, kind="stable")]


def probed(values: np.ndarray, cells: ProbeCells) -> dict[str, float]:
    """Macro F1 of each classifier; every cell is classified by one that has not seen its patient."""
    from sklearn.model_selection import GroupKFold

    folds = min(FOLDS, len(np.unique(cells.patients)))
    classes = sorted(set(cells.labels.tolist()))
    out = {}
    for head in HEADS:
        probability = np.zeros((len(values), len(classes)))
        for train, test in GroupKFold(folds).split(values, cells.labels, cells.patients):
            if len(set(cells.labels[train])) == 1:  # all patients with the other class are tested at once
                probability[test, classes.index(cells.labels[train][0])] = 1
                continue
            fitted = fit_head(values[train], cells.labels[train], head)
            columns = [classes.index(name) for name in fitted.classes]
            probability[np.ix_(test, columns)] = fitted.predict_proba(values[test])
        out[f"probe_{head}"] = float(classification(cells.labels.tolist(), probability, classes).loc["macro", "f1"])
    return out
