"""Weights from files, folders and the hub; what is refused, and that refusing runs nothing."""

from __future__ import annotations

import hashlib
import logging
import pickle
import shutil
from pathlib import Path

import huggingface_hub.errors as hf_errors
import pytest
import torch
from safetensors.torch import save_file

import spatialfm as sfm
from spatialfm._errors import WeightsError
from spatialfm.models import ModelCard, hub
from spatialfm.models.vit import VisionTransformer, ViTConfig

CONFIG = ViTConfig(dim=8, depth=1, heads=2, patch_size=4, grid=2, registers=1)
CARD = ModelCard(
    name="tiny",
    family="test",
    title="a tiny transformer",
    license="x",
    commercial=True,
    gated=True,
    reference="x",
    trained_on="x",
    hub="lab/tiny",
    weights_file="tiny.pt",
)


def empty() -> VisionTransformer:
    with torch.device("meta"):
        return VisionTransformer(CONFIG)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(t.shape, generator=generator) for name, t in empty().state_dict().items()}


def loaded(path: Path) -> dict[str, torch.Tensor]:
    module = empty()
    weights = hub.fill(module, hub.locate(CARD, path), CARD)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.source == path.name
    return module.state_dict()


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["published", "plain", "prefixed", "half", "safetensors", "legacy"])
def test_forms_of_a_file(tensors, tmp_path, form):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    prefixed = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    match form:
        case "published":
            heads = {"dino_head.last_layer.weight": torch.zeros(2), "backbone.dino_head.x": torch.zeros(2)}
            torch.save({"teacher": prefixed | heads, "iteration": 7}, path)
        case "safetensors":
            save_file(prefixed, path)
        case "half":
            tensors = {name: tensor.half() for name, tensor in tensors.items()}
            torch.save(tensors, path)
        case "legacy":
            torch.save(tensors, path, _use_new_zipfile_serialization=False)
        case _:
            torch.save(prefixed if form == "prefixed" else tensors, path)
    out = loaded(path)
    for name, tensor in tensors.items():
        assert out[name].dtype == torch.float32
        torch.testing.assert_close(out[name], tensor.float(), rtol=0, atol=0)


def test_folder(tensors, tmp_path):
    torch.save(tensors, tmp_path / "other.pt")
    (tmp_path / "notes.csv").write_text("x")
    found = hub.locate(CARD, tmp_path, companions=("notes.csv", "absent.csv"))
    assert found.path == tmp_path / "other.pt"
    assert found.companions == {"notes.csv": tmp_path / "notes.csv"}
    torch.save(tensors, tmp_path / "tiny.pt")
    assert hub.locate(CARD, str(tmp_path)).path == tmp_path / "tiny.pt"


