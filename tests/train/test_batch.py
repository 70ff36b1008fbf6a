from __future__ import annotations

import numpy as np
import pytest

from spatialfm.train.batch import random_of


def test_random_numbers_depend_on_seed_step_place_and_purpose_alone():
    draw = random_of(1, 2, 3, 0).random(4)
    random_of(7, 7, 7).random(100)
    assert (random_of(1, 2, 3, 0).random(4) == draw).all()
    others = [(0, 2, 3, 0), (1, 0, 3, 0), (1, 2, 0, 0), (1, 2, 3, 1), (2, 1, 3, 0)]
    assert all((random_of(*other).random(4) != draw).all() for other in others)


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (5, 1_000_000, 63, 2), (2**32 + 7, 3, 1, 1)])
def test_random_numbers_are_those_of_a_seed_of_the_four(numbers):
    assert (random_of(*numbers).random(4) == np.random.default_rng(list(numbers)).random(4)).all()
