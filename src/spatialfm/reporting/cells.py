"""Sections on phenotypes and niches of cells, with example cells cut out of the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import counted
from .._fingerprint import changed_since
from .._keys import SPATIAL
from .._storable import named_table
from ..cohort.batches import STANDARDIZE, batch_sentences, of_cells
from ..pl import cells as draw_cells
from ..pl._points import points as draw_points
from .elements import Html, Section, note, table, tag
from .examples import example_cells
from .figures import drawn, heatmap
from .source import Source
from .summaries import as_text, marker_means, sizes

if TYPE_CHECKING:
    from anndata import AnnData

LIMIT = 2.0  # standard deviations, and powers of 2, at which colours of heatmaps end


def phenotypes_section(source: Source) -> Section:
    """Cells of each phenotype, their markers, where they are, and what they look like."""
    key, title = source.keys.phenotype, "Phenotypes"
    if source.cells is None or key is None:
        text = "No column of phenotypes is there. phenotype_key= names one."
        return Section("phenotypes", title, [note(text, kind="absent")])
    body: list[Html] = [tag("p", "Phenotypes are those of ", tag("code", f"obs[{key!r}]"), ".")]
    body += _missing(source.cells, key)
    body += [
        note(sentence, kind="caution")
        for sentence in batch_sentences(
            "Shares of phenotypes", *of_cells(source.cells, source.cells.obs[key], source.keys.patient), STANDARDIZE
        )
    ]
    body.append(table(sizes(source, key), "Cells of each phenotype.", index="phenotype"))
    means, scores = marker_means(source.cells, key)
    body += _markers(means, scores)
    body += _map(source, key)
    body += example_cells(source, key, scores)
    return Section("phenotypes", title, body)


def niches_section(source: Source) -> Section:
    """Cells of each niche, and which phenotypes these are."""
    key, title = source.keys.niche, "Niches"
    if source.cells is None or key is None:
        return Section("niches", title, [note("No column of niches is there. niche_key= names one.", kind="absent")])
    body: list[Html] = [tag("p", "Niches are those of ", tag("code", f"obs[{key!r}]"), ".")]
    body += _missing(source.cells, key)
    body.append(table(sizes(source, key), "Cells of each niche.", index="niche"))
    body += _inside(source, key)
    body += _map(source, key)
    return Section("niches", title, body)


def _missing(cells: AnnData, key: str) -> list[Html]:
    n = int(cells.obs[key].isna().sum())
    return [note(f"{counted(n, 'cell')} of {cells.n_obs:,} have none.", kind="caution")] if n else []


def _markers(means: pd.DataFrame, scores: pd.DataFrame) -> list[Html]:
    if not scores.shape[1]:
        return [note("The cells have no values of markers (X).", kind="absent")]
    label = "standard deviations\nabove all cells"
    figure = drawn(
        lambda: heatmap(scores, label, LIMIT),
        alt=f"Heatmap of {counted(len(scores), 'phenotype')} by {counted(scores.shape[1], 'marker')}.",
        caption="Mean of each marker (X) in each phenotype, in standard deviations of all cells above their mean. "
        "Grey: not measured, or the same in all cells.",
    )
    return [figure, table(means, "Mean of each marker (X) in each phenotype, in its units.", index="phenotype")]


def _map(source: Source, key: str) -> list[Html]:
    """Where the cells of one sample are."""
    samples = [pair.sample for pair in source.looked_at if pair.labels is not None]
    if not samples:
        return _points(source, key) if source.sdata is None or not source.sdata.images else []
    figure = drawn(
        lambda: draw_cells(source.sdata, samples[0], color=key, show=False, return_fig=True),
        alt=f"Map of the cells of sample {samples[0]}, coloured by {key}.",
        caption=f"Cells of sample {samples[0]}, the first of {len(source.pairs):,}, coloured by {key}.",
    )
    return [figure]


def _points(source: Source, key: str) -> list[Html]:
    """The same of cells without images."""
    cells, library = source.cells, source.keys.library
    if library not in cells.obs or SPATIAL not in cells.obsm:
        return []
    sample = str(cells.obs[library].astype(str).value_counts().idxmax())
    figure = drawn(
        lambda: draw_points(cells, sample, key, library_key=library),
        alt=f"Positions of the cells of sample {sample}, coloured by {key}.",
        caption=f"Positions of the cells of sample {sample}, which has most, coloured by {key}.",
    )
    return [figure]


def _inside(source: Source, key: str) -> list[Html]:
    """Composition of the niches: what tl.niches wrote, and the phenotypes of the cells in them."""
    body, cells = [], source.cells
    record = cells.uns.get(key)
    if isinstance(record, Mapping) and isinstance(record.get("enrichment"), pd.DataFrame):
        rep = str(record.get("params", {}).get("use_rep", ""))
        body.append(
            _enrichment(
                named_table(cells, key, "enrichment"), f"Enrichment of {rep} in each niche, as tl.niches wrote it"
            )
        )
        if (change := changed_since(cells, record, key, "niches")) is not None:
            body.append(note(f"Out of date: {change}", kind="caution"))
        composition = named_table(cells, key, "composition")
        body.append(table(composition, f"Mean of {rep} in each niche.", index="niche"))
    phenotype = source.keys.phenotype
    if phenotype is not None and phenotype != key:
        shares = pd.crosstab(as_text(cells.obs[key]), as_text(cells.obs[phenotype]), normalize="index")
        overall = as_text(cells.obs[phenotype]).value_counts(normalize=True, sort=False)
        with np.errstate(divide="ignore"):
            ratio = np.log2(shares / overall.reindex(shares.columns))
        text = f"Share of each {phenotype} among the cells of a niche, over its share of all cells"
        body.append(_enrichment(ratio.replace(-np.inf, -99.0), text))
        body.append(table(shares, f"Share of each {phenotype} among the cells of each niche.", index="niche"))
    return body


def _enrichment(values: pd.DataFrame, text: str) -> Html:
    return drawn(
        lambda: heatmap(values, "log2 of the ratio", LIMIT),
        alt=f"Heatmap of {counted(len(values), 'niche')} by {counted(values.shape[1], 'type')}.",
        caption=f"{text}: 0 is as usual, 1 twice as much. An arrow on the bar: beyond its end.",
    )
