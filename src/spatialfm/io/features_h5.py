"""Features of tiles in the HDF5 layouts of STAMP and TRIDENT: one file per sample, to other tools and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .._dense import dense
from .._disk import written_beside
from .._errors import InputFileError, TableError, listed, warn
from .._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL, UNS
from .._logging import logger
from .._public import public
from .._record import record
from .._storable import storable_names
from .._version import __version__
from ..pp.units import places_in_um, told_pixel_size
from ._features_file import FeaturesFile, read_file

if TYPE_CHECKING:
    from anndata import AnnData

FEATURES = {"stamp": "feats", "trident": "features"}  # name of the matrix
SLIDES = "slide_table.csv"


@public
def write_features_h5(
    adata: AnnData,
    folder: str | PathLike,
    *,
    use_rep: str,
    layout: Literal["stamp", "trident"] = "stamp",
    tile_um: float | None = None,
    mpp: float | None = None,
    patient_key: str | None = PATIENT_KEY,
    library_key: str = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    overwrite: bool = False,
) -> list[Path]:
    """Write an embedding of tiles or cells as files that STAMP and other tools of pathology read, one per sample.

    Parameters
    ----------
    adata
        Tiles or cells.
    folder
        Folder of the files, made if it is not there.
    use_rep
        Key of ``obsm``, or ``"X"``.
    layout
        ``"stamp"``: ``feats`` (float32) and ``coords``, the upper left corner of each tile in µm (float32), with the
        attributes ``unit`` (``"um"``), ``tile_size_um``, ``tile_size_px``, ``extractor`` and ``feat_type``.
        ``"trident"``: ``features`` (float32) and ``coords``, the corner in pixels of the full resolution, rounded to
        whole ones (int64), with the attributes ``patch_size_level0`` and ``patch_size``.
    tile_um
        Side of a tile in µm. Default: that of the record of the embedding; of cells it must be given, and a square of
        this size around each is its tile.
    mpp
        µm per pixel at full resolution, for ``"trident"`` and for a table whose places are in pixels. Default: that of
        the record.
    patient_key
        Column of ``obs`` with the patient, for ``slide_table.csv``, STAMP's table of patients and files; None: no such
        table.
    library_key
        Column of ``obs`` with the sample.
    spatial_key
        Key of ``obsm`` with the centre of each tile or cell in µm, or in pixels if the table says so.
    overwrite
        Whether files that are there are replaced, ``slide_table.csv`` among them.

    Returns
    -------
    Paths of the files, in the order in which samples come. The names of rows (``obs_names``), sample and patient are
    written along, which other tools leave aside and :func:`spatialfm.io.read_features_h5` reads back.

    Raises
    ------
    TableError
        If the embedding is missing, a row has no sample or no patient, or the size of tiles or pixels is not known.
    InputFileError
        If a file is there and is not to be replaced.

    Examples
    --------
    >>> import tempfile, spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> files = sfm.io.write_features_h5(cells, tempfile.mkdtemp(), use_rep="X_latent", tile_um=20)
    >>> [file.name for file in files]
    ['P001_1.h5', 'P002_1.h5']
    >>> sfm.io.read_features_h5(files).obsm["X_features"].shape == cells.obsm["X_latent"].shape
    True
    """
    values = _values(adata, use_rep)
    if library_key not in adata.obs or adata.obs[library_key].isna().any():
        raise TableError(f"obs[{library_key!r}] (library_key=) does not name the sample of every row.")
    owner = adata.obs[library_key].astype(str).to_numpy()
    samples = list(pd.unique(owner))
    notes = record(adata, use_rep) if use_rep in adata.uns.get(UNS, {}) else {}
    centres, unknown = places_in_um(adata, spatial_key, library_key, use_rep=use_rep, mpp=mpp)
    if unknown:
        raise TableError(
            f"Places of sample {unknown[0]!r} are in pixels, whose size is not known: pass mpp=<µm per pixel of the "
            "image>."
        )
    own = {sample: mpp if mpp is not None else told_pixel_size(adata.uns, sample, use_rep) for sample in samples}
    sizes = {sample: _sizes(notes, sample, tile_um, own[sample], layout) for sample in samples}
    rows_of = {sample: np.flatnonzero(owner == sample) for sample in samples}
    patients = {sample: _patient(adata, rows, patient_key, sample) for sample, rows in rows_of.items()}
    paths = [Path(folder).expanduser() / f"{name}.h5" for name in storable_names(samples)]
    table = [Path(folder).expanduser() / SLIDES] if any(patients.values()) else []
    if not overwrite and (there := [path.name for path in [*paths, *table] if path.exists()]):
        raise InputFileError(f"'{folder}' has {listed(there)} already. Pass overwrite=True, or another folder.")
    told = {"extractor": str(notes.get("model", use_rep)), "written_by": f"spatialfm {__version__}"}
    for (sample, rows), path in zip(rows_of.items(), paths, strict=True):
        attrs = told | {"sample": sample} | ({"patient": patients[sample]} if patients[sample] else {})
        _write(path, values[rows], centres[rows], adata.obs_names[rows], layout, sizes[sample], attrs)
    for path in table:
        slides = pd.DataFrame({"PATIENT": list(patients.values()), "FILENAME": [one.name for one in paths]})
        with written_beside(path) as partial:
            slides.to_csv(partial, index=False)
    logger.info("%d files with %d rows of %r in %s", len(paths), len(values), use_rep, folder)
    return paths


@public
def read_features_h5(path: str | PathLike | Sequence[str | PathLike], *, mpp: float | None = None) -> AnnData:
    """Read features that STAMP, TRIDENT or :func:`spatialfm.io.write_features_h5` wrote.

    Parameters
    ----------
    path
        A folder, a file, or several; each file is a sample.
    mpp
        µm per pixel at full resolution, for files whose coordinates are in pixels and that do not say it (TRIDENT's).

    Returns
    -------
    AnnData
        One row per tile, without ``X``: ``obsm["X_features"]`` (float32), ``obsm["spatial"]`` with the centre of each
        tile in µm, ``obs`` with ``sample`` (what the file says, or its name) and, where files say it, ``patient``
        (missing for the files that do not);
        ``uns["spatialfm"]["X_features"]`` with the extractor, the side of tiles in µm and the files.

    Raises
    ------
    InputFileError
        If there is no file, it has no matrix of features, widths or numbers of rows differ, a sample occurs twice, or
        the unit of coordinates is not known, or pixels have no size.

    Warns
    -----
    SpatialfmWarning
        If files have no coordinates: there is then no ``obsm["spatial"]``.

    Examples
    --------
    >>> import tempfile, spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> folder = tempfile.mkdtemp()
    >>> files = sfm.io.write_features_h5(cells, folder, use_rep="X_latent", tile_um=20, layout="trident", mpp=0.5)
    >>> tiles = sfm.io.read_features_h5(folder)
    >>> tiles.obs["sample"].unique().tolist()
    ['P001_1', 'P002_1']
    """
    from anndata import AnnData

    files = [read_file(one, mpp) for one in _paths(path)]
    _check_together(files)
    obs = pd.concat(
        [pd.DataFrame({SAMPLE_KEY: one.sample, PATIENT_KEY: one.patient or None}, index=one.names) for one in files]
    )
    if not any(one.patient for one in files):
        obs = obs.drop(columns=PATIENT_KEY)
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()]
        raise InputFileError(
            f"Names of rows occur more than once, first {listed(twice.unique(), 3)}. Read files apart "
            "that share names; for one file call obs_names_make_unique() before it is written."
        )
    table = AnnData(obs=obs, obsm={"X_features": np.concatenate([one.values for one in files])})
    without = [one.sample for one in files if one.centres is None]
    if not without:
        table.obsm[SPATIAL] = np.concatenate([one.centres for one in files])
    else:
        warn(f"No coordinates in the files of {listed(without)}: there is no obsm['spatial'].")
    table.uns[UNS] = {
        "X_features": {
            "model": listed(dict.fromkeys(one.extractor for one in files), quoted=False),
            "tile_um": json.dumps({one.sample: one.tile_um for one in files}),
            "files": json.dumps({one.sample: one.path.name for one in files}),
        }
    }
    logger.info("%d rows of %d columns in %d samples", table.n_obs, files[0].values.shape[1], len(files))
    return table


def _values(adata: AnnData, use_rep: str) -> np.ndarray:
    if use_rep != "X" and use_rep not in adata.obsm:
        raise TableError(f"No {use_rep!r} in obsm (use_rep=); found {listed(adata.obsm)}.")
    values = np.asarray(dense(adata.X if use_rep == "X" else adata.obsm[use_rep]), dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise TableError(
            f"{use_rep!r} (use_rep=) holds NaN or infinite values, or is not a table. Leave such rows out."
        )
    return values


def _sizes(
    notes: Mapping[str, Any], sample: str, tile_um: float | None, mpp: float | None, layout: str
) -> dict[str, float]:
    """Side of a tile in µm, and what is known of it in pixels of the model and of the image."""
    sizes: dict[str, float] = {}
    window, used = notes.get("window"), _of_sample(notes.get("mpp_used"), sample)
    if tile_um is None:
        if notes.get("mode") != "grid" or not window or not used:
            raise TableError("The side of the tiles is not known: pass tile_um=<µm>. Cells need it, too.")
        tile_um, sizes["tile_px"] = float(window) * used, float(window)
    sizes["tile_um"] = float(tile_um)
    if mpp is not None:
        sizes["mpp"] = float(mpp)
    if not sizes["tile_um"] > 0:
        raise TableError(f"tile_um={tile_um:g} is not the side of a tile. Pass µm above 0.")
    if layout == "trident" and "mpp" not in sizes:
        raise TableError("TRIDENT's coordinates are pixels, whose size is not known: pass mpp=<µm per pixel>.")
    if layout == "trident" and round(sizes["tile_um"] / sizes["mpp"]) < 1:
        raise TableError(f"Tiles of {sizes['tile_um']:g} µm are less than a pixel of {sizes['mpp']:g} µm. Check mpp=.")
    return sizes


def _of_sample(sizes: object, sample: str) -> float | None:
    """Entry of a sample in a record."""
    return float(sizes[sample]) if isinstance(sizes, Mapping) and sample in sizes else None


def _patient(adata: AnnData, rows: np.ndarray, patient_key: str | None, sample: str) -> str:
    if patient_key is None or (patient_key == PATIENT_KEY and patient_key not in adata.obs):
        return ""
    if patient_key not in adata.obs:
        raise TableError(f"No column {patient_key!r} in obs (patient_key=); found {listed(adata.obs.columns, 12)}.")
    of_rows = adata.obs[patient_key].iloc[rows]
    if of_rows.isna().any():
        raise TableError(
            f"obs[{patient_key!r}] (patient_key=) does not name the patient of every row of sample {sample!r}. Fill it "
            "in, or pass patient_key=None."
        )
    names = of_rows.astype(str).unique()
    if len(names) != 1:
        raise TableError(f"Sample {sample!r} has several values in obs[{patient_key!r}]: {listed(names, 3)}.")
    return str(names[0])


def _write(
    path: Path,
    values: np.ndarray,
    centres: np.ndarray,
    names: pd.Index,
    layout: str,
    sizes: Mapping[str, float],
    attrs: Mapping[str, str],
) -> None:
    import h5py

    corners = centres - sizes["tile_um"] / 2
    with written_beside(path) as partial, h5py.File(partial, "w") as file:
        file[FEATURES[layout]] = values
        file["obs_names"] = names.astype(str).to_numpy().astype(object)
        for name, value in attrs.items():
            file.attrs[name] = value
        if layout == "stamp":
            file["coords"] = corners.astype(np.float32)
            file.attrs["unit"], file.attrs["feat_type"] = "um", "tile"
            file.attrs["tile_size_um"] = sizes["tile_um"]
            if "tile_px" in sizes:
                file.attrs["tile_size_px"] = int(sizes["tile_px"])
            return
        side = round(sizes["tile_um"] / sizes["mpp"])
        coords = file.create_dataset("coords", data=np.rint(corners / sizes["mpp"]).astype(np.int64))
        file.attrs["mpp"] = sizes["mpp"]
        for holder in (coords, file):
            holder.attrs["patch_size_level0"] = side
            holder.attrs["patch_size"] = int(sizes.get("tile_px", side))


def _paths(path: str | PathLike | Sequence[str | PathLike]) -> list[Path]:
    paths = [path] if isinstance(path, str | PathLike) else list(path)
    files: list[Path] = []
    for one in map(Path, paths):
        whole = one.expanduser()
        files += sorted(whole.glob("*.h5")) if whole.is_dir() else [whole]
    if not files:
        raise InputFileError(f"No .h5 files in {listed(map(str, paths), 3)}. Pass the folder that has them, or files.")
    return files


def _check_together(files: Sequence[FeaturesFile]) -> None:
    """Files of one table: as wide as each other, each of a sample of its own."""
    first, width = files[0].path.name, files[0].values.shape[1]
    if other := next((one for one in files if one.values.shape[1] != width), None):
        raise InputFileError(
            f"Features of different widths: {first} has {width} columns, {other.path.name} {other.values.shape[1]}. "
            "Read files of one encoder."
        )
    samples = pd.Series([one.sample for one in files])
    if samples.duplicated().any():
        raise InputFileError(f"Sample {samples[samples.duplicated()].iloc[0]!r} is in two files. Pass one of them.")
