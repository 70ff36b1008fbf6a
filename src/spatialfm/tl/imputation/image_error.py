"""How far imputed images are off, where their marker was stained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ...learn.imputation_error import IntervalRequest, with_interval
from ...pp.predicted import INTENSITY, channel_of, find_predicted, paired_pixels
from ...stats.reconstruction import scores, structural_similarity

OF_IMAGES = ("ssim", "r_pixel", "spearman_pixel", "mse_pixel", "f1_pixel")
MOST = 4096  # pixels a side; larger images are averaged down before they are compared


def image_scores(data: object, key: str, names: Sequence[str], patient_of: Mapping[str, str]) -> pd.DataFrame | None:
    """One row per marker and sample that was stained for it; None without images in intensities.

    Columns ``marker``, ``sample``, ``patient``, ``ssim`` (structural similarity) and, over pixels, ``r_pixel``,
    ``spearman_pixel``, ``mse_pixel`` and ``f1_pixel`` (of being above the mean of the measured image).
    """
    if not hasattr(data, "images"):
        return None
    rows = []
    for sample, image in find_predicted(data, key.removeprefix("X_")).items():
        if image.space != INTENSITY or sample not in patient_of:
            continue
        for name in names:
            if channel_of(data, image.of, name) is None:
                continue
            pair = paired_pixels(data, image, name, MOST)
            of_pixels = scores(pair.measured, pair.predicted, float(pair.measured.mean()))
            row: dict[str, object] = {"marker": name, "sample": sample, "patient": patient_of[sample]}
            row |= {"ssim": structural_similarity(pair.measured, pair.predicted)}
            rows.append(row | {f"{score}_pixel": value for score, value in of_pixels.items()})
    return pd.DataFrame(rows) if rows else None


def summary_of_images(images: pd.DataFrame, names: Sequence[str], options: IntervalRequest) -> pd.DataFrame:
    """Means over patients with intervals, by marker; samples of a patient count as one."""
    rows = []
    for name in names:
        own = images[images["marker"] == name].groupby("patient")[list(OF_IMAGES)].mean()
        rng = np.random.default_rng(options.random_state)
        row: dict[str, float] = {}
        for score in OF_IMAGES:
            row |= with_interval(score, own[score].to_numpy(float), options.n_bootstrap, rng)
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(names, name="marker"))
