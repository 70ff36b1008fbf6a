"""Protein embeddings with a tiny, untrained ESM-2, against a plain loop and its own arithmetic."""

from __future__ import annotations

import doctest
import sys

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, PanelError, WeightsError
from spatialfm.models import esm
from spatialfm.models.esm import ESM2, clean_sequence, esm_embeddings, iter_esm_embeddings

# the vocabulary of ESM-2, in its order
VOCABULARY = (
    "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>".split()
)  # fmt: skip
SEQUENCES = {
    "long": "MKTAYIAKQRQISFVKSHFSRQ" * 3,
    "short": "MNRG",
    "one": "W",
    "rare": "mkux bzo*",
    "mid": "ACDEFGHIKLMNPQ",
}


def make_model(folder, **options):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        **{
            "vocab_size": len(VOCABULARY),
            "mask_token_id": 32,
            "pad_token_id": 1,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 32,
            "max_position_embeddings": 40,
            "position_embedding_type": "rotary",
            "emb_layer_norm_before": False,
            "token_dropout": True,
            "hidden_dropout_prob": 0.5,  # would show if the model were not in evaluation mode
            "attention_probs_dropout_prob": 0.5,
        }
        | options
    )
    model = transformers.EsmForMaskedLM(config)  # as the published checkpoint: names below esm., a head, no pooler
    with torch.no_grad():
        for parameter in model.parameters():  # layer norms too, or the last one could not be told from none
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    return model.eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("esm") / "tiny"
    return make_model(folder), folder


def plain(model, sequence):
    """One sequence, no padding, tokens written out, the last layer's norm applied by hand."""
    ids = [VOCABULARY.index(letter) for letter in sequence]
    caught = []
    hook = model.esm.encoder.layer[-1].register_forward_hook(
        lambda module, args, out: caught.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        model(input_ids=torch.tensor([[0, *ids, 2]]))
        last = model.esm.encoder.emb_layer_norm_after(caught[0])[0]
    hook.remove()
    return torch.stack([last[place + 1] for place in range(len(ids))]).mean(0).numpy()


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_mean_over_residues_of_the_last_layer(tiny, batch_size):
    model, folder = tiny
    found = esm_embeddings(SEQUENCES, folder, batch_size=batch_size, device="cpu")
    assert list(found) == list(SEQUENCES)
    for name, sequence in SEQUENCES.items():
        expected = plain(model, clean_sequence(sequence, name))
        assert found[name].shape == (24,)
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
    # the vectors tell the proteins apart, otherwise the comparison says nothing
    assert np.abs(found["long"] - found["short"]).max() > 0.1


def test_the_ends_are_left_out(tiny):
    model, folder = tiny
    with torch.no_grad():
        ids = torch.tensor([[0, *map(VOCABULARY.index, "MNRG"), 2]])
        hidden = model.esm(input_ids=ids).last_hidden_state[0]
    found = esm_embeddings({"a": "MNRG"}, folder, device="cpu")["a"]
    np.testing.assert_allclose(found, hidden[1:5].mean(0), rtol=1e-4, atol=1e-5)
    assert np.abs(found - hidden.mean(0).numpy()).max() > 1e-2


def test_repeats_bit_for_bit_and_alone_as_in_company(tiny):
    _, folder = tiny
    first = esm_embeddings(SEQUENCES, folder, batch_size=1, device="cpu")
    alone = esm_embeddings({"mid": SEQUENCES["mid"]}, folder, batch_size=1, device="cpu")
    np.testing.assert_array_equal(alone["mid"], first["mid"])
    again = esm_embeddings(dict(reversed(SEQUENCES.items())), folder, batch_size=1, device="cpu")
    for name in SEQUENCES:
        np.testing.assert_array_equal(first[name], again[name])


def test_longer_than_the_position_table_is_embedded_whole(tiny):
    model, folder = tiny
    sequence = "ACDEFGHIKLMNPQRSTVWY" * 60  # 1,200 residues; max_position_embeddings is 40
    found = esm_embeddings({"a": sequence, "cut": sequence[:1022]}, folder, device="cpu")
    np.testing.assert_allclose(found["a"], plain(model, sequence), rtol=1e-4, atol=1e-5)
    assert np.abs(found["a"] - found["cut"]).max() > 1e-6


def test_a_model_with_a_position_table_refuses_longer_ones(tmp_path):
    make_model(tmp_path, position_embedding_type="absolute")
    most = 40 - 1 - 3
    assert esm_embeddings({"a": "A" * most}, tmp_path, device="cpu")["a"].shape == (24,)
    with pytest.raises(ModelError, match=rf"'b' has {most + 1} residues.*takes {most}"):
        esm_embeddings({"b": "A" * (most + 1)}, tmp_path, device="cpu")


def test_one_by_one_the_shortest_first(tiny):
    _, folder = tiny
    names = [name for name, _ in iter_esm_embeddings(SEQUENCES, folder, batch_size=2, device="cpu")]
    assert names == ["one", "short", "rare", "mid", "long"]


def test_batches_hold_long_sequences_alone():
    lengths = {"a": 10, "b": 900, "c": 1000, "d": 1100, "e": 9000, "f": 20}
    assert list(esm._batches(lengths, 2)) == [["a", "f"], ["b", "c"], ["d"], ["e"]]
    assert list(esm._batches({}, 2)) == []


def test_nothing_to_do_loads_nothing():
    assert esm_embeddings({}, "no/model") == {}


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("", "sequence of 'P1' is empty"),
        (" *", "sequence of 'P1' is empty"),
        ("MN-RG", "'-' at place 3, which is not an amino acid"),
        ("MJ", "'J' at place 2"),
        ("M*N", r"'\*' at place 2"),
    ],
)
def test_sequences_that_are_none(sequence, message):
    with pytest.raises(PanelError, match=message):
        esm_embeddings({"P1": sequence}, "no/model")


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'spatialfm\[proteins\]'"):
        esm_embeddings({"P1": "MNRG"})


