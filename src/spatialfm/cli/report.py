"""``spatialfm report``: one page with all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._keys import PATIENT_KEY, SAMPLE_KEY
from ._analysis import Analysis
from ._stage import Done, Stage
from .niches import NICHE
from .phenotype import PHENOTYPE

if TYPE_CHECKING:
    from anndata import AnnData

REPORT = "report.html"


def report(analysis: Analysis, *, title: str | None = None) -> Done:
    """Write one self-contained page on cohort, quality, phenotypes, niches, patients and survival.

    Parameters
    ----------
    title
        Title of the page.
    """
    function = reporter()
    if function is None:
        return Done(["skipped: this version writes no report"])
    sdata = analysis.whole()
    patients = sdata["table"].obs
    outcome = analysis.settings("survival")
    known = {outcome["time_key"], outcome["event_key"]} <= set(patients)
    names = ("time_key", "event_key", "event_value")
    from .. import _disk

    path = analysis.place(REPORT)
    with _disk.written_beside(path) as partial:
        function(
            sdata,
            partial,
            title=title,
            use_rep=_used(sdata["table"]),
            phenotype_key=PHENOTYPE,
            niche_key=NICHE,
            patient_key=PATIENT_KEY,
            library_key=SAMPLE_KEY,
            overwrite=True,
            **({name: outcome[name] for name in names} if known else {}),
        )
    return Done([str(path)])


def reporter() -> Callable | None:
    """`spatialfm.report`."""
    from importlib import import_module
    from importlib.util import find_spec

    room = f"{__package__.partition('.')[0]}.reporting"
    return import_module(room).report if find_spec(room) else None


def _used(table: AnnData) -> str | None:
    """The embedding that the clusters were made of."""
    return next((name for name in table.obsm if name.startswith("X_")), None)


STAGE = Stage(
    name="report",
    summary="one page with all of it",
    example="spatialfm report results --title 'Discovery cohort'",
    run=report,
    needs=("read", "segment", "embed", "phenotype", "niches", "patients", "survival"),
)
