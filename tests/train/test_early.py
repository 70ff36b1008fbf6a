"""Early stopping: what is kept, when a run ends, and that one which was killed goes on with it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from spatialfm.train.early import BEST, EarlyStopping, Enough, read_score


class Scores:
    """Stands for the monitor: a table of scores."""

    def __init__(self, folder, scores):
        self.folder, self.scores = folder, scores
        self.checked = SimpleNamespace(rows=[])

    def resume(self, step):
        self.checked.rows = [row for row in self.checked.rows if row["step"] <= step]
        return not self.checked.rows or self.checked.rows[-1]["step"] != step

    def check(self, step, seen):
        self.checked.rows.append({"step": step, "validation_loss": self.scores[step]})


def run(watch, steps):
    for step in steps:
        watch.check(step, {})


def test_the_best_is_kept_and_the_run_ends_after_patience(tmp_path):
    monitor = Scores(tmp_path, {0: 5.0, 1: 3.0, 2: 4.0, 3: 2.0, 4: 2.5, 5: 2.0, 6: 1.0})
    watch = EarlyStopping(monitor, lambda: {"w": torch.tensor([len(monitor.checked.rows)])}, patience=2)
    watch.resume(0)
    with pytest.raises(Enough):
        run(watch, range(7))
    assert len(monitor.checked.rows) == 6  # the sixth was as good, not better
    assert read_score(tmp_path / BEST) == (2.0, 3)
    assert load_file(tmp_path / BEST)["w"].item() == 4


def test_a_run_that_was_killed_goes_on_with_what_it_had_found(tmp_path):
    scores = {0: 5.0, 1: 3.0, 2: 4.0, 3: 3.5, 4: 1.0}
    first = Scores(tmp_path, scores)
    watch = EarlyStopping(first, lambda: {"w": torch.zeros(1)}, patience=3)
    watch.resume(0)
    run(watch, [0, 1, 2])
    second = Scores(tmp_path, scores)
    second.checked.rows = list(first.checked.rows)
    again = EarlyStopping(second, lambda: {"w": torch.ones(1)}, patience=3)
    again.resume(2)
    assert (again.best, again.at) == (3.0, 1)
    run(again, [3])
    assert load_file(tmp_path / BEST)["w"].item() == 0
    run(again, [4])
    assert read_score(tmp_path / BEST) == (1.0, 4)
    assert load_file(tmp_path / BEST)["w"].item() == 1


@pytest.mark.parametrize("has_row", [False, True])
def test_a_state_whose_judging_was_cut_off_is_judged_when_the_run_goes_on(tmp_path, has_row):
    """Killed behind the checkpoint of step 2: before its row was written, or before the best state was."""
    scores = {0: 5.0, 1: 6.0, 2: 1.0, 3: 4.0}
    first = Scores(tmp_path, scores)
    watch = EarlyStopping(first, lambda: {"w": torch.zeros(1)}, patience=2)
    watch.resume(0)
    run(watch, [0, 1])
    if has_row:
        first.check(2, {})
    second = Scores(tmp_path, scores)
    second.checked.rows = list(first.checked.rows)
    second.check = lambda step, seen, add=second.check: None if second.resume(step) is False else add(step, seen)
    again = EarlyStopping(second, lambda: {"w": torch.ones(1)}, patience=2)
    assert again.resume(2)
    run(again, [2, 3])
    assert [row["step"] for row in second.checked.rows] == [0, 1, 2, 3]
    assert read_score(tmp_path / BEST) == (1.0, 2)
    assert load_file(tmp_path / BEST)["w"].item() == 1


def test_a_run_that_had_ended_does_not_go_on(tmp_path):
    monitor = Scores(tmp_path, {0: 1.0, 1: 2.0, 2: 2.0})
    watch = EarlyStopping(monitor, lambda: {"w": torch.zeros(1)}, patience=2)
    watch.resume(0)
    with pytest.raises(Enough):
        run(watch, [0, 1, 2])
    with pytest.raises(Enough):
        watch.resume(2)


def test_a_new_run_in_a_folder_takes_nothing_from_an_old_file(tmp_path):
    monitor = Scores(tmp_path, {0: 5.0})
    watch = EarlyStopping(monitor, lambda: {"w": torch.zeros(1)}, patience=1)
    watch.resume(0)
    run(watch, [0])
    again = EarlyStopping(Scores(tmp_path, {0: 7.0}), lambda: {"w": torch.ones(1)}, patience=1)
    again.resume(0)
    run(again, [0])
    assert read_score(tmp_path / BEST) == (7.0, 0)
