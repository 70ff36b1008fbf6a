"""Phenotypes as tables have them, as one column of types: a column of names, or a column of yes and no for each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .._errors import TableError, counted, listed, warn

NONE = "none"  # cells of which no flag is set
_YES = frozenset(["true", "1", "1.0", "yes", "y", "+", "pos", "positive"])
_NO = frozenset(["false", "0", "0.0", "no", "n", "-", "neg", "negative"])
_OF_FLAGS = (
    ["phenotype", "phenotypes", "pheno", "type", "celltype", "cell", "class", "is", "has", "flag", "call", "calls"]
    + ["gate", "gated", "positive", "pos", "marker", "expression"]
)  # fmt: skip
_MANY = 30


def phenotype_column(frame: pd.DataFrame, phenotype: str | Sequence[str] | Mapping[str, str], source: str) -> pd.Series:
    """One category for each row.

    Parameters
    ----------
    frame
        Cells.
    phenotype
        A column of types; or several columns of yes and no (``True``, 1, ``"+"``, ``"CD8+"`` in a column of CD8),
        whose names, or those that a mapping gives them, are joined by `` + `` where several are set.
    source
        Of the table, for messages.

    Raises
    ------
    TableError
        If a column is absent, or a flag is neither yes nor no.

    Examples
    --------
    >>> frame = pd.DataFrame({"phenotype_ck": [1, 0, 0], "phenotype_cd8": [0, 1, 0], "phenotype_pd1": [0, 1, 0]})
    >>> list(phenotype_column(frame, list(frame), "the table"))
    ['ck', 'cd8 + pd1', 'none']
    """
    columns = [phenotype] if isinstance(phenotype, str) else list(phenotype)
    if absent := [name for name in columns if name not in frame]:
        raise TableError(
            f"{source} has no column {absent[0]!r} for phenotypes; it has {listed(frame.columns, 12)}. Correct "
            "phenotype=."
        )
    if isinstance(phenotype, str) and not _is_flag(frame[phenotype]):
        return frame[phenotype].map(str, na_action="ignore").astype("category")
    if not columns:
        raise TableError("phenotype=[] names no column. Pass a column of types, or columns of yes and no.")
    names = list(phenotype.values()) if isinstance(phenotype, Mapping) else _short(columns)
    flags = np.stack([_flag(frame[name], name, source) for name in columns], axis=1)
    # as bits, which sort faster than rows; those with the first flag come first
    bits = np.packbits(~flags, axis=1)
    _, first, codes = np.unique(bits.view(f"V{bits.shape[1]}").ravel(), return_index=True, return_inverse=True)
    combinations = ~flags[first]
    texts = [
        " + ".join(dict.fromkeys(name for name, off in zip(names, row, strict=True) if not off)) or NONE
        for row in combinations
    ]
    categories = list(dict.fromkeys(texts))  # two flags may stand for one type
    if len(categories) > _MANY:
        warn(
            f"{len(columns)} flags of {source} make {len(categories)} phenotypes, most of which few cells have. Pass "
            "phenotype= with the columns that define types alone."
        )
    place = np.array([categories.index(text) for text in texts])
    return pd.Series(pd.Categorical.from_codes(place[codes.reshape(-1)], categories), index=frame.index)


def _is_flag(column: pd.Series) -> bool:
    return pd.api.types.is_bool_dtype(column.dtype)


def _flag(column: pd.Series, name: str, source: str) -> np.ndarray:
    if missing := int(column.isna().sum()):
        raise TableError(
            f"Column {name!r} of {source} is empty in {counted(missing, 'row')}: whether these cells have it is not "
            "known. Fill it in, or leave the column out of phenotype=."
        )
    if _is_flag(column):
        return column.to_numpy(dtype=bool)
    levels, codes = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
    meant = [_meant(level) for level in levels]
    signed = {level.strip()[:-1].lower() for level in levels if level.strip().lower() not in _YES | _NO}
    if None in meant or len(signed) > 1:  # CD4-CD8+ and CD4+CD8- are two types
        raise TableError(
            f"Column {name!r} of {source} holds {listed(levels, 5)}, which are not yes and no. Pass one column of "
            "types as phenotype=, or flags such as True and False, 1 and 0."
        )
    return np.array(meant, dtype=bool)[codes]


def _meant(text: str) -> bool | None:
    word = text.strip().lower()
    if word in _YES or (len(word) > 1 and word.endswith("+")):
        return True
    return False if word in _NO or (len(word) > 1 and word.endswith("-")) else None


def _short(columns: Sequence[str]) -> list[str]:
    """Names without what all of them begin with (``phenotype_``), and without the sign of a flag at the end."""
    prefix = os.path.commonprefix(list(columns)) if len(columns) > 1 else ""
    # PD-1 and PD-L1 are not flags "1" and "L1"
    words = re.match(rf"(?:(?:{'|'.join(_OF_FLAGS)})[_ .-]+)*", prefix, re.IGNORECASE)
    cut = words.end() if words else 0
    names = [re.sub(r"\s*\+$", "", name[cut:]).strip() or name for name in columns]
    return names if len(set(names)) == len(names) else list(columns)
