"""Tables that say the same give the same, by names: other types of columns, other orders of categories, other names.

The functions are taken from the package, their calls from `test_round_trip.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy  # noqa: F401  (loaded here, its graphs are those of graphs.py, which need no compiling)
import test_round_trip as calls
from scipy import sparse

import spatialfm as sfm
from spatialfm import _origin

TEXT = ["patient", "sample", "phenotype", "leiden", "part"]
CALLS = [(name, number) for name in calls.CELLS for number in range(len(calls.CELLS[name]))]
SLOW = {
    "align",
    "added_value",
    "discover_signatures",
    "embed_samples",
    "evaluate_annotation",
    "mil",
    "power",
    "stratify",
}
EACH = pytest.mark.parametrize(
    ("name", "number"),
    [pytest.param(*one, marks=pytest.mark.slow if one[1] or one[0] in SLOW else ()) for one in CALLS],
)
# clocks, digests of the bytes of a table, what columns were not constant, and arrays in the order of features
NOT_COMPARED = {
    "origins", "seconds", "times", "virtual_cells", "digest", "data", "weights_sha256", "columns_left_out",
    "features", "n_features", "model", "centers",
}  # fmt: skip
ROUNDING = 2e-5
# fits that end at a tolerance, and then in another last step
STOPS_AT = {"coxnet": 1e-3, "suggest_labels": 2e-4, "evaluate_annotation": 2e-4}
WRITTEN_INTO = {"calibrate_imputation", "embed_context"}  # by the calls: neither a view nor sparse
BY_CODES = dict.fromkeys(WRITTEN_INTO, "the call takes patients by their codes")


def other_types(cells: ad.AnnData) -> ad.AnnData:
    """Texts, nullable columns, double precision, a view, names of indices, and columns nobody asks for."""
    obs = cells.obs
    for name, dtype in zip(TEXT, [object, "string", object, "string", "string"], strict=True):
        obs[name] = obs[name].astype(dtype)
    for name, dtype in {"responded": "boolean", "event": "boolean", "inside": "boolean", "stage": "Int64"}.items():
        obs[name] = obs[name].astype(dtype)
    obs["time"] = obs["time"].astype("Float64")
    obs.insert(0, "unrelated", np.arange(len(obs)) % 7)
    obs["nothing"], obs["remark"] = np.nan, pd.Categorical(np.where(obs["inside"].astype(bool), "u", "v"))
    cells.var["unrelated"], cells.uns["unrelated"] = np.arange(cells.n_vars), {"a": 1}
    cells.obsm["A_unrelated"], cells.layers["unrelated"] = np.ones((cells.n_obs, 2)), cells.X * 2
    cells.obsp["unrelated"] = sparse.identity(cells.n_obs, format="csr")
    for name in ("X_model", "X_umap", "X_attended"):
        cells.obsm[name] = np.asfortranarray(cells.obsm[name].astype(np.float64))
    cells.X = cells.X.astype(np.float64)
    cells.obs.index.name, cells.var.index.name = "cell_id", "marker"
    return cells


def other_categories(cells: ad.AnnData) -> ad.AnnData:
    """Categories in another order, ordered ones, and some without cells."""
    for place, name in enumerate(TEXT):
        known = list(cells.obs[name].cat.categories)[::-1]
        known = ["!", known[0], "between", *known[1:]]
        cells.obs[name] = cells.obs[name].cat.set_categories(known, ordered=bool(place % 2))
    return cells


def columns_of(table: ad.AnnData, name: str, width: int) -> list[str]:
    if name == "neighborhood_composition":
        return list(table.uns[name]["categories"])
    return [str(number) for number in range(width)]


def by_name(table: ad.AnnData) -> dict[str, object]:
    """All that a table holds, arrays as tables of rows and columns that have names."""
    found: dict[str, object] = {"obs": table.obs, "uns": dict(table.uns)}
    arrays = {} if table.X is None else {"X": (table.X, table.var_names)}
    arrays |= {f"layers/{name}": (values, table.var_names) for name, values in table.layers.items()}
    for name, values in table.obsm.items():
        if isinstance(values, pd.DataFrame):
            found[f"obsm/{name}"] = values
        else:
            arrays[f"obsm/{name}"] = (values, columns_of(table, name, values.shape[1]))
    for name, (values, columns) in arrays.items():
        values = values.toarray() if sparse.issparse(values) else values
        found[name] = pd.DataFrame(np.asarray(values), index=table.obs_names, columns=columns)
    return found


def plain(values: object) -> np.ndarray:
    """Numbers and truths as float, all else as text; nothing is NaN or empty."""
    column = pd.Series(np.asarray(values, dtype=object).ravel())
    numbers = column.map(lambda one: float(one) if isinstance(one, bool | np.bool_) else one)
    try:
        return pd.to_numeric(numbers).to_numpy(float)
    except (TypeError, ValueError):
        return column.map(lambda one: "" if pd.isna(one) else str(one)).to_numpy(str)


def differences(one: object, two: object, where: str, rounding: float = ROUNDING) -> list[str]:
    """Where two results say other things of the same names; names that only one has are of categories without cells."""
    if isinstance(one, pd.DataFrame):
        one, two = sorted_rows(one), sorted_rows(two)
        both = one.index.intersection(two.index, sort=False)
        if len(both) < min(len(one), len(two)):
            return [f"{where}: rows {list(one.index[:5])} and {list(two.index[:5])}"]
        names = [name for name in one if name in two.columns and name not in NOT_COMPARED]
        parts = [(name, one.loc[both, name], two.loc[both, name]) for name in names]
        return [text for name, a, b in parts for text in differences(a, b, f"{where}/{name}", rounding)]
    if hasattr(one, "items") and not isinstance(one, pd.Series):
        both = [name for name in one if name in two and name not in NOT_COMPARED]
        return [text for name in both for text in differences(one[name], two[name], f"{where}/{name}", rounding)]
    a, b = plain(one), plain(two)
    if a.dtype.kind == "U" and isinstance(one, list | np.ndarray):
        a, b = np.sort(a), np.sort(b)
        a, b = a[np.isin(a, b)], b[np.isin(b, a)]
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return [f"{where}: {a[:3]} and {b[:3]}"]
    wrong = a != b if a.dtype.kind == "U" else ~np.isclose(a, b, rtol=rounding, atol=rounding, equal_nan=True)
    return [f"{where}: {wrong.sum()} of {len(a)}, {a[wrong][:3]} and {b[wrong][:3]}"] if wrong.any() else []


def sorted_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by their names; of tables without names, by their texts."""
    table = table.set_axis(table.columns.astype(str), axis=1)
    if not isinstance(table.index, pd.RangeIndex) and table.index.dtype.kind not in "iu" and table.index.is_unique:
        return table.set_axis(table.index.astype(str))
    texts = [name for name in table if table[name].dtype.kind not in "fc"]
    keys = pd.MultiIndex.from_frame(table[texts].astype(str)) if texts else pd.RangeIndex(len(table))
    keys = pd.Index([" | ".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in keys])
    number = pd.Series(0, index=range(len(keys))).groupby(keys).cumcount().to_numpy()
    return table.set_axis([f"{key} {n}" for key, n in zip(keys, number, strict=True)])


