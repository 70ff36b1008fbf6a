"""The adapter of KRONOS2, against stand-ins for `transformers` and for a repository with that interface."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import spatialfm as sfm
from spatialfm._errors import ArgumentTypeError, ModelError, SpatialfmWarning, WeightsError
from spatialfm.models import MarkerEntry, Weights
from spatialfm.models.kronos2 import KRONOS2, Kronos2Encoder, marker_key

# what the stand-in computes can be told from outside: marker statistics by name, and a projection of the channel means
MODEL = """
import numpy as np
import torch

STATISTICS = {"dapi": (0.2, 0.5), "cd3": (0.1, 0.25)}


class Standin(BASE):
    def __init__(self, *config):
        super().__init__(*config)
        self.scale = torch.nn.Parameter(torch.arange(768.0))

    def preprocess(self, pixels, marker_names, preferred_dapi=None):
        assert isinstance(pixels, np.ndarray) and pixels.dtype == np.float32
        keys = ["dapi" if name == preferred_dapi else name.lower().replace("-", "") for name in marker_names]
        for key in keys:
            if key not in STATISTICS:
                raise KeyError(key)
        mean, std = np.array([STATISTICS[key] for key in keys], np.float32).T[:, :, None, None]
        return (pixels - mean) / std

    def forward(self, pixels, marker_names):
        assert pixels.dtype == torch.float32 and len(marker_names) == pixels.shape[1]
        return pixels.mean((2, 3)).sum(1, keepdim=True) * self.scale
"""
FAKE_TRANSFORMERS = """
import importlib.util, pathlib, torch

CALLS = []


