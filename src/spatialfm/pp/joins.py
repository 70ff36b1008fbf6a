"""Keys that come as numbers or text, and rows that must find each other: shared by `cell_table` and `add_clinical`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._errors import SpatialfmError, TableError, counted
from .._logging import logger
from .._outcome import tell_numbers_as_text

if TYPE_CHECKING:
    pass

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def listed(names: Iterable, n: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    text = ", ".join(repr(name.item() if isinstance(name, np.generic) else name) for name in names[:n])
    return text + (f" and {len(names) - n} more" if len(names) > n else "") if names else "none"


def whole_numbers(
    values: pd.Series, what: str, remedy: str = "Drop or correct them, or pass instance_key=<column>."
) -> np.ndarray:
    """Label ids as int64, from integers or from floats and text that are whole numbers.

    Raises
    ------
    TableError
        If one is missing or is not a whole number.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype if not values.isna().any() else object)
    if pd.api.types.is_bool_dtype(values.dtype):
        raise TableError(f"Column {what} holds True and False, not label ids. {remedy}")
    if pd.api.types.is_integer_dtype(values.dtype) and not values.isna().any() and values.max() < 2**63:
        return values.to_numpy(dtype=np.int64)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    exact_below = 2**24 if values.dtype == np.float32 else 2**53
    wrong = ~np.isfinite(numbers) | (numbers != np.floor(numbers)) | (np.abs(numbers) >= exact_below)
    if wrong.any():
        text = values[wrong].astype(str)
        ending = (
            " If the number at their end is the label, turn them into numbers first: column.str.extract(r'(\\d+)$', "
            "expand=False).astype(int)."
            if text.str.fullmatch(r".*\D\d+").all()
            and not pd.api.types.is_numeric_dtype(values.dtype)
            and (text.nunique() == 1 or text.str.extract(r"(\d+)$", expand=False).nunique() > 1)  # not "aaaaaahn-1"
            else ""
        )
        raise TableError(
            f"Column {what} must hold whole label ids; {counted(int(wrong.sum()), 'row')} of {wrong.size:,} cannot be "
            f"read as such: {listed(values[wrong])}. {remedy}{ending}"
        )
    if not pd.api.types.is_numeric_dtype(values.dtype):
        logger.info(f"column {what} holds label ids as text; they are read as numbers")
    return numbers.astype(np.int64)


def text_keys(keys: pd.Series, what: str, error: type[SpatialfmError]) -> tuple[pd.Series, bool]:
    """Keys as text (missing ones as None), and whether they were numbers. 7, 7.0 and ``"7"`` are the same key.

    Raises
    ------
    SpatialfmError
        If keys are neither text nor whole numbers.
    """
    if isinstance(keys.dtype, pd.CategoricalDtype):
        keys = keys.astype(keys.cat.categories.dtype if not keys.isna().any() else object)
    if pd.api.types.is_bool_dtype(keys.dtype) or pd.api.types.is_datetime64_any_dtype(keys.dtype):
        raise error(f"Column {what} has dtype {keys.dtype}; keys must be text or whole numbers.")
    present = keys.dropna()
    numeric = pd.api.types.is_numeric_dtype(keys.dtype) or (
        len(present) > 0 and all(isinstance(key, (int, float, np.number)) for key in present)
    )
    if numeric and (wrong := present[present.astype(float) % 1 != 0]).size:
        raise error(f"Column {what} holds numbers that are not whole ({listed(wrong)}); they cannot be keys.")
    text = pd.Series([None] * len(keys), index=keys.index, dtype=object)
    text[keys.notna().to_numpy()] = [str(int(key)) if numeric else str(key) for key in present]
    return text, bool(numeric)


def not_canonical(keys: pd.Series) -> list[str]:
    """Text that reads as a number but is not how that number would be written, such as ``"007"`` or ``"7.0"``."""
    unique = pd.unique(keys.dropna())
    return [key for key in unique if _NUMBER.fullmatch(key) and not re.fullmatch(r"0|-?[1-9]\d*", key)]


def same_values(left: pd.Series, right: pd.Series) -> bool:
    """Whether two columns are equal, row by row; missing equals missing, and text its category."""
    a, b = (pd.Series(np.asarray(column, dtype=object)) for column in (left, right))
    present = a.notna()
    return bool((present == b.notna()).all() and (a[present] == b[present]).all())


