"""``spatialfm niches``: cells grouped by who is around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from .._errors import counted
from .._keys import SAMPLE_KEY
from .._ranges import above
from ._analysis import Analysis, EarlierNames
from ._config import Draft
from ._stage import Done, Stage
from .phenotype import PHENOTYPE, example

if TYPE_CHECKING:
    import pandas as pd

NICHE = "niche"


def niches(
    analysis: Analysis,
    *,
    radius: Annotated[float, above(0)] | None = 20.0,
    n_neighbors: int | None = None,
    include_self: bool = True,
    n_niches: int = 6,
) -> Done:
    """Group cells by the phenotypes in their neighborhood, with one set of niches for all samples.

    Parameters
    ----------
    radius
        Neighbours of a cell are those within this distance, in µm. 20: the cells that it can touch, and theirs.
    n_neighbors
        So many nearest cells instead; then set radius to null.
    include_self
        Whether a cell counts to its own neighborhood.
    n_niches
        Niches.
    """
    from .. import tl

    table = analysis.cells("phenotype", embedding=False)
    before = EarlierNames(table)
    tl.neighborhood_composition(
        table, PHENOTYPE, library_key=SAMPLE_KEY, radius=radius, n_neighbors=n_neighbors, include_self=include_self
    )
    tl.niches(table, n_niches, random_state=analysis.random_state)
    analysis.add_to_cells("niches", table, before)
    record = table.uns[NICHE]
    analysis.write_csv("niches_composition", record["composition"].round(4))
    analysis.write_csv("niches_enrichment", record["enrichment"].round(3))
    analysis.write_figure("niches_example", lambda: example(analysis, table, NICHE))
    rows = described(record["enrichment"], table.obs[NICHE])
    return Done(
        [f"{counted(len(rows), 'niche')}:"] + [f"  {name}: {cells:,} cells, {what}" for name, cells, what in rows]
    )


def described(enrichment: pd.DataFrame, niche_of_cells: pd.Series) -> list[tuple[str, int, str]]:
    """Each niche with its cells and the phenotypes that are most enriched in it."""
    rows, sizes = [], niche_of_cells.value_counts()
    for name, row in enrichment.astype(float).iterrows():
        top = row.sort_values(ascending=False)[:2]
        what = ", ".join(f"{2**value:.1f} times {phenotype}" for phenotype, value in top.items() if value > 0)
        rows.append((str(name), int(sizes[name]), what or "as everywhere"))
    return rows


def _check(draft: Draft) -> None:
    settings = draft.settings("niches")
    if (settings["radius"] is None) == (settings["n_neighbors"] is None):
        draft.problem(("niches", "radius"), "set one of radius and n_neighbors, and the other to null.")


STAGE = Stage(
    name="niches",
    summary="cells grouped by who is around them",
    example="spatialfm niches results --n-niches 8",
    run=niches,
    needs=("segment", "phenotype"),
    patients=True,
    seeded=True,
    check=_check,
)