class AutoModel:
    @classmethod
    def from_pretrained(cls, folder, **options):
        CALLS.append((folder, options))
        spec = importlib.util.spec_from_file_location("standin", pathlib.Path(folder, "modeling_standin.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.Standin()
        model.load_state_dict(torch.load(pathlib.Path(folder, "pytorch_model.bin"), weights_only=True))
        return model
"""


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "KRONOS2"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "modeling_standin.py").write_text(MODEL.replace("BASE", "torch.nn.Module"))
    (folder / "marker_metadata.csv").write_text("marker_name,mean,std\nDAPI,0.2,0.5\nCD-3,0.1,0.25\nCD-3,0,1\n")
    torch.save({"scale": torch.arange(768.0)}, folder / "pytorch_model.bin")
    return folder


@pytest.fixture
def calls(tmp_path, monkeypatch) -> list:
    """Puts a package `transformers` first that only loads the stand-in, and notes how it was called."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "transformers.py").write_text(FAKE_TRANSFORMERS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "site")
    import transformers

    yield transformers.CALLS
    del sys.modules["transformers"]  # or the next test would meet the stand-in


def expected(pixels: torch.Tensor, statistics) -> torch.Tensor:
    mean, std = torch.tensor(statistics).T[:, :, None, None]
    return ((pixels - mean) / std).mean((2, 3)).sum(1, keepdim=True) * torch.arange(768.0)


DAPI, CD3 = (0.2, 0.5), (0.1, 0.25)


def test_pixels_and_names_go_through_the_models_own_code(repository, calls):
    encoder = sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    assert calls == [(str(repository), {"trust_remote_code": True, "local_files_only": True})]
    pixels = torch.rand(4, 2, 16, 16)
    with torch.inference_mode():
        out = encoder(pixels, ["CD3", "DAPI"])
    assert (out.marker, out.token, out.summary) == (None, None, None)
    torch.testing.assert_close(out.patch, expected(pixels, [CD3, DAPI]))
    with torch.inference_mode():
        assert torch.equal(encoder(pixels, ["CD3", "DAPI"], outputs=("patch",)).patch, out.patch)
    with pytest.raises(ModelError, match="has no output 'marker'"):
        encoder(pixels, ["CD3", "DAPI"], outputs=("marker",))
    assert encoder.card is sfm.models.card("kronos2")
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.training
    assert (encoder.weights.source, len(encoder.weights.sha256)) == ("KRONOS2", 64)
    assert [entry.name for entry in encoder.vocabulary] == ["DAPI", "CD-3"]


def test_a_window_depends_neither_on_its_batch_nor_on_the_order_of_markers(repository, calls):
    encoder = sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    pixels = torch.rand(3, 2, 16, 16)
    patch = encoder(pixels, ["CD3", "DAPI"]).patch
    torch.testing.assert_close(encoder(pixels[[2]], ["CD3", "DAPI"]).patch, patch[[2]])
    torch.testing.assert_close(encoder(pixels.flip(1), ["DAPI", "CD3"]).patch, patch)
    assert encoder(pixels[:0], ["CD3", "DAPI"]).patch.shape == (0, 768)


def test_the_nuclear_channel_is_named(repository, calls):
    encoder = sfm.models.load("kronos2", weights=repository, trust_remote_code=True, preferred_dapi="Hoechst")
    pixels = torch.rand(2, 2, 8, 8)
    torch.testing.assert_close(encoder(pixels, ["Hoechst", "CD3"]).patch, expected(pixels, [DAPI, CD3]))
    assert encoder.options == {"preferred_dapi": "Hoechst"}
    assert encoder.unknown(["Hoechst", "CD3"]) == []
    with pytest.raises(ModelError, match=r"preferred_dapi='Hoechst' is not among the markers \['DAPI', 'CD3'\]"):
        encoder(pixels, ["DAPI", "CD3"])


def test_the_record_changes_with_the_code(repository, calls):
    first = sfm.models.load("kronos2", weights=repository, trust_remote_code=True).weights
    assert sfm.models.load("kronos2", weights=repository, trust_remote_code=True).weights == first
    with (repository / "modeling_standin.py").open("a") as stream:
        stream.write("\n# changed\n")
    assert sfm.models.load("kronos2", weights=repository, trust_remote_code=True).weights.sha256 != first.sha256


# --- markers that the model does not know ----------------------------------------------------------------------------


class Lenient(torch.nn.Module):
    """Takes any marker, as a version of the model with default statistics would."""

    def preprocess(self, pixels, marker_names, preferred_dapi=None):
        return pixels

    def forward(self, pixels, marker_names):
        return pixels.mean((1, 2, 3))[:, None].expand(-1, 768)


def lenient(*names: str) -> Kronos2Encoder:
    return Kronos2Encoder(KRONOS2, Lenient(), Weights("none"), [MarkerEntry(name, 0, 0.0, 1.0) for name in names])


def test_unknown_markers_are_reported_once(recwarn):
    encoder, pixels = lenient("DAPI", "HLA-DR"), torch.rand(1, 4, 8, 8)
    names = ["dapi", "hla_dr", "CD3", "FoxA1"]
    with pytest.warns(SpatialfmWarning, match="kronos2 does not know 2 of 4 markers: CD3, FoxA1"):
        encoder(pixels, names)
    recwarn.clear()
    encoder(pixels, names)
    assert not recwarn.list
    with pytest.warns(SpatialfmWarning, match="does not know 1 of 1 marker: CD8"):
        encoder(pixels[:, :1], ["CD8"])
    assert encoder.unknown(names) == ["CD3", "FoxA1"]


def test_markers_that_the_code_refuses(repository, calls):
    encoder = sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    with (
        pytest.warns(SpatialfmWarning, match="marker: FoxA1"),
        pytest.raises(
            ModelError, match=r"refused markers \['FoxA1'\]: 'foxa1'. Leave out FoxA1, which it does not know"
        ),
    ):
        encoder(torch.rand(1, 1, 8, 8), ["FoxA1"])


def test_without_a_table_nothing_is_said_of_markers(repository, calls, caplog):
    (repository / "marker_metadata.csv").unlink()
    with caplog.at_level("INFO", "spatialfm"):
        encoder = sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    assert "no marker_metadata.csv" in caplog.text
    assert encoder.vocabulary == ()
    assert encoder.unknown(["anything"]) == []


@pytest.mark.parametrize(
    ("one", "other", "same"), [("CD-8", "cd8", True), ("Ki 67", "KI67", True), ("CD8", "CD8a", False)]
)
def test_marker_key(one, other, same):
    assert (marker_key(one) == marker_key(other)) == same


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"trust_remote_code": False}])
def test_no_code_runs_unasked(repository, calls, options):
    (repository / "modeling_standin.py").write_text("open('ran', 'w')")
    with pytest.raises(ModelError, match=r"run by code in its repository .*then pass trust_remote_code=True"):
        sfm.models.load("kronos2", weights=repository, **options)
    assert calls == []