def test_folder_without_the_file(tensors, tmp_path):
    with pytest.raises(WeightsError, match=r"has no tiny.pt for model 'tiny'; weights files there: none"):
        hub.locate(CARD, tmp_path)
    for name in ("a.pt", "b.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r"weights files there: a.pt, b.safetensors. Pass weights=<file>"):
        hub.locate(CARD, tmp_path)


def test_random_weights_are_the_same_each_time_and_said_to_be_random(caplog):
    state = torch.random.get_rng_state()
    with caplog.at_level(logging.WARNING, "spatialfm"):
        first, second = empty(), empty()
        weights = hub.fill_random(first, CARD)
        hub.fill_random(second, CARD)
    assert weights.source == "random (untrained)"
    assert "untrained" in caplog.text
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    assert first.patch_embed.proj.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not torch.equal(first.cls_token, first.register_tokens)


# --- what is refused -------------------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (open, (self.target, "w"))


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle 2", "pickle 4"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
def test_a_file_that_would_run_code_does_not(tmp_path, form):
    target, path = tmp_path / "owned", tmp_path / "evil.pt"
    content = {"teacher": {"backbone.cls_token": Malicious(target)}}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(form[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    expected = "is truncated or not a checkpoint" if form == "pickle 4" else "would run code to be read, and was not"
    with pytest.raises(WeightsError, match=f"evil.pt .*{expected}") as caught:
        hub.read_tensors(path)
    assert "weights_only" not in str(caught.value)
    assert not target.exists()
    with path.open("rb") as stream:  # the file does what it is said to do, where nobody guards against it
        if form.startswith("pickle"):
            pickle.load(stream)
            assert target.exists()


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "legacy.pt"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(tensors, tmp_path, name, keep):
    path = tmp_path / name
    if name == "w.safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=name == "w.pt")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(WeightsError, match=rf"{name} \([\d,]+ bytes\) is truncated or not a checkpoint.*again\."):
        hub.read_tensors(path)


def test_another_kind_of_file(tmp_path):
    (tmp_path / "w.pt").write_text("<html>Sign in</html>")
    with pytest.raises(WeightsError, match=r"w.pt \(20 bytes\) is truncated or not a checkpoint"):
        hub.read_tensors(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([torch.zeros(2)], "'a list'"),
        (torch.zeros(2), "'a Tensor'"),
        ({"epoch": 3, "model": {}}, "'epoch'"),
        ({"teacher": {"lr": 0.1}}, "'lr'"),
        ({0: torch.zeros(1)}, "'0'"),
    ],
)
def test_files_without_named_tensors(tmp_path, content, what):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=f"holds {what}, which is not a named tensor; expected a state dict"):
        hub.read_tensors(tmp_path / "w.pt")


def test_a_file_that_does_not_fit(tensors, tmp_path):
    for name in ("cls_token", "norm.weight", "norm.bias", "mask_token"):
        del tensors[name]
    tensors["extra"] = torch.zeros(1)
    tensors["pos_embed"] = torch.zeros(1, 9, 8)
    torch.save(tensors, tmp_path / "w.pt")
    module = empty()
    with pytest.raises(WeightsError) as caught:
        hub.fill(module, hub.locate(CARD, tmp_path / "w.pt"), CARD)
    text = str(caught.value)
    assert "does not fit model 'tiny'" in text
    assert "4 missing (cls_token, mask_token, norm.weight, …)" in text
    assert "1 unexpected (extra)" in text
    assert "1 of another shape (pos_embed is (1, 9, 8) instead of (1, 5, 8))" in text
    assert module.cls_token.is_meta  # nothing was filled


def test_the_small_file_does_not_fit_the_large_model(kronos_file):
    with pytest.raises(WeightsError, match=r"does not fit model 'kronos-large'.*294 missing.*KRONOS ViT-L/16"):
        sfm.models.load("kronos-large", weights=kronos_file)


@pytest.mark.parametrize("weights", ["nowhere/tiny.pt", "/no/such/file.pt", "a/b/c", "plain", Path("lab/tiny")])
def test_a_file_that_is_not_there(weights):
    with pytest.raises(WeightsError, match=r"No weights file .* for model 'tiny'. Pass weights=<file or folder>"):
        hub.locate(CARD, weights)


# --- hub -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(monkeypatch, tmp_path, tensors):
    """A hub that holds two files, and a list of what was asked of it."""
    source = tmp_path / "hub"
    (source / "sub").mkdir(parents=True)
    for folder in (source, source / "sub"):
        torch.save(tensors, folder / "tiny.pt")
        (folder / "notes.csv").write_text("x")
    asked = []

    def fetch(repo_id, filename, *, revision=None, local_dir=None):
        asked.append((repo_id, filename, revision))
        if not (source / filename).exists():
            raise hf_errors.LocalEntryNotFoundError(filename)
        target = Path(local_dir) / filename
        target.parent.mkdir(parents=True, exist_ok=True)
        (Path(local_dir) / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
        shutil.copy(source / filename, target)
        return str(target)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    return asked


def test_the_cards_own_repository_is_fetched_once(repository):
    for _ in range(2):
        file = hub.locate(CARD, None, companions=("notes.csv",))
        assert file.path == sfm.settings.cache_dir / "tiny" / "tiny.pt"
        assert file.source == "hf://lab/tiny/tiny.pt"
        assert file.companions == {"notes.csv": sfm.settings.cache_dir / "tiny" / "notes.csv"}
    assert repository == [("lab/tiny", "tiny.pt", None), ("lab/tiny", "notes.csv", None)]


@pytest.mark.parametrize(
    ("weights", "asked", "source"),
    [
        ("other/repo", ("other/repo", "tiny.pt", None), "hf://other/repo/tiny.pt"),
        ("hf://other/repo", ("other/repo", "tiny.pt", None), "hf://other/repo/tiny.pt"),
        ("hf://o/r@v1.0/tiny.pt", ("o/r", "tiny.pt", "v1.0"), "hf://o/r@v1.0/tiny.pt"),
        ("hf://o/r/sub/tiny.pt", ("o/r", "sub/tiny.pt", None), "hf://o/r/sub/tiny.pt"),
    ],
)
def test_hub_addresses(repository, weights, asked, source):
    file = hub.locate(CARD, weights, companions=("notes.csv",))
    assert repository[0] == asked
    assert file.source == source
    assert file.path.is_file()
    assert sfm.settings.cache_dir in file.path.parents
    assert file.companions["notes.csv"].parent == file.path.parent


def test_a_companion_that_the_repository_lacks_is_no_error(repository):
    assert hub.locate(CARD, None, companions=("absent.csv",)).companions == {}


def test_a_file_put_into_the_cache_by_hand_needs_no_hub(repository, tensors):
    folder = sfm.settings.cache_dir / "tiny"
    folder.mkdir(parents=True)
    torch.save(tensors, folder / "tiny.pt")
    assert hub.locate(CARD, None, companions=("notes.csv",)).source == "tiny.pt"
    assert repository == []


def _where() -> str:
    return f"Put tiny.pt at {sfm.settings.cache_dir / 'tiny' / 'tiny.pt'}, or pass weights=<file or folder>."


def test_offline(repository):
    sfm.settings.offline = True
    with pytest.raises(WeightsError) as caught:
        hub.locate(CARD, None)
    text = str(caught.value)
    assert "downloads are off (sfm.settings.offline)" in text
    assert _where() in text
    assert "gated: ask for access at https://huggingface.co/lab/tiny, then run `hf auth login`" in text
    assert 'weights="random"' in text
    assert repository == []
    assert not (sfm.settings.cache_dir / "tiny").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (hf_errors.LocalEntryNotFoundError, "the hub cannot be reached"),
        (hf_errors.GatedRepoError, "lab/tiny does not exist or has not granted access to this account"),
        (hf_errors.RepositoryNotFoundError, "has not granted access"),
        (hf_errors.RevisionNotFoundError, "RevisionNotFoundError"),
        (TimeoutError, "TimeoutError"),
    ],
)
def test_a_hub_that_does_not_give(monkeypatch, error, reason):
    def fetch(*args, **kwargs):
        raise error.__new__(error)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    with pytest.raises(WeightsError) as caught:
        hub.locate(CARD, None)
    assert reason in str(caught.value)
    assert _where() in str(caught.value)
    assert "hf auth login" in str(caught.value)


