"""The loop: its losses and weights against torch alone; what is left when it ends early; several processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import Heard, TinyObjective, TinyWindows, run_tiny, sample_views, weights_of

from spatialfm._errors import ModelError, RunError
from spatialfm.train.checkpoint import Checkpoints
from spatialfm.train.trainer import seed_of_step


def by_hand(n_steps=12, dropout=0.2, clip=1.0):
    """The same training in plain torch: AdamW of two groups, one batch a step."""
    objective, data = TinyObjective(dropout, clip=clip), TinyWindows()
    matrices = [one for one in objective.parameters() if one.ndim > 1]
    vectors = [one for one in objective.parameters() if one.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}])
    losses = []
    for step in range(n_steps):
        optimizer.param_groups[0].update(lr=0.02 * (1 - step / n_steps), weight_decay=0.01)
        optimizer.param_groups[1].update(lr=0.02 * (1 - step / n_steps))
        torch.manual_seed(seed_of_step(0, step, 0))
        terms = objective(sample_views(data, step))
        loss = sum(term.weight * term.total / term.count for term in terms.values())
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(objective.parameters(), clip)
        optimizer.step()
        objective.after_step(objective.schedule(step, n_steps))
        losses.append(loss.item())
    return objective, losses


@pytest.mark.parametrize("clip", [0.05, None])
def test_losses_and_weights_are_those_of_plain_torch(tmp_path, clip):
    expected, losses = by_hand(clip=clip)
    found, heard, _ = run_tiny(tmp_path, TinyObjective(clip=clip))
    np.testing.assert_allclose([row["loss"] for row in heard.rows.values()], losses, rtol=1e-6)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert not found.training


def test_what_is_said_of_a_step(tmp_path):
    _, heard, seen = run_tiny(tmp_path)
    row = heard.rows[1]
    assert set(row) == {"loss", "loss_known", "loss_size", "lr", "weight_decay", "momentum", "gradient_norm",
                        "windows_per_second"}  # fmt: skip
    assert row["loss"] == pytest.approx(row["loss_known"] + 0.1 * row["loss_size"])
    assert (row["lr"], row["momentum"]) == (0.02, 0.9)
    assert row["gradient_norm"] > 0 < row["windows_per_second"]
    assert list(heard.rows) == list(range(1, 13))
    assert list(heard.checks) == [0, 5, 10, 12]
    assert seen == {"DAPI": (48, 0), "CD3": (48, 48), "CD8": (48, 0)}


def test_torch_draws_as_if_nothing_had_been_trained(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run_tiny(tmp_path, n_steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_a_check_that_leaves_the_objective_in_evaluation_changes_nothing(tmp_path):
    whole, _, _ = run_tiny(tmp_path / "whole")
    objective, heard = TinyObjective(), Heard()
    heard.check = lambda step, seen: objective.eval()
    found, _, _ = run_tiny(tmp_path / "looked", objective, heard=heard)
    assert weights_of(found) == weights_of(whole)


class Killed(BaseException):
    """What no part of the package answers."""


@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path, step):
    whole, heard, seen = run_tiny(tmp_path / "whole")

    def kill(done):
        if done == step:
            raise Killed

    with pytest.raises(Killed):
        run_tiny(tmp_path / "cut", heard=Heard(at=kill))
    assert Checkpoints(tmp_path / "cut" / "checkpoints").newest() == ((step - 1) // 3 * 3 or None)
    again, heard_again, seen_again = run_tiny(tmp_path / "cut")
    assert weights_of(again) == weights_of(whole)
    assert seen_again == seen
    last = range((step - 1) // 3 * 3 + 1, 13)
    assert [heard_again.rows[one]["loss"] for one in last] == [heard.rows[one]["loss"] for one in last]


@pytest.mark.parametrize("step", [0, 5, 12])
def test_a_check_that_was_cut_off_behind_its_checkpoint_is_done_by_the_run_that_goes_on(tmp_path, step):
    _, heard, _ = run_tiny(tmp_path / "whole", checkpoint_every=5)
    cut, again = Heard(), Heard()

    def killed(done, seen, check=cut.check):
        if done == step:
            raise Killed
        check(done, seen)

    cut.check = killed
    with pytest.raises(Killed):
        run_tiny(tmp_path / "cut", heard=cut, checkpoint_every=5)
    again.checks = dict(cut.checks)
    run_tiny(tmp_path / "cut", heard=again, checkpoint_every=5)
    assert again.checks == heard.checks
    assert list(again.rows) == list(range(step + 1, 13))


def test_a_finished_run_is_not_run_again(tmp_path):
    whole, _, _ = run_tiny(tmp_path)
    again, heard, _ = run_tiny(tmp_path)
    assert heard.rows == {}
    assert weights_of(again) == weights_of(whole)


def test_workers_make_the_same_windows(tmp_path, monkeypatch):
    monkeypatch.setattr("spatialfm.train.steps.cores", lambda: 1)  # one thread either way, so that bits are compared
    alone, heard, _ = run_tiny(tmp_path / "alone", n_steps=4)
    helped, heard_helped, _ = run_tiny(tmp_path / "helped", n_steps=4, workers=2)
    assert weights_of(helped) == weights_of(alone)
    assert [row["loss"] for row in heard_helped.rows.values()] == [row["loss"] for row in heard.rows.values()]


def only_in(step):
    """A window that no step before has."""
    data = TinyWindows()
    return int(next(i for i in data.indices(step) if all(i not in data.indices(one) for one in range(step))))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_ends_with_its_name_and_a_checkpoint(tmp_path, workers):
    broken = only_in(4)
    with pytest.raises(RunError) as refused:
        run_tiny(tmp_path, data=TinyWindows(broken=broken), workers=workers)
    assert f"Window {broken} (image_a at {broken}) could not be read at step 4" in str(refused.value)
    assert "is truncated" in str(refused.value)
    assert "The checkpoint after step 4 is kept" in str(refused.value)
    again, _, _ = run_tiny(tmp_path)
    assert weights_of(again) == weights_of(by_run(tmp_path / "whole"))


def by_run(folder):
    return run_tiny(folder)[0]


def test_a_worker_that_dies_ends_with_a_checkpoint(tmp_path):
    with pytest.raises(RunError, match="ended unexpectedly") as refused:
        run_tiny(tmp_path, data=TinyWindows(fatal=only_in(4)), workers=1)
    kept = re.search(r"The checkpoint after step (\d) is kept", str(refused.value))
    assert kept is not None
    subprocess.run([sys.executable, "-c", ""], check=True)  # another child ends: torch's handler has no word on ours
    assert Checkpoints(tmp_path / "checkpoints").newest() == int(kept[1])
    again, _, _ = run_tiny(tmp_path)
    assert weights_of(again) == weights_of(by_run(tmp_path / "whole"))


def test_no_number_stops_before_the_step_and_names_the_batch(tmp_path):
    empty = only_in(4)
    with pytest.raises(RunError) as refused:
        run_tiny(tmp_path, data=TinyWindows(empty=empty), checkpoint_every=2)
    assert "At step 4 the loss is nan (known nan, size nan)" in str(refused.value)
    assert f"{empty} (image_a at {empty})" in str(refused.value)
    assert "The checkpoint after step 4 is kept" in str(refused.value)
    state = Checkpoints(tmp_path / "checkpoints").read(4)["objective"]
    assert all(torch.isfinite(value).all() for value in state.values())


class Exploding(TinyObjective):
    """A finite loss whose gradient is not: the square root of zero."""

    def forward(self, views):
        terms = super().forward(views)
        zero = (self.head.bias * 0).abs().sum().sqrt()
        return {name: type(term)(term.total + zero, term.count, term.weight) for name, term in terms.items()}


def test_a_gradient_that_is_no_number_stops_before_the_step(tmp_path):
    objective = Exploding()
    before = weights_of(objective)
    with pytest.raises(RunError, match="At step 0 the gradient has the norm nan"):
        run_tiny(tmp_path, objective)
    assert weights_of(objective) == before


def test_ctrl_c_ends_after_the_step_with_a_checkpoint(tmp_path):
    def press(done):
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after step 6 of 12"):
        run_tiny(tmp_path, heard=Heard(at=press), checkpoint_every=100)
    assert signal.getsignal(signal.SIGINT) is handler
    assert Checkpoints(tmp_path / "checkpoints").newest() == 6
    again, _, _ = run_tiny(tmp_path, checkpoint_every=100)
    assert weights_of(again) == weights_of(by_run(tmp_path / "whole"))


def test_a_parameter_that_no_group_names_is_refused(tmp_path):
    class Forgetful(TinyObjective):
        def groups(self):
            return super().groups()[:1]

    with pytest.raises(ModelError, match=r"names 'encoder.layer.bias', 'head.bias' in no group"):
        run_tiny(tmp_path, Forgetful())


SCRIPT = """
import json, sys
sys.path.insert(0, {tests!r})
from tiny_training import Heard, TinyObjective, TinyWindows, run_tiny
from spatialfm.train.fabric import new_fabric

