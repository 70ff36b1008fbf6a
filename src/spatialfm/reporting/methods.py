"""Section with a methods paragraph, the references and licences that go with it, and versions."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from .._errors import ModelError, counted, listed
from .._keys import UNTRAINED
from .._version import __version__
from ..models.registry import card
from .cohort import panels_of, patients_of, sample_table
from .elements import Html, Section, note, table, tag
from .embeddings import records_of, spread
from .quality import segmentations
from .results import Result, results_of
from .source import Source
from .summaries import texts

PACKAGES = ("anndata", "spatialdata", "numpy", "pandas", "scipy", "scikit-learn", "scanpy", "squidpy", "lifelines",
            "matplotlib", "torch")  # fmt: skip
SOFTWARE = (
    "Virshup et al. 2024, anndata: Access and store annotated data matrices, Journal of Open Source Software 9, 4371",
    "Marconato et al. 2025, SpatialData: an open and universal data framework for spatial omics, Nature Methods 22, "
    "58-62",
)
VIRTUES = card("virtues").reference  # whose procedures two functions follow
BENJAMINI_HOCHBERG = (
    "Benjamini and Hochberg 1995, Controlling the false discovery rate: a practical and powerful approach to multiple "
    "testing, Journal of the Royal Statistical Society B 57, 289-300"
)
COX = "Cox 1972, Regression models and life-tables, Journal of the Royal Statistical Society B 34, 187-220"
HOLM = "Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70"
FREEDMAN_LANE = (
    "Freedman and Lane 1983, A nonstochastic interpretation of reported significance levels, Journal of Business and "
    "Economic Statistics 1, 292-298"
)
NADEAU_BENGIO = "Nadeau and Bengio 2003, Inference for the generalization error, Machine Learning 52, 239-281"
REFERENCES = {  # of what the functions do, by the function
    "kaplan_meier": ("Kaplan and Meier 1958, Nonparametric estimation from incomplete observations, JASA 53, 457-481",),
    "logrank": (
        "Mantel 1966, Evaluation of survival data and two new rank order statistics, Cancer Chemotherapy Reports 50, "
        "163-170",
    ),
    "cox": (
        COX,
        "Grambsch and Therneau 1994, Proportional hazards tests and diagnostics, Biometrika 81, 515-526",
    ),
    "regressions": (COX, HOLM),
    "cut_point": ("Lausen and Schumacher 1992, Maximally selected rank statistics, Biometrics 48, 73-85",),
    "predict_survival": (
        "Royston and Altman 2013, External validation of a Cox prognostic model: principles and methods, BMC Medical "
        "Research Methodology 13, 33",
    ),
    "fine_gray": ("Fine and Gray 1999, A proportional hazards model for the subdistribution, JASA 94, 496-509",),
    "cumulative_incidence": (
        "Gray 1988, A class of K-sample tests for comparing the cumulative incidence of a competing risk, Annals of "
        "Statistics 16, 1141-1154",
    ),
    "compare_composition": (
        "Brunner and Munzel 2000, The nonparametric Behrens-Fisher problem: asymptotic theory and a small-sample "
        "approximation, Biometrical Journal 42, 17-25",
        BENJAMINI_HOCHBERG,
    ),
    "compare_enrichment": (FREEDMAN_LANE, BENJAMINI_HOCHBERG),
    "distribution_shift": (FREEDMAN_LANE,),
    "classify_samples": (NADEAU_BENGIO,),
    "mil": (NADEAU_BENGIO,),
    "niches": (
        "Schürch et al. 2020, Coordinated cellular neighborhoods orchestrate antitumoral immunity at the colorectal "
        "cancer invasive front, Cell 182, 1341-1359",
    ),
    "leiden_sweep": (
        "Traag, Waltman and van Eck 2019, From Louvain to Leiden: guaranteeing well-connected communities, Scientific "
        "Reports 9, 5233",
    ),
    "discover_signatures": (VIRTUES, BENJAMINI_HOCHBERG),
    "score_signatures": (VIRTUES, BENJAMINI_HOCHBERG),
    "stratify": (VIRTUES,),
}


def methods_section(source: Source) -> Section:
    """Paragraph, references, licences, versions."""
    body: list[Html] = [
        tag("p", " ".join(sentences(source)), id="methods-text"),
        note("Written from the records. What was done outside of spatialfm (staining, imaging, segmentation, other "
             "packages) is not in them: add it, and check every sentence."),
        tag("h3", "References"),
        tag("ol", *(tag("li", one) for one in references(source)), class_="references"),
        tag("h3", "Licences of the models"),
        *_licences(source),
        tag("h3", "Versions"),
        table(versions(), "Versions with which this report was written.", index="package"),
        *_versions_of_embeddings(source),
    ]  # fmt: skip
    return Section("methods", "Methods and versions", body)


def sentences(source: Source) -> list[str]:
    """The paragraph, one sentence each of what is there."""
    return [*_cohort(source), *_embeddings(source), *_cells(source), *_tests(results_of(source)), _software()]


def references(source: Source) -> list[str]:
    """Papers of the models, methods and formats that were used, each once."""
    papers = []
    for notes in records_of(source).values():
        try:
            papers.append(card(str(notes.get("model"))).reference)
        except ModelError:
            papers.append(f"{notes.get('model')}: this model is not registered here; cite its paper")
    for one in results_of(source):
        papers += REFERENCES.get(one.kind.function, ())
    return list(dict.fromkeys([*papers, *SOFTWARE]))


def versions() -> pd.DataFrame:
    """Installed versions."""
    rows = {"spatialfm": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            rows[name] = version(name)
        except PackageNotFoundError:
            continue
    return pd.DataFrame({"version": rows})


def _cohort(source: Source) -> Iterable[str]:
    frame, patients = sample_table(source), patients_of(source)
    of = f" of {counted(len(patients), 'patient')}" if patients is not None else ""
    sizes = sorted(set(frame["µm per pixel"].dropna())) if "µm per pixel" in frame else []
    at = f" at {', '.join(f'{size:.4g}' for size in sizes)} µm per pixel" if 0 < len(sizes) < 4 else ""
    if source.pairs:
        yield f"We analysed {counted(len(source.pairs), 'multiplexed image')}{of}{at}."
    elif len(frame):
        yield f"We analysed {counted(len(frame), 'sample')}{of}."
    panels = panels_of(source)
    if panels:
        yield f"The panel had {counted(len({name for names in panels.values() for name in names}), 'channel')}."
    segmented = segmentations(source)
    for method, rows in segmented.groupby("method", sort=False) if len(segmented) else ():
        sizes = sorted({f"{size:g}" for size in rows["diameter in µm"].dropna()})
        stains = sorted(set(rows["channels"]))
        on = f" on {listed(stains, 3, quoted=False)}" if len(stains) < 4 else ""
        yield f"Cells were segmented with {method}{on} (diameter {listed(sizes, 4, quoted=False)} µm)."
    if source.cells is not None:
        yield f"{source.cells.n_obs:,} cells were analysed."


def _embeddings(source: Source) -> Iterable[str]:
    for key, notes in records_of(source).items():
        model = str(notes.get("model"))
        title = _title(model)
        digest = str(notes.get("weights_sha256") or "")
        weights = f" (weights with SHA-256 {digest})" if digest else ""
        if adapter := str(notes.get("adapter_sha256") or ""):
            weights += f", adapted to a cohort (adapter {notes.get('adapter')!r} with SHA-256 {adapter})"
        used, dropped = texts(notes.get("markers")), notes.get("markers_dropped") or {}
        left_out = f"; {counted(len(dropped), 'channel')} took no part" if dropped else ""
        window = notes.get("window")
        how = f" from windows of {window} pixels" if window not in (None, "") else ""
        size = spread(notes.get("mpp_used"))
        yield (
            f"Cells were embedded with {model}{title}{weights}{how}{f' at {size} µm per pixel' if size else ''}, with "
            f"normalisation {str(notes.get('normalization'))!r} and {counted(len(used), 'marker')}{left_out} ({key})."
        )
        if str(notes.get("weights", "")) == UNTRAINED:
            yield "Its weights were random."


def _title(model: str) -> str:
    try:
        return f" ({card(model).title})"
    except ModelError:
        return ""


def _cells(source: Source) -> Iterable[str]:
    keys = source.keys
    for key, what in ((keys.phenotype, "phenotypes"), (keys.niche, "niches")):
        if source.cells is not None and key is not None:
            n = source.cells.obs[key].dropna().nunique()
            yield f"Cells were assigned to {n} {what}."


def _tests(results: list[Result]) -> Iterable[str]:
    """One sentence for each kind of result."""
    for function, text in _TEXTS.items():
        first = next((one for one in results if one.kind.function == function), None)
        if first is not None:
            yield text(first)


def _parameter(one: Result, name: str) -> Any:
    return one.record.get("params", {}).get(name)


def _kaplan_meier(one: Result) -> str:
    interval = _parameter(one, "interval")
    level = 100 * (1 - float(_parameter(one, "alpha") or 0.05))
    return f"Survival was estimated after Kaplan and Meier, with {level:g} % intervals ({interval})."


def _logrank(one: Result) -> str:
    strata = texts(_parameter(one, "strata"))
    within = f", within strata of {listed(strata, quoted=False)}" if strata else ""
    return f"Groups were compared with the log-rank test{_equal(one)}{within} (p-value: {one.record.get('test')})."


def _equal(one: Result) -> str:
    covariates = texts(_parameter(one, "covariates"))
    return f", at equal {listed(covariates, quoted=False)} (score test of Cox's model)" if covariates else ""


def _cut_point(one: Result) -> str:
    drawn = "were drawn from the model of the covariates alone" if _equal(one) else "were permuted"
    return (
        f"{_parameter(one, 'score_key')} was cut where survival differs most{_equal(one)}; for the p-value of the best "
        f"of all cuts, outcomes {drawn}."
    )


def _cox(one: Result) -> str:
    names = listed(texts(_parameter(one, "covariates")), 12, quoted=False)
    per = ", hazard ratios per standard deviation" if bool(_parameter(one, "standardize")) else ""
    return (
        f"Hazard ratios are of Cox regression on {names} (ties after {str(_parameter(one, 'ties')).capitalize()}{per}; "
        f"intervals and p-values of the {one.record.get('distribution')} distribution)."
    )


def _regressions(one: Result) -> str:
    frame = one.record["regressions"]
    adjusted = sorted({str(text) for text in frame.get("adjusted_for", ()) if isinstance(text, str) and text})
    beside = f", adjusted for {listed(adjusted, quoted=False)}" if adjusted else ""
    return (
        f"Each of {counted(len(frame), 'type')} was tested in a Cox regression of its own{beside}; p-values were "
        "corrected after Holm."
    )


def _stratify(one: Result) -> str:
    text = f"Patients were grouped by k-means ({_parameter(one, 'n_groups')} clusters) on their compositions."
    if not _equal(one):
        return text
    return f"{text} The trend over the groups was tested{_equal(one)}, with outcomes drawn from the covariates alone."


def _compare(one: Result) -> str:
    return (
        f"Compositions were compared between groups of {_parameter(one, 'group_key')} with method "
        f"{str(_parameter(one, 'method'))!r}; p-values were corrected after Benjamini and Hochberg over the types."
    )


def _niches(one: Result) -> str:
    n = _parameter(one, "n_niches")
    return f"Niches are k-means clusters ({n}) of {_parameter(one, 'use_rep')} of each cell."


def _sweep(one: Result) -> str:
    suggested = one.record.get("suggested")
    return f"Cells were clustered after Leiden at several resolutions; {suggested} was suggested by stability."


def _signatures(one: Result) -> str:
    scores = one.record["scores"]
    nested = "; the score reported is that of nested cross-validation" if "nested" in scores.index else ""
    return f"Signatures were searched among Leiden clusters as VirTues does{nested}."


_TEXTS = {
    "leiden_sweep": _sweep,
    "niches": _niches,
    "compare_composition": _compare,
    "discover_signatures": _signatures,
    "stratify": _stratify,
    "cut_point": _cut_point,
    "kaplan_meier": _kaplan_meier,
    "logrank": _logrank,
    "cox": _cox,
    "regressions": _regressions,
}


def _software() -> str:
    return f"Analyses were done with spatialfm {__version__} on SpatialData and AnnData objects."


def _licences(source: Source) -> list[Html]:
    rows = []
    for key, notes in records_of(source).items():
        commercial = "yes" if int(notes.get("commercial_use", 0) or 0) else "no"
        rows.append({"embedding": key, "model": notes.get("model"), "licence of the weights": notes.get("license"),
                     "commercial use": commercial})  # fmt: skip
    if not rows:
        return [note("No embedding with a record is there: no licence of weights applies.", kind="absent")]
    return [table(pd.DataFrame(rows), "Licences under which the weights were given out.", index=None)]


def _versions_of_embeddings(source: Source) -> list[Html]:
    records = records_of(source).items()
    rows = {key: notes["versions"] for key, notes in records if isinstance(notes.get("versions"), dict)}
    if not rows:
        return []
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return [table(frame, "Versions with which the embeddings were made.", index="embedding")]
