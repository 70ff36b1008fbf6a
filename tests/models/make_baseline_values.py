"""Writes baseline_values.json: what other libraries compute with the stand-in weights of conftest.py.

Every part needs its own library, none of which the package or its tests ask for:

    pip install transformers          && python tests/models/make_baseline_values.py dinov2
    pip install "timm==1.0.31"        && python tests/models/make_baseline_values.py uni
    pip install "timm==0.9.7"         && python tests/models/make_baseline_values.py openphenom
    pip install torchvision           && python tests/models/make_baseline_values.py resnet50
    CHAMMI75=<checkout of CaicedoLab/CHAMMI-75> python tests/models/make_baseline_values.py morphem

OpenPhenom's parallel blocks are those of timm 0.9.7, which its authors pinned; later versions put the bias together in
another order. MorphEm's values are those of its authors' own network (MIT), at commit b84a4ec.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
FILE = HERE / "baseline_values.json"


def conftest():
    spec = importlib.util.spec_from_file_location("conftest", HERE / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensor(key: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(conftest().synthetic_input(key, *shape))


def stand_in(model: torch.nn.Module) -> None:
    """Fill a model; the seed of a tensor is its name in the published layout."""
    fill, state = conftest().fill, model.state_dict()
    made = {
        name: torch.from_numpy(fill(name, tuple(value.shape))) if value.is_floating_point() else value
        for name, value in state.items()
    }
    model.load_state_dict(made)
    model.eval()


def cut(tensor: torch.Tensor) -> list[float]:
    return [float(f"{value:.9g}") for value in tensor.flatten()[:8].tolist()]


def dinov2() -> dict:
    from transformers import Dinov2Config, Dinov2Model

    from spatialfm.models.vit import VisionTransformer, ViTConfig

    out = {}
    for ffn in ("mlp", "swiglu"):
        config = ViTConfig(dim=48, depth=3, heads=3, patch_size=14, grid=4, ffn=ffn)
        ours = VisionTransformer(config)
        stand_in(ours)
        theirs = Dinov2Model(
            Dinov2Config(
                hidden_size=48,
                num_hidden_layers=3,
                num_attention_heads=3,
                mlp_ratio=4,
                image_size=56,
                patch_size=14,
                use_swiglu_ffn=ffn == "swiglu",
            )
        )
        theirs.load_state_dict(to_transformers(ours.state_dict(), theirs.state_dict()))
        with torch.no_grad():
            tokens = theirs.eval()(tensor("dinov2", 2, 3, 56, 56)).last_hidden_state
        out[ffn] = {"cls": cut(tokens[1, 0]), "token": cut(tokens[1, 1 + 4 * 2 + 3])}
    return out | {"made_with": version("transformers")}


def to_transformers(ours: dict, theirs: dict) -> dict:
    out = {}
    for name in theirs:
        block = name.split(".")[2] if name.startswith("encoder.layer.") else ""
        part, kind = name.split(".")[-2:] if "." in name else ("", "")
        here = f"blocks.{block}."
        if part in ("q_proj", "k_proj", "v_proj"):
            out[name] = ours[f"{here}attn.qkv.{kind}"].chunk(3)[("q_proj", "k_proj", "v_proj").index(part)]
        elif part in ("gate_proj", "up_proj"):
            out[name] = ours[f"{here}mlp.w12.{kind}"].chunk(2)[("gate_proj", "up_proj").index(part)]
        elif block:
            table = {"o_proj": "attn.proj", "down_proj": "mlp.w3", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
            table |= {"norm1": "norm1", "norm2": "norm2", "layer_scale1": "ls1", "layer_scale2": "ls2"}
            out[name] = ours[f"{here}{table[part]}.{kind.replace('lambda1', 'gamma')}"]
        else:
            table = {"cls_token": "cls_token", "mask_token": "mask_token", "position_embeddings": "pos_embed"}
            plain = table.get(kind) or {"projection": "patch_embed.proj", "layernorm": "norm"}[part] + f".{kind}"
            out[name] = ours[plain]
    return out


def uni() -> dict:
    from timm.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        img_size=48,
        patch_size=16,
        embed_dim=48,
        depth=3,
        num_heads=3,
        init_values=1e-5,
        num_classes=0,
        dynamic_img_size=True,
    )
    stand_in(model)
    with torch.no_grad():
        tokens = model.forward_features(tensor("uni", 2, 3, 64, 80))
    values = {"cls": cut(tokens[1, 0]), "token": cut(tokens[1, 1 + 5 * 2 + 4])}
    return values | {"names": sorted(model.state_dict()), "made_with": version("timm")}


def openphenom() -> dict:
    import timm.models.vision_transformer as vit

    model = vit.VisionTransformer(
        img_size=256,
        in_chans=1,
        embed_dim=384,
        depth=2,
        num_heads=6,
        num_classes=0,
        global_pool="avg",
        init_values=1e-4,
        qkv_bias=False,
        qk_norm=True,
        block_fn=vit.ParallelScalingBlock,
    )
    stand_in(model)
    side, n_channels = 3, 2
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    frequency = 1 / 10000 ** (torch.arange(96) / 96)
    angles = [place.reshape(-1, 1) * frequency for place in (rows, columns)]
    positions = torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)
    pixels = tensor("openphenom", 2, n_channels, 48, 48).abs() * 100
    pixels = torch.nn.InstanceNorm2d(n_channels)(pixels / 255)
    with torch.no_grad():
        patches = [model.patch_embed.proj(pixels[:, [i]]).flatten(2).transpose(1, 2) for i in range(n_channels)]
        tokens = [patch + positions for patch in patches]
        x = model.blocks(torch.cat([model.cls_token.expand(2, -1, -1), *tokens], dim=1))
    last = x[1, 1 + side**2 :]
    values = {"token": cut(last[5]), "marker": cut(last.mean(0)), "patch": cut(x[1, 1:].mean(0))}
    return values | {"names": sorted(model.state_dict()), "made_with": version("timm")}


def resnet50() -> dict:
    from torchvision.models import resnet50 as build

    model = build()
    model.fc = torch.nn.Identity()
    stand_in(model)
    with torch.no_grad():
        features = model(tensor("resnet50", 2, 1, 64, 48).expand(-1, 3, -1, -1))
    return {
        "marker": cut(features[1]),
        "norm": float(features[1].norm()),
        "names": sorted(model.state_dict()),
        "made_with": version("torchvision"),
    }


def morphem() -> dict:
    sys.path.insert(0, os.path.join(os.environ["CHAMMI75"], "benchmarks", "feat_models"))
    from vision_transformer import vit_small

    model = vit_small()
    stand_in(model)
    pixels = tensor("morphem", 2, 2, 80, 64).abs() * 60
    out = []
    for channel in range(2):
        one = torch.nn.InstanceNorm2d(1, affine=False, track_running_stats=False, eps=1e-7)(pixels[:, [channel]])
        one = torch.nn.functional.interpolate(one, (224, 224), mode="bilinear", align_corners=False, antialias=True)
        with torch.no_grad():
            out.append(model.forward_features(one)["x_norm_clstoken"])
    names = sorted(model.state_dict())
    return {
        "marker": cut(out[1][1]),
        "norm": float(out[1][1].norm()),
        "names": names,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "made_with": f"CHAMMI-75 b84a4ec, torch {torch.__version__}",
    }


def version(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}, torch {torch.__version__}"


if __name__ == "__main__":
    part = sys.argv[1]
    values = json.loads(FILE.read_text()) if FILE.is_file() else {}
    parts = {"dinov2": dinov2, "uni": uni, "openphenom": openphenom, "resnet50": resnet50, "morphem": morphem}
    values[part] = parts[part]()
    FILE.write_text(json.dumps(dict(sorted(values.items())), indent=1) + "\n")
