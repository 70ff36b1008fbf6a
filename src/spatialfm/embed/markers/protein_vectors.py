"""The embedding of one protein: read from a file, and checked against the width that a model takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..._errors import WeightsError

MODEL = "esm2_t30_150M_UR50D"  # that the vectors are made with


def read_vector(path: Path, dim: int) -> np.ndarray:
    """The vector ``(dim,)`` in a file; nothing in it is run.

    Raises
    ------
    WeightsError
        If it is damaged, holds objects, or is not a finite vector of this width.
    """
    try:
        if path.suffix == ".npy":
            content = np.load(path, allow_pickle=False)
        else:
            import torch

            with path.open("rb") as stream:
                content = torch.load(stream, map_location="cpu", weights_only=True)
    # a damaged zip, a truncated pickle and a file of objects each surface as another exception
    except Exception as error:
        if "Unsupported" in str(error) and "GLOBAL" in str(error) or "allow_pickle" in str(error):
            raise WeightsError(
                f"Embedding file {path} would run code to be read, and was not: it holds Python objects. Save the "
                "vector alone, with torch.save(tensor, file) or numpy.save."
            ) from error
        raise WeightsError(
            f"Embedding file {path} ({path.stat().st_size:,} bytes) is truncated or no embedding "
            f"({type(error).__name__}). Copy or compute it again."
        ) from error
    remedy = f"Compute it again with ESM-2 ({MODEL}): the mean of the last layer over the residues."
    return checked_vector(content, dim, f"Embedding file {path}", WeightsError, remedy)


def checked_vector(value: object, dim: int, what: str, error: type[Exception], remedy: str) -> np.ndarray:
    """A float32 vector ``(dim,)``, or the error that describes what it is instead."""
    if hasattr(value, "detach"):  # numpy has no bfloat16 and reads no tensor with a gradient
        value = value.detach().cpu().float()
    try:
        array = np.asarray(value)
    except ValueError:  # a ragged list
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise error(f"{what} is not a vector of numbers but {type(value).__name__}. {remedy}")
    if array.shape not in ((dim,), (1, dim)):
        raise error(f"{what} has shape {array.shape}; the model takes ({dim},). {remedy}")
    with np.errstate(over="ignore"):
        vector = array.reshape(dim).astype(np.float32)
    if not np.isfinite(vector).all():
        raise error(f"{what} is not finite in {int((~np.isfinite(vector)).sum())} of {dim} places. {remedy}")
    return vector
