"""Minutes hold: against a clock that is set, whatever the machine does."""

from __future__ import annotations

import json

import pytest
from tiny_training import Heard, TinyObjective, run_tiny, weights_of

from spatialfm.train.pace import Pace


class Clock:
    """Seconds that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def walked(pace, clock, seconds_of, done=0):
    """Steps and seconds of a run whose steps take what `seconds_of` says."""
    began = clock.now
    while done < pace.n_steps(done):
        due = pace.due(done + 1)
        clock.sleep(seconds_of(done))
        done += 1
        if due:
            pace.estimate(done)
    return done, clock.now - began


@pytest.mark.parametrize(
    ("seconds_of", "first", "steps"),
    [
        (lambda step: 1.0, 600, 600),  # as was thought
        (lambda step: 4.0, 600, 150),  # four times slower than the first steps were
        (lambda step: 0.25, 600, 2400),  # faster
        (lambda step: 1.0 if step < 300 else 5.0, 600, 360),  # busy from the middle on
        (lambda step: 5.0 if step < 60 else 1.0, 120, 360),
        (lambda step: 0.5 if step % 2 else 1.5, 600, 600),  # uneven
    ],
)
def test_the_time_holds_however_fast_steps_are(seconds_of, first, steps):
    clock = Clock()
    done, took = walked(Pace(600.0, [(0, first, 0.0)], clock=clock), clock, seconds_of)
    assert took == pytest.approx(600, rel=0.02)
    assert done == pytest.approx(steps, rel=0.03)


def test_a_step_that_takes_longer_than_all_of_the_time_is_the_last():
    clock = Clock()
    assert walked(Pace(10.0, [(0, 50, 0.0)], clock=clock), clock, lambda step: 60.0)[0] <= 2


def test_schedules_end_near_the_end_of_the_time():
    """The last estimates move the share of the steps that is done by little, so that a rate falls to its end."""
    clock = Clock()
    pace = Pace(600.0, [(0, 600, 0.0)], clock=clock)
    walked(pace, clock, lambda step: 1.0 if step < 300 else 5.0)
    end = pace.told[-1][1]
    at_95 = [n_steps for step, n_steps, _ in pace.told if step <= 0.95 * end][-1]
    assert 0.95 * end / at_95 == pytest.approx(0.95, abs=0.02)


def test_what_was_estimated_before_a_kill_holds_for_steps_that_are_done_again():
    clock, kept = Clock(), []
    pace = Pace(100.0, [(0, 50, 0.0)], lambda told: kept.append(list(told)), clock)
    done, _ = walked(pace, clock, lambda step: 4.0)
    assert kept[-1] == pace.told
    again = Pace(100.0, kept[3], lambda told: None, clock)  # killed behind the third estimate, with a checkpoint at 5
    last = kept[3][-1][0]
    again.begin(90.0)  # slower than before: nothing is estimated anew all the same
    for step in range(5, last + 1):
        assert not again.due(step)
        assert again.n_steps(step) == pace.n_steps(step)
    again.begin(20.0)
    assert walked(again, clock, lambda step: 4.0, 5)[0] == pytest.approx(done, abs=1)


def paced(folder, clock, kept, told, at=None):
    def step(number):
        clock.sleep(3.0 if number < 4 else 1.0)
        if at:
            at(number)

    pace = Pace(30.0, told, lambda told: kept.append(json.loads(json.dumps(told))), clock)
    return run_tiny(folder, TinyObjective(), heard=Heard(at=step), pace=pace, n_steps=told[0][1], checkpoint_every=4)


class Killed(BaseException):
    """What no part of the package answers."""


@pytest.mark.parametrize("killed_at", [3, 6, 11, 17])
def test_a_run_of_minutes_that_is_killed_ends_with_the_same_bits(tmp_path, killed_at):
    kept = [[(0, 10, 0.0)]]
    whole, heard, _ = paced(tmp_path / "whole", Clock(), kept, kept[0])
    told = kept[-1]
    assert len(heard.rows) == told[-1][1] == pytest.approx(22, abs=2)  # 3 steps of 3 s, and 21 of 1 s
    assert len(told) > 4

    def kill(number):
        if number == killed_at:
            raise Killed

    clock, kept = Clock(), [[(0, 10, 0.0)]]
    with pytest.raises(Killed):
        paced(tmp_path / "cut", clock, kept, kept[0], kill)
    again, heard_again, _ = paced(tmp_path / "cut", clock, kept, kept[-1])
    assert weights_of(again) == weights_of(whole)
    assert kept[-1] == told
    assert heard_again.rows[told[-1][1]]["lr"] == heard.rows[told[-1][1]]["lr"]
