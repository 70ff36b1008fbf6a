"""Self-distillation without labels, as KRONOS was trained: DINOv2 on crops of multiplexed windows.

Shaban et al. 2025, arXiv:2506.03373, Online Methods and Supplementary Table S24; what they leave open is as in DINOv2
(Oquab et al. 2024, arXiv:2304.07193).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..._errors import ArgumentError, ModelError
from ..._ranges import above, at_least, between
from ...models.encoder import Encoder
from ...models.vit import TrainingTokens, VisionTransformer
from .crops import CroppedWindow, CropViews
from .head import DinoHead
from .layers import layer_groups
from .losses import (
    centred_targets,
    dino_loss,
    ibot_loss,
    koleo_loss,
    moved_centre,
    sinkhorn_targets,
    summed_over_processes,
    token_weights,
)
from .objective import Group, Objective, Schedule, Term, Views
from .registry import register_objective
from .schedules import warm_cosine

_REFERENCE_BATCH = 1024


class _Seen(NamedTuple):
    """What both networks make of a batch: CLS of all images, hidden tokens with their weights."""

    teacher: Tensor  # (2, N, D)
    student: Tensor  # (2, N, D)
    local: Tensor  # (n_local, N, D)
    teacher_tokens: Tensor  # (H, D)
    student_tokens: Tensor  # (H, D)
    weights: Tensor  # (H,)


@register_objective("distill")
class Distill(Objective):
    """A student learns from crops what its own moving average, the teacher, makes of other crops of the same window.

    Three terms: DINO (CLS of every crop against the teacher's CLS of the other global crops), iBOT (tokens that are
    hidden from the student, at the same positions in all markers, against the teacher's, which sees them) and KoLeo
    (CLS tokens of a batch keep apart). The teacher is the encoder that is saved. All blocks are run and trained.

    Differing from DINOv2, a window's crops, masks and dropped paths come from random numbers of its own: each global
    crop is masked with the probability `masked_share` and a ratio of its own, where DINOv2 spreads ratios evenly over
    the masked half of a batch. So a resumed run, and one of other processes, draws the same.

    Parameters
    ----------
    encoder
        KRONOS, or a model of the DINOv2 family, of any shape.
    global_size, local_size
        Sides of the crops in pixels. Default: the grid of the encoder's position table (224 for the published shape),
        and 3/7 of it (96).
    n_local
        Number of local crops.
    global_scale, local_scale
        Area of a crop over that of its window.
    masked_share, mask_ratio
        Share of global crops of which tokens are hidden, and share of the tokens then.
    targets
        Whether the teacher's logits are brought around a moving centre (``"centre"``) or shared out evenly over
        prototypes (``"sinkhorn"``).
    dino_weight, ibot_weight, koleo_weight
        Weights of the terms.
    prototypes, hidden, bottleneck
        Shape of the head, which DINO and iBOT share.
    student_temperature, teacher_temperature, warmup_teacher_temperature
        Of the softmax; the teacher's rises over `warmup_teacher` from the last to the second.
    momentum
        Of the teacher, which rises along a cosine to 1.
    centre_momentum
        Of the centre.
    learning_rate, min_learning_rate
        Learning rate at its peak and at the end. Default of the peak: 0.004 times the root of batch size over 1024.
    weight_decay, last_weight_decay
        At the start and at the end.
    warmup, warmup_teacher, freeze
        Shares of the steps: over which the learning rate rises; the teacher's temperature; in which the prototypes do
        not change (10, 30 and 1 of 100 epochs).
    drop_path
        Share of the branches of blocks that are left out of the student.
    layer_decay, patch_embed_scale
        Learning rate of a block over that of the next, and of the embedding of patches besides.
    clip
        Largest norm of the gradient of the encoder, and of that of the head.
    random_state
        Seed of the head's initial weights.
    """

    centre: Tensor
    token_centre: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        global_size: Annotated[int, at_least(1)] | None = None,
        local_size: Annotated[int, at_least(1)] | None = None,
        n_local: Annotated[int, at_least(0)] = 8,
        global_scale: tuple[float, float] = (0.48, 1.0),
        local_scale: tuple[float, float] = (0.16, 0.48),
        masked_share: Annotated[float, between(0, 1)] = 0.5,
        mask_ratio: tuple[float, float] = (0.1, 0.5),
        targets: Literal["centre", "sinkhorn"] = "centre",
        dino_weight: Annotated[float, at_least(0)] = 1.0,
        ibot_weight: Annotated[float, at_least(0)] = 1.0,
        koleo_weight: Annotated[float, at_least(0)] = 0.1,
        prototypes: Annotated[int, at_least(2)] = 65_536,
        hidden: Annotated[int, at_least(1)] = 2048,
        bottleneck: Annotated[int, at_least(1)] = 256,
        student_temperature: Annotated[float, above(0)] = 0.1,
        teacher_temperature: Annotated[float, above(0)] = 0.07,
        warmup_teacher_temperature: Annotated[float, above(0)] = 0.04,
        momentum: Annotated[float, between(0, 1)] = 0.992,
        centre_momentum: Annotated[float, between(0, 1)] = 0.9,
        learning_rate: Annotated[float, above(0)] | None = None,
        min_learning_rate: Annotated[float, at_least(0)] = 1e-6,
        weight_decay: Annotated[float, at_least(0)] = 0.04,
        last_weight_decay: Annotated[float, at_least(0)] = 0.4,
        warmup: Annotated[float, between(0, 1)] = 0.1,
        warmup_teacher: Annotated[float, between(0, 1)] = 0.3,
        freeze: Annotated[float, between(0, 1)] = 0.01,
        drop_path: Annotated[float, between(0, 1)] = 0.3,
        layer_decay: Annotated[float, above(0)] = 0.9,
        patch_embed_scale: Annotated[float, above(0)] = 0.2,
        clip: Annotated[float, above(0)] = 3.0,
        random_state: int = 0,
    ) -> None:
        super().__init__()
        backbone = _transformer(encoder)
        self.encoder, self.student_temperature = encoder, student_temperature
        self.targets, self.clip = targets, clip
        self.of_batch = ("koleo",) if targets == "centre" else ("koleo", "dino_global", "dino_local", "ibot")
        self.weights = {"dino": dino_weight, "ibot": ibot_weight, "koleo": koleo_weight}
        self.momentum, self.centre_momentum = momentum, centre_momentum
        self.temperatures, self.warmup_teacher = (warmup_teacher_temperature, teacher_temperature), warmup_teacher
        self.learning_rate, self.min_learning_rate = learning_rate, min_learning_rate
        self.warmup, self.freeze = warmup, freeze
        self.weight_decays, self.layer_decay = (weight_decay, last_weight_decay), layer_decay
        self.patch_embed_scale = patch_embed_scale
        sizes = _sizes(backbone, global_size, local_size)
        self.crops = CropViews(
            patch_size=backbone.config.patch_size,
            depth=backbone.config.depth,
            global_size=sizes[0],
            local_size=sizes[1],
            n_local=n_local,
            global_scale=_range("global_scale", global_scale),
            local_scale=_range("local_scale", local_scale),
            masked_share=masked_share,
            mask_ratio=_range("mask_ratio", mask_ratio),
            drop_path=_below_one(drop_path),
        )
        self.head = DinoHead(backbone.config.dim, hidden, bottleneck, prototypes, random_state)
        self.teacher = deepcopy(encoder).eval().requires_grad_(False)
        self.teacher_head = deepcopy(self.head).eval().requires_grad_(False)
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("token_centre", torch.zeros(prototypes))
        self.temperature = warmup_teacher_temperature
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def train(self, mode: bool = True) -> Distill:
        """The student trains; the teacher never does."""
        super().train(mode)
        self.teacher.eval()
        self.teacher_head.eval()
        return self

    def views(self) -> Views:
        """Cuts crops."""
        return self.crops

    def forward(self, views: Sequence[CroppedWindow]) -> dict[str, Term]:
        """DINO of local and global crops, iBOT and KoLeo; and the teacher's logits are summed for its centres."""
        return self._terms(views, summing=self.training)

    def validate(self, views: Sequence[CroppedWindow]) -> dict[str, Term]:
        """The same terms; centres stay as they are."""
        with torch.no_grad():
            return self._terms(views, summing=False)

    def groups(self) -> list[Group]:
        """By layer, see `spatialfm.train.objectives.layers.layer_groups`."""
        return layer_groups(
            self.encoder, self.head, layer_decay=self.layer_decay, patch_embed_scale=self.patch_embed_scale
        )

    def schedule(self, step: int, n_steps: int) -> Schedule:
        """Learning rate, weight decay, momentum and temperature of the teacher."""
        peak = self.learning_rate or 0.004 * math.sqrt((self.batch_size or _REFERENCE_BATCH) / _REFERENCE_BATCH)
        lr = warm_cosine(step, n_steps, round(self.warmup * n_steps), 0.0, peak, min(self.min_learning_rate, peak))
        first, last = self.temperatures
        n_warm = round(self.warmup_teacher * n_steps)
        return Schedule(
            lr=lr,
            weight_decay=warm_cosine(step, n_steps, 0, 0.0, *self.weight_decays),
            last_layer_lr=0.0 if step < math.ceil(self.freeze * n_steps) else lr,
            extra={
                "teacher_momentum": warm_cosine(step, n_steps, 0, 0.0, self.momentum, 1.0),
                "teacher_temperature": warm_cosine(step, n_warm, n_warm, first, last, last),
            },
        )

    def before_step(self, schedule: Schedule) -> None:
        """The teacher's temperature."""
        self.temperature = schedule.extra["teacher_temperature"]

    @torch.no_grad()
    def after_step(self, schedule: Schedule) -> None:
        """The teacher moves towards the student, and its centres towards the logits of the batch."""
        momentum = schedule.extra["teacher_momentum"]
        pairs = ((self.encoder, self.teacher), (self.head, self.teacher_head))
        for student, teacher in pairs:
            averages: list[Tensor] = list(teacher.parameters())
            weights: list[Tensor] = list(student.parameters())
            torch._foreach_mul_(averages, momentum)
            torch._foreach_add_(averages, weights, alpha=1 - momentum)
        for name, (total, count) in sorted(self._sums.items()):
            both = summed_over_processes(torch.cat([total, total.new_tensor([float(count)])]))
            if both[-1] > 0:
                centre = getattr(self, name)
                centre.copy_(moved_centre(centre, both[:-1], both[-1], self.centre_momentum))
        self._sums = {}

    @property
    def clip_norm(self) -> float | None:
        """Of the encoder and of the head, each."""
        return self.clip

    def clip_parts(self) -> list[list[nn.Parameter]]:
        """The encoder, and the head."""
        return [list(self.encoder.parameters()), list(self.head.parameters())]

    def result(self) -> Encoder:
        """The teacher, with the vocabulary of the student."""
        self.teacher.vocabulary = self.encoder.vocabulary
        return self.teacher

    def _terms(self, views: Sequence[CroppedWindow], summing: bool) -> dict[str, Term]:
        seen = self._seen(views)
        with torch.no_grad():
            logits = self.teacher_head(seen.teacher.flatten(0, 1))
            token_logits = self.teacher_head(seen.teacher_tokens)
            targets = self._targets(logits, self.centre).unflatten(0, seen.teacher.shape[:2])
            token_targets = self._targets(token_logits, self.token_centre)
            if summing:
                self._sum("centre", logits)
                self._sum("token_centre", token_logits)
        n_images, n_local = seen.student.shape[1], len(seen.local)
        student = self.head(seen.student.flatten(0, 1)).unflatten(0, (2, n_images))
        tokens = self.head(seen.student_tokens)
        temperature, weights, n_pairs = self.student_temperature, self.weights, 2 + 2 * n_local
        across = sum(dino_loss(student[i : i + 1], targets[1 - i : 2 - i], temperature) for i in range(2))
        terms = {
            "dino_global": Term(torch.as_tensor(across), 2 * n_images, weights["dino"] * 2 / n_pairs),
            "ibot": Term(ibot_loss(tokens, token_targets, seen.weights, temperature), 2 * n_images, weights["ibot"]),
        }
        if n_local:
            local = self.head(seen.local.flatten(0, 1)).unflatten(0, (n_local, n_images))
            total = dino_loss(local, targets, temperature)
            terms["dino_local"] = Term(total, 2 * n_local * n_images, weights["dino"] * 2 * n_local / n_pairs)
        if weights["koleo"]:
            apart = koleo_loss(seen.student[0]) + koleo_loss(seen.student[1])  # never two crops of one image
            terms["koleo"] = Term(apart, n_images, weights["koleo"])
        return terms

    def _targets(self, logits: Tensor, centre: Tensor) -> Tensor:
        if self.targets == "sinkhorn":
            return sinkhorn_targets(logits, self.temperature)
        return centred_targets(logits, centre, self.temperature)

    def _sum(self, name: str, logits: Tensor) -> None:
        total, count = self._sums.get(name, (torch.zeros_like(self.centre), 0))
        self._sums[name] = (total + logits.float().sum(0), count + len(logits))

    def _seen(self, views: Sequence[CroppedWindow]) -> _Seen:
        """Both networks on a batch; windows of different numbers of markers run one number after the other."""
        groups: dict[int, list[CroppedWindow]] = {}
        for view in views:
            groups.setdefault(view.crops.shape[1], []).append(view)
        return _Seen(
            *(
                torch.cat(parts, dim)
                for parts, dim in zip(
                    zip(*map(self._seen_alike, groups.values()), strict=True), (1, 1, 1, 0, 0, 0), strict=True
                )
            )
        )

    def _seen_alike(self, views: Sequence[CroppedWindow]) -> _Seen:
        device = self.encoder.device

        def every(name: str) -> Tensor:  # crop by crop, all windows of each
            return torch.stack([getattr(view, name) for view in views], dim=1).flatten(0, 1).to(device)

        hidden, markers = every("hidden"), _markers(views, device)
        gains = torch.stack([view.gains for view in views], dim=1)  # (crops, windows, depth, 2)
        student, teacher, crops, n_local = self.encoder, self.teacher, every("crops"), len(views[0].local)
        with torch.no_grad():
            wanted = _features(teacher, crops, _times(markers, 2))  # the teacher sees all
        features = _features(
            student, crops, _times(markers, 2), hidden=hidden, gains=gains[:2].flatten(0, 1).to(device)
        )
        if n_local:
            of_local = gains[2:].flatten(0, 1).to(device)
            local = _features(student, every("local"), _times(markers, n_local), gains=of_local).cls
            local = local.unflatten(0, (n_local, -1))
        else:
            local = features.cls.new_zeros(0, len(features.cls) // 2, features.cls.shape[-1])
        at = features.hidden
        if at is None:
            raise ModelError(f"features() of model {student.card.name!r} gave no hidden tokens.")
        unmasked = wanted.tokens[at]
        return _Seen(
            wanted.cls.unflatten(0, (2, -1)),
            features.cls.unflatten(0, (2, -1)),
            local,
            unmasked,
            features.tokens[at],
            token_weights(at),
        )


def _features(encoder: Encoder, pixels: Tensor, markers: Tensor | None, **more: Any) -> TrainingTokens:
    features: Any = encoder.features  # checked where the objective is made
    return features(pixels, markers, **more)


def _markers(views: Sequence[CroppedWindow], device: torch.device) -> Tensor | None:
    markers = [view.markers for view in views if view.markers is not None]
    return torch.stack(markers).to(device) if markers else None


def _times(markers: Tensor | None, n: int) -> Tensor | None:
    return None if markers is None else markers.repeat(n, 1)


def _transformer(encoder: Encoder) -> VisionTransformer:
    backbone = getattr(encoder, "backbone", None)
    if not isinstance(backbone, VisionTransformer) or not callable(getattr(encoder, "features", None)):
        raise ModelError(
            f"Model {encoder.card.name!r} is not a vision transformer with CLS and mask token, which objective "
            "'distill' needs. Train KRONOS or one of the DINOv2 family, or choose another objective."
        )
    if not backbone.config.mask_token:
        raise ModelError(f"Model {encoder.card.name!r} has no mask token. Objective 'distill' needs one.")
    if encoder.options.get("blocks", "all") != "all":
        raise ModelError(
            f"Model {encoder.card.name!r} was loaded with the blocks of its published code alone; all are trained. "
            f'Load it with sfm.models.load({encoder.card.name!r}, blocks="all").'
        )
    return backbone


def _sizes(backbone: VisionTransformer, global_size: int | None, local_size: int | None) -> tuple[int, int]:
    patch, grid = backbone.config.patch_size, backbone.config.grid
    sizes = {
        "global_size": grid * patch if global_size is None else global_size,
        "local_size": max(1, round(grid * 3 / 7)) * patch if local_size is None else local_size,
    }
    for name, size in sizes.items():
        if size % patch:
            raise ArgumentError(f"{name} must be a multiple of the patch size {patch}, got {size}.")
    return sizes["global_size"], sizes["local_size"]


def _range(name: str, ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    if not 0 < low <= high <= 1:
        raise ArgumentError(f"{name} must be two shares between 0 and 1, the smaller one first, got {ends}.")
    return float(low), float(high)


def _below_one(drop_path: float) -> float:
    if drop_path >= 1:
        raise ArgumentError(f"drop_path must be below 1, got {drop_path}.")
    return drop_path
