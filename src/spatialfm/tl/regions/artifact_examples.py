"""Examples of foreground, background and artifacts, from what was annotated and from what is dark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..._errors import TableError, listed
from ...pp.square_annotations import annotate_tokens
from ...pp.square_quality import dark_tokens

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .token_table import Tokens

FOREGROUND, BACKGROUND, ARTIFACT = CLASSES = ("foreground", "background", "artifact")
GLASS = 0.5  # share of tissue below which a token is on glass
SURROUNDINGS = 64  # model pixels around a token without tissue that make it background: a few cells


def meaning_of(
    sdata: SpatialData, element: str, label_key: str, classes: Mapping[object, str] | None
) -> dict[object, str]:
    """Class of each value of an element of annotations.

    Raises
    ------
    TableError
        If a value has none, or one that is not among the three.
    """
    from ...pp.arrays import labels_array
    from ...pp.pieces import scan_labels

    if wrong := sorted({str(name) for name in (classes or {}).values()} - set(CLASSES)):
        raise TableError(f"classes= names {wrong[0]!r}; classes are {listed(CLASSES)}.")
    if element in sdata.labels:
        if classes is not None:
            if text := [value for value in classes if not isinstance(value, int | np.integer)]:
                raise TableError(f"classes= names {text[0]!r}, but pixels of labels {element!r} are integers.")
            return dict(classes)
        ids = scan_labels(labels_array(sdata, element).data).ids.tolist()
        return {0: FOREGROUND, **dict.fromkeys(ids, ARTIFACT)}
    frame = sdata.shapes[element]
    if label_key not in frame:
        raise TableError(
            f"No column {label_key!r} in shapes {element!r} (label_key=); found {listed(frame.columns, 12)}."
        )
    values = {name: str((classes or {}).get(name, name)) for name in frame[label_key].dropna().unique()}
    if wrong := [name for name, meaning in values.items() if meaning not in CLASSES]:
        raise TableError(
            f"Shapes {element!r} have class {wrong[0]!r}, which is not one of {listed(CLASSES)}. Pass classes="
            f"{{{wrong[0]!r}: 'artifact', ...}}."
        )
    return values


def example_tokens(
    sdata: SpatialData,
    tokens: Tokens,
    elements: Mapping[str, str],
    meanings: Mapping[str, dict[object, str]],
    label_key: str,
    min_cover: float,
    min_tokens: int,
    level: np.ndarray | None,
    by_default: bool,
) -> np.ndarray:
    """Class of each token of the annotated samples, None if unknown."""
    known, instead = np.full((2, tokens.table.n_obs), None, dtype=object)
    assumed = np.zeros(tokens.table.n_obs, bool)
    for number, pair in enumerate(tokens.pairs):
        if pair.sample not in elements:
            continue
        element, own_tokens = elements[pair.sample], tokens.of(number)
        names = annotate_tokens(sdata, pair, element, label_key, tokens.boxes[own_tokens], min_cover, meanings[element])
        if level is not None:
            free = pd.isna(names)
            if element in sdata.labels and by_default:  # 0 means that there is no artifact, not that there is tissue
                free |= names == FOREGROUND
            centers = tokens.grid.starts[own_tokens] + tokens.grid.side / 2
            reach = max(SURROUNDINGS, tokens.grid.side) / 2
            # a threshold splits any image: it decides where there is glass, and only there
            glass = tokens.grid.coverage[own_tokens] < GLASS
            dark = free & glass & dark_tokens(level[own_tokens], centers, names == ARTIFACT, reach)
            instead[own_tokens], assumed[own_tokens] = names, dark
            names = np.where(dark, BACKGROUND, names)
        known[own_tokens] = names
    if (known == BACKGROUND).sum() < min_tokens:  # it was not drawn: too little of it is not a reason to refuse
        known[assumed] = instead[assumed]
    return known
