"""Labels, numbers and intensities from windows: losses from their definitions, and whether each family learns."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from overfit import steps_on

from spatialfm._errors import ArgumentError, ModelError, SpatialfmWarning
from spatialfm.models import load, new_encoder
from spatialfm.train.batch import WindowSample, random_of
from spatialfm.train.objectives import Objective, new_objective
from spatialfm.train.trainer import loss_of

SHAPES = {
    "virtues": {"dim": 16, "depth": 2, "heads": 2, "decoder_depth": 1, "marker_dim": 5},
    "kronos": {"dim": 12, "depth": 4, "heads": 2, "grid": 2, "patch_size": 8, "registers": 2},
    "dinov2-s": {"dim": 12, "depth": 2, "heads": 2, "grid": 2, "patch_size": 8},
    "openphenom": {"dim": 12, "depth": 2, "heads": 2, "patch_size": 8},
}
TABLE = pd.DataFrame(
    {
        "sample": list("abcdef"),
        "region": ["tumour", "stroma", "tumour", "tumour", None, "immune"],
        "score": [0.1, 2.0, np.nan, -1.0, 3.0, 0.4],
    }
)


def objective(model: str = "kronos", **options) -> Objective:
    given = {"targets": TABLE, "labels": ["region"], "numbers": ["score"]} | options
    return new_objective("supervised", new_encoder(model, **SHAPES[model]), **given)


def window(sample: str, model: str = "kronos", n_markers: int = 3) -> WindowSample:
    rng = np.random.default_rng(ord(sample))
    pixels = torch.from_numpy(rng.normal(size=(n_markers, 16, 16))).float()
    ids = torch.from_numpy(rng.permutation(500)[:n_markers])
    vectors = torch.from_numpy(rng.normal(size=(n_markers, 5))).float()
    markers = {"virtues": vectors, "kronos": ids}.get(model)
    return WindowSample(pixels, markers, tuple(f"m{i}" for i in range(n_markers)), 0, ("s", sample, 0, 0))


def views_of(one: Objective, *windows: WindowSample):
    make = pickle.loads(pickle.dumps(one.views()))  # as a worker gets it
    return [make(single, random_of(0, 0, place, 2)) for place, single in enumerate(windows)]


def test_losses_are_those_of_their_definition():
    one = objective()
    windows = [window("a"), window("b", n_markers=2), window("c"), window("e"), window("f", n_markers=2)]
    terms = one(views_of(one, *windows))
    codes, weights = {"a": 2, "b": 1, "c": 2, "f": 0}, [5 / 3, 5 / 3, 5 / 9]  # of five labels: 1 immune, 1 stroma, 3
    known = np.array([0.1, 2.0, -1.0, 3.0, 0.4])
    scores = {"a": 0.1, "b": 2.0, "e": 3.0, "f": 0.4}
    label = number = 0.0
    for single in windows:
        sample = single.place[1]
        embedding = one.encoder(single.pixels[None], single.markers).marker.mean(1)
        if sample in codes:
            logits = one.heads[0](embedding)[0].log_softmax(-1)
            label -= weights[codes[sample]] * logits[codes[sample]].item()
        if sample in scores:
            wanted = (scores[sample] - known.mean()) / known.std()
            number += (one.heads[1](embedding).item() - wanted) ** 2
    assert (terms["label/region"].count, terms["number/score"].count) == (4, 4)
    assert terms["label/region"].total.item() == pytest.approx(label, rel=1e-5)
    assert terms["number/score"].total.item() == pytest.approx(number, rel=1e-5)
    plain = objective(balanced=False)
    logits = plain.heads[0](plain.embedding(windows[0].pixels[None], windows[0].markers[None])[0])
    expected = F.cross_entropy(logits, torch.tensor([2])).item()
    assert plain(views_of(plain, windows[0]))["label/region"].total.item() == pytest.approx(expected, rel=1e-5)


def test_classes_are_weighed_and_numbers_scaled_by_what_is_trained_on_alone():
    one = objective()
    trained_on = pd.DataFrame({"source": "s", "sample": list("aabccd"), "y": 0, "x": range(6)})
    with pytest.warns(SpatialfmWarning, match="trained on has 'immune' of label"):
        one.begin(SimpleNamespace(table=trained_on))  # e and f are held out: the only cell of "immune" is in f
    np.testing.assert_allclose(one.class_weights_0, [1, 4 / 2, 4 / 6], rtol=1e-6)  # one stroma, three tumour
    known = np.array([0.1, 2.0, -1.0])
    view = views_of(one, window("e"))[0]
    assert view.values.item() == pytest.approx((3.0 - known.mean()) / known.std(), rel=1e-6)
    one.begin(SimpleNamespace(table=trained_on))  # a run that goes on
    assert views_of(one, window("e"))[0].values.item() == pytest.approx(view.values.item(), rel=1e-6)
    plain = objective(balanced=False)
    plain.begin(SimpleNamespace(table=trained_on))
    assert plain.class_weights_0.tolist() == [1, 1, 1]
    with pytest.raises(ArgumentError, match="'score' of targets= has fewer than two different numbers to train on"):
        objective().begin(SimpleNamespace(table=trained_on[trained_on["sample"].isin(["a", "c"])]))


def test_a_batch_where_nothing_is_known_trains_nothing_and_has_all_terms():
    one = objective(targets=TABLE.assign(score=[1.0, 2.0, 3.0, 4.0, np.nan, 5.0]))
    terms = one(views_of(one, window("e")))
    assert [(term.total.item(), term.count) for term in terms.values()] == [(0, 0), (0, 0)]
    loss, *_ = loss_of(terms)
    loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in one.parameters() if p.requires_grad)


def test_validation_counts_hits_and_correlates():
    one = objective(intensities=True)
    windows = [window(sample) for sample in "abcdef"]
    views = views_of(one, *windows)
    terms = one.validate(views)
    scores = one.scores({name: float(t.total) / t.count for name, t in terms.items() if t.count})
    with torch.no_grad():
        embedding, of_markers = one.embedding(
            torch.stack([w.pixels for w in windows]), torch.stack([w.markers for w in windows])
        )
        guessed = one.heads[0](embedding).argmax(1).numpy()[[0, 1, 2, 3, 5]]
        number = one.heads[1](embedding)[:, 0].numpy()
        intensity = one.heads[2](of_markers)[:, 1, 0].numpy()
    truth = np.array([2, 1, 2, 2, 0])
    recalls = [(guessed[truth == code] == code).mean() for code in range(3)]
    assert scores["balanced_accuracy/region"] == pytest.approx(np.mean(recalls))
    there = TABLE["score"].notna().to_numpy()
    expected = np.corrcoef(number[there], TABLE["score"][there])[0, 1]
    assert scores["pearson/score"] == pytest.approx(expected, abs=1e-4)
    pixels = np.array([w.pixels[1].mean().item() for w in windows])
    assert scores["pearson/intensity/m1"] == pytest.approx(np.corrcoef(intensity, pixels)[0, 1], abs=1e-3)


@pytest.mark.parametrize("model", list(SHAPES))
def test_each_family_learns_a_batch_by_heart(model):
    marks = model in ("kronos", "virtues")
    one = objective(model, intensities=marks)
    for name, parameter in one.encoder.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.5)  # 1e-5 takes longer to grow than a test may
    views = views_of(one, *[window(sample, model) for sample in "abcdf"])
    losses = steps_on(one, views, 120, lr=2e-2 if model == "virtues" else 1e-2)
    assert losses[-1] < 0.05 * losses[0]


def test_what_the_embedding_does_not_depend_on_is_set_aside():
    one = objective("virtues")
    aside = {name for name, parameter in one.encoder.named_parameters() if not parameter.requires_grad}
    assert "backbone.encoder.masked_token" in aside
    assert all(name.startswith("backbone.decoder") or name == "backbone.encoder.masked_token" for name in aside)
    names = [name for group in one.groups() for name in group.parameters]
    assert sorted(names) == sorted(name for name, parameter in one.named_parameters() if parameter.requires_grad)
    scales = {name: group.lr_scale for group in one.groups() for name in group.parameters}
    assert scales["heads.0.weight"] == scales["heads.1.bias"] == pytest.approx(10)
    assert scales["encoder.backbone.encoder.patch_encoder.weight"] == 1
    assert one.schedule(9, 100).lr == pytest.approx(1e-4)


def test_what_it_refuses():
    with pytest.raises(ModelError, match="'classical' has no parameters"):
        new_objective("supervised", load("classical"), targets=TABLE, labels=["region"])
    with pytest.raises(ModelError, match="'dinov2-s' has no output 'patch'"):
        objective("dinov2-s", output="patch")
    with pytest.raises(ArgumentError, match="targets= must be a table"):
        new_objective("supervised", new_encoder("kronos", **SHAPES["kronos"]), labels=["region"])
    with pytest.raises(ArgumentError, match="no row for the window of sample 'z'"):
        views_of(objective(), window("z"))
