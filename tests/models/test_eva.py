"""Eva against its authors' code with the same stand-in weights, in both orders of its class token; its refusals."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ModelError, SpatialfmWarning, WeightsError
from spatialfm.models import eva, hub
from spatialfm.models.eva import EvaConfig, EvaEncoder, EvaNetwork, known_markers, position_table, read_genept

VALUES = json.loads((Path(__file__).parent / "eva_values.json").read_text())
SMALL = EvaConfig(size=32, channel_dim=32, dim=48, depth=3, heads=6, marker_dim=24)
LEARNED = ("DAPI", "HECHA1", "HECHA2", "HECHA3")  # markers whose vectors the checkpoint holds
GENES = known_markers()


@pytest.fixture(scope="module")
def files(standin, tmp_path_factory):
    """A checkpoint of the small shape as it is published, decoder included, and GenePT's vectors."""
    folder = tmp_path_factory.mktemp("eva")
    with torch.device("meta"):
        shapes = {name: tuple(t.shape) for name, t in EvaNetwork(SMALL).state_dict().items()}
    shapes |= {"decoder_pred.weight": (64, 32), "mask_token": (1, 1, 1, 32), "enc_proj.0.weight": (64, 48)}
    shapes |= {f"marker_embed.unknown_marker_embeddings.{name}.weight": (1, 24) for name in LEARNED}
    tensors = {f"model.{name}": torch.from_numpy(standin.fill(f"model.{name}", s)) for name, s in shapes.items()}
    tensors |= {"model.enc_pos_embed": position_table(4, 48), "model.marker_embed._device_tracker": torch.empty(0)}
    torch.save({"state_dict": tensors}, folder / "Eva_model.ckpt")
    genes = sorted(set(GENES.values()) - set(LEARNED))
    vectors = {gene: standin.synthetic_input(f"genept {gene}", 24).tolist() for gene in genes}
    (folder / "genept.pickle").write_bytes(pickle.dumps(vectors))
    return folder, tensors


@pytest.fixture
def load(files, monkeypatch):
    monkeypatch.setattr(eva, "EvaConfig", lambda: SMALL)
    folder, _ = files
    return lambda **options: sfm.models.load(
        "eva", weights=folder / "Eva_model.ckpt", **({"genept": folder / "genept.pickle"} | options)
    )


def ids(*names: str) -> torch.Tensor:
    return torch.tensor([list(GENES).index(name) for name in names])


@pytest.mark.parametrize("position", ["last", "first"])
@pytest.mark.parametrize("features", ["average", "cls"])
def test_values_of_the_authors_code(load, standin, position, features):
    encoder = load(cls_position=position, features=features)
    pixels = torch.from_numpy(standin.synthetic_input("eva", 2, 3, 32, 32)).abs()
    vector = encoder(pixels, ids("CD3e", "CD20", "DAPI")).patch[1, :8].double().numpy()
    expected = np.asarray(VALUES[position][features])
    assert np.linalg.norm(vector - expected) / np.linalg.norm(expected) < 1e-5


def test_names_are_those_of_the_authors_code(files):
    _, tensors = files
    others = ("decoder_", "enc_proj.", "mask_token", "marker_embed.")
    theirs = {name for name in VALUES["names"] if not name.removeprefix("model.").startswith(others)}
    ours = {name for name in tensors if not name.removeprefix("model.").startswith(others)}
    assert ours == theirs


def test_windows_of_another_size_are_resized(load):
    encoder = load()
    pixels = torch.rand(1, 2, 20, 26)
    grown = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear", align_corners=False)
    markers = ids("CD4", "CD8")
    torch.testing.assert_close(encoder(pixels, markers).patch, encoder(grown, markers).patch)


def test_without_genept_only_learned_markers_are_known(load):
    encoder = load(genept=None)
    assert {entry.name for entry in encoder.vocabulary} == set(LEARNED)
    assert len(load().vocabulary) == 197
    with pytest.raises(ModelError, match=r"has no vector for marker \d+\. Pass genept=<GenePT_gene"):
        encoder(torch.zeros(1, 1, 32, 32), ids("CD4"))


def test_size_is_that_of_the_card():
    with torch.device("meta"):
        network = EvaNetwork(EvaConfig())
    assert sum(parameter.numel() for parameter in network.parameters()) == eva.EVA.parameters
    assert network.patch_enc_blocks[11].attn.qkv.weight.shape == (3 * 768, 768)
    assert network.enc_pos_embed.shape == (1, 785, 768)


def test_contract():
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in EvaNetwork(SMALL).parameters())
    card = replace(eva.EVA, parameters=parameters, embedding_dim=48)
    encoder = EvaEncoder(card, SMALL, torch.randn(197, 24), list(GENES))
    encoder.weights = hub.fill_random(encoder.backbone, card)
    assert sfm.models.check_encoder(encoder.eval().requires_grad_(False))["passed"].all()


def test_cells_of_an_image_and_markers_that_it_does_not_know(load, blobs, make_sdata):
    sdata = make_sdata({"a": blobs(n_channels=4, side=80)}, ["DAPI", "CD3", "GAL1", "E-cadherin"])
    with pytest.warns(SpatialfmWarning, match="eva does not know 1 of 4 markers; left out: 'Galectin-1'"):
        sfm.tl.embed_cells(sdata, load(), panel={"on_unknown": "keep"})
    table = sdata["table"]
    record = sfm.get.record(table, "X_eva")
    assert table.obsm["X_eva"].shape == (table.n_obs, 48)
    assert len(record["markers"]) == 3
    assert "does not know it" in str(record["markers_dropped"])
    assert "last" in str(record["model_options"])
    assert "none stated" in record["license"]


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_refusals(load, tmp_path, capsys):
    encoder = load()
    with pytest.raises(ModelError, match=r"takes the ids of 2 markers, got None"):
        encoder(torch.zeros(1, 2, 32, 32))
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\)"):
        encoder(torch.zeros(2, 32, 32), ids("CD4"))
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps({"CD4": Evil()}))
    with pytest.raises(WeightsError, match=r"nothing in it was run .*names builtins\.print"):
        load(genept=tmp_path / "evil.pickle")
    assert "run" not in capsys.readouterr().out
    (tmp_path / "narrow.pickle").write_bytes(pickle.dumps({"CD4": [1.0, 2.0]}))
    with pytest.raises(WeightsError, match=r"vector of 'CD4' has the shape \(2,\), and Eva takes 24 numbers"):
        load(genept=tmp_path / "narrow.pickle")
    (tmp_path / "list.pickle").write_bytes(pickle.dumps([1.0]))
    with pytest.raises(WeightsError, match="does not hold vectors by gene"):
        load(genept=tmp_path / "list.pickle")
    with pytest.raises(WeightsError, match="No file 'absent.pickle' with GenePT's vectors"):
        load(genept="absent.pickle")
    (tmp_path / "arrays.pickle").write_bytes(pickle.dumps({"CD4": np.arange(3.0)}))
    assert read_genept(tmp_path / "arrays.pickle")["CD4"].tolist() == [0, 1, 2]
