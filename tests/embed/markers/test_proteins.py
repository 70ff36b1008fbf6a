"""Protein embeddings of markers: folders, FASTA files, vectors, UniProt; the network and ESM-2 are replaced."""

from __future__ import annotations

import doctest
import gzip
import hashlib
import io
import logging
import os
import pickle
import sys
import urllib.request
from importlib.resources import files
from urllib.error import HTTPError, URLError

import numpy as np
import pandas as pd
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, PanelError, WeightsError
from spatialfm.embed.markers import proteins, sequences
from spatialfm.embed.markers.esm2 import shipped_embeddings
from spatialfm.embed.markers.proteins import find_embeddings, protein_embeddings
from spatialfm.embed.markers.sequences import read_fasta
from spatialfm.models import esm

CD4, CD3E, CD3D, CD45, CD45RA = "P01730", "P07766", "P04234", "P08575", "P08575-8"


def vector(number, dim=4):
    return np.arange(dim, dtype=np.float32) + number


def of_sequence(sequence, dim=640):
    """What the stand-in for ESM-2 gives: of no other sequence."""
    seed = int.from_bytes(hashlib.sha256(sequence.encode()).digest()[:4], "little")
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


@pytest.fixture(autouse=True)
def nothing_shipped(request, monkeypatch):
    """What comes with the package stands aside, unless a test is about it."""
    if not {"shipped", "examples"} & set(request.function.__name__.split("_")):
        monkeypatch.setattr(proteins, "shipped_embeddings", dict)


@pytest.fixture
def computed(monkeypatch):
    """A stand-in for ESM-2; the list holds what was computed."""
    calls = []

    def embed(wanted, model, *, batch_size):
        assert model == "facebook/esm2_t30_150M_UR50D"
        for name, sequence in wanted.items():
            calls.append(sequence)
            yield name, of_sequence(sequence)

    monkeypatch.setattr(esm, "iter_esm_embeddings", embed)
    monkeypatch.setattr(esm, "require_transformers", lambda: None)
    return calls


@pytest.fixture
def uniprot(monkeypatch):
    """A stand-in for the network: entries by accession; `asked` holds the addresses."""

    class Service(dict):
        asked: list[str]

    service = Service()
    service.asked = []

    def urlopen(url, timeout):
        assert timeout > 0
        service.asked.append(url)
        accession = url.rpartition("/")[2].removesuffix(".fasta")
        answer = service.get(accession, HTTPError(url, 404, "Not Found", {}, None))
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer.encode())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return service


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "embeddings"
    path.mkdir()
    torch.save(torch.from_numpy(vector(1)), path / f"{CD4}.pt")
    np.save(path / f"{CD3D}.npy", vector(2)[None])
    torch.save(torch.from_numpy(vector(3)).bfloat16(), path / f"{CD45}.pt")
    torch.save(torch.from_numpy(vector(4)), path / f"{CD45RA}.pt")
    return path


def test_folder(folder):
    # the epsilon chain represents CD3; that another one represents it is reported, and of CD4 nothing
    with pytest.warns(UserWarning, match=f": CD3 that of {CD3D} instead of {CD3E}. Add"):
        found, reasons = protein_embeddings(["CD3", "DAPI", "CD4", "PNAd", "CD8", "CD45"], folder, 4)
    assert list(found) == ["CD3", "CD4", "CD45"]
    for name, number in {"CD4": 1, "CD3": 2, "CD45": 3}.items():
        np.testing.assert_array_equal(found[name], vector(number))
        assert found[name].shape == (4,)
        assert found[name].dtype == np.float32
    assert reasons["DAPI"] == "no protein sequence (DNA stain)"
    assert reasons["PNAd"].startswith("no protein sequence (")
    assert reasons["CD8"] == f"no embedding of P01732 in {folder}"
    assert list(reasons) == ["DAPI", "PNAd", "CD8"]


