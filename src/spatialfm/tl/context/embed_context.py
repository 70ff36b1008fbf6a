"""``sfm.tl.embed_context``: each cell as a model sees it among all others of its slice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._errors import TableError, counted, warn
from ..._keys import SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._progress import progress_bar
from ..._public import public
from ...cohort.checks import check_anndata
from ...cohort.comparability import tell_another_scale
from ...embed.result.record import make_record, write_record
from ...embed.session import check_embedding_key
from ...learn.context_cells import ContextCells, context_cells
from ...learn.context_slices import Slicing, cut, distances, slicing_of, spacing
from ...pp.units import coordinate_unit

OTHER_SPACING = 2.0  # times; tissues differ by less, pixels of half a µm by as much

if TYPE_CHECKING:
    from anndata import AnnData

    from ...models.context import ContextEncoder


@public(all_threads=True)
def embed_context(
    adata: AnnData,
    *,
    use_rep: str,
    model: str | ContextEncoder = "stofm",
    weights: str | PathLike | None = None,
    library_key: str | None = SAMPLE_KEY,
    spatial_key: str = SPATIAL,
    slicing: Mapping[str, Any] | None = None,
    device: str | None = None,
    random_state: int = 0,
    key_added: str = "X_context",
    copy: bool = False,
) -> np.ndarray | None:
    """Embed cells in the context of their tissue, from any embedding of single cells.

    SToFM (Zhao et al. 2025, ICML, arXiv:2507.11588) takes a slice in pieces of about 1,000 cells. A piece also has
    virtual cells: the means of a Leiden clustering of the whole slice, which bring in what lies beyond it. In a
    transformer each cell looks at all of them, guided by their distances. What it gives does not change where a piece
    is moved, turned or mirrored, nor with the order of its cells; for how a slice becomes pieces, see `slicing`. Memory
    follows a piece, not the slice.

    The weights are those of the authors, for the 256 columns of their cell encoder of RNA in ``obsm``, or your own, by
    `spatialfm.train.pretrain_context`, for any embedding, with which come the scale of its columns and the slicing.

    Parameters
    ----------
    adata
        Cells, one row each.
    use_rep
        Key of ``obsm`` with the embedding of each cell, or ``"X"``.
    model
        ``"stofm"``, or what `spatialfm.train.pretrain_context` returned.
    weights
        Folder that `spatialfm.train.pretrain_context` wrote, or the published file; the sizes are read from it.
    library_key
        Column of ``obs`` with the slice (sample); the usual one need not be there where there is one slice.
    spatial_key
        Key of ``obsm`` with the coordinates.
    slicing
        Fields that depart from how the model was trained (default: as published): ``n_cells`` of a piece (1000);
        ``frame``, ``"box"`` (published: squares along the axes of the coordinates) or ``"axes"`` (along the principal
        axes of the slice: nothing depends on how it lay on the glass); ``unit``, the length of a unit of distance in
        that of the coordinates (published, None: a hundredth of the diagonal of each slice); ``n_neighbors`` (50) whose
        distance a cell knows; ``resolution`` (1.0) and ``alpha`` (0.2) of the clustering.
    device
        Device; default ``settings.device``.
    random_state
        Seed of the clustering.
    key_added
        Key of ``obsm`` that is written.
    copy
        Return the vectors alone, an array. The record of how they were made is only written.

    Returns
    -------
    None, or with `copy` the vectors. Written:

    ``obsm[key_added]``
        ``(n_cells, dim)``, float32, one row for each cell.
    ``uns["spatialfm"][key_added]``
        Record: model, weights and their SHA-256, licence, `use_rep`, the whole slicing, slices, pieces, virtual cells
        by slice, and ``n_kept_at_edge``: cells on the far edge which, by rounding, are in no square of the released
        code (whose rows stay zero there). They are kept here, in the last square.

    Raises
    ------
    TableError
        If the embedding or the coordinates are missing or hold NaN, or would be overwritten, or a slice has fewer than
        50 cells.
    ModelError, WeightsError
        If there are no weights, or they are for an embedding of another width, of other columns or made otherwise.

    Warns
    -----
    SpatialfmWarning
        If the embedding or the slicing is another one than the model was trained on, or its columns are in another
        unit; or, with ``unit``, if cells are half or twice as far apart as they were then.

    Examples
    --------
    >>> import tempfile
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = sfm.train.pretrain_context(
    ...         cells,
    ...         use_rep="X_latent",
    ...         out=folder + "/context",
    ...         shape={"dim": 16, "hidden": 16, "heads": 2, "depth": 1},
    ...         steps=2,
    ...         batch_size=2,
    ...     )
    ...     sfm.tl.embed_context(cells, use_rep="X_latent", weights=folder + "/context")
    >>> cells.obsm["X_context"].shape
    (200, 16)
    """
    from ...models.context import load_context
    from ...models.encoder import resolve_device

    check_anndata(adata, "embed_context", None if copy else key_added)
    check_embedding_key(key_added)
    if key_added in (use_rep, spatial_key) and not copy:
        raise TableError(f"key_added={key_added!r} is what is read: it would be lost. Pass another name.")
    if not isinstance(model, str) and weights is not None:
        raise TableError("weights= belongs to a model by name. Leave it out where a trained model is passed.")
    encoder = load_context(model, weights) if isinstance(model, str) else model
    how = slicing_of(encoder.slicing, slicing)
    cells = context_cells(adata, use_rep, library_key, spatial_key)
    encoder.check_width(cells.values.shape[1], use_rep)
    encoder.check_made(cells.made, use_rep)
    if encoder.columns is not None:
        tell_another_scale(cells.values, encoder.columns.mean, encoder.columns.std, f"{use_rep!r} (use_rep=)")
    _say_what_differs(encoder, how, use_rep, coordinate_unit(adata.uns))
    _say_spacing(encoder, how, cells)

    began = time.perf_counter()
    rows, notes = _vectors(encoder, cells, how, use_rep, resolve_device(device), random_state)
    seconds = time.perf_counter() - began
    logger.info("%s: %s in %.1f s", key_added, counted(len(rows), "cell"), seconds)
    if copy:
        return rows
    adata.obsm[key_added] = rows
    fields = {"library_key": library_key, "spatial_key": spatial_key, "random_state": random_state, "seconds": seconds}
    write_record(adata, key_added, make_record(**encoder.record(use_rep), **vars(how), **notes, **fields))
    return None


def _vectors(
    encoder: ContextEncoder, cells: ContextCells, how: Slicing, use_rep: str, device: Any, random_state: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """One vector per cell, and what is to be said of the slices."""
    vectors = np.zeros((len(cells.values), encoder.network.config.dim), np.float32)
    virtual: dict[str, int] = {}
    n_pieces = n_at_edge = 0
    encoder.network.to(device)
    with progress_bar(total=len(vectors), unit="cell") as bar:
        for name, rows in cells.rows():
            tissue = cut(cells.xy[rows], encoder.prepare(cells.values[rows], use_rep), how, random_state)
            virtual[name], n_pieces, n_at_edge = (
                len(tissue.virtual),
                n_pieces + len(tissue.parts),
                n_at_edge + tissue.n_at_edge,
            )
            for number, part in enumerate(tissue.parts):
                piece = tissue.piece(number)
                known = distances(piece.xy, piece.types, how.n_neighbors)
                vectors[rows[part]] = encoder.encode(piece.tokens, piece.types, known, device)[-len(part) :]
                bar.update(len(part))
    if n_at_edge:
        logger.info(
            "%s on the far edge of their slice kept, which the released code leaves out", counted(n_at_edge, "cell")
        )
    return vectors, {
        "n_slices": len(virtual),
        "n_pieces": n_pieces,
        "n_kept_at_edge": n_at_edge,
        "virtual_cells": virtual,
    }


def _say_what_differs(encoder: ContextEncoder, how: Slicing, use_rep: str, unit: str) -> None:
    """Warn where a model is used in another way than it was trained, and where a unit of length is not known."""
    if encoder.use_rep and encoder.use_rep != use_rep:
        warn(
            f"The model was trained on {encoder.use_rep!r} and is used on {use_rep!r}: its vectors mean something only "
            f"if these are the same embedding under two names. Otherwise pass use_rep={encoder.use_rep!r}."
        )
    trained = slicing_of(encoder.slicing, None)
    if changed := [name for name, value in vars(trained).items() if value != getattr(how, name)]:
        words = ", ".join(f"{name} is {getattr(how, name)!r}, and was {getattr(trained, name)!r}" for name in changed)
        warn(
            f"Slices are cut in another way than when the model was trained: {words}. Leave slicing= out to do as then."
        )
    if how.unit is not None and unit == "pixel":
        warn(f"No pixel size is known for these cells: a unit of {how.unit:g} is taken in pixels, not in µm.")


def _say_spacing(encoder: ContextEncoder, how: Slicing, cells: ContextCells) -> None:
    """Warn where places are in another unit than those that the model was trained on, such as pixels beside µm."""
    if how.unit is None or encoder.spacing is None or how.unit != encoder.slicing.get("unit"):
        return
    times = spacing([cells.xy[rows] / how.unit for _, rows in cells.rows()]) / encoder.spacing
    if not 1 / OTHER_SPACING < times < OTHER_SPACING:
        warn(
            f"Nearest cells are {times:.3g} times as far apart as in the slices that the model was trained on, as if "
            "coordinates were in another unit (pixels beside µm). Bring them to that one, unless the tissue is that "
            "much denser or sparser."
        )
