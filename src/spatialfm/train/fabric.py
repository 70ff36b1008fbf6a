"""Lightning Fabric, which places modules on devices and joins several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._optional import need

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def new_fabric(devices: int | str = 1, nodes: int = 1, precision: str = "32-true", accelerator: str = "auto") -> Fabric:
    """A launched Fabric of so many devices a node."""
    need("lightning_fabric", "Training")
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, precision=precision)
    fabric.launch()
    return fabric
