"""Lightning Fabric, which places modules on devices and joins several processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from .._errors import ArgumentError, RunError, SpatialfmError
from .._optional import need
from ..models.encoder import resolve_device

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
Strategy = Literal["auto", "ddp", "fsdp"]
T = TypeVar("T")


def new_fabric(
    devices: int | str = 1,
    nodes: int = 1,
    precision: Precision = "32-true",
    accelerator: str = "auto",
    strategy: Strategy = "auto",
) -> Fabric:
    """A launched Fabric of so many devices per node.

    Parameters
    ----------
    devices
        Devices, one process each, on every node; ``"auto"``: all there are.
    nodes
        Machines; what starts a process on each (SLURM, torchrun) tells Fabric how they find one another.
    precision
        ``"32-true"``, or the forward pass in half the bits with weights in 32.
    accelerator
        ``"auto"``: what ``settings.device`` says. Otherwise ``"cpu"``, ``"cuda"`` or ``"mps"``.
    strategy
        ``"ddp"``: each process has the whole model. ``"fsdp"``: parameters are shared out to CUDA devices. ``"auto"``:
        the first where there are several processes.

    Raises
    ------
    SpatialfmError
        If lightning-fabric is not installed.
    ArgumentError
        If there is no such number of devices, or the device has no such precision, or cannot share out parameters.
    """
    need("lightning_fabric", "Training")
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy, FSDPStrategy

    if devices != "auto" and (not isinstance(devices, int) or devices < 1):
        raise ArgumentError(f"devices must be a whole number of at least 1, or 'auto', got {devices!r}.")
    kind, chosen = _device(accelerator, devices)
    check_precision(precision, kind)
    if strategy == "fsdp" and kind != "cuda":
        raise ArgumentError(f"strategy='fsdp' shares parameters out to CUDA devices, and this is {kind!r}. Pass 'ddp'.")
    several = devices != 1 or nodes > 1
    placed: Any = "auto"
    if strategy == "fsdp":
        placed = FSDPStrategy(state_dict_type="full")
    elif strategy == "ddp" or several:  # an encoder may have weights that an objective does not reach
        placed = DDPStrategy(find_unused_parameters=True)
    fabric = Fabric(accelerator=kind, devices=chosen, num_nodes=nodes, precision=precision, strategy=placed)
    fabric.launch()
    return fabric


def check_alone(what: str) -> None:
    """Refuse what trains in one process where this one is of several.

    Raises
    ------
    RunError
        If torchrun, SLURM or an earlier call with `devices` has started others that run the same script.
    """
    told = {name: os.environ.get(name, "") for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")}
    n, name = max((int(value) if value.isdigit() else 1, name) for name, value in told.items())
    if n > 1:
        raise RunError(
            f"{what} trains in one process, and this is one of {n} ({name}). Call it in a script of its own, that is "
            "started once."
        )


def _device(accelerator: str, devices: int | str) -> tuple[str, Any]:
    device = resolve_device(None if accelerator == "auto" else accelerator)
    if devices == 1 and device.type == "cuda" and device.index:
        return device.type, [device.index]
    return device.type, devices if device.type != "cpu" or devices != "auto" else 1


def check_precision(precision: str, kind: str) -> None:
    """Refuse a precision that the device lacks.

    Raises
    ------
    ArgumentError
        With one that it has.
    """
    if precision == "16-mixed" and kind != "cuda":
        raise ArgumentError(f"precision='16-mixed' needs a CUDA device, and this is {kind!r}. Pass '32-true'.")
    if precision == "bf16-mixed" and kind == "mps":
        raise ArgumentError("precision='bf16-mixed' is not offered by 'mps'. Pass '32-true'.")
    if precision == "bf16-mixed" and kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ArgumentError("precision='bf16-mixed': this CUDA device has no bfloat16. Pass '16-mixed' or '32-true'.")


def random_numbers_apart(fabric: Fabric) -> AbstractContextManager[None]:
    """Torch's random numbers as they were, afterwards."""
    return torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else [])


def on_first(fabric: Fabric, function: Callable[[], T]) -> T:
    """What a function of the first process gives, to all of them; where it fails, it fails in all of them."""
    if fabric.world_size == 1:
        return function()
    result: Any = None
    problem: SpatialfmError | None = None
    if fabric.is_global_zero:
        try:
            result = function()
        except SpatialfmError as error:
            problem = error
        except OSError as error:
            problem = SpatialfmError(str(error))
    result, problem = fabric.broadcast((result, problem), 0)
    if problem is not None:
        raise problem
    return result


def first_then_others(fabric: Fabric, function: Callable[[], T]) -> T:
    """What a function gives in each process; the first calls it before the others, which find what it cached."""
    made: list[T] = []
    if fabric.world_size == 1:
        return function()
    on_first(fabric, lambda: made.append(function()))
    return made[0] if made else function()
