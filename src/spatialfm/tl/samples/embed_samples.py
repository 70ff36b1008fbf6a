"""One vector for each sample: from a table of cells or tiles to a table of samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._errors import TableError, counted, listed, warn
from ..._keys import PATIENT_KEY, SAMPLE_KEY, SPATIAL
from ..._logging import logger
from ..._optional import need
from ..._origin import carry_origins
from ..._outcome import carry_outcome
from ..._preparation import STANDARDIZED, column_scale, preparation
from ..._progress import progress_bar
from ..._public import public
from ..._storable import write_uns
from ...cohort.checks import check_anndata, check_samples, codes_by_appearance, obs_column, order_of_names
from ...cohort.comparability import different_making, how_made, tell_another_scale
from ...cohort.fitted import fitted_on_all
from ...cohort.representation import n_different, representation
from ...pp.units import places_in_um
from ...stats.transport import moved_points
from .composition import constant_columns

if TYPE_CHECKING:
    from anndata import AnnData

KEY = "embed_samples"
OURS = ("mean", "statistics", "transport")
SAME_SIZE = 1.1  # times that tiles of one sample may be larger than those of another
OFF_GRID = 0.2  # of the distance of tiles
FEW_TILES = 5  # of a sample, below which none may have a neighbour: a distance of several tiles
Encode = Callable[[np.ndarray, np.ndarray | None], Any]


@public
def embed_samples(
    adata: AnnData,
    *,
    use_rep: str,
    model: str | Callable[[np.ndarray, np.ndarray | None], np.ndarray] = "mean",
    library_key: str = SAMPLE_KEY,
    quantiles: Sequence[float] = (0.1, 0.25, 0.5, 0.75, 0.9),
    n_points: int = 16,
    reference: AnnData | None = None,
    max_rows: int = 2_000,
    tile_size: float | None = None,
    weights: str | PathLike | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    random_state: int = 0,
) -> AnnData:
    """Embed each sample or slide by the embeddings of its cells or tiles.

    Parameters
    ----------
    adata
        Cells or tiles.
    use_rep
        Key of ``obsm`` or ``"X"``.
    model
        ``"mean"``; ``"statistics"``: mean, standard deviation and `quantiles` of each column; ``"transport"``: where
        `n_points` reference points go when they are moved onto the sample by optimal transport (Wang et al. 2013;
        Kolouri et al. 2021), so that distances of samples are near those of their whole distributions (needs POT);
        a slide encoder that its own code runs: ``"titan"``, ``"feather"``, ``"feather-uni"``, ``"feather-uni2"``
        (``"threads"`` is known, but nobody has published it); or a function of features ``(n, columns)`` and places in
        µm ``(n, 2)`` (None where there are none) that gives a vector.
    library_key
        Column of ``obs`` with the sample.
    quantiles
        Of ``"statistics"``.
    n_points
        Reference points of ``"transport"``: k-means centres of equally many rows of each sample.
    reference
        An earlier result of ``"transport"``, whose reference points and scales are used: another cohort is then
        embedded in the same way. Its columns must be the same in the same order.
    max_rows
        Rows of a sample that are transported, or that reference points are found from; of more, a random part.
    tile_size
        Distance of neighbouring tiles in µm, for slide encoders that take places (default: the smallest found in each
        sample; of fewer than five tiles that of the others, if it is a multiple of that).
    weights
        Of a slide encoder: a folder with its whole repository, or a hub repository (default: the published one).
    trust_remote_code
        Whether the code in that repository may run.
    device
        Torch device of a slide encoder (default: ``sfm.settings.device``).
    random_state
        Seed of the parts and the reference points.

    Returns
    -------
    AnnData of samples by columns of the embedding (``X``, float32), in their order of appearance. ``obs`` holds every
    column of ``adata.obs`` that is constant within all samples (the clinical ones) and ``n_rows``;
    ``uns["embed_samples"]`` has ``params``, and of ``"transport"`` the ``reference`` points, ``scale``, and
    ``moments``, mean and standard deviation of the columns as they came. Measured features are standardised over all
    rows for ``"transport"``, where distances are taken; otherwise columns stay as they are.

    Raises
    ------
    TableError
        If a column is missing, a representation holds NaN or was made otherwise than that of `reference`, a function
        gives vectors of several lengths, or an encoder needs places in µm and they are in pixels of unknown size.
    ClinicalError
        If a sample belongs to two patients.
    ModelError
        If a slide encoder takes features of another width, is not published, or may not run its code.

    Warns
    -----
    SpatialfmWarning
        If the columns are in another unit than those of `reference`, a function is given places in pixels, as their
        size is not known, or tiles are of several sizes or do not lie on a grid.

    Examples
    --------
    >>> import spatialfm as sfm
    >>> cells = sfm.datasets.simulate_cells(n_patients=3, cells_per_patient=50, random_state=0)
    >>> samples = sfm.tl.embed_samples(cells, use_rep="X_latent", model="statistics", quantiles=[0.5])
    >>> samples.shape, samples.var_names[32]
    ((3, 96), 'X_latent_0 sd')
    """
    check_anndata(adata, "embed_samples")
    if reference is not None and model != "transport":
        raise TableError(f'reference= belongs to model="transport", and model is {model!r}. Leave one of them out.')
    values = representation(adata, use_rep)
    samples = obs_column(adata, library_key, "library_key", rows="rows")
    if PATIENT_KEY in adata.obs and library_key != PATIENT_KEY:
        check_samples(samples, adata.obs[PATIENT_KEY], TableError)
    codes, names = codes_by_appearance(samples)
    order = order_of_names(adata.obs_names)  # what is drawn does not depend on the order of the table
    rows = [order[codes[order] == code] for code in range(len(names))]
    columns = list(map(str, adata.var_names)) if use_rep == "X" else [f"{use_rep}_{i}" for i in range(values.shape[1])]
    by_name = order_of_names(names)
    record: dict[str, Any] = {}
    if model == "mean":
        table = pd.DataFrame([values[mine].mean(axis=0, dtype=np.float64) for mine in rows], columns=columns)
    elif model == "statistics":
        table = _statistics(values, rows, columns, quantiles)
    elif model == "transport":
        need("ot", 'model="transport"')
        table, record = _transported(
            adata, values, [rows[i] for i in by_name], columns, use_rep, reference, n_points, max_rows, random_state
        )
        table = table.iloc[np.argsort(by_name)]
    else:
        encode, places, record = _encoder(
            adata, values, rows, names, (library_key, use_rep), model, tile_size, weights, trust_remote_code, device
        )
        table = _encoded(values, places, rows, names, encode)
    result = _table(adata, table, codes, names, library_key)
    params = {"model": model if isinstance(model, str) else getattr(model, "__name__", "function"), "use_rep": use_rep}
    params |= {"library_key": library_key, "max_rows": max_rows, "random_state": random_state}
    params |= ({"quantiles": list(quantiles)} if model == "statistics" else {}) | record.pop("params", {})
    made = [f"reference points of obsm[{use_rep!r}]"] if model == "transport" and reference is None else []
    params["fitted_on_all"] = ", ".join(filter(None, [fitted_on_all(adata, use_rep), *made]))
    write_uns(result, KEY, record | {"params": params})
    logger.info("%d samples by %d columns from %d rows.", *result.shape, adata.n_obs)
    return result


def _statistics(
    values: np.ndarray, rows: list[np.ndarray], columns: list[str], quantiles: Sequence[float]
) -> pd.DataFrame:
    """Mean, standard deviation (of the population) and quantiles, one block of columns each."""
    parts = []
    for mine in rows:
        part = values[mine].astype(np.float64)
        cuts = np.quantile(part, list(quantiles), axis=0) if len(quantiles) else np.empty((0, part.shape[1]))
        parts.append(np.concatenate([part.mean(axis=0), part.std(axis=0), cuts.ravel()]))
    kinds = ["mean", "sd", *(f"q{100 * share:g}" for share in quantiles)]
    return pd.DataFrame(parts, columns=[f"{name} {kind}" for kind in kinds for name in columns])


def _transported(
    adata: AnnData, values: np.ndarray, rows: list[np.ndarray], columns: list[str], use_rep: str,
    reference: AnnData | None, n_points: int, max_rows: int, seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Reference points moved onto each sample, and what another cohort needs."""
    rng, made = np.random.default_rng(seed), how_made(adata, use_rep)
    moments = np.stack(column_scale(values.astype(np.float64), STANDARDIZED))
    parts = [mine if len(mine) <= max_rows else rng.choice(mine, max_rows, replace=False) for mine in rows]
    if reference is None:
        mean, sd = (moment.astype(np.float64) for moment in column_scale(values, preparation(adata, use_rep)))
        scaled = (values - mean) / sd
        points = _reference_points(scaled, parts, n_points, rng, seed)
    else:
        points, mean, sd = _given_reference(reference, use_rep, values.shape[1], made)
        moments = np.asarray(reference.uns[KEY].get("moments", moments), np.float64)
        tell_another_scale(values, *moments, f"{use_rep!r} (use_rep=)")
        scaled = (values - mean) / sd
    moved = [moved_points(scaled[part], points).ravel() for part in progress_bar(parts, desc="samples")]
    names = [f"point {place} {name}" for place in range(len(points)) for name in columns]
    table = pd.DataFrame(np.array(moved) / np.sqrt(len(points)), columns=names)
    params = {"n_points": len(points), "made": json.dumps(made)}
    return table, {"reference": points, "scale": np.stack([mean, sd]), "moments": moments, "params": params}


