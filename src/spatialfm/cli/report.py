"""``spatialfm report``: one page with all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._keys import PATIENT_KEY, SAMPLE_KEY, TABLE
from ._analysis import STAGES, Analysis
from ._stage import Done, Stage
from .niches import NICHE
from .patients import KINDS, name_of
from .phenotype import PHENOTYPE
from .survival import outcome_of

if TYPE_CHECKING:
    from anndata import AnnData

REPORT = "report.html"


def report(analysis: Analysis, *, title: str | None = None) -> Done:
    """Write one self-contained page on cohort, quality, phenotypes, niches, signatures, patients and survival.

    It is results/report.html.

    Parameters
    ----------
    title
        Title of the page.
    """
    from ..reporting import report as write_report

    sdata = analysis.whole()
    outcome = outcome_of(analysis.settings("survival"), list(map(str, sdata[TABLE].obs)))
    names = ("time_key", "event_key", "event_value")
    known = {outcome["time_key"], outcome["event_key"]} <= set(sdata[TABLE].obs)
    path = analysis.place(REPORT)
    write_report(
        sdata,
        path,
        patients={kind: _patients(analysis, kind) for kind in KINDS},
        title=title,
        phenotype_key=PHENOTYPE,
        niche_key=NICHE,
        patient_key=PATIENT_KEY,
        library_key=SAMPLE_KEY,
        overwrite=True,
        **({name: outcome[name] for name in names} if known else {}),
    )
    return Done([str(path)])


def _patients(analysis: Analysis, kind: str) -> AnnData:
    """Patients with the results of survival analysis, where there was one."""
    import anndata as ad

    with_results = analysis.out / STAGES / f"survival_{kind}.h5ad"
    return ad.read_h5ad(with_results if with_results.exists() else analysis.out / name_of(kind))


STAGE = Stage(
    name="report",
    summary="one page with all of it",
    example="spatialfm report results --title 'Discovery cohort'",
    run=report,
    clinical=lambda _: True,
    needs=("read", "segment", "embed", "phenotype", "signatures", "niches", "patients", "survival"),
)
