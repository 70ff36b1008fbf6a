"""Predicted images as elements of a SpatialData, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import ElementError
from ..._storable import default_key
from ...pp.predicted import HIDDEN, add_predicted, predicted_elements, predicted_name, remove_predicted
from .pyramid import open_pyramid

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from ...pp.elements import SampleElements
    from ..plan import RunPlan


def check_image_names(sdata: SpatialData, samples: Sequence[str], key: str) -> None:
    """Refuse, before any work, names that other elements have, or that no store takes.

    Raises
    ------
    ElementError
        What a model predicted may be written again, nothing else.
    """
    ours = set(predicted_elements(sdata))
    for element in (f"{predicted_name(sample, key)}{ending}" for sample in samples for ending in ("", HIDDEN)):
        if element != default_key(element):
            raise ElementError(
                f"The image {element!r} cannot be written: names hold letters, digits, '_', '-' and '.'. Pass another "
                "key_added=."
            )
        for kind in ("images", "labels", "shapes", "points", "tables"):
            if element in getattr(sdata, kind) and not (kind == "images" and element in ours):
                raise ElementError(
                    f"The image {element!r} cannot be written: sdata.{kind} holds one of that name. Pass another "
                    "key_added=."
                )


def add_images(
    sdata: SpatialData,
    pairs: Sequence[SampleElements],
    steps: Sequence[float] | np.ndarray,
    folder: Path,
    key: str,
    record: Mapping[str, Any],
) -> None:
    """Put the images of a folder into `sdata`, each lazy and where its sample lies, with a record of each.

    `steps`: pixels of the sample's image to one of these.
    """
    from spatialdata.models import Image2DModel

    from ...pp.maps import multiscale_image, scaled_transformations

    names = list(record["imputed"])
    for number, pair in enumerate(pairs):
        systems = scaled_transformations(sdata, pair.image, float(steps[number]))
        element, made = predicted_name(pair.sample, key), {}
        for ending in ("", HIDDEN):
            levels = open_pyramid(folder / f"{number:05d}{ending}", f"{folder.name}-{number:05d}{ending}")
            if len(levels) > 1:
                made[f"{element}{ending}"] = multiscale_image(levels, names, systems)
            elif levels:
                made[f"{element}{ending}"] = Image2DModel.parse(
                    levels[0], dims=("c", "y", "x"), c_coords=names, transformations=systems
                )
        remove_predicted(sdata, element, f"{element}{HIDDEN}")  # of an earlier call
        for name, image in made.items():
            holds = "values" if name == element else "hidden"
            add_predicted(sdata, name, image, of=pair.image, sample=pair.sample, holds=holds, record=record)


def record_of(plan: RunPlan, **fields: Any) -> dict[str, Any]:
    """What is kept beside an image and means of cells: model, markers seen and predicted, and how."""
    encoder, notes = plan.job.encoder, plan.notes
    names = ("seen", "imputed", "mode", "ratio", "random_state", "window", "stride")
    return {
        "method": "model",
        "model": encoder.card.name,
        "license": encoder.card.license,
        "commercial_use": encoder.card.commercial,
        "weights": encoder.weights.source,
        "weights_sha256": encoder.weights.sha256,
        "adapter": encoder.weights.adapter,
        "adapter_sha256": encoder.weights.adapter_sha256,
        **{name: notes[name] for name in names if name in notes},
        "marker_embeddings": {**(notes["marker_embeddings"] or {}), **notes["marker_embeddings_added"]},
        "recipe": notes["recipe"],
        "normalization_mean": notes["normalization_mean"],
        "normalization_std": notes["normalization_std"],
        "mpp_used": notes["mpp_used"],
        **fields,
    }