def _reference_points(
    scaled: np.ndarray, parts: list[np.ndarray], n_points: int, rng: np.random.Generator, seed: int
) -> np.ndarray:
    """Centres of equally many rows of each sample."""
    from ...learn.k_means import k_means

    fewest = min(map(len, parts))
    drawn = np.concatenate([rng.choice(part, fewest, replace=False) for part in parts])
    if (different := n_different(scaled[drawn], n_points)) < n_points:
        raise TableError(
            f"Equally many rows of each sample ({fewest}, as the smallest has) are {different} different ones, fewer "
            f"than n_points={n_points}. Pass fewer points, or leave small samples out."
        )
    return k_means(n_points, len(drawn), 10, seed).fit(scaled[drawn]).cluster_centers_.astype(np.float64)


def _given_reference(
    reference: AnnData, use_rep: str, width: int, made: dict[str, str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stored = reference.uns.get(KEY, {})
    if "reference" not in stored:
        raise TableError(
            'reference= holds no reference points: it is not a result of embed_samples(model="transport").'
        )
    points, scale = np.asarray(stored["reference"], np.float64), np.asarray(stored["scale"], np.float64)
    if stored["params"]["use_rep"] != use_rep or points.shape[1] != width:
        raise TableError(
            f"reference= is of {stored['params']['use_rep']!r} with {points.shape[1]} columns; use_rep={use_rep!r} has "
            f"{width}. Embed both cohorts in the same way."
        )
    earlier = json.loads(stored["params"].get("made") or "{}")
    if words := different_making(earlier, made, use_rep, "reference=", "adata"):
        raise TableError(words)
    return points, scale[0], scale[1]


def _encoder(
    adata: AnnData, values: np.ndarray, rows: list[np.ndarray], names: list[str], keys: tuple[str, str],
    model: str | Encode, tile_size: float | None, weights: str | PathLike | None, trust_remote_code: bool,
    device: str | None,
) -> tuple[Encode, np.ndarray | None, dict[str, Any]]:  # fmt: skip
    """A function of features and places, the places, and the entry in the record; all is checked before it is used."""
    if not isinstance(model, str):
        return model, _places(adata, *keys) if SPATIAL in adata.obsm else None, {}
    from ...models.encoder import resolve_device
    from ...models.slide import SLIDE_CARDS, check_tiles, check_width, load_slide_encoder, record_of, slide_card

    if model not in SLIDE_CARDS:
        raise TableError(f"model={model!r} is not one of {listed([*OURS, *SLIDE_CARDS], 12)}, or a function.")
    card = slide_card(model)
    check_width(card, values.shape[1])
    places, sizes = None, [tile_size] * len(rows)
    if card.call == "grid":
        places = _places(adata, *keys, needed=True)
        sizes = [float(tile_size)] * len(rows) if tile_size else _spacing(places, rows)
        _check_spacing(places, rows, names, sizes)
        tile_size = float(np.median(sizes))
        check_tiles(card, tile_size)
    encoder = load_slide_encoder(model, weights, trust_remote_code=trust_remote_code, device=resolve_device(device))
    notes = {**record_of(encoder), "tile_size": tile_size or ""}
    size_of = iter(sizes)  # samples come in their order, each with the grid of its own
    return lambda features, places: encoder.encode(features, places, next(size_of)), places, {"params": notes}


def _encoded(
    values: np.ndarray, places: np.ndarray | None, rows: list[np.ndarray], names: list[str], encode: Encode
) -> pd.DataFrame:
    """Vectors of all samples, which must be of one length and finite."""
    vectors: list[np.ndarray] = []
    for mine, name in zip(progress_bar(rows, desc="samples"), names, strict=True):
        output = encode(values[mine], None if places is None else places[mine])
        try:
            vector = np.asarray(output, np.float64)
        except (TypeError, ValueError):
            raise TableError(f"model= gave {type(output).__name__} for sample {name!r}, not a finite vector.") from None
        if vector.ndim != 1 or not np.isfinite(vector).all() or not len(vector):
            raise TableError(f"model= gave an array of shape {vector.shape} for sample {name!r}, not a finite vector.")
        if vectors and len(vector) != len(vectors[0]):
            raise TableError(
                f"model= gave {counted(len(vector), 'number')} for sample {name!r} and {len(vectors[0])} for "
                f"{names[0]!r}: a table has columns of one meaning."
            )
        vectors.append(vector)
    return pd.DataFrame(vectors, columns=[f"column {i}" for i in range(len(vectors[0]))])


def _places(adata: AnnData, library_key: str, use_rep: str, *, needed: bool = False) -> np.ndarray:
    """Centres ``(n, 2)`` in µm; `needed` refuses pixels whose size is not known."""
    places, unknown = places_in_um(adata, SPATIAL, library_key, use_rep=use_rep)
    if unknown:
        words = f"Places of {counted(len(unknown), 'sample')} ({listed(unknown, 5)}) are in pixels of unknown size"
        if needed:
            raise TableError(
                f"{words}. Say it when tiles are made: embed_tiles(..., elements={{'mpp': <µm per pixel>}})."
            )
        warn(f"{words}: model= is given them in pixels, not in µm.")
    return places


def _spacing(places: np.ndarray, rows: list[np.ndarray]) -> list[float]:
    """Smallest distance of two tiles of each sample along an axis.

    Of one tile, or of few that are a whole number of the others' distances apart, it is the median of the others.
    """
    steps: list[float] = []
    for mine in rows:
        gaps = np.concatenate([np.diff(np.unique(places[mine, axis].round(3))) for axis in (0, 1)])
        gaps = gaps[gaps > 1e-3 * gaps.max(initial=0.0)]  # not what rounding leaves between tiles of one column
        steps += [float(gaps.min()) if len(gaps) else np.nan]
    if np.isnan(steps).all():
        raise TableError("Each sample has one tile: pass their distance in µm, tile_size=.")
    smallest, few = np.array(steps), np.array([len(mine) < FEW_TILES for mine in rows])
    usual = np.nanmedian(smallest if np.isnan(smallest[~few]).all() else smallest[~few])
    times = smallest / usual
    scattered = few & (times > 1.5) & (np.abs(times - np.rint(times)) < OFF_GRID)
    return np.where(np.isnan(smallest) | scattered, usual, smallest).tolist()


def _check_spacing(places: np.ndarray, rows: list[np.ndarray], names: list[str], sizes: list[float]) -> None:
    """Say where tiles of samples are of different sizes, or do not lie on a grid: the model is told of one."""
    least, most = int(np.argmin(sizes)), int(np.argmax(sizes))
    if sizes[most] > SAME_SIZE * sizes[least]:
        warn(
            f"Tiles of {names[least]!r} are {sizes[least]:g} µm apart and those of {names[most]!r} {sizes[most]:g} µm: "
            "each sample is put on its own grid, but features of tiles of several sizes cannot be compared."
        )
    for mine, name, size in zip(rows, names, sizes, strict=True):
        steps = (places[mine] - places[mine].min(axis=0)) / size
        off = (np.abs(steps - np.rint(steps)) > OFF_GRID).any(axis=1)
        if off.any():
            warn(
                f"{counted(int(off.sum()), 'tile')} of {len(mine)} of sample {name!r} lie between the places of a grid "
                f"of {size:g} µm, and are moved to the nearest. Pass the distance of tiles, tile_size=."
            )


def _table(adata: AnnData, table: pd.DataFrame, codes: np.ndarray, names: list[str], library_key: str) -> AnnData:
    """Samples with their clinical columns."""
    from anndata import AnnData

    obs = constant_columns(adata.obs, codes, names).drop(columns=library_key, errors="ignore")
    obs.insert(0, library_key, names)
    obs["n_rows"] = np.bincount(codes, minlength=len(names))
    result = AnnData(table.to_numpy(np.float32), obs=obs, var=pd.DataFrame(index=table.columns.astype(str)))
    carry_origins(adata, result)
    carry_outcome(adata, result)
    return result
