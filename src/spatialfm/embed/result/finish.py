"""The last steps on the rows of a run, a chunk at a time: standardise, reduce, cast, and keep in memory or on disk."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np

from ... import _disk
from ..._errors import RunError
from ..._identity import fingerprint
from ..._logging import logger
from ..._progress import progress_bar
from ..._settings import settings
from ..._types import present
from ..run.store import BlockLost
from .reduce import Basis, check_basis, check_components, fit_basis, fit_basis_streamed, project
from .rows import Rows

CHUNK_BYTES = 2**26  # of float32 rows that are held at a time
NOTE, ROWS = "result.json", "rows.zarr"


@dataclass(frozen=True)
class FinishedEmbedding:
    """An embedding as it goes into `obsm`.

    Attributes
    ----------
    values
        ``(n, columns)``: a numpy array, or a dask array that reads from disk.
    basis
        Mean and components, where it was reduced.
    notes
        The entries of the record.
    """

    values: np.ndarray | da.Array
    basis: Basis | None = None
    notes: dict[str, Any] = field(default_factory=dict)


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
    made_by: str = "sfm.tl.embed_cells(sdata, ...)",
) -> FinishedEmbedding:
    """Finish an embedding that may be larger than memory.

    Parameters
    ----------
    rows
        ``(n, columns)``, read range by range.
    standardize
        Whether columns are brought to mean 0 and standard deviation 1 over all rows.
    n_components
        Principal components to keep. Found exactly where the rows fit into `in_memory`, otherwise by incremental PCA
        (Ross et al. 2008).
    basis
        Mean and components to use instead.
    dtype
        ``"float16"``, or another type that is stored as float32.
    folder
        Of this run; a result larger than `in_memory` is written into it, each call's into a separate folder.
    in_memory
        Bytes.
    made_by
        The call that makes the rows again, for whoever finds them gone.

    Raises
    ------
    ModelError
        If basis or number of components do not fit the rows.
    RunError
        If a value is not finite or out of float16's range, or the result cannot be written.
    BlockLost
        If the result was taken away while it was written.
    """
    n_rows, n_columns = rows.shape
    notes: dict[str, Any] = {"n_columns": n_columns}
    call = call_of(n_components, basis, dtype)
    folder = Path(folder)
    if (done := finished(folder, call, in_memory)) is not None:
        made_of = (len(done.values), done.notes["n_columns"], "feature_mean" in done.notes)
        if made_of == (n_rows, n_columns, standardize):
            return done
        _disk.discard(_folder_of(folder, call))
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
            n = present(n_components, "n_components")
            basis = fit_basis(_gather(rows), n) if exact else fit_basis_streamed(rows, n)
        rows = Changed(rows, lambda part: project(part, basis), len(basis["components"]))
        notes["n_components"] = rows.shape[1]
    stored = np.dtype("float16" if dtype == "float16" else "float32")
    rows = Changed(rows, lambda part: _cast(part, stored), rows.shape[1])
    if n_rows * rows.shape[1] * stored.itemsize <= in_memory:
        return FinishedEmbedding(_gather(rows, stored), basis, notes)
    return _on_disk(rows, stored, folder, call, basis, notes, made_by)


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
    if not np.isfinite(part).all():
        row, column = np.argwhere(~np.isfinite(part))[0]
        raise RunError(
            f"Column {column} of the embedding is {part[row, column]} after the last steps (columns standardised, "
            "components taken): numbers are beyond the range of float32. Look at the pixels of the images, or check "
            "basis= and the weights."
        )
    if dtype == np.float16 and np.abs(part).max(initial=0) > np.finfo(np.float16).max:
        raise RunError(
            f"A value of {np.abs(part).max():.3g} is beyond the range of float16. Pass dtype='float32'; what is "
            "encoded is kept."
        )
    return part.astype(dtype, copy=False)


def call_of(n_components: int | None, basis: Mapping[str, np.ndarray] | None, dtype: str) -> dict[str, Any]:
    """What decides the last steps, besides the run itself."""
    return {
        "n_components": n_components,
        "dtype": "float16" if dtype == "float16" else "float32",
        **{name: np.asarray(values) for name, values in (basis or {}).items()},
    }


def _folder_of(folder: Path, call: Mapping[str, Any]) -> Path:
    # what another call has left may still be read by a table in memory: no call writes over it
    return folder / fingerprint(call)[:24]


def remove_finished(folder: Path, call: Mapping[str, Any]) -> None:
    """Forget what an earlier run of the same call has left."""
    _disk.discard(_folder_of(Path(folder), call))


def finished(folder: Path, call: Mapping[str, Any], in_memory: int | None = None) -> FinishedEmbedding | None:
    """What an earlier run of the same call has left on disk, whole; None where there is nothing.

    Values of up to `in_memory` bytes (``settings.result_memory`` unless given) are read.
    """
    limit = settings.result_memory if in_memory is None else in_memory
    folder = _folder_of(Path(folder), call)
    if not os.path.lexists(folder / NOTE):
        return None
    try:
        stored = _read_note(folder, call)
        values, basis = _open_rows(folder, stored), _read_basis(folder)
        method = stored["notes"].get("pca_method", "")
        if method and method != pca_method((len(values), stored["notes"]["n_columns"]), limit):
            return None
        if (basis is None) != ("reduced" not in stored["notes"]):
            raise _Damaged("basis.npz is missing")
        return FinishedEmbedding(values.compute() if values.nbytes <= limit else values, basis, stored["notes"])
    except _Damaged as error:
        logger.warning("the embedding in %s is not as it was written (%s): it is made again", folder, error)
    except RunError:  # a chunk, found out while it was read: reported there
        logger.warning("the embedding in %s is not as it was written: it is made again", folder)
    return None


class _Damaged(Exception):
    """The content of a folder is not what was written there."""


def _read_note(folder: Path, call: Mapping[str, Any]) -> dict:
    """What was noted of a result, if the call and the size of each file match it."""
    try:
        stored = json.loads((folder / NOTE).read_bytes())
        if stored["call"] != fingerprint(call):
            raise _Damaged(f"{NOTE} is of another call")
        if not (isinstance(stored["notes"], dict) and isinstance(stored["notes"]["n_columns"], int)):
            raise _Damaged(f"{NOTE} has no notes")
        for name, size in stored["files"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                raise _Damaged(f"{name} is gone or has another size")
        rows, columns, step = stored["shape"]
        if len(stored["crc32"]) != -(-rows // step) or min(rows, columns, step) < 1:
            raise _Damaged(f"{NOTE} contradicts itself")
        np.dtype(stored["dtype"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Damaged(f"{NOTE}: {error!r}") from error
    return stored


def _read_basis(folder: Path) -> Basis | None:
    if not os.path.lexists(folder / "basis.npz"):
        return None
    try:
        with np.load(folder / "basis.npz") as file:
            basis = dict(file)
        check_basis(basis, basis["components"].shape[1])
    except Exception as error:  # numpy and zipfile raise any error for damaged bytes
        raise _Damaged(f"basis.npz: {error!r}") from error
    return basis


def _open_rows(folder: Path, stored: Mapping[str, Any]) -> da.Array:
    """Rows on disk as a dask array; each chunk is checked against its checksum when it is read."""
    n, columns, step = stored["shape"]
    dtype = np.dtype(stored["dtype"])
    return da.map_blocks(
        _read_chunk,
        da.from_array(np.arange(-(-n // step))[:, None], chunks=(1, 1)),
        folder=str(folder),
        step=step,
        checksums=tuple(stored["crc32"]),
        made_by=str(stored["made_by"]),
        chunks=((*(step,) * (n // step), *((n % step,) if n % step else ())), (columns,)),
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
    )


def _read_chunk(number: np.ndarray, folder: str, step: int, checksums: tuple[int, ...], made_by: str) -> np.ndarray:
    import zarr

    chunk = int(number[0, 0])
    try:
        part = np.asarray(zarr.open_array(str(Path(folder) / ROWS), mode="r")[chunk * step : (chunk + 1) * step])
        if zlib.crc32(np.ascontiguousarray(part).data.cast("B")) == checksums[chunk]:
            return part
        what = "damaged in"
    except Exception:  # zarr and its decoders raise any error for damaged bytes
        what = "damaged in"
    if not (Path(folder) / ROWS / "c" / str(chunk) / "0").exists():
        what = "gone from"
    # what is left is not taken for whole by the next call
    _disk.discard(Path(folder) / NOTE)
    raise RunError(
        f"Rows of the embedding are {what} {folder}. Repeat the call that made it, {made_by} with the same arguments "
        "(sfm.get.record(table, key) lists them), or read the table from where it was written."
    )


def _on_disk(
    rows: Rows,
    dtype: np.dtype,
    folder: Path,
    call: Mapping[str, Any],
    basis: Basis | None,
    notes: dict[str, Any],
    made_by: str,
) -> FinishedEmbedding:
    """Write rows, basis and notes into a temporary folder, rename it, and open it lazily."""
    final = _folder_of(folder, call)

    def is_there() -> bool:  # another process may have made the same meanwhile
        return finished(folder, call, 0) is not None

    try:
        folder.mkdir(parents=True, exist_ok=True)
        _disk.sweep(folder)
        with _disk.written_beside(final, unless=is_there) as partial:
            partial.mkdir()
            step, checksums = _write_rows(rows, dtype, partial / ROWS)
            if basis is not None:
                parts: dict[str, Any] = dict(basis)
                np.savez(partial / "basis.npz", **parts)
            plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in notes.items()}
            note = {
                "call": fingerprint(call),
                "notes": plain,
                "shape": [*rows.shape, step],
                "dtype": dtype.str,
                "crc32": checksums,
                "made_by": made_by,
                "files": {str(path.relative_to(partial)): path.stat().st_size for path in _files(partial)},
            }
            (partial / NOTE).write_text(json.dumps(note))
            _bring_to_disk(partial)  # the blocks are deleted once this is there
    except FileNotFoundError:  # taken away meanwhile, see below
        pass
    except OSError as error:
        if not is_there():
            raise RunError(
                f"Cannot write the embedding to {folder}: {error.strerror or error}. What is encoded is kept: make "
                "room there (settings.cache_dir) and repeat the same call."
            ) from error
    done = finished(folder, call, 0)
    if done is None:
        raise BlockLost(f"The embedding was taken away from {folder} while it was written. Repeat the same call.")
    return done


def _bring_to_disk(folder: Path) -> None:
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _write_rows(rows: Rows, dtype: np.dtype, path: Path) -> tuple[int, list[int]]:
    """A zarr array of chunks of whole rows, of about `CHUNK_BYTES` also where few columns are left.

    Returns the rows of a chunk, and the checksum of each chunk.
    """
    import zarr

    step, (n, columns) = rows_a_chunk(rows), rows.shape
    step = min(n, step * max(1, CHUNK_BYTES // (step * columns * dtype.itemsize)))
    array = zarr.create_array(
        store=str(path), shape=(n, columns), chunks=(step, columns), dtype=dtype, fill_value=np.nan, zarr_format=3
    )
    whole, first, checksums = np.empty((step, columns), dtype), 0, []
    for start, stop in row_chunks(rows, "writing"):
        whole[start - first : stop - first] = rows.read(start, stop)
        if stop - first == step or stop == n:
            array[first:stop] = whole[: stop - first]
            checksums.append(zlib.crc32(whole[: stop - first].data.cast("B")))
            first = stop
    return step, checksums
