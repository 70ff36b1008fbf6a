"""How the nuclei are found that cells are judged by: as those by which the cells were made, where that is recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._keys import ATTRS, SEGMENTATION
from .arrays import channel_names
from .segmenters import SegmentRequest, check_request

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from .elements import SampleElements

DIAMETER = 8.0  # µm, of cells of which nothing is recorded


@dataclass(frozen=True)
class NucleiSettings:
    """How the nuclei of one sample are found.

    Attributes
    ----------
    diameter
        Of a typical cell in µm.
    channels
        Stains of nuclei; None: the first that is known as one.
    threshold
        Of the stain, in the scale of watershed; None: Otsu's.
    """

    diameter: float = DIAMETER
    channels: tuple[str, ...] | None = None
    threshold: float | None = None

    @property
    def request(self) -> SegmentRequest:
        """The same as a request of watershed."""
        options = None if self.threshold is None else {"threshold": self.threshold}
        return check_request("watershed", self.diameter, 0, None, options)


def nuclei_settings(
    sdata: SpatialData, pairs: Sequence[SampleElements], nuclear: str | Sequence[str] | None, diameter: float | None
) -> list[NucleiSettings]:
    """What is asked for, otherwise what `spatialfm.pp.segment_cells` recorded of the labels of each sample.

    Nuclei of another size than those that cells were grown from are cut or joined elsewhere: of 101 cells, 30 seemed to
    share a nucleus.

    Parameters
    ----------
    nuclear
        Channels that are asked for.
    diameter
        In µm, likewise.
    """
    asked = None if nuclear is None else (nuclear,) if isinstance(nuclear, str) else tuple(nuclear)
    told = []
    for pair in pairs:
        record = _record(sdata, pair)
        same_stain = asked is None or asked == _names(record.get("nuclear"))
        channels = asked if asked is not None else _known(_names(record.get("nuclear")), sdata, pair)
        size = diameter if diameter is not None else _positive(record.get("diameter_um")) or DIAMETER
        threshold = _threshold(record) if same_stain else None
        told.append(NucleiSettings(float(size), channels, threshold))
    return told


def _record(sdata: SpatialData, pair: SampleElements) -> Mapping[str, Any]:
    """Of labels of this image that `segment_cells` made; InstanSeg's and VirTues' cells have no diameter."""
    attrs = sdata.attrs.get(ATTRS, {})
    records = attrs.get(SEGMENTATION, {}) if isinstance(attrs, Mapping) else {}
    record = records.get(pair.labels, {}) if isinstance(records, Mapping) else {}
    is_of_it = isinstance(record, Mapping) and record.get("image") == pair.image
    return record if is_of_it and record.get("method") in ("watershed", "cellpose") else {}


def _names(channels: object) -> tuple[str, ...] | None:
    """Names in a record, which are text or a list; None where there is none."""
    if channels is None or isinstance(channels, str):
        return (channels,) if channels else None
    return tuple(map(str, channels)) or None  # type: ignore[call-overload]  # a list, or what a store made of it


def _known(channels: tuple[str, ...] | None, sdata: SpatialData, pair: SampleElements) -> tuple[str, ...] | None:
    """Channels that the image still has."""
    return channels if channels and set(channels) <= set(channel_names(sdata, pair.image)) else None


def _positive(value: object) -> float | None:
    try:
        size = float(value)  # type: ignore[arg-type]  # what cannot be read raises
    except (TypeError, ValueError):
        return None
    return size if 0 < size < 1000 else None


def _threshold(record: Mapping[str, Any]) -> float | None:
    """What watershed was told, where it was."""
    try:
        options = json.loads(str(record.get("options", "{}")))
        return float(options["threshold"]) if record.get("method") == "watershed" else None
    except (ValueError, KeyError, TypeError):
        return None
