"""What a run leaves: which encoder is saved, and the counts of its card."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from tiny_training import TinyEncoder, TinyObjective

from spatialfm.train import saved as module
from spatialfm.train.saved import as_loaded, card_of_run, checks_of, whole_result
from spatialfm.train.trainer import TrainingPlan


def windows(strata=(), settings=None):
    table = pd.DataFrame(
        {
            "source": ["b", "a", "a", "a", "b"],
            "sample": ["s1", "s2", "s1", "s1", "s1"],
            "patient": ["P1", "P2", "P1", "P1", None],
            "organ": ["lung", "gut", "lung", "lung", "lung"],
            "stain": ["x", "x", "y", "x", "x"],
        }
    )
    parts = lambda: settings or {}  # noqa: E731
    return SimpleNamespace(
        table=table, fingerprint=lambda: "of the pixels", settings=SimpleNamespace(strata=strata, parts=parts)
    )


def card(data, seen=None, license=None):
    record = {"parameters": {"lr": 0.1}, "versions": {"torch": "2"}}
    return card_of_run(record, data, seen or {}, TrainingPlan(n_steps=40, batch_size=2), license)


def test_images_of_two_sources_are_apart_and_patients_are_counted_once():
    made = card(windows())
    assert made["trained_on"] == "3 images of 2 patients"  # s1 of a, s2 of a, s1 of b; one window has no patient
    assert made["training"]["data"] == [
        {"source": "a", "samples": ["s1", "s2"], "windows": 3},
        {"source": "b", "samples": ["s1"], "windows": 2},
    ]
    assert (made["training"]["windows"], made["training"]["steps"]) == (5, 40)
    nobody = windows()
    nobody.table["patient"] = None
    assert card(nobody)["trained_on"] == "3 images"


def test_windows_are_counted_by_stratum():
    assert card(windows())["training"]["windows_by_stratum"] == {}
    assert card(windows(["organ"]))["training"]["windows_by_stratum"] == {"gut": 1, "lung": 4}
    assert card(windows(["organ", "stain"]))["training"]["windows_by_stratum"] == {
        "gut, x": 1,
        "lung, x": 3,
        "lung, y": 1,
    }


def test_markers_without_signal_are_those_that_had_one_value():
    training = card(windows(), {"CD8": (10, 0), "CD3": (8, 3)})["training"]
    assert training["windows_drawn_by_marker"] == {"CD3": 8, "CD8": 10}
    assert training["windows_without_signal_by_marker"] == {"CD3": 3}


def test_the_card_is_json_and_has_a_licence_where_one_was_named():
    settings = {"mean": np.array([0.5, 1.0]), "size": np.int64(3), "path": pd.Timestamp("2020-01-01")}
    made = card(windows(settings=settings), license="CC0-1.0")
    assert json.loads(json.dumps(made))["training"]["window_settings"] == {
        "mean": [0.5, 1.0],
        "size": 3,
        "path": "2020-01-01 00:00:00",
    }
    assert made["license"] == "CC0-1.0"
    assert "license" not in card(windows())


def test_the_encoder_is_that_of_the_learner_or_of_the_last_checkpoint():
    learner, blank = TinyObjective(seed=1), TinyObjective(seed=2)
    assert whole_result(learner, None, None) is learner.encoder
    assert not learner.encoder.training
    assert not any(one.requires_grad for one in learner.encoder.parameters())
    trained = TinyObjective(seed=3).state_dict()
    state = {"objective": {f"objective.{name}": value for name, value in trained.items()}}
    checkpoints = SimpleNamespace(newest=lambda: 7, read={7: state}.__getitem__)
    found = whole_result(learner, blank, checkpoints)
    assert found is blank.encoder
    assert torch.equal(found.layer.weight, trained["encoder.layer.weight"])


def test_a_model_of_no_family_is_left_as_it_is(tmp_path):
    encoder = TinyEncoder()
    assert as_loaded(encoder, tmp_path) is encoder


def test_collapse_is_looked_at_on_held_out_windows_and_scores_only_where_there_are_some(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "fixed_windows", lambda windows, seed, most: asked.append((windows, seed, most)) or [])
    monkeypatch.setattr(module, "Validation", lambda fabric, learner, drawn: ("validation", drawn))
    monkeypatch.setattr(module, "CellProbe", lambda result, cells, **told: ("cells", cells, told))
    monkeypatch.setattr(module, "reading_of", lambda windows, cells: (windows, cells))
    fabric, learner = SimpleNamespace(is_global_zero=False), TinyObjective()
    plan = TrainingPlan(n_steps=4, batch_size=3, seed=5)
    assert len(checks_of(fabric, learner, "train", None, None, plan)) == 1
    _, validation, cells = checks_of(fabric, learner, "train", "held out", "cells", plan)
    assert asked == [("train", 5, 32), ("held out", 5, 32)]
    assert (validation[1].windows, validation[1].seed, validation[1].batch_size) == ("held out", 5, 3)
    assert cells == ("cells", "cells", {"active": False, "reading": ("train", "cells")})
