"""What a call of `pretrain` asks for: its length, what contradicts itself, and what its numbers are known by."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import spatialfm as sfm
from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models.encoder import MarkerEntry
from spatialfm.train.asked import Asked, Length, _digest, _told, identity_of, plan_of, settings_of, vocabulary_with


@pytest.mark.parametrize(("length", "expected"), [
    (Length(epochs=2), 2 * 3), (Length(epochs=0.5), 2), (Length(epochs=0.01), 1), (Length(steps=7), 7),
    (Length(minutes=3), None),
])  # fmt: skip
def test_epochs_are_steps_over_whole_batches(length, expected):
    assert length.n_steps(12, 4) == expected


@pytest.mark.parametrize("length", [Length(), Length(epochs=1, steps=2)])
def test_a_run_has_one_length(length):
    with pytest.raises(ArgumentError, match="The length of a run is one of epochs=, steps= and minutes="):
        length.check()


def asked(**kwargs) -> Asked:
    known = {
        "model": "kronos", "weights": None, "shape": {}, "objective": None, "options": {}, "windows": {},
        "length": Length(steps=1), "batch_size": 2, "validation": None, "patient_key": "patient", "precision": "32",
        "strategy": "auto", "random_state": 0,
    }  # fmt: skip
    return Asked(**known | kwargs)


def test_no_process_is_left_without_a_window():
    """It would look for terms of a loss where there are none, and the others would wait for it."""
    asked = SimpleNamespace(batch_size=3)
    with pytest.raises(ArgumentError, match="batch_size=3 is shared out to 4 processes"):
        plan_of(SimpleNamespace(world_size=4), asked, *[None] * 3, {}, nodes=1, workers=0, check_every=1,
                checkpoint_every=None)  # fmt: skip


def test_shapes_are_for_random_weights_and_weights_for_names():
    asked(shape={"depth": 1}).check()
    with pytest.raises(ArgumentError, match="shape= is for random weights; weights= has a shape"):
        asked(shape={"depth": 1}, weights="a.pt").check()
    with pytest.raises(ArgumentError, match="a loaded encoder has a shape"):
        asked(shape={"depth": 1}, model=SimpleNamespace()).check()
    with pytest.raises(ArgumentError, match="weights= belongs to a model by name"):
        asked(weights="a.pt", model=SimpleNamespace()).check()


def test_weights_are_known_by_every_number_name_and_shape():
    one, two = nn.Linear(2, 3), nn.Linear(2, 3)
    assert _digest(one) != _digest(two)
    two.load_state_dict(one.state_dict())
    assert _digest(one) == _digest(two)
    with torch.no_grad():
        two.bias[2] += 1e-6
    assert _digest(one) != _digest(two)
    assert _digest(nn.ParameterDict({"a": torch.zeros(2, 3)})) != _digest(nn.ParameterDict({"a": torch.zeros(3, 2)}))
    assert _digest(nn.ParameterDict({"a": torch.zeros(2)})) != _digest(nn.ParameterDict({"b": torch.zeros(2)}))


def test_a_table_is_known_by_values_that_its_text_leaves_out():
    table = pd.DataFrame({"x": range(200)})
    other = table.copy()
    other.loc[100, "x"] = -1
    assert str(table) == str(other)
    assert _told(table) != _told(other)
    assert _told(3) == "3"


def test_markers_of_the_windows_are_known_with_their_numbers():
    encoder = SimpleNamespace(
        vocabulary=(MarkerEntry("CD3", 1, 0.1, 0.2), MarkerEntry("CD8", 0, 0.3, 0.4)), card=SimpleNamespace(name="x")
    )
    table = pd.DataFrame({"id": [1, 5], "mean": [0.5, 0.6], "std": [0.7, 0.8]}, index=["CD3", "CD20"])
    found = vocabulary_with(encoder, SimpleNamespace(markers=table))
    assert [(one.name, one.id, one.mean) for one in found] == [("CD8", 0, 0.3), ("CD3", 1, 0.5), ("CD20", 5, 0.6)]
    table.loc["CD20", "mean"] = None
    with pytest.raises(ModelError, match="Marker 'CD20' has a mean for each data set"):
        vocabulary_with(encoder, SimpleNamespace(markers=table))


@pytest.mark.parametrize("given", ["masked", None])
def test_an_objective_is_told_what_it_is_trained_on(monkeypatch, given):
    told = []
    made = SimpleNamespace(begin=told.append)
    monkeypatch.setattr("spatialfm.train.asked.new_objective", lambda *args, **kwargs: made)
    encoder = SimpleNamespace(n_marker_ids=0, card=sfm.models.card("virtues"))
    assert asked(model="virtues", objective=given).learner(encoder, "windows to train on") is made
    assert told == ["windows to train on"]


def known_by(model, objective=None) -> dict:
    learner = objective or sfm.train.new_objective("distill", model, prototypes=4, hidden=4, bottleneck=4)
    windows = SimpleNamespace(parts=dict)
    return dict(identity_of(asked(model=model, objective=objective), learner, windows).parameters)


def test_an_encoder_that_is_given_is_known_by_what_no_weight_holds():
    """Two heads or four: the same weights, other numbers."""
    two, four = (sfm.models.new_encoder("kronos", dim=16, depth=2, heads=heads) for heads in (2, 4))
    assert _digest(two) == _digest(four)
    first, second = known_by(two), known_by(four)
    assert first["weights"] == second["weights"]
    assert (first.pop("shape")["heads"], second.pop("shape")["heads"]) == (2, 4)
    assert first == second


def test_an_objective_that_is_given_is_known_by_what_it_was_made_with():
    def made(**options):
        encoder = sfm.models.new_encoder("kronos", dim=16, depth=2, heads=2)
        return sfm.train.new_objective("distill", encoder, prototypes=4, hidden=4, bottleneck=4, **options)

    def options(**changed):
        objective = made(**changed)
        return known_by(objective.encoder, objective)["options"]

    assert options() == options()
    for change in ({"learning_rate": 1e-4}, {"n_local": 3}, {"mask_ratio": (0.2, 0.5)}, {"koleo_weight": 0.2},
                   {"targets": "sinkhorn"}, {"clip": 1.0}, {"momentum": 0.9}):  # fmt: skip
        assert options(**change) != options(), change


def test_code_of_ones_own_is_known_and_that_of_the_package_by_its_version():
    class Own(type(sfm.train.new_objective("distill", sfm.models.new_encoder("kronos", dim=16, depth=2, heads=2),
                                           prototypes=4, hidden=4, bottleneck=4))):  # fmt: skip
        """Of a user."""

    encoder = sfm.models.new_encoder("kronos", dim=16, depth=2, heads=2)
    own, windows = Own(encoder, prototypes=4, hidden=4, bottleneck=4), SimpleNamespace(parts=dict)
    identity = identity_of(asked(model=encoder, objective=own), own, windows)
    assert list(identity.code) == ["the code of the objective"]
    plain = sfm.train.new_objective("distill", encoder, prototypes=4, hidden=4, bottleneck=4)
    assert identity_of(asked(model=encoder), plain, windows).code == {}


def test_settings_are_told_without_loss_and_without_addresses():
    def told(**values):
        return settings_of(SimpleNamespace(training=True, batch_size=3, _hidden=object(), **values))

    long = np.arange(300.0)
    other = long.copy()
    other[150] = -1
    assert told(a=long) != told(a=other)
    assert told(a=list(long)) != told(a=list(other))
    assert told(a={"x": (1, None)}) == {"a": {"x": [1, None]}}
    assert told(a=object(), b=print) == told(a=object(), b=print)
