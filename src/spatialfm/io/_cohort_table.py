"""The table of a cohort: one row per sample, checked as a whole before any file is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import ClinicalError, InputFileError, warn
from .._errors import listed as listed_texts
from .._keys import PATIENT_KEY, SAMPLE_KEY
from .._spelling import as_read
from ..pp.joins import counted, listed, storable_frame, text_keys
from ..pp.table_columns import is_missing
from ..pp.tables import SPREADSHEET_SUFFIXES, TABLE_SUFFIXES, read_table
from ._kinds import KINDS, PLAIN, QUPATH
from ._names import is_tiff_name, sample_name_or_empty
from ._ngff import is_zarr
from ._paths import absent, exists, find_path
from ._templates import PathSource

MEASUREMENTS = "measurements"
WRITTEN = "sample_name"  # column of the samples: names as the table has them, where elements cannot be called so
_SHOWN = 20
_LONGEST = 200  # bytes of a sample's name; file systems take 255, of which prefixes like "labels_" need some


@dataclass(frozen=True)
class CohortKeys:
    """Names of the columns that are not clinical; None where the table has none."""

    sample: str
    patient: str
    image: str | None
    labels: str | None
    mpp: str | None
    kind: str | None = None
    measurements: str | None = None


@dataclass(frozen=True)
class Row:
    """One sample of the cohort."""

    sample: str
    patient: str
    image: Path
    labels: Path | None
    mpp: float | None
    kind: str = PLAIN
    measurements: Path | None = None
    written: str = ""  # the sample's name as the table has it


def load_table(
    table: pd.DataFrame | str | PathLike, names: Sequence[str | None], paths: Sequence[str | None]
) -> tuple[pd.DataFrame, Path]:
    """The table, and the folder at which its relative paths start.

    Of a file, the columns `names` (samples, then patients) and `paths` are read as text: ``001`` stays ``001``.

    Raises
    ------
    InputFileError
        If there are no rows, or the name of a patient is a common code for missing values: only the user can tell which
        it is.
    """
    if isinstance(table, pd.DataFrame):
        frame, folder = table.copy(), Path.cwd()
        if not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise InputFileError(f"The cohort table has several columns called {twice!r}. Rename all but one.")
    else:
        path = Path(table).expanduser()
        if path.is_dir():
            raise InputFileError(
                f"'{path}' is a folder, not a table. Pass the file of the table; folders of other programs have "
                "readers of their own, such as sfm.io.read_steinbock."
            )
        if path.suffix.lower() not in TABLE_SUFFIXES + SPREADSHEET_SUFFIXES:
            raise InputFileError(
                f"'{path}' is not one of {', '.join(TABLE_SUFFIXES)}. Save the table as one, or pass a DataFrame."
            )
        frame = read_table(path, [key for key in (*names, *paths) if key is not None])
        folder = path.resolve().parent
        for key in paths:
            if key in frame:
                frame[key] = frame[key].map(lambda value: None if is_missing(value) else value)
        for key in names[1:]:
            odd = [i for i, value in enumerate(frame[key]) if value and is_missing(value)] if key in frame else []
            if odd:
                raise InputFileError(
                    f"Column {key!r} of '{path}' reads {frame[key].iloc[odd[0]]!r} in {counted(len(odd), 'row')}, from "
                    f"row {odd[0]} on: is that missing, or a name? Samples without patient cannot be used: fill in the "
                    "patient, or leave out the row. For a name that reads so, pass a DataFrame."
                )
    if not len(frame):
        raise InputFileError("The cohort table has no rows. Pass one row per sample.")
    return frame, folder


def find_keys(
    frame: pd.DataFrame,
    sample: str,
    patient: str,
    image: str | None,
    labels: str | None,
    mpp: str | None,
    kind: str | None = None,
    measurements: str | None = None,
) -> CohortKeys:
    """Columns that are there; the ones that only have a default name may be absent, and that of images may be None."""
    for argument, key, meaning in (
        ("library_key", sample, "names of the samples"),
        ("image_column", image, "paths of the images"),
        ("patient_key", patient, "patients"),
    ):
        if key is not None and key not in frame:
            template = ', or a template such as image="{slide}.ome.tiff"' if argument == "image_column" else ""
            of_cells = argument == "image_column" and {"x", "y"} <= {str(name).lower() for name in frame}
            raise ClinicalError(
                f"The cohort table has no column {key!r} for the {meaning}; it has {listed(frame.columns, 12)}. "
                f"Pass {argument}=<column>{template}."
                + (
                    " A table of cells without images has a reader of its own, sfm.io.read_cells; on the command line, "
                    "'spatialfm init TABLE > config.yaml' prints settings for it."
                    if of_cells
                    else ""
                )
            )
    optional = (
        ("labels_column", labels, "labels"),
        ("mpp_column", mpp, "mpp"),
        ("kind_column", kind, "kind"),
        ("measurements_column", measurements, MEASUREMENTS),
    )
    for argument, key, default in optional:
        if key is not None and key not in frame and key != default:
            raise ClinicalError(
                f"The cohort table has no column {key!r}; it has {listed(frame.columns, 12)}. "
                f"Correct {argument}=, or pass {argument}=None."
            )
    present = [key if key in frame else None for key in (labels, mpp, kind, measurements)]
    return CohortKeys(sample, patient, image, *present)


def measurements_named(
    frame: pd.DataFrame, column: str | None, kind: str | None, kind_column: str | None
) -> str | None:
    """The column of QuPath's tables; None where no row is of its kind, since it may then mean anything."""
    kinds = [kind] if kind_column not in frame else [kind, *frame[kind_column]]
    return column if QUPATH in kinds or column != MEASUREMENTS else None


