"""Training on bags: moments, weights, padding, parts and early stopping, from numpy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from spatialfm.cohort.cases import Cases
from spatialfm.learn.bag_training import (
    BagRecipe,
    Bags,
    ClassTarget,
    NumberTarget,
    SurvivalTarget,
    Trained,
    bags_of_cases,
    pad,
    parts_of,
    predict,
    predict_cases,
    train,
)

CPU = torch.device("cpu")


@pytest.fixture
def bags():
    values = np.random.default_rng(0).normal(5, 3, (12, 2)).astype(np.float32)
    values[:, 1] = 4.0
    return Bags(values, [np.array([0, 3, 5]), np.array([1]), np.array([2, 4, 6, 7, 8]), np.array([9, 10, 11])])


class First(nn.Module):
    """The mean of the first column; attention by the place of a cell."""

    whole_bags = False

    def forward(self, x, mask):
        order = torch.arange(1, x.shape[1] + 1, dtype=torch.float32)[None]
        return x[..., :1].mean(dim=1), order / order.sum()


def test_moments_are_over_the_cells_of_the_chosen_bags(bags):
    cells = bags.values[[0, 3, 5, 9, 10, 11]]
    mean, sd = bags.moments(np.array([0, 3]))
    np.testing.assert_allclose(mean, cells.mean(axis=0), rtol=1e-6)
    assert sd[0] == pytest.approx(cells[:, 0].std(), rel=1e-6)
    assert sd[1] == 1  # a column that does not vary is left as it is


def test_weights_of_classes_are_scikit_learns(bags):
    codes = np.array([0, 0, 0, 1, 1, 2, 2])
    target = ClassTarget(codes, 3).of(np.arange(6))  # the last bag is not fitted
    np.testing.assert_allclose(target.weights, compute_class_weight("balanced", classes=np.arange(3), y=codes[:6]))


def test_the_loss_of_a_single_bag_keeps_its_weight_by_number():
    target = ClassTarget(np.array([0, 1]), 2, np.array([4.0, 1.0]))
    output = torch.zeros(1, 2)
    assert float(target.loss(output, np.array([0]))) == pytest.approx(np.log(2))
    assert float(target.loss(output, np.array([0]), by_number=True)) == pytest.approx(4 * np.log(2))


def test_numbers_are_standardised_over_the_bags_to_fit():
    target = NumberTarget(np.array([1.0, 3.0, 100.0])).of(np.array([0, 1]))
    assert (target.mean, target.sd) == (2, 1)
    assert float(target.loss(torch.tensor([[1.0], [1.0]]), np.array([0, 1]))) == pytest.approx((2**2 + 0) / 2)
    assert target.predict(torch.tensor([[-1.0]])).tolist() == [[1.0]]
    assert NumberTarget(np.array([5.0, 5.0])).of(np.array([0, 1])).sd == 1


def test_hazards_need_no_scale():
    target = SurvivalTarget(np.array([1.0, 2.0]), np.array([True, False]))
    assert target.of(np.array([0])) is target
    assert float(target.loss(torch.zeros(2, 1), np.array([0, 1]))) == pytest.approx(np.log(2))


def test_padding_is_masked_or_as_published_part_of_the_bag(bags):
    mean, sd = np.array([1, 2], np.float32), np.array([2, 4], np.float32)
    rng = np.random.default_rng(0)
    x, mask = pad(bags, np.array([0, 1]), mean, sd, 100, rng, CPU)
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    np.testing.assert_allclose(x[0], (bags.values[[0, 3, 5]] - mean) / sd, rtol=1e-6)
    assert not x[1, 1:].any()
    x, mask = pad(bags, np.array([0, 1]), mean, sd, 6, rng, CPU, as_published=True)
    assert x.shape == (2, 6, 2)
    assert mask.all()


def test_large_bags_are_drawn_from_without_repeats(bags):
    x, _ = pad(bags, np.array([2]), np.zeros(2), np.ones(2), 3, np.random.default_rng(0), CPU)
    drawn = x[0, :, 0].tolist()
    assert len(set(drawn)) == 3
    assert set(drawn) <= set(bags.values[bags.rows[2], 0].tolist())


def test_every_cell_is_in_one_part(bags):
    trained = Trained(First(), np.zeros(2), np.ones(2), NumberTarget(np.zeros(4)), 0, 0, 0.0)
    parts = list(parts_of(trained, bags, 2, BagRecipe(max_cells=2), CPU))
    assert [len(part) for part, _ in parts] == [2, 2, 1]
    assert sorted(np.concatenate([part for part, _ in parts]).tolist()) == [0, 1, 2, 3, 4]
    for part, x in parts:
        np.testing.assert_array_equal(x[0], bags.values[bags.rows[2][part]])


def test_prediction_is_the_mean_of_the_parts_and_attention_a_mean_of_one(bags):
    target = NumberTarget(np.zeros(4), mean=7.0, sd=2.0)
    trained = Trained(First(), np.zeros(2), np.ones(2), target, 0, 0, 0.0)
    predicted, attention = predict(trained, bags, 2, BagRecipe(max_cells=5), CPU)
    assert predicted == pytest.approx(7 + 2 * bags.values[bags.rows[2], 0].mean(), rel=1e-6)
    np.testing.assert_allclose(attention, 5 * np.arange(1, 6) / 15, rtol=1e-6)


def test_a_case_of_two_bags_gets_their_mean_and_others_nothing(bags):
    trained = Trained(First(), np.zeros(2), np.ones(2), NumberTarget(np.zeros(4)), 0, 0, 0.0)
    attention, case_of_bag = np.zeros(12, np.float32), np.array([0, 0, 1, 2])
    found = predict_cases(trained, bags, np.array([0, 1, 2]), case_of_bag, (3, 1), attention, 2, BagRecipe(), CPU)
    means = [bags.values[rows, 0].mean() for rows in bags.rows]
    np.testing.assert_allclose(found[:, 0], [(means[0] + means[1]) / 2, means[2], np.nan], rtol=1e-6)
    assert attention[1] == pytest.approx(0.5)  # alone in its bag, of one of two seeds
    assert not attention[9:].any()


def test_bags_are_patients_or_samples_in_the_order_of_names():
    codes, samples = np.array([1, 0, 1, 0, 1]), np.array([2, 0, 1, 0, 2])
    cases = Cases(np.arange(5), codes, samples, ["p", "q"], pd.DataFrame(), "patient", "patient", 0)
    by_patient, case = bags_of_cases(np.zeros((5, 1)), cases, "patient")
    assert [rows.tolist() for rows in by_patient.rows] == [[1, 3], [0, 2, 4]]
    assert case.tolist() == [0, 1]
    by_sample, case = bags_of_cases(np.zeros((5, 1)), cases, "sample")
    assert [rows.tolist() for rows in by_sample.rows] == [[1, 3], [2], [0, 4]]
    assert case.tolist() == [0, 1, 1]


@pytest.mark.parametrize(("head", "best"), [("bcos", 1), ("attention", 0)])
def test_training_stops_when_the_loss_does_not_fall(bags, head, best):
    """Without steps it falls once, from infinity; a network that starts at a fitted one is best at its start."""
    recipe = BagRecipe(head=head, hidden=2, n_heads=1, learning_rate=0.0, patience=3, max_epochs=50)
    state = torch.random.get_rng_state()
    trained = train(bags, NumberTarget(np.arange(4.0)), np.array([0, 1, 2]), np.array([3]), recipe, 0, CPU)
    assert (trained.best_epoch, trained.n_epochs) == (best, best + 3)
    assert torch.equal(torch.random.get_rng_state(), state)  # torch's own generator is put back


def test_columns_are_standardised_by_the_bags_to_fit_alone(bags):
    recipe = BagRecipe(hidden=2, n_heads=1, max_epochs=1)
    trained = train(bags, NumberTarget(np.arange(4.0)), np.array([0, 1]), np.array([3]), recipe, 0, CPU)
    np.testing.assert_allclose(trained.mean, bags.values[[0, 1, 3, 5]].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(("decay", "kind"), [(0.0, torch.optim.Adam), (0.1, torch.optim.AdamW)])
def test_a_penalty_on_weights_takes_adamw(decay, kind):
    optimizer = BagRecipe(weight_decay=decay).optimizer(nn.Linear(1, 1))
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["weight_decay"] == decay


def test_one_cycle_ends_with_the_last_step_of_the_last_epoch():
    recipe = BagRecipe(one_cycle=True, batch_size=4, max_epochs=3, learning_rate=0.5)
    schedule = recipe.schedule(recipe.optimizer(nn.Linear(1, 1)), 9)
    assert schedule.total_steps == 3 * 3
    assert schedule.get_last_lr() == [pytest.approx(0.5 / 25)]
    assert BagRecipe().schedule(recipe.optimizer(nn.Linear(1, 1)), 9) is None
