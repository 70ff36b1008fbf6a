"""Training on one batch, for the tests of all objectives."""

from __future__ import annotations

import torch
from torch.optim import AdamW

from spatialfm.train.trainer import loss_of


def steps_on(objective, views, n_steps: int, lr: float | None = None) -> list[float]:
    """Losses of so many steps on the same views, each step as the loop takes it."""
    objective.batch_size = len(views)
    objective.train()
    groups = objective.groups()
    optimizer = AdamW([{"params": list(group.parameters.values())} for group in groups])
    losses = []
    for step in range(n_steps):
        values = objective.schedule(step, n_steps)
        for group, target in zip(groups, optimizer.param_groups, strict=True):
            rate = values.last_layer_lr if group.last_layer else values.lr
            target["lr"] = rate * group.lr_scale if lr is None else lr
            target["weight_decay"] = 0.0 if lr is not None else values.weight_decay * group.decay
        objective.before_step(values)
        loss, *_ = loss_of(objective(views))
        loss.backward()
        for part in objective.clip_parts():
            torch.nn.utils.clip_grad_norm_(part, objective.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(values)
        losses.append(loss.item())
    return losses
