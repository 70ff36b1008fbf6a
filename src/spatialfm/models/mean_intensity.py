"""The plainest baseline: each marker's mean over the cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .card import ModelCard
from .classical import OF_NO_WEIGHTS, cell_pixels, checked, crop, masked_mean
from .encoder import Encoder, EncoderOutput, Weights
from .registry import register

MEAN_INTENSITY = ModelCard(
    name="mean-intensity",
    title="Mean intensity of each marker in a cell",
    reference='Baseline "mean marker expression" of Shaban et al. 2025, arXiv:2506.03373, Online Methods',
    size_free=True,
    **OF_NO_WEIGHTS,
)


@register(MEAN_INTENSITY)
class MeanIntensityEncoder(Encoder):
    """Mean of each marker over the cell, the plainest baseline (Online Methods of the KRONOS paper, "Baselines").

    Parameters
    ----------
    card, weights
        As `load` passes them.

    Examples
    --------
    >>> import torch
    >>> import spatialfm as sfm
    >>> encoder = sfm.models.load("mean-intensity")
    >>> encoder(torch.tensor([[[[1.0, 3.0, 8.0]]]]), mask=torch.tensor([[[True, True, False]]])).patch
    tensor([[2.]])
    """

    def __init__(self, card: ModelCard, weights: None = None) -> None:
        super().__init__()
        self.card, self.weights, self.options = card, Weights("none"), {}

    def forward(
        self,
        pixels: Tensor,
        markers: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Average cells.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``.
        markers
            Not used.
        mask
            ``(B, H, W)``, True in the cell; None: the whole window, as the paper does for patches. A cell without
            pixels gives zeros.
        outputs
            Outputs that are needed; there is but one.

        Returns
        -------
        `patch` ``(B, M)``.

        Raises
        ------
        ModelError
            If the mask does not fit the pixels, or there is no such output.
        """
        self.wanted(outputs)
        if mask is None:
            mask = torch.ones_like(pixels[:, 0], dtype=torch.bool)
        pixels, mask = checked(pixels, mask, self.card)
        values, valid = cell_pixels(*crop(pixels, mask))
        return EncoderOutput(patch=masked_mean(values, valid))

    def feature_names(self, markers: Sequence[str]) -> list[str]:
        """Columns of `patch`: the markers."""
        return list(markers)
