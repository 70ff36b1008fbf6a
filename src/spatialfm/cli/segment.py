"""``spatialfm segment``: masks where there are none, and every cell measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from .. import _disk
from .._errors import SpatialfmError, counted, listed, warn
from .._identity import fingerprint
from .._keys import ATTRS, SAMPLE_KEY, SAMPLES, SEGMENTATION, TABLE, cells_name, image_name
from .._version import version_of
from ._analysis import MASKS, STAGES, STORE, Analysis
from ._but_clinical import SET_ASIDE, drop_clinical, set_aside
from ._config import Draft, named_markers
from ._kept import Elements, Ledger, heard
from ._stage import Done, Stage, options_of
from ._state import version
from ._without_images import NO_IMAGES, PHENOTYPE, is_table_only, said_for_images
from .read import channels_of, has_cells, samples_of

if TYPE_CHECKING:
    import dask.array as da
    import pandas as pd
    from anndata import AnnData
    from spatialdata import SpatialData

PHENOTYPES = "cells_phenotypes"  # table that sfm.pp.segment_cells(method="virtues") writes
MEASUREMENT = ("on_pieces", "on_giants", "on_missing")  # settings of the cells, not of the segmentation
ELSEWHERE = ("method", "samples", "key_added", "overwrite", "image")
LIBRARIES = ("numpy", "scipy", "scikit-image", "numba", "torch", "instanseg-torch", "cellpose")  # that segment


def segment(
    analysis: Analysis,
    *,
    method: str | None = None,
    on_pieces: Literal["raise", "split", "keep"] = "raise",
    on_giants: Literal["raise", "keep"] = "raise",
    on_missing: Literal["raise", "drop"] = "raise",
    **settings: Any,
) -> Done:
    """Segment the samples that came without a mask, check all masks, and measure every cell.

    Masks that came with the images are used as they are. Phenotypes that method virtues gives to cells are kept in
    columns that begin with virtues_phenotype, and a column phenotype that came with the cells, such as the classes of
    QuPath, as phenotype_given. A cohort that is a table of cells, without images, is taken as it is.

    Parameters
    ----------
    method
        How samples without mask are segmented, as in sfm.pp.segment_cells, such as watershed. Default: not at all;
        they are refused by name.
    on_pieces
        What becomes of numbers that are used for several cells: "raise", "split" or "keep".
    on_giants
        What becomes of cells as large as a background that is not 0: "raise" or "keep".
    on_missing
        What becomes of cells without a pixel in the image: "raise" or "drop". Samples without a cell are named and
        left out.
    """
    from ..pp import cell_table, check_labels

    sdata = analysis.images(masks_made_here=False)
    without = samples_without_mask(sdata)
    findings = []
    if is_table_only(sdata) or not without:  # of an earlier run: samples may have got masks of their own since
        _disk.discard(analysis.out / MASKS)
    if is_table_only(sdata):
        findings.append(f"{NO_IMAGES}: nothing is segmented")
    elif without and TABLE not in sdata.tables:
        if method is None:
            raise SpatialfmError(without_method(without))
        findings += _segment(analysis, sdata, without, method, settings)
    else:
        findings.append("every sample has a mask: nothing to segment")
    with_cells = None
    if not is_table_only(sdata):
        checked = check_labels(sdata)
        analysis.write_csv("masks", checked)
        with_cells = samples_with_cells(checked)
    if is_measured := TABLE not in sdata.tables:  # a reader may bring the measurements of another program
        cell_table(sdata, samples=with_cells, on_pieces=on_pieces, on_giants=on_giants, on_missing=on_missing)
    table = sdata[TABLE]
    findings += _set_aside(table)
    findings += _add_phenotypes(sdata, table)
    if is_measured and SAMPLES in sdata.tables:
        drop_clinical(table, sdata[SAMPLES].obs)
    analysis.write_table(analysis.place(STAGES, "segment.h5ad"), table)
    n_samples = counted(table.obs[SAMPLE_KEY].nunique(), "sample")
    findings.append(f"{table.n_obs:,} cells in {n_samples}, {counted(table.n_vars, 'marker')} measured")
    return Done(findings)


def samples_without_mask(sdata: SpatialData) -> list[str]:
    """Samples whose image has neither a mask nor polygons of the cells."""
    return [sample for sample in samples_of(sdata) if not has_cells(sdata, sample)]


def samples_with_cells(checked: pd.DataFrame) -> list[str] | None:
    """Samples that have a cell, where others, which are named, have none; None where all are alike.

    Parameters
    ----------
    checked
        As `spatialfm.pp.check_labels` returns it.
    """
    n_cells = checked.groupby("sample", sort=False)["n_cells"].max()
    empty = list(map(str, n_cells.index[n_cells == 0]))
    if not empty or len(empty) == len(n_cells):
        return None
    warn(
        f"{counted(len(empty), 'sample has a mask', 'samples have masks')} without a cell, and so no row in the table "
        f"of cells: {listed(empty)}."
    )
    return [str(name) for name in n_cells.index if str(name) not in empty]


def samples_of_one_number(sdata: SpatialData) -> list[str]:
    """Samples whose mask has one number for what cannot be one cell; most masks are told by their first block."""
    from ..pp import check_labels
    from ..pp.arrays import labels_array

    names = {sample: cells_name(sample) for sample in samples_of(sdata)}
    alike = [
        sample
        for sample, name in names.items()
        if name in sdata.labels and _is_of_one_number(labels_array(sdata, name).data)
    ]
    if not alike:
        return []
    findings = check_labels(sdata, samples=alike)
    wrong = findings[findings["finding"].isin(["binary", "repeated"]) & (findings["severity"] == "error")]
    return [sample for sample in alike if sample in set(wrong["sample"].astype(str))]


def _is_of_one_number(labels: da.Array) -> bool:
    """Whether there is one number besides 0."""
    seen: set[int] = set()
    for block in labels.to_delayed().ravel():
        pixels = np.asarray(block.compute())
        pixels = pixels[pixels != 0]
        if pixels.size:
            seen |= {int(pixels.min()), int(pixels.max())}
        if len(seen) > 1:
            return False
    return bool(seen)


def _of_one_number(samples: Sequence[str]) -> str:
    """What to do about masks that mark where cells are."""
    return (
        f"the mask of {counted(len(samples), 'sample')} has one number besides 0: {listed(samples, 6)}. It marks where "
        "cells are, not which pixel is whose. Name the masks in which each cell has a number of its own; where each "
        "has a colour of its own, the coloured picture with 'labels_encoding: rgb' below 'read:'. If there are none, "
        "have cells segmented: 'labels_column: null' below 'read:', and 'method: watershed' with 'nuclear: <marker>' "
        "below 'segment:'. 'on_pieces: split' below 'segment:' makes each part a cell, where cells that touch become "
        "one; 'on_pieces: keep' takes all of a number as one cell, if a sample has a single one."
    )


def _set_aside(table: AnnData) -> list[str]:
    """Give columns that came with the cells, and that later stages write, a name of their own."""
    given = {name: set_aside(name) for name in SET_ASIDE if name in table.obs}
    table.obs = table.obs.rename(columns=given)
    findings = [f"column {old!r} that came with the cells is called {new!r}" for old, new in given.items()]
    if PHENOTYPE in given and table.n_vars:  # without markers there is nothing else that could name them
        findings[-1] += "; 'label_key: phenotype_given' below 'phenotype:' in the settings takes it for the phenotypes"
    return findings


def _add_phenotypes(sdata: SpatialData, table: AnnData) -> list[str]:
    """Add to the cells what the network that drew them says of them; cells of masks that came along have none."""
    if PHENOTYPES not in sdata.tables:
        return []
    said = sdata.tables[PHENOTYPES].obs
    for name in said:
        if name.startswith("phenotype"):
            table.obs[f"virtues_{name}"] = said[name].reindex(table.obs_names)
    counts = table.obs["virtues_phenotype"].value_counts()
    named = ", ".join(f"{name} {n:,}" for name, n in counts.items() if n)
    return [f"phenotypes by VirTues, in column 'virtues_phenotype': {named}"]


def _segment(
    analysis: Analysis, sdata: SpatialData, samples: list[str], method: str, settings: Mapping[str, Any]
) -> list[str]:
    """Segment samples, but for those whose mask is there as it would be made, and write all masks; what was done."""
    from ..pp import segment_cells

    findings, ledger = [], Ledger(analysis, "segment", MASKS)
    elements = _masks_of(analysis, sdata, samples, method, settings)
    same = ledger.same(elements) if "segment" not in analysis.redo else set()
    new = [sample for sample in samples if cells_name(sample) not in same]
    records = _take_masks(analysis, sdata, same) if same else {}
    said = {name: ledger.said_of(name) for name in same}
    for text in sorted({text for texts in said.values() for text in texts}):
        warn(text)
    if new:
        with heard() as texts:
            segment_cells(sdata, samples=new, method=cast(Any, method), **settings)  # refused there if unknown
        said |= {cells_name(one): [text for text in texts if repr(image_name(one)) in text] for one in new}
        names = listed(new, 6, quoted=False)
        findings.append(f"segmented by {method!r}: {counted(len(new), 'sample')} ({names})")
    _put_records(sdata, records, samples)
    ledger.only(same)
    _write_masks(analysis, sdata, samples)
    ledger.write(elements, said=said)
    if same:
        findings.append(f"segmented before by {method!r}, and left as they were: {counted(len(same), 'sample')}")
    return findings


def _masks_of(
    analysis: Analysis, sdata: SpatialData, samples: list[str], method: str, settings: Mapping[str, Any]
) -> Elements:
    """What decides the mask of each sample; none of methods that look at more than one image."""
    from ..pp.segmenters import NETWORK, file_digest, segmenting_device

    if method == NETWORK:
        return {}
    ledger = Ledger(analysis, "read", STORE)
    images = {sample: ledger.made_of(image_name(sample)) for sample in samples}
    weights = settings.get("weights")
    shared = {
        "version": [version(), [version_of(name) for name in LIBRARIES]],
        "settings": [method, dict(settings)],
        "weights": [file_digest(path) for path in _files_of(weights)],
        "device": "" if method == "watershed" else segmenting_device(),
    }
    return {cells_name(sample): fingerprint({**shared, "image": image}) for sample, image in images.items() if image}


def _files_of(weights: str | None) -> list[Path]:
    if weights is None:
        return []
    path = Path(weights).expanduser()
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _take_masks(analysis: Analysis, sdata: SpatialData, names: set[str]) -> dict[str, Any]:
    """Take masks of an earlier run, lazily; how each was made, as it was recorded."""
    import spatialdata as sd

    masks = sd.read_zarr(analysis.out / MASKS)
    for name in names:
        sdata.labels[name] = masks.labels[name]
    return {name: masks.attrs[ATTRS][SEGMENTATION][name] for name in names}


def _put_records(sdata: SpatialData, records: Mapping[str, Any], samples: Sequence[str]) -> None:
    """Records of all masks in the order of the samples, as when all are made at once."""
    attrs = dict(sdata.attrs.get(ATTRS, {}))
    known = {**attrs.get(SEGMENTATION, {}), **records}
    attrs[SEGMENTATION] = {name: known[name] for name in map(cells_name, samples)}
    sdata.attrs[ATTRS] = attrs


def _write_masks(analysis: Analysis, sdata: SpatialData, samples: list[str]) -> None:
    import spatialdata as sd

    from ..io import write

    masks = sd.SpatialData(labels={name: sdata.labels[name] for name in map(cells_name, samples)}, attrs=sdata.attrs)
    write(masks, analysis.place(MASKS), overwrite=True)


def without_method(without: list[str]) -> str:
    """What to do about samples without mask."""
    return (
        f"{counted(len(without), 'sample')} without mask: {listed(without, 6)}. Name masks in the column 'labels' of "
        "the cohort table, or have cells segmented, with 'method: watershed' below 'segment:' in the settings, or with "
        "'spatialfm segment results --method watershed'."
    )


def _borrowed(given: Mapping[str, Any]) -> tuple[Callable, tuple[str, ...]]:
    from ..pp import segment_cells

    return segment_cells, ELSEWHERE


def _check(draft: Draft) -> None:
    from ..pp import segment_cells
    from ..pp.segmenters import NETWORK

    method = draft.settings("segment")["method"]
    if method is not None and (problem := options_of(segment_cells)["method"].problem(method)):
        draft.problem(("segment", "method"), problem)
    if method == NETWORK and draft.settings("segment")["on_pieces"] == "split":
        draft.problem(
            ("segment", "on_pieces"), "'split' numbers cells anew, and the phenotypes of VirTues are by number"
        )


def _before(settings: Mapping[str, Any], sdata: SpatialData) -> list[str]:
    if is_table_only(sdata):
        return said_for_images("segment", settings, STAGE.settings({}))
    problems, channels = [], channels_of(sdata)
    if settings["on_pieces"] == "raise" and (alike := samples_of_one_number(sdata)):
        problems.append(f"segment: {_of_one_number(alike)}")
    if settings["method"] is None and TABLE not in sdata.tables and (without := samples_without_mask(sdata)):
        problems.append(f"segment.method: {without_method(without)}")
    for key in ("nuclear", "membrane"):
        names = settings.get(key) or ()
        problems += named_markers(f"segment.{key}", [names] if isinstance(names, str) else names, channels)
    return problems


STAGE = Stage(
    name="segment",
    summary="masks where there are none; every cell measured",
    example="spatialfm segment results --method watershed --nuclear DAPI",
    run=segment,
    needs=("read",),
    check=_check,
    before=_before,
    borrowed=_borrowed,
)
