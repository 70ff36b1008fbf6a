"""Published transformers over a bag, with the names of their checkpoints: STAMP's and HistoBistro's. Pure torch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from .._errors import WeightsError, listed

HEAD_WIDTH = 64  # of HistoBistro's attention; a file does not tell heads and their width apart
STAMP_HEADS = 8  # of STAMP, unless its file says otherwise
TRAINED_WITH = ("criterion.pos_weight",)  # of HistoBistro's loss


class StampMIL(nn.Module):
    """STAMP's transformer (El Nahhas et al., Nature Protocols 2025; version 2, without ALiBi).

    Tiles are projected, a class token is put before them, and pre-norm layers without positions follow; the normed
    class token is read out. A tile's attention is that of the class token in the last layer, mean over heads.

    Parameters
    ----------
    n_features, n_outputs
        Columns of a cell or tile, numbers to predict.
    width
        Of the tokens.
    n_heads
        Heads of attention, which divide `width`.
    n_layers
        Layers.
    feedforward
        Width inside of the feed-forward part.
    dropout
        Share left out behind the projection and in attention; behind the linear layers it is 0.5 while training, as
        published.

    Examples
    --------
    >>> import torch
    >>> network = StampMIL(4, 2, width=8, n_heads=2, feedforward=8).eval()
    >>> output, attention = network(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    >>> output.shape, attention.shape
    (torch.Size([1, 2]), torch.Size([1, 5]))
    """

    whole_bags = False  # time grows with the square of the cells

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        width: int = 512,
        n_heads: int = STAMP_HEADS,
        n_layers: int = 2,
        feedforward: int = 512,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(width))
        self.project_features = nn.Sequential(nn.Linear(n_features, width), nn.GELU(), nn.Dropout(dropout))
        layers = [
            nn.ModuleList([_StampAttention(width, n_heads, dropout), _stamp_feed(width, feedforward)])
            for _ in range(n_layers)
        ]
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(layers), "norm": nn.LayerNorm(width)})
        self.mlp_head = nn.Sequential(nn.Linear(width, n_outputs))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(bags, outputs)`` and attention ``(bags, cells)``, see `GatedAttentionMIL.forward`.

        Padding is seen by no token. The official code passes no mask, so that zeros behind a short bag are tiles.
        """
        tokens, attention = _through(
            self.class_token[None, None], self.project_features(x), mask, self.transformer["layers"]
        )
        return self.mlp_head(self.transformer["norm"](tokens[:, 0])), attention


class _StampAttention(nn.Module):
    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm = nn.LayerNorm(width)
        self.mhsa = nn.MultiheadAttention(width, n_heads, dropout, batch_first=True)

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each ``(bags, heads, tokens, width of a head)``."""
        packed = F.linear(self.norm(x), self.mhsa.in_proj_weight, self.mhsa.in_proj_bias)
        return _apart(packed, self.n_heads)

    def out(self, attended: torch.Tensor) -> torch.Tensor:
        """What the heads found together."""
        return self.mhsa.out_proj(attended)


def _stamp_feed(width: int, hidden: int) -> nn.Sequential:
    half = 0.5  # as in the official code, whatever the dropout that it is given
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, hidden),
        nn.GELU(),
        nn.Dropout(half),
        nn.Linear(hidden, width),
        nn.Dropout(half),
    )


class HistoBistroMIL(nn.Module):
    """HistoBistro's transformer (Wagner et al., Cancer Cell 2023).

    Like `StampMIL`, with ReLU behind the projection, queries, keys and values without bias, heads of 64, and a second
    LayerNorm before the output.

    Parameters
    ----------
    n_features, n_outputs, n_heads, n_layers, feedforward, dropout
        As of `StampMIL`.
    hidden
        Width of a head; the network is ``hidden * n_heads`` wide.

    Examples
    --------
    >>> import torch
    >>> network = HistoBistroMIL(4, 2, n_heads=1).eval()
    >>> output, attention = network(torch.zeros(1, 5, 4), torch.ones(1, 5, dtype=torch.bool))
    >>> output.shape, attention.shape
    (torch.Size([1, 2]), torch.Size([1, 5]))
    """

    whole_bags = False

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        *,
        n_heads: int = 8,
        hidden: int = HEAD_WIDTH,
        n_layers: int = 2,
        feedforward: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        width = hidden * n_heads
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.projection = nn.Sequential(nn.Linear(n_features, width), nn.ReLU())
        layers = [
            nn.ModuleList(
                [_BistroAttention(width, n_heads, dropout), _BistroFeed(width, feedforward or width, dropout)]
            )
            for _ in range(n_layers)
        ]
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(layers)})
        self.norm = nn.LayerNorm(width)
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, n_outputs))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs ``(bags, outputs)`` and attention ``(bags, cells)``, see `GatedAttentionMIL.forward`."""
        tokens, attention = _through(self.cls_token, self.projection(x), mask, self.transformer["layers"])
        return self.mlp_head(self.norm(tokens[:, 0])), attention


class _BistroAttention(nn.Module):
    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.dropout = n_heads, 0.0  # the official code drops behind the output alone
        self.norm = nn.LayerNorm(width)
        to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.fn = nn.ModuleDict({"to_qkv": nn.Linear(width, 3 * width, bias=False), "to_out": to_out})

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each ``(bags, heads, tokens, width of a head)``."""
        return _apart(self.fn["to_qkv"](self.norm(x)), self.n_heads)

    def out(self, attended: torch.Tensor) -> torch.Tensor:
        """What the heads found together."""
        return self.fn["to_out"](attended)


class _BistroFeed(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        net = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.fn = nn.ModuleDict({"net": net})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fn["net"](self.norm(x))


def _apart(packed: torch.Tensor, n_heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query, key, value = packed.unflatten(-1, (3, n_heads, -1)).permute(2, 0, 3, 1, 4)
    return query, key, value


def _through(
    token: torch.Tensor, x: torch.Tensor, mask: torch.Tensor, layers: nn.ModuleList
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens behind the last layer, the class token first, and its attention there to the cells ``(bags, cells)``."""
    x = torch.cat([token.expand(len(x), -1, -1), x], dim=1)
    # without padding no mask is passed, which costs less
    seen = None if mask.all() else F.pad(mask, (1, 0), value=True)[:, None, None, :]
    attention = x.new_zeros(mask.shape)
    for attend, feed in layers:
        query, key, value = attend.heads(x)
        if attend is layers[-1][0]:
            attention = _of_token(query, key, mask)
        drop = attend.dropout if attend.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=drop)
        x = x + attend.out(attended.transpose(1, 2).flatten(2))
        x = x + feed(x)
    return x, attention


