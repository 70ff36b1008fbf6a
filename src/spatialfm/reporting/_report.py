"""``sfm.report``: everything that an object holds, in one HTML file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _disk
from .._errors import InputFileError, RunError, SpatialfmError, counted
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._logging import logger
from .._outcome import EventValue
from .._public import public
from .cells import niches_section, phenotypes_section
from .cohort import cohort_section, panel_section, patients_of
from .elements import Section, note
from .embeddings import embeddings_section
from .methods import methods_section
from .page import page
from .patients import compositions_section, survival_section
from .quality import quality_section
from .results import results_section
from .source import ReportKeys, Source, read_source

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

SECTIONS: tuple[tuple[str, str, Callable[[Source], Section]], ...] = (
    ("cohort", "Cohort", cohort_section),
    ("panel", "Panel and markers", panel_section),
    ("quality", "Image and segmentation quality", quality_section),
    ("embeddings", "Embeddings", embeddings_section),
    ("phenotypes", "Phenotypes", phenotypes_section),
    ("niches", "Niches", niches_section),
    ("compositions", "Compositions by patient", compositions_section),
    ("survival", "Survival", survival_section),
    ("results", "Tests and other results", results_section),
    ("methods", "Methods and versions", methods_section),
)


@public
def report(
    data: SpatialData | AnnData,
    path: str | os.PathLike = "report.html",
    *,
    samples: Sequence[str] | None = None,
    patients: AnnData | Mapping[str, AnnData] | None = None,
    title: str | None = None,
    use_rep: str | Sequence[str] | None = None,
    phenotype_key: str | None = None,
    niche_key: str | None = None,
    patient_key: str = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    time_key: str | None = None,
    event_key: str | None = None,
    event_value: EventValue = None,
    overwrite: bool = False,
) -> Path:
    """Write what an object holds as one HTML file: images, markers, cells, patients, survival, every test, and methods.

    The file needs no network, no other file and no script: figures are in it. It is read on screens, bright and dark,
    and on paper. It reads what the tools wrote and draws it; numbers are those in the object. Its sections are
    cohort, panel and markers, quality of images and masks, embeddings, phenotypes, niches, compositions by patient,
    survival, all tests (each with its n, how it is corrected, and what it does not show), and methods with references,
    licences and versions. What is not there is said in one sentence.

    Parameters
    ----------
    data
        SpatialData with images, a table of samples and one of cells, as far as there are such; or an AnnData of cells
        alone, whose report has no images. Results are read from ``uns`` of the table of cells and of all other tables,
        as one of patients at ``sdata["patients"]``.
    path
        File to write. Its folder must exist.
    samples
        Samples whose images are opened, for quality and pictures. Default: the first ones, up to 100 million values
        (pixels times channels) together; the report names them where others are left out. All other parts are of the
        whole cohort.
    patients
        Table of patients with results in ``uns``, as from `spatialfm.tl.composition`, where `data` does not hold it;
        several by their names.
    title
        Title (default: ``"Report"`` with the number of samples).
    use_rep
        Embeddings in ``obsm`` to describe (default: all that have a record).
    phenotype_key
        Column of ``obs`` with the phenotype of each cell (default: the first of ``"phenotype"``, ``"cell_type"``,
        ``"celltype"``, ``"type"``, ``"leiden"`` that is there).
    niche_key
        Column of ``obs`` with the niche of each cell (default: ``"niche"`` or ``"niches"``, if it is there).
    patient_key
        Column of ``obs`` with the patient.
    library_key
        Column of ``obs`` of the cells with the sample.
    time_key
        Column with the time to event or censoring of patients: where no curves were made, survival of all of them is
        shown (default: what the tables remember of :func:`spatialfm.pp.set_outcome`, or ``"time"``).
    event_key
        Column with whether the event was seen (default: likewise, or ``"event"``).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1.
    overwrite
        Whether a file at `path` may be replaced.

    Returns
    -------
    The path.

    Raises
    ------
    InputFileError
        If there is a file at `path` already, or no folder for it. Nothing is written then.
    ElementError, TableError
        If a sample, column or embedding that was named is not there.

    Notes
    -----
    A figure that cannot be drawn, as of a result whose table was changed since, leaves a remark with the reason in its
    place; the rest is written. The file is written under another name and then renamed.

    Examples
    --------
    >>> import tempfile, spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=4, cells_per_patient=50, random_state=0)
    >>> path = sfm.report(cells, f"{tempfile.mkdtemp()}/report.html", phenotype_key="type")
    >>> path.read_text(encoding="utf-8")[:15]
    '<!DOCTYPE html>'
    """
    target = Path(path)
    _check_target(target, overwrite)
    reps = (use_rep,) if isinstance(use_rep, str) else tuple(use_rep or ())
    keys = ReportKeys(library_key, patient_key, phenotype_key, niche_key, time_key, event_key, event_value, reps)
    source = read_source(data, samples=samples, patients=patients, keys=keys)

    sections = [_made(key, name, make, source) for key, name, make in SECTIONS]
    text = page(title or _title(source), _lead(source), sections, datetime.now(UTC).date().isoformat())
    _write(target, text)
    logger.info("Report of %d KB in '%s'.", len(text) // 1024, target)
    return target


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise InputFileError(f"No folder '{target.parent}' to write '{target.name}' into. Make it first.")
    if target.is_dir():
        raise InputFileError(f"'{target}' is a folder. Pass the path of a file, as '{target / 'report.html'}'.")
    if target.exists() and not overwrite:
        raise InputFileError(f"'{target}' is there already. Pass another path, or overwrite=True to replace it.")


def _made(key: str, name: str, make: Callable[[Source], Section], source: Source) -> Section:
    """A section, or the reason why it could not be made: the others are not lost with it."""
    try:
        return make(source)
    except Exception as error:
        reason = str(error) if isinstance(error, SpatialfmError) else f"{type(error).__name__}: {error}"
        logger.warning("Section %r of the report could not be made: %s", name, reason)
        return Section(key, name, [note(f"This section could not be made: {reason}", kind="caution")])


def _title(source: Source) -> str:
    return f"Report on {counted(len(source.samples), 'sample')}" if len(source.samples) else "Report"


def _lead(source: Source) -> str:
    patients = patients_of(source)
    parts: list[Any] = [counted(len(source.samples), "sample")]
    parts += [counted(len(patients), "patient")] if patients is not None else []
    parts += [counted(source.cells.n_obs, "cell")] if source.cells is not None else []
    return ", ".join(parts) + "."


def _write(target: Path, text: str) -> None:
    try:
        with _disk.written_beside(target) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"Cannot write '{target}': {error.strerror or error}. What was there is as it was: make room, or pass "
            "another path."
        ) from error
