"""Other files that are kept: protein sequences and vectors, indexes. Damaged ones are made again, or named."""

from __future__ import annotations

import os

import numpy as np
import pytest

import spatialfm as sfm
from spatialfm._errors import RunError, TableError
from spatialfm.embed.markers import proteins, sequences
from spatialfm.tl.retrieval.search import Index

FASTA = ">sp|P01730|CD4_HUMAN T-cell surface glycoprotein\nMNRGVPFRHLLLVLQL\nALLPAATQGKKVVLGK\n"
SEQUENCE = "MNRGVPFRHLLLVLQLALLPAATQGKKVVLGK"


@pytest.fixture
def asked(monkeypatch):
    """Accessions that were asked of UniProt."""
    seen = []

    def fetch(accession):
        seen.append(accession)
        return FASTA

    monkeypatch.setattr(sequences, "_fetch", fetch)
    return seen


FAULTS = {
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-6]),
    "of noise": lambda path: path.write_bytes(os.urandom(200)),
    "a letter": lambda path: path.write_bytes(path.read_bytes().replace(b"MNRG", b"MNRA")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_sequence_is_fetched_again(asked, fault):
    assert sequences.uniprot_sequence("P01730") == SEQUENCE
    assert sequences.uniprot_sequence("P01730") == SEQUENCE
    assert len(asked) == 1
    path = sequences.kept_sequence_file("P01730")
    FAULTS[fault](path)
    sfm.settings.offline = True
    assert sequences.uniprot_sequence("P01730") is None  # never a wrong one
    sfm.settings.offline = False
    for _ in range(2):
        assert sequences.uniprot_sequence("P01730") == SEQUENCE
    assert len(asked) == 2
    assert path.is_file()


def test_sequences_of_earlier_versions_and_of_users_are_read(asked):
    path = sequences.kept_sequence_file("P01730")
    path.parent.mkdir(parents=True)
    path.write_text(FASTA)
    assert sequences.uniprot_sequence("P01730") == SEQUENCE
    assert not asked


@pytest.mark.parametrize("fault", ["emptied", "truncated", "of noise"])
def test_a_damaged_vector_is_computed_again(monkeypatch, fault):
    from spatialfm.models import esm

    made = []

    def compute(wanted, *_, **__):
        for name in wanted:
            made.append(name)
            yield name, np.arange(640, dtype=np.float32)

    monkeypatch.setattr(esm, "iter_esm_embeddings", compute)
    monkeypatch.setattr(esm, "require_transformers", lambda: None)
    wanted = {("P01730", SEQUENCE)}
    proteins._compute(wanted, 640)
    (path,) = (sfm.settings.cache_dir / "proteins" / proteins.MODEL).iterdir()
    FAULTS[fault](path)
    for _ in range(2):
        np.testing.assert_array_equal(proteins._compute(wanted, 640)[("P01730", SEQUENCE)], np.arange(640))
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_does_no_harm(asked, tmp_path):
    (tmp_path / "file").touch()
    sfm.settings.cache_dir = tmp_path / "file"
    assert sequences.uniprot_sequence("P01730") == SEQUENCE
    from spatialfm._cache import remembered

    assert remembered("moments", {"image": 1}, lambda: {"count": np.array(3)})["count"] == 3


@pytest.fixture
def index(tmp_path):
    cells = sfm.datasets.simulate_cells(n_patients=2, cells_per_patient=30, random_state=0)
    index = sfm.tl.build_index(cells, "X_latent")
    index.save(tmp_path / "index.npz")
    return index, tmp_path / "index.npz"


def changed(path, **changes):
    with np.load(path) as file:
        arrays = {**dict(file), **changes}
    with path.open("wb") as file:
        np.savez(file, **{name: values for name, values in arrays.items() if values is not None})


INDEX = {
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "of noise": lambda path: path.write_bytes(os.urandom(300)),
    "an array": lambda path: np.save(path.open("wb"), np.zeros(3)),
    "of missing keys": lambda path: changed(path, center=None),
    "of other values": lambda path: changed(path, values=np.zeros((60, 16), np.float32)),
    "without a seal and of another shape": lambda path: changed(path, seal=None, values=np.zeros((3, 2), np.float32)),
}


@pytest.mark.parametrize("fault", INDEX)
def test_a_damaged_index_is_refused_by_name(index, fault):
    made, path = index
    np.testing.assert_array_equal(Index.load(path).values, made.values)
    INDEX[fault](path)
    with pytest.raises(TableError, match=r"index\.npz is not an index: .*index\.save\(path\)"):
        Index.load(path)


def test_an_index_of_an_earlier_version_is_read(index):
    made, path = index
    changed(path, seal=None)
    np.testing.assert_array_equal(Index.load(path).values, made.values)


def test_an_index_that_cannot_be_written_leaves_the_old_one(index, monkeypatch):
    import errno

    made, path = index
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"Cannot write the index to .*No space left.*make room"):
        made.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["index.npz"]
    made_with_a_long_name = path.with_name("x" * 245 + ".npz")
    monkeypatch.undo()
    made.save(made_with_a_long_name)  # temporary names are short
    np.testing.assert_array_equal(Index.load(made_with_a_long_name).values, made.values)


def test_an_odd_setting_in_the_environment_does_not_stop_the_import(monkeypatch, caplog):
    monkeypatch.setenv("SPATIALFM_BATCH_MEMORY", "much")
    sfm.settings.reset()
    assert sfm.settings.batch_memory == 512 * 2**20
    assert "SPATIALFM_BATCH_MEMORY=much cannot be understood, and 512 MiB counts" in caplog.text
