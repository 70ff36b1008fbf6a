"""``sfm.pp.segment_cells(method="virtues")``: cells and their phenotypes by a network with its own encoder.

The one part of segmentation that needs what embeddings are made with (markers, statistics, windows): it calls that
code, and has none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from spatialdata.models import TableModel

from .._errors import ArgumentError, ElementError
from .._keys import INSTANCE_KEY, REGION_KEY, SAMPLE_KEY, cell_name
from .._wording import within
from .segmenters import NETWORK

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ..embed.segment.call import FoundCells
    from .elements import SampleElements

PHENOTYPE = "phenotype"


def phenotype_table(key_added: str) -> str:
    """Name of the table of phenotypes of labels that were written under a key."""
    return f"{key_added}_phenotypes"


def check_arguments(given: Mapping[str, object]) -> None:
    """Refuse arguments of other methods.

    Parameters
    ----------
    given
        Arguments by name, with None for those that were left out.
    """
    for name in ("nuclear", "membrane"):
        if given.get(name) is not None:
            raise ArgumentError(
                f"{name}= belongs to other methods: VirTues sees all markers that it knows. Leave it out. "
                "options={'panel': {'markers': [...]}} chooses markers, and options={'nuclear': 'histone'} has a stain "
                "of DNA count as one of nuclei."
            )


def check_table(sdata: SpatialData, key_added: str, names: Sequence[str], overwrite: bool) -> None:
    """Refuse to write over another table than the one that an earlier call made of these labels.

    Raises
    ------
    ElementError
        If a table of that name is there and may not be replaced, or annotates other labels too.
    """
    table = phenotype_table(key_added)
    for kind in ("images", "labels", "shapes", "points"):
        if table in getattr(sdata, kind):
            raise ElementError(
                f"Phenotypes cannot be written as table {table!r}: sdata.{kind} holds an element of that name. Pass "
                "another key_added=."
            )
    if table not in sdata.tables:
        return
    region = sdata.tables[table].uns.get(TableModel.ATTRS_KEY, {}).get("region", [])
    others = sorted(set(np.atleast_1d(region).astype(str)) - set(names))
    if others or not overwrite:
        reason = f"annotates {others[0]!r} besides" if others else "is there already"
        raise ElementError(
            f"Table {table!r} {reason}, and holds phenotypes of cells. Pass key_added=<another name>"
            + ("." if others else ", or overwrite=True to replace labels and table.")
        )


@dataclass(frozen=True)
class SegmentArguments:
    """Arguments of a call, as the user gave them; `overlap` in µm is settled."""

    weights: str | PathLike | None
    options: Mapping[str, Any]
    mpp: float | Mapping[str, float] | None
    tile_size: int
    overlap: float
    min_area: float | None


def find_cells(
    sdata: SpatialData, pairs: Sequence[SampleElements], options: SegmentArguments
) -> tuple[list[FoundCells], list[dict[str, object]], tuple[str, ...]]:
    """Cells of each image, the record of each, and the phenotypes that a cell can have."""
    from ..embed.segment.call import OPTION_FIELDS, open_network, plan_images, record_of, run_images

    with within(OPTION_FIELDS):
        network = open_network(options.weights, options.options, options.mpp)
        # of the network in its pixels, which are 1 µm
        area = float(network.segmenter.smallest) if options.min_area is None else options.min_area
        inputs, jobs = plan_images(sdata, pairs, network, options.tile_size, options.overlap, area)
        cells_of_images = run_images(network, inputs, jobs)
    common = record_of(network, inputs)
    records: list[dict[str, object]] = [
        {
            "method": NETWORK,
            "image": job.image,
            "channels": job.channels,
            "min_area_um2": round(job.min_area * job.mpp**2, 6),
            "mpp": inputs.notes["mpp_image"][job.sample],
            "mpp_network": job.mpp,
            "tile_size": job.grid.side,
            "overlap_um": 2 * job.grid.margin * job.mpp,
            "n_cells": cells.n,
            **common,
        }
        for job, cells in zip(jobs, cells_of_images, strict=True)
    ]
    return cells_of_images, records, network.segmenter.answers


def forget_phenotypes(sdata: SpatialData, key_added: str) -> None:
    """Remove the table of an earlier call, whose cells are replaced."""
    if phenotype_table(key_added) in sdata.tables:
        del sdata.tables[phenotype_table(key_added)]


def write_phenotypes(
    sdata: SpatialData,
    key_added: str,
    samples: Sequence[str],
    names: Sequence[str],
    cells_of_images: Sequence[FoundCells],
    answers: Sequence[str],
) -> None:
    """Write the table of phenotypes, one row per cell; none where the head has no phenotypes, or no cell was found."""
    with_any = [
        (sample, name, cells.phenotypes)
        for sample, name, cells in zip(samples, names, cells_of_images, strict=True)
        if cells.phenotypes is not None and cells.n
    ]
    if not with_any:
        return
    frames, probabilities = [], []
    for sample, name, of_cells in with_any:
        n = len(of_cells.best)
        rows, ids = np.arange(n), np.arange(1, n + 1)
        total = np.maximum(of_cells.pixels.sum(axis=1), 1)
        frames.append(
            pd.DataFrame(
                {
                    REGION_KEY: name,
                    INSTANCE_KEY: ids,
                    SAMPLE_KEY: sample,
                    PHENOTYPE: pd.Categorical.from_codes(of_cells.best, categories=list(answers)),
                    f"{PHENOTYPE}_probability": of_cells.probability[rows, of_cells.best].astype(np.float32),
                    f"{PHENOTYPE}_share": (of_cells.pixels[rows, of_cells.best] / total).astype(np.float32),
                    f"{PHENOTYPE}_unknown": of_cells.unknown.astype(np.float32),
                },
                index=[cell_name(sample, int(one)) for one in ids],
            )
        )
        probabilities.append(of_cells.probability.astype(np.float32))
    obs = pd.concat(frames)
    for column in (REGION_KEY, SAMPLE_KEY):
        obs[column] = pd.Categorical(obs[column], categories=pd.unique(obs[column]))
    adata = AnnData(np.concatenate(probabilities), obs=obs, var=pd.DataFrame(index=pd.Index(list(answers))))
    sdata.tables[phenotype_table(key_added)] = TableModel.parse(
        adata, region=[name for _, name, _ in with_any], region_key=REGION_KEY, instance_key=INSTANCE_KEY
    )
