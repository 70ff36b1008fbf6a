"""Panels by a masked model: what it predicts of drawn tiles while it sees the markers of a panel alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._cache import keep_arrays, kept_arrays
from ..._errors import PanelError, TableError, counted
from ..._identity import fingerprint
from ..._logging import logger
from ..._progress import progress_bar
from ..._settings import settings
from ...learn.imputers import drawn_evenly
from ...learn.panel_model import ModelTask, squared_errors
from .painted_scores import patients_of_samples

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

    from ...embed.paint.partial import PartlySeen
    from ...models.encoder import Encoder

FEWEST = 3  # patients: one is held out, and two choose a panel by each other
SAVED_EVERY = 30.0  # seconds after which errors of panels are kept, so that a call that was stopped goes on


@dataclass(frozen=True)
class Seen:
    """Cells of the tiles that were drawn, and all that a search needs of them.

    Attributes
    ----------
    names
        Candidates, as the table calls them.
    measured
        ``(n, M)`` means of the cells in the model's standardised space.
    spread
        ``(M,)`` standard deviation of pixels that was divided by.
    patient, patients
        ``(n,)`` code of the patient of each cell, and their names.
    task
        Scores of panels by the model.
    errors
        What has been asked, with `save`.
    model, n_tiles
        Name of the model, and tiles that were drawn.
    """

    names: list[str]
    measured: np.ndarray
    spread: np.ndarray
    patient: np.ndarray
    patients: list[str]
    task: ModelTask
    errors: KeptErrors
    model: str
    n_tiles: int


class KeptErrors:
    """Mean squared errors ``(patients, M)`` of a panel, each asked of the model once, and kept on disk.

    Parameters
    ----------
    seen
        The tiles.
    places
        Of the candidates among the markers of the model.
    measured, patient
        Of the cells.
    identity
        All that decides the numbers.
    resume
        Whether what an earlier call has found is taken.
    """

    def __init__(
        self,
        seen: PartlySeen,
        places: Sequence[int],
        measured: np.ndarray,
        patient: np.ndarray,
        identity: str,
        *,
        resume: bool = True,
    ) -> None:
        self._seen, self._places, self._measured, self._patient = seen, list(places), measured, patient
        self._identity = identity
        self._path = settings.cache_dir / "statistics" / f"panels-{identity[:32]}.npz"
        self._known: dict[bytes, np.ndarray] = {}
        if resume and (kept := kept_arrays(self._path, identity)) is not None:
            self._known = dict(zip((one.tobytes() for one in kept["panels"]), kept["errors"], strict=True))
        self.n_kept, self._saved, self._unsaved = len(self._known), time.monotonic(), 0
        self._bar = progress_bar(desc="panels", unit="panel", initial=self.n_kept)

    def __call__(self, panel: list[int]) -> np.ndarray:
        """Of the panel of these candidates."""
        inside = np.zeros(len(self._places), bool)
        inside[panel] = True
        if (key := inside.tobytes()) not in self._known:
            self._known[key] = self._asked(inside)
            self._unsaved += 1
            self._bar.update()
            if time.monotonic() - self._saved > SAVED_EVERY:
                self.save()
        return self._known[key]

    def _asked(self, inside: np.ndarray) -> np.ndarray:
        left = np.flatnonzero(~inside)
        errors = np.zeros((int(self._patient.max()) + 1, len(inside)))
        if left.size:
            seen, asked = ([self._places[place] for place in part] for part in (np.flatnonzero(inside), left))
            expected = self._seen.predicted(seen, asked)
            errors[:, left] = squared_errors(self._measured[:, left], expected, self._patient)
        return errors

    def save(self) -> None:
        """Write what is known."""
        if self._unsaved:
            panels = np.array([np.frombuffer(key, bool) for key in self._known])
            keep_arrays(self._path, self._identity, {"panels": panels, "errors": np.stack(list(self._known.values()))})
        self._saved, self._unsaved = time.monotonic(), 0

    def close(self) -> None:
        """Save, and end the bar."""
        self.save()
        self._bar.close()


def check_patients(n: int, patient_key: str) -> None:
    """Refuse too few patients.

    Raises
    ------
    TableError
        Says how many there are, and are needed.
    """
    if n < FEWEST:
        raise TableError(
            f"obs[{patient_key!r}] (patient_key=) has {counted(n, 'patient')}: at least {FEWEST} are needed to choose "
            "a panel from some and score it on others."
        )


def see_tiles(
    sdata: SpatialData,
    table: AnnData,
    model: str | Encoder,
    weights: str | PathLike | None,
    markers: Sequence[str] | None,
    max_tiles: int,
    *,
    patient_key: str,
    library_key: str,
    table_name: str,
    random_state: int,
    call: Mapping[str, Any],
    check: Callable[[list[str]], object],
) -> Seen:
    """Draw tiles evenly from all patients, and read them with their cells.

    `check` is given the names of the candidates before any tile is read.

    Raises
    ------
    ModelError, PanelError, ElementError, CoordinateError, PixelSizeError, TableError
        Before the model is asked.
    """
    from ...embed.call import Elements, Run, image_elements, request_of
    from ...embed.inputs import prepare_inputs
    from ...embed.paint.partial import places_of_tiles, read_tiles
    from ...embed.paint.plan import check_decoder, find_targets, plan_paint
    from ...embed.paint.table import names_in_table
    from ...embed.session import check_run, load_encoder
    from ...embed.windows.cells import find_cells
    from ...pp.elements import match_elements

    meant, how = Elements.of(call["elements"]), Run.of(call["run"])
    image_elements(None, call["recipe"])  # refuses fields that are about windows of cells
    pairs = match_elements(sdata, meant.image, meant.labels, table_name=table_name)
    of_samples = patients_of_samples(sdata, [pair.sample for pair in pairs], table_name, patient_key, library_key)
    check_patients(len(set(of_samples)), patient_key)
    device = check_run(how)[0]
    encoder = load_encoder(model, weights)
    check_decoder(encoder)
    encoder = encoder.to(device)
    request = request_of(
        encoder, panel=call["panel"], recipe=call["recipe"], run=how.replace(compile=False), elements=meant, cells=False
    )  # every panel has another number of tokens, and would be compiled anew
    inputs = prepare_inputs(sdata, pairs, encoder, request, tiles=True)
    targets = find_targets(inputs, markers)
    if targets.added:
        raise PanelError(
            f"No marker {targets.added[0]!r} in all images (markers=): what was not measured cannot be scored. Leave "
            "it out."
        )
    if len(targets.markers) < 2:
        raise PanelError("1 candidate is left (markers=), of which no panel can be chosen: at least 2 are needed.")
    given = dict(zip(targets.markers, markers or targets.markers, strict=True))
    called = names_in_table(table, inputs.panel.names, inputs.panel.markers, given)
    names = [called[name] for name in targets.markers]
    check(names)
    cells = find_cells(sdata, pairs, table, table_name, "drop", None, meant.on_pieces)
    plan = plan_paint(inputs, targets, mode="marker")
    places = places_of_tiles(plan, inputs, cells)
    _, codes = np.unique(np.array(of_samples)[places[:, 0]], return_inverse=True)
    places = places[drawn_evenly(codes, max_tiles, random_state)]
    seen = read_tiles(plan, inputs, cells, places, plan.batch_size(how.batch_size))

    rows = seen.rows
    patients, patient = np.unique(np.array(of_samples)[cells.sample[rows]], return_inverse=True)
    check_patients(len(patients), patient_key)
    measured = seen.measured()[:, list(targets.places)]
    identity = fingerprint(
        {
            "kind": "panels", "run": plan.identity, "tiles": places, "markers": targets.places,
            "labels": cells.labels[rows], "patient": patient, "precision": how.precision, "measured": measured,
        }
    )  # fmt: skip
    errors = KeptErrors(seen, targets.places, measured, patient, identity, resume=how.resume)
    what = f"{counted(len(rows), 'cell')} in {counted(len(seen.tiles), 'tile')} of {counted(len(patients), 'patient')}"
    known = f"; {counted(errors.n_kept, 'panel')} known from before" if errors.n_kept else ""
    logger.info("each panel is asked once of %s%s", what, known)
    return Seen(
        names, measured, np.asarray(inputs.std, float)[list(targets.places)],
        patient, list(map(str, patients)), ModelTask(measured, patient, errors), errors, encoder.card.name,
        len(seen.tiles),
    )  # fmt: skip
