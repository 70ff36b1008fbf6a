"""The last steps on the rows of a run, a chunk at a time: standardise, reduce, cast, and keep in memory or on disk."""

from __future__ import annotations

import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dask.array as da
import numpy as np

from .._errors import RunError
from .._progress import progress_bar
from .._settings import settings
from .reduce import Basis, check_basis, check_components, fit_basis, fit_basis_streamed, project
from .rows import Rows
from .store import fingerprint

CHUNK_BYTES = 2**26  # of float32 rows that are held at a time


@dataclass(frozen=True)
class Result:
    """An embedding as it goes into `obsm`.

    Attributes
    ----------
    values
        ``(n, columns)``: a numpy array, or a dask array that reads from disk.
    basis
        Mean and components, where it was reduced.
    notes
        What the record says.
    """

    values: np.ndarray | da.Array
    basis: Basis | None = None
    notes: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Changed:
    """Rows that are changed as they are read; `Rows` themselves."""

    rows: Rows
    change: Callable[[np.ndarray], np.ndarray]
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.shape[0], self.columns

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, float32."""
        return self.change(self.rows.read(start, stop))


def row_chunks(rows: Rows, desc: str | None = None) -> Iterator[tuple[int, int]]:
    """Ranges of rows that are held at a time."""
    starts, step = range(0, rows.shape[0], rows_a_chunk(rows)), rows_a_chunk(rows)
    for start in progress_bar(
        starts, desc=desc, unit="chunk", disable=desc is None or len(starts) < 4 or not settings.progress
    ):
        yield start, min(start + step, rows.shape[0])


def rows_a_chunk(rows: Rows) -> int:
    """Rows of about `CHUNK_BYTES` as they were encoded, however few columns are left of them."""
    while isinstance(rows, Changed):
        rows = rows.rows
    return max(1, CHUNK_BYTES // (4 * rows.shape[1]))


def finish_rows(
    rows: Rows,
    *,
    standardize: bool,
    n_components: int | None,
    basis: Mapping[str, np.ndarray] | None,
    dtype: str,
    folder: Path,
    in_memory: int,
) -> Result:
    """Finish an embedding that may be larger than memory.

    Parameters
    ----------
    rows
        ``(n, columns)``, read range by range.
    standardize
        Whether columns are brought to mean 0 and standard deviation 1 over all rows.
    n_components
        Principal components to keep. Found exactly where the rows fit into `in_memory`, else by incremental PCA (Ross
        et al. 2008).
    basis
        Mean and components to use instead.
    dtype
        ``"float16"``, or another type that is stored as float32.
    folder
        Of this run; a result larger than `in_memory` is written into it, each call's into a folder of its own.
    in_memory
        Bytes.

    Raises
    ------
    ModelError
        If basis or number of components do not fit the rows.
    RunError
        If a value is out of float16's range, or the result cannot be written.
    """
    (n_rows, n_columns), notes = rows.shape, {"n_columns": rows.shape[1]}
    call = call_of(n_components, basis, dtype)
    folder = Path(folder)
    if (done := finished(folder, call, in_memory)) is not None:
        made_of = (len(done.values), done.notes["n_columns"], "feature_mean" in done.notes)
        if made_of == (n_rows, n_columns, standardize):
            return done
        shutil.rmtree(_folder_of(folder, call), ignore_errors=True)
    if basis is not None:
        check_basis(basis, n_columns)
    elif n_components:
        check_components(n_components, rows.shape)
    if standardize:
        mean, std = column_statistics(rows)
        std[std == 0] = 1.0
        rows = Changed(rows, lambda part: ((part - mean) / std).astype(np.float32), n_columns)
        notes |= {"feature_mean": mean, "feature_std": std}
    if basis is not None or n_components:
        notes["reduced"] = "pca, of this run" if basis is None else "pca, given"
        if basis is None:
            notes["pca_method"] = pca_method(rows.shape, in_memory)
            exact = notes["pca_method"] == "exact"
            basis = fit_basis(_gather(rows), n_components) if exact else fit_basis_streamed(rows, n_components)
        rows = Changed(rows, lambda part: project(part, basis), len(basis["components"]))
        notes["n_components"] = rows.shape[1]
    stored = np.dtype("float16" if dtype == "float16" else "float32")
    rows = Changed(rows, lambda part: _cast(part, stored), rows.shape[1])
    if n_rows * rows.shape[1] * stored.itemsize <= in_memory:
        return Result(_gather(rows, stored), basis, notes)
    return _on_disk(rows, stored, folder, call, basis, notes)


def pca_method(shape: tuple[int, int], in_memory: int) -> str:
    """How principal components of rows are found: exactly where these fit into memory."""
    return "exact" if 4 * shape[0] * shape[1] <= in_memory else "incremental"


def column_statistics(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of each column, float64, in one pass."""
    count, mean, squares = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start, stop in row_chunks(rows, "standardising"):
        part = rows.read(start, stop)
        m = part.mean(axis=0, dtype=np.float64)
        delta, total = m - mean, count + len(part)
        # Chan et al. 1979: merging means and squared deviations loses no digits, sums of squares do
        squares += len(part) * part.var(axis=0, dtype=np.float64) + delta**2 * count * len(part) / total
        mean += delta * len(part) / total
        count = total
    return mean, np.sqrt(squares / max(count, 1))


