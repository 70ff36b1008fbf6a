"""ESM-2 embeddings of common markers' proteins, which come with the package; their licence is in this folder."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

import numpy as np

SHIPPED = "shipped with spatialfm"


@cache
def shipped_embeddings() -> dict[str, np.ndarray]:
    """Embeddings by UniProt accession, float32 ``(640,)``.

    Examples
    --------
    >>> embeddings = shipped_embeddings()
    >>> len(embeddings), embeddings["P01730"].shape
    (40, (640,))
    """
    from safetensors.numpy import load_file

    with as_file(files(__package__) / "marker_embeddings.safetensors") as path:
        return {accession: vector.astype(np.float32) for accession, vector in load_file(path).items()}
