"""``spatialfm signatures``: cells that distinguish patients by outcome, and what that is worth in patients not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .._errors import SpatialfmError, TableError, counted
from .._keys import PATIENT_KEY, SAMPLE_KEY, SAMPLES
from .._storable import write_uns
from ._analysis import Analysis, EarlierNames
from ._config import Draft, stored_names
from ._stage import Done, Stage
from ._without_images import MARKERS, is_table_only
from .phenotype import PHENOTYPE
from .read import channels_of

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

SIGNATURES, TYPES = "signatures", "signature_types"
# what the stage decides; without the nested score there would be no honest one
OURS = ("adata", "use_rep", "outcome", "patient_key", "library_key", "nested", "random_state", "key_added", "copy")
MOST_TYPES = 2  # of a signature, in the sentence on it
ORIGIN = (
    "fraction_ and rank_: signatures were chosen by the outcome of these patients, so that a test of these columns on "
    "them is optimistic; nested: predicted in cross-validation"
)


def signatures(
    analysis: Analysis,
    *,
    outcome: str | Sequence[str] | None = None,
    use_rep: str | None = None,
    **search: Any,
) -> Done:
    """Find groups of cells that are frequent in patients of one outcome, and score them in patients who took no part.

    Parameters
    ----------
    outcome
        Column of the cohort table with two values, such as response; or the columns of time and event, such as [months,
        died]. Default: no signatures are searched.
    use_rep
        Embedding in which cells are clustered, a key of obsm. Default: the one that phenotypes were made of.
    """
    from ..tl import discover_signatures, score_signatures

    table = analysis.cells("phenotype")
    before = EarlierNames(table)
    if outcome is None:
        analysis.add_to_cells("signatures", table, before)
        return Done(["skipped: no outcome is named. Name a column of the cohort table: signatures.outcome."])
    patient_key = unit_of(table.obs)
    search["block_key"] = _stored(search.get("block_key"), table)
    discover_signatures(
        table,
        use_rep=use_rep or _made_of_rep(table),
        outcome=outcome_of(outcome, list(map(str, table.obs))),
        patient_key=patient_key,
        library_key=SAMPLE_KEY,
        nested=True,
        random_state=analysis.random_state,
        key_added=SIGNATURES,
        **search,
    )
    record = table.uns[SIGNATURES]
    types = pd.DataFrame()
    if len(record["signatures"]):
        scored = score_signatures(
            table, SIGNATURES, patient_key=patient_key, library_key=SAMPLE_KEY, cluster_key=PHENOTYPE
        )
        types = scored.uns["enrichment"]
        write_uns(table, TYPES, {"enrichment": types})
    analysis.add_to_cells("signatures", table, before)
    _write(analysis, table, types)
    return Done(_in_words(record, types))


def _made_of_rep(table: AnnData) -> str:
    """The representation that cells were clustered by; where types came along, their markers."""
    if "leiden_sweep" in table.uns:
        return str(table.uns["leiden_sweep"]["params"]["use_rep"])
    names = [name for name in table.obsm if name.startswith(MARKERS)]
    if not names:
        raise TableError("Signatures are groups of cells by their markers, and the cells have no marker in common.")
    return names[-1]  # brought to one scale in batches, where they were


def unit_of(columns: pd.DataFrame) -> str:
    """Column with the unit of every split: the patient, or the sample where the cohort names no patients."""
    return PATIENT_KEY if PATIENT_KEY in columns else SAMPLE_KEY


def outcome_of(outcome: str | Sequence[str], columns: Sequence[str]) -> str | tuple[str, str]:
    """The setting as the function takes it, with the names that columns have in tables."""
    if isinstance(outcome, str):
        return stored_names([outcome], columns)[0]
    time, event = stored_names(list(outcome), columns)
    return time, event


def _stored(name: str | None, table: AnnData) -> str | None:
    return None if name is None else stored_names([name], list(map(str, table.obs)))[0]


def _write(analysis: Analysis, table: AnnData, types: pd.DataFrame) -> None:
    from .. import pl

    record = table.uns[SIGNATURES]
    for name in ("scores", "clusters", "signatures"):
        analysis.write_csv(f"signatures_{name}" if name != "signatures" else name, record[name])
    # a file does not remember where its columns come from: it says so in words
    analysis.write_csv("signatures_patients", record["patients"].assign(origin=ORIGIN))
    analysis.write_figure("signatures_scores", lambda: pl.signature_scores(table, show=False, return_fig=True))
    if len(types):
        analysis.write_csv("signatures_types", types, index=False)
        analysis.write_figure("signatures", lambda: pl.signatures(table, show=False, return_fig=True))


def _in_words(record: Mapping[str, Any], types: pd.DataFrame) -> list[str]:
    """The honest score first; then the other one, which is not to be reported; then each signature."""
    from ..learn.signature_search import NESTED

    scores, kind = record["scores"], record["params"]["score"]
    nested, published = scores.loc[NESTED], scores.drop(index=NESTED).iloc[0]
    p = "" if pd.isna(nested["p_value"]) else f", p = {nested['p_value']:.3g} by shuffled outcomes"
    findings = [
        f"in patients who took no part in the search: {kind} {nested['score']:.2f} (95 % interval "
        f"{nested['ci_low']:.2f} to {nested['ci_high']:.2f}){p}. This is the number to report",
        f"as published: {kind} {published['score']:.2f}, optimistic, as signatures were chosen on the same patients",
        f"{counted(len(record['signatures']), 'signature')} of {counted(len(record['clusters']), 'candidate')}:",
    ]
    for name, row in record["signatures"].iterrows():
        findings.append(f"  {name} ({row['side']}): {int(row['n_cells']):,} cells{_made_of(types, str(name))}")
    return findings


def _made_of(types: pd.DataFrame, signature: str) -> str:
    if not len(types):
        return ""
    rows = types[types["signature"].astype(str) == signature].sort_values("log2_enrichment", ascending=False)
    top = rows[rows["log2_enrichment"] > 0].iloc[:MOST_TYPES]
    return "".join(f", {2 ** row['log2_enrichment']:.1f} times {row['type']}" for _, row in top.iterrows())


def _borrowed(_: Mapping[str, Any]) -> tuple[Callable, tuple[str, ...]]:
    from ..tl import discover_signatures

    return discover_signatures, OURS


def _check(draft: Draft) -> None:
    settings = draft.settings("signatures")
    outcome = settings["outcome"]
    if outcome is None:
        return
    names = [outcome] if isinstance(outcome, str) else list(outcome)
    if len(names) not in (1, 2):
        draft.problem(("signatures", "outcome"), f"{names} is neither one column nor a time and an event.")
    draft.check_columns(("signatures", "outcome"), names)
    if settings["block_key"] is not None:
        draft.check_columns(("signatures", "block_key"), [settings["block_key"]], built=["patient", "sample"])


def _before(settings: Mapping[str, Any], sdata: SpatialData) -> list[str]:
    """Outcomes of patients that cannot be used, found before cells are segmented and embedded."""
    from anndata import AnnData

    from ..cohort.signature_patients import read_patients

    if settings["outcome"] is None or SAMPLES not in sdata:
        return []
    if is_table_only(sdata) and not channels_of(sdata):
        return ["signatures.outcome: signatures are groups of cells by their markers, of which the table has none."]
    samples = sdata[SAMPLES].obs.copy()
    samples[SAMPLE_KEY] = samples.index.astype(str)
    patient_key = unit_of(samples)
    try:
        outcome = outcome_of(settings["outcome"], list(map(str, samples)))
        said = {name: settings[name] for name in ("positive", "event_value", "n_folds", "on_missing")}
        read_patients(AnnData(obs=samples), patient_key, SAMPLE_KEY, outcome, **said)
    except SpatialfmError as error:
        return [f"signatures: {error}"]
    return []


STAGE = Stage(
    name="signatures",
    summary="cells that distinguish patients by their outcome, with an honest score",
    example="spatialfm signatures results --outcome response --positive CR",
    run=signatures,
    clinical=lambda _: True,
    needs=("segment", "embed", "phenotype"),
    seeded=True,
    check=_check,
    before=_before,
    borrowed=_borrowed,
)
