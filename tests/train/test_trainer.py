"""One step of training against its closed form: sums over processes, the first step of AdamW, what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spatialfm._errors import ModelError, RunError
from spatialfm.train.fabric import new_fabric
from spatialfm.train.objectives import Group, Objective, Schedule, Term
from spatialfm.train.pace import Pace
from spatialfm.train.steps import Made
from spatialfm.train.trainer import Trainer, TrainingPlan, loss_of, seed_of_step


class Slope(Objective):
    """``3 a + 4 b``, so that the gradient is (3, 4) whatever the weights are."""

    name = "slope"

    def __init__(self, named=("a", "b"), clip=None, apart=False):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([5.0]))
        self.named, self.clip, self.apart, self.factor = named, clip, apart, 1.0

    def views(self):
        return lambda window, rng: window

    def forward(self, views):
        slopes = (3 * self.a + 4 * self.b).sum() * self.factor
        return {"slopes": Term(slopes * sum(views), len(views))}

    def groups(self):
        named = {"a": Group({"a": self.a}, lr_scale=0.5), "b": Group({"b": self.b}, decay=False, last_layer=True)}
        return [named[one] for one in self.named]

    def schedule(self, step, n_steps):
        return Schedule(0.1, 0.2, 0.01, {"share": step / n_steps})

    @property
    def clip_norm(self):
        return self.clip

    def clip_parts(self):
        return [[self.a], [self.b]] if self.apart else [[self.a, self.b]]


def trainer(**options) -> Trainer:
    return Trainer(new_fabric(accelerator="cpu"), Slope(**options), TrainingPlan(n_steps=10, batch_size=2))


MADE = [Made(0, views=1.0), Made(1, views=1.0)]


def test_the_first_step_is_the_closed_form_of_adamw():
    """There, both running means are those of one gradient: a weight is moved by its rate against the sign."""
    one = trainer()
    told = one.step(0, MADE, votes=[True, False])
    assert told.loss == 3 * 2 + 4 * 5
    assert told.terms == {"slopes": 26.0}
    assert told.gradient_norm == pytest.approx(5.0)
    assert told.votes == [True, False]
    objective = one.objective
    assert objective.a.item() == pytest.approx(2 * (1 - 0.05 * 0.2) - 0.05, rel=1e-6)  # half the rate, and decay
    assert objective.b.item() == pytest.approx(5 - 0.01, rel=1e-6)  # rate of the last layer, no decay
    assert objective.a.grad is None
    assert objective.batch_size == 2


class ByShape(Slope):
    """A matrix and a bias; what decays is told by the number of axes, as objectives of one's own may do."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.full((2, 3), 2.0))

    def groups(self):
        named = dict(self.named_parameters())
        return [Group({name: one}, decay=one.ndim > 1) for name, one in named.items()]


def test_groups_are_those_of_whole_parameters():
    """Shared out, a matrix is a line of numbers, which by its shape would not decay."""
    fabric = new_fabric(accelerator="cpu")
    wrap = fabric.setup_module

    def lines(module):
        for name, one in list(module.objective.named_parameters()):
            setattr(module.objective, name, nn.Parameter(one.detach().flatten()))
        return wrap(module)

    fabric.setup_module = lines
    one = Trainer(fabric, ByShape(), TrainingPlan(n_steps=10, batch_size=2))
    assert [(list(group.parameters), group.decay) for group in one.groups] == [(["a"], True), (["b"], False)]
    assert one.groups[0].parameters["a"] is one.objective.a  # those that are trained
    assert [id(part) for part in one.parts[0]] == [id(one.objective.a), id(one.objective.b)]


@pytest.mark.parametrize(("apart", "expected"), [(False, (0.6, 0.8)), (True, (1.0, 1.0))])
def test_parts_are_clipped_together_or_apart_and_the_norm_is_the_one_before(apart, expected):
    one = trainer(clip=1.0, apart=apart)
    assert one.step(0, MADE).gradient_norm == pytest.approx(5.0)
    state = one.optimizer.state_dict()["state"]
    for place, value in enumerate(expected):  # the running mean is a tenth of the gradient
        assert state[place]["exp_avg"].item() == pytest.approx(0.1 * value, rel=1e-5)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_no_number_leaves_the_weights_as_they_are(factor):
    one = trainer()
    one.objective.factor = factor
    with pytest.raises(RunError, match="the loss is"):
        one.step(0, MADE)
    assert (one.objective.a.item(), one.objective.b.item()) == (2.0, 5.0)


def test_a_gradient_that_is_no_number_leaves_the_weights_as_they_are():
    one = trainer()
    one.objective.a.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(RunError, match="the gradient has the norm nan, at a loss of 26"):
        one.step(0, MADE)
    assert (one.objective.a.item(), one.objective.b.item()) == (2.0, 5.0)
    assert one.objective.a.grad is None


def test_a_state_that_is_restored_goes_on_as_if_nothing_had_happened():
    one, other = trainer(), trainer()
    one.step(0, MADE)
    other.restore(one.state())
    for each in (one, other):
        each.step(1, MADE)
    assert torch.equal(one.objective.a, other.objective.a)
    assert torch.equal(one.objective.b, other.objective.b)


def test_parameters_in_no_group_are_refused():
    with pytest.raises(ModelError, match="names 'b' in no group"):
        trainer(named=("a",))


def test_the_loss_is_the_sum_of_weighted_means_and_a_term_of_nothing_adds_nothing():
    x = torch.tensor(3.0, requires_grad=True)
    terms = {
        "mean": Term(2 * x, 4, weight=10.0),
        "count": Term(x**2, torch.tensor(3)),
        "none": Term(0 * x, 0, weight=100.0),
    }
    loss, whole, means, yes, names = loss_of(terms, votes=[True])
    assert names == ["count", "mean", "none"]
    assert means.tolist() == pytest.approx([3.0, 1.5, 0.0])
    assert loss.item() == whole.item() == pytest.approx(3.0 + 15.0)
    assert yes.tolist() == [1.0]
    loss.backward()
    assert x.grad.item() == pytest.approx(2 * 3 / 3 + 10 * 2 / 4)


def test_two_processes_minimise_what_one_would():
    """This one has a sum of 6 over 3 values, the other 10 over 5: gradients are averaged over both."""

    def all_reduce(shared):
        shared += torch.tensor([10.0, 5.0, 0.0], dtype=shared.dtype)

    x = torch.tensor(6.0, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "all_reduce", all_reduce)
        loss, whole, means, yes, _ = loss_of({"one": Term(x, 3, weight=4.0)}, 2, [True])
    loss.backward()
    assert means.item() == 16 / 8
    assert whole.item() == 4 * 16 / 8
    assert x.grad.item() == pytest.approx(2 * 4 / 8)  # twice its share, of which the average is taken
    assert yes.item() == 1


def test_the_length_is_fixed_or_that_of_the_pace():
    assert (TrainingPlan(7, 2).length(3), TrainingPlan(7, 2).taken) == (7, 7)
    plan = TrainingPlan(7, 2, pace=Pace(60, [(0, 7, 0.0), (4, 9, 10.0)], clock=lambda: 0.0))
    assert [plan.length(done) for done in (0, 3, 4)] == [7, 7, 9]
    assert plan.taken == 9
    one = trainer()
    assert one.schedule(5).extra["share"] == 0.5


def test_seeds_of_steps_and_processes_are_apart():
    seeds = {seed_of_step(seed, step, rank) for seed in range(3) for step in range(20) for rank in range(4)}
    assert len(seeds) == 240
    assert all(0 <= one < 2**63 for one in seeds)