def test_another_member_of_a_family_is_said(tmp_path):
    np.save(tmp_path / "P31751.npy", vector(2))  # AKT2
    np.save(tmp_path / f"{CD4}.npy", vector(1))
    with pytest.warns(UserWarning, match="AKT that of P31751 instead of P31749") as caught:
        found = find_embeddings(["AKT", "CD4"], str(tmp_path), 4)
    assert len(caught) == 1
    assert found.origins["AKT"] == f"P31751, {tmp_path}"


def test_all_chains_are_named_where_none_is_there(folder):
    (folder / f"{CD3D}.npy").unlink()
    _, reasons = protein_embeddings(["CD3", "CD4"], folder, 4)
    assert reasons == {"CD3": f"no embedding of {CD3E} or {CD3D} or P09693 in {folder}"}


def test_the_isoform_that_virtues_takes(folder):
    found, _ = protein_embeddings(["CD45RA", "CD45RO", "CD45"], folder, 4)
    assert {name: int(found[name][0]) for name in found} == {"CD45RA": 4, "CD45RO": 3, "CD45": 3}
    (folder / f"{CD45RA}.pt").unlink()
    with pytest.warns(UserWarning, match=f"CD45RA that of {CD45} instead of {CD45RA}"):
        found, _ = protein_embeddings(["CD45RA"], folder, 4)
    assert found["CD45RA"][0] == 3


def test_of_two_files_the_tensor_goes_before(folder):
    np.save(folder / f"{CD4}.npy", vector(9))
    assert protein_embeddings(["CD4"], folder, 4)[0]["CD4"][0] == 1


def test_folder_as_the_script_of_virtues_leaves_it(folder, tmp_path):
    folder.rename(tmp_path / "esm2_t30_150M_UR50D")
    found, _ = protein_embeddings(["CD4"], str(tmp_path), 4)
    np.testing.assert_array_equal(found["CD4"], vector(1))


def test_names_that_the_table_does_not_have(folder):
    found, reasons = protein_embeddings([CD4, "CD400", "CD45R"], folder, 4)
    np.testing.assert_array_equal(found[CD4], vector(1))
    assert reasons["CD400"].startswith("no protein: unknown in the table of markers")
    assert reasons["CD45R"].startswith("no protein: ambiguous in the table of markers, perhaps CD45RA")


def test_nothing_asked_for(folder):
    assert protein_embeddings([], folder, 4) == ({}, {})


def test_mapping():
    given = {
        "CD4": vector(1),  # the marker
        CD3E: torch.from_numpy(vector(2)).requires_grad_(),  # its accession
        "DNA": vector(3).tolist(),  # a marker without protein
        "CD20 (clone L26)": vector(4)[None].astype(np.float64),  # a channel name of MS4A1
        "my marker": vector(5),
    }
    found, reasons = protein_embeddings(["CD4", "CD3", "DNA", "CD20", "my marker", "CD8"], given, 4)
    assert {name: int(found[name][0]) for name in found} == {"CD4": 1, "CD3": 2, "DNA": 3, "CD20": 4, "my marker": 5}
    assert all(value.dtype == np.float32 and value.shape == (4,) for value in found.values())
    assert reasons == {"CD8": "no embedding of P01732 in the given vectors"}


