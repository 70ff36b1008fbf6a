"""``spatialfm patients``: from cells to one row per patient."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from .._errors import counted, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY
from ._analysis import CELLS, Analysis
from ._stage import Done, Stage
from .niches import NICHE
from .phenotype import PHENOTYPE

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

KINDS = {"phenotypes": PHENOTYPE, "niches": NICHE}


def patients(
    analysis: Analysis,
    *,
    pseudocount: float = 0.5,
    cells_per_row: int | Literal["all", "even"] = "all",
) -> Done:
    """Count phenotypes and niches in each patient, and write the complete table of cells, results/cells.h5ad.

    Parameters
    ----------
    pseudocount
        Cells added to each category before the logarithm, so that an absent one has a ratio.
    cells_per_row
        Cells of each patient that are counted: "all"; "even", as many as the patients with fewest have; or a number.
    """
    from ..tl import composition

    table = analysis.cells()
    analysis.write_table(analysis.place(CELLS), table)
    row, findings = "patient", []
    if PATIENT_KEY not in table.obs:
        row = "sample"
        warn(
            "The cohort names no patients: each sample counts as one. If patients have several, tests take for "
            "independent what is not; name them in a clinical table (read.clinical) or in the cohort table."
        )
    for kind, column in KINDS.items():
        counted_cells = composition(
            table,
            column,
            library_key=SAMPLE_KEY,
            patient_key=PATIENT_KEY if PATIENT_KEY in table.obs else None,
            pseudocount=pseudocount,
            cells_per_row=cells_per_row,
            random_state=analysis.random_state,
        )
        analysis.write_table(analysis.place(name_of(kind)), counted_cells)
        fractions = counted_cells.to_df().round(5)
        analysis.write_csv(f"patients_{kind}", fractions.join(counted_cells.obs, rsuffix=" (column)"))
        analysis.write_figure(f"patients_{kind}", partial(_figure, counted_cells))
        findings.append(f"{counted(counted_cells.n_obs, row)} by {counted_cells.n_vars} {kind}")
    return Done(findings)


def name_of(kind: str) -> str:
    """File of the compositions."""
    return f"patients_{kind}.h5ad"


def _figure(compositions: AnnData) -> Figure:
    from ..pl import composition

    return composition(compositions, show=False, return_fig=True)


STAGE = Stage(
    name="patients",
    summary="from cells to one row per patient",
    example="spatialfm patients results",
    run=patients,
    clinical=lambda _: True,
    needs=("segment", "embed", "phenotype", "signatures", "niches"),
    seeded=True,
)
