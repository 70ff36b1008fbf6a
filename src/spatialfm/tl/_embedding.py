"""What the functions that embed have in common: the encoder meant, the last steps on the rows, the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .._errors import TableError
from .._logging import logger

if TYPE_CHECKING:
    from ..embed.plan import Plan
    from ..models.encoder import Encoder


def load_encoder(model: str | Encoder | None, weights: str | None, options: Mapping[str, object]) -> Encoder:
    """The encoder that is meant: by name, as it is, or the default, which says so.

    Raises
    ------
    TableError
        If weights or options come with an encoder that is loaded already.
    """
    from ..models import load

    if model is None:
        model = "classical"
        logger.info(
            "no model named: using 'classical' (intensities, shape and texture; no weights). For a foundation model "
            "pass "
            "model='kronos' with weights=<file> or a hub account with access; see sfm.models.list_models()"
        )
    if isinstance(model, str):
        return load(model, weights=weights, **options)
    if weights is not None or options:
        raise TableError("weights= and model options belong to sfm.models.load(...) when a loaded encoder is passed.")
    return model


def check_dtype(dtype: str) -> None:
    """Refuse a type that embeddings are not offered in."""
    if dtype not in ("float32", "float16", "bfloat16"):
        raise TableError(f"dtype={dtype!r} is none of 'float32', 'float16', 'bfloat16'.")


def stored(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Rows as they go into `obsm`: bfloat16 is how they were computed, not how they are kept."""
    return rows.astype("float16" if dtype == "float16" else "float32")


def finish(
    rows: np.ndarray, encoder: Encoder, n_components: int | None, basis: Mapping[str, np.ndarray] | None
) -> tuple[np.ndarray, Mapping[str, np.ndarray] | None, dict[str, object]]:
    """Standardise where the card says so, then reduce; what the record says of it."""
    from ..embed.reduce import fit_basis, project

    extra: dict[str, object] = {"n_columns": rows.shape[1]}
    if encoder.card.standardize:
        mean, std = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
        std[std == 0] = 1.0
        rows = ((rows - mean) / std).astype(np.float32)
        extra |= {"feature_mean": mean, "feature_std": std}
    if basis is not None or n_components:
        extra["reduced"] = "pca, of this run" if basis is None else "pca, given"
        basis = fit_basis(rows, n_components) if basis is None else basis
        rows = project(rows, basis)
        extra["n_components"] = rows.shape[1]
    return rows, basis, extra


def embedding_record(encoder: Encoder, plan: Plan, n_columns: int, **extra: object) -> dict[str, str | int | float]:
    """The record of an embedding; `n_columns` is the width before any reduction."""
    from ..embed.record import make_record

    card, markers = encoder.card, plan.panel.markers
    named = plan.job.output == "patch" and "reduced" not in extra
    fields = {
        "model": card.name,
        "family": card.family,
        "license": card.license,
        "commercial_use": card.commercial,
        "weights": encoder.weights.source,
        "weights_sha256": encoder.weights.sha256,
        "model_options": dict(encoder.options),
        "embedding_dim": n_columns // (len(markers) if plan.job.output == "marker" else 1),
        "feature_names": encoder.feature_names(markers) if named else None,
        "standardized": card.standardize,
        "n_components": None,
        "device": str(encoder.device),
    }
    return make_record(**fields | plan.notes | extra)
