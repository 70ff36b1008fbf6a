"""References of a report: those of the models' cards, and the same in every text."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import spatialfm as sfm
from spatialfm.reporting import methods
from spatialfm.reporting.kinds import KINDS

ROOT = Path(__file__).parents[2]
MODELS = list(sfm.models.list_models().index)
ARXIV = r"\d{4}\.\d{5}"
# "Shaban et al. 2025, arXiv:2506.03373", "[Shaban et al. 2025](https://arxiv.org/abs/2506.03373)", with a title between
CITATION = re.compile(rf"([A-Z][\w-]+)(?: et al\.)? (\d{{4}})\b[^.;]{{0,160}}?(?i:arXiv)(?:\.org/abs/|[: ])({ARXIV})")


def cited(text: str) -> set[tuple[str, str, str]]:
    """First author, year and number of each preprint that a text cites with them."""
    return set(CITATION.findall(" ".join(re.sub(r'"\s*\n\s*"', "", text).split())))


def texts() -> list[Path]:
    """Everything that is written for readers: code, pages, and what the repository says of itself."""
    found = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    return [one for one in found if "_build" not in one.parts and one.name != "CHANGELOG.md"]


@pytest.mark.parametrize("model", MODELS)
def test_the_reference_of_a_model_is_that_of_its_card(model):
    record = {"model": model, "markers": ["CD3"], "markers_dropped": "{}", "license": "-", "normalization": "zscore"}
    cells = AnnData(np.zeros((2, 1), np.float32), obs=pd.DataFrame(index=["a", "b"]))
    cells.obsm["X_e"] = np.zeros((2, 3), np.float32)
    cells.uns["spatialfm"] = {"X_e": record}
    source = SimpleNamespace(cells=cells, keys=SimpleNamespace(embeddings=("X_e",)), records=lambda: iter(()))
    assert methods.references(source)[0] == sfm.models.card(model).reference


def test_every_card_says_who_when_and_where():
    for model in MODELS:
        reference = sfm.models.card(model).reference
        assert re.search(r"\b(19|20)\d{2}\b", reference), model
        assert re.search(r"arXiv:\d{4}\.\d{5}|doi:10\.|\d+-\d+|repository ", reference), model


def test_a_preprint_is_cited_with_one_author_and_one_year_everywhere():
    known: dict[str, dict[tuple[str, str], str]] = {}
    for path in texts():
        for author, year, number in cited(path.read_text(encoding="utf-8")):
            known.setdefault(number, {}).setdefault((author, year), path.relative_to(ROOT).as_posix())
    assert {"2501.06039", "2506.03373", "2507.11588"} <= set(known)
    assert not {number: said for number, said in known.items() if len(said) > 1}


def test_citations_are_found_across_lines_and_in_links():
    text = 'Shaban et al. 2025, A Foundation "\n    "Model, arXiv:2506.03373; Zhao et al.\n2025 (arXiv 2507.11588)'
    assert cited(text) == {("Shaban", "2025", "2506.03373"), ("Zhao", "2025", "2507.11588")}
    assert cited("[Ma et al. 2024](https://arxiv.org/abs/2401.00001)") == {("Ma", "2024", "2401.00001")}


def test_references_are_of_functions_that_leave_results():
    assert set(methods.REFERENCES) <= {kind.function for kind in KINDS}
    everything = [one for said in methods.REFERENCES.values() for one in said]
    for one in everything:
        assert re.match(r"[A-ZÀ-Ž].+ (19|20)\d{2}, .+", one), one
    starts = {one.split(",")[0]: one for one in everything}
    assert all(starts[one.split(",")[0]] == one for one in everything)  # a paper has one form


def test_results_bring_the_papers_of_their_methods():
    cells = sfm.datasets.simulate_cells(n_patients=8, cells_per_patient=30, random_state=0)
    patients = sfm.tl.composition(cells, "type")
    patients.obs["time"] = np.arange(1.0, len(patients) + 1)
    patients.obs["event"] = 1
    patients.obs["group"] = ["a", "b"] * (len(patients) // 2)
    sfm.tl.logrank(patients, "group")
    source = SimpleNamespace(
        cells=None,
        keys=SimpleNamespace(embeddings=()),
        records=lambda: (("patients", patients, key, value) for key, value in patients.uns.items() if key == "logrank"),
    )
    assert methods.references(source)[0].startswith("Mantel 1966")
    assert methods.references(source)[1:] == list(methods.SOFTWARE)


@pytest.mark.parametrize("covariates", [[], ["age", "stage"]])
def test_cuts_and_groups_say_at_what_they_were_tested(covariates):
    params = {"score_key": "CD8", "n_groups": 4, "covariates": np.array(covariates, dtype=object)}
    one = SimpleNamespace(record={"params": params})
    equal = ", at equal age, stage (score test of Cox's model)" if covariates else ""
    assert equal in methods._cut_point(one)
    assert ("drawn from the model of the covariates alone" if covariates else "were permuted") in methods._cut_point(
        one
    )
    assert methods._stratify(one).startswith("Patients were grouped by k-means (4 clusters) on their compositions.")
    assert ("drawn from the covariates alone" in methods._stratify(one)) == bool(covariates)
    assert equal in methods._stratify(one)
