"""VirTues' masked autoencoder: pixels from the tokens that are seen.

Wenckstern et al. 2026, arXiv:2501.06039; defaults are those of the released code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..._errors import ArgumentError, ModelError
from ..._ranges import above, at_least, between
from ...embed.paint.masks import MODES, draw_mask
from ...models.encoder import Encoder
from ..batch import WindowSample
from .correlation import PREFIX, added, correlations, moments
from .objective import Group, Objective, Schedule, Term, Views
from .registry import register_objective
from .schedules import warm_cosine_from_zero

Mode = Literal["independent", "niche", "marker"]


class _HasPixels(Protocol):
    @property
    def pixels(self) -> Tensor: ...


_Seen = TypeVar("_Seen", bound=_HasPixels)


@dataclass(frozen=True)
class MaskedWindow:
    """A window, its hidden tokens ``(M, h, w)``, the seed of the masks it is validated with.

    Of a window with `summary_only`, the decoder is shown the summary tokens alone.
    """

    pixels: Tensor
    markers: Tensor
    names: tuple[str, ...]
    hidden: Tensor
    seed: int
    summary_only: bool = False


@dataclass(frozen=True)
class MaskedViews:
    """Draws the mask of a window."""

    patch_size: int
    shares: tuple[tuple[str, float], ...]
    ratio: tuple[float, float]
    summary_only: float = 0.0

    def __call__(self, window: WindowSample, rng: np.random.Generator) -> MaskedWindow:
        """Window and mask."""
        modes, shares = zip(*self.shares, strict=True)
        mode = modes[int(rng.choice(len(modes), p=shares))] if len(modes) > 1 else modes[0]
        n, height, width = window.pixels.shape
        if height % self.patch_size or width % self.patch_size:
            raise ModelError(
                f"A window of {height} x {width} pixels does not divide into patches of {self.patch_size} pixels. Pass "
                f"crop={height // self.patch_size * self.patch_size}."
            )
        if window.markers is None:
            raise ModelError("Objective 'masked' needs the markers of a window; the windows are of a model without.")
        grid = (n, height // self.patch_size, width // self.patch_size)
        hidden = torch.from_numpy(draw_mask(mode, grid, self.ratio, rng))
        seed = int(rng.integers(2**62))
        alone = bool(rng.random() < self.summary_only)  # drawn last: it changes none of the masks
        return MaskedWindow(window.pixels, window.markers, window.names, hidden, seed, alone)


class Warmed(Objective):
    """Base of objectives whose learning rate rises over a share of the steps: their groups, schedule and clipping."""

    learning_rate: float
    weight_decay: float
    warmup: float
    clip: float

    def groups(self) -> list[Group]:
        """Weights that decay, and biases and norms."""
        return decay_groups(self)

    def schedule(self, step: int, n_steps: int) -> Schedule:
        """A rate that rises linearly and falls along a cosine to 0."""
        lr = warm_cosine_from_zero(step, n_steps, math.ceil(self.warmup * n_steps), self.learning_rate)
        return Schedule(lr, self.weight_decay, lr)

    @property
    def clip_norm(self) -> float | None:
        """Of all weights together."""
        return self.clip


@register_objective("masked")
class Masked(Warmed):
    """The mean squared error of reconstructed pixels.

    Each channel of a window has a share of hidden tokens of its own, uniform between the ends of `ratio`. The error is
    that of all pixels, hidden and seen, of all channels of the batch, so that a window with many channels weighs more.

    Validation reports, besides the error, Pearson's correlation over the hidden pixels of all windows, for each marker
    and way of hiding: ``pearson/<mode>/<marker>``, and ``pearson/<mode>``, the mean over the markers.

    Parameters
    ----------
    encoder
        Encoder with a decoder, such as VirTues.
    mode
        What is hidden: ``"independent"``, each channel by itself; ``"niche"``, the same positions in all channels;
        ``"marker"``, one whole channel; or a dict of these with the share of the windows of each.
    ratio
        Smallest and largest share of hidden tokens.
    error
        Pixels that count: ``"all"``, or those of tokens that the decoder is not shown, ``"hidden"``. Each weighs alike,
        so that of mixed modes a window with one hidden marker has a small part in the second.
    summary_only
        Share of the windows of which the decoder is shown the summary tokens alone, so that these have to hold all
        markers (as Xiao et al. 2022, RetroMAE, train the embedding of a text). Published: 0; there,
        the decoder reads a channel that was seen from its own tokens, and summaries need hold of it what tells of other
        channels. Less than 1, so that the decoder learns to use tokens, too.
    learning_rate, weight_decay, warmup, clip
        Learning rate at its peak, weight decay (of neither biases nor norms), share of the steps over which the rate
        rises, largest norm of the gradient.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        mode: Mode | Mapping[str, float] = "independent",
        ratio: tuple[float, float] = (0.6, 1.0),
        error: Literal["all", "hidden"] = "all",
        summary_only: Annotated[float, between(0, 1)] = 0.0,
        learning_rate: Annotated[float, above(0)] = 2e-4,
        weight_decay: Annotated[float, at_least(0)] = 0.01,
        warmup: Annotated[float, between(0, 1)] = 0.1,
        clip: Annotated[float, above(0)] = 1.0,
    ) -> None:
        super().__init__()
        if not encoder.can_reconstruct:
            raise ModelError(
                f"Model {encoder.card.name!r} has no decoder, which objective 'masked' needs. Train one of VirTues, or "
                "choose another objective."
            )
        low, high = ratio
        if not 0 < low <= high <= 1:
            raise ArgumentError(f"ratio must be two shares between 0 and 1, the smaller one first, got {ratio}.")
        if summary_only == 1:
            raise ArgumentError(
                "summary_only=1 would leave a decoder that has never read the tokens it is shown in a reconstruction. "
                "Pass less, such as 0.9."
            )
        self.encoder, self.error, self.summary_only = encoder, error, summary_only
        self.shares, self.ratio = _shares(mode), (float(low), float(high))
        self.learning_rate, self.weight_decay, self.warmup, self.clip = learning_rate, weight_decay, warmup, clip

    def views(self) -> Views:
        """Draws masks."""
        return MaskedViews(self.encoder.config.patch_size, self.shares, self.ratio, self.summary_only)

    def forward(self, views: Sequence[MaskedWindow]) -> dict[str, Term]:
        """The squared error over the pixels of a batch, of any panels."""
        terms: dict[str, Term] = {}
        for members in alike(views):
            hidden, alone = torch.stack([one.hidden for one in members]), [one.summary_only for one in members]
            target, restored, pixels = self._restored(members, hidden, alone)
            terms = added(terms, self._squares(target, restored, pixels))
        return terms

    def validate(self, views: Sequence[MaskedWindow]) -> dict[str, Term]:
        """The error, and moments of pixels and their reconstruction for each marker and way of hiding."""
        with torch.inference_mode():
            terms = self.forward(views)
            for members in alike(views):
                for number, mode in enumerate(MODES):
                    hidden = torch.from_numpy(np.stack([self._mask(mode, number, one) for one in members]))
                    target, restored, pixels = self._restored(members, hidden)
                    for row, member in enumerate(members):
                        for channel, name in enumerate(member.names):
                            at = pixels[row, channel]
                            if at.any():
                                sums = moments(f"{mode}/{name}", target[row, channel][at], restored[row, channel][at])
                                terms = added(terms, sums)
        return terms

    def scores(self, means: Mapping[str, float]) -> dict[str, float]:
        """The error, and correlations by marker and way of hiding."""
        scores = {name: value for name, value in means.items() if not name.startswith(f"{PREFIX}/")}
        r_of_key = correlations(means)
        for mode in MODES:
            values = {name: r for name, r in r_of_key.items() if name.startswith(f"{mode}/")}
            if values:
                scores[f"pearson/{mode}"] = sum(values.values()) / len(values)
                scores |= {f"pearson/{name}": r for name, r in sorted(values.items())}
        return scores

    def _mask(self, mode: str, number: int, one: MaskedWindow) -> np.ndarray:
        n, height, width = one.hidden.shape
        return draw_mask(mode, (n, height, width), self.ratio, np.random.default_rng([one.seed, number]))

    def _restored(
        self, members: Sequence[MaskedWindow], hidden: Tensor, alone: Sequence[bool] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels, their reconstruction, and which of them the decoder was not shown, all ``(B, M, H, W)``."""
        encoder: Any = self.encoder
        device, size = encoder.device, encoder.config.patch_size
        pixels = torch.stack([one.pixels for one in members]).to(device)
        markers = torch.stack([one.markers for one in members]).to(device)
        hidden = hidden.to(device)
        if any(alone):
            withheld = hidden | torch.tensor(alone, device=device)[:, None, None, None]
            restored, hidden = encoder.reconstruct(pixels, markers, hidden, withheld=withheld), withheld
        else:
            restored = encoder.reconstruct(pixels, markers, hidden)
        return pixels, restored, hidden.repeat_interleave(size, -1).repeat_interleave(size, -2)

    def _squares(self, target: Tensor, restored: Tensor, hidden: Tensor) -> dict[str, Term]:
        squares = (restored.float() - target.float()).square()
        if self.error == "hidden":
            return {"error": Term((squares * hidden).sum(), int(hidden.sum()))}
        return {"error": Term(squares.sum(), squares.numel())}


def alike(views: Sequence[_Seen]) -> list[list[_Seen]]:
    """Windows of a batch in groups of one shape, which run together; nothing is padded."""
    by_shape: dict[tuple[int, ...], list[_Seen]] = {}
    for view in views:
        by_shape.setdefault(tuple(view.pixels.shape), []).append(view)
    return list(by_shape.values())


def decay_groups(module: nn.Module) -> list[Group]:
    """All parameters that want gradients: those whose weights decay, and biases and norms."""
    norms = {
        id(parameter)
        for one in module.modules()
        if isinstance(one, nn.LayerNorm | nn.modules.batchnorm._BatchNorm)
        for parameter in one.parameters()
    }
    parts: dict[bool, dict[str, nn.Parameter]] = {True: {}, False: {}}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = id(parameter) not in norms and name.rpartition(".")[2] not in ("bias", "gamma")
            parts[decays][name] = parameter
    return [Group(parameters, decay=decays) for decays, parameters in parts.items() if parameters]


def scaled_groups(module: nn.Module, prefix: str, lr_scale: float) -> list[Group]:
    """Those of `decay_groups`, parameters whose names begin with the prefix apart and with a rate of their own."""
    groups = []
    for group in decay_groups(module):
        for has_own in (False, True):
            chosen = {name: one for name, one in group.parameters.items() if name.startswith(prefix) == has_own}
            if chosen:
                groups.append(Group(chosen, lr_scale=lr_scale if has_own else 1.0, decay=group.decay))
    return groups


def _shares(mode: str | Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    shares = {mode: 1.0} if isinstance(mode, str) else {name: float(share) for name, share in mode.items()}
    if unknown := [name for name in shares if name not in MODES]:
        raise ArgumentError(f"mode has {unknown[0]!r}; there are: {', '.join(MODES)}.")
    if not shares or min(shares.values()) < 0 or not math.isclose(sum(shares.values()), 1.0, rel_tol=1e-9):
        raise ArgumentError(f"mode must have shares that add up to 1, got {shares}.")
    return tuple(shares.items())