@torch.no_grad()
def _of_token(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention of the class token to the cells, without itself, mean over heads; adds up to 1."""
    scores = (query[:, :, :1] @ key[:, :, 1:].transpose(-1, -2)).squeeze(2) / query.shape[-1] ** 0.5
    return scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1).mean(dim=1)


def network_of(state: Mapping[str, torch.Tensor], n_heads: int | None = None) -> StampMIL | HistoBistroMIL:
    """The published network that tensors belong to, its sizes read from them, filled and ready to predict.

    Parameters
    ----------
    state
        Tensors by their published names, with or without the prefix ``model.`` of a Lightning file.
    n_heads
        Heads of a STAMP network, where its file tells (default: 8, as published).

    Raises
    ------
    WeightsError
        If they are of neither network, of a variant that there is not, or names or shapes differ.
    """
    tensors = {name.removeprefix("model."): value for name, value in state.items() if name not in TRAINED_WITH}
    if any(".mhsa.query_encoders." in name for name in tensors):
        raise WeightsError(
            "The file holds STAMP's network with ALiBi, which is not offered. Pass one that was trained without."
        )
    if {"class_token", "project_features.0.weight", "mlp_head.0.weight"} <= set(tensors):
        network: StampMIL | HistoBistroMIL = _stamp_of(tensors, n_heads or STAMP_HEADS)
    elif {"cls_token", "projection.0.weight", "mlp_head.1.weight"} <= set(tensors):
        network = _histobistro_of(tensors)
    else:
        raise WeightsError(
            f"The file holds neither STAMP's transformer ('class_token', 'project_features.0.weight', ...) nor "
            f"HistoBistro's ('cls_token', 'projection.0.weight', ...): {listed(tensors, 4)}. Pass a checkpoint of one."
        )
    expected = network.state_dict()
    missing, more = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    other = [name for name in expected if name in tensors and expected[name].shape != tensors[name].shape]
    if missing or more or other:
        parts = ((missing, "missing"), (more, "unexpected"), (other, "of another shape"))
        wrong = "; ".join(f"{len(names)} {what} ({listed(names, 3)})" for names, what in parts if names)
        raise WeightsError(
            f"The file does not fit {type(network).__name__}: of {len(expected)} tensors, {wrong}. Pass the checkpoint "
            "as it was published."
        )
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval()


def _n_layers(tensors: Mapping[str, torch.Tensor]) -> int:
    return 1 + max((int(name.split(".")[2]) for name in tensors if name.startswith("transformer.layers.")), default=-1)


def _stamp_of(tensors: Mapping[str, torch.Tensor], n_heads: int) -> StampMIL:
    width, n_features = tensors["project_features.0.weight"].shape
    feed = tensors.get("transformer.layers.0.1.1.weight")
    if width % n_heads:
        raise WeightsError(
            f"A network of width {width} cannot have {n_heads} heads. Pass the file with its own n_heads."
        )
    return StampMIL(
        n_features,
        len(tensors["mlp_head.0.weight"]),
        width=width,
        n_heads=n_heads,
        n_layers=_n_layers(tensors),
        feedforward=width if feed is None else len(feed),
    )


def _histobistro_of(tensors: Mapping[str, torch.Tensor]) -> HistoBistroMIL:
    width, n_features = tensors["projection.0.weight"].shape
    if width % HEAD_WIDTH:
        raise WeightsError(f"A HistoBistro network has heads of {HEAD_WIDTH}, and its width {width} is not a multiple.")
    feed = tensors.get("transformer.layers.0.1.fn.net.0.weight")
    return HistoBistroMIL(
        n_features,
        len(tensors["mlp_head.1.weight"]),
        n_heads=width // HEAD_WIDTH,
        n_layers=_n_layers(tensors),
        feedforward=None if feed is None else len(feed),
    )