def column_source(frame: pd.DataFrame, column: str | None) -> PathSource | None:
    """Paths of a column; None without one."""
    return None if column is None else PathSource(f"column {column!r}", tuple(frame[column]))


def plan_rows(
    frame: pd.DataFrame,
    keys: CohortKeys,
    folder: Path,
    images: PathSource,
    masks: PathSource | None,
    kind: str | None = None,
) -> list[Row]:
    """Every sample, checked; `kind` is that of all rows, in place of a column.

    Raises
    ------
    InputFileError
        With all that is wrong: samples without name, with one that cannot be used or that comes twice, without
        patient, image, or file, or with a pixel size that is not a positive number.

    Warns
    -----
    SpatialfmWarning
        If names of samples were changed (``core 1`` to ``core_1``), as elements cannot have them.
    """
    samples, _ = text_keys(frame[keys.sample], repr(keys.sample), ClinicalError)
    patients, _ = text_keys(frame[keys.patient], repr(keys.patient), ClinicalError)
    rows, problems = [], []
    seen: dict[str, tuple[int, str]] = {}
    spelled: dict[str, tuple[int, str]] = {}
    for i in range(len(frame)):
        written, patient = _text(samples.iloc[i]), _text(patients.iloc[i])
        sample = sample_name_or_empty(written)
        problems += [f"row {i}: {problem}" for problem in _name_problems(written, sample, i, seen)]
        where = f"row {i}" + (f" (sample {written!r})" if written else "")
        if not patient:
            problems.append(f"{where}: no patient in column {keys.patient!r}")
        first, other = spelled.setdefault(as_read(patient), (i, patient))
        if other != patient:
            problems.append(
                f"{where}: patient {patient!r} is spelled {other!r} in row {first}, and each would count as a patient. "
                "Write them alike, or rename one"
            )
        of_row, kind_problem = _kind(frame, keys, i, kind)
        image, problem = _path(images.texts[i], folder, images.said, needed=True, kind=of_row)
        labels, labels_problem = None, None
        if masks is not None:
            labels, labels_problem = _path(masks.texts[i], folder, masks.said, needed=False)
        mpp, mpp_problem = (None, None) if keys.mpp is None else _mpp(frame[keys.mpp].iloc[i], keys.mpp)
        measured, measured_problem = _measurements(frame, keys, i, of_row, folder)
        problems_of_row = (kind_problem, problem, labels_problem, mpp_problem, measured_problem)
        problems += [f"{where}: {text}" for text in problems_of_row if text]
        if image is not None:
            rows.append(Row(sample, patient, image, labels, mpp, of_row, measured, written))
    refuse_all(problems)
    _tell_changed(rows)
    return rows


def _tell_changed(rows: Sequence[Row]) -> None:
    """Warn of names that are stored otherwise than they are written."""
    changed = [f"{row.written!r} to {row.sample!r}" for row in rows if row.written != row.sample]
    if changed:
        warn(
            f"{counted(len(changed), 'name of a sample', 'names of samples')} cannot name images and masks (letters, "
            f"digits, '_', '-' and '.' can) and {'was' if len(changed) == 1 else 'were'} changed: "
            f"{listed_texts(changed, 5, quoted=False)}. The names as written are kept in column {WRITTEN!r}."
        )