def test_a_model_without_a_repository_says_where_its_file_belongs():
    with pytest.raises(
        WeightsError, match=r"no repository that publishes them. Put kronos_vitl16_model.pt at .*kronos-l"
    ):
        sfm.models.load("kronos-large")


# --- names that would lead elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weights",
    [
        "hf://a/b/../../x.pt",
        "hf://a/b/../x.pt",
        "hf://a/b/sub/../../../x.pt",
        "hf://a/b//x.pt",
        "hf://a/b/{outside}",
        "hf://a/b@main/{outside}",
        "hf://a/b/./x.pt",
        "hf://a/b/",
        "hf://a/b/..\\..\\x.pt",
        "hf://a/b/%2e%2e/x.pt",
        "hf://a/b/C:x.pt",
        "hf://a/b/x.pt\n",
        "hf://a/b/x\0.pt",
        "hf://../b/x.pt",
        "hf://a/../x.pt",
        "hf://a/.b",
        "hf://a/b--c",
        "hf://a//x.pt",
        "hf:///x.pt",
        "hf://a",
        "hf://",
        "hf://a/b@/x.pt",
        "hf://a/b@../x.pt",
        "hf://a/b@..",
        "hf://a/b@x..y/x.pt",
        "hf://a/b@-x/x.pt",
        "hf://a/b@x\\..\\..\\y/x.pt",
        "hf://ä/b",
        "a/..",
        "../b",
        "a/b.git",
    ],
)
def test_names_that_are_none_on_the_hub_read_nothing(weights, repository, tensors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sfm.settings.cache_dir = tmp_path / "cache"
    (tmp_path / "cache" / "a--b" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "hf:" / "a" / "b").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "cache", tmp_path / "cache" / "a--b", tmp_path / "hf:" / "a"):
        torch.save(tensors, place / "x.pt")
    with pytest.raises(WeightsError):
        hub.locate(CARD, weights.format(outside=tmp_path / "x.pt"))
    assert repository == []


def test_a_link_out_of_the_cache_is_no_file_of_the_hub(repository, tensors, tmp_path):
    torch.save(tensors, tmp_path / "own.pt")
    folder = sfm.settings.cache_dir / "other--repo"
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / "tiny.pt").symlink_to(tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=r"is a link to .*own\.pt, which is not a file of other/repo.*weights='.*'"):
        hub.locate(CARD, "other/repo")
    (folder / "sub").symlink_to(tmp_path)
    with pytest.raises(WeightsError, match="not a file of other/repo"):
        hub.locate(CARD, "hf://other/repo/sub/own.pt")
    # into the folder of the model itself a user may link, and it is the user's file
    own = sfm.settings.cache_dir / "tiny"
    (own / ".cache" / "huggingface").mkdir(parents=True)
    (own / "tiny.pt").symlink_to(tmp_path / "own.pt")
    assert hub.locate(CARD, None).source == "tiny.pt"


def test_links_into_the_clients_own_cache_are_files_of_the_hub(repository, tensors, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    blob = tmp_path / "hub" / "models--other--repo" / "blobs" / "1234"
    blob.parent.mkdir(parents=True)
    torch.save(tensors, blob)
    folder = sfm.settings.cache_dir / "other--repo"
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / "tiny.pt").symlink_to(blob)
    assert hub.locate(CARD, "other/repo").source == "hf://other/repo/tiny.pt"
