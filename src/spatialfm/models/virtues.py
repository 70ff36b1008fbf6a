"""VirTues: a masked autoencoder with factorised attention over markers and positions.

Wenckstern et al. 2026, arXiv:2501.06039.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Literal

import torch
from torch import Tensor, nn

from .._errors import ModelError
from . import hub, initial
from .card import ModelCard
from .encoder import Encoder, EncoderOutput
from .family import Family, add_family, shaped_card
from .registry import register
from .saved import saved_in
from .virtues_attention import VirTuesAttention, importance_of_heads, marker_importance
from .virtues_blocks import VirTuesConfig, VirTuesNet, VisibleTokens
from .virtues_cards import VIRTUES, VIRTUES_IMC14, VIRTUES_SP32
from .virtues_inputs import checked, fits
from .virtues_tissue import OUTPUTS, ChannelSummaries, read_tissue


class VirTuesEncoder(Encoder):
    """VirTues (Methods, "VirTues architecture").

    Every 8 x 8 patch of every marker is a token, to which the projected protein embedding of the marker is added; each
    position has a summary token besides. Blocks attend in turn among the positions of a channel and among the channels
    of a position.

    Parameters
    ----------
    card
        Its card.
    config
        Shape of the network.
    nuclear
        How `spatialfm.tl.embed_cells` takes stains of DNA, see `build_virtues`.
    """

    def __init__(
        self,
        card: ModelCard,
        config: VirTuesConfig | None = None,
        *,
        nuclear: Literal["histone"] | None = None,
    ) -> None:
        super().__init__()
        self.card, self.nuclear = card, nuclear
        self.options = {"nuclear": nuclear}
        self.config = config or VirTuesConfig()
        self.channel_summaries: ChannelSummaries | None = None
        with torch.device("meta"):  # the weights come next, so none are made up here
            self.backbone = VirTuesNet(self.config)

    @property
    def marker_dim(self) -> int:
        """Width of the protein embedding of a marker."""
        return self.backbone.config.marker_dim

    def transformer_blocks(self) -> list[nn.Module]:
        """Those of the encoder; the decoder takes no part in an embedding."""
        return list(self.backbone.encoder.blocks())

    def add_channel_summaries(self, seed: int = 0) -> ChannelSummaries:
        """Give every channel a token that a label of the tissue is read from; `forward` then tells of these alone.

        Afterwards `patch` is the encoded channel-summary token of the patch summaries ``(B, D)``; `summary`
        ``(B, h, w, 1)`` its attention to their positions, 1 for the average one; `token` ``(B, M, h, w, 1)`` that of
        the token of each marker to the positions of the marker; and `marker` ``(B, M, 1)`` the mean of it.

        Raises
        ------
        ModelError
            If there are fewer than two spatial attention layers.
        """
        if self.config.encoder.count("h") < 2:
            raise ModelError(
                f"Model {self.card.name!r} has {self.config.encoder.count('h')} spatial attention layers, and what it "
                "looks at in a tissue is read in the last but one. Pass a deeper network."
            )
        self.channel_summaries = ChannelSummaries(self.config.dim, seed)
        self.options = {**self.options, "reads": "channel-summary tokens"}
        title = f"{self.card.title}: attention of channel-summary tokens"
        self.card = replace(
            self.card, title=title, outputs=OUTPUTS, default_output="summary", embedding_dim=1, attention_head=None
        )
        return self.channel_summaries

    def forward(
        self,
        pixels: Tensor,
        markers: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        token_mask: Tensor | None = None,
        outputs: Sequence[str] | None = None,
    ) -> EncoderOutput:
        """Encode windows.

        Parameters
        ----------
        pixels
            ``(B, M, H, W)``, clipped, log-transformed, standardised and blurred (Methods, "Dataset preprocessing"). H
            and W are multiples of 8.
        markers
            Protein embeddings ``(M, 640)`` (ESM-2 ``esm2_t30_150M_UR50D``, mean over the residues), or ``(B, M, 640)``
            where windows have their own panels.
        mask
            Not used: the surroundings of a cell stay.
        token_mask
            ``(B, M, h, w)``, True for hidden tokens; pixels under them are not looked at. To hide a marker, hide all of
            its tokens.
        outputs
            Outputs that are needed (default: all). Without `marker` and `token` the last block works for the summary
            tokens alone.

        Returns
        -------
        `summary` ``(B, h, w, D)``, the patch summary tokens; `patch` ``(B, D)``, their mean, which is the niche
        representation of the Methods; `token` ``(B, M, h, w, D)``; `marker` ``(B, M, D)``, the mean of a marker's
        visible tokens; `attention` ``(B, M, heads)``, what each head adds to the importance of a marker.

        Raises
        ------
        ModelError
            If embeddings, mask and channels do not match, or the window does not divide into patches.
        """
        wanted = self.wanted(outputs)
        if self.channel_summaries is not None:
            return self._tissue(wanted, *self._inputs(pixels, markers, token_mask))
        tokens, grid = self.backbone.encoder.embed(*self._inputs(pixels, markers, token_mask))
        attention = self._importance(tokens, grid) if "attention" in wanted else None
        if wanted == {"attention"}:
            return EncoderOutput(attention=attention)
        out = self.backbone.encoder.run(tokens, grid, summary_only=not wanted & {"marker", "token"})
        summary, token = out[:, 0], out[:, 1:]
        shape = (grid.height, grid.width)
        return EncoderOutput(
            patch=summary.mean(1) if "patch" in wanted else None,
            marker=_mean_visible(token, grid) if "marker" in wanted else None,
            token=token.unflatten(2, shape) if "token" in wanted else None,
            summary=summary.unflatten(1, shape) if "summary" in wanted else None,
            attention=attention,
        )

    def encode_samples(
        self,
        pixels: Sequence[Tensor],
        markers: Sequence[Tensor],
        token_masks: Sequence[Tensor | None] | None = None,
        *,
        outputs: Sequence[str] | None = None,
    ) -> list[EncoderOutput]:
        """Encode samples with different panels.

        Samples with the same number of markers and the same size run as one batch, for any panels; nothing is
        padded, so that each gives what it gives alone.

        Parameters
        ----------
        pixels
            One ``(M, H, W)`` a sample.
        markers
            One ``(M, 640)`` a sample.
        token_masks
            One ``(M, h, w)`` a sample, None for a sample without hidden tokens.
        outputs
            As in `forward`.

        Returns
        -------
        One output a sample, as `forward` gives for a batch of one.

        Raises
        ------
        ModelError
            If the lists are not equally long, or a sample does not fit.
        """
        masks = [None] * len(pixels) if token_masks is None else token_masks
        results: dict[int, EncoderOutput] = {}
        for members in self._batches(pixels, markers, masks):
            hidden = [mask for i in members if (mask := masks[i]) is not None]
            out = self.forward(
                torch.stack([pixels[i] for i in members]),
                torch.stack([markers[i] for i in members]),
                token_mask=torch.stack(hidden) if hidden else None,
                outputs=outputs,
            )
            values = {field.name: getattr(out, field.name) for field in fields(out)}
            for row, i in enumerate(members):
                results[i] = EncoderOutput(**{k: None if v is None else v[row : row + 1] for k, v in values.items()})
        return [results[i] for i in range(len(pixels))]

    def reconstruct(
        self,
        pixels: Tensor,
        markers: Tensor,
        mask: Tensor | None = None,
        *,
        channels: Sequence[int] | None = None,
        withheld: Tensor | None = None,
    ) -> Tensor:
        """Pixels as the decoder predicts them from the visible tokens (Methods, "VirTues Decoder").

        Parameters
        ----------
        pixels, markers
            As in `forward`. A marker that was not measured can be predicted: give it any pixels and hide its tokens.
        mask
            ``(B, M, h, w)``, True for hidden tokens; None: nothing is hidden.
        channels
            Channels to predict, by their places (default: all). The decoder looks at one at a time, so that others
            need not be worked out.
        withheld
            ``(B, M, h, w)``, True for tokens that the decoder is shown as hidden ones, though the encoder saw them:
            it has to read their pixels from the summary tokens. None: no others than those of `mask`.

        Returns
        -------
        ``(B, M, H, W)``, or as many as `channels`, in the units of the input, hidden and visible patches alike.

        Raises
        ------
        ModelError
            As `forward`.
        """
        tokens, grid = self.backbone.encoder.embed(*self._inputs(pixels, markers, mask))
        encoded = self.backbone.encoder.run(tokens, grid)
        if withheld is not None:
            _, vectors, _ = self._inputs(pixels, markers, withheld)
            encoded = self.backbone.encoder.without(encoded, vectors, withheld.to(encoded.device))
        if channels is not None:
            encoded = encoded[:, [0, *(place + 1 for place in channels)]]
        return self.backbone.decoder(encoded, grid.height, grid.width)

    def summaries(self, pixels: Tensor, markers: Tensor, after: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """Summary tokens ``(B, D, h, w)`` at the end, and after some blocks, counted from 1 (`after`, ascending)."""
        tokens, grid = self.backbone.encoder.embed(*self._inputs(pixels, markers, None))
        last, earlier = self.backbone.encoder.summaries(tokens, grid, after)
        shape = (grid.height, grid.width)
        return last.transpose(1, 2).unflatten(2, shape), [one.transpose(1, 2).unflatten(2, shape) for one in earlier]

    def attention(
        self,
        pixels: Tensor,
        markers: Tensor,
        *,
        token_mask: Tensor | None = None,
        query: tuple[int, int] | None = None,
        marker_layer: int = 0,
        spatial_layer: int = -2,
    ) -> VirTuesAttention:
        """Attention to markers and to positions (Methods, "Model inspection and visualization").

        The spatial maps of the paper start from a channel summary token at the centre of the image, which was learned
        for one classification task and is in none of the published weights. Here they start from the tokens that are
        there: from the one at `query`, or on average from all visible ones of a channel.

        Parameters
        ----------
        pixels, markers, token_mask
            As in `forward`.
        query
            Row and column of the token from which the spatial maps start.
        marker_layer, spatial_layer
            Which of the marker and of the spatial attention blocks to look at, counted within their kind; the paper's:
            the first and the last but one.

        Raises
        ------
        ModelError
            As `forward`; if there is no such layer, or `query` is not in the grid.
        """
        net = self.backbone.encoder
        tokens, grid = net.embed(*self._inputs(pixels, markers, token_mask))
        place = None if query is None else self._place(query, grid)
        first, second = self._layer("v", marker_layer), self._layer("h", spatial_layer)
        inputs = net.before(tokens, grid, (first, second))
        marker = net.blocks()[first].multi_head_attention.weights(inputs[first], grid)
        marker = marker.unflatten(0, (grid.shape[0], grid.height, grid.width)).permute(0, 3, 4, 5, 1, 2)
        spatial = net.blocks()[second].multi_head_attention.mean_weights(inputs[second], grid, place)
        spatial = spatial.unflatten(0, grid.shape[:2]).transpose(1, 2).unflatten(-1, (grid.height, grid.width))
        if grid.visible is not None:
            visible = grid.visible.unflatten(2, (grid.height, grid.width))
            marker = marker * visible[:, None, :, None]
            starts = visible.any((2, 3)) if query is None else visible[:, :, query[0], query[1]]
            spatial = spatial * starts[:, None, :, None, None]
        return VirTuesAttention(marker, spatial, marker_importance(marker[:, :, 1:, 1:]))

    def _tissue(self, wanted: set[str], pixels: Tensor, markers: Tensor, hidden: Tensor | None) -> EncoderOutput:
        """What channel-summary tokens tell."""
        if hidden is not None or self.channel_summaries is None:
            raise ModelError(
                "Channel-summary tokens look at windows in which nothing is hidden. Leave token_mask= out."
            )
        read, attention = read_tissue(
            self.backbone.encoder, self.channel_summaries, pixels, markers, self._layer("h", -2)
        )
        paid = attention[..., None]
        return EncoderOutput(
            patch=read if "patch" in wanted else None,
            marker=paid[:, 1:].mean((2, 3)) if "marker" in wanted else None,
            token=paid[:, 1:] if "token" in wanted else None,
            summary=paid[:, 0] if "summary" in wanted else None,
        )

    def _importance(self, tokens: Tensor, grid: VisibleTokens) -> Tensor:
        net, first = self.backbone.encoder, self._layer("v", 0)
        entering = net.before(tokens, grid, (first,))[first]
        total = net.blocks()[first].multi_head_attention.total_weights(entering, grid)
        return importance_of_heads(total[:, :, 1:, 1:]).transpose(1, 2)

    def _layer(self, along: str, number: int) -> int:
        layers = [i for i, letter in enumerate(self.backbone.config.encoder) if letter == along]
        if not -len(layers) <= number < len(layers):
            kind = "marker" if along == "v" else "spatial"
            raise ModelError(
                f"Model {self.card.name!r} has {len(layers)} {kind} attention layers and no number {number}; "
                f"pass {kind}_layer={-len(layers)} to {len(layers) - 1}."
            )
        return layers[number]

    def _place(self, query: tuple[int, int], grid: VisibleTokens) -> int:
        row, column = query
        if not (0 <= row < grid.height and 0 <= column < grid.width):
            raise ModelError(f"query={query} is outside the {grid.height} x {grid.width} tokens of the window.")
        return row * grid.width + column

    def _batches(
        self, pixels: Sequence[Tensor], markers: Sequence[Tensor], masks: Sequence[Tensor | None]
    ) -> list[list[int]]:
        if not len(pixels) == len(markers) == len(masks):
            raise ModelError(
                f"Model {self.card.name!r} takes as many panels and masks as samples, got {len(pixels)} samples, "
                f"{len(markers)} panels, {len(masks)} masks."
            )
        batches: dict[tuple, list[int]] = {}
        for i, (sample, panel, hidden) in enumerate(zip(pixels, markers, masks, strict=True)):
            try:
                self._inputs(sample[None], panel, None if hidden is None else hidden[None])
            except ModelError as error:
                raise ModelError(f"Sample {i}: {error}") from error
            batches.setdefault((*sample.shape, hidden is None), []).append(i)
        return list(batches.values())

    def _inputs(
        self, pixels: Tensor, markers: Tensor | None, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        self.check_pixels(pixels)
        weight = self.backbone.encoder.patch_encoder.weight
        return checked(self.card.name, self.config, weight, pixels, markers, hidden)


@register(VIRTUES_IMC14)
@register(VIRTUES_SP32)
@register(VIRTUES)
def build_virtues(
    card: ModelCard,
    weights: str | os.PathLike | None,
    *,
    nuclear: Literal["histone"] | None = None,
) -> VirTuesEncoder:
    """Build a VirTues encoder and fill it.

    Parameters
    ----------
    card, weights
        As `load` passes them.
    nuclear
        ``"histone"``: stains of DNA (DAPI, Hoechst, iridium, DRAQ5 …) are given the protein embedding of histone H3
        (P68431), as upstream does on request. None: as in the training, where `weights` is a folder that
        `spatialfm.models.save_trained` wrote; otherwise they are left out, for they have no protein.
    """
    saved, config = saved_in(card, weights), VirTuesConfig()
    if saved is not None:
        card, config = saved.model_card(card), saved.config(config)
        nuclear = saved.option("nuclear", nuclear, None)
    encoder = VirTuesEncoder(card, config, nuclear=nuclear)
    if weights == hub.RANDOM:
        encoder.weights = hub.fill_random(encoder.backbone, card)
    else:
        encoder.weights = hub.fill(encoder.backbone, hub.locate(card, weights), card)
    if saved is not None:
        saved.compare(encoder)
        encoder.card = shaped_card(card, encoder)
    return encoder


add_family(
    Family(
        configs=dict.fromkeys((VIRTUES.name, VIRTUES_SP32.name, VIRTUES_IMC14.name), VirTuesConfig()),
        objective="masked",
        build=VirTuesEncoder,
        initialise=lambda encoder, seed: initial.virtues(encoder.get_submodule("backbone"), encoder.config.dim, seed),
        fits=fits,
        shorthands={
            "dim": lambda dim: {"dim": dim, "hidden": 2 * dim},
            "depth": lambda depth: {"encoder": ("hv" * depth)[:depth]},
            "decoder_depth": lambda depth: {"decoder": "f" * depth},
        },
        options=("nuclear",),
    )
)


def _mean_visible(token: Tensor, grid: VisibleTokens) -> Tensor:
    """Mean ``(B, M, D)`` over the visible tokens; over all of a marker that is hidden altogether."""
    if grid.visible is None:
        return token.mean(2)
    visible = grid.visible[:, 1:]
    share = (visible | ~visible.any(-1, keepdim=True)).to(token.dtype)
    return (share[..., None] * token).sum(2) / share.sum(-1)[..., None]
