"""Reading what the package wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._errors import ElementError, ModelError, PanelError, counted, listed
from ._imputed import imputed, with_imputed
from ._keys import UNS
from ._logging import logger
from ._public import public
from ._record import record
from ._storable import named_table

if TYPE_CHECKING:
    import dask.array as da
    from anndata import AnnData

    from .models.recipe import Recipe

__all__ = ["basis", "features", "imputed", "marker_embedding", "recipe", "record", "table", "with_imputed"]


def __dir__() -> list[str]:
    return sorted(__all__)


@public
def recipe(adata: AnnData, use_rep: str, *, changes: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of an embedding, to embed another cohort in the same way.

    Statistics that were computed over the first cohort, or given, are carried over, and so is the pixel size that its
    images were brought to. What was fitted on its cells is not part of a recipe: pass ``reduce={"basis":
    sfm.get.basis(...)}`` for principal components.

    Parameters
    ----------
    adata
        Table with an embedding.
    use_rep
        Key in ``obsm``.
    changes
        Fields of the recipe to depart in: those that were said for each sample of the first cohort mean nothing in
        another.

    Returns
    -------
    What ``recipe=`` of `spatialfm.tl.embed_cells` takes.

    Raises
    ------
    ElementError
        If there is no record of that embedding, it is of a version that stored no recipe, or a field that it could not
        keep (a mask of tissue that was passed as an array) is not among `changes`.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> small = {"n_patients": 1, "image_size": 96, "difficulty": "easy"}
    >>> one, two = (sfm.datasets.simulate_cohort(**small, random_state=seed) for seed in (0, 1))
    >>> sfm.tl.embed_cells(one, "classical")
    >>> sfm.tl.embed_cells(two, "classical", recipe=sfm.get.recipe(one["table"], "X_classical"))
    >>> scales = [sfm.get.record(sdata["table"], "X_classical")["normalization_std"] for sdata in (one, two)]
    >>> scales[0] == scales[1]
    True
    """
    from .models.recipe import NOT_KEPT, Recipe

    notes, changes = record(adata, use_rep), dict(changes or {})
    stored = notes.get("recipe")
    if not isinstance(stored, Mapping):
        raise ElementError(f"The record of {use_rep!r} is of a version that stored no recipe. Embed again.")
    fields = {name: value for name, value in stored.items() if name not in changes}
    for name, value in fields.items():
        if isinstance(value, Mapping) and NOT_KEPT in value:
            raise ElementError(
                f"{name!r} of {use_rep!r} was given as {value[NOT_KEPT]}, which a record does not keep. Say what it is "
                f"for the other cohort: sfm.get.recipe(adata, {use_rep!r}, changes={{{name!r}: ...}})."
            )
    ranges = fields.get("intensity_max")
    if isinstance(ranges, Mapping) and len(set(ranges.values())) == 1 and fields["scaling"] == "range":
        fields["intensity_max"] = next(iter(ranges.values()))  # the same for all samples means it for others, too
    if fields.get("centers") is not None:
        fields["centers"] = tuple(fields["centers"])
    if "statistics" in fields and {"cohort", "given"} & set(notes["normalization_source"]):
        names = ("model", "normalization", "preparation", "normalization_mean", "normalization_std", "markers")
        fields["statistics"] = {name: notes[name] for name in (*names, "intensity_max")}
    return Recipe(**fields, **changes)


@public
def marker_embedding(adata: AnnData, use_rep: str, marker: str) -> np.ndarray | da.Array:
    """The columns of one marker from a marker-wise embedding.

    Parameters
    ----------
    adata
        Table with an embedding made with ``outputs="marker"``.
    use_rep
        Key in ``obsm``.
    marker
        Marker, as listed in the record.

    Returns
    -------
    ``(n_cells, D)``, a view where possible; a dask array, of which nothing is read yet, where the embedding is one.

    Raises
    ------
    ModelError
        If the embedding is not marker-wise.
    PanelError
        If it does not hold the marker.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=64, difficulty="easy")
    >>> sfm.tl.embed_cells(sdata, "kronos", weights="random", markers=["DAPI", "CD3"])
    >>> sfm.get.marker_embedding(sdata["table"], "X_kronos", "CD3").shape[1]
    384
    """
    notes = _record_with(adata, use_rep, "n_components", "output", "markers", "embedding_dim")
    if notes["n_components"]:
        raise ModelError(
            f"{use_rep!r} was reduced to principal components, which belong to no marker. Embed it without a reduction."
        )
    if notes["output"] != "marker":
        raise ModelError(
            f"{use_rep!r} holds output {notes['output']!r}. sfm.tl.embed_cells(..., outputs='marker') gives one vector "
            "per marker."
        )
    if marker not in notes["markers"]:
        raise PanelError(f"No marker {marker!r} in {use_rep!r}; it holds {', '.join(notes['markers'])}.")
    place, width = notes["markers"].index(marker), int(notes["embedding_dim"])
    return _values(adata, use_rep, notes, width * len(notes["markers"]))[:, place * width : (place + 1) * width]


