"""Files of Lightning: their tensors and plain settings are read, and no code that is in them runs."""

from __future__ import annotations

import argparse
import os
import pathlib

import pytest
import torch

from spatialfm._errors import WeightsError
from spatialfm.models.lightning import read_lightning


class Trap:
    """Makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_tensors_and_settings_are_read_and_code_is_not_run(tmp_path):
    made = tmp_path / "made"
    tensors = {"model.a": torch.arange(6.0).reshape(2, 3), "model.b": torch.ones(2, dtype=torch.float16)}
    content = {
        "state_dict": tensors,
        "hyper_parameters": {
            "categories": ["MSS", "MSI"],
            "n_heads": 4,
            "config": argparse.Namespace(lr=1e-3),
            "trap": Trap(made),
            "path": pathlib.PurePosixPath("a"),
        },
    }
    torch.save(content, tmp_path / "one.ckpt")
    state, settings = read_lightning(tmp_path / "one.ckpt")
    assert settings == {"categories": ["MSS", "MSI"], "n_heads": 4}
    assert state.keys() == tensors.keys()
    torch.testing.assert_close(state["model.a"], tensors["model.a"])
    assert state["model.b"].dtype == torch.float16
    assert not made.exists()
    # what is refused would have run
    torch.load(tmp_path / "one.ckpt", weights_only=False)
    assert made.exists()


def test_bare_state_dicts_of_parameters_and_of_old_files(tmp_path):
    layer = torch.nn.Linear(2, 3)
    torch.save(layer.state_dict(), tmp_path / "new.pth")
    torch.save(dict(layer.named_parameters()), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("new.pth", "old.pth"):
        state, settings = read_lightning(tmp_path / name)
        torch.testing.assert_close(state["weight"].detach(), layer.weight.detach())
        assert settings == {}


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="No weights file"):
        read_lightning(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(WeightsError, match="truncated or not a checkpoint"):
        read_lightning(tmp_path / "text.ckpt")
    torch.save({"state_dict": {"a": 1}}, tmp_path / "empty.ckpt")
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_lightning(tmp_path / "empty.ckpt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "program.pt"))
    with pytest.raises(WeightsError, match="TorchScript program"):
        read_lightning(tmp_path / "program.pt")
