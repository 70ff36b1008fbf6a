"""Slide encoders, run by stand-ins of their own code: what they are given, what is made of it, what is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from spatialfm._errors import ModelError, SpatialfmWarning, WeightsError
from spatialfm.models.slide import SLIDE_CARDS, check_tiles, grid_corners, load_slide_encoder, record_of, slide_card

CPU = torch.device("cpu")
GRID = """
import torch


class Standin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(768))

    def encode_slide_from_patch_features(self, features, coords, patch_size_lv0):
        assert coords.dtype == torch.int64 and features.dtype == torch.float32 and not torch.is_grad_enabled()
        weights = (coords // patch_size_lv0).sum(1).float() + 1
        return ((features * weights[:, None]).sum(0, keepdim=True) * self.scale)[:, :WIDTH]
"""
BAG = """
import torch


class Standin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(768))

    def forward(self, features, loss_fn=None, label=None, return_attention=False, return_slide_feats=False):
        assert features.ndim == 3 and return_slide_feats
        return {"logits": None}, {"slide_feats": (features.mean(1) * self.scale)[:, :WIDTH]}
"""
FAKE_TRANSFORMERS = """
import importlib.util, pathlib, torch


class AutoModel:
    @classmethod
    def from_pretrained(cls, folder, **options):
        assert options == {"trust_remote_code": True, "local_files_only": True}
        spec = importlib.util.spec_from_file_location("standin", pathlib.Path(folder, "modeling.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.Standin()
        model.load_state_dict(torch.load(pathlib.Path(folder, "pytorch_model.bin"), weights_only=True))
        return model
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Makes a folder with the code of a stand-in; a package `transformers` that loads it comes first."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "transformers.py").write_text(FAKE_TRANSFORMERS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")

    def make(code: str, width: int) -> Path:
        folder = tmp_path / f"repository{width}"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "modeling.py").write_text(code.replace("WIDTH", str(width)))
        torch.save({"scale": torch.arange(768.0)}, folder / "pytorch_model.bin")
        return folder

    yield make
    sys.modules.pop("transformers", None)


def tiles(n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    places = 100 + 256.0 * np.stack([np.arange(n) % 3, np.arange(n) // 3], axis=1)
    return rng.normal(size=(n, 768)).astype(np.float32), places


def test_features_and_places_are_given_in_the_units_of_the_model(repository):
    encoder = load_slide_encoder("titan", repository(GRID, 768), trust_remote_code=True, device=CPU)
    features, places = tiles()
    weights = np.array([1, 2, 3, 2, 3, 4])  # steps in x and y, and one
    right = (features * weights[:, None]).sum(axis=0) * np.arange(768)
    np.testing.assert_allclose(encoder.encode(features, places, 256.0), right, rtol=1e-4, atol=1e-3)
    # coarser tiles are neighbours, too
    np.testing.assert_allclose(encoder.encode(features, 2 * places, 512.0), right, rtol=1e-4, atol=1e-3)
    assert not encoder.model.training
    assert len(record_of(encoder)["weights_sha256"]) == 64


def test_a_bag_needs_no_places(repository):
    encoder = load_slide_encoder("feather", repository(BAG, 512), trust_remote_code=True, device=CPU)
    features, _ = tiles()
    found = encoder.encode(features, None, None)
    np.testing.assert_allclose(found, (features.mean(axis=0) * np.arange(768))[:512], rtol=1e-4, atol=1e-4)


def test_feather_is_read_from_what_the_code_on_the_hub_gives(repository):
    """There the two parts have names, where the authors' library gives a pair."""
    folder, named = repository(BAG, 512), '{"results": {"logits": None}, "log": {"slide_feats": '
    code = (folder / "modeling.py").read_text()
    pair = 'return {"logits": None}, {"slide_feats": '
    assert pair in code
    line = next(one for one in code.splitlines() if pair in one)
    (folder / "modeling.py").write_text(code.replace(line, line.replace(pair, f"return {named}") + "}"))
    encoder = load_slide_encoder("feather", folder, trust_remote_code=True, device=CPU)
    features = tiles()[0]
    right = (features.mean(axis=0) * np.arange(768))[:512]
    np.testing.assert_allclose(encoder.encode(features, None, None), right, rtol=1e-4, atol=1e-4)


def test_weights_of_another_width_are_refused(repository):
    encoder = load_slide_encoder("titan", repository(GRID, 512), trust_remote_code=True, device=CPU)
    with pytest.raises(ModelError, match=r"gave \(512,\) instead of 768 finite numbers: the weights are of"):
        encoder.encode(*tiles(), 256.0)
    with pytest.raises(ModelError, match=r"takes features of CONCH v1.5 \(768 columns\); the representation has 32"):
        encoder.encode(np.zeros((3, 32)), np.zeros((3, 2)), 256.0)
    feather = load_slide_encoder("feather", repository(BAG, 511), trust_remote_code=True, device=CPU)
    with pytest.raises(ModelError, match=r"'feather' takes features of .* \(768 columns\); the representation has 32"):
        feather.encode(np.zeros((3, 32)), None, None)


def test_what_its_code_refuses_is_passed_on(repository):
    folder = repository(BAG, 512)
    (folder / "modeling.py").write_text(BAG.replace("WIDTH", "512").replace('"slide_feats"', '"other"'))
    encoder = load_slide_encoder("feather", folder, trust_remote_code=True, device=CPU)
    with pytest.raises(ModelError, match="refused 6 tiles of 768 columns: KeyError"):
        encoder.encode(tiles()[0], None, None)


def test_the_grid():
    _, places = tiles()
    corners = grid_corners(places + np.random.default_rng(0).uniform(-9, 9, places.shape), 256.0, 512)
    assert corners.tolist() == [[0, 0], [512, 0], [1024, 0], [0, 512], [512, 512], [1024, 512]]
    assert corners.dtype == np.int64
    with pytest.raises(ModelError, match="Two tiles are in one place of a grid of 256 µm"):
        grid_corners(places / 4, 256.0, 512)
    with pytest.raises(ModelError, match="Places of the tiles are needed"):
        grid_corners(None, 256.0, 512)


def test_tiles_of_another_size_are_told():
    with pytest.warns(SpatialfmWarning, match="trained on tiles of 256 µm, and these are 128 µm apart"):
        check_tiles(SLIDE_CARDS["titan"], 128.0)
    with pytest.warns(SpatialfmWarning, match="these are 284 µm apart"):
        check_tiles(SLIDE_CARDS["titan"], 284.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_tiles(SLIDE_CARDS["titan"], 250.0)  # 0.488 µm per pixel instead of 0.5


def test_what_nobody_has_published_says_so():
    with pytest.raises(ModelError, match=r"CONCH v1.5 \(768 columns.*gives 1024, but nobody has published its weights"):
        slide_card("threads")
    with pytest.raises(ModelError, match="No slide encoder 'prism'; there are 'titan'"):
        slide_card("prism")


def test_no_code_runs_unasked(repository):
    folder = repository("open('ran', 'w')", 768)
    with pytest.raises(ModelError, match="then pass trust_remote_code=True"):
        load_slide_encoder("titan", folder, trust_remote_code=False, device=CPU)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match="no config.json for model 'titan'"):
        load_slide_encoder("titan", folder, trust_remote_code=True, device=CPU)


def test_code_with_another_interface(repository):
    with pytest.raises(ModelError, match=r"it has no encode_slide_from_patch_features\(...\)"):
        load_slide_encoder("titan", repository(BAG, 768), trust_remote_code=True, device=CPU)
