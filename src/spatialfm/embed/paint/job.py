"""Tiles of whole images as a decoder predicts them, kept block by block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..._types import present
from ...models.encoder import takes_recipe
from ..run.engine import Job
from ..windows.pool import cut_windows
from ..windows.tiles import TileBlock, tile_starts
from .masks import draw_mask, generator_of

TOGETHER = "together"  # the markers that are predicted are hidden at once, and wholly


@dataclass(frozen=True)
class PaintJob(Job[TileBlock]):
    """Tiles beside each other, whose pixels are predicted from the tokens that are not hidden.

    Attributes
    ----------
    targets
        Places of the markers whose pixels are kept, among those that are read and, behind them, those without pixels.
    n_added
        Markers without pixels: their tokens are hidden in every tile.
    mode
        What is hidden: ``"together"``, all tokens of all targets at once; ``"marker"``, those of one target at a time;
        ``"independent"`` and ``"niche"`` as `draw_mask` has them.
    ratio, random_state
        Of `draw_mask`: shares, and the seed from which each tile draws by its place.
    stride
        Distance of one tile to the next in model pixels; the last ones end at the border.
    """

    targets: tuple[int, ...] = ()
    n_added: int = 0
    mode: str = TOGETHER
    ratio: tuple[float, float] = (0.6, 1.0)
    random_state: int = 0
    stride: int = 128

    unit = "tile"
    made_by = "sfm.tl.reconstruct or sfm.tl.impute_markers"
    block_side = 512

    @property
    def n_channels(self) -> int:
        """Markers that the model is given."""
        return len(self.mean) + self.n_added

    @property
    def n_tokens(self) -> int:
        """Tokens to a side of a tile."""
        return self.window // present(self.encoder.card.patch_size, "the patch size of a model with a decoder")

    @property
    def draws(self) -> bool:
        """Whether some tokens of a target are seen, so that what is hidden has to be known."""
        return self.mode in ("independent", "niche")

    def plan(self, side: int) -> list[TileBlock]:
        """Tiles by the square of `side` model pixels that they begin in."""
        blocks = []
        for number, reader in enumerate(self.readers):
            axes = [tile_starts(size, self.window, self.stride) for size in reader.shape]
            parts = [np.split(starts, np.flatnonzero(np.diff(starts // side)) + 1) for starts in axes]
            for ys in parts[0]:
                for xs in parts[1]:
                    starts = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1).reshape(-1, 2)
                    (y0, x0), (y1, x1) = starts[0], starts[-1] + self.window
                    blocks.append(TileBlock(number, starts, len(starts), int(y0), int(y1), int(x0), int(x1)))
        return blocks

    def encode_block(
        self,
        block: TileBlock,
        pixels: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        advance: Callable[[int], object] = lambda n: None,
    ) -> dict[str, np.ndarray]:
        """Predicted pixels ``(tiles, targets, side, side)``, and where tokens are drawn, which of them were hidden."""
        device, n = self.encoder.device, self.n_tokens
        region = torch.from_numpy(pixels).to(device)
        painted = np.empty((len(block.starts), len(self.targets), self.window, self.window), np.float32)
        hidden = np.zeros((len(block.starts), len(self.targets), n, n), bool)
        with torch.inference_mode():
            for first in range(0, len(block.starts), batch_size):
                part = slice(first, first + batch_size)
                starts = block.starts[part]
                corners = torch.from_numpy(starts - (block.y0, block.x0)).to(device)
                windows = self.normalized(cut_windows(region, corners, self.window))
                for slots, masks in self.passes(block.sample, starts):
                    places = [self.targets[slot] for slot in slots]
                    painted[part, slots] = self.predict(windows, masks, places).float().cpu().numpy()
                    hidden[part, slots] = masks[:, places]
                advance(len(starts))
        where = np.array([f"at row {y}, column {x}" for y, x in block.starts])
        self.refuse_nan(painted.reshape(len(painted), -1), where, block.sample)
        return {"pixels": painted, **({"hidden": hidden} if self.draws else {})}

    def normalized(self, windows: torch.Tensor) -> torch.Tensor:
        """Scaled windows ``(B, M, side, side)`` as the model takes them, with zeros for markers without pixels."""
        how: dict[str, Any] = {"recipe": self.recipe} if takes_recipe(self.encoder) else {}
        seen = self.encoder.normalize(windows, self.mean, self.std, **how)
        if not self.n_added:
            return seen
        return torch.cat([seen, seen.new_zeros(len(seen), self.n_added, *seen.shape[2:])], dim=1)

    def passes(self, sample: int, starts: np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
        """For each time that the model looks at these tiles: targets by their number, and masks ``(B, C, h, w)``."""
        slots, n = list(range(len(self.targets))), self.n_tokens
        hidden = np.zeros((len(starts), self.n_channels, n, n), bool)
        hidden[:, len(self.mean) :] = True
        if self.mode == "marker":
            for slot, place in enumerate(self.targets):
                masks = hidden.copy()
                masks[:, place] = True
                yield [slot], masks
            return
        if self.mode == TOGETHER:
            hidden[:, list(self.targets)] = True
        else:
            name = self.readers[sample].name
            for mask, (y, x) in zip(hidden, starts, strict=True):
                mask |= draw_mask(
                    self.mode, mask.shape, self.ratio, generator_of(self.random_state, name, int(y), int(x))
                )
        yield slots, hidden

    def predict(self, windows: torch.Tensor, masks: np.ndarray, places: list[int]) -> torch.Tensor:
        """Pixels of some channels ``(B, k, side, side)`` of normalised windows."""
        hidden = torch.from_numpy(masks).to(windows.device)
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=self.autocast):
            if self._takes_channels:
                return self.module(windows, self.markers, hidden, channels=places)
            return self.module(windows, self.markers, hidden)[:, places]

    @cached_property
    def module(self) -> Callable:
        """What is called: the encoder's `reconstruct`, or its compiled form."""
        encoder: Any = self.encoder
        return torch.compile(encoder.reconstruct) if self.compile else encoder.reconstruct

    @cached_property
    def _takes_channels(self) -> bool:
        encoder: Any = self.encoder
        return "channels" in inspect.signature(encoder.reconstruct).parameters