def _gather(rows: Rows, dtype: str | np.dtype = "float32") -> np.ndarray:
    out = np.empty(rows.shape, dtype)
    for start, stop in row_chunks(rows):
        out[start:stop] = rows.read(start, stop)
    return out


def _cast(part: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype == np.float16 and np.abs(part).max(initial=0) > np.finfo(np.float16).max:
        raise RunError(
            f"A value of {np.abs(part).max():.3g} is beyond the range of float16. Pass dtype='float32'; what is "
            "encoded is kept."
        )
    return part.astype(dtype, copy=False)


def call_of(n_components: int | None, basis: Mapping[str, np.ndarray] | None, dtype: str) -> dict[str, object]:
    """What decides the last steps, beside the run itself."""
    return {
        "n_components": n_components,
        "dtype": "float16" if dtype == "float16" else "float32",
        **{name: np.asarray(values) for name, values in (basis or {}).items()},
    }


def _folder_of(folder: Path, call: Mapping[str, object]) -> Path:
    # what another call has left may still be read by a table in memory: no call writes over it
    return folder / fingerprint(call)[:24]


def remove_finished(folder: Path, call: Mapping[str, object]) -> None:
    """Forget what an earlier run of the same call has left."""
    shutil.rmtree(_folder_of(Path(folder), call), ignore_errors=True)


def finished(folder: Path, call: Mapping[str, object], in_memory: int | None = None) -> Result | None:
    """What an earlier run of the same call has left on disk, whole; None where there is nothing.

    Values of up to `in_memory` bytes (``settings.result_memory`` unless given) are read.
    """
    import zarr

    folder = _folder_of(folder, call)
    note, array = folder / "result.json", folder / "rows.zarr"
    if not (note.exists() and array.exists()) or (stored := json.loads(note.read_text()))["call"] != fingerprint(call):
        return None
    on_disk = zarr.open_array(str(array), mode="r")
    if on_disk.nchunks_initialized < on_disk.nchunks:
        return None
    basis = None
    if (folder / "basis.npz").exists():
        with np.load(folder / "basis.npz") as file:
            basis = dict(file)
    values = da.from_zarr(str(array))
    values = values.map_blocks(_present, str(folder), dtype=values.dtype, meta=values._meta)
    limit = settings.result_memory if in_memory is None else in_memory
    if stored["notes"].get("pca_method", "") not in (
        "",
        pca_method((len(values), stored["notes"]["n_columns"]), limit),
    ):
        return None
    return Result(values.compute() if values.nbytes <= limit else values, basis, stored["notes"])


def _present(part: np.ndarray, folder: str) -> np.ndarray:
    """Rows as they are; zarr gives the fill value for a chunk whose file is gone, and an embedding holds no NaN."""
    if np.isnan(part[:1, :1]).any():
        raise RunError(
            f"Rows of the embedding are gone from {folder}. Repeat the call that made it, or read the table from "
            "where it was written."
        )
    return part


def _on_disk(
    rows: Rows, dtype: np.dtype, folder: Path, call: Mapping[str, object], basis: Basis | None, notes: dict[str, object]
) -> Result:
    """Write rows, basis and notes into a folder beside, rename it, and open it lazily."""
    final = _folder_of(folder, call)
    partial = folder / f".{platform.node()}-{os.getpid()}-{uuid.uuid4().hex}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        partial.mkdir()
        _write_rows(rows, dtype, partial / "rows.zarr")
        if basis is not None:
            np.savez(partial / "basis.npz", **basis)
        plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in notes.items()}
        (partial / "result.json").write_text(json.dumps({"call": fingerprint(call), "notes": plain}))
        _bring_to_disk(partial)  # the blocks are deleted once this is there
        if finished(folder, call, 0) is None:  # another process may have made the same meanwhile
            shutil.rmtree(final, ignore_errors=True)
            os.replace(partial, final)
    except OSError as error:
        if finished(folder, call, 0) is None:
            raise RunError(
                f"Cannot write the embedding to {folder}: {error.strerror or error}. What is encoded is kept: make "
                "room there (settings.cache_dir) and repeat the same call."
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return finished(folder, call, 0)


def _write_rows(rows: Rows, dtype: np.dtype, path: Path) -> None:
    """A zarr array of chunks of whole rows, of about `CHUNK_BYTES` also where few columns are left."""
    import zarr

    step, (n, columns) = rows_a_chunk(rows), rows.shape
    step = min(n, step * max(1, CHUNK_BYTES // (step * columns * dtype.itemsize)))
    array = zarr.create_array(
        store=str(path), shape=(n, columns), chunks=(step, columns), dtype=dtype, fill_value=np.nan, zarr_format=3
    )
    whole, first = np.empty((step, columns), dtype), 0
    for start, stop in row_chunks(rows, "writing"):
        whole[start - first : stop - first] = rows.read(start, stop)
        if stop - first == step or stop == n:
            array[first:stop] = whole[: stop - first]
            first = stop


def _bring_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine that were killed have left half written."""
    for path in folder.glob(".*.partial"):
        host, pid, _ = path.name[1:].rsplit("-", 2)
        if host == platform.node() and not _runs(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
