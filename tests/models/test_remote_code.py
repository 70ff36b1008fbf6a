"""Repositories with code of their own: consent, the folder, and what identifies it."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from spatialfm import settings
from spatialfm._errors import ModelError, WeightsError
from spatialfm.models.remote_code import ask_for_consent, checksum_of, repository

CARD = SimpleNamespace(name="far", hub="org/far", weights_file="model.safetensors")


@pytest.mark.parametrize("answer", [False, None, 1, "yes"])
def test_only_true_is_consent(answer):
    with pytest.raises(ModelError, match=r"is run by code in its repository \(org/far\)"):
        ask_for_consent(CARD, answer)
    ask_for_consent(CARD, True)


def test_a_folder_must_hold_the_whole_repository(tmp_path):
    with pytest.raises(WeightsError, match=r"has no model\.safetensors for model 'far'"):
        repository(CARD, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert repository(CARD, tmp_path) == (tmp_path, tmp_path.name)


def test_without_weights_it_is_looked_for_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "cache_dir", tmp_path)
    monkeypatch.setattr(settings, "offline", True)
    with pytest.raises(WeightsError, match=r"downloads are off .*Put the whole repository org/far at"):
        repository(CARD, None)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "model.safetensors").write_bytes(b"x")
    assert repository(CARD, None) == (tmp_path / "far", "hf://org/far")


@pytest.mark.parametrize("weights", ["no folder of mine", "/no/such/folder", "hf://org/repo/file.pt"])
def test_what_is_neither_folder_nor_repository_is_refused(weights):
    with pytest.raises(WeightsError):
        repository(CARD, weights)


def test_the_checksum_is_of_what_decides_the_numbers_by_name(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_bytes(b"1")
    (tmp_path / "b.json").write_bytes(b"2")
    by_hand = hashlib.sha256()
    for name, content in (("b.json", b"2"), ("code/a.py", b"1")):
        by_hand.update(name.encode() + hashlib.sha256(content).digest())
    assert checksum_of(tmp_path) == by_hand.hexdigest()

    (tmp_path / "README.md").write_bytes(b"3")  # decides nothing, as what tools leave
    for folder in (".cache", "__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.py").write_bytes(b"4")
    assert checksum_of(tmp_path) == by_hand.hexdigest()

    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "c.py")
    assert checksum_of(tmp_path) != by_hand.hexdigest()