@public
def basis(adata: AnnData, use_rep: str) -> dict[str, np.ndarray]:
    """Mean and principal components of a reduced embedding, to project another cohort on (``basis=``).

    Parameters
    ----------
    adata
        Table with an embedding made with ``reduce="pca"``.
    use_rep
        Key in ``obsm``.

    Returns
    -------
    ``mean`` ``(columns,)``, ``components`` ``(n_components, columns)``, ``explained`` ``(n_components,)``.

    Raises
    ------
    ElementError
        If the embedding was not reduced.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.tl.embed_cells(sdata, "classical", reduce={"n_components": 5})
    >>> sfm.get.basis(sdata["table"], "X_classical")["components"].shape
    (5, 103)
    """
    name, notes = f"{use_rep}_basis", record(adata, use_rep)
    if name not in adata.uns.get(UNS, {}):
        raise ElementError(f"{use_rep!r} was not reduced. Embed with sfm.tl.embed_cells(..., reduce='pca').")
    stored = adata.uns[UNS][name]
    if not isinstance(stored, Mapping) or not {"mean", "components"} <= set(stored):
        raise ElementError(f"The basis of {use_rep!r} lacks its mean or components. Embed again.")
    arrays = {part: np.asarray(values) for part, values in stored.items()}
    shape = arrays["components"].shape
    if len(shape) != 2:
        raise ElementError(f"The components of the basis of {use_rep!r} are not a table of numbers. Embed again.")
    wanted = tuple(notes.get(field) or size for field, size in zip(("n_components", "n_columns"), shape, strict=True))
    if shape != wanted:
        raise ModelError(
            f"The basis of {use_rep!r} has {shape[0]} components of {shape[1]} columns, its record has "
            f"{wanted[0]} of {wanted[1]}: it is that of another embedding. Embed again."
        )
    return arrays


@public
def features(adata: AnnData, use_rep: str) -> pd.DataFrame:
    """An embedding whose columns have names (``classical``, ``mean-intensity``) as a table.

    Parameters
    ----------
    adata
        Table with an embedding.
    use_rep
        Key in ``obsm``.

    Returns
    -------
    One row per cell, one column per feature; an embedding that stays on disk is brought into memory.

    Raises
    ------
    ModelError
        If the columns of the model have no names.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> sdata = sfm.datasets.simulate_cohort(n_patients=1, n_samples=1, image_size=96, difficulty="easy")
    >>> sfm.tl.embed_cells(sdata, "mean-intensity")
    >>> sfm.get.features(sdata["table"], "X_mean_intensity").shape[1]
    12
    """
    notes = _record_with(adata, use_rep, "feature_names")
    names = notes["feature_names"]
    if not names:
        raise ModelError(f"The columns of {use_rep!r} have no names; only classical features do.")
    values = _values(adata, use_rep, notes, len(names))
    if hasattr(values, "compute"):
        logger.info("%s: %.1f GB are brought into memory", use_rep, values.nbytes / 1e9)
    return pd.DataFrame(np.asarray(values), index=adata.obs_names, columns=names)


@public
def table(adata: AnnData, key: str, name: str | None = None) -> pd.DataFrame:
    """A table that a tool wrote, its columns named after types, markers and samples.

    Stores cannot hold every name: ``Mac/Mono`` is a column ``Mac_Mono`` of ``obsm[key]``. Here it has its own name.

    Parameters
    ----------
    adata
        Table with the result.
    key
        Key in ``obsm``; with `name`, in ``uns``.
    name
        Name of a table in ``uns[key]``.

    Raises
    ------
    TableError
        If there is no such table.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> adata = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=100, random_state=0)
    >>> adata.obs["lineage"] = (adata.obs["type"] == "B").map({True: "B/plasma", False: "other"})
    >>> sfm.tl.annotate(adata, "lineage", use_rep="X_latent", C=1.0)
    >>> sfm.get.table(adata, "lineage_predicted_probability").columns.tolist()
    ['B/plasma', 'other']
    """
    return named_table(adata, key, name)


def _record_with(adata: AnnData, key: str, *needed: str) -> dict[str, Any]:
    """The record, if it has what is needed."""
    notes = record(adata, key)
    if missing := [name for name in needed if name not in notes]:
        raise ElementError(f"The record of {key!r} lacks {listed(missing)}: it was changed. Embed again.")
    if "embedding_dim" in needed and not str(notes["embedding_dim"]).isdecimal():
        raise ElementError(f"The record of {key!r} has no whole number as embedding_dim: it was changed. Embed again.")
    for name in {"markers", "feature_names"} & set(needed):
        if isinstance(notes[name], str | bytes) and not notes[name]:
            notes[name] = []
        if not isinstance(notes[name], list | tuple | np.ndarray):
            raise ElementError(f"The record of {key!r} has no list of {name}: it was changed. Embed again.")
        notes[name] = [str(each) for each in notes[name]]
    return notes


def _values(adata: AnnData, key: str, notes: dict[str, Any], width: int) -> np.ndarray | da.Array:
    """``obsm[key]``, if it has as many columns as its record states."""
    if key not in adata.obsm:
        raise ElementError(f"No obsm[{key!r}], only its record. Make it again with sfm.tl.embed_cells.")
    values = adata.obsm[key]
    if isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    if values.ndim != 2 or values.shape[1] != width:
        made_of = (
            f"{notes.get('model', '')}, output {notes.get('output', '')!r}, "
            f"{counted(len(notes.get('markers', ())), 'marker')}"
        )
        raise ModelError(
            f"obsm[{key!r}] has {values.shape[-1]} columns, its record has {width} ({made_of}): it was replaced "
            "or cut. Keep your results under another key, and embed again."
        )
    return values