def test_a_word_is_no_consent(repository, calls):
    (repository / "modeling_standin.py").write_text("open('ran', 'w')")
    with pytest.raises(ArgumentTypeError, match="trust_remote_code must be True or False"):
        sfm.models.load("kronos2", weights=repository, trust_remote_code="yes")
    assert calls == []


def test_transformers_is_asked_for(repository, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"needs the package transformers: pip install 'spatialfm\[kronos2\]'"):
        sfm.models.load("kronos2", weights=repository, trust_remote_code=True)


def test_where_the_repository_belongs(tmp_path, calls):
    sfm.settings.offline = True
    folder = sfm.settings.cache_dir / "kronos2"
    with pytest.raises(WeightsError, match=r"downloads are off.*whole repository MahmoodLab/KRONOS2 at (\S+), or") as e:
        sfm.models.load("kronos2", trust_remote_code=True)
    assert str(folder) in str(e.value)
    with pytest.raises(WeightsError, match=r"other/repo at \S+other--repo@v1"):
        sfm.models.load("kronos2", weights="hf://other/repo@v1", trust_remote_code=True)
    with pytest.raises(WeightsError, match=r"has no config.json for model 'kronos2'"):
        sfm.models.load("kronos2", weights=tmp_path, trust_remote_code=True)
    with pytest.raises(WeightsError, match=r"No folder 'a/b/c.pt'"):
        sfm.models.load("kronos2", weights="a/b/c.pt", trust_remote_code=True)
    with pytest.raises(ModelError, match="no random weights"):
        sfm.models.load("kronos2", weights="random", trust_remote_code=True)
    assert calls == []


def test_a_repository_that_is_there_already(repository, calls):
    folder = sfm.settings.cache_dir / "kronos2"
    repository.rename(folder)
    sfm.settings.offline = True
    encoder = sfm.models.load("kronos2", trust_remote_code=True)
    assert encoder.weights.source == "hf://MahmoodLab/KRONOS2"


