"""Checkpoints of shared-out parameters: two processes on one machine, by torch's `fully_shard` on the CPU.

Fabric's own FSDP refuses to work without an accelerator. States are tested without it: they are whole, have the names
of the whole model, and a run goes on from them as if it had not ended. Its steps are tested with that refusal passed
by, which goes well until torch gathers a state from a CPU.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import TinyObjective, TinyWindows, run_tiny, sample_views

from spatialfm.train.saved import OF_SHARDED
from spatialfm.train.sharded import restore_sharded, sharded_state
from spatialfm.train.trainer import _Batch, _Loss

N_STEPS, LR = 3, 0.01


def made(world: int):
    """Objective, module and optimizer; in several processes shared out and wrapped as Fabric does it."""
    objective = TinyObjective(dropout=0.0)
    module = _Loss(objective, world)
    if world > 1:
        from lightning_fabric.strategies import SingleDeviceStrategy
        from lightning_fabric.wrappers import _FabricModule
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (world,))
        for part in (objective.encoder, module):
            fully_shard(part, mesh=mesh)
        module = _FabricModule(module, SingleDeviceStrategy(torch.device("cpu")), original_module=module)
    optimizer = torch.optim.AdamW([{"params": list(one.parameters.values()), "lr": LR} for one in objective.groups()])
    return module, optimizer


def steps(module, optimizer, which: range, rank: int = 0, world: int = 1) -> list[float]:
    """Losses over all processes."""
    losses = []
    for step in which:
        loss, whole, *_ = module(_Batch(sample_views(TinyWindows(), step)[rank::world], []))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(whole.item())
    return losses


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    module, optimizer = made(2)
    losses = steps(module, optimizer, range(N_STEPS), rank, 2)
    state = sharded_state(module, optimizer)  # of the first process whole, of the others empty
    if rank == 0:
        torch.save(state, f"{folder}/state.pt")
    torch.distributed.barrier()
    losses += steps(module, optimizer, range(N_STEPS, 2 * N_STEPS), rank, 2)
    again, its_optimizer = made(2)
    restore_sharded(again, its_optimizer, torch.load(f"{folder}/state.pt"))
    torch.save(losses, f"{folder}/{rank}.pt")
    torch.save(steps(again, its_optimizer, range(N_STEPS, 2 * N_STEPS), rank, 2), f"{folder}/again_{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_checkpoints_of_shared_out_parameters_are_whole_and_go_on(tmp_path: Path):
    torch.multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    module, optimizer = made(1)
    expected = steps(module, optimizer, range(N_STEPS))
    weights = {name: value.clone() for name, value in module.objective.state_dict().items()}
    expected += steps(module, optimizer, range(N_STEPS, 2 * N_STEPS))
    state = torch.load(tmp_path / "state.pt")["objective"]
    assert {name.removeprefix(OF_SHARDED) for name in state} == set(weights)
    assert all(name.startswith(OF_SHARDED) for name in state)
    for name, value in weights.items():
        torch.testing.assert_close(state[OF_SHARDED + name], value, rtol=1e-4, atol=1e-6)
    for rank in range(2):
        losses = torch.load(tmp_path / f"{rank}.pt")
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
        np.testing.assert_allclose(torch.load(tmp_path / f"again_{rank}.pt"), losses[N_STEPS:], rtol=1e-6)


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import FSDPStrategy
from tiny_training import Heard, TinyObjective, run_tiny
from torch.distributed.fsdp import FullyShardedDataParallel

class OnCpu(FSDPStrategy):  # that it is not for a CPU is said of the class itself
    pass

if __name__ == "__main__":
    torch.set_num_threads(1)
    wrap, cpu = FullyShardedDataParallel.__init__, dict(device_id=torch.device("cpu"))
    FullyShardedDataParallel.__init__ = lambda self, *args, **kw: wrap(self, *args, **kw | cpu)
    fabric = Fabric(accelerator="cpu", devices=2, strategy=OnCpu(process_group_backend="gloo"))
    fabric.launch()

    class Losses(Heard):
        def step(self, step, row):
            if fabric.is_global_zero:
                print("loss", row["loss"], flush=True)
            if step == 12:
                os._exit(0)  # before the checkpoint

    run_tiny({folder!r}, TinyObjective(dropout=0.0), heard=Losses(), fabric=fabric, checkpoint_every=100)
"""


@pytest.mark.slow  # two processes that import torch
def test_steps_of_shared_out_parameters_are_those_of_one_process(tmp_path: Path):
    _, heard, _ = run_tiny(tmp_path / "alone", TinyObjective(dropout=0.0))
    script = tmp_path / "two.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path / "two")))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    losses = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("loss")]
    expected = [row["loss"] for row in heard.rows.values()]
    assert len(losses) == len(expected) == 12, done.stderr[-3000:]
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