def test_offline_says_what_belongs_where():
    pytest.importorskip("transformers")
    sfm.settings.offline = True
    with pytest.raises(WeightsError, match="offline.*Put config.json, vocab.txt, model.safetensors") as caught:
        esm_embeddings({"P1": "MNRG"})
    assert str(sfm.settings.cache_dir / ESM2.split("/")[1]) in str(caught.value)
    assert not any(sfm.settings.cache_dir.iterdir())


def test_the_cache_folder_is_used_without_network(tiny):
    model, folder = tiny
    sfm.settings.offline = True
    (sfm.settings.cache_dir / "esm2_t30_150M_UR50D").symlink_to(folder)
    found = esm_embeddings({"a": "MNRG"}, device="cpu")["a"]
    np.testing.assert_allclose(found, plain(model, "MNRG"), rtol=1e-4, atol=1e-5)


def test_download(monkeypatch, tmp_path, tiny):
    import shutil

    import huggingface_hub

    model, folder = tiny
    calls = []

    def fetch(repo, *, local_dir, allow_patterns):
        calls.append((repo, local_dir, allow_patterns))
        shutil.copytree(folder, local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    for _ in range(2):  # the second time from the cache
        found = esm_embeddings({"a": "MNRG"}, device="cpu")["a"]
        np.testing.assert_allclose(found, plain(model, "MNRG"), rtol=1e-4, atol=1e-5)
    assert [call[:2] for call in calls] == [(ESM2, sfm.settings.cache_dir / "esm2_t30_150M_UR50D")]
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in calls[0][2])  # nothing that needs pickle

    def fail(*args, **kwargs):
        raise ConnectionError("no route")

    sfm.settings.cache_dir = tmp_path
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(WeightsError, match="ConnectionError: no route. Put config.json.*marker_embeddings=<folder"):
        esm_embeddings({"a": "MNRG"})


def test_folders_that_do_not_fit(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    _, folder = tiny
    with pytest.raises(WeightsError, match="No folder '/nowhere/at/all'"):
        esm_embeddings({"a": "MNRG"}, "/nowhere/at/all")
    with pytest.raises(WeightsError, match="has no config.json, vocab.txt, model.safetensors"):
        esm_embeddings({"a": "MNRG"}, tmp_path)
    for name in ("config.json", "vocab.txt"):
        (tmp_path / name).write_text((folder / name).read_text())
    # a checkpoint in pickle is not even opened
    (tmp_path / "pytorch_model.bin").write_bytes(b"not to be read")
    with pytest.raises(WeightsError, match="has no model.safetensors"):
        esm_embeddings({"a": "MNRG"}, tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:2000])
    with pytest.raises(WeightsError, match="cannot load an ESM model from"):
        esm_embeddings({"a": "MNRG"}, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    gone = next(name for name in tensors if name.endswith("encoder.layer.1.output.dense.weight"))
    del tensors[gone]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 tensor is missing \(encoder.layer.1.output.dense.weight\)"):
        esm_embeddings({"a": "MNRG"}, tmp_path)


def test_a_vocabulary_that_lacks_a_residue(tiny, tmp_path):
    import shutil

    shutil.copytree(tiny[1], tmp_path / "other")
    (tmp_path / "other" / "vocab.txt").write_text("\n".join(name if name != "W" else "w?" for name in VOCABULARY))
    with pytest.raises(WeightsError, match="lacks 'W', which is in the sequence of 'a'"):
        esm_embeddings({"a": "MNW"}, tmp_path / "other", device="cpu")


def test_options_that_cannot_be(tiny):
    with pytest.raises(ModelError, match="batch_size=0"):
        esm_embeddings({"a": "MNRG"}, tiny[1], batch_size=0)
    with pytest.raises(ModelError, match="Device 'nonsense' cannot be used"):
        esm_embeddings({"a": "MNRG"}, tiny[1], device="nonsense")


def test_examples():
    result = doctest.testmod(esm, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted
    assert not result.failed
