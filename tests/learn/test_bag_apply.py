"""Published networks on bags: what their outputs mean, and a network whose answer is a mean of products."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spatialfm._errors import TableError
from spatialfm.learn.bag_apply import PublishedTarget, apply, check_width, class_names, n_outputs_of
from spatialfm.learn.bag_published import HistoBistroMIL, StampMIL
from spatialfm.learn.bag_training import Bags

WEIGHTS = torch.tensor([[1.0, -2.0], [0.5, 3.0]])


class Mean(nn.Module):
    """Mean over cells of products with two weights; every cell has the same attention."""

    whole_bags = True

    def forward(self, x, mask):
        n = mask.sum(dim=1, keepdim=True)
        return (x @ WEIGHTS.T).mean(dim=1), mask / n


def test_outputs_of_one_and_of_two_columns_are_probabilities_of_two_classes():
    logit = float(np.log(3))
    one = PublishedTarget("classification", 1).predict(torch.tensor([[logit]]))
    two = PublishedTarget("classification", 2).predict(torch.tensor([[0.0, logit]]))
    np.testing.assert_allclose(one, [[0.25, 0.75]], atol=1e-6)
    np.testing.assert_allclose(two, [[0.25, 0.75]], atol=1e-6)


@pytest.mark.parametrize("task", ["regression", "survival"])
def test_numbers_and_hazards_are_left_as_they_are(task):
    np.testing.assert_array_equal(PublishedTarget(task, 1).predict(torch.tensor([[-2.5]])), [[-2.5]])


@pytest.mark.parametrize(
    ("told", "n_outputs", "expected"),
    [
        (["no", "yes"], 1, ["no", "yes"]),  # a single output tells two classes apart
        (["a", "b", "c"], 3, ["a", "b", "c"]),
        (["a", "b", "c"], 2, ["0", "1"]),  # of another network
        (None, 3, ["0", "1", "2"]),
    ],
)
def test_names_of_classes_are_the_files_or_numbers(told, n_outputs, expected):
    assert class_names(None, told, n_outputs) == expected


@pytest.mark.parametrize("names", [["one"], ["a", "b", "c"], ["a", "a"]])
def test_names_that_do_not_fit_are_refused(names):
    with pytest.raises(TableError, match="tells 2 classes apart. Pass 2 names"):
        class_names(names, ["no", "yes"], 2)


@pytest.mark.parametrize(
    "network",
    [
        StampMIL(5, 3, width=8, n_heads=2, n_layers=1, feedforward=8),
        HistoBistroMIL(5, 3, n_heads=2, hidden=4, n_layers=1),
    ],
)
def test_width_and_outputs_are_read_from_the_layers(network):
    assert n_outputs_of(network) == 3
    check_width(network, 5, "X_model", "model.pth")
    with pytest.raises(TableError, match=r"model.pth takes 5 columns, and 'X_model' \(use_rep=\) has 4"):
        check_width(network, 4, "X_model", "model.pth")


def test_cells_keep_their_place_and_nothing_is_standardised():
    values = np.array([[1, 0], [7, 7], [3, 2], [-1, 4]], np.float32)
    bags = Bags(values, [np.array([2, 0]), np.array([3, 1])])
    found = apply(Mean(), bags, PublishedTarget("regression", 2), True, torch.device("cpu"))
    products = values @ WEIGHTS.numpy().T
    np.testing.assert_allclose(found.predicted, [products[[0, 2]].mean(axis=0), products[[1, 3]].mean(axis=0)])
    np.testing.assert_allclose(found.attention, 1)  # the mean of a bag
    np.testing.assert_allclose(found.gradient, products / 2)  # of a linear answer, the share is the answer's part
    assert apply(Mean(), bags, PublishedTarget("regression", 2), False, torch.device("cpu")).gradient is None
