"""Self-distillation in one of two processes; what it gives is written into a file. Run by a test, not collected."""

from __future__ import annotations

import os
import sys

import torch
from torch import distributed as dist

sys.path[:0] = [os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "train", "objectives")]


def run(targets: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """Loss, gradients and centres of a step, of this part of a batch."""
    from test_distill import objective, views_of, window

    from spatialfm.train.trainer import loss_of

    one = objective(targets=targets, masked_share=0.7).train()
    # three windows in the first process, one in the second, and of different panels
    views = views_of(one, window(0), window(1, 2), window(2), window(3))
    mine = views if world == 1 else views[:3] if rank == 0 else views[3:]
    values = one.schedule(5, 10)
    one.before_step(values)
    loss, whole, *_ = loss_of(one(mine), world)
    loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in one.parameters() if p.grad is not None])
    if world > 1:
        dist.all_reduce(gradients)
        gradients /= world
    one.after_step(values)
    return {"loss": whole.detach(), "gradients": gradients, "centre": one.centre, "token_centre": one.token_centre}


if __name__ == "__main__":
    folder, number = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    torch.save({kind: run(kind, number, 2) for kind in ("centre", "sinkhorn")}, f"{folder}/{number}.pt")
    dist.barrier()  # one that leaves while the other still works has ended with an abort, now and then
    dist.destroy_process_group()
