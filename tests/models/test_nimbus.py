"""The network of positivity: names and numbers of the published code, and weights that do not fit are refused."""

from __future__ import annotations

import huggingface_hub
import numpy as np
import pytest
import torch
from nimbus_stand_in import noise, shapes, stand_in

import spatialfm as sfm
from spatialfm._errors import WeightsError
from spatialfm.models.nimbus import Nimbus, load_nimbus, newest


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "V1.pt"
    torch.save(stand_in(), path)
    return path


def test_names_and_shapes_are_those_of_the_published_layout():
    with torch.device("meta"):
        state = Nimbus().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == shapes(64)


def test_numbers_are_those_of_the_published_code(file):
    """Made with angelolab/Nimbus-Inference 58beca2, `UNet(num_classes=1, filters_root=4)`, on the same weights."""
    with torch.inference_mode():
        found = load_nimbus(file)(torch.from_numpy(noise((96, 160))[None]))[0].numpy()
    assert found.shape == (96, 160)
    expected = [0.554475, 0.974658, 0.737004, 0.796861]
    np.testing.assert_allclose(found[[0, 5, 48, 95], [0, 150, 80, 159]], expected, atol=2e-6)
    assert found.mean() == pytest.approx(0.535132, abs=2e-6)


def test_what_is_known_of_the_weights_is_recorded(file):
    import hashlib

    network = load_nimbus(file)
    assert network.weights.source == "V1.pt"
    assert network.weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("bottle_neck.bn_1.running_var"), r"1 missing \(bottle_neck.bn_1.running_var\)"),
        (lambda state: state.update({"head.weight": torch.zeros(1)}), r"1 unexpected \(head.weight\)"),
        (
            lambda state: state.update({"final_conv.bias": torch.zeros(2)}),
            r"final_conv.bias is \(2,\) instead of \(1,\)",
        ),
        (lambda state: state.pop("contracting_layers.0.conv2d_0.weight"), "missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, text):
    state = stand_in()
    change(state)
    torch.save(state, tmp_path / "V1.pt")
    with pytest.raises(WeightsError, match=text):
        load_nimbus(tmp_path / "V1.pt")


def test_of_a_folder_the_newest_version_is_taken(tmp_path):
    for version, seed in (("V2.pt", 2), ("V10.pt", 10), ("V9.pt", 9)):
        torch.save(stand_in(seed=seed), tmp_path / version)
    network = load_nimbus(tmp_path)
    assert network.weights.source == "V10.pt"
    torch.testing.assert_close(network.state_dict()["final_conv.weight"], stand_in(seed=10)["final_conv.weight"])
    assert newest(["V2.pt.old", "best.pt"]) is None


@pytest.mark.parametrize(("listed", "expected"), [(["V1.pt", "V3.pt"], "V3.pt"), (["V1.pt"], "V2.pt"), (None, "V2.pt")])
def test_the_hub_is_asked_for_a_newer_version(monkeypatch, listed, expected):
    """A newer one is fetched; without the hub, or without a newer one, the newest that is here is used."""
    folder = sfm.settings.cache_dir / "nimbus"
    folder.mkdir(parents=True)
    torch.save(stand_in(), folder / "V2.pt")
    asked = []

    def files(repo, revision=None):
        asked.append(repo)
        if listed is None:
            raise OSError("no network")
        return listed

    def fetch(repo, file, **options):
        torch.save(stand_in(seed=3), folder / file)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert load_nimbus().weights.source.rpartition("/")[2] == expected
    assert asked == ["JLrumberger/Nimbus-Inference"]


def test_offline_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(sfm.settings, "offline", True)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *args, **options: pytest.fail("asked"))
    with pytest.raises(WeightsError, match="downloads are off"):
        load_nimbus()


def test_a_repository_without_a_version_is_named(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda *args, **options: ["README.md"])
    with pytest.raises(WeightsError, match="lab/other holds no V<n>.pt"):
        load_nimbus("lab/other")
