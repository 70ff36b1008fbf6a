"""A run that is stopped early leaves the best state, whatever it was trained to afterwards."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from spatialfm._errors import SpatialfmWarning
from spatialfm.train import stopped as module
from spatialfm.train.early import BEST
from spatialfm.train.run_folder import RunFolder
from spatialfm.train.stopped import tidied, train_stopped, trained_state
from spatialfm.train.trainer import TrainingPlan


class Learner(nn.Module):
    """One weight that is trained, which is the step, and one that is not."""

    def __init__(self):
        super().__init__()
        self.moving, self.fixed = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.full((1,), 7.0), requires_grad=False)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """Runs through losses on held-out windows, one a step."""

    def run(losses, patience):
        learner, folder, taken = Learner(), RunFolder(tmp_path), []

        def train(fabric, learner, drawn, plan, checkpoints, watch):
            assert drawn.windows == "training"
            watch.resume(0)
            for step in range(len(losses)):
                learner.moving.data.fill_(step)
                taken.append(step)
                watch.check(step, {})

        monkeypatch.setattr(module, "new_fabric", lambda: SimpleNamespace())
        monkeypatch.setattr(module, "train", train)
        scores = lambda fabric, learner, drawn: lambda step: {"validation_loss": losses[step]}  # noqa: E731
        monkeypatch.setattr(module, "Validation", scores)
        monkeypatch.setattr(module, "draw_curves", lambda losses, checks, path: path.write_bytes(b""))
        result = train_stopped(learner, "training", "held out", folder, TrainingPlan(len(losses), 2), patience)
        return learner, folder, taken, result

    return run


def test_the_best_state_is_left_and_the_run_ends_after_patience(stopped):
    learner, folder, taken, result = stopped([5.0, 3.0, 1.0, 2.0, 1.0, 0.5], patience=2)
    assert taken == [0, 1, 2, 3, 4]  # as good is not better
    assert result == (1.0, 2)
    assert (learner.moving.item(), learner.fixed.item()) == (2.0, 7.0)
    assert not learner.training
    assert pd.read_csv(folder.path / "checks.csv")["validation_loss"].tolist() == [5, 3, 1, 2, 1]


def test_a_run_that_becomes_better_to_its_end_is_not_cut(stopped):
    learner, _, taken, result = stopped([3.0, 2.0, 1.0], patience=1)
    assert taken == [0, 1, 2]
    assert result == (1.0, 2)
    assert learner.moving.item() == 2.0


def test_a_run_that_learned_nothing_says_so(stopped):
    with pytest.warns(SpatialfmWarning, match="read best before the first step"):
        learner, _, _, result = stopped([1.0, 2.0, 3.0], patience=5)
    assert result == (1.0, 0)
    assert learner.moving.item() == 0.0


def test_what_is_kept_is_what_is_trained_and_what_goes_on_is_taken_away(stopped):
    learner, folder, _, _ = stopped([2.0, 1.0], patience=5)
    assert set(trained_state(learner)) == {"moving"}
    folder.checkpoints.folder.mkdir()
    (folder.checkpoints.folder / "1").write_bytes(b"")
    assert (folder.path / BEST).is_file()
    tidied(folder)
    assert sorted(one.name for one in folder.path.iterdir() if not one.name.startswith(".")) == [
        *("checks.csv", "curves.png")
    ]
