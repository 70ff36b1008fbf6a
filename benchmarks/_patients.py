"""What the parts of `patients.py` share: classified and compared patients as rows of a table."""

from __future__ import annotations

from pathlib import Path

import _harness
import pandas as pd
from _harness import head, p_text, row
from anndata import AnnData

import spatialfm as sfm

SHUFFLES = 49
CLAIMS: dict[str, list[tuple[str, ...]]] = {}  # cohort: rows of the table of what was published and what came here


def claim(cohort: str, published: str, here: str, agrees: str) -> None:
    CLAIMS.setdefault(cohort, []).append((cohort, published, here, agrees))


def claims(page: Path | None, cohorts: list[str]) -> None:
    """The table of claims; rows of cohorts that were not asked come from the page."""
    _harness.part("claims")
    known = _harness.rows_of(page, "patients.py claims")
    head("cohort", "published", "here", "do they agree")
    for cohort in cohorts:
        for cells in CLAIMS.get(cohort, [line for line in known if line[0] == cohort]):
            row(*cells)


def between(values: list[float]) -> str:
    """``0.55 to 0.66``."""
    return f"{min(values):.2f} to {max(values):.2f}"


def score_head() -> None:
    head("logistic regression on", "patients", "AUROC", "95 % interval, shared patients accounted for", "p")


def classified(samples: AnnData, label_key: str, names: dict[str, str], args, **options) -> None:
    """Logistic regression on each representation; AUROC over draws, its interval and p-value."""
    sfm.tl.classify_samples(
        samples,
        label_key=label_key,
        use_rep=list(names),
        n_draws=20 if args.quick else 100,
        n_permutations=9 if args.quick else SHUFFLES,
        **options,
    )
    record = samples.uns["classify_samples"]
    summary = record["summary"].query("score == 'auroc'").set_index("use_rep")
    counts = ", ".join(map(str, record["patients"]["label"].value_counts().sort_index()))
    for key, name in names.items():
        found = summary.loc[key]
        interval = f"{max(found['low'], 0):.2f} to {min(found['high'], 1):.2f}"
        row(name, counts, f"{found['mean']:.2f}", interval, f"{found['p_value']:.2f}")


def compared(patients: AnnData, group_key: str, n: int, what: str) -> pd.DataFrame:
    """The columns of a composition that differ most between two groups; the table of all."""
    table = sfm.tl.compare_composition(patients, group_key, copy=True).sort_values("p_value")
    head(what, *(f"median in {table.iloc[0][f'group_{i}']} (%)" for i in (1, 2)), "effect (95 %)", "p", "q")
    for name, found in table.head(n).iterrows():
        row(
            name,
            f"{100 * found['median_1']:.1f}",
            f"{100 * found['median_2']:.1f}",
            f"{found['effect']:.2f} ({found['effect_low']:.2f} to {found['effect_high']:.2f})",
            p_text(found["p_value"]),
            f"{found['q_value']:.3f}",
        )
    return table


def side_by_side(cells: AnnData, keys: list[str]) -> AnnData:
    """Compositions by several columns, one row per patient: log-ratios in obsm, fractions of the first in X."""
    tables = [sfm.tl.composition(cells, key, library_key="sample", patient_key="patient") for key in keys]
    for key, table in zip(keys, tables, strict=True):
        if not table.obs_names.equals(tables[0].obs_names):
            raise ValueError(f"patients of {key} are in another order")
        tables[0].obsm[f"X_{key}"] = table.layers["clr"]
    return tables[0]
