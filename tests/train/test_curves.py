"""The picture of a run: what is drawn of its tables."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import image

from spatialfm.train.curves import draw_curves

LOSSES = [{"step": step, "loss": 1 / step, "lr": 0.1, "gradient_norm": 1.0} for step in range(1, 200)]
CHECKS = [{"step": 0, "spread": 1.0}, {"step": 100, "spread": 0.5, "probe_linear": 0.3}]


@pytest.mark.parametrize(("losses", "checks"), [(LOSSES, CHECKS), (LOSSES[:1], []), ([], CHECKS), ([], [])])
def test_any_table_can_be_drawn(tmp_path, losses, checks):
    draw_curves(losses, checks, tmp_path / "curves.png")
    picture = image.imread(tmp_path / "curves.png")
    assert picture.shape[1] == 9 * 130
    assert (picture[..., :3] < 1).any() == bool(losses or checks)


def test_the_only_term_of_a_loss_does_not_hide_it(tmp_path):
    once, twice = tmp_path / "once.png", tmp_path / "twice.png"
    draw_curves(LOSSES, [], once)
    draw_curves([row | {"loss_error": row["loss"]} for row in LOSSES], [], twice)
    assert once.read_bytes() == twice.read_bytes()
    draw_curves([row | {"loss_error": row["loss"] / 2, "loss_rest": row["loss"] / 2} for row in LOSSES], [], twice)
    assert once.read_bytes() != twice.read_bytes()


def test_a_falling_loss_falls_in_the_picture(tmp_path):
    """Of the first panel: the topmost blue of each column of pixels goes down."""
    draw_curves([{"step": step, "loss": 10 - step / 20} for step in range(200)], [], tmp_path / "curves.png")
    picture = image.imread(tmp_path / "curves.png")[:, : 9 * 65, :3]
    blue = (picture[..., 2] > picture[..., 0] + 0.5).astype(int)
    columns = np.flatnonzero(blue.any(0))
    tops = blue.argmax(0)[columns]
    assert tops[-1] > tops[0] + 100
    assert (np.diff(tops) >= -1).all()
