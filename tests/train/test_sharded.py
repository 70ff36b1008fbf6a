"""Checkpoints of shared-out parameters: two processes on one machine, by torch's `fully_shard` on the CPU.

Fabric's own FSDP refuses to work without an accelerator. What is tested is what does not depend on it: that states are
whole and have the names of the whole model, and that a run goes on from them as if it had not ended.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import TinyObjective, TinyWindows, sample_views

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