def result(run: Callable[[ad.AnnData], ad.AnnData], cells: ad.AnnData) -> dict[str, object]:
    try:
        return by_name(run(cells))
    finally:
        _origin.forget()


def told(one: dict[str, object], two: dict[str, object], before: ad.AnnData, name: str) -> list[str]:
    """Differences in what was written; columns that were there before are other on purpose."""
    one = dict(one)
    theirs = [name for name in before.obs if name in one["obs"]]
    if "layers/clr" in one and len(two["layers/clr"].columns) > len(one["layers/clr"].columns):
        del one["layers/clr"]  # as documented, of all categories, also those without cells
    one, two = ({**table, "obs": table["obs"].drop(columns=theirs, errors="ignore")} for table in (one, two))
    assert set(one) <= set(two)
    return differences(one, two, "", STOPS_AT.get(name, ROUNDING))


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    cells = calls.cells_of_24()
    cells.obs["phenotype"] = cells.obs["phenotype"].cat.remove_unused_categories()
    del cells.uns["phenotype_colors"]
    return cells


@pytest.fixture(scope="module")
def plainly(cells) -> Callable[[str, int], dict[str, object]]:
    kept: dict[tuple[str, int], dict[str, object]] = {}

    def once(name: str, number: int) -> dict[str, object]:
        if (name, number) not in kept:
            kept[name, number] = result(calls.CELLS[name][number], cells.copy())
        return kept[name, number]

    return once


