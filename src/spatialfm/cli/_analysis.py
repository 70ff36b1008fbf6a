"""An analysis in its folder of results: what stages read of each other, and how they write.

Each stage writes files of its own and changes none of another's, so that an interrupted or repeated one leaves the
others as they were. Of a cell, a stage writes what it adds: columns of ``obs``, arrays of ``obsm`` and the records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _disk
from .._errors import InputFileError, RunError, SpatialfmError
from .._keys import SAMPLES, TABLE
from ._but_clinical import add_clinical
from ._config import Config

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.figure import Figure
    from spatialdata import SpatialData

    from ._stage import Stage

STORE, MASKS = "cohort.zarr", "masks.zarr"
CELLS = "cells.h5ad"
STAGES, TABLES, FIGURES = "stages", "tables", "figures"
FORMATS = (".png", ".pdf", ".svg")
DPI = 200
LAYERS = ("segment", "embed", "phenotype", "signatures", "niches")  # stages that add to cells, in their order


class Analysis:
    """One analysis.

    Parameters
    ----------
    config, stages
        Its settings, and all stages by name.
    """

    def __init__(self, config: Config, stages: Mapping[str, Stage]) -> None:
        self.config, self.stages, self.out = config, stages, config.out
        self.files: list[str] = []
        self.redo: set[str] = set()  # stages of which nothing is to stay
        self.stamps: dict[str, dict[str, Any]] = {}  # of the files that the present stage reads

    def settings(self, name: str) -> dict[str, Any]:
        """Settings of a stage."""
        return self.config.of(self.stages[name])

    @property
    def random_state(self) -> int:
        """Seed."""
        return self.config.random_state

    def place(self, *parts: str) -> Path:
        """Where a file belongs that is being written now; it counts as written by the present stage."""
        name = "/".join(parts)
        if name not in self.files:
            self.files.append(name)
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    # -------------------------------------------------------------------------------------------------------- images

    def images(self, *, masks_made_here: bool = True) -> SpatialData:
        """Images and masks, lazily; masks that were made here included, unless they are to be made anew."""
        import spatialdata as sd

        sdata = sd.read_zarr(self.out / STORE)
        if masks_made_here and (self.out / MASKS).exists():
            masks = sd.read_zarr(self.out / MASKS)
            for name, element in masks.labels.items():
                sdata.labels[name] = element
            sdata.attrs.update(masks.attrs)
        return sdata

    def whole(self, upto: str = LAYERS[-1]) -> SpatialData:
        """Images, masks and cells."""
        sdata = self.images()
        sdata[TABLE] = self.cells(upto)
        return sdata

    # --------------------------------------------------------------------------------------------------------- cells

    def cells(self, upto: str = LAYERS[-1], *, embedding: bool = True) -> AnnData:
        """The table of cells with all that stages up to one have added.

        Parameters
        ----------
        embedding
            Whether the embedding is wanted, which may be large.
        """
        import anndata as ad

        table = ad.read_h5ad(self._layer(LAYERS[0]))
        samples = self.out / STORE / "tables" / SAMPLES
        if samples.exists() and not (self.out / STORE / "tables" / TABLE).exists():  # cells were measured, not read
            add_clinical(table, ad.read_zarr(samples).obs)
        for stage in LAYERS[1 : LAYERS.index(upto) + 1]:
            if stage == "embed" and not embedding:
                continue
            added = ad.read_h5ad(self._layer(stage))
            if not added.obs_names.equals(table.obs_names):
                raise SpatialfmError(
                    f"'{self._layer(stage)}' holds other cells than '{self._layer(LAYERS[0])}'. Pass --redo {stage}."
                )
            for name in added.obs:
                table.obs[name] = added.obs[name]
            for name in added.obsm:
                table.obsm[name] = added.obsm[name]
            _update(table.uns, added.uns)
        if (attrs := table.uns.get("spatialdata_attrs")) is not None:  # a list, which files do not keep
            attrs["region"] = [str(name) for name in np.atleast_1d(attrs["region"])]
        return table

    def add_to_cells(self, stage: str, table: AnnData, before: EarlierNames) -> None:
        """Write what a stage has added to the table; it must not change what was there, which stays as it is."""
        import anndata as ad

        if changed := [name for name, values in before.obs.items() if not table.obs[name].equals(values)]:
            raise RunError(f"Stage {stage!r} has changed column {changed[0]!r} of the cells. Rename it in the files.")
        added = ad.AnnData(obs=table.obs[[name for name in table.obs if name not in before.obs]])
        for name in table.obsm:
            if name not in before.obsm:
                added.obsm[name] = table.obsm[name]
        for name, value in table.uns.items():
            added.uns[name] = value
        self.write_table(self.place(STAGES, f"{stage}.h5ad"), added)

    def _layer(self, stage: str) -> Path:
        path = self.out / STAGES / f"{stage}.h5ad"
        if not path.exists():
            raise InputFileError(f"'{path}' is not there: stage {stage!r} makes it.")
        return path

    # ------------------------------------------------------------------------------------------------------- writing

    def write_table(self, path: Path, table: AnnData) -> None:
        """An AnnData, put in place whole."""
        with _disk.written_beside(path) as partial:
            table.write_h5ad(partial)

    def write_csv(self, name: str, frame: pd.DataFrame, *, index: bool = True) -> None:
        """A table that spreadsheets open, put in place whole."""
        path = self.place(TABLES, f"{name}.csv")
        with _disk.written_beside(path) as partial:
            frame.to_csv(partial, index=index, encoding="utf-8-sig")  # with the mark by which Excel knows UTF-8

    def write_figure(self, name: str, draw: Callable[[], Figure]) -> None:
        """A figure in each of `FORMATS`, without a screen."""
        import matplotlib as mpl
        import matplotlib.pyplot as plt

        from ..pl import style

        with style(), mpl.rc_context({"svg.hashsalt": name}):
            figure = draw()
            for suffix in FORMATS:
                with _disk.written_beside(self.place(FIGURES, name + suffix)) as partial:
                    figure.savefig(partial, format=suffix[1:], dpi=DPI, bbox_inches="tight", metadata=_undated(suffix))
            plt.close(figure)


class EarlierNames:
    """Names in a table of cells before a stage adds its own."""

    def __init__(self, table: AnnData) -> None:
        self.obs = {name: table.obs[name].copy() for name in table.obs}
        self.obsm = set(table.obsm)


def _undated(suffix: str) -> dict[str, None]:
    """No date in the file: the same figure is the same file."""
    return {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix, {})


def _update(uns: Any, added: Any) -> None:
    for name, value in added.items():
        if isinstance(value, dict) and isinstance(uns.get(name), dict):
            _update(uns[name], value)
        else:
            uns[name] = value
