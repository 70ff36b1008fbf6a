"""What a report is made of: the tables, images and keys, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._errors import ElementError, TableError, listed
from .._imputed import is_imputed
from .._keys import ARTIFACT_TOKENS, SAMPLES, TABLE, TILES, TOKENS, TRUTH, UNS
from ..pp.annotated import annotated_cells
from ..pp.arrays import image_array
from ..pp.elements import SampleElements, match_elements

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

MOST_VALUES = 100_000_000  # pixels times channels that are read unless samples are named
PHENOTYPES = ("phenotype", "cell_type", "celltype", "type", "leiden")  # columns that are taken where none is named
NICHES = ("niche", "niches")
_NOT_PATIENTS = (TABLE, SAMPLES, TILES, TOKENS, ARTIFACT_TOKENS, TRUTH)


@dataclass(frozen=True)
class ReportKeys:
    """Names of columns; those of phenotypes, niches and outcome are None where there is none."""

    library: str
    patient: str
    phenotype: str | None
    niche: str | None
    time: str | None
    event: str | None
    event_value: Any
    embeddings: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Checked input.

    Attributes
    ----------
    sdata
        None where a table was passed alone.
    cells
        Table of cells; None where there is none yet.
    samples
        One row per sample, with clinical columns.
    tables
        All tables that results may be in, by the name under which a reader finds them.
    pairs
        Images with their labels, in the order of samples; empty without images.
    looked_at
        Those of `pairs` whose pixels are read.
    """

    sdata: SpatialData | None
    cells: AnnData | None
    samples: pd.DataFrame
    tables: dict[str, AnnData]
    pairs: list[SampleElements]
    looked_at: list[SampleElements]
    keys: ReportKeys

    def records(self) -> Iterator[tuple[str, AnnData, str, Mapping[str, Any]]]:
        """Table, its AnnData, key in ``uns`` and what is there, of each dictionary that has parameters or tables."""
        for name, table in self.tables.items():
            for key, value in table.uns.items():
                if isinstance(value, Mapping) and key != UNS:
                    yield name, table, str(key), value
                elif isinstance(value, pd.DataFrame):  # as sfm.tl.score_signatures leaves its tables
                    yield name, table, str(key), {str(key): value, "params": table.uns.get("params", {})}

    @cached_property
    def annotated(self) -> tuple[np.ndarray, np.ndarray]:
        """Element and number of each cell, as `spatialfm.pp.annotated.annotated_cells` finds them and refuses."""
        return annotated_cells(self.cells, TABLE, self.sdata)

    @property
    def patients(self) -> dict[str, AnnData]:
        """Tables whose rows are patients or samples by phenotypes."""
        return {name: table for name, table in self.tables.items() if "composition" in table.uns}


def read_source(
    data: SpatialData | AnnData,
    *,
    samples: Sequence[str] | None,
    patients: AnnData | Mapping[str, AnnData] | None,
    keys: ReportKeys,
) -> Source:
    """Check the arguments and find what there is.

    Raises
    ------
    ElementError, TableError
        If a sample, column or embedding that was named is not there.
    """
    sdata = data if hasattr(data, "tables") else None
    cells = data if sdata is None else sdata.tables.get(TABLE)
    tables = {} if cells is None else {("cells" if sdata is None else TABLE): cells}
    if sdata is not None:
        tables |= {name: one for name, one in sdata.tables.items() if name not in _NOT_PATIENTS}
    given = patients if isinstance(patients, Mapping) else {} if patients is None else {"patients": patients}
    tables |= {f"{name} (passed)" if name in tables else str(name): one for name, one in given.items()}
    pairs, looked_at = _images(sdata, samples)
    return Source(sdata, cells, _samples(sdata, cells, keys, pairs), tables, pairs, looked_at, _usual_keys(cells, keys))


def _images(
    sdata: SpatialData | None, samples: Sequence[str] | None
) -> tuple[list[SampleElements], list[SampleElements]]:
    """All images, and those to look at: the named ones, or the first that are not too much to read."""
    if sdata is None or not sdata.images:
        if samples is not None:
            raise ElementError(f"samples={list(samples)!r} names images to look at, and there are none. Leave it out.")
        return [], []
    pairs = match_elements(sdata, need_labels=False)
    if samples is not None:
        known = {pair.sample: pair for pair in pairs}
        if unknown := [name for name in samples if name not in known]:
            raise ElementError(f"No image of sample {unknown[0]!r} (samples=); there are {listed(known)}.")
        return pairs, [known[name] for name in dict.fromkeys(samples)]
    sizes = np.cumsum([float(np.prod(image_array(sdata, pair.image).shape)) for pair in pairs])
    return pairs, [pair for pair, size in zip(pairs, sizes, strict=True) if size <= MOST_VALUES]


def _samples(sdata, cells: AnnData | None, keys: ReportKeys, pairs: Sequence[SampleElements]) -> pd.DataFrame:
    """One row per sample: the samples table, or what the cells say of theirs."""
    if sdata is not None and SAMPLES in sdata.tables:
        return sdata.tables[SAMPLES].obs
    if cells is not None and keys.library in cells.obs:
        names = pd.unique(cells.obs[keys.library].dropna().astype(str))
        frame = pd.DataFrame(index=pd.Index(names, name=None))
        if keys.patient in cells.obs:
            frame[keys.patient] = (
                cells.obs[[keys.library, keys.patient]]
                .dropna()  # as text, what is missing would be a patient called "nan"
                .astype(str)
                .drop_duplicates(keys.library)
                .set_index(keys.library)[keys.patient]
                .reindex(names)
            )
        return frame
    return pd.DataFrame(index=pd.Index([pair.sample for pair in pairs], dtype=object))


def _usual_keys(cells: AnnData | None, keys: ReportKeys) -> ReportKeys:
    """The keys that were named, if they are there, and otherwise those that are usual."""
    columns = [] if cells is None else list(cells.obs.columns)
    records = {} if cells is None else cells.uns.get(UNS, {})
    for argument, key in (("phenotype_key", keys.phenotype), ("niche_key", keys.niche)):
        if key is not None and key not in columns:
            raise TableError(f"No column {key!r} in obs of the cells ({argument}=); found {listed(columns, 30)}.")
    embeddings = keys.embeddings
    if embeddings:
        for key in embeddings:
            if cells is None or key not in cells.obsm:
                embedded = [] if cells is None else list(cells.obsm)
                raise ElementError(f"No embedding {key!r} in obsm (use_rep=); found {listed(embedded)}.")
    elif isinstance(records, Mapping) and cells is not None:
        of_cells = [key for key in records if key in cells.obsm and isinstance(records[key], Mapping)]
        embeddings = tuple(key for key in of_cells if not is_imputed(cells, key))
    phenotype = keys.phenotype or next((name for name in PHENOTYPES if _categories(cells, name)), None)
    niche = keys.niche or next((name for name in NICHES if _categories(cells, name)), None)
    return replace(keys, phenotype=phenotype, niche=niche, embeddings=embeddings)


def _categories(cells: AnnData | None, name: str) -> bool:
    return cells is not None and name in cells.obs and not pd.api.types.is_float_dtype(cells.obs[name].dtype)
