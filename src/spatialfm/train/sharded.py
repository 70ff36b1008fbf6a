"""States of models whose parameters are shared out to several devices (FSDP), in the names of the whole model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def is_sharded(fabric: Fabric) -> bool:
    """Whether parameters are shared out."""
    from lightning_fabric.strategies import FSDPStrategy

    return isinstance(fabric.strategy, FSDPStrategy)


def sharded_state(module: Any, optimizer: Any) -> dict[str, Any]:
    """State of a module and its optimizer, whole, on the CPU of the first process; asked for by all together."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model, optim = get_state_dict(*_unwrapped(module, optimizer), options=options)
    return {"objective": model, "optimizer": optim}


def restore_sharded(module: Any, optimizer: Any, state: dict[str, Any]) -> None:
    """Go on from such a state, which every process has read."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        *_unwrapped(module, optimizer),
        model_state_dict=state["objective"],
        optim_state_dict=state["optimizer"],
        options=StateDictOptions(full_state_dict=True),
    )


def _unwrapped(module: Any, optimizer: Any) -> tuple[Any, Any]:
    """Without Fabric's wrappers: its module holds the original one besides, so that every name would be there twice."""
    return getattr(module, "_forward_module", module), getattr(optimizer, "optimizer", optimizer)