def test_mapping_names(caplog):
    both = {"CD3e": vector(1), "CD3": vector(2)}
    assert protein_embeddings(["CD3"], both, 4)[0]["CD3"][0] == 2  # its own name goes before
    with pytest.raises(PanelError, match=r"different vectors for marker 'CD3': under \['CD3e', 'CD3d'\]"):
        protein_embeddings(["CD3"], {"CD3e": vector(1), "CD3d": vector(2)}, 4)
    found, _ = protein_embeddings(["CD3"], {"CD3e": vector(1), "CD3d": vector(1)}, 4)
    assert found["CD3"][0] == 1
    with caplog.at_level(logging.WARNING, "spatialfm"):
        protein_embeddings(["CD4"], {"CD4": vector(1), "DAPPI": vector(1), "CD8": vector(1)}, 4)
    assert "no marker of the panel is called 'DAPPI'" in caplog.text
    assert "CD8" not in caplog.text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(3), r"has shape \(3,\); the model takes \(4,\)"),
        (np.ones((2, 4)), r"has shape \(2, 4\)"),
        ([1, 2, np.nan, np.inf], "is not finite in 2 of 4 places"),
        ([1, 2, 3, 1e300], "is not finite in 1 of 4"),
        ("P01730", "is not a vector of numbers but str"),
        ([[1], [2, 3]], "is not a vector of numbers but list"),
        (None, "is not a vector of numbers but NoneType"),
        ({"a": 1}, "is not a vector of numbers but dict"),
    ],
)
def test_vectors_that_are_none(value, message, folder):
    with pytest.raises(PanelError, match=r"marker_embeddings\['DAPI'\] " + message):
        protein_embeddings(["CD4"], [folder, {"DAPI": value}], 4)  # though nobody needs it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(3), r"has shape \(3,\); the model takes \(4,\). Compute it again with ESM-2"),
        (torch.ones(4, 1), r"has shape \(4, 1\)"),
        (torch.tensor([1, 2, torch.nan, 4]), "is not finite in 1 of 4 places"),
        ({"mean": torch.ones(4)}, "is not a vector of numbers but dict"),
    ],
)
def test_files_that_hold_something_else(content, message, folder, computed):
    torch.save(content, folder / f"{CD4}.pt")
    with pytest.raises(WeightsError, match=rf"Embedding file .*{CD4}.pt {message}"):
        protein_embeddings(["CD8", "CD4"], [None, folder], 4)
    assert protein_embeddings(["CD45"], folder, 4)[0]["CD45"][0] == 3  # one that nobody needs harms nobody


def test_list_is_tried_in_order(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / f"{CD4}.npy", vector(7))
    np.save(other / "P01732.npy", vector(8))
    given = {"DAPI": vector(5)}
    found, reasons = protein_embeddings(["CD4", "CD8", "DAPI", "CD20"], [given, folder, str(other)], 4)
    assert {name: int(found[name][0]) for name in found} == {"CD4": 1, "CD8": 8, "DAPI": 5}
    assert reasons["CD20"] == (
        f"no embedding of P11836 in the given vectors; no embedding of P11836 in {folder}; "
        f"no embedding of P11836 in {other}"
    )
    assert protein_embeddings(["CD4"], (other, folder), 4)[0]["CD4"][0] == 7