def add_columns(
    obs: pd.DataFrame, new: pd.DataFrame, source: str, remedy: str, error: type[SpatialfmError]
) -> pd.DataFrame:
    """`obs` with the columns of `new` added.

    Raises
    ------
    SpatialfmError
        If a column is there already with other values, or differs in upper and lower case only.
    """
    if case := case_clash(obs, new):
        raise error(f"Column {case[1]!r} of {source} differs from {case[0]!r} of cell_table in case only. {remedy}")
    clash = [name for name in new if name in obs and not same_values(obs[name], new[name])]
    if clash:
        raise error(f"Column {clash[0]!r} of {source} is also written by cell_table, with other values. {remedy}")
    return pd.concat([obs, new[[name for name in new if name not in obs]]], axis=1)


def storable(column: pd.Series, what: str, error: type[SpatialfmError]) -> pd.Series:
    """A column as AnnData can write it: text as categories, numbers as they are.

    Raises
    ------
    SpatialfmError
        If it holds dates.
    """
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column.dtype):
        return column
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or pd.api.types.is_timedelta64_dtype(column.dtype):
        raise error(
            f"Column {what} holds dates, which AnnData cannot store. Turn it into a number of days, or drop it."
        )
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column
    present = column.dropna()
    if len(present) and all(isinstance(value, (bool, np.bool_)) for value in present):
        return column.astype("boolean")
    text = column.map(str, na_action="ignore").astype("category")
    tell_numbers_as_text(text, f"Column {what}", only_mixed=True)
    return text


def column_name(name: object) -> str:
    """A column name that SpatialData can store: letters, digits, ``_``, ``-`` and ``.``.

    Examples
    --------
    >>> column_name("Entire Cell Area (pixels)")
    'Entire_Cell_Area_pixels'
    """
    letters = "".join(char if char.isalnum() or char in "_-." else " " for char in str(name))
    valid = "_".join(letters.split())
    while valid.startswith("__"):
        valid = valid[1:]
    return "index" if valid == "_index" else valid if valid.strip(".") else "unnamed"


def case_clash(existing: Iterable[str], new: Iterable[str]) -> tuple[str, str] | None:
    """A name of each that differ in upper and lower case only, which stores on disk cannot keep apart."""
    lower = {str(name).lower(): str(name) for name in existing}
    return next(((lower[n.lower()], n) for n in new if lower.get(n.lower(), n) != n), None)


def storable_frame(frame: pd.DataFrame, source: str, error: type[SpatialfmError]) -> pd.DataFrame:
    """A frame as SpatialData can write it: values by `storable`, names by `column_name`.

    Raises
    ------
    SpatialfmError
        If two columns get the same name, upper and lower case apart, or one holds dates.
    """
    names = [column_name(name) for name in frame.columns]
    first: dict[str, object] = {}
    for name, original in zip(names, frame.columns, strict=True):
        if name.lower() in first:
            raise error(
                f"Columns {first[name.lower()]!r} and {original!r} of {source} would get the same name in a store, "
                "where case and signs other than '_-.' do not count. Rename or drop one."
            )
        first[name.lower()] = original
    if renamed := [f"{old!r} as {new!r}" for old, new in zip(frame.columns, names, strict=True) if str(old) != new]:
        more = f" and {len(renamed) - 5} more" if len(renamed) > 5 else ""
        logger.info(f"columns of {source} renamed, because stores take no such signs: {', '.join(renamed[:5])}{more}")
    columns = {name: storable(frame.iloc[:, i], f"{name!r} of {source}", error) for i, name in enumerate(names)}
    return pd.DataFrame(columns, index=frame.index)


