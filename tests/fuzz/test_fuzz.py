"""Two hundred damaged files: each is read, or refused in the package's own words, in bounded time and memory.

`fuzz.py` next to this file makes as many more as one likes (``make fuzz``).
"""

from __future__ import annotations

import importlib.util
import tracemalloc
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory):
    """The module ``fuzz.py``."""
    spec = importlib.util.spec_from_file_location("fuzz", FOLDER / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    whole = module.bases()
    for name in ("labels_raw.tif", "weights_model.pt", "fasta_proteins.fasta"):  # imports take time and memory too
        module.attempt(name, whole[name], tmp_path_factory.mktemp("whole"))
    return module


def corpus() -> dict[str, bytes]:
    with zipfile.ZipFile(FOLDER / "corpus.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


CASES = corpus()


def test_the_corpus_has_all_kinds():
    kinds = {name.split("/")[2].partition("_")[0] for name in CASES}
    assert kinds == {"image", "labels", "table", "names", "fasta", "vector", "xml", "json", "weights"}
    assert len(CASES) >= 200
    n_read = sum("/read/" in name for name in CASES)
    assert 40 <= n_read <= len(CASES) - 40


def test_the_page_on_reliability_counts_the_corpus(fuzz):
    page = (FOLDER.parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert f"{len(CASES)} damaged files are kept" in page
    assert fuzz.table(fuzz.kept()) in page


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_a_damaged_file_is_read_or_refused(case, fuzz, tmp_path):
    _, outcome, name = case.split("/")
    tracemalloc.start()
    try:
        with fuzz.bounded(fuzz.SECONDS):
            found = fuzz.attempt(name, CASES[case], tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < fuzz.BYTES
    if outcome == "refused":  # what may be read has to be read too; later versions of codecs may forgive more
        assert found == "refused"
