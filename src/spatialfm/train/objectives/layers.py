"""Learning rates by layer, and which weights decay, as DINOv2 trains vision transformers."""

from __future__ import annotations

from torch import nn

from ...models.vit import VisionTransformer
from .objective import Group


def layer_groups(encoder: nn.Module, head: nn.Module, *, layer_decay: float, patch_embed_scale: float) -> list[Group]:
    """Parameters in groups of one learning rate and weight decay.

    The last block, the head and the final norm have the full rate, each block before it `layer_decay` times that of
    the next; the embedding of patches, positions, CLS, registers and the mask token have the rate of a block before the
    first, the embedding times `patch_embed_scale`. Biases, norms and LayerScale do not decay. The prototypes are the
    last layer.

    Parameters
    ----------
    encoder
        Its `backbone` is a `spatialfm.models.vit.VisionTransformer`.
    head
        The head.
    layer_decay, patch_embed_scale
        See above.
    """
    backbone = encoder.get_submodule("backbone")
    if not isinstance(backbone, VisionTransformer):
        raise TypeError(f"layers of a {type(backbone).__name__} are not known")
    blocks = backbone.block_list()
    level = {id(parameter): i for i, block in enumerate(blocks, 1) for parameter in block.parameters()}
    level |= {id(parameter): len(blocks) + 1 for parameter in backbone.norm.parameters()}
    embedding = {id(parameter) for parameter in backbone.patch_embed.parameters()}

    groups: dict[tuple[float, bool, bool], dict[str, nn.Parameter]] = {}
    parts = [("encoder", encoder, True), ("head", head, False)]
    for prefix, module, of_backbone in parts:
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            scale = layer_decay ** (len(blocks) + 1 - level.get(id(parameter), 0)) if of_backbone else 1.0
            scale *= patch_embed_scale if id(parameter) in embedding else 1.0
            decays = not (name.endswith((".bias", ".gamma")) or "norm" in name)
            key = (scale, decays, name == "prototypes" and not of_backbone)
            groups.setdefault(key, {})[f"{prefix}.{name}"] = parameter
    return [
        Group(parameters, lr_scale=scale, decay=decays, last_layer=last)
        for (scale, decays, last), parameters in groups.items()
    ]
