"""Weights that training starts from, as the publication of each family initialises them.

VirTues: Wenckstern et al. 2026, arXiv:2501.06039, as released. Vision transformers: Oquab et al. 2024 (DINOv2), whose
recipe KRONOS follows (Shaban et al. 2025, Supplementary Table S24).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Generator, Tensor, nn

from .hub import constants_of

Fill = Callable[[Tensor, Generator], object]


def fill_initial(module: nn.Module, linear: Fill, named: Mapping[str, Fill], seed: int = 0) -> None:
    """Fill a module on the meta device with initial weights; the same seed gives the same ones.

    Parameters
    ----------
    module
        The module. Its norms start as the identity, biases of linear layers at 0, convolutions as torch initialises
        them.
    linear
        Fills the matrix of a linear layer.
    named
        Fills a parameter by the last part of its name, before all else.
    seed
        Seed of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    owners = {
        f"{path}.{name}" if path else name: owner
        for path, owner in module.named_modules()
        for name, _ in owner.named_parameters(recurse=False)
    }
    tensors = constants_of(module)
    for name, parameter in module.named_parameters():
        tensor, last = torch.zeros(parameter.shape), name.rpartition(".")[2]
        if last in named:
            named[last](tensor, generator)
        elif isinstance(owners[name], nn.LayerNorm):
            tensor.fill_(float(last == "weight"))
        elif isinstance(owners[name], nn.Conv2d):
            _convolution(tensor, owners[name], generator)
        elif last == "weight":
            linear(tensor, generator)
        elif last != "bias":
            raise NotImplementedError(f"no initial value for {name}")
        tensors[name] = tensor
    module.load_state_dict(tensors, assign=True)


def virtues(module: nn.Module, dim: int, seed: int = 0) -> None:
    """Matrices by Glorot's normal rule; the two learned tokens normal with variance ``1 / dim``."""

    def token(tensor: Tensor, generator: Generator) -> None:
        tensor.normal_(0, dim**-0.5, generator=generator)

    def linear(tensor: Tensor, generator: Generator) -> None:
        nn.init.xavier_normal_(tensor, generator=generator)

    fill_initial(module, linear, {"patch_summary_token": token, "masked_token": token}, seed)


def transformer(module: nn.Module, seed: int = 0, layer_scale: float = 1e-5) -> None:
    """Matrices and positions truncated normal with deviation 0.02, CLS and registers almost 0, the mask token 0."""

    def narrow(tensor: Tensor, generator: Generator) -> None:
        nn.init.trunc_normal_(tensor, std=0.02, generator=generator)

    def almost_zero(tensor: Tensor, generator: Generator) -> None:
        tensor.normal_(0, 1e-6, generator=generator)

    named: dict[str, Fill] = {
        "pos_embed": narrow,
        "cls_token": almost_zero,
        "register_tokens": almost_zero,
        "mask_token": lambda tensor, _: tensor.zero_(),
        "mlp_bias": lambda tensor, _: tensor.zero_(),
        "gamma": lambda tensor, _: tensor.fill_(layer_scale),
    }
    fill_initial(module, narrow, named, seed)


def _convolution(tensor: Tensor, owner: nn.Module, generator: Generator) -> None:
    """Uniform up to ``1 / sqrt(inputs)``, weights and biases alike."""
    weight = owner.get_parameter("weight")
    bound = 1 / math.sqrt(weight[0].numel())
    tensor.uniform_(-bound, bound, generator=generator)