def match_cells(
    cells: pd.DataFrame,
    ids: Mapping[str, np.ndarray],
    *,
    library_key: str | None,
    instance_key: str,
    known_samples: Iterable[str] = (),
    drop: bool,
    texts: Mapping[str, Mapping[int, object]] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int, int]:
    """Find the row of every label.

    Parameters
    ----------
    cells
        One row per cell.
    ids
        Label ids of each sample, ascending.
    library_key, instance_key
        Columns of `cells`; without `library_key` there must be one sample.
    known_samples
        Samples that were not asked for: their rows are neither used nor missed.
    drop
        Whether to keep what is on both sides instead of refusing.
    texts
        Of samples whose ids are others than their label numbers: number → id.

    Returns
    -------
    The positions in `ids` and in `cells` of what is on both sides, in the order of `ids`, for each sample; the number
    of rows without label and of labels without row.

    Raises
    ------
    TableError
        If columns are missing, a cell has two rows, (without `drop`) a row or a label is alone, or the rows are
        numbered one higher or lower than the labels.
    """
    texts = texts or {}
    sample, label = _cell_keys(cells, list(ids), library_key, instance_key, texts)
    in_samples = ~np.isin(sample, [name for name in known_samples if name not in ids])
    duplicated = pd.DataFrame({"sample": sample, "label": label}).duplicated().to_numpy() & in_samples
    if duplicated.any():
        names = [f"{sample[i]}_{cells[instance_key].iloc[i]}" for i in np.flatnonzero(duplicated)]
        raise TableError(
            f"cells= has {counted(len(names), 'row')} more than one for the same sample and label: {listed(names)}. "
            + (
                "They are the same in every column: cells.drop_duplicates()."
                if cells[in_samples].astype(str).duplicated().sum() == len(names)
                else "Keep the right one of each."
            )
        )
    in_ids, in_cells, lonely_labels, shifted = {}, {}, [], ""
    matched = np.zeros(len(cells), dtype=bool)
    for name, labels in ids.items():
        rows = np.flatnonzero(sample == name)
        _, left, right = np.intersect1d(labels, label[rows], assume_unique=True, return_indices=True)
        in_ids[name], in_cells[name] = left, rows[right]
        matched[rows[right]] = True
        shifted = shifted or ("" if name in texts else _shifted(name, label[rows], labels, instance_key))
        lonely_labels += [f"{name}_{texts.get(name, {}).get(value, value)}" for value in np.delete(labels, left)]
    lonely_rows = [
        f"{sample[i]}_{label[i] if label[i] >= 0 else cells[instance_key].iloc[i]}"
        for i in np.flatnonzero(in_samples & ~matched)
    ]
    if shifted:  # what is on both sides would be cells with the rows of others
        raise TableError(shifted)
    if (lonely_rows or lonely_labels) and not drop:
        raise TableError(
            f"cells= and the labels do not fit: {counted(len(lonely_rows), 'row')} without label "
            f"({listed(lonely_rows)}) and {counted(len(lonely_labels), 'label')} without row "
            f"({listed(lonely_labels)}). Check library_key= and instance_key=, or pass "
            'on_missing="drop" to keep the cells that are in both.'
        )
    if not matched.any():
        raise TableError(
            f"No row of cells= fits a label: rows such as {listed(lonely_rows, 2)}, labels such as "
            f"{listed(lonely_labels, 2)}. Pass the columns that hold them: library_key=, instance_key=."
        )
    return in_ids, in_cells, len(lonely_rows), len(lonely_labels)


def _shifted(sample: str, rows: np.ndarray, labels: np.ndarray, instance_key: str) -> str:
    """That rows and labels are the same numbers once one is added or taken away; empty where they are not."""
    if rows.size != labels.size or rows.size < 2:
        return ""
    for step, said in ((1, "one lower"), (-1, "one higher")):
        if np.array_equal(np.sort(rows) + step, labels):
            column = f"cells[{instance_key!r}]"
            return (
                f"cells= numbers the cells of sample {sample!r} {said} than the labels: from {rows.min():,} to "
                f"{rows.max():,}, and the labels from {labels[0]:,} to {labels[-1]:,}; each row would be joined to "
                f"another cell. If they are the same cells: {column} = {column}.astype(int) {'+' if step > 0 else '-'} "
                "1. If not, leave out the rows and labels that have no counterpart first."
            )
    return ""


def _cell_keys(
    cells: pd.DataFrame,
    samples: list[str],
    library_key: str | None,
    instance_key: str,
    texts: Mapping[str, Mapping[int, object]],
) -> tuple[np.ndarray, np.ndarray]:
    for argument, key in {"library_key": library_key, "instance_key": instance_key}.items():
        if key is not None and key not in cells:
            hint = ", or library_key=None where all rows are of one sample" if argument == "library_key" else ""
            raise TableError(
                f"cells= has no column {key!r}; it has {listed(cells.columns, 12)}. Pass {argument}=<column>{hint}."
            )
    if library_key is None:
        if len(samples) != 1:
            raise TableError(
                f"library_key=None needs one sample, but there are {len(samples)}. Pass the column that names it."
            )
        sample = np.full(len(cells), samples[0], dtype=object)
    else:
        keys, _ = text_keys(cells[library_key], f"{library_key!r} of cells=", TableError)
        sample = keys.to_numpy()
    if missing := int(pd.isna(sample).sum()):
        raise TableError(
            f"{counted(missing, 'row names', 'rows name')} no sample in column {library_key!r} of cells=. Fill it "
            f"there; to go on without them, pass those of cells that have one: cells[cells[{library_key!r}].notna()]."
        )
    what = f"{instance_key!r} of cells="
    of_text = np.isin(sample, list(texts))
    label = -1 - np.arange(len(cells))  # no number of a label image
    if not of_text.all():
        label[~of_text] = whole_numbers(cells.loc[~of_text, instance_key], what)
    keys, _ = text_keys(cells[instance_key], what, TableError) if of_text.any() else (None, False)
    for name, ids in texts.items():
        number = {str(one): value for value, one in ids.items()}
        for row in np.flatnonzero(sample == name):
            label[row] = number.get(keys.iloc[row], label[row])
    return sample, label
