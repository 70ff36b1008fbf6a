"""KRONOS: a vision transformer over the patches of every marker (Shaban et al. 2025, arXiv:2506.03373)."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .._errors import ModelError
from .._logging import logger
from . import hub, initial
from .card import ModelCard
from .encoder import Encoder, EncoderOutput, MarkerEntry
from .family import Family, add_family, shaped_card
from .recipe import Recipe
from .registry import register
from .saved import saved_in
from .vit import TrainingTokens, VisionTransformer, ViTConfig

N_MARKER_IDS = 512
METADATA_FILE = "marker_metadata.csv"

Blocks = Literal["released", "all"]

_SMALL = ViTConfig(dim=384, depth=12, heads=6, patch_size=16, grid=14, in_channels=1, registers=16, chunks=4)
_LARGE = ViTConfig(dim=1024, depth=24, heads=16, patch_size=16, grid=14, in_channels=1, registers=16, chunks=4)
_COMMON: dict[str, Any] = {
    "family": "kronos",
    "license": "CC-BY-NC-ND-4.0",
    "commercial": False,
    "gated": True,
    "reference": "Shaban et al. 2025, A Foundation Model for Spatial Proteomics, arXiv:2506.03373",
    "domains": ("fluorescence",),
    "trained_on": "SPM-47M: 47 million single-marker patches of 175 markers and 16 tissue types, imaged on eight "
    "fluorescence platforms at 0.37 to 0.5 µm per pixel (Supplementary Table S1)",
    "mpp": 0.5,
    "mpp_range": (0.37, 0.5),
    "recipe": Recipe(window=64, normalization="marker statistics", background="zero", token_window=256),
    "attention_head": 0,  # Online Methods, Model interpretability analysis
    "patch_size": 16,
    "marker_vocabulary": "ids",
    "outputs": ("patch", "marker", "token", "attention"),
    "default_output": "marker",
}
KRONOS = ModelCard(
    name="kronos",
    title="KRONOS ViT-S/16",
    parameters=21_484_800,
    embedding_dim=384,
    hub="MahmoodLab/KRONOS",
    weights_file="kronos_vits16_model.pt",
    **_COMMON,
)
KRONOS_LARGE = ModelCard(
    name="kronos-large",
    title="KRONOS ViT-L/16",
    parameters=302_843_904,
    embedding_dim=1024,
    hub=None,  # no public repository with this checkpoint is known to us
    weights_file="kronos_vitl16_model.pt",
    **_COMMON,
)
_CONFIGS = {"kronos": _SMALL, "kronos-large": _LARGE}


class KronosEncoder(Encoder):
    """KRONOS (Online Methods, "KRONOS modeling").

    One convolution embeds the patches of every marker; a token is that plus the sinusoidal row of its marker and the
    learned position. All tokens of all markers attend to each other, behind CLS and 16 registers.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the transformer.
    token_overlap
        Tokens every 8 pixels instead of every 16.
    blocks
        ``"released"``: the first block of each of the four chunks, as the published inference code runs; ``"all"``:
        every block in order. All blocks are loaded in either case.
    """

    marker_table: Tensor

    n_marker_ids = N_MARKER_IDS

    def __init__(
        self, card: ModelCard, config: ViTConfig, *, token_overlap: bool = False, blocks: Blocks = "released"
    ) -> None:
        super().__init__()
        self.config = config
        if token_overlap:
            config = ViTConfig(**{**vars(config), "stride": config.patch_size // 2})
        self.card = card
        self.options = {"token_overlap": token_overlap, "blocks": blocks}
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = VisionTransformer(config)
        step = 1 if blocks == "all" else config.depth // config.chunks
        self.executed = tuple(range(0, config.depth, step))
        self.register_buffer("marker_table", torch.from_numpy(sinusoidal_markers(config.dim)), persistent=False)

    @property
    def token_spacing(self) -> int:
        """Half a token where they overlap."""
        return self.backbone.config.stride or self.backbone.config.patch_size

    def transformer_blocks(self) -> list[nn.Module]:
        """Those that are executed."""
        blocks = self.backbone.block_list()
        return [blocks[i] for i in self.executed]

    def forward(
        self,
        pixels: Tensor,
        markers: Tensor | Sequence[int] | None = None,
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Encode windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, standardised by marker, zero outside the cell. H and W are 16 plus a multiple of 16
            (of 8 with token overlap).
        markers
            Marker ids ``(M,)``, 0 to 511, or ``(B, M)`` where windows have their own panels.
        mask
            Not used: the cell is masked in the pixels.
        outputs
            Outputs that are needed (default: all). With ``("patch",)`` the last block works for CLS alone.

        Returns
        -------
        `patch` ``(B, D)``, the CLS token; `marker` ``(B, M, D)``, the mean token of each marker; `token`
        ``(B, M, h, w, D)``; `attention` ``(B, M, heads)``, that of CLS to a marker, summed over its tokens (Online
        Methods, "Model interpretability analysis", where the first head is taken).

        Raises
        ------
        ModelError
            If ids and channels do not match, an id is out of range, or the window does not divide into patches.
        """
        wanted = self.wanted(outputs)
        x, grid = self._before_last(pixels, markers)
        attention = None
        if "attention" in wanted:
            attention = self._cls_attention(x, grid).sum((-2, -1)).transpose(1, 2)
            if wanted == {"attention"}:
                return EncoderOutput(attention=attention)
        of_tokens = wanted - {"patch", "attention"}
        x = self.backbone.norm(self.backbone.run(x, self.executed[-1:], first_only=not of_tokens))
        tokens = x[:, self.backbone.n_prefix :].unflatten(1, (pixels.shape[1], *grid)) if of_tokens else None
        return EncoderOutput(
            patch=x[:, 0] if "patch" in wanted else None,
            marker=tokens.mean((2, 3)) if tokens is not None and "marker" in wanted else None,
            token=tokens if "token" in wanted else None,
            attention=attention,
        )

    def attention(self, pixels: Tensor, markers: Tensor | Sequence[int]) -> Tensor:
        """Attention of CLS to every marker and position in the last executed block.

        Parameters
        ----------
        pixels, markers
            As in `forward`.

        Returns
        -------
        ``(B, heads, M, h, w)``, after the softmax over all tokens; what is missing to one went to CLS and registers.
        """
        return self._cls_attention(*self._before_last(pixels, markers))

    def features(
        self,
        pixels: Tensor,
        markers: Tensor | Sequence[int] | None = None,
        *,
        hidden: Tensor | None = None,
        gains: Tensor | None = None,
    ) -> TrainingTokens:
        """What self-distillation takes: all blocks run, whichever `blocks` is.

        Parameters
        ----------
        pixels, markers
            As in `forward`.
        hidden
            ``(B, h * w)``, True at positions where the mask token replaces the pixels, in all markers.
        gains
            ``(B, depth, 2)``, see `spatialfm.models.vit.VisionTransformer.run`.
        """
        x, _ = self._tokens(pixels, markers, hidden)
        x = self.backbone.norm(self.backbone.run(x, gains=gains))
        everywhere = None if hidden is None else hidden.repeat(1, pixels.shape[1])
        return TrainingTokens(x[:, 0], x[:, self.backbone.n_prefix :], everywhere)

    def _before_last(self, pixels: Tensor, markers: Tensor | Sequence[int] | None) -> tuple[Tensor, tuple[int, int]]:
        """What enters the last executed block, and the token grid."""
        x, grid = self._tokens(pixels, markers)
        return (self.backbone.run(x, self.executed[:-1]) if self.executed[:-1] else x), grid

    def _cls_attention(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        block = self.backbone.block_list()[self.executed[-1]]
        weights = block.attn.first_weights(block.norm1(x))
        return weights[..., self.backbone.n_prefix :].unflatten(-1, (-1, *grid))

    def _tokens(
        self, pixels: Tensor, markers: Tensor | Sequence[int] | None, hidden: Tensor | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        self.check_pixels(pixels)
        ids = self._ids(markers, *pixels.shape[:2])
        try:
            grid = self.backbone.token_grid(*pixels.shape[-2:])
        except ValueError as error:
            raise ModelError(f"Model {self.card.name!r}: {error}.") from error
        place = self.marker_table[ids].unsqueeze(-2) + self.backbone.positions(*grid)  # (M, h * w, D) or with B first
        tokens = self.backbone.patch_embed(pixels.flatten(0, 1)[:, None])
        tokens = tokens.unflatten(0, pixels.shape[:2])
        if hidden is not None:
            tokens = torch.where(hidden[:, None, :, None], self.backbone.mask_token.to(tokens.dtype), tokens)
        tokens = tokens + place
        return self.backbone.assemble(tokens.flatten(1, 2)), grid

    def _ids(self, markers: Tensor | Sequence[int] | None, n_windows: int, n_channels: int) -> Tensor:
        if markers is None:
            raise ModelError(f"Model {self.card.name!r} needs a marker id for each channel: pass markers=(M,).")
        ids = torch.as_tensor(markers)
        fits = tuple(ids.shape) in ((n_channels,), (n_windows, n_channels))
        if not fits or ids.is_floating_point() or ids.dtype == torch.bool:
            raise ModelError(
                f"Model {self.card.name!r} needs one integer marker id for each of {n_channels} channels, "
                f"got {tuple(ids.shape)} of {ids.dtype}."
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.n_marker_ids:
            raise ModelError(
                f"Model {self.card.name!r} has marker ids 0 to {self.n_marker_ids - 1}, got {low if low < 0 else high}."
            )
        return ids.to(self.marker_table.device, torch.long)


@register(KRONOS_LARGE)
@register(KRONOS)
def build_kronos(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    token_overlap: bool = False,
    blocks: Blocks | None = None,
    marker_metadata: str | os.PathLike | None = None,
) -> KronosEncoder:
    """Build a KRONOS encoder and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them.
    token_overlap
        See `KronosEncoder`.
    blocks
        See `KronosEncoder`; None: ``"released"`` for the published weights, and for those that were trained here the
        blocks that they were trained with.
    marker_metadata
        Table of marker ids and statistics (default: the one beside the weights).
    """
    saved, config = saved_in(card, weights), _CONFIGS[card.name]
    if saved is None:
        blocks = "released" if blocks is None else blocks
    else:
        card, config, blocks = saved.model_card(card), saved.config(config), saved.option("blocks", blocks, "all")
    encoder = KronosEncoder(card, config, token_overlap=token_overlap, blocks=blocks)
    metadata = None if marker_metadata is None else Path(marker_metadata).expanduser()
    if metadata is not None and not metadata.is_file():
        raise ModelError(f"No marker table {metadata}. Pass marker_metadata=<the {METADATA_FILE} of the weights>.")
    if weights == hub.RANDOM:
        encoder.weights = hub.fill_random(encoder.backbone, card)
    else:
        file = hub.locate(card, weights, companions=(METADATA_FILE,))
        encoder.weights = hub.fill(encoder.backbone, file, card)
        if saved is not None:
            saved.compare(encoder)
            encoder.card = shaped_card(card, encoder)
        metadata = metadata or file.companions.get(METADATA_FILE)
    if metadata is not None:
        encoder.vocabulary = read_marker_metadata(metadata)
    else:
        logger.info(
            "%s: no %s next to the weights, so no marker ids and statistics of the model; pass marker_metadata=<file>, "
            "or normalise by the cohort",
            card.name,
            METADATA_FILE,
        )
    return encoder


def _fits(config: ViTConfig) -> str | None:
    if config.dim % config.heads or config.dim % 2:
        return f"dim {config.dim} must be even, and a multiple of heads {config.heads}"
    if config.chunks < 1 or config.depth % config.chunks:
        return f"depth {config.depth} must be a multiple of chunks {config.chunks}"
    if KRONOS.recipe.window is not None and KRONOS.recipe.window % config.patch_size:
        return f"patch_size {config.patch_size} must divide {KRONOS.recipe.window}, the side of a cell's window"
    if config.in_channels != 1 or not config.mask_token or config.stride is not None:
        return "its convolution takes one channel, without overlap, and it has a mask token"
    return None


def _chunked(depth: int) -> dict[str, int]:
    return {"depth": depth, "chunks": next(n for n in (4, 3, 2, 1) if depth % n == 0)}


add_family(
    Family(
        configs=_CONFIGS,
        build=KronosEncoder,
        initialise=lambda encoder, seed: initial.transformer(encoder.get_submodule("backbone"), seed),
        fits=_fits,
        shorthands={"depth": _chunked},
        options=("blocks",),
        training={"blocks": "all"},
        objective="distill",
    )
)


def sinusoidal_markers(dim: int, n_ids: int = N_MARKER_IDS) -> np.ndarray:
    """Sinusoidal rows of all marker ids, ``(n_ids, dim)`` float32: sine half, then cosine half (Equation 2)."""
    frequency = 10000.0 ** (-2 * np.arange(dim // 2) / dim)
    angle = np.arange(n_ids)[:, None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def read_marker_metadata(path: str | os.PathLike, n_ids: int = N_MARKER_IDS) -> tuple[MarkerEntry, ...]:
    """Read the marker table that is published with the weights.

    Parameters
    ----------
    path
        CSV file with columns ``marker_name, marker_id, marker_mean, marker_std`` (statistics of pixels scaled to 0..1).
    n_ids
        Ids the model has.

    Raises
    ------
    ModelError
        If a column is missing, a name or an id comes twice, an id is out of range, or a statistic is not a number or a
        standard deviation not positive; with file and row.
    """
    columns = ("marker_name", "marker_id", "marker_mean", "marker_std")
    with Path(path).open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, skipinitialspace=True)
        fields = [name.strip() for name in reader.fieldnames or ()]
        if missing := [name for name in columns if name not in fields]:
            raise ModelError(
                f"Marker table {path} has no column {missing[0]!r}; found {', '.join(fields) or 'none'}. "
                f"Its columns must be {', '.join(columns)}."
            )
        reader.fieldnames = fields
        entries: list[MarkerEntry] = []
        for row in reader:
            entry = _marker_entry(row, f"Marker table {path}, line {reader.line_num}", n_ids)
            for other in entries:
                if entry.name == other.name or entry.id == other.id:
                    twice = f"name {entry.name!r}" if entry.name == other.name else f"id {entry.id} of {other.name!r}"
                    raise ModelError(f"Marker table {path}, line {reader.line_num}: {twice} comes twice.")
            entries.append(entry)
    if not entries:
        raise ModelError(f"Marker table {path} has no rows.")
    return tuple(entries)


def _marker_entry(row: dict[str, str | None], where: str, n_ids: int) -> MarkerEntry:
    name = (row["marker_name"] or "").strip()
    try:
        numbers = (row[f"marker_{what}"] or "" for what in ("id", "mean", "std"))
        entry = MarkerEntry(name, int(next(numbers)), float(next(numbers)), float(next(numbers)))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: an id or a statistic of marker {name!r} is not a number ({error}).") from error
    if not name:
        raise ModelError(f"{where}: the marker has no name.")
    if not 0 <= entry.id < n_ids:
        raise ModelError(f"{where}: id {entry.id} of marker {name!r} is out of range; ids run from 0 to {n_ids - 1}.")
    if not math.isfinite(entry.mean) or not math.isfinite(entry.std) or entry.std <= 0:
        raise ModelError(
            f"{where}: marker {name!r} has mean {entry.mean:g} and standard deviation {entry.std:g}; "
            "they must be finite, and the deviation positive."
        )
    return entry