def test_the_repository_is_fetched_whole(repository, calls, monkeypatch):
    import huggingface_hub

    fetched = []

    def snapshot_download(repo, *, revision, local_dir, ignore_patterns):
        fetched.append((repo, revision, ignore_patterns))
        repository.rename(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    encoder = sfm.models.load("kronos2", weights="hf://MahmoodLab/KRONOS2@abc", trust_remote_code=True)
    assert fetched == [("MahmoodLab/KRONOS2", "abc", ["demo_image/*"])]
    assert encoder.weights.source == "hf://MahmoodLab/KRONOS2@abc"

    def refused(*args, **options):
        raise PermissionError("403: gated")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    with pytest.raises(WeightsError, match=r"PermissionError: 403: gated.*ask for access at \S+KRONOS2"):
        sfm.models.load("kronos2", trust_remote_code=True)


def test_code_with_another_interface(repository, calls):
    (repository / "modeling_standin.py").write_text(
        MODEL.replace("BASE", "torch.nn.Module").replace("preprocess", "prepare")
    )
    with pytest.raises(ModelError, match=r"has no preprocess\(pixels, marker_names, preferred_dapi=...\)"):
        sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    (repository / "modeling_standin.py").write_text("raise ImportError('no package named xformers')")
    with pytest.raises(ModelError, match="needs further packages: no package named xformers"):
        sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    (repository / "modeling_standin.py").write_text("raise OSError('broken')")
    with pytest.raises(WeightsError, match=r"cannot load model 'kronos2'.*OSError: broken"):
        sfm.models.load("kronos2", weights=repository, trust_remote_code=True)


def test_input_is_checked():
    encoder = lenient("DAPI")
    with pytest.raises(ModelError, match="needs a list of marker names, one for each of 2 channels, got NoneType"):
        encoder(torch.zeros(1, 2, 8, 8))
    with pytest.raises(ModelError, match="one for each of 2 channels, got 1 names"):
        encoder(torch.zeros(1, 2, 8, 8), ["DAPI"])
    with pytest.raises(ModelError, match="got Tensor"):
        encoder(torch.zeros(1, 1, 8, 8), torch.tensor([3]))
    with pytest.raises(ModelError, match="pixels from 0 to 1, got 0 to 255"):
        encoder(torch.tensor([[[[0.0, 255.0]]]]), ["DAPI"])
    with pytest.raises(ModelError, match=r"takes pixels \(B, M, H, W\), got \(1, 8, 8\)"):
        encoder(torch.zeros(1, 8, 8), ["DAPI"])
    encoder.model.forward = lambda pixels, names: pixels.mean((2, 3))
    with pytest.raises(ModelError, match=r"gave \(1, 1\) instead of \(1, 768\)"):
        encoder(torch.zeros(1, 1, 8, 8), ["DAPI"])


# --- the real library ------------------------------------------------------------------------------------------------


def test_loading_through_transformers(repository, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    code = "from transformers import PretrainedConfig, PreTrainedModel\n" + MODEL.replace("BASE", "PreTrainedModel")
    code = code.replace(
        "class Standin", 'class Config(PretrainedConfig):\n    model_type = "standin"\n\n\nclass Standin'
    )
    code = code.replace(
        "    def preprocess", "        self.post_init()\n\n    config_class = Config\n\n    def preprocess", 1
    )
    (repository / "modeling_standin.py").write_text(code)
    mapping = {"AutoConfig": "modeling_standin.Config", "AutoModel": "modeling_standin.Standin"}
    (repository / "config.json").write_text(json.dumps({"model_type": "standin", "auto_map": mapping}))
    encoder = sfm.models.load("kronos2", weights=repository, trust_remote_code=True)
    pixels = torch.rand(2, 2, 8, 8)
    torch.testing.assert_close(encoder(pixels, ["DAPI", "CD3"]).patch, expected(pixels, [DAPI, CD3]))
    assert np.isfinite(encoder.model.scale.numpy()).all()


class Silent(torch.nn.Module):
    """As the published code: without gradients as a whole, and with them by its backbone."""

    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Module()
        self.backbone.proj = torch.nn.Linear(3, 768)
        self.backbone.forward_features = lambda x, masks, marker_names: {
            "x_norm_clstoken": self.backbone.proj(x.mean((-2, -1)))
        }

    def preprocess(self, pixels, marker_names, preferred_dapi=None):
        return pixels

    def forward(self, pixels, marker_names):
        with torch.no_grad():
            return self.backbone.forward_features(pixels, masks=None, marker_names=marker_names)["x_norm_clstoken"]


def test_it_can_be_adapted_to_a_cohort():
    encoder = Kronos2Encoder(KRONOS2, Silent(), Weights("test"))
    pixels, names = torch.rand(2, 3, 8, 8), ["CD3", "CD4", "CD8"]
    patch = encoder(pixels, names).patch
    assert patch.requires_grad
    patch.sum().backward()
    assert encoder.model.backbone.proj.weight.grad.abs().max() > 0
    encoder.requires_grad_(False)
    torch.testing.assert_close(encoder(pixels, names).patch, patch.detach(), rtol=0, atol=1e-6)
