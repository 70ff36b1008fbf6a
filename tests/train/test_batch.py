from __future__ import annotations

from spatialfm.train.batch import random_of


def test_random_numbers_depend_on_seed_step_place_and_purpose_alone():
    draw = random_of(1, 2, 3, 0).random(4)
    random_of(7, 7, 7).random(100)
    assert (random_of(1, 2, 3, 0).random(4) == draw).all()
    others = [(0, 2, 3, 0), (1, 0, 3, 0), (1, 2, 0, 0), (1, 2, 3, 1), (2, 1, 3, 0)]
    assert all((random_of(*other).random(4) != draw).all() for other in others)
