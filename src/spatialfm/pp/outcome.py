"""``sfm.pp.set_outcome``: says once which columns hold time and event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anndata import AnnData

from .._errors import SurvivalError, listed
from .._keys import SAMPLES, TABLE
from .._outcome import EventValue, checked_outcome, remember_outcome
from .._public import public

if TYPE_CHECKING:
    from spatialdata import SpatialData


@public
def set_outcome(adata: AnnData | SpatialData, *, time_key: str, event_key: str, event_value: EventValue = None) -> None:
    """Set the columns of time and event once, for all survival functions.

    What is made of the table remembers it, too: tables of cells (:func:`spatialfm.pp.cell_table`) and of patients
    (:func:`spatialfm.tl.composition`). Survival functions take what is remembered where `time_key` and `event_key` are
    not given, and their records state so in ``params["outcome_from"]``; what is given is taken.

    Parameters
    ----------
    adata
        Cells, samples or patients. Of a SpatialData, its tables ``"samples"`` and ``"table"`` where they have both
        columns.
    time_key
        Column of ``obs``: time to event or censoring, from 0 on.
    event_key
        Column of ``obs``: whether the event was seen (1) or not (0).
    event_value
        Value of `event_key` that means the event, or several, where it does not hold 0 and 1; all others are censored.

    Returns
    -------
    None. Writes the names into ``uns["spatialfm"]["outcome"]``, in place of earlier ones.

    Raises
    ------
    SurvivalError
        If a column is absent or holds no times or no events; missing values are allowed. Nothing is written then.

    Notes
    -----
    ``anndata.concat`` drops ``uns``, and with it what was said here: survival functions then look for columns called
    ``"time"`` and ``"event"`` again. Pass it ``uns_merge="same"``, or call this function on what it returns.

    Examples
    --------
    >>> import anndata as ad, pandas as pd, spatialfm as sfm
    >>> obs = pd.DataFrame({"os": [2, 4, 6, 8], "status": ["dead", "dead", "alive", "dead"]}, index=list("abcd"))
    >>> patients = ad.AnnData(obs=obs)
    >>> sfm.pp.set_outcome(patients, time_key="os", event_key="status", event_value="dead")
    >>> sfm.tl.kaplan_meier(patients)
    >>> patients.uns["kaplan_meier"]["table"]["survival"].round(2).tolist()
    [1.0, 0.75, 0.5, 0.5, 0.0]
    """
    tables = tables_with(adata, (time_key, event_key))
    checked = [
        (table, checked_outcome(table.obs, time_key, event_key, event_value, "sfm.pp.set_outcome")) for table in tables
    ]
    for table, outcome in checked:
        if outcome is not None:
            remember_outcome(table, outcome)


def tables_with(adata: AnnData | SpatialData, columns: tuple[str, ...]) -> list[AnnData]:
    """The AnnData, or the tables of samples and cells of a SpatialData that have the columns.

    Raises
    ------
    SurvivalError
        If no table of a SpatialData has them.
    """
    if isinstance(adata, AnnData):
        return [adata]
    named = {name: adata.tables[name] for name in (SAMPLES, TABLE) if name in adata.tables}
    tables = [table for table in named.values() if set(columns) <= set(table.obs)]
    if not tables:
        columns_of = {name: listed(table.obs.columns, 12) for name, table in named.items()}
        raise SurvivalError(
            f"No table of sdata has the columns {listed(columns)}; there are "
            f"{'; '.join(f'{name!r} with {text}' for name, text in columns_of.items()) or 'none'}. Join them first "
            "with sfm.pp.add_clinical(sdata, table, on=...)."
        )
    return tables
