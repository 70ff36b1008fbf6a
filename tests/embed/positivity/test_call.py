"""Means of images come to the rows of their cells, whatever the order of either."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spatialfm._errors import ElementError
from spatialfm.embed.positivity import call as module


def called(monkeypatch, cells, n_rows=7, places=(), means=()):
    asked = {}
    network = SimpleNamespace(to=lambda device: f"on {device}")

    def plan(sdata, pairs, markers, network, **told):
        asked.update(told, network=network)
        return SimpleNamespace(places=list(places), notes={"of": "plan"})

    stand_ins = {
        "match_elements": lambda *args, **kwargs: ["a", "b"],
        "check_markers": lambda sdata, pairs, markers, normalizers: {"CD3": 2.0} | normalizers,
        "check_run": lambda run: [torch.device("cpu")],
        "load_nimbus": lambda weights: network,
        "report_missing_chunks": lambda sdata, pairs: pairs,
        "find_cells": lambda *args, **kwargs: cells,
        "plan_probabilities": plan,
        "run_probabilities": lambda plan, how, devices: (list(means), 1.23456),
    }
    for name, one in stand_ins.items():
        monkeypatch.setattr(module, name, one)
    found = module.image_probabilities(
        *(None, SimpleNamespace(n_obs=n_rows), "table", ["CD3", "CD8"]),
        weights=None, augmentation="released", magnification=None, normalizers=None, elements=None, run=None,
        random_state=0,
    )  # fmt: skip
    return *found, asked


def test_each_row_has_the_mean_of_its_label_in_its_image(monkeypatch):
    cells = SimpleNamespace(
        rows=np.array([6, 0, 2, 5, 1]),  # rows 3 and 4 have no label
        sample=np.array([0, 0, 0, 1, 1]),
        labels=np.array([9, 3, 4, 3, 9]),
        of_points=False,
    )
    means = [
        {"label": np.array([3, 4, 9]), "mean": np.array([0.3, 0.4, 0.9])},
        {"label": np.array([3, 5]), "mean": np.array([0.13, 0.15])},  # 5 is not a row, and 9 has no mean here
        {"label": np.array([3, 9]), "mean": np.array([0.23, 0.29])},
    ]
    found, notes, asked = called(monkeypatch, cells, places=[(0, 0), (1, 0), (1, 1)], means=means)
    nan = np.nan
    expected = [[0.3, nan], [nan, 0.29], [0.4, nan], [nan, nan], [nan, nan], [0.13, 0.23], [0.9, nan]]
    np.testing.assert_array_equal(found, expected)
    assert notes == {"of": "plan", "device": "cpu", "seconds": 1.235}
    assert asked["normalizers"] == {"CD3": 2.0}
    assert asked["network"] == "on cpu"


def test_points_have_no_interior(monkeypatch):
    with pytest.raises(ElementError, match="Cells are points"):
        called(monkeypatch, SimpleNamespace(of_points=True))