if __name__ == "__main__":
    fabric = new_fabric(devices=2, accelerator="cpu")
    def end(step):
        if step == {last}:
            sys.exit(0)
    objective, heard, seen = run_tiny({folder!r}, TinyObjective(dropout=0.0), heard=Heard(at=end), fabric=fabric)
    if fabric.is_global_zero:
        print(json.dumps([[row["loss"] for row in heard.rows.values()], seen]))
"""


@pytest.mark.slow  # two processes that import torch
def test_two_processes_have_the_losses_of_one(tmp_path):
    alone, heard, seen = run_tiny(tmp_path / "alone", TinyObjective(dropout=0.0))
    script = tmp_path / "two.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path / "two"), last=None))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    losses, seen_by_two = json.loads(done.stdout.strip().splitlines()[-1])
    np.testing.assert_allclose(losses, [row["loss"] for row in heard.rows.values()], atol=1e-5, rtol=0)
    assert {name: tuple(counts) for name, counts in seen_by_two.items()} == seen
    newest = Checkpoints(tmp_path / "two" / "checkpoints").read(12)["objective"]
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(newest[name], value, rtol=0, atol=1e-5)


@pytest.mark.slow  # two processes that import torch
def test_a_run_of_two_processes_goes_on_in_one(tmp_path):
    alone, heard, seen = run_tiny(tmp_path / "alone", TinyObjective(dropout=0.0))
    script = tmp_path / "two.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path / "two"), last=8))
    subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert Checkpoints(tmp_path / "two" / "checkpoints").newest() == 6
    found, heard_again, seen_again = run_tiny(tmp_path / "two", TinyObjective(dropout=0.0))
    assert list(heard_again.rows) == list(range(7, 13))
    assert seen_again == seen
    losses = [row["loss"] for step, row in heard.rows.items() if step > 6]
    np.testing.assert_allclose([row["loss"] for row in heard_again.rows.values()], losses, atol=1e-5, rtol=0)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=1e-5)