def test_a_pickle_does_nothing(folder, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save(Bomb(), folder / "P01732.pt")
    np.save(folder / "P11836.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    for name in ("P01732.pt", "P11836.npy"):
        with pytest.raises(WeightsError, match=f"{name} would run code to be read, and was not"):
            protein_embeddings(["CD8", "CD20"], folder, 4)
        (folder / name).unlink()
    (folder / "P01732.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(WeightsError, match="P01732.pt"):
        protein_embeddings(["CD8"], folder, 4)
    assert not (tmp_path / "ran").exists()


def test_files_that_cannot_be_read(folder, tmp_path):
    for suffix in ("pt", "npy"):
        path = folder / f"P01732.{suffix}"
        path.write_bytes(b"\x93NUMPY" if suffix == "npy" else (folder / f"{CD4}.pt").read_bytes()[:300])
        with pytest.raises(WeightsError, match=rf"P01732.{suffix} \([\d,]+ bytes\) is truncated or no embedding"):
            protein_embeddings(["CD8"], folder, 4)
        path.unlink()
    with pytest.raises(WeightsError, match=f"{CD4}.pt.* is one file. Pass its folder"):
        protein_embeddings(["CD4"], folder / f"{CD4}.pt", 4)
    with pytest.raises(WeightsError, match="No folder or FASTA file '/nowhere/x'.*marker_embeddings=<folder"):
        protein_embeddings(["CD4"], "/nowhere/x", 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="empty contains no protein embeddings.*P01730.pt"):
        protein_embeddings(["CD4"], tmp_path / "empty", 4)
    with pytest.raises(PanelError, match="empty list"):
        protein_embeddings(["CD4"], [], 4)
    with pytest.raises(PanelError, match="marker_embeddings is int; expected a folder"):
        protein_embeddings(["CD4"], 7, 4)
    with pytest.raises(PanelError, match="has the key 3"):
        protein_embeddings(["CD4"], {3: vector(1)}, 4)


def fasta(tmp_path, text, name="markers.fasta"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["markers.fasta", "markers.fa.gz"])
def test_fasta_is_computed_once(tmp_path, computed, name):
    path = fasta(
        tmp_path, f">sp|{CD4}|CD4_HUMAN T-cell\r\nmnrg\r\nVPFR*\r\n>{CD45RA} isoform\nMYLW\n>Q9Y5Y7\n--\n", name
    )
    wanted = ["CD4", "CD45RA", "DAPI", "CD8", "CD4"]
    found, reasons = protein_embeddings(wanted, path, 640)
    np.testing.assert_array_equal(found["CD4"], of_sequence("MNRGVPFR"))
    np.testing.assert_array_equal(found["CD45RA"], of_sequence("MYLW"))
    assert reasons["CD8"] == f"no sequence of P01732 in {path}"
    assert sorted(computed) == ["MNRGVPFR", "MYLW"]
    again, _ = protein_embeddings(wanted, path, 640)
    assert len(computed) == 2
    np.testing.assert_array_equal(again["CD4"], found["CD4"])
    kept = sorted(file.name for file in (sfm.settings.cache_dir / "proteins" / "esm2_t30_150M_UR50D").iterdir())
    assert [file.rpartition("-")[0] for file in kept] == [CD4, CD45RA]  # and nothing half written


def test_another_sequence_never_meets_an_old_file(tmp_path, computed):
    first, _ = protein_embeddings(["CD4"], fasta(tmp_path, f">{CD4}\nMNRG"), 640)
    second, _ = protein_embeddings(["CD4"], fasta(tmp_path, f">{CD4}\nMNRA"), 640)
    np.testing.assert_array_equal(first["CD4"], of_sequence("MNRG"))
    np.testing.assert_array_equal(second["CD4"], of_sequence("MNRA"))
    # nor does a file of the user's sequence answer for UniProt's
    sfm.settings.offline = True
    with pytest.raises(WeightsError, match="No protein embedding of P01730"):
        protein_embeddings(["CD4"], None, 640)


def test_a_stopped_run_keeps_what_it_has(tmp_path, computed, monkeypatch):
    path = fasta(tmp_path, f">{CD4}\nMNRG\n>P01732\nMALP\n")
    whole = esm.iter_esm_embeddings

    def stops(wanted, model, **options):
        yield next(whole(wanted, model, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(esm, "iter_esm_embeddings", stops)
    with pytest.raises(KeyboardInterrupt):
        protein_embeddings(["CD4", "CD8"], path, 640)
    monkeypatch.setattr(esm, "iter_esm_embeddings", whole)
    found, _ = protein_embeddings(["CD4", "CD8"], path, 640)
    assert sorted(computed) == ["MALP", "MNRG"]
    np.testing.assert_array_equal(found["CD8"], of_sequence("MALP"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("MNRG\n>P01730\nM", PanelError, "is not a FASTA file: it begins with 'MNRG'"),
        ("", PanelError, "no sequence under a UniProt accession .it is empty"),
        (">CD4\nMNRG", PanelError, "no sequence under a UniProt accession .found 'CD4'"),
        (">P01730\nMN\n>sp|P01730|CD4_HUMAN\nMM", PanelError, "two different sequences of 'P01730'"),
        (">P01730\n", PanelError, "sequence of P01730 in .*markers.fasta is empty"),
        (">P01730\nMN-RG", PanelError, "sequence of P01730 in .*markers.fasta has '-' at place 3"),
    ],
)
def test_fasta_that_is_none(tmp_path, computed, text, error, message):
    with pytest.raises(error, match=message):
        protein_embeddings(["CD4"], fasta(tmp_path, text), 640)
    assert not computed
    assert not (sfm.settings.cache_dir / "proteins").exists()


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "a.fasta").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b">P01730\nMNRG")[:-12])
    for name in ("a.fasta", "b.gz"):
        with pytest.raises(WeightsError, match=f"{name} cannot be read as FASTA"):
            protein_embeddings(["CD4"], tmp_path / name, 640)


def test_a_wrong_width_is_told_before_computing(tmp_path, computed, uniprot):
    for source in (fasta(tmp_path, f">{CD4}\nMNRG"), None):
        with pytest.raises(WeightsError, match="640 wide; the model takes 512"):
            protein_embeddings(["CD4"], source, 512)
    assert not computed
    assert not uniprot.asked


def test_uniprot(computed, uniprot):
    uniprot |= {
        CD4: ">sp|P01730|CD4_HUMAN T-cell surface glycoprotein CD4 OS=Homo sapiens\nMNRG\nVPFR\n",
        CD45RA: ">sp|P08575-8|PTPRC_HUMAN Isoform 8\nMYLW\n",
        CD3D: ">sp|P04234|CD3D_HUMAN\nMEHS\n",
        "P11836": "",  # a deleted entry
    }
    found, reasons = protein_embeddings(["CD4", "CD45RA", "CD3", "CD20", "DAPI"], None, 640)
    for name, sequence in {"CD4": "MNRGVPFR", "CD45RA": "MYLW", "CD3": "MEHS"}.items():
        np.testing.assert_array_equal(found[name], of_sequence(sequence))
    assert reasons == {"CD20": "no sequence of P11836 in UniProt", "DAPI": "no protein sequence (DNA stain)"}
    names = [url.removeprefix("https://rest.uniprot.org/uniprotkb/") for url in uniprot.asked]
    assert names == [f"{name}.fasta" for name in (CD4, CD45RA, CD3E, CD3D, "P11836")]
    # later without network
    sfm.settings.offline = True
    again, _ = protein_embeddings(["CD4", "CD45RA", "CD3", "DAPI"], None, 640)
    np.testing.assert_array_equal(again["CD3"], found["CD3"])
    assert len(uniprot.asked) == 5
    assert len(computed) == 3


def test_a_list_may_end_with_uniprot(folder, computed, uniprot):
    uniprot["P01732"] = ">P01732\nMALP\n"
    (folder / f"{CD4}.pt").unlink()
    np.save(folder / f"{CD4}.npy", np.tile(vector(3), 160))
    found, _ = protein_embeddings(["CD4", "CD8"], [folder, None], 640)
    np.testing.assert_array_equal(found["CD4"], np.tile(vector(3), 160))
    np.testing.assert_array_equal(found["CD8"], of_sequence("MALP"))
    assert len(uniprot.asked) == 1


def test_offline_says_which_and_where(uniprot, folder):
    sfm.settings.offline = True
    place = sfm.settings.cache_dir / "proteins" / "esm2_t30_150M_UR50D"
    with pytest.raises(WeightsError, match=r"P01730 \(CD4\), P07766 \(CD3\), and downloads are off") as caught:
        protein_embeddings(["CD4", "CD3", "DAPI"], None, 640)
    assert f"Put <accession>.pt or .npy into {place}" in str(caught.value)
    assert "FASTA" in str(caught.value)
    # what is put there is taken, and what another source has is not asked for
    place.mkdir(parents=True)
    np.save(place / f"{CD4}.npy", vector(6))
    found, _ = protein_embeddings(["CD4", "CD3"], [None, folder], 4)
    assert {name: int(found[name][0]) for name in found} == {"CD4": 6, "CD3": 2}
    assert not uniprot.asked


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (URLError("no route to host"), "cannot be fetched from https://rest.uniprot.org/uniprotkb/P01730.fasta"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (HTTPError("x", 503, "Service Unavailable", {}, None), "503"),
        ("<!DOCTYPE html> Please log in", "is not a FASTA file: it begins with '<!DOCTYPE html> Plea'"),
    ],
)
def test_uniprot_fails(computed, uniprot, answer, message):
    uniprot[CD4] = answer
    with pytest.raises(WeightsError, match=message) as caught:
        protein_embeddings(["CD4"], None, 640)
    assert "Pass marker_embeddings=<FASTA file" in str(caught.value)
    assert not (sfm.settings.cache_dir / "proteins").exists()


def test_missing_package_is_told_before_the_network_is_used(monkeypatch, uniprot):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'spatialfm\[proteins\]'"):
        protein_embeddings(["CD4"], None, 640)
    assert not uniprot.asked


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        sequences.write_whole(tmp_path / "a" / "x.npy", vector(1))
    assert not list((tmp_path / "a").iterdir())


def test_read_fasta_keeps_order_and_takes_a_mark_of_byte_order():
    text = "\ufeff>tr|A0A024R161|A0A024R161_HUMAN\nMA\n\nCD\n>P01730.1\nM\n>P01730\nM\n>P01730\nM\n"
    assert read_fasta(text, "x") == {"A0A024R161": "MACD", "P01730.1": "M", "P01730": "M"}


def test_from_sequence_to_vector_with_a_tiny_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    letters = "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
    config = transformers.EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=640,
        num_hidden_layers=1,
        num_attention_heads=20,
        intermediate_size=64,
        position_embedding_type="rotary",
        token_dropout=True,
    )
    torch.manual_seed(0)
    model = transformers.EsmModel(config, add_pooling_layer=False).eval()
    place = sfm.settings.cache_dir / "esm2_t30_150M_UR50D"
    model.save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(letters))
    sfm.settings.offline = True
    sfm.settings.device = "cpu"
    found, _ = protein_embeddings(["CD4", "CD8"], fasta(tmp_path, f">{CD4}\nMNRGVPFRH\n>P01732\nMALP\n"), 640)
    for marker, sequence in {"CD4": "MNRGVPFRH", "CD8": "MALP"}.items():
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([[0, *map(letters.index, sequence), 2]])).last_hidden_state
        np.testing.assert_allclose(found[marker], hidden[0, 1:-1].mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("module", [proteins, sequences])
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


# ---- embeddings that come with the package


def test_shipped_embeddings_need_no_model(uniprot):
    sfm.settings.offline = True
    found = find_embeddings(["CD4", "CD45RA", "panCK", "VIM", "DAPI"], None, 640)
    assert not uniprot.asked
    shipped = shipped_embeddings()
    # VirTues' own choices: an isoform of CD45, keratin 14 for all keratins
    for marker, accession in {"CD4": CD4, "CD45RA": CD45RA, "panCK": "P02533", "VIM": "P08670"}.items():
        np.testing.assert_array_equal(found.vectors[marker], shipped[accession])
        assert found.origins[marker] == f"{accession}, shipped with spatialfm"
        assert found.vectors[marker].dtype == np.float32
    assert found.reasons == {"DAPI": "no protein sequence (DNA stain)"}
    # CD45 and CD45RO are other sequences than CD45RA: not guessed
    with pytest.raises(WeightsError, match=r"P08575 \(CD45\), P08575 \(CD45RO\)"):
        find_embeddings(["CD45", "CD45RO"], None, 640)


def test_shipped_embeddings_stand_behind_the_users(tmp_path):
    np.save(tmp_path / f"{CD4}.npy", vector(3, 640))
    found = find_embeddings(["CD4", "CD8", "CD45"], tmp_path, 640)
    np.testing.assert_array_equal(found.vectors["CD4"], vector(3, 640))
    np.testing.assert_array_equal(found.vectors["CD8"], shipped_embeddings()["P01732"])
    assert found.origins == {"CD4": f"{CD4}, {tmp_path}", "CD8": "P01732, shipped with spatialfm"}
    assert found.reasons == {"CD45": f"no embedding of P08575 in {tmp_path}"}
    mine = find_embeddings(["CD4", "DAPI"], {"CD4": vector(5, 640)}, 640, nuclear="histone")
    assert mine.origins == {"CD4": "the given vectors", "DAPI": "P68431, shipped with spatialfm"}
    own = sfm.settings.cache_dir / "proteins" / "esm2_t30_150M_UR50D"
    own.mkdir(parents=True)
    np.save(own / f"{CD4}.npy", vector(7, 640))
    kept = find_embeddings(["CD4"], None, 640)
    np.testing.assert_array_equal(kept.vectors["CD4"], vector(7, 640))
    assert kept.origins == {"CD4": f"{CD4}, {own}"}
    assert find_embeddings(["CD4"], {"CD8": vector(1)}, 4).vectors == {}  # of another width: not theirs


# components 0, 1, 319 and 639 of the originals
VALUES = {
    "P01730": [-0.196419, -0.0338367, -0.0169697, -0.0577783],
    "P68431": [-0.175518, -0.0129828, -0.00328279, -0.0417119],
    "P08575-8": [-0.0561824, -0.0261838, -0.00785409, -0.101039],
}
DNA = ["DAPI", "Hoechst", "Hoechst 33342", "DNA1", "DNA2", "191Ir", "Ir193", "Iridium", "DRAQ5", "SYTOX", "dsDNA"]


def test_shipped_histone_for_stains_of_dna():
    found = find_embeddings([*DNA, "PNAd", "EdU", "H3"], None, 640, nuclear="histone")
    for name in (*DNA, "H3"):
        np.testing.assert_array_equal(found.vectors[name], shipped_embeddings()["P68431"])
    assert list(found.reasons) == ["PNAd", "EdU"]  # a carbohydrate, and a label of dividing cells: no stains of all DNA
    own = find_embeddings(["DAPI", "DNA1"], {"DAPI": vector(1, 640)}, 640, nuclear="histone")
    np.testing.assert_array_equal(own.vectors["DAPI"], vector(1, 640))
    assert list(find_embeddings(DNA, None, 640).reasons) == DNA


def test_shipped_values():
    """A few components of the originals, and that all are there."""
    shipped = shipped_embeddings()
    assert len(shipped) == 40
    assert {"P68431", "P08575-8", "P07766", "P11836", "P02533", "P22083"} <= set(shipped)
    for accession, values in VALUES.items():
        np.testing.assert_allclose(shipped[accession][[0, 1, 319, 639]], values, rtol=1e-3)
    file = files("spatialfm.embed.markers.esm2") / "marker_embeddings.safetensors"
    assert len(file.read_bytes()) < 100_000
    licence = (files("spatialfm.embed.markers.esm2") / "LICENSE.txt").read_text()
    assert "MIT License" in licence
    assert "ECOLE POLYTECHNIQUE FEDERALE DE LAUSANNE" in licence


@pytest.mark.real_data
def test_shipped_embeddings_are_found_by_the_names_of_their_data_set(real_data):
    """The accession of each channel of Cords et al. 2024 as VirTues' authors have it."""
    table = real_data / "cords_spora" / "imc" / "channels.parquet"
    if not table.is_file():
        pytest.skip("no published channels")
    channels = pd.read_parquet(table).dropna(subset="uniprot_id").set_index("channel_name")["uniprot_id"]
    found = find_embeddings(list(channels.index), {}, 640)
    # two antibodies on one metal are not guessed, and a family's antibody is of the family
    others = {"S100", "Collagen I+Fibronectin", "CD31+vWF"}
    named = channels.drop([name for name in others if name in channels.index])
    assert len(named) == 37
    assert {name: found.origins.get(name) for name in named.index} == {
        name: f"{accession}, shipped with spatialfm" for name, accession in named.items()
    }


@pytest.mark.real_data
def test_shipped_embeddings_are_the_originals(real_data):
    originals = sorted((real_data / "cords_spora" / "marker_embeddings").glob("*.pt"))
    if not originals:
        pytest.skip("no published embeddings")
    shipped = shipped_embeddings()
    assert set(shipped) == {path.stem for path in originals}
    for path in originals:
        original, found = torch.load(path, weights_only=True).double().numpy(), shipped[path.stem].astype(float)
        assert np.linalg.norm(found - original) / np.linalg.norm(original) < 1e-3
        assert found @ original / np.linalg.norm(found) / np.linalg.norm(original) > 1 - 1e-6
