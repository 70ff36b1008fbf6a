"""Which columns of a representation are mean intensities of markers, and what they were before they were embedded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._keys import UNS

if TYPE_CHECKING:
    from anndata import AnnData

MEANS_OF = {"classical": "_mean", "mean-intensity": ""}  # models, and how the names of such columns end
COMPRESSED = ("classical",)  # models whose means are arcsinh already, of intensity over the marker's pixel deviation

ROUNDING = 1e-6  # of what was subtracted, within which a float32 number is 0: eight steps of its last digit


@dataclass(frozen=True)
class Intensities:
    """Columns of means.

    Attributes
    ----------
    names
        Of the columns.
    places
        ``(k,)`` of them.
    mean, sd
        ``(k,)`` each: what the columns were standardised with when they were embedded; 0 and 1 where they were not.
    compressed
        Whether they are arcsinh of intensities.
    as_measured
        Whether they are known to be what the image has; ``X`` may have been transformed by hand.
    """

    names: tuple[str, ...]
    places: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    compressed: bool = False
    as_measured: bool = True

    def of(self, values: np.ndarray, number: int) -> np.ndarray:
        """Intensities ``(n,)``, float64, of the marker of that number in rows, in a unit of its own.

        An intensity of 0 that was standardised as float32 comes back as 0, not as what rounding leaves on one side of
        it: a marker that most cells lack would else be said to have no zeros, or values below 0.
        """
        values_of = values[:, self.places[number]].astype(np.float64) * self.sd[number] + self.mean[number]
        values_of[np.abs(values_of) < ROUNDING * np.abs(self.mean[number])] = 0.0
        return np.sinh(values_of) if self.compressed else values_of


def intensities(adata: AnnData, use_rep: str) -> Intensities | None:
    """Columns of ``obsm[use_rep]``, or of ``X``, that are means of markers; None of the output of a network.

    ``X`` is a table of means unless it holds fractions of types, or scanpy has noted that logarithms were taken.
    """
    if use_rep == "X":
        if "composition" in adata.uns or "log1p" in adata.uns:
            return None
        names = tuple(map(str, adata.var_names))
        n = len(names)
        return Intensities(names, np.arange(n), np.zeros(n), np.ones(n), as_measured=False)
    notes = adata.uns.get(UNS, {}).get(use_rep)
    if not isinstance(notes, Mapping) or notes.get("model") not in MEANS_OF or notes.get("n_components"):
        return None
    features = listed_in_record(notes.get("feature_names")) or []
    model = str(notes["model"])
    places = [place for place, name in enumerate(features) if str(name).endswith(MEANS_OF[model])]
    if not places or len(features) != adata.obsm[use_rep].shape[1]:
        return None
    mean, sd = (listed_in_record(notes.get(name)) for name in ("feature_mean", "feature_std"))
    standardized = mean is not None and len(mean) == len(features)
    return Intensities(
        tuple(str(features[place]) for place in places),
        np.array(places),
        np.asarray(mean, float)[places] if standardized else np.zeros(len(places)),
        np.asarray(sd, float)[places] if standardized else np.ones(len(places)),
        model in COMPRESSED,
    )


def listed_in_record(value: object) -> list | None:
    """A list of a record, which is text in a store."""
    if value is None or (isinstance(value, str) and not value):
        return None
    return json.loads(value) if isinstance(value, str) else list(value)  # type: ignore[call-overload]
