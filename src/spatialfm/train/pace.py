"""The length of a run that is said in minutes: steps, estimated anew as it goes, and kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

FIRST, LATER = 1 / 20, 1 / 4  # of the whole time, and of the time that is left, after which steps are estimated anew
SHORTEST = 1 / 500  # of the whole time: no estimate is made more often

Told = list[tuple[int, int, float]]  # (step, steps of the whole run, seconds): what held from that step on, found when


class Pace:
    """How many steps fit into a time, from the speed of the last ones.

    Schedules go by the share of the steps that is done, so that their number has to be known in advance, and a machine
    is faster at one time than at another. The number is estimated anew as the run goes: after each twentieth of the
    time, and more often when little is left. Each estimate is written down before a step is taken by it: a run that was
    killed takes the steps that it does again by the numbers that it took them by before.

    Parameters
    ----------
    seconds
        The time.
    told
        What was estimated before, at least once.
    keep
        Writes down all estimates.
    clock
        Seconds, from any beginning.
    """

    def __init__(
        self,
        seconds: float,
        told: Sequence[Sequence[float]],
        keep: Callable[[Told], object] = lambda told: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.keep, self.clock = seconds, keep, clock
        self.told: Told = [(int(step), int(n_steps), float(spent)) for step, n_steps, spent in told]
        self.begin(0.0)

    def begin(self, spent: float) -> None:
        """The run begins, or goes on after so many seconds."""
        self.spent_before, self.began = spent, self.clock()

    @property
    def spent(self) -> float:
        """Seconds so far, of all processes that got here one after the other."""
        return self.spent_before + self.clock() - self.began

    def n_steps(self, done: int) -> int:
        """Steps of the whole run, as they were last estimated before a step."""
        return max(1, [n_steps for step, n_steps, _ in self.told if step <= done][-1])

    def due(self, done: int) -> bool:
        """Whether the steps are to be estimated anew after so many."""
        step, _, then = self.told[-1]
        if done <= step:  # taken before, by a process that was killed
            return False
        spent = self.spent
        if spent >= self.seconds:
            return True
        apart = min(FIRST * self.seconds, LATER * (self.seconds - then))
        return spent - then >= max(SHORTEST * self.seconds, apart)

    def estimate(self, done: int) -> int:
        """Estimate the steps of the whole run after so many, and write them down."""
        spent = self.spent
        before = [one for one in self.told if one[0] < done and spent - one[2] >= FIRST * self.seconds]
        step, _, then = before[-1] if before else self.told[0]
        speed = (done - step) / (spent - then) if spent > then else 0.0
        n_steps = done + math.floor(max(0.0, self.seconds - spent) * speed)
        self.told.append((done, n_steps, spent))
        self.keep(self.told)
        return n_steps
