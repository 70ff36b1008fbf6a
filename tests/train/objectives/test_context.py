"""SToFM's two objectives: what is hidden and moved, the losses from their definitions, and the loop's own checks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from overfit import steps_on

from spatialfm._errors import ArgumentError
from spatialfm.learn.context_slices import Piece, distances
from spatialfm.models.context import new_context
from spatialfm.models.stofm import Heads, Stofm, config_of, split
from spatialfm.train.batch import random_of
from spatialfm.train.objectives import check_objective
from spatialfm.train.objectives.context import (
    Context,
    ContextSample,
    masked_cells,
    moved_distances,
    pair_distances,
    pair_labels,
)

SHAPE = {"in_dim": 6, "dim": 8, "hidden": 8, "heads": 2, "depth": 2, "gaussians": 8}


def piece_of(seed, n=60, n_virtual=3):
    """Cells whose embedding tells where they are, so that neighbours tell of each other."""
    rng = np.random.default_rng(seed)
    xy = np.concatenate([np.zeros((1, 2)), rng.uniform(-20, 20, (n_virtual + n, 2))])
    tokens = np.column_stack([np.sin(xy / 7), np.cos(xy / 7), np.tile(rng.normal(size=(1, 2)), (len(xy), 1))])
    tokens[0] = 0
    return Piece(tokens.astype(np.float32), np.r_[1, [2] * n_virtual, [0] * n], xy)


@pytest.fixture
def samples():
    return [ContextSample(window=seed, piece=piece_of(seed, n)) for seed, n in enumerate((60, 75, 52))]


@pytest.fixture
def objective():
    return Context(new_context("stofm", SHAPE, 0, 10.0), 50)


def test_the_loop_can_train_it(objective, samples):
    assert check_objective(objective, samples)["passed"].all()
    alone = Context(new_context("stofm", SHAPE, 0, 10.0), 50, pairs=0)
    assert check_objective(alone, samples)["passed"].all()
    assert list(alone([alone.views()(samples[0], random_of(0, 0, 0))])) == ["cells"]


def test_shares_of_cells_are_hidden_and_left(objective, samples):
    piece = samples[1].piece
    view = objective.views()(samples[1], random_of(0, 0, 0))
    assert len(view.cells) == int(0.12 * 75) + int(0.03 * 75) == 11
    assert (piece.types[view.cells.numpy()] == 0).all()
    hidden = (view.tokens == -100).all(1).nonzero()[:, 0].tolist()
    assert sorted(view.cells[:9].tolist()) == hidden
    np.testing.assert_array_equal(view.targets, piece.tokens[view.cells])
    others = np.setdiff1d(np.arange(79), hidden)
    np.testing.assert_array_equal(view.tokens[others], piece.tokens[others])


def test_what_stands_for_a_hidden_cell_is_the_mean_of_standardised_columns(samples):
    """The release's -100 is as long as a hundred cells; it stays where embeddings are taken as they are."""
    from spatialfm.models.context import Columns

    def value_of(columns, **options):
        context = new_context("stofm", SHAPE, 0, 10.0)
        context.columns = columns
        learner = Context(context, 50, **options)
        view = learner.views()(samples[1], random_of(0, 0, 0))
        same = torch.from_numpy(samples[1].piece.tokens)
        changed = (view.tokens != same).any(1)
        assert changed.sum() == int(0.12 * 75)
        return view.tokens[changed].unique().tolist()

    standardised = Columns(np.zeros(6), np.ones(6))
    assert value_of(standardised) == [0.0]
    assert value_of(None) == [-100.0]
    assert value_of(standardised, mask="published") == [-100.0]
    assert value_of(None, mask="mean") == [0.0]


