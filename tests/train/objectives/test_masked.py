"""VirTues' masked autoencoder: its loss from its definition, and whether it learns."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from overfit import steps_on

from spatialfm._errors import ArgumentError, ModelError
from spatialfm.models import new_encoder
from spatialfm.train.batch import WindowSample, random_of
from spatialfm.train.objectives import Objective, new_objective
from spatialfm.train.trainer import loss_of

SHAPE = {"dim": 16, "depth": 2, "heads": 2, "decoder_depth": 1, "marker_dim": 5, "patch_size": 4}


def objective(**options) -> Objective:
    return new_objective("masked", new_encoder("virtues", **SHAPE), **options)


def sample(names: str, seed: int, side: int = 16) -> WindowSample:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (a * rows + b * columns)) for a, b in rng.uniform(0, 1, (len(names), 2))]
    vectors = [np.random.default_rng(ord(name)).normal(size=5) for name in names]
    return WindowSample(
        torch.tensor(np.array(waves), dtype=torch.float32),
        torch.tensor(np.array(vectors), dtype=torch.float32),
        tuple(names),
        seed,
    )


def views_of(one: Objective, *windows: WindowSample, seed: int = 0):
    make = pickle.loads(pickle.dumps(one.views()))  # as a worker gets it
    return [make(window, random_of(seed, 0, place, 2)) for place, window in enumerate(windows)]


def test_the_loss_is_the_mean_over_all_pixels_of_all_channels():
    one = objective()
    views = views_of(one, sample("abc", 0), sample("de", 1), sample("fgh", 2))
    expected, n = 0.0, 0
    for view in views:  # each window alone
        restored = one.encoder.reconstruct(view.pixels[None], view.markers, view.hidden[None])[0]
        expected += (restored - view.pixels).square().sum().item()
        n += view.pixels.numel()
    term = one(views)["error"]
    assert term.count == n == 8 * 256
    assert term.total.item() == pytest.approx(expected, rel=1e-5)
    loss, *_ = loss_of({"error": term})
    assert loss.item() == pytest.approx(expected / n, rel=1e-5)


def test_two_halves_of_a_batch_are_the_whole():
    one = objective(error="hidden")
    views = views_of(one, sample("abc", 0), sample("abc", 1), sample("de", 2), sample("abc", 3))
    whole, first, second = one(views)["error"], one(views[:2])["error"], one(views[2:])["error"]
    assert whole.count == first.count + second.count == 16 * sum(int(view.hidden.sum()) for view in views)
    assert whole.total.item() == pytest.approx(first.total.item() + second.total.item(), rel=1e-5)


def test_masks_are_drawn_for_each_window_and_come_again():
    one = objective()
    views, again = views_of(one, *[sample("abcd", 0)] * 2), views_of(one, *[sample("abcd", 0)] * 2)
    assert (views[0].hidden != views[1].hidden).any()
    assert (views[0].hidden == again[0].hidden).all()
    assert views[0].seed == again[0].seed != views[1].seed
    for view in views:
        assert all(0.6 * 16 <= count <= 16 for count in view.hidden.sum((1, 2)).tolist())
    niche = views_of(objective(mode="niche"), sample("abcd", 0))[0].hidden
    assert (niche == niche[:1]).all()
    mixed = objective(mode={"marker": 0.5, "independent": 0.5})
    shares = [view.hidden.float().mean((1, 2)) for view in views_of(mixed, *[sample("abcd", 0)] * 40)]
    assert 8 < sum(sorted(share.tolist()) == [0, 0, 0, 1] for share in shares) < 32


def test_of_some_windows_the_decoder_is_shown_summaries_alone():
    windows = [sample("abcd", 0)] * 40
    published, one = objective(error="hidden"), objective(error="hidden", summary_only=0.75)
    views, plain = views_of(one, *windows), views_of(published, *windows)
    assert 20 < sum(view.summary_only for view in views) < 40
    assert not any(view.summary_only for view in plain)
    for view, other in zip(views, plain, strict=True):  # nothing else is drawn in another way
        assert (view.hidden == other.hidden).all()
        assert view.seed == other.seed
    batch = [next(view for view in views if view.summary_only), next(view for view in views if not view.summary_only)]
    squares = []
    for view in batch:  # each window alone
        withheld = torch.ones_like(view.hidden) if view.summary_only else view.hidden
        restored = one.encoder.reconstruct(view.pixels[None], view.markers, view.hidden[None], withheld=withheld[None])
        shown = torch.nn.Upsample(scale_factor=4)(withheld[None].float())[0].bool()
        squares.append((restored[0] - view.pixels)[shown].square())
    term = one(batch)["error"]
    assert term.count == sum(map(len, squares)) == 4 * 256 + 16 * int(batch[1].hidden.sum())
    assert term.total.item() == pytest.approx(torch.cat(squares).sum().item(), rel=1e-5)
    term.total.backward()
    assert one.encoder.backbone.encoder.patch_summary_token.grad.abs().max() > 0


def test_validation_gives_numpys_correlations():
    one = objective()
    views = views_of(one, sample("abc", 0), sample("ab", 1))
    terms = one.validate(views)
    scores = one.scores({name: (term.total / term.count).item() for name, term in terms.items()})
    assert terms["error"].total.item() == pytest.approx(one(views)["error"].total.item(), rel=1e-6)
    for number, mode in enumerate(("independent", "niche", "marker")):
        x, y = [], []
        for view in views:
            hidden = torch.from_numpy(one._mask(mode, number, view))
            restored = one.encoder.reconstruct(view.pixels[None], view.markers, hidden[None])[0].detach()
            at = torch.nn.Upsample(scale_factor=4)(hidden[None].float())[0, 0].bool()  # of marker a
            x.append(view.pixels[0][at])
            y.append(restored[0][at])
        x, y = torch.cat(x).numpy(), torch.cat(y).numpy()
        if len(x):
            assert scores[f"pearson/{mode}/a"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-4), mode
        else:
            assert f"pearson/{mode}/a" not in scores
    each = [value for name, value in scores.items() if name.startswith("pearson/niche/")]
    assert scores["pearson/niche"] == pytest.approx(np.mean(each))
    assert not [name for name in scores if name.startswith("moment")]


def test_it_learns_a_batch_by_heart():
    one = objective(ratio=(0.6, 0.9))
    losses = steps_on(one, views_of(one, sample("abc", 0), sample("ab", 1)), 120, lr=1e-2)
    assert losses[-1] < 0.05 * losses[0]


def test_its_published_training():
    one = objective()
    decay, none = one.groups()
    assert decay.decay
    assert not none.decay
    assert {"encoder.backbone.encoder.patch_summary_token", "encoder.backbone.encoder.patch_encoder.weight"} <= set(
        decay.parameters
    )
    assert all("norm" in name or name.endswith("bias") for name in none.parameters)
    trained = [name for name, parameter in one.named_parameters() if parameter.requires_grad]
    assert sorted([*decay.parameters, *none.parameters]) == sorted(trained)
    assert (one.schedule(10, 100).lr, one.schedule(5, 100).lr) == (2e-4, 1e-4)
    assert one.schedule(55, 100).lr == pytest.approx(1e-4)
    assert (one.schedule(3, 100).weight_decay, one.clip_norm) == (0.01, 1.0)


@pytest.mark.parametrize("model", ["kronos", "dinov2-s", "openphenom", "uni"])
def test_encoders_that_it_cannot_train(model):
    with pytest.raises(ModelError, match=f"{model!r} has no decoder.*Train one of VirTues"):
        new_objective("masked", new_encoder(model, dim=12, depth=2, heads=2))


def test_what_it_refuses():
    with pytest.raises(ArgumentError, match="add up to 1"):
        objective(mode={"niche": 0.5})
    with pytest.raises(ArgumentError, match="mode has 'spatial'"):
        objective(mode={"spatial": 1.0})
    with pytest.raises(ArgumentError, match="the smaller one first"):
        objective(ratio=(0.9, 0.6))
    with pytest.raises(ArgumentError, match="summary_only"):
        objective(summary_only=1.0)
    with pytest.raises(ModelError, match=r"Pass crop=16"):
        views_of(objective(), sample("ab", 0, side=18))
    with pytest.raises(ModelError, match="needs the markers"):
        views_of(objective(), WindowSample(torch.zeros(1, 8, 8), None, ("a",), 0))
