"""Labels that replace others: whether these are still the ones that they were made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._errors import ElementError
from .._keys import ATTRS, FIXED_FROM, FIXED_LABELS
from .arrays import labels_array, table_call
from .measure import loaded

if TYPE_CHECKING:
    from spatialdata import SpatialData

BAND_BYTES = 2**26
EARLIER = {FIXED_LABELS: "mended_labels", FIXED_FROM: "mended_from"}  # keys of objects that were stored before


def labels_digest(labels: object) -> str:
    """SHA-256 of the numbers of a label image ``(y, x)``, independent of its chunks and integer type."""
    height, width = labels.shape
    digest = hashlib.sha256(f"{height} {width}".encode())
    chunks = getattr(labels, "chunks", None)
    rows = max(1, BAND_BYTES // (8 * max(width, 1)), *(chunks[0] if chunks else ()))
    for start in range(0, height, rows):
        band = loaded(labels[start : start + rows])
        digest.update(np.ascontiguousarray(band, np.float64 if band.dtype.kind == "f" else np.int64).data.cast("B"))
    return digest.hexdigest()


def stand_ins(sdata: SpatialData) -> dict[str, str]:
    """Labels and their replacements."""
    return _noted(sdata, FIXED_LABELS)


def _noted(sdata: SpatialData, key: str) -> dict:
    attrs = sdata.attrs.get(ATTRS, {})
    return dict(attrs.get(key, attrs.get(EARLIER[key], {})))


def note_stand_in(sdata: SpatialData, source: str, name: str, *, split: bool, background: Sequence[int]) -> None:
    """Record that `name` replaces `source`, the content of `source`, and how the one was made of the other."""
    digest = labels_digest(labels_array(sdata, source).data)
    attrs = dict(sdata.attrs.get(ATTRS, {}))
    record = {"labels": source, "sha256": digest, "split": bool(split), "background": [int(n) for n in background]}
    attrs[FIXED_LABELS] = {**stand_ins(sdata), source: name}
    attrs[FIXED_FROM] = {**_noted(sdata, FIXED_FROM), name: record}
    sdata.attrs[ATTRS] = attrs


def forget_stand_in(sdata: SpatialData, source: str) -> None:
    """Let labels count as they are; the element that stood for them stays."""
    attrs = dict(sdata.attrs.get(ATTRS, {}))
    name = stand_ins(sdata).get(source)
    for key, gone in ((FIXED_LABELS, source), (FIXED_FROM, name)):
        attrs[key] = {other: value for other, value in _noted(sdata, key).items() if other != gone}
    sdata.attrs[ATTRS] = attrs


def is_stale(sdata: SpatialData, source: str) -> bool:
    """Whether the labels that replace `source` were made of others of this name; all pixels are compared."""
    record = _noted(sdata, FIXED_FROM).get(stand_ins(sdata).get(source))
    if record is None or source not in sdata.labels:  # of an older version, which kept no digest; or nothing to compare
        return False
    return labels_digest(labels_array(sdata, source).data) != record["sha256"]


def check_stand_in(sdata: SpatialData, sample: str, source: str, name: str) -> None:
    """Refuse labels that replace others which have changed since.

    Raises
    ------
    ElementError
        With the call that makes them again.
    """
    if not is_stale(sdata, source):
        return
    record = _noted(sdata, FIXED_FROM)[name]
    raise ElementError(
        f"Labels {source!r} were replaced after sfm.pp.fix_labels had made {name!r} of them, which still holds the "
        f"cells of the old ones. Make it again with {fix_call(source, record, name)}, and a table of the new cells "
        f"next to the old one, {table_call(sdata)}; or pass labels={{{sample!r}: {source!r}}} to use the new labels "
        "as they are."
    )


def fix_call(source: str, record: Mapping[str, object], name: str) -> str:
    """The call that made `name`."""
    options = [f"sdata, {source!r}"]
    if record["split"]:
        options.append("split=True")
    if record["background"]:
        options.append(f"background={list(record['background'])}")
    if name != f"{source}_fixed":
        options.append(f"suffix={name.removeprefix(source)!r}")
    return f"sfm.pp.fix_labels({', '.join(options)})"