def test_jitter_stains_a_whole_piece_otherwise_and_what_is_predicted_stays(samples):
    """Each column by one line, through cells and virtual cells alike; of many pieces the lines have the stated size."""
    piece, size = samples[1].piece, 0.3
    learner = Context(new_context("stofm", SHAPE, 0, 10.0), 50, pairs=0, jitter=size)
    gains, shifts = [], []
    for step in range(120):
        view = learner.views()(samples[1], random_of(0, step, 0))
        seen = ~(view.tokens == -100).all(1).numpy()
        seen[0] = False
        np.testing.assert_array_equal(view.tokens[0], np.zeros(6))
        np.testing.assert_array_equal(view.targets, piece.tokens[view.cells])
        for column in range(4):
            line = np.polyfit(piece.tokens[seen, column], view.tokens[seen, column], 1)
            np.testing.assert_allclose(
                view.tokens[seen, column], np.polyval(line, piece.tokens[seen, column]), atol=1e-5
            )
            cells = piece.tokens[piece.types == 0, column].astype(float)
            gains.append(np.log(line[0]))
            shifts.append((np.polyval(line, cells.mean()) - cells.mean()) / cells.std())
    for values in (gains, shifts):
        assert abs(np.mean(values)) < 0.03
        assert np.std(values) == pytest.approx(size, rel=0.1)
    plain = Context(new_context("stofm", SHAPE, 0, 10.0), 50, pairs=0).views()(samples[1], random_of(0, 0, 0))
    again = Context(new_context("stofm", SHAPE, 0, 10.0), 50, pairs=0, jitter=0).views()(samples[1], random_of(0, 0, 0))
    assert torch.equal(plain.tokens, again.tokens)
    assert torch.equal(plain.tokens[~(plain.tokens == -100).all(1)][1:4], torch.from_numpy(piece.tokens[1:4]))


def test_moved_cells_know_all_their_distances_from_where_they_are():
    piece, rows = piece_of(0), np.array([10, 40])
    known = distances(piece.xy, piece.types, 10)
    before = known.copy()
    found = moved_distances(known, piece, rows, np.random.default_rng(3))
    np.testing.assert_array_equal(known, before)
    area = np.prod(np.ptp(piece.xy[4:], axis=0))
    places = piece.xy.copy()
    places[rows] += np.random.default_rng(3).normal(size=(2, 2)) * 5 * np.sqrt(area / 60)
    exact = np.linalg.norm(places[:, None] - places[None], axis=-1)
    expected = known.copy()
    expected[rows], expected[:, rows] = exact[rows], exact[:, rows]
    expected[0], expected[:, 0] = 0, 0
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(found, found.T)


def test_pairs_to_predict_are_known_distances_of_two_cells():
    piece, rows = piece_of(1), np.array([5, 6])
    known = distances(piece.xy, piece.types, 10)
    labels = pair_labels(known, piece.types, rows)
    asked = labels != -100
    for i, j in zip(*np.nonzero(asked), strict=True):
        assert {i, j} & {5, 6}
        assert i != j
        assert min(i, j) > 3
        assert known[i, j] != 100
        assert labels[i, j] == np.float32(np.linalg.norm(piece.xy[i] - piece.xy[j]))
    neighbours = (known[5, 4:] != 100).sum() - 1
    assert asked[5].sum() == neighbours
    np.testing.assert_array_equal(asked, asked.T)


def test_no_cell_is_moved_where_no_distance_is_asked_for(samples):
    view = Context(new_context("stofm", SHAPE, 0, 10.0), 50, pairs=0).views()(samples[1], random_of(0, 0, 0))
    piece = samples[1].piece
    np.testing.assert_array_equal(view.distances, distances(piece.xy, piece.types, 50))
    assert view.pairs is None
    both = Context(new_context("stofm", SHAPE, 0, 10.0), 50).views()(samples[1], random_of(0, 0, 0))
    assert not torch.equal(both.distances, view.distances)
    assert torch.equal(both.tokens, view.tokens)  # the same cells are hidden


def test_a_narrow_gaussian_takes_no_step_from_the_others(samples):
    """Its gradient goes by its width to the power of -2; clipped in one with all others it left nothing of theirs."""
    encoder = new_context("stofm", SHAPE, 0, 10.0)
    assert float(encoder.network.gaussian.stds.weight.detach().min()) >= 10 / SHAPE["gaussians"]
    objective = Context(encoder, 50)
    of_distances, others = objective.clip_parts()
    assert {id(one) for one in of_distances} == {id(one) for one in objective.network.gaussian.parameters()}
    assert len(of_distances) + len(others) == len(list(objective.parameters()))
    narrowest = objective.narrowest
    with torch.no_grad():
        objective.network.gaussian.stds.weight[0, :3] = torch.tensor([1e-4, -1e-4, 2 * narrowest])
    objective.after_step(objective.schedule(0, 10))
    changed = objective.network.gaussian.stds.weight[0, :3].tolist()
    assert changed == pytest.approx([narrowest, -narrowest, 2 * narrowest])