def refuse_all(problems: Sequence[str], error: type[Exception] = InputFileError) -> None:
    """Raise one error with all problems, if there are any."""
    if not problems:
        return
    shown = [f"  - {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"  - and {len(problems) - _SHOWN} more")
    raise error(
        f"The cohort has {counted(len(problems), 'problem')}; correct the table or the files and read it again:\n"
        + "\n".join(shown)
    )


def clinical_columns(
    frame: pd.DataFrame,
    rows: Sequence[Row],
    keys: CohortKeys,
    wanted: Sequence[str] | None,
    also: Sequence[str | None] = (),
) -> pd.DataFrame:
    """`obs` of the sample table: patient, then the clinical columns and those of `also`, indexed by sample.

    Raises
    ------
    ClinicalError
        If a wanted column is absent, or one would take the name of sample, patient, or the names as written.
    """
    if wanted is None:
        used = {keys.sample, keys.patient, keys.image, keys.labels, keys.mpp, keys.kind, keys.measurements}
        # a column that an index left behind in a csv has no meaning
        wanted = [name for name in frame if name not in used and not str(name).startswith("Unnamed:")]
    wanted = [*wanted, *(name for name in dict.fromkeys(also) if name in frame and name not in wanted)]
    if missing := [name for name in wanted if name not in frame]:
        raise ClinicalError(
            f"clinical_keys names {missing[0]!r}, but the cohort table has {listed(frame.columns, 12)}. "
            "Correct clinical_keys=."
        )
    for taken, argument in ((SAMPLE_KEY, "library_key"), (PATIENT_KEY, "patient_key")):
        if taken in wanted:
            raise ClinicalError(
                f"Column {taken!r} of the cohort table is not the one that {argument} names, but would take its "
                f"place. Rename it, pass {argument}={taken!r}, or leave it out with clinical_keys=[...]."
            )
    index = pd.Index([row.sample for row in rows], dtype=object)
    clinical = storable_frame(frame[list(wanted)].set_axis(index, axis=0), "the cohort table", ClinicalError)
    if any(row.written != row.sample for row in rows):
        if clash := [name for name in clinical if str(name).casefold() == WRITTEN]:
            raise ClinicalError(
                f"Names of samples were changed to name images and masks, and are to be kept as written in column "
                f"{WRITTEN!r}, but the cohort table has a column {clash[0]!r}. Rename that column, or the samples."
            )
        clinical.insert(0, WRITTEN, [row.written for row in rows])
    clinical.insert(0, PATIENT_KEY, [row.patient for row in rows])
    return clinical


def _name_problems(written: str, sample: str, i: int, seen: dict[str, tuple[int, str]]) -> list[str]:
    """What is wrong with a name, as written and as it is stored."""
    if not written:
        return ["no sample name"]
    if not sample:
        return [
            f"sample {written!r} has no letter and no digit, of which names of images and masks are made. Rename it"
        ]
    problems = []
    if len(sample.encode()) > _LONGEST:
        problems.append(
            f"sample {written[:20]!r}... has {len(sample.encode())} bytes; names of elements are folders on disk, and "
            f"may have {_LONGEST}"
        )
    folded = sample.casefold()  # elements must differ by more than case
    row, other = seen.setdefault(folded, (i, written))
    if row != i and (other == written or written == sample and other.casefold() == folded):
        problems.append(f"sample {written!r} is also in row {row}")
    elif row != i:
        problems.append(
            f"sample {written!r} would be stored as {sample!r}, as is {other!r} of row {row}. Rename one of them"
        )
    return problems


def _text(value: object) -> str:
    return "" if value is None or pd.isna(value) else str(value).strip()


def _kind(frame: pd.DataFrame, keys: CohortKeys, i: int, kind: str | None) -> tuple[str, str | None]:
    text = _text(frame[keys.kind].iloc[i]) if keys.kind is not None else ""
    chosen = text or kind or PLAIN
    if chosen in KINDS:
        return chosen, None
    near = get_close_matches(chosen.lower(), KINDS, n=1, cutoff=0.7)
    where = f"in column {keys.kind!r}" if text else "(kind=)"
    otherwise = ", or pass kind_column=None if this column means something else" if text else ""
    return PLAIN, f"{chosen!r} {where} is not one of {listed(KINDS, 12)}" + (
        f" (did you mean {near[0]!r}?)" if near else otherwise
    )


def _path(value: object, folder: Path, said: str, *, needed: bool, kind: str = PLAIN) -> tuple[Path | None, str | None]:
    text = _text(value)
    if not text:
        return None, f"no path in {said}" if needed else None
    path = find_path(text, folder)
    if not exists(path):
        return None, absent(text, path)
    if kind == PLAIN and path.is_dir() and not is_zarr(path) and not any(is_tiff_name(file) for file in path.iterdir()):
        return None, f"folder '{path}' contains no TIFF file"
    return path, None


def _measurements(
    frame: pd.DataFrame, keys: CohortKeys, i: int, kind: str, folder: Path
) -> tuple[Path | None, str | None]:
    """Path of the table of another program; of other kinds than QuPath's there is none."""
    if keys.measurements is None:
        return None, None
    value = frame[keys.measurements].iloc[i]
    path, problem = _path(value, folder, f"column {keys.measurements!r}", needed=False, kind=kind)
    if kind != QUPATH and _text(value):
        return None, (
            f"column {keys.measurements!r} names a table, which kind {kind!r} does not take: cells are measured here. "
            f"Leave it empty, or call the kind {QUPATH!r}"
        )
    return path, problem


def _mpp(value: object, key: str) -> tuple[float | None, str | None]:
    if value is None or pd.isna(value):
        return None, None
    try:
        mpp = np.nan if isinstance(value, bool | np.bool_) else float(value)  # type: ignore[arg-type]  # what cannot be read raises
    except (TypeError, ValueError):
        mpp = np.nan
    if not (np.isfinite(mpp) and mpp > 0):
        return None, f"{value} in column {key!r} is not a pixel size in µm"
    return mpp, None