@pytest.mark.filterwarnings("ignore")
@EACH
def test_other_types_of_columns(cells, plainly, name, number):
    other = other_types(cells.copy())
    if name not in WRITTEN_INTO:
        other.X = sparse.csc_matrix(other.X)
        other = other[:]
    assert not told(plainly(name, number), result(calls.CELLS[name][number], other), cells, name)


@pytest.mark.filterwarnings("ignore")
@EACH
def test_other_orders_of_categories_and_some_without_cells(cells, plainly, name, number):
    if name in BY_CODES:
        pytest.skip(BY_CODES[name])
    assert not told(
        plainly(name, number), result(calls.CELLS[name][number], other_categories(cells.copy())), cells, name
    )


class Seen(Exception):
    """What a call does after the function that is asked is of no interest."""


def common(before: Mapping, after: Mapping) -> dict:
    """What two records both have; new entries may stand beside."""
    return {
        name: common(one, after[name]) if isinstance(one, Mapping) and isinstance(after[name], Mapping) else after[name]
        for name, one in before.items()
    }


def kept(before: ad.AnnData, after: ad.AnnData) -> None:
    """Whatever was in a table is in it, with its kinds, categories and their order."""
    assert before.obs_names.equals(after.obs_names)
    assert before.var_names.equals(after.var_names)
    for part in ("obs", "var"):
        was, now = getattr(before, part), getattr(after, part)
        pd.testing.assert_frame_equal(was, now[list(was)])
    for part in ("obsm", "layers", "obsp"):
        calls.same(dict(getattr(before, part)), {n: getattr(after, part)[n] for n in getattr(before, part)}, part)
    calls.same(dict(before.uns), common(before.uns, after.uns), "uns")
    assert (before.X is None) == (after.X is None)
    if before.X is not None:
        np.testing.assert_array_equal(before.X, after.X)
        assert before.X.dtype == after.X.dtype


def whole(before: ad.AnnData, after: ad.AnnData) -> None:
    """Nothing was added, either."""
    kept(before, after)
    for part in ("obs", "obsm", "layers", "uns"):
        assert list(getattr(before, part)) == list(getattr(after, part))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in calls.CELLS])
def test_what_is_given_stays_as_it_is(cells, monkeypatch, name):
    room = sfm.tl if name in sfm.tl.__all__ else sfm.pp
    function, compared = getattr(room, name), []

    def watched(*args: object, **kwargs: object) -> None:
        given = [one for one in (*args, *kwargs.values()) if isinstance(one, ad.AnnData)]
        before = [one.copy() for one in given]
        compare = kept
        if "copy" in inspect.signature(function).parameters:
            kwargs, compare = kwargs | {"copy": True}, whole
        function(*args, **kwargs)
        for one, other in zip(before, given, strict=True):
            compare(one, other)
        compared.append(name)
        raise Seen

    monkeypatch.setattr(room, name, watched)
    with suppress(Seen):
        calls.CELLS[name][0](cells.copy())
    _origin.forget()
    assert compared