def test_the_losses_are_those_of_their_definitions(objective, samples):
    views = [objective.views()(one, random_of(0, 0, place)) for place, one in enumerate(samples)]
    terms = objective.eval()(views)
    cosines, squares = [], []
    with torch.no_grad():
        for one in views:
            tokens, pairs = objective.network(one.tokens[None], one.types[None], one.distances[None])
            predicted = objective.heads.lm_head(tokens[0])[one.cells].double().numpy()
            wanted = one.targets.double().numpy()
            norms = np.linalg.norm(predicted, axis=1) * np.linalg.norm(wanted, axis=1)
            cosines += (1 - (predicted * wanted).sum(1) / norms).tolist()
            distances = objective.heads.pair_head(pairs[0])[..., 0].double().numpy()
            asked = one.pairs.numpy() != -100
            squares += ((distances - one.pairs.numpy()) ** 2)[asked].tolist()
    assert float(terms["cells"].total.detach()) == pytest.approx(sum(cosines), rel=1e-5)
    assert float(terms["pairs"].total.detach()) == pytest.approx(sum(squares), rel=1e-5)
    assert (terms["cells"].count, terms["pairs"].count) == (len(cosines), len(squares))
    assert terms["pairs"].weight == 0.01


def test_it_learns_a_piece_by_heart(samples):
    """Hidden cells differ by their distances alone; tokens of -100 would look at each other, whatever these are."""
    shape = SHAPE | {"dim": 32, "hidden": 64, "heads": 8, "gaussians": 32}
    objective = Context(new_context("stofm", shape, 0, 10.0), 50, pairs=0.02, mask="mean")
    losses = steps_on(objective, [objective.views()(samples[0], random_of(0, 0, 0))], 300, lr=5e-3)
    assert max(losses[-5:]) < 0.05 * losses[0]
    objective = Context(new_context("stofm", shape, 0, 10.0), 50, pairs=0, mask="mean")  # cells are a tenth of the sum
    losses = steps_on(objective, [objective.views()(samples[0], random_of(0, 0, 0))], 150, lr=5e-3)
    assert max(losses[-5:]) < 0.05 * losses[0]


def test_heads_of_the_weights_are_taken(samples):
    first = Context(new_context("stofm", SHAPE, 0, 10.0), 50, 3)
    trained = first.trained()
    again = Context(trained, 50, 8)
    assert all(torch.equal(one, again.heads.state_dict()[name]) for name, one in first.heads.state_dict().items())
    assert again.network.embedding_layer.weight.requires_grad
    other = Context(new_context("stofm", SHAPE, 0, 10.0), 50, 8)
    assert not torch.equal(other.heads.lm_head[0].weight, first.heads.lm_head[0].weight)


def test_what_cannot_be_is_refused():
    encoder = new_context("stofm", SHAPE, 0, 10.0)
    with pytest.raises(ArgumentError, match=r"changed=0.8 and kept=0.3"):
        Context(encoder, 50, changed=0.8, kept=0.3)


@pytest.mark.goldens
def test_goldens(reference):
    """Losses of the official code on its own hidden tokens and pair representations."""
    goldens = np.load(reference / "goldens" / "secondary.npz")
    for case in ("small", "square"):
        layout = json.loads((reference / "layouts" / f"stofm_{case}.json").read_text())
        _, tensors = split({name: torch.from_numpy(_fill(name, shape)) for name, shape in layout.items()})
        dim, heads = len(tensors["lm_head.0.bias"]), len(tensors["pair_head.0.bias"])
        head = Heads(_sizes(layout), dim)
        head.load_state_dict(tensors)
        pairs = torch.from_numpy(goldens[f"{case}/pair"])
        assert pairs.shape[-1] == heads
        labels = torch.from_numpy(goldens[f"{case}/pair_labels"])
        asked = labels != -100
        with torch.no_grad():
            loss = pair_distances(head.pair_head(pairs[asked])[:, 0], labels[asked]).mean()
        assert float(loss) == pytest.approx(float(goldens[f"{case}/pdr_loss"]), rel=1e-5)
        if f"{case}/mcm_labels" in goldens:
            wanted = torch.from_numpy(goldens[f"{case}/mcm_labels"])
            asked = wanted[..., 0] != -100
            with torch.no_grad():
                predicted = head.lm_head(torch.from_numpy(goldens[f"{case}/hidden"])[asked])
                loss = masked_cells(predicted, wanted[asked]).mean()
            assert float(loss) == pytest.approx(float(goldens[f"{case}/mcm_loss"]), rel=1e-5)


def _fill(name, shape):
    import zlib

    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    return 1 + np.float32(0.1) * noise if name.endswith(".weight") and len(shape) == 1 else np.float32(0.05) * noise


def _sizes(layout):
    body, _ = split({name: torch.zeros(shape) for name, shape in layout.items()})
    assert Stofm(config_of(body)).state_dict().keys() == body.keys()
    return config_of(body)
